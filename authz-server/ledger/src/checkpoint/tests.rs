//! Keys and checkpoints as other tools know them, and what is not believed.

use super::*;

const TIME_S: u64 = 1_760_000_000;

fn key() -> SignerKey {
    SignerKey::new("palisade.internal/ledger/test".to_owned(), &[7; 32])
}

fn root() -> Hash {
    Hash::new([0xab; 32])
}

#[test]
fn the_text_of_a_checkpoint_and_of_its_key_is_fixed() {
    let note = String::from_utf8(key().sign(70_000, &root(), TIME_S).unwrap()).unwrap();
    let (text, signatures) = note.split_once("\n\n").unwrap();
    assert_eq!(text, "palisade.internal/ledger/test\n70000\nq6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=");
    let lines: Vec<&str> = signatures.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.starts_with("— palisade.internal/ledger/test ")));
    assert_eq!(
        key().verifier().text(),
        "palisade.internal/ledger/test+32744533+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs"
    );
    assert_eq!(key().verifier().id(), "32744533");
}

#[test]
fn keys_read_back_as_they_were_written() {
    let read = SignerKey::parse(&key().private_text()).unwrap();
    assert_eq!(read.private_text(), key().private_text());
    let verifier = VerifierKey::parse(&key().verifier().text()).unwrap();
    assert_eq!(verifier, key().verifier());
    for wrong in
        ["", "PRIVATE+KEY+a+b+c", &key().verifier().text(), &key().private_text().replace("test", "other")]
    {
        assert!(SignerKey::parse(wrong).is_none(), "{wrong}");
    }
    for wrong in ["", "name", "name+00000000+AAAA", &key().verifier().text().replace("test", "other")] {
        assert_eq!(VerifierKey::parse(wrong), Err(CheckpointError::Key), "{wrong}");
    }
}

#[test]
fn a_checkpoint_is_believed_with_its_time() {
    let note = key().sign(3, &root(), TIME_S).unwrap();
    let expected = Checkpoint {
        origin: "palisade.internal/ledger/test".to_owned(),
        size: 3,
        root: root(),
        time_s: TIME_S,
    };
    assert_eq!(key().verifier().open(&note), Ok(expected));
}

#[test]
fn a_signature_of_somebody_else_may_stand_beside_ours() {
    let mut note = String::from_utf8(key().sign(3, &root(), TIME_S).unwrap()).unwrap();
    note.push_str("— witness.example AAAAAAAAAAAAAAAA\n");
    assert_eq!(key().verifier().open(note.as_bytes()).unwrap().size, 3);
}

#[test]
fn what_is_changed_or_signed_by_another_key_is_not_believed() {
    let note = key().sign(3, &root(), TIME_S).unwrap();
    for at in 0..note.len() {
        let mut changed = note.clone();
        changed[at] ^= 1;
        assert!(key().verifier().open(&changed).is_err(), "byte {at}");
    }
    let other = SignerKey::new("palisade.internal/ledger/test".to_owned(), &[8; 32]);
    assert!(other.verifier().open(&note).is_err());
    // The plain signature says nothing of the time.
    let text = String::from_utf8(note.clone()).unwrap();
    let without_time: Vec<&str> = text.split_inclusive('\n').take(5).collect();
    assert!(key().verifier().open(without_time.concat().as_bytes()).is_err());
    // The time alone, signed again by the same key, does not make a checkpoint.
    let text = String::from_utf8(note).unwrap();
    let without_plain: Vec<&str> =
        text.split_inclusive('\n').enumerate().filter(|(n, _)| *n != 4).map(|(_, it)| it).collect();
    assert!(key().verifier().open(without_plain.concat().as_bytes()).is_err());
}
