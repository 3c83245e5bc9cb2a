//! What was recorded is what is read, beside a live writer too, and the first bad entry is named.

use super::*;
use crate::entry::tests::{admin, decision, outcome};
use crate::frame;
use crate::ledger::Ledger;
use crate::segment;
use crate::verify::verify;

/// A closed ledger of these entries.
async fn ledger_of(entries: &[Entry]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path()).unwrap();
    for entry in entries {
        ledger.append(entry).await.unwrap();
    }
    ledger.close().await.unwrap();
    dir
}

fn some_entries() -> Vec<Entry> {
    vec![admin("start"), decision("a"), decision("b"), outcome(Some("b")), outcome(None), outcome(Some("a"))]
}

#[tokio::test]
async fn entries_come_out_as_they_went_in() {
    let entries = some_entries();
    let dir = ledger_of(&entries).await;
    let read: Vec<Recorded> = Entries::open(dir.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(read.iter().map(|recorded| recorded.entry.clone()).collect::<Vec<Entry>>(), entries);
    assert_eq!(read.iter().map(|recorded| recorded.index).collect::<Vec<u64>>(), [0, 1, 2, 3, 4, 5]);
    for recorded in &read {
        assert_eq!(recorded.leaf_hash, leaf_hash(recorded.entry.encode().unwrap().bytes()));
    }
}

#[tokio::test]
async fn a_call_is_found_by_its_id_with_its_outcomes() {
    let dir = ledger_of(&some_entries()).await;
    let found = find(dir.path(), "a").unwrap().unwrap();
    assert_eq!(
        found.decision.map(|recorded| (recorded.index, recorded.entry.decision_id)),
        Some((1, "a".to_owned()))
    );
    assert_eq!(found.outcomes.iter().map(|recorded| recorded.index).collect::<Vec<u64>>(), [5]);
    assert_eq!(find(dir.path(), "nobody").unwrap(), None);

    let dir = ledger_of(&[outcome(Some("only ended"))]).await;
    let found = find(dir.path(), "only ended").unwrap().unwrap();
    assert_eq!((found.decision, found.outcomes.len()), (None, 1));
}

#[tokio::test]
async fn a_sound_ledger_is_verified_also_beside_its_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path()).unwrap();
    for index in 0..20 {
        let verified = verify(dir.path()).unwrap();
        assert_eq!((verified.entries, verified.torn_bytes), (index, 0));
        let receipt = ledger.append(&decision(&format!("id-{index}"))).await.unwrap();
        assert_eq!(verify(dir.path()).unwrap().last, Some(receipt.leaf_hash));
    }
    ledger.close().await.unwrap();
}

/// The first segment as it is, without the room behind its entries.
fn used(dir: &Path) -> (PathBuf, Vec<u8>) {
    let path = segment::path(dir, 0);
    let mut contents = std::fs::read(&path).unwrap();
    contents.truncate(contents.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    (path, contents)
}

#[tokio::test]
async fn a_torn_tail_is_told_and_is_no_error() {
    let dir = ledger_of(&some_entries()).await;
    let (path, sound) = used(dir.path());
    let last = Entries::open(dir.path()).unwrap().map(|recorded| recorded.unwrap().offset).last().unwrap();
    std::fs::write(&path, &sound[..sound.len() - 1]).unwrap();
    let mut entries = Entries::open(dir.path()).unwrap();
    assert_eq!(entries.by_ref().map(Result::unwrap).count(), 5);
    assert_eq!(entries.torn_bytes(), sound.len() as u64 - 1 - last);
    // It was signed, so it was no crash that left it so.
    let message = verify(dir.path()).unwrap_err().to_string();
    assert!(message.starts_with("entry 5 is missing: the checkpoint `"), "{message}");
    assert!(message.contains("covers 6 entries, and the ledger ends after 5"), "{message}");
    let message = Ledger::open(dir.path()).unwrap_err().to_string();
    assert!(message.contains("has 5 entries, and its own checkpoint covers 6"), "{message}");
}

#[tokio::test]
async fn content_that_its_version_does_not_promise_is_named() {
    let dir = ledger_of(&some_entries()).await;
    let (path, mut contents) = used(dir.path());
    let offset = contents.len();
    // A batch of its own.
    let mut alone = Vec::new();
    frame::encode(&frame::Stored::new(frame::Kind::Admin, b"{}".to_vec()).unwrap(), &mut alone);
    contents.extend_from_slice(&alone);
    std::fs::write(&path, &contents).unwrap();
    let message = verify(dir.path()).unwrap_err().to_string();
    let place = format!("entry 6 at byte {offset} of `{}` cannot be read: its content", path.display());
    assert!(message.starts_with(&place), "{message}");
}

#[tokio::test]
async fn an_error_ends_the_entries() {
    let dir = ledger_of(&some_entries()).await;
    let path = segment::path(dir.path(), 0);
    let mut contents = std::fs::read(&path).unwrap();
    let third = Entries::open(dir.path()).unwrap().map(|recorded| recorded.unwrap().offset).nth(2).unwrap();
    contents[usize::try_from(third).unwrap() + 30] ^= 1;
    std::fs::write(&path, &contents).unwrap();

    let mut entries = Entries::open(dir.path()).unwrap();
    let read: Vec<bool> = entries.by_ref().map(|recorded| recorded.is_ok()).collect();
    assert_eq!(read, [true, true, false]);
    assert!(entries.next().is_none());

    // A follower first gives what it could read.
    let mut follow = Follow::from_start(dir.path());
    assert_eq!(follow.poll().unwrap().len(), 2);
    assert!(matches!(follow.poll(), Err(ReadError::Corrupt(_))));
}

#[tokio::test]
async fn a_follower_sees_each_entry_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut follow = Follow::from_start(dir.path());
    assert_eq!(follow.poll().unwrap(), []);

    let (ledger, _) = Ledger::open(dir.path()).unwrap();
    assert_eq!(follow.poll().unwrap(), []);
    ledger.append(&decision("a")).await.unwrap();
    ledger.append(&decision("b")).await.unwrap();
    let mut late = Follow::from_end(dir.path()).unwrap();
    assert_eq!(follow.poll().unwrap().iter().map(|recorded| recorded.index).collect::<Vec<u64>>(), [0, 1]);
    assert_eq!(late.poll().unwrap(), []);

    ledger.append(&outcome(Some("a"))).await.unwrap();
    for follow in [&mut follow, &mut late] {
        assert_eq!(follow.poll().unwrap().iter().map(|recorded| recorded.index).collect::<Vec<u64>>(), [2]);
        assert_eq!(follow.poll().unwrap(), []);
    }
    ledger.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_beside_a_busy_writer_sees_sound_entries_only() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path()).unwrap();
    let (written, is_written) = std::sync::mpsc::channel();
    let mut follow = Follow::from_start(dir.path());
    let reader = std::thread::spawn(move || {
        let (mut seen, mut over) = (0, false);
        loop {
            over |= is_written.try_recv().is_ok();
            let polled = follow.poll().unwrap();
            assert!(polled.iter().map(|recorded| recorded.index).eq(seen..seen + polled.len() as u64));
            seen += polled.len() as u64;
            if over && polled.is_empty() {
                return seen;
            }
        }
    });
    for round in 0..60 {
        let detail = "x".repeat(round * 97);
        let appends: Vec<_> = (0..50).map(|_| ledger.append(&admin(&detail))).collect();
        for append in appends {
            append.await.unwrap();
        }
    }
    written.send(()).unwrap();
    assert_eq!(reader.join().unwrap(), 3000);
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn a_follower_far_behind_catches_up_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path()).unwrap();
    for id in 0..POLL_ENTRIES_MAX + 5 {
        ledger.append_soon(&admin(&format!("event {id}"))).unwrap();
    }
    ledger.close().await.unwrap();
    let mut follow = Follow::from_start(dir.path());
    let polled = [(); 3].map(|()| follow.poll().unwrap().len());
    assert_eq!(polled, [POLL_ENTRIES_MAX, 5, 0]);
    assert_eq!(Follow::from_end(dir.path()).unwrap().poll().unwrap(), []);
}

#[test]
fn a_directory_without_a_ledger_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let errors =
        [verify(dir.path()).unwrap_err().to_string(), find(dir.path(), "id").unwrap_err().to_string()];
    for error in errors {
        let expected = format!("there is no ledger in `{}`", dir.path().display());
        assert!(error.starts_with(&expected), "{error}");
    }
}
