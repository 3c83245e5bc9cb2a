//! What is deleted is said, what is left is sound, and what was proven stays proven.

use std::path::Path;

use super::*;
use crate::entry::tests::decision;
use crate::ledger::Settings;
use crate::prove::prove;
use crate::verify::{VerifyError, verify};

fn id(number: usize) -> String {
    format!("01a1fe3c-22e2-72bf-b97b-{number:012x}")
}

async fn ledger_in(dir: &Path, entries: std::ops::Range<usize>) -> Ledger {
    let settings =
        Settings { segment_bytes_min: 16 * 1024, segment_bytes_max: 32 * 1024, ..Settings::default() };
    let (ledger, _) = Ledger::open_with(dir, &settings).unwrap();
    for number in entries {
        ledger.append(&decision(&id(number))).await.unwrap();
    }
    ledger
}

/// Opened and closed once, so that every segment is sealed.
async fn sealed(dir: &Path) -> Ledger {
    ledger_in(dir, 0..300).await.close().await.unwrap();
    ledger_in(dir, 0..0).await
}

#[tokio::test]
async fn the_oldest_segments_go_and_everything_stays_verifiable() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = sealed(dir.path()).await;
    let before_pruning = verify(dir.path()).unwrap();
    let proof = prove(dir.path(), &id(3)).unwrap();
    let pruned = ledger.prune(&Retention { bytes: Some(70_000), age: None }).await.unwrap();
    let before = pruned.before.unwrap();
    assert!(pruned.segments >= 2 && before > 50, "{pruned:?}");
    // Once more there is nothing to do, and nothing is entered.
    let entries = ledger.entries();
    assert_eq!(
        ledger.prune(&Retention { bytes: Some(200_000), age: None }).await.unwrap(),
        Pruned::default()
    );
    assert_eq!(ledger.entries(), entries);
    ledger.close().await.unwrap();

    let verified = verify(dir.path()).unwrap();
    assert_eq!(verified.deleted.map(|deleted| deleted.before), Some(before));
    assert_eq!((verified.entries, verified.unsigned()), (entries, 0));
    assert!(verified.checkpoints >= before_pruning.checkpoints);
    // The tree goes on as if nothing had happened: the old root is the root over the same entries.
    let against = crate::Against { key: None, copies: vec![("copy".into(), proof.checkpoint.clone())] };
    crate::verify_against(dir.path(), &against).unwrap();
    // A remaining entry is proven as before, from tiles of deleted ones too.
    let left = usize::try_from(before).unwrap() + 5;
    assert_eq!(prove(dir.path(), &id(left)).unwrap().index, left as u64);
    let opened = ledger_in(dir.path(), 300..310).await;
    opened.close().await.unwrap();
    assert_eq!(verify(dir.path()).unwrap().entries, entries + 10);
}

#[tokio::test]
async fn segments_go_by_age_and_the_one_that_is_written_to_never() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = sealed(dir.path()).await;
    let young = Retention { age: Some(Duration::from_secs(3600)), bytes: None };
    assert_eq!(ledger.prune(&young).await.unwrap(), Pruned::default());
    assert_eq!(ledger.prune(&Retention::default()).await.unwrap(), Pruned::default());
    let pruned = ledger.prune(&Retention { age: Some(Duration::ZERO), bytes: Some(0) }).await.unwrap();
    let segments = Chain::read(&Disk, dir.path()).unwrap().segments;
    assert_eq!((segments.len(), pruned.before), (1, Some(segments[0].header.first_index)));
    ledger.close().await.unwrap();
    verify(dir.path()).unwrap();
}

#[tokio::test]
async fn what_nothing_says_was_deleted_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = sealed(dir.path()).await;
    ledger.close().await.unwrap();
    let first = Chain::read(&Disk, dir.path()).unwrap().segments.remove(0);
    std::fs::remove_file(first.path).unwrap();
    assert!(matches!(verify(dir.path()), Err(VerifyError::Unexplained { .. })));
}

#[tokio::test]
async fn without_the_tiles_of_deleted_entries_the_rest_is_not_called_sound() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = sealed(dir.path()).await;
    ledger.prune(&Retention { bytes: Some(0), age: None }).await.unwrap();
    ledger.close().await.unwrap();
    let tile = dir.path().join("tile/0/000");
    let hashes = std::fs::read(&tile).unwrap();
    std::fs::write(&tile, [&[1_u8][..], &hashes[1..]].concat()).unwrap();
    assert!(matches!(verify(dir.path()), Err(VerifyError::Forked { .. })));
    std::fs::remove_file(&tile).unwrap();
    assert!(matches!(verify(dir.path()), Err(VerifyError::NoTile { .. })));
}
