//! Every operation fails in turn, the power goes in the middle of every operation, every crash follows, and no
//! acknowledged entry is ever missing.
//!
//! `PALISADE_POWER_CUTS` makes it more: so many seeds for each operation.

use super::*;
use crate::file::sim::{EIO, ENOSPC, Fault, Op};

const CRASH_SEEDS: u64 = 4;

fn seeds() -> u64 {
    match std::env::var("PALISADE_POWER_CUTS") {
        Ok(text) => text.parse().expect("`PALISADE_POWER_CUTS` is a number of seeds"),
        Err(_) => CRASH_SEEDS,
    }
}

fn crashes() -> Vec<Crash> {
    let mut crashes = vec![Crash::Killed, Crash::PowerLost];
    crashes.extend((0..=1000).step_by(250).map(|kept| Crash::PowerLostTorn { kept }));
    crashes.extend((0..seeds()).map(|seed| Crash::PowerLostAnyhow { seed }));
    crashes
}

/// Opens and appends in rounds of several at once, until something fails or the rounds are over. Gives what was
/// acknowledged.
async fn append_in_rounds(sim: &Sim) -> Vec<Receipt> {
    let mut acknowledged = Vec::new();
    let Ok((ledger, _)) = open(sim) else { return acknowledged };
    for round in 0..8 {
        let appends: Vec<_> =
            (0..6).map(|id| ledger.append(&decision(&format!("id-{round}-{id}")))).collect();
        let mut refused = false;
        for answer in join_all(appends).await {
            match answer {
                Ok(receipt) => acknowledged.push(receipt),
                Err(error) => {
                    assert!(matches!(error, AppendError::Failing { .. }), "{error}");
                    refused = true;
                }
            }
        }
        if refused {
            break;
        }
    }
    // Refused only where something failed, which the caller looks at.
    let _closed = ledger.close().await;
    acknowledged
}

/// After this crash the ledger opens, holds what was acknowledged, takes more, and holds all of it after power
/// is lost once more.
async fn check_survives(sim: &Sim, mut acknowledged: Vec<Receipt>, crash: Crash) {
    let found = sim.after(crash);
    let (ledger, recovery) = open(&found).unwrap_or_else(|error| panic!("{crash:?}: {error}"));
    check_holds(&found, &acknowledged);
    assert_eq!(recovery.entries, stored(&found).len() as u64);
    for id in 0..2 {
        let receipt = ledger.append(&decision(&format!("after the crash {id}"))).await.unwrap();
        assert_eq!(receipt.index, recovery.entries + id);
        acknowledged.push(receipt);
    }
    ledger.close().await.unwrap();
    let verified = crate::verify::verify_on(&found, Path::new(DIR), &crate::Against::default());
    let verified = verified.unwrap_or_else(|error| panic!("{crash:?}: {error}"));
    assert_eq!((verified.unsigned(), verified.tiles_damaged), (0, 0), "{crash:?}: {:?}", verified.tiles);

    let found = found.after(Crash::PowerLost);
    let (ledger, recovery) =
        open(&found).unwrap_or_else(|error| panic!("{crash:?}, then power lost: {error}"));
    check_holds(&found, &acknowledged);
    assert_eq!(recovery.truncated_bytes, 0);
    ledger.close().await.unwrap();
}

fn check_holds(sim: &Sim, acknowledged: &[Receipt]) {
    let stored = stored(sim);
    for receipt in acknowledged {
        let found = stored.get(usize::try_from(receipt.index).unwrap());
        assert_eq!(found, Some(&receipt.leaf_hash), "entry {}", receipt.index);
    }
}

#[tokio::test]
async fn power_lost_in_the_middle_of_every_operation_loses_nothing_acknowledged() {
    let crashes = crashes();
    let (mut cuts, mut survived) = (0, 0);
    loop {
        let sim = Sim::default().cut_at(cuts);
        let acknowledged = append_in_rounds(&sim).await;
        for crash in &crashes {
            check_survives(&sim, acknowledged.clone(), *crash).await;
            survived += 1;
        }
        if !sim.is_cut() {
            assert_eq!(acknowledged.len(), 48);
            break;
        }
        cuts += 1;
    }
    println!("{cuts} places to lose power in, {survived} crashes survived, no acknowledged entry lost");
    // Eight rounds of write and sync, two segments prepared and begun, key, tiles and checkpoints.
    assert!(cuts >= 60 && survived >= 60 * crashes.len(), "{cuts} cuts, {survived} crashes");
}

#[tokio::test]
async fn every_acknowledged_entry_survives_a_fault_at_every_operation_and_every_crash() {
    let crashes = crashes();
    let mut survived = 0;
    for op in Op::ALL {
        for (on, errno, kept, times) in
            [(".seg", EIO, 0, 1), (".seg", ENOSPC, 400, 3), ("", EIO, 1000, 1), ("", ENOSPC, 0, usize::MAX)]
        {
            for at in 0.. {
                let fault = Fault { op, on, at, times, errno, kept };
                let sim = Sim::default().failing(fault);
                let acknowledged = append_in_rounds(&sim).await;
                let failed = sim.failures() > 0;
                for crash in &crashes {
                    check_survives(&sim, acknowledged.clone(), *crash).await;
                    survived += 1;
                }
                if !failed {
                    break;
                }
            }
        }
    }
    println!("{survived} faults and crashes survived, no acknowledged entry lost");
    let least = 2 * 40 * crashes.len();
    assert!(survived >= least, "{survived} of {least}");
}

#[tokio::test]
async fn a_fault_while_recovering_loses_nothing() {
    let sim = Sim::default();
    let acknowledged = append_in_rounds(&sim).await;
    let last = sim.names().into_iter().filter(|path| path.extension().is_some_and(|it| it == "seg"));
    let last = last.filter(|path| sim.contents(path)[0] != 0).max().unwrap();
    let mut torn = sim.contents(&last);
    let end = torn.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    torn.truncate(end);
    torn.extend_from_slice(&[7, 0, 0]);
    for op in [Op::Write, Op::Sync, Op::SyncDir] {
        for kept in [0, 500] {
            let sim = sim.after(Crash::PowerLost);
            sim.put(&last, &torn);
            sim.fail(Fault { kept, ..Fault::once(op, "", 0, EIO) });
            assert!(open(&sim).is_err());
            for crash in [Crash::Killed, Crash::PowerLost, Crash::PowerLostTorn { kept: 500 }] {
                check_survives(&sim, acknowledged.clone(), crash).await;
            }
        }
    }
}
