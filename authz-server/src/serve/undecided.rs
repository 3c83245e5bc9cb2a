//! Calls that were answered without an entry of their own: counted, and entered together as soon as the ledger stores.
//!
//! Under load or with a broken disk an entry for each such call would make the trouble worse. So the first of a second get
//! their own entries, where the ledger has room for them, and all others are counted by what was said to them. Once a
//! second what was counted becomes one entry for each kind of answer.
//! INVARIANT: a count is taken back only when its entry is durable, so that the sum of the entries is the number of calls.
//! INVARIANT: memory is bounded by [`KINDS_MAX`], whoever calls.

use super::service::now_ms;
use crate::ledger::{Admin, AdminEvent, Conclusion, Entry, Ledger, Undecided};
use palisade_core::reason::Reason;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Answers that are told apart; the rest share the names [`SEVERAL`].
const KINDS_MAX: usize = 256;

/// Stands for services and operations where it is several together.
const SEVERAL: &str = "*";

/// How often what was counted is entered.
const ENTERED_EVERY: Duration = Duration::from_secs(1);

/// So many refusals of one second get their own entries, for whoever asks why with a decision id.
const SINGLE_PER_SECOND: u32 = 64;

/// What was said to a call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) allowed: bool,
    pub(super) reason: Reason,
    pub(super) service: String,
    pub(super) operation: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tally {
    count: u64,
    since_ms: u64,
}

/// What was counted and not yet entered.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    counted: Mutex<BTreeMap<Kind, Tally>>,
    /// The second, and how many of it got their own entry.
    single: Mutex<(u64, u32)>,
}

impl Tallies {
    /// Whether this refusal, at this time, shall have its own entry.
    pub(super) fn is_single(&self, at_ms: u64) -> bool {
        let mut single = self.single.lock().unwrap_or_else(PoisonError::into_inner);
        let second = at_ms / 1000;
        if single.0 != second {
            *single = (second, 0);
        }
        single.1 = single.1.saturating_add(1);
        single.1 <= SINGLE_PER_SECOND
    }

    pub(super) fn count(&self, kind: Kind, at_ms: u64) {
        let mut counted = self.counted();
        let kind = if counted.len() < KINDS_MAX || counted.contains_key(&kind) {
            kind
        } else {
            Kind { service: SEVERAL.to_owned(), operation: SEVERAL.to_owned(), ..kind }
        };
        let tally = counted.entry(kind).or_insert(Tally { count: 0, since_ms: at_ms });
        tally.count = tally.count.saturating_add(1);
    }

    /// Enters what was counted. What the ledger does not take stays.
    pub(super) async fn enter(&self, ledger: &Ledger) {
        let counted: Vec<(Kind, Tally)> =
            self.counted().iter().map(|(kind, tally)| (kind.clone(), *tally)).collect();
        for (kind, tally) in counted {
            if ledger.append(&entry_of(&kind, tally)).await.is_err() {
                // The ledger says by itself what is wrong with it.
                return;
            }
            self.entered(&kind, tally.count);
        }
    }

    fn entered(&self, kind: &Kind, count: u64) {
        let mut counted = self.counted();
        if let Some(tally) = counted.get_mut(kind) {
            tally.count = tally.count.saturating_sub(count);
            tally.since_ms = now_ms();
            if tally.count == 0 {
                counted.remove(kind);
            }
        }
    }

    fn counted(&self) -> MutexGuard<'_, BTreeMap<Kind, Tally>> {
        // Counts that were held while something panicked are still counts.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enters what is counted, again and again.
pub(super) async fn enter_regularly(tallies: &Tallies, ledger: &Ledger) {
    let mut ticks = tokio::time::interval(ENTERED_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tallies.enter(ledger).await;
    }
}

fn entry_of(kind: &Kind, tally: Tally) -> Entry {
    let Kind { allowed, reason, service, operation } = kind;
    let decision = if *allowed { Conclusion::Allow } else { Conclusion::Deny };
    let Tally { count, since_ms } = tally;
    let what = if *allowed {
        "allowed by their operation's fail mode, and not recorded one by one"
    } else {
        "refused, and not recorded one by one"
    };
    let of = if operation.is_empty() { String::new() } else { format!(" of {service}.{operation}") };
    let detail = format!("{count} calls{of} were {what}: {}", reason.explains());
    let undecided = Undecided {
        decision,
        reason: reason.code().to_owned(),
        service: service.clone(),
        operation: operation.clone(),
        count,
        since_ms,
    };
    Entry::Admin(Admin { at_ms: now_ms(), event: AdminEvent::Undecided(undecided), detail })
}

#[cfg(test)]
mod tests {
    use super::{KINDS_MAX, Kind, SEVERAL, SINGLE_PER_SECOND, Tallies};
    use crate::ledger::{AdminEvent, Entries, Entry, Ledger};
    use palisade_core::reason::Reason;

    fn kind(operation: usize) -> Kind {
        let (service, operation) = ("orders".to_owned(), operation.to_string());
        Kind { allowed: false, reason: Reason::Overloaded, service, operation }
    }

    #[test]
    fn memory_is_bounded_and_no_call_is_lost() {
        let tallies = Tallies::default();
        for call in 0..10_000 {
            tallies.count(kind(call), 1);
        }
        let counted = tallies.counted();
        assert!(counted.len() <= KINDS_MAX + 1);
        assert_eq!(counted.values().map(|tally| tally.count).sum::<u64>(), 10_000);
        assert!(counted.keys().any(|kind| kind.operation == SEVERAL));
    }

    #[test]
    fn a_second_has_so_many_entries_of_single_calls() {
        let tallies = Tallies::default();
        let single = |at_ms: u64| (0..1000).filter(|_| tallies.is_single(at_ms)).count();
        assert_eq!([single(1000), single(1999), single(2000)], [SINGLE_PER_SECOND as usize, 0, 64]);
    }

    #[test]
    fn what_was_counted_is_entered_once_with_true_counts() {
        let directory = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(directory.path()).unwrap();
        let tallies = Tallies::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (round, calls) in [3_usize, 5].into_iter().enumerate() {
            (0..calls).for_each(|_| tallies.count(kind(round), 7));
            runtime.block_on(tallies.enter(&ledger));
            assert!(tallies.counted().is_empty());
        }
        runtime.block_on(tallies.enter(&ledger));
        runtime.block_on(ledger.clone().close()).unwrap();
        // Nobody can store any more: what is counted now stays.
        tallies.count(kind(9), 7);
        runtime.block_on(tallies.enter(&ledger));
        assert_eq!(tallies.counted().len(), 1);
        let counts: Vec<u64> = Entries::open(directory.path())
            .unwrap()
            .filter_map(|recorded| match recorded.unwrap().entry {
                Entry::Admin(admin) => match admin.event {
                    AdminEvent::Undecided(undecided) => Some(undecided.count),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        assert_eq!(counts, [3, 5]);
    }
}
