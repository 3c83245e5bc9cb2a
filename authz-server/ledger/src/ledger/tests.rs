//! Receipts mean durable: under load, under faults, and after every kind of crash.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::*;
use crate::entry::tests::{admin, decision, outcome};
use crate::file::sim::{Crash, Sim};
use crate::reader::Entries;
use crate::segment::{self, HEADER_BYTES};

mod faults;
mod modes;

pub(crate) const DIR: &str = "simulated";
const FIRST: &str = "00000000.seg";
const BOUNDS: Bounds = Bounds { entries: 100, bytes: 1024 * 1024, buffered_entries: 8 };
/// The threads of the ledger's own work are the last to run on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often a condition is looked at: whoever looks without a pause takes the processor from those that are awaited.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Small segments, and no checkpoint but at start, rotation and stop.
pub(crate) fn settings() -> Settings {
    Settings {
        checkpoint_every: Duration::from_secs(3600),
        segment_bytes_min: 16 * 1024,
        segment_bytes_max: 64 * 1024,
        ..Settings::default()
    }
}

pub(crate) fn open(sim: &Sim) -> Result<(Ledger, Recovery), LedgerError> {
    open_bounded(sim, BOUNDS)
}

pub(crate) fn open_bounded(sim: &Sim, bounds: Bounds) -> Result<(Ledger, Recovery), LedgerError> {
    Ledger::open_on(sim, Path::new(DIR), None, bounds, &settings())
}

/// The entries' hashes, as a reader finds them.
pub(crate) fn stored(sim: &Sim) -> Vec<LeafHash> {
    let entries = Entries::on(sim, Path::new(DIR), 0).unwrap();
    entries.map(|recorded| recorded.unwrap().leaf_hash).collect()
}

fn hash_of(entry: &Entry) -> LeafHash {
    leaf_hash(entry.encode().unwrap().bytes())
}

/// Whether the entry of this receipt would survive a loss of power now.
fn is_durable(sim: &Sim, receipt: &Receipt) -> bool {
    let left = sim.after(Crash::PowerLost);
    stored(&left).get(usize::try_from(receipt.index).unwrap()) == Some(&receipt.leaf_hash)
}

/// Lets others run until it is so.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "{what}: never within {DEADLINE:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The batches that were written to the first segment, behind its header.
fn batches(sim: &Sim) -> usize {
    // Zeros and the header.
    sim.writes(FIRST).len() - 2
}

#[tokio::test]
async fn a_receipt_comes_after_write_and_sync() {
    let sim = Sim::default();
    let (ledger, recovery) = open(&sim).unwrap();
    assert_eq!((recovery.entries, recovery.truncated_bytes), (0, 0));
    for index in 0..5 {
        let receipt = ledger.append(&decision(&format!("id-{index}"))).await.unwrap();
        assert!(is_durable(&sim, &receipt));
        assert_eq!(receipt.index, index);
        assert_eq!(ledger.entries(), index + 1);
    }
    ledger.close().await.unwrap();
    assert_eq!(batches(&sim), 5);
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_sync_runs() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let held = sim.hold(FIRST);
    let mut append = Box::pin(ledger.append(&decision("id")));
    held.wait_until_entered();
    assert!(append.as_mut().now_or_never().is_none());
    assert_eq!(ledger.entries(), 0);
    held.release();
    assert_eq!(append.await.unwrap().index, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_share_a_sync() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let append = |id: usize| {
        let entry = decision(&format!("id-{id}"));
        let (append, hash) = (ledger.append(&entry), hash_of(&entry));
        tokio::spawn(async move {
            let receipt = append.await.unwrap();
            assert_eq!(receipt.leaf_hash, hash);
            receipt
        })
    };
    let held = sim.hold(FIRST);
    let mut appends = vec![append(0)];
    held.wait_until_entered();
    appends.extend((1..20).map(append));
    assert_eq!(ledger.queued(), 19);
    held.release();

    let receipts: Vec<Receipt> = join_all(appends).await.into_iter().map(Result::unwrap).collect();
    let indexes: Vec<u64> = receipts.iter().map(|receipt| receipt.index).collect();
    assert_eq!(indexes, (0..20).collect::<Vec<u64>>());
    ledger.close().await.unwrap();
    assert_eq!(stored(&sim), receipts.iter().map(|receipt| receipt.leaf_hash).collect::<Vec<LeafHash>>());
    assert_eq!(batches(&sim), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_from_many_tasks_are_each_durable_when_acknowledged() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let tasks = (0..16).map(|task| {
        let (sim, ledger) = (sim.clone(), ledger.clone());
        tokio::spawn(async move {
            for round in 0..10 {
                let receipt = ledger.append(&decision(&format!("id-{task}-{round}"))).await.unwrap();
                assert!(is_durable(&sim, &receipt));
            }
        })
    });
    for ended in join_all(tasks).await {
        ended.unwrap();
    }
    ledger.close().await.unwrap();
    assert_eq!(stored(&sim).len(), 160);
}

#[tokio::test]
async fn an_append_whose_future_is_dropped_is_still_recorded() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let held = sim.hold(FIRST);
    // Dropped unpolled, dropped while it waits for the sync, and dropped while it waits in the queue.
    let mut in_sync = Box::pin(ledger.append(&decision("in sync")));
    held.wait_until_entered();
    let mut queued = Box::pin(ledger.append(&decision("queued")));
    assert!(in_sync.as_mut().now_or_never().is_none() && queued.as_mut().now_or_never().is_none());
    drop(ledger.append(&decision("unpolled")));
    drop((in_sync, queued));
    held.release();
    ledger.close().await.unwrap();
    assert_eq!(stored(&sim), ["in sync", "queued", "unpolled"].map(|id| hash_of(&decision(id))));
}

#[tokio::test]
async fn a_full_queue_is_overload() {
    let sim = Sim::default();
    let (ledger, _) = open_bounded(&sim, Bounds { entries: 4, ..BOUNDS }).unwrap();
    let held = sim.hold(FIRST);
    let mut appends = vec![ledger.append(&decision("in sync"))];
    held.wait_until_entered();
    appends.extend((0..3).map(|id| ledger.append(&decision(&format!("queued {id}")))));
    // The rest of the queue is for those who wait.
    assert_eq!(ledger.append_soon(&outcome(None)), Err(AppendError::Overloaded));
    appends.push(ledger.append(&decision("queued 3")));
    assert_eq!(ledger.append(&decision("too many")).await, Err(AppendError::Overloaded));
    assert_eq!(ledger.state(), LedgerState::Open);

    held.release();
    for append in appends {
        append.await.unwrap();
    }
    ledger.append_soon(&outcome(None)).unwrap();
    ledger.close().await.unwrap();
    assert_eq!(stored(&sim).len(), 6);
}

#[tokio::test]
async fn a_queue_full_of_bytes_is_overload_until_they_are_stored() {
    let sim = Sim::default();
    let (ledger, _) = open_bounded(&sim, Bounds { bytes: 10_000, ..BOUNDS }).unwrap();
    let large = admin(&"x".repeat(6_000));
    let held = sim.hold(FIRST);
    let in_sync = ledger.append(&large);
    held.wait_until_entered();
    let queued = [ledger.append(&large), ledger.append(&large)];
    assert_eq!(ledger.append(&large).await, Err(AppendError::Overloaded));
    assert_eq!(ledger.append_soon(&admin("small")), Err(AppendError::Overloaded));
    held.release();
    in_sync.await.unwrap();
    for append in queued {
        append.await.unwrap();
    }
    ledger.append(&large).await.unwrap();
}

#[tokio::test]
async fn an_entry_over_the_limit_is_refused_and_harms_nothing() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let too_large = admin(&"x".repeat(crate::ENTRY_BYTES_MAX));
    assert!(matches!(ledger.append(&too_large).await, Err(AppendError::TooLarge { .. })));
    assert_eq!(ledger.append(&admin("fits")).await.unwrap().index, 0);
    let large = admin(&"x".repeat(crate::ENTRY_BYTES_MAX - 100));
    assert_eq!(ledger.append(&large).await.unwrap().index, 1);
    assert_eq!(ledger.append(&admin("after")).await.unwrap().index, 2);
    ledger.close().await.unwrap();
    assert_eq!(stored(&sim).len(), 3);
}

#[tokio::test]
async fn closing_stores_what_is_queued_and_refuses_what_comes_later() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let clone = ledger.clone();
    for id in 0..40 {
        ledger.append_soon(&admin(&format!("event {id}"))).unwrap();
    }
    ledger.close().await.unwrap();
    assert_eq!(stored(&sim).len(), 40);
    assert_eq!(clone.state(), LedgerState::Closed);
    assert_eq!(clone.append(&admin("late")).await, Err(AppendError::Closed));
    assert_eq!(clone.append_soon(&admin("late")), Err(AppendError::Closed));
    clone.close().await.unwrap();
}

#[tokio::test]
async fn dropping_every_handle_stores_what_is_queued() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    for id in 0..40 {
        ledger.append_soon(&admin(&format!("event {id}"))).unwrap();
    }
    let mut ended = ledger.shared.ended.clone();
    drop(ledger);
    ended.changed().await.unwrap_err();
    assert_eq!(stored(&sim).len(), 40);
}

#[tokio::test]
async fn a_panic_of_the_thread_is_a_refusal_and_not_silence() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let held = sim.hold(FIRST);
    let append = ledger.append(&decision("id"));
    held.wait_until_entered();
    let queued = ledger.append(&decision("queued"));
    // The writer waits for a release that can no longer come, and the simulated disk panics.
    drop(held);
    assert!(matches!(append.await, Err(AppendError::Failing { .. })));
    assert!(matches!(queued.await, Err(AppendError::Failing { .. })));
    assert!(matches!(ledger.state(), LedgerState::Failing { .. }));
    assert!(matches!(ledger.append(&decision("late")).await, Err(AppendError::Failing { .. })));
    assert!(matches!(ledger.close().await, Err(AppendError::Failing { .. })));
}

#[tokio::test]
async fn segments_follow_one_another_across_starts() {
    let sim = Sim::default();
    let mut hashes = Vec::new();
    for start in 0..3 {
        let (ledger, recovery) = open(&sim).unwrap();
        assert_eq!(recovery.entries, hashes.len() as u64);
        for id in 0..100 {
            let receipt = ledger.append(&decision(&format!("id-{start}-{id}"))).await.unwrap();
            hashes.push(receipt.leaf_hash);
        }
        assert_eq!(ledger.health().segments_given_up, 0);
        ledger.close().await.unwrap();
    }
    assert_eq!(stored(&sim), hashes);
    let segments = sim.names().iter().filter(|path| path.to_string_lossy().ends_with(".seg")).count();
    assert!(segments >= 4, "{segments} segments");
    for from in [0, 1, 50, 99, 100, 250, 299] {
        let first = Entries::on(&sim, Path::new(DIR), from).unwrap().next().unwrap().unwrap();
        assert_eq!(first.index, from);
    }
    assert!(Entries::on(&sim, Path::new(DIR), 300).unwrap().next().is_none());
}

#[tokio::test]
async fn the_next_segment_is_prepared_before_it_is_needed() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let second = segment::path(Path::new(DIR), 1);
    // More than half of the first one, and not all: a writer that needs the second takes it as it is.
    for id in 0..18 {
        ledger.append(&decision(&format!("id-{id}"))).await.unwrap();
    }
    until("it is begun", || sim.names().contains(&second)).await;
    until("it has its room", || sim.contents(&second).len() == 32 * 1024).await;
    assert_eq!(sim.writes("00000001.seg"), [32 * 1024], "only zeros so far");
    let before = sim.writes(FIRST).len();
    while sim.writes("00000001.seg").len() == 1 {
        ledger.append(&admin("one more")).await.unwrap();
    }
    assert!(sim.writes(FIRST).len() >= before);
    ledger.close().await.unwrap();
    // Room that was prepared and not used is taken again.
    let (ledger, recovery) = open(&sim).unwrap();
    assert_eq!(recovery.truncated_bytes, 0);
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn a_real_directory_opens_again_with_its_entries_and_without_a_torn_tail() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("new/ledger");
    let (ledger, recovery) = Ledger::open(&dir).unwrap();
    assert_eq!((recovery.entries, recovery.truncated_bytes), (0, 0));
    let key = recovery.key_created.unwrap();
    assert_eq!(key.path, dir.join("signing.key"));
    for id in 0..10 {
        ledger.append(&decision(&format!("id-{id}"))).await.unwrap();
    }
    ledger.close().await.unwrap();

    let segment = segment::path(&dir, 0);
    let mut contents = std::fs::read(&segment).unwrap();
    let length = contents.len();
    let end = contents.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    contents.truncate(end);
    contents.extend_from_within(HEADER_BYTES..HEADER_BYTES + 50);
    std::fs::write(&segment, &contents).unwrap();
    let (ledger, recovery) = Ledger::open(&dir).unwrap();
    assert_eq!(recovery, Recovery { entries: 10, truncated_bytes: 50, key_created: None });
    assert!(std::fs::metadata(&segment).unwrap().len() <= length as u64);
    assert_eq!(ledger.append(&decision("id-10")).await.unwrap().index, 10);
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn only_one_server_writes_to_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path()).unwrap();
    let message = Ledger::open(dir.path()).unwrap_err().to_string();
    let place = format!("the ledger in `{}` is being written by another server", dir.path().display());
    assert!(message.starts_with(&place), "{message}");
    ledger.close().await.unwrap();
    Ledger::open(dir.path()).unwrap();
}

#[tokio::test]
async fn the_ledger_is_for_its_own_user_only() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("ledger");
    let (ledger, _) = Ledger::open(&dir).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&dir), mode(&segment::path(&dir, 0)), mode(&dir.join("signing.key"))),
        (0o700, 0o600, 0o600)
    );
    ledger.close().await.unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("file");
    std::fs::write(&file, "").unwrap();
    let message = Ledger::open(&file.join("ledger")).unwrap_err().to_string();
    assert!(message.starts_with("could not create the directory `"), "{message}");
}

#[test]
fn a_ledger_of_the_format_before_is_refused_with_a_clear_message() {
    let dir = tempfile::tempdir().unwrap();
    let path = segment::path(dir.path(), 0);
    std::fs::write(&path, b"PALISEG\n\x01\0\0\0\x64\x3d\x2d\x65").unwrap();
    let message = Ledger::open(dir.path()).unwrap_err().to_string();
    assert!(message.contains("has segment format `1`, and this palisade reads format `2`"), "{message}");
}
