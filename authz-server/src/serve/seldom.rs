//! Lines of the log that a caller can cause at will: each thing is told at once, and then seldom, with how often it was.
//!
//! INVARIANT: neither the log nor what is remembered here grows with the number of calls.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same thing is told again after this time, unless somebody wants another one.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Things that are told apart. More than this come from somebody who invents them, and share one place.
const THINGS_MAX: usize = 64;

/// What was told when.
#[derive(Debug)]
pub(crate) struct Seldom {
    again_after: Duration,
    told: Mutex<BTreeMap<String, Told>>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    since: u64,
}

impl Default for Seldom {
    fn default() -> Seldom {
        Seldom::every(AGAIN_AFTER)
    }
}

impl Seldom {
    pub(crate) fn every(again_after: Duration) -> Seldom {
        Seldom { again_after, told: Mutex::default() }
    }

    /// Whether to tell it now, and of how many like it nothing was said since the last time.
    pub(crate) fn tell(&self, thing: &str, now: Instant) -> Option<u64> {
        // What is remembered stays true whatever panicked beside it.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= THINGS_MAX && !told.contains_key(thing) {
            told.retain(|_, told| now.saturating_duration_since(told.at) < self.again_after);
        }
        let thing = if told.len() >= THINGS_MAX && !told.contains_key(thing) { "" } else { thing };
        match told.get_mut(thing) {
            None => {
                told.insert(thing.to_owned(), Told { at: now, since: 0 });
                Some(0)
            }
            Some(told) if now.saturating_duration_since(told.at) >= self.again_after => {
                told.at = now;
                Some(std::mem::take(&mut told.since))
            }
            Some(told) => {
                told.since = told.since.saturating_add(1);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AGAIN_AFTER, Seldom, THINGS_MAX};
    use std::time::{Duration, Instant};

    #[test]
    fn a_thing_is_told_at_once_and_then_seldom_with_its_count() {
        let (seldom, begin) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.tell("one", begin), Some(0));
        for _ in 0..1000 {
            assert_eq!(seldom.tell("one", begin + AGAIN_AFTER / 2), None);
        }
        assert_eq!(seldom.tell("another", begin + AGAIN_AFTER / 2), Some(0), "it has its own time");
        assert_eq!(seldom.tell("one", begin + AGAIN_AFTER), Some(1000));
        assert_eq!(seldom.tell("one", begin + 2 * AGAIN_AFTER), Some(0));
    }

    #[test]
    fn invented_things_fill_neither_log_nor_memory() {
        let (seldom, begin) = (Seldom::default(), Instant::now());
        let told = |from: usize, to: usize, at: Instant| {
            (from..to).filter(|number| seldom.tell(&number.to_string(), at).is_some()).count()
        };
        assert_eq!(told(0, 10_000, begin), THINGS_MAX + 1);
        assert!(seldom.told.lock().unwrap().len() <= THINGS_MAX + 1);
        assert_eq!(
            told(20_000, 20_001, begin + AGAIN_AFTER + Duration::from_secs(1)),
            1,
            "there is room again"
        );
    }
}
