//! What the filter itself refused is in the ledger: each refusal once, or counted as lost, whatever happens to the server.
//!
//! Callers count what they were refused, by the id that each reply carries; nothing is concluded from what the filter
//! says of itself.

mod drift;
mod kinds;
mod outages;
mod storms;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use palisade::ledger::{AdminEvent, Entry, Refusal};
use tests::deadline::eventually;
use tests::raw_client::{Outcome, RawConnection};
use tests::rig::Rig;

/// How soon a refusal must be in the ledger of a server that is up, on a machine that has other things to do.
const SOON: Duration = Duration::from_secs(5);

/// The same after an outage: the filter pauses before it tries again.
const AFTER_AN_OUTAGE: Duration = Duration::from_secs(30);

/// What the ledger knows of reports.
#[derive(Debug, Default)]
struct Told {
    refusals: Vec<Refusal>,
    /// VM, first number, and how many.
    lost: Vec<(String, u64, u64)>,
    /// VM and number of what is told beside refusals.
    beside: Vec<(String, u64)>,
}

impl Told {
    fn of(rig: &Rig) -> Self {
        let mut told = Self::default();
        for entry in rig.ledger_entries() {
            match entry {
                Entry::Refusal(refusal) => told.refusals.push(refusal),
                Entry::Admin(admin) => {
                    if let AdminEvent::ReportsLost { vm, from, count } = admin.event {
                        told.lost.push((vm, from, count));
                    }
                }
                Entry::Drift(drift) => told.beside.push((drift.vm, drift.sequence)),
                Entry::Judged(judged) => told.beside.push((judged.vm, judged.sequence)),
                Entry::Shed(sheds) => told.beside.push((sheds.vm, sheds.sequence)),
                Entry::Load(load) => told.beside.push((load.vm, load.sequence)),
                Entry::Decision(_) | Entry::Outcome(_) => {}
            }
        }
        told
    }

    fn lost(&self) -> u64 {
        self.lost.iter().map(|(_, _, count)| count).sum()
    }

    fn call_ids(&self) -> BTreeSet<String> {
        self.refusals.iter().map(|refusal| refusal.call_id.clone()).collect()
    }

    /// Of each VM all numbers from 0 are there, each once; how many VMs there are.
    #[track_caller]
    fn assert_without_holes(&self) -> usize {
        let mut numbers: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
        for refusal in &self.refusals {
            numbers.entry(&refusal.vm).or_default().push((refusal.sequence, 1));
        }
        for (vm, sequence) in &self.beside {
            numbers.entry(vm).or_default().push((*sequence, 1));
        }
        for (vm, from, count) in &self.lost {
            numbers.entry(vm).or_default().push((*from, *count));
        }
        for (vm, runs) in &mut numbers {
            runs.sort_unstable();
            let mut next = 0;
            for (from, count) in runs {
                assert_eq!(*from, next, "VM {vm}: {from} stands where {next} is expected");
                next += *count;
            }
        }
        numbers.len()
    }
}

/// Waits until the ledger has all these refusals and tells of no other, and gives them.
#[track_caller]
fn all_told(rig: &Rig, refused: &BTreeSet<String>, within: Duration) -> Told {
    let told = eventually(&format!("{} refusals are stored", refused.len()), within, || {
        let told = Told::of(rig);
        (told.refusals.len() >= refused.len()).then_some(told)
    });
    assert_eq!(told.refusals.len(), refused.len(), "none is stored twice");
    assert!(told.call_ids() == *refused, "what is stored is what callers were told");
    told
}

/// A request that the filter refuses by itself, over a connection that stays open; the id that the caller is told.
fn refused(connection: &mut RawConnection, host: &str) -> String {
    let request = format!("GET /nobody-declared-it HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let reply = match connection.exchange(request.as_bytes()) {
        Outcome::Reply(reply) => reply,
        outcome => panic!("a refusal was not answered: {outcome:?}"),
    };
    assert_eq!(reply.reason().as_deref(), Some("operation_unknown"));
    reply.decision_id().expect("a refusal has an id")
}

/// So many refusals over so many connections, as fast as they go.
fn flood(rig: &Rig, count: usize, connections: usize) -> BTreeSet<String> {
    let host = rig.profile.value("host");
    std::thread::scope(|scope| {
        let share = |index: usize| count / connections + usize::from(index < count % connections);
        let send = |index| {
            scope.spawn(move || {
                let mut connection = RawConnection::open(rig.addr()).expect("connect to the listener");
                (0..share(index)).map(|_| refused(&mut connection, host)).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (0..connections).map(send).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a caller")).collect()
    })
}

/// One number of the server's metrics, labels included in the name; 0 where it is not there.
fn metric(rig: &Rig, name: &str) -> u64 {
    let metrics = rig.server_metrics();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// A number from the environment, for runs of full size.
fn size(variable: &str, ordinary: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("`{variable}` is a number")),
        Err(_) => ordinary,
    }
}
