//! Receipts mean durable: under load, under faults, and after every kind of crash.

use std::os::unix::fs::PermissionsExt;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::super::entry::tests::{admin, decision, outcome};
use super::super::file::sim::{Event, Fault, Sim};
use super::super::segment::{HEADER_BYTES, Scanner, Step};
use super::*;

mod faults;

const BOUNDS: QueueBounds = QueueBounds { entries: 100, bytes: 1024 * 1024 };
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn open(sim: &Sim) -> Result<(Ledger, Recovery), LedgerError> {
    open_bounded(sim, BOUNDS)
}

fn open_bounded(sim: &Sim, bounds: QueueBounds) -> Result<(Ledger, Recovery), LedgerError> {
    Ledger::open_with(sim, Path::new("simulated"), None, bounds)
}

/// The entries' hashes, and where each one's frame ends.
fn stored(sim: &Sim) -> Vec<(LeafHash, u64)> {
    let mut scanner = Scanner::new(sim.clone());
    let mut stored = Vec::new();
    loop {
        let hash = match scanner.step().unwrap() {
            Step::Frame(located) => frame::leaf_hash(located.frame.stored),
            Step::End { .. } => return stored,
            Step::Corrupt(error) => panic!("{error}"),
        };
        stored.push((hash, scanner.offset()));
    }
}

/// Every acknowledgement in the log comes after a sync that covers its entry, and after the name was durable.
fn check_acknowledged_after_sync(sim: &Sim, acknowledged: usize) {
    let stored = stored(sim);
    let (mut synced, mut named, mut seen) = (0, false, 0);
    for event in sim.events() {
        match event {
            Event::Synced { length } => synced = length,
            Event::DirSynced => named = true,
            Event::Acknowledged { index } => {
                let (_, end) = stored[usize::try_from(index).unwrap()];
                assert!(named && end <= synced, "entry {index} was acknowledged before it was durable");
                seen += 1;
            }
            Event::Written { .. } | Event::Truncated { .. } | Event::Failed => {}
        }
    }
    assert_eq!(seen, acknowledged);
}

fn batches(sim: &Sim) -> usize {
    let frames = |event: &&Event| matches!(event, Event::Written { end } if *end > HEADER_BYTES as u64);
    sim.events().iter().filter(frames).count()
}

#[tokio::test]
async fn a_receipt_comes_after_write_and_sync() {
    let sim = Sim::default();
    let (ledger, recovery) = open(&sim).unwrap();
    assert_eq!(recovery, Recovery { entries: 0, truncated_bytes: 0 });
    for index in 0..5 {
        let receipt = ledger.append(&decision(&format!("id-{index}"))).await.unwrap();
        sim.acknowledge(receipt.index);
        assert_eq!(receipt.index, index);
        assert_eq!(ledger.entries(), index + 1);
    }
    ledger.close().await.unwrap();
    check_acknowledged_after_sync(&sim, 5);
    assert_eq!(batches(&sim), 5);
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_sync_runs() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let held = sim.hold();
    let mut append = Box::pin(ledger.append(&decision("id")));
    held.wait_until_entered();
    assert!(append.as_mut().now_or_never().is_none());
    assert_eq!(ledger.entries(), 0);
    held.release();
    assert_eq!(append.await.unwrap().index, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_share_a_sync_and_are_acknowledged_after_it() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let append = |id: usize| {
        let (sim, entry) = (sim.clone(), decision(&format!("id-{id}")));
        let append = ledger.append(&entry);
        let hash = frame::leaf_hash(entry.encode().unwrap().bytes());
        tokio::spawn(async move {
            let receipt = append.await.unwrap();
            sim.acknowledge(receipt.index);
            assert_eq!(receipt.leaf_hash, hash);
            receipt
        })
    };
    let held = sim.hold();
    let mut appends = vec![append(0)];
    held.wait_until_entered();
    appends.extend((1..64).map(append));
    assert_eq!(ledger.queued(), 63);
    held.release();

    let receipts: Vec<Receipt> = join_all(appends).await.into_iter().map(Result::unwrap).collect();
    let indexes: Vec<u64> = receipts.iter().map(|receipt| receipt.index).collect();
    assert_eq!(indexes, (0..64).collect::<Vec<u64>>());
    ledger.close().await.unwrap();
    let hashes: Vec<LeafHash> = stored(&sim).into_iter().map(|(hash, _)| hash).collect();
    assert_eq!(hashes, receipts.iter().map(|receipt| receipt.leaf_hash).collect::<Vec<LeafHash>>());
    check_acknowledged_after_sync(&sim, 64);
    assert_eq!(batches(&sim), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_from_many_tasks_are_each_acknowledged_after_their_sync() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let tasks = (0..64).map(|task| {
        let (sim, ledger) = (sim.clone(), ledger.clone());
        tokio::spawn(async move {
            for round in 0..10 {
                let receipt = ledger.append(&decision(&format!("id-{task}-{round}"))).await.unwrap();
                sim.acknowledge(receipt.index);
            }
        })
    });
    for ended in join_all(tasks).await {
        ended.unwrap();
    }
    ledger.close().await.unwrap();
    check_acknowledged_after_sync(&sim, 640);
}

#[tokio::test]
async fn an_append_whose_future_is_dropped_is_still_recorded() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let held = sim.hold();
    // Dropped unpolled, dropped while it waits for the sync, and dropped while it waits in the queue.
    let mut in_sync = Box::pin(ledger.append(&decision("in sync")));
    held.wait_until_entered();
    let mut queued = Box::pin(ledger.append(&decision("queued")));
    assert!(in_sync.as_mut().now_or_never().is_none() && queued.as_mut().now_or_never().is_none());
    drop(ledger.append(&decision("unpolled")));
    drop((in_sync, queued));
    held.release();
    ledger.close().await.unwrap();
    let expected =
        ["in sync", "queued", "unpolled"].map(|id| frame::leaf_hash(decision(id).encode().unwrap().bytes()));
    assert_eq!(stored(&sim).into_iter().map(|(hash, _)| hash).collect::<Vec<LeafHash>>(), expected);
}

#[tokio::test]
async fn a_full_queue_is_overload() {
    let sim = Sim::default();
    let (ledger, _) = open_bounded(&sim, QueueBounds { entries: 4, ..BOUNDS }).unwrap();
    let held = sim.hold();
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
    let (ledger, _) = open_bounded(&sim, QueueBounds { bytes: 10_000, ..BOUNDS }).unwrap();
    let large = admin(&"x".repeat(4_900));
    let held = sim.hold();
    let in_sync = ledger.append(&large);
    held.wait_until_entered();
    let queued = ledger.append(&large);
    assert_eq!(ledger.append(&large).await, Err(AppendError::Overloaded));
    assert_eq!(ledger.append_soon(&admin("small")), Err(AppendError::Overloaded));
    held.release();
    in_sync.await.unwrap();
    queued.await.unwrap();
    ledger.append(&large).await.unwrap();
}

#[tokio::test]
async fn an_entry_over_the_limit_is_refused_and_harms_nothing() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let too_large = admin(&"x".repeat(crate::ledger::ENTRY_BYTES_MAX));
    assert!(matches!(ledger.append(&too_large).await, Err(AppendError::TooLarge { .. })));
    assert_eq!(ledger.append(&admin("fits")).await.unwrap().index, 0);
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
    let mut ended = ledger.ended.clone();
    drop(ledger);
    ended.changed().await.unwrap_err();
    assert_eq!(stored(&sim).len(), 40);
}

#[tokio::test]
async fn a_failed_sync_poisons_the_ledger() {
    // The first sync belongs to opening.
    let sim = Sim::default().failing(Fault::Sync { at: 2, errno: EIO });
    let (ledger, _) = open(&sim).unwrap();
    ledger.append(&decision("stored")).await.unwrap();
    let Err(AppendError::Poisoned { cause }) = ledger.append(&decision("unknown")).await else {
        panic!("stored")
    };
    assert_eq!(&*cause, "could not sync `simulated/00000000.seg`: Input/output error (os error 5)");

    let contents = sim.contents();
    let poisoned = AppendError::Poisoned { cause: Arc::clone(&cause) };
    assert_eq!(ledger.append(&decision("late")).await, Err(poisoned.clone()));
    assert_eq!(ledger.append_soon(&outcome(None)), Err(poisoned.clone()));
    assert_eq!(ledger.state(), LedgerState::Poisoned { cause });
    assert_eq!(ledger.entries(), 1);
    assert_eq!(ledger.close().await, Err(poisoned));
    assert!(sim.contents() == contents, "a poisoned ledger was written to");
}

#[tokio::test]
async fn whoever_waits_in_the_queue_learns_of_the_poison() {
    let sim = Sim::default().failing(Fault::Sync { at: 1, errno: ENOSPC });
    let (ledger, _) = open(&sim).unwrap();
    let held = sim.hold();
    let mut appends = vec![ledger.append(&decision("in sync"))];
    held.wait_until_entered();
    appends.extend((0..50).map(|id| ledger.append(&decision(&format!("queued {id}")))));
    held.release();
    for answer in join_all(appends).await {
        assert!(matches!(answer, Err(AppendError::Poisoned { .. })));
    }
}

#[tokio::test]
async fn a_panic_of_the_thread_is_poison_and_not_silence() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let held = sim.hold();
    let append = ledger.append(&decision("id"));
    held.wait_until_entered();
    // The writer waits for a release that can no longer come, and the simulated disk panics.
    drop(held);
    assert!(matches!(append.await, Err(AppendError::Poisoned { .. })));
    let mut ended = ledger.ended.clone();
    ended.changed().await.unwrap_err();
    assert!(matches!(ledger.state(), LedgerState::Poisoned { .. }));
    assert!(matches!(ledger.append(&decision("late")).await, Err(AppendError::Poisoned { .. })));
}

#[tokio::test]
async fn a_real_directory_opens_again_with_its_entries_and_without_a_torn_tail() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("new/ledger");
    let (ledger, recovery) = Ledger::open(&dir).unwrap();
    assert_eq!(recovery, Recovery { entries: 0, truncated_bytes: 0 });
    for id in 0..10 {
        ledger.append(&decision(&format!("id-{id}"))).await.unwrap();
    }
    ledger.close().await.unwrap();

    let segment = segment::path(&dir, 0);
    let mut contents = std::fs::read(&segment).unwrap();
    let length = contents.len();
    contents.extend_from_within(HEADER_BYTES..HEADER_BYTES + 50);
    std::fs::write(&segment, &contents).unwrap();
    let (ledger, recovery) = Ledger::open(&dir).unwrap();
    assert_eq!(recovery, Recovery { entries: 10, truncated_bytes: 50 });
    assert_eq!(std::fs::metadata(&segment).unwrap().len(), length as u64);
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
    Ledger::open(&dir).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&segment::path(&dir, 0))), (0o700, 0o600));
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("file");
    std::fs::write(&file, "").unwrap();
    let message = Ledger::open(&file.join("ledger")).unwrap_err().to_string();
    assert!(message.starts_with("could not create the directory `"), "{message}");
}
