//! Which idempotency keys came lately: a second coming is a retry, whatever its headers say.
//!
//! INVARIANT: what is remembered is bounded in number and in age; forgetting a key only lets a retry pass for a first
//! attempt.

use crate::limits::{REPEATS_AGE_US_MAX, REPEATS_MAX};
use crate::rates::Hashed;
use std::collections::HashSet;
use std::hash::BuildHasherDefault;

/// Keys in two generations, so that forgetting costs nothing: the older one goes as a whole.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    young: HashSet<u64, BuildHasherDefault<Hashed>>,
    old: HashSet<u64, BuildHasherDefault<Hashed>>,
    began_at_us: u64,
}

impl Repeats {
    /// Takes note of a key, by its keyed hash, and says whether it was known.
    pub(super) fn came_before(&mut self, key: u64, now_us: u64) -> bool {
        let age_us = now_us.abs_diff(self.began_at_us);
        if age_us >= REPEATS_AGE_US_MAX / 2 || self.young.len() >= REPEATS_MAX / 2 {
            self.old = core::mem::take(&mut self.young);
            if age_us >= REPEATS_AGE_US_MAX {
                self.old.clear();
            }
            self.began_at_us = now_us;
        }
        let is_old = self.old.contains(&key);
        !self.young.insert(key) || is_old
    }
}

#[cfg(test)]
mod tests {
    use super::Repeats;
    use crate::limits::{REPEATS_AGE_US_MAX, REPEATS_MAX};
    use crate::testing::universal_test;

    const START_US: u64 = 1_763_700_000_000_000;

    universal_test! {
        fn a_second_coming_is_known_for_a_while() {
            for (later_us, expected) in [
                (0, true),
                (1_000_000, true),
                (REPEATS_AGE_US_MAX / 2, true),
                (REPEATS_AGE_US_MAX, false),
                (10 * REPEATS_AGE_US_MAX, false),
            ] {
                let mut repeats = Repeats::default();
                assert!(!repeats.came_before(7, START_US));
                assert_eq!(repeats.came_before(7, START_US + later_us), expected, "{later_us}");
                assert!(!repeats.came_before(8, START_US + later_us));
            }
        }
    }

    universal_test! {
        fn what_is_remembered_is_bounded_and_the_latest_are_among_it() {
            let mut repeats = Repeats::default();
            for key in 0..10 * REPEATS_MAX as u64 {
                assert!(!repeats.came_before(key, START_US));
                assert!(repeats.young.len() + repeats.old.len() <= REPEATS_MAX);
                let recent = key.saturating_sub(REPEATS_MAX as u64 / 2 - 1);
                assert!(repeats.young.contains(&recent) || repeats.old.contains(&recent), "{key}");
            }
        }
    }

    universal_test! {
        fn a_clock_that_is_set_back_forgets_and_nothing_else() {
            let mut repeats = Repeats::default();
            assert!(!repeats.came_before(7, START_US));
            assert!(!repeats.came_before(7, 0));
            assert!(repeats.came_before(7, 1));
        }
    }
}
