//! Whose answers are looked at: all of them while few come, and a part while many do.
//!
//! To look at an answer costs about as much as all else that load costs. A part of many says as much as all of few.
//! INVARIANT: of each window of a service that has fewer answers than are wanted, all are looked at, and so they are for a
//! while after one that failed. What is shed brings no answer, and does not count.

/// How long a window is.
const WINDOW_US: u64 = 100_000;

/// How many answers of a window are wanted: their median is then known well enough.
const WANTED: u32 = 32;

/// For how long after a failure all answers are looked at.
const TROUBLE_US: u64 = 1_000_000;

/// Counts what comes, window by window.
#[derive(Debug, Default)]
pub(super) struct Watch {
    began_at_us: u64,
    came: u32,
    /// One of so many is looked at, as the last window says.
    every: u32,
    /// Of the last answer that failed.
    failed_at_us: Option<u64>,
}

impl Watch {
    /// An answer failed.
    pub(super) const fn failed(&mut self, now_us: u64) {
        self.failed_at_us = Some(now_us);
    }

    /// Takes note of a request that goes on, and says whether its answer is to be looked at.
    pub(super) fn takes(&mut self, now_us: u64) -> bool {
        let passed_us = now_us.abs_diff(self.began_at_us);
        if passed_us >= WINDOW_US {
            // What came long ago says nothing of now.
            self.every = if passed_us < 2 * WINDOW_US { self.came / WANTED } else { 0 };
            self.began_at_us = now_us;
            self.came = 0;
        }
        self.came = self.came.saturating_add(1);
        self.came.checked_rem(self.every).unwrap_or(0) == 0
            || self.failed_at_us.is_some_and(|failed_at_us| now_us.abs_diff(failed_at_us) < TROUBLE_US)
    }
}

#[cfg(test)]
mod tests {
    use super::{TROUBLE_US, WANTED, WINDOW_US, Watch};
    use crate::testing::universal_test;

    const START_US: u64 = 1_763_700_000_000_000;

    universal_test! {
        fn all_of_few_and_enough_of_many_are_looked_at() {
            for per_window in [1_u64, 10, 31, 32, 63, 64, 100, 1000, 10_000] {
                let mut watch = Watch::default();
                for window in 0..20 {
                    let at_us = |nth: u64| START_US + window * WINDOW_US + nth * WINDOW_US / per_window;
                    let taken = (0..per_window).filter(|nth| watch.takes(at_us(*nth))).count() as u64;
                    let wanted = u64::from(WANTED);
                    if window > 0 {
                        assert!(taken >= per_window.min(wanted), "{per_window}: {taken}");
                        assert!(taken <= 2 * wanted, "{per_window}: {taken}");
                    }
                }
            }
        }
    }

    universal_test! {
        fn after_a_failure_all_are_looked_at_for_a_while() {
            let mut watch = Watch::default();
            let mut taken = |from_us: u64| (0..20_000).filter(|nth| watch.takes(from_us + nth * 50)).count();
            assert!(taken(START_US) < 20_000);
            watch.failed(START_US + TROUBLE_US);
            let mut taken = |from_us: u64| (0..20_000).filter(|nth| watch.takes(from_us + nth * 50)).count();
            assert_eq!(taken(START_US + TROUBLE_US), 20_000);
            assert!(taken(START_US + 2 * TROUBLE_US) < 20_000);
        }
    }

    universal_test! {
        fn after_a_pause_all_are_looked_at_again() {
            let mut watch = Watch::default();
            let flood = (0..10_000).filter(|nth| watch.takes(START_US + nth * 50)).count();
            assert!(flood < 10_000);
            assert!((0..20).all(|nth| watch.takes(START_US + 60 * WINDOW_US + nth * 4_000)));
            assert!((0..20).all(|nth| watch.takes(nth)), "the clock was set back");
        }
    }
}
