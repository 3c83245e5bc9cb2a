//! Which entries are so old that the rest of their calls must be there. Pure.
//!
//! Entries tell times of several clocks, so none of them is asked: how long the ledger was at which moment is noted, by
//! the clock of whoever notes it.
//!
//! INVARIANT: an entry counts as settled only when everything is known that was recorded within the grace after it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Notes that are kept. An index that is far behind makes them fewer and coarser, not more.
const MARKS_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Settled {
    grace: Duration,
    marks: VecDeque<Mark>,
}

/// So many entries were durable at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    at: Instant,
    entries: u64,
}

impl Settled {
    pub(super) fn new(grace: Duration) -> Settled {
        Settled { grace, marks: VecDeque::new() }
    }

    pub(super) fn note(&mut self, at: Instant, entries: u64) {
        if self.marks.len() >= MARKS_MAX {
            let mut is_kept = false;
            self.marks.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
        }
        self.marks.push_back(Mark { at, entries });
    }

    /// How many entries from the first one on are settled, where so many are known.
    pub(super) fn entries(&mut self, known: u64) -> u64 {
        let seen = self.marks.iter().rev().find(|mark| mark.entries <= known).copied();
        let Some(before) = seen.and_then(|seen| seen.at.checked_sub(self.grace)) else { return 0 };
        let Some(index) = self.marks.iter().rposition(|mark| mark.at <= before) else { return 0 };
        self.marks.drain(..index);
        self.marks.front().map_or(0, |mark| mark.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(300);

    #[test]
    fn an_entry_is_settled_after_the_grace_and_not_before() {
        let (begin, mut settled) = (Instant::now(), Settled::new(GRACE));
        let at = |seconds| begin + Duration::from_secs(seconds);
        settled.note(at(0), 100);
        assert_eq!(settled.entries(100), 0);
        settled.note(at(150), 180);
        settled.note(at(299), 190);
        assert_eq!(settled.entries(1_000), 0);
        settled.note(at(300), 200);
        assert_eq!(settled.entries(1_000), 100, "what was there at the first note");
        settled.note(at(449), 200);
        assert_eq!(settled.entries(1_000), 100);
        settled.note(at(450), 200);
        assert_eq!(settled.entries(1_000), 180);
    }

    #[test]
    fn what_is_not_known_yet_settles_nothing() {
        let (begin, mut settled) = (Instant::now(), Settled::new(GRACE));
        for minute in 0..=20 {
            settled.note(begin + Duration::from_secs(60 * minute), 100 * minute);
        }
        assert_eq!(settled.entries(0), 0);
        assert_eq!(settled.entries(499), 0, "known up to the fourth minute");
        assert_eq!(settled.entries(799), 200, "known up to the seventh minute");
        assert_eq!(settled.entries(2_000), 1_500);
        assert_eq!(
            settled.entries(799),
            0,
            "an index that is built anew settles nothing until it is there again"
        );
        assert_eq!(settled.entries(2_000), 1_500);
    }

    #[test]
    fn notes_are_few_however_long_nothing_settles() {
        let (begin, mut settled) = (Instant::now(), Settled::new(GRACE));
        for number in 0..100_000 {
            settled.note(begin + Duration::from_secs(30 * number), number);
            assert!(settled.marks.len() <= MARKS_MAX && settled.entries(0) == 0);
        }
        let settled = settled.entries(100_000);
        assert!((1..100_000 - 10).contains(&settled), "{settled}");
    }
}
