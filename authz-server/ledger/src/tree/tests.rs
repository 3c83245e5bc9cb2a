//! Checkpoints come in time, whether or not anything happens, and never contradict one another.

use std::path::Path;

use super::*;
use crate::entry::tests::{admin, decision};
use crate::file::sim::{Crash, Sim};
use crate::key;
use crate::ledger::tests::{DIR, open, settings};
use crate::ledger::{Ledger, Settings};
use crate::queue::Bounds;
use crate::tiles::CHECKPOINT_FILE;
use crate::verify::{Against, verify_on};

const DEADLINE: Duration = Duration::from_secs(10);

fn open_often(sim: &Sim) -> Ledger {
    let often = Settings { checkpoint_every: Duration::from_millis(20), ..settings() };
    Ledger::open_on(sim, Path::new(DIR), None, Bounds::default(), &often).unwrap().0
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "{what}: never within {DEADLINE:?}");
        tokio::task::yield_now().await;
    }
}

fn latest(sim: &Sim) -> Option<Checkpoint> {
    let key = key::verifier(sim, Path::new(DIR)).unwrap()?;
    let note = tiles::checkpoint_note(sim, Path::new(DIR)).unwrap()?;
    Some(key.open(&note).unwrap())
}

#[tokio::test]
async fn an_entry_is_under_a_checkpoint_after_the_interval_and_idle_time_is_signed_too() {
    let sim = Sim::default();
    let ledger = open_often(&sim);
    for number in 0..3_u64 {
        ledger.append(&decision(&format!("id-{number}"))).await.unwrap();
        until("it is signed", || latest(&sim).is_some_and(|latest| latest.size == number + 1)).await;
        assert_eq!(ledger.health().signed.entries, number + 1);
    }
    // Nothing happens, and that is signed with a later time.
    let before = latest(&sim).unwrap();
    until("time passes", || latest(&sim).is_some_and(|latest| latest.time_s > before.time_s)).await;
    let after = latest(&sim).unwrap();
    assert_eq!((after.size, after.root), (before.size, before.root));
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn what_lies_in_the_segments_is_signed_though_the_tree_never_saw_it() {
    // The power goes before anything but the first checkpoint is signed.
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    for number in 0..60 {
        ledger.append(&decision(&format!("id-{number}"))).await.unwrap();
    }
    let left = sim.after(Crash::PowerLost);
    ledger.close().await.unwrap();
    assert!(latest(&left).is_none_or(|latest| latest.size < 60));
    let ledger = open_often(&left);
    until("all of it is signed", || ledger.health().signed.entries == 60).await;
    ledger.close().await.unwrap();
    assert_eq!(latest(&left).unwrap().root, latest(&sim).unwrap().root);
}

#[tokio::test]
async fn trouble_with_tiles_is_told_and_passes_and_no_entry_waits_for_it() {
    use crate::file::sim::{ENOSPC, Fault, Op};
    let sim = Sim::default();
    let ledger = open_often(&sim);
    until("the first checkpoint", || latest(&sim).is_some()).await;
    sim.fail(Fault { times: usize::MAX, ..Fault::once(Op::Create, ".new", 0, ENOSPC) });
    for number in 0..600 {
        let append = ledger.append(&admin(&format!("event {number}")));
        if number % 100 == 99 {
            append.await.unwrap();
        }
    }
    until("it is told", || ledger.health().signed.trouble.is_some()).await;
    assert_eq!(ledger.entries(), 600);
    sim.mended();
    until("it passes", || {
        ledger.health().signed == Signed { entries: 600, trouble: None, ..ledger.health().signed }
    })
    .await;
    ledger.close().await.unwrap();
    let verified = verify_on(&sim, Path::new(DIR), &Against::default()).unwrap();
    assert_eq!((verified.entries, verified.unsigned(), verified.tiles_damaged), (600, 0, 0));
}

#[tokio::test]
async fn entries_that_were_changed_behind_a_checkpoint_are_never_signed() {
    let sim = Sim::default();
    let (ledger, _) = open(&sim).unwrap();
    for number in 0..20 {
        ledger.append(&admin(&format!("event {number:03}"))).await.unwrap();
    }
    ledger.close().await.unwrap();
    let signed = sim.contents(&Path::new(DIR).join(CHECKPOINT_FILE));
    // The same ledger with another entry in place of one, its checksums fitting; the sealed checkpoints are taken away, so
    // that the tree is made from the entries.
    let other = Sim::default();
    let (ledger, _) = open(&other).unwrap();
    for number in 0..20 {
        let detail = if number == 7 { "event 666".to_owned() } else { format!("event {number:03}") };
        ledger.append(&admin(&detail)).await.unwrap();
    }
    ledger.close().await.unwrap();
    let segment = crate::segment::path(Path::new(DIR), 0);
    sim.put(&segment, &other.contents(&segment));
    for name in sim.names().into_iter().filter(|name| name.starts_with(Path::new(DIR).join("checkpoints"))) {
        sim.delete(&name);
    }
    let ledger = open_often(&sim);
    until("it is told", || ledger.health().signed.trouble.is_some()).await;
    let trouble = ledger.health().signed.trouble.unwrap();
    assert!(trouble.starts_with("the first 20 entries are not those that were signed"), "{trouble}");
    ledger.append(&admin("goes on")).await.unwrap();
    ledger.close().await.unwrap();
    assert_eq!(sim.contents(&Path::new(DIR).join(CHECKPOINT_FILE)), signed);
}

#[tokio::test]
async fn without_the_key_a_signed_ledger_is_not_opened() {
    let sim = Sim::default();
    let (ledger, recovery) = open(&sim).unwrap();
    assert!(recovery.key_created.is_some());
    ledger.close().await.unwrap();
    let (ledger, recovery) = open(&sim).unwrap();
    assert_eq!(recovery.key_created, None);
    ledger.close().await.unwrap();
    let key = Path::new(DIR).join("signing.key");
    sim.overwrite(&key, 0, b"X");
    let message = open(&sim).unwrap_err().to_string();
    assert!(message.starts_with("`simulated/signing.key` is no signing key"), "{message}");
    sim.delete(&key);
    let message = open(&sim).unwrap_err().to_string();
    assert!(
        message.starts_with("`simulated/signing.key` is missing, and the ledger was signed"),
        "{message}"
    );
}
