//! Failures and what follows them; and what buffered entries promise.

use super::*;
use crate::entry::AdminEvent;
use crate::file::sim::{EIO, ENOSPC, EROFS, Fault, Op};
use crate::limits::{BUFFERED_LOSS_MAX, RETRY_AFTER};

async fn failing_at(op: Op, on: &'static str, errno: i32) -> (Sim, Ledger) {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    ledger.append(&decision("stored")).await.unwrap();
    sim.fail(Fault { times: usize::MAX, ..Fault::once(op, on, 0, errno) });
    (sim, ledger)
}

fn events(sim: &Sim) -> Vec<AdminEvent> {
    let entries = Entries::on(sim, Path::new(DIR), 0).unwrap().map(Result::unwrap);
    let events = entries.filter_map(|recorded| match recorded.entry {
        Entry::Admin(admin) => Some(admin.event),
        Entry::Decision(_)
        | Entry::Refusal(_)
        | Entry::Outcome(_)
        | Entry::Drift(_)
        | Entry::Judged(_)
        | Entry::Shed(_)
        | Entry::Load(_) => None,
    });
    events.collect()
}

#[tokio::test]
async fn a_failed_write_or_sync_gives_the_segment_up_and_nobody_is_refused() {
    for (op, errno) in [(Op::Write, EIO), (Op::Write, ENOSPC), (Op::Sync, EIO), (Op::Sync, ENOSPC)] {
        let sim = Sim::default();
        let (ledger, _) = open(&sim).unwrap();
        let mut receipts = vec![ledger.append(&decision("stored")).await.unwrap()];
        sim.fail(Fault::once(op, FIRST, 0, errno));
        let before = sim.contents(&segment::path(Path::new(DIR), 0)).len();
        for id in 0..3 {
            receipts.push(ledger.append(&decision(&format!("after {id}"))).await.unwrap());
        }
        assert_eq!(ledger.health().segments_given_up, 1);
        assert_eq!(ledger.state(), LedgerState::Open);
        assert!(receipts.iter().all(|receipt| is_durable(&sim, receipt)));
        ledger.close().await.unwrap();
        assert_eq!(events(&sim), [AdminEvent::SegmentReplaced]);
        assert_eq!(stored(&sim).len(), 5);
        assert_eq!(sim.contents(&segment::path(Path::new(DIR), 0)).len(), before);
        // The order is the one of the receipts, and the next start agrees.
        let (ledger, recovery) = open(&sim.after(Crash::PowerLost)).unwrap();
        assert_eq!(recovery.entries, 5);
        ledger.close().await.unwrap();
    }
}

#[tokio::test]
async fn while_no_segment_works_everything_is_refused_and_it_recovers_by_itself() {
    for (op, errno) in [(Op::Write, ENOSPC), (Op::Sync, EIO), (Op::Write, EROFS)] {
        let (sim, ledger) = failing_at(op, ".seg", errno).await;
        let Err(AppendError::Failing { cause }) = ledger.append(&decision("refused")).await else {
            panic!("stored")
        };
        assert!(cause.starts_with("could not "), "{cause}");
        assert!(cause.contains(&format!("(os error {errno})")), "{cause}");
        assert_eq!(ledger.state(), LedgerState::Failing { cause: Arc::clone(&cause) });
        let refusal = AppendError::Failing { cause };
        assert_eq!(ledger.append(&decision("late")).await, Err(refusal.clone()));
        assert_eq!(ledger.append_as(&decision("late"), Durability::Buffered).await, Err(refusal.clone()));
        assert_eq!(ledger.append_soon(&outcome(None)), Err(refusal));

        sim.mended();
        until("it stores again", || ledger.state() == LedgerState::Open).await;
        let receipt = ledger.append(&decision("after")).await.unwrap();
        assert!(is_durable(&sim, &receipt));
        ledger.close().await.unwrap();
        let ids = ["stored", "refused", "after"].map(|id| hash_of(&decision(id)));
        let found = stored(&sim);
        assert_eq!((found[0], found[1], found[3]), (ids[0], ids[1], ids[2]));
        assert_eq!(events(&sim), [AdminEvent::SegmentReplaced]);
        assert!(!found.contains(&hash_of(&decision("late"))));
    }
}

#[tokio::test]
async fn whoever_waits_learns_of_the_failure() {
    let (sim, ledger) = failing_at(Op::Sync, ".seg", EIO).await;
    let held = sim.hold(FIRST);
    let mut appends = vec![ledger.append(&decision("in sync"))];
    held.wait_until_entered();
    appends.extend((0..50).map(|id| ledger.append(&decision(&format!("queued {id}")))));
    held.release();
    for answer in join_all(appends).await {
        assert!(matches!(answer, Err(AppendError::Failing { .. })), "{answer:?}");
    }
    assert!(matches!(ledger.close().await, Err(AppendError::Failing { .. })));
}

#[tokio::test]
async fn a_retry_does_not_wait_forever() {
    let (sim, ledger) = failing_at(Op::Sync, ".seg", EIO).await;
    ledger.append(&decision("refused")).await.unwrap_err();
    let failures = sim.failures();
    until("it tries again", || sim.failures() >= failures + 2).await;
    let began = Instant::now();
    ledger.close().await.unwrap_err();
    assert!(began.elapsed() < RETRY_AFTER * 10, "closing waits for no retry");
}

#[tokio::test]
async fn a_buffered_entry_is_acknowledged_at_once_and_durable_soon() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let began = Instant::now();
    for id in 0..3 {
        let accepted = ledger.append_as(&decision(&format!("id-{id}")), Durability::Buffered).await.unwrap();
        assert_eq!(accepted, Accepted::Buffered);
    }
    until("they are durable", || ledger.entries() == 3).await;
    let took = began.elapsed();
    assert_eq!(stored(&sim.after(Crash::PowerLost)).len(), 3);
    assert_eq!(batches(&sim), 1, "they shared a sync");
    assert!(took < DEADLINE);
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn a_durable_entry_takes_the_buffered_ones_before_it_along() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    ledger.append_as(&decision("buffered"), Durability::Buffered).await.unwrap();
    let Accepted::Durable(receipt) =
        ledger.append_as(&decision("durable"), Durability::Durable).await.unwrap()
    else {
        panic!("not durable")
    };
    assert_eq!(receipt.index, 1);
    assert!(is_durable(&sim, &receipt));
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn never_more_buffered_entries_are_at_risk_than_the_bound() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let held = sim.hold(FIRST);
    let in_sync = ledger.append(&decision("in sync"));
    held.wait_until_entered();
    let mut waiting = Vec::new();
    let mut acknowledged = 0;
    for id in 0..20 {
        let mut append = Box::pin(ledger.append_as(&decision(&format!("id-{id}")), Durability::Buffered));
        match append.as_mut().now_or_never() {
            Some(accepted) => {
                assert_eq!(accepted.unwrap(), Accepted::Buffered);
                acknowledged += 1;
            }
            None => waiting.push(append),
        }
    }
    assert_eq!((acknowledged, waiting.len()), (BOUNDS.buffered_entries, 20 - BOUNDS.buffered_entries));
    held.release();
    in_sync.await.unwrap();
    for append in waiting {
        assert!(matches!(append.await.unwrap(), Accepted::Durable(_)));
    }
    assert_eq!(stored(&sim.after(Crash::PowerLost)).len(), 21);
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn a_sync_that_takes_too_long_makes_buffered_callers_wait() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    let held = sim.hold(FIRST);
    // The writer is in the sync of the first, and the second is at risk from now on.
    let in_sync = ledger.append(&decision("in sync"));
    held.wait_until_entered();
    assert_eq!(ledger.append_as(&decision("at risk"), Durability::Buffered).await, Ok(Accepted::Buffered));
    let began = Instant::now();
    until("the bound is over", || began.elapsed() >= BUFFERED_LOSS_MAX).await;
    let mut late = Box::pin(ledger.append_as(&decision("late"), Durability::Buffered));
    assert!(late.as_mut().now_or_never().is_none());
    held.release();
    in_sync.await.unwrap();
    assert!(matches!(late.await.unwrap(), Accepted::Durable(_)));
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn buffered_entries_survive_a_segment_that_is_given_up() {
    let (sim, ledger) = failing_at(Op::Sync, ".seg", EIO).await;
    let held = sim.hold(FIRST);
    let in_sync = ledger.append(&decision("in sync"));
    held.wait_until_entered();
    assert_eq!(ledger.append_as(&decision("buffered"), Durability::Buffered).await, Ok(Accepted::Buffered));
    held.release();
    in_sync.await.unwrap_err();
    sim.mended();
    until("it stores again", || ledger.state() == LedgerState::Open).await;
    assert!(stored(&sim.after(Crash::PowerLost)).contains(&hash_of(&decision("buffered"))));
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn room_that_cannot_be_prepared_stops_nothing() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    // The second segment is wanted once the first is half full, and made by the writer itself once it is full.
    sim.fail(Fault::once(Op::Create, "00000001.seg", 0, ENOSPC));
    for id in 0..100 {
        let receipt = ledger.append(&decision(&format!("id-{id}"))).await.unwrap();
        assert_eq!(receipt.index, id);
        if id == 18 {
            // More than half and not full: were the writer quicker than the thread that prepares, it would meet the fault.
            until("room was asked for in vain", || sim.failures() == 1).await;
        }
    }
    assert_eq!((sim.failures(), ledger.health().segments_given_up), (1, 0));
    ledger.close().await.unwrap();
}
