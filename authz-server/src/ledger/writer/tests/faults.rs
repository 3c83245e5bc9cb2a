//! Every operation fails in turn, every crash follows, and no acknowledged entry is ever missing.

use super::super::super::file::sim::Crash;
use super::*;

/// Opens and appends in rounds of several at once, until something fails. Gives what was acknowledged.
async fn append_until_failure(sim: &Sim) -> Vec<Receipt> {
    let mut acknowledged = Vec::new();
    let Ok((ledger, _)) = open(sim) else { return acknowledged };
    for round in 0..4 {
        let appends: Vec<_> =
            (0..6).map(|id| ledger.append(&decision(&format!("id-{round}-{id}")))).collect();
        for answer in join_all(appends).await {
            match answer {
                Ok(receipt) => {
                    sim.acknowledge(receipt.index);
                    acknowledged.push(receipt);
                }
                Err(error) => assert!(matches!(error, AppendError::Poisoned { .. }), "{error}"),
            }
        }
    }
    let closed = ledger.close().await;
    let events = sim.events();
    let failed = events.iter().position(|event| *event == Event::Failed);
    assert_eq!(closed.is_err(), failed.is_some());
    let after = failed.map(|at| &events[at + 1..]).unwrap_or_default();
    let touched = after.iter().any(|event| !matches!(event, Event::Acknowledged { .. }));
    assert!(!touched, "the file was touched after a failure: {after:?}");
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
        let (hash, _) = stored[usize::try_from(receipt.index).unwrap()];
        assert_eq!(hash, receipt.leaf_hash, "entry {}", receipt.index);
    }
}

#[tokio::test]
async fn every_acknowledged_entry_survives_a_fault_at_every_operation_and_every_crash() {
    let mut crashes = vec![Crash::Killed, Crash::PowerLost];
    crashes.extend((0..=1000).step_by(125).map(|kept| Crash::PowerLostTorn { kept }));
    crashes.extend((0..8).map(|sector| Crash::PowerLostHole { sector }));

    let mut crashes_survived = 0;
    let write = |errno, kept| move |at| Fault::Write { at, errno, kept };
    let sync = |errno| move |at| Fault::Sync { at, errno };
    let faults: [Box<dyn Fn(usize) -> Fault>; 5] = [
        Box::new(write(EIO, 0)),
        Box::new(write(ENOSPC, 400)),
        Box::new(write(ENOSPC, 1000)),
        Box::new(sync(EIO)),
        Box::new(sync(ENOSPC)),
    ];
    for fault in faults {
        for at in 0.. {
            let sim = Sim::default().failing(fault(at));
            let acknowledged = append_until_failure(&sim).await;
            for crash in &crashes {
                check_survives(&sim, acknowledged.clone(), *crash).await;
                crashes_survived += 1;
            }
            if !sim.events().contains(&Event::Failed) {
                assert_eq!(acknowledged.len(), 24);
                break;
            }
        }
    }
    // Opening has two writes and a sync, and four rounds have at least a write and a sync each; then all goes well.
    let least = (3 * 6 + 2 * 5 + 5) * crashes.len();
    assert!(crashes_survived >= least, "{crashes_survived} of {least}");
}

#[tokio::test]
async fn a_fault_while_recovering_loses_nothing() {
    let sim = Sim::default();
    let acknowledged = append_until_failure(&sim).await;
    let mut torn = sim.contents();
    torn.extend_from_slice(&[7, 0, 0]);
    for fault in [
        Fault::Write { at: 0, errno: EIO, kept: 0 },
        Fault::Write { at: 0, errno: EIO, kept: 500 },
        Fault::Sync { at: 0, errno: EIO },
    ] {
        let sim = Sim::with_contents(&torn).failing(fault);
        assert!(open(&sim).is_err());
        for crash in [Crash::Killed, Crash::PowerLost, Crash::PowerLostTorn { kept: 500 }] {
            check_survives(&sim, acknowledged.clone(), crash).await;
        }
    }
}
