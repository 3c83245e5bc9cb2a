//! What counts mean: whether they are as a storm is, and what becomes of one that goes on. Pure.
//!
//! INVARIANT: what is left of the past is no sign of the present: without fresh retries nothing begins and nothing goes on.

use super::{BEGINS, CALM_MS, Counts, ENDS, FLOOR, Faded, HELD_MS};
use crate::ledger::Storm;

/// What was seen of a flow, or of all flows of a caller at a service, over time.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// When it was last asked for again too often.
    seen_ms: Option<u64>,
    /// Since when it is as a storm is.
    above_since_ms: Option<u64>,
}

/// How it is now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sign {
    /// A storm that is under way goes on.
    goes_on: bool,
    /// Since when it has been one for long enough to be told.
    since_ms: Option<u64>,
}

impl Signs {
    pub(super) fn read(&mut self, now_ms: u64, latest: Counts, faded: Faded) -> Sign {
        let is_seen = Faded::from(latest).is_storm(1.0, ENDS);
        if is_seen {
            self.seen_ms = Some(now_ms);
        }
        let is_above = self.is_present(now_ms) && faded.is_storm(FLOOR, BEGINS);
        let above_since_ms = is_above.then(|| self.above_since_ms.unwrap_or(now_ms));
        self.above_since_ms = above_since_ms;
        if !is_seen {
            return Sign::default();
        }
        let has_held = |since_ms: &u64| now_ms.saturating_sub(*since_ms) >= HELD_MS;
        Sign { goes_on: faded.is_storm(FLOOR / 2.0, ENDS), since_ms: above_since_ms.filter(has_held) }
    }

    pub(super) fn is_present(&self, now_ms: u64) -> bool {
        self.seen_ms.is_some_and(|seen_ms| now_ms.saturating_sub(seen_ms) < CALM_MS)
    }
}

/// All operations of a caller at a service.
#[derive(Debug, Default)]
pub(super) struct Sum<'n> {
    pub(super) latest: Counts,
    pub(super) faded: Faded,
    /// The operation with the most trouble.
    worst: Option<(&'n str, f64)>,
    /// Of the operations that are a storm by themselves: the one with the most trouble, and the one that is asked for
    /// again most often.
    begins: Option<(&'n str, Faded, u64)>,
    goes_on: Option<(&'n str, u64)>,
}

impl<'n> Sum<'n> {
    pub(super) fn add(&mut self, operation: &'n str, (latest, faded): (Counts, Faded), sign: Sign) {
        self.latest.add(latest);
        self.faded.add(faded);
        let trouble = faded.trouble();
        // Of two alike the one whose name comes first, so that the order of a map tells nothing.
        let is_more = |known: f64, name: &str| trouble > known || (trouble >= known && operation < name);
        if self.worst.is_none_or(|(name, known)| is_more(known, name)) {
            self.worst = Some((operation, trouble));
        }
        if let Some(since_ms) = sign.since_ms
            && self.begins.is_none_or(|(name, known, _)| is_more(known.trouble(), name))
        {
            self.begins = Some((operation, faded, since_ms));
        }
        let percent = faded.percent();
        if sign.goes_on && self.goes_on.is_none_or(|(name, known)| (known, operation) < (percent, name)) {
            self.goes_on = Some((operation, percent));
        }
    }

    /// The storm that begins, by the sign of all operations together or of one of them.
    pub(super) fn begins(&self, (caller, service): (&str, &str), now_ms: u64, sign: Sign) -> Option<Storm> {
        let together = sign.since_ms.and_then(|since_ms| Some((self.worst?.0, self.faded, since_ms)));
        let (operation, faded, since_ms) = together.or(self.begins)?;
        let Counts { firsts, retries, sheds } = faded.whole();
        Some(Storm {
            caller: caller.to_owned(),
            service: service.to_owned(),
            operation: operation.to_owned(),
            since_ms,
            duration_ms: now_ms.saturating_sub(since_ms),
            first_attempts: firsts,
            retries,
            sheds,
            amplification_percent: faded.percent(),
        })
    }
}

/// A storm that was told.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) storm: Storm,
    /// When it was last seen that it goes on.
    pub(super) seen_ms: u64,
    /// What came of all operations since then: part of the storm if it goes on.
    pub(super) pending: Counts,
}

impl Open {
    pub(super) fn go_on(&mut self, now_ms: u64, sum: &Sum<'_>, sign: Sign) {
        self.pending.add(sum.latest);
        let together =
            sum.worst.filter(|_| sign.goes_on).map(|(operation, _)| (operation, sum.faded.percent()));
        let peak = [sum.goes_on, together].into_iter().flatten().max_by_key(|(_, percent)| *percent);
        let Some((operation, percent)) = peak else { return };
        self.seen_ms = now_ms;
        let Counts { firsts, retries, sheds } = std::mem::take(&mut self.pending);
        let storm = &mut self.storm;
        storm.duration_ms = now_ms.saturating_sub(storm.since_ms);
        storm.first_attempts = storm.first_attempts.saturating_add(firsts);
        storm.retries = storm.retries.saturating_add(retries);
        storm.sheds = storm.sheds.saturating_add(sheds);
        if percent > storm.amplification_percent {
            storm.amplification_percent = percent;
            storm.operation = operation.to_owned();
        }
    }
}
