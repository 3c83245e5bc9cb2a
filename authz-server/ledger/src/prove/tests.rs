//! Proofs checked by an implementation that did not make them, and by the text's own specification.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ct_merkle::{InclusionProof as TheirProof, RootHash};
use futures_util::future::join_all;
use sha2::Sha256;
use sha2::digest::Output;

use super::*;
use crate::entry::tests::decision;
use crate::file::sim::Sim;
use crate::ledger::tests::{DIR, open_bounded, stored};
use crate::queue::Bounds;

async fn ledger_of(sim: &Sim, entries: usize) {
    let (ledger, recovery) = open_bounded(sim, Bounds::default()).unwrap();
    let from = usize::try_from(recovery.entries).unwrap();
    let appends: Vec<_> = (from..entries).map(|number| ledger.append(&entry(number))).collect();
    for append in join_all(appends).await {
        append.unwrap();
    }
    ledger.close().await.unwrap();
}

fn entry(number: usize) -> Entry {
    decision(&format!("id-{number}"))
}

fn stored_bytes(number: usize) -> Vec<u8> {
    entry(number).encode().unwrap().bytes().to_vec()
}

fn proof_of(sim: &Sim, number: usize) -> Result<InclusionProof, ProveError> {
    prove_entry(sim, Path::new(DIR), number as u64, stored_bytes(number))
}

/// Reads the text as its specification says, and lets another implementation of RFC 6962 check it.
fn check_elsewhere(text: &str, number: usize) {
    let (proof, checkpoint) = text.split_once("\n\n").unwrap();
    let mut lines = proof.lines();
    assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
    let record = BASE64.decode(lines.next().unwrap().strip_prefix("extra ").unwrap()).unwrap();
    assert_eq!(record, stored_bytes(number));
    let index: u64 = lines.next().unwrap().strip_prefix("index ").unwrap().parse().unwrap();
    assert_eq!(index, number as u64);
    let hashes: Vec<u8> = lines.flat_map(|line| BASE64.decode(line).unwrap()).collect();

    let mut head = checkpoint.lines().skip(1);
    let size: u64 = head.next().unwrap().parse().unwrap();
    let root = BASE64.decode(head.next().unwrap()).unwrap();
    let root = RootHash::<Sha256>::new(Output::<Sha256>::try_from(root.as_slice()).unwrap(), size);
    let proof = TheirProof::<Sha256>::try_from_bytes(hashes).unwrap();
    root.verify_inclusion(&record, index, &proof).unwrap();
    assert!(root.verify_inclusion(&stored_bytes(number + 1), index, &proof).is_err());
}

#[tokio::test]
async fn every_proof_is_believed_by_another_implementation() {
    let sim = Sim::default();
    let mut checked = 0;
    for size in [1, 2, 3, 7, 8, 255, 256, 257, 600, 1030] {
        ledger_of(&sim, size).await;
        for number in
            (0..size).filter(|number| size < 20 || number % 37 == 0 || number + 3 > size || *number == 255)
        {
            check_elsewhere(&proof_of(&sim, number).unwrap().to_string(), number);
            checked += 1;
        }
    }
    println!("{checked} proofs, all believed by another implementation");
    assert!(checked > 80, "{checked}");
}

#[tokio::test]
async fn a_proof_needs_no_tile_that_the_entries_can_make_again() {
    let sim = Sim::default();
    ledger_of(&sim, 700).await;
    let proofs: Vec<String> = [0, 300, 699].map(|number| proof_of(&sim, number).unwrap().to_string()).into();
    for name in sim.names().into_iter().filter(|name| name.starts_with(Path::new(DIR).join("tile"))) {
        sim.delete(&name);
    }
    let again: Vec<String> = [0, 300, 699].map(|number| proof_of(&sim, number).unwrap().to_string()).into();
    assert_eq!(proofs, again);
}

#[tokio::test]
async fn what_does_not_lead_to_the_signed_root_is_no_proof() {
    let sim = Sim::default();
    ledger_of(&sim, 300).await;
    let error = prove_entry(&sim, Path::new(DIR), 5, stored_bytes(6)).unwrap_err();
    assert!(matches!(error, ProveError::Inconsistent { .. }), "{error}");
    let error = prove_entry(&sim, Path::new(DIR), 300, stored_bytes(300)).unwrap_err();
    assert!(matches!(error, ProveError::NotYet { index: 300, size: 300 }), "{error}");
    let tile = Path::new(DIR).join("tile/0/000");
    sim.overwrite(&tile, 6 * 32, &[0; 32]);
    assert!(matches!(proof_of(&sim, 5), Err(ProveError::Inconsistent { .. })));
    assert_eq!(stored(&sim).len(), 300);
}
