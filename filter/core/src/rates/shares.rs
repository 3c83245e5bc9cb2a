//! What the workers of one proxy tell each other of their limits, now and then: never on a request's way.
//!
//! Each counts for itself and lets pass what the limit leaves after the others; with nothing told it is alone.
//! INVARIANT: what others tell can only take away, and never more than leaves an even share: a worker that is gone, or
//! tells nonsense, opens nothing and closes nothing.

use super::{ONE, RateKeyHash, Rates};
use crate::limits::{RATE_KEYS_TOLD_MAX, RATE_WORKERS_MAX};
use crate::wire::{Reader, WireError, Writer};

const VERSION: u8 = 1;

/// What one worker let pass in a time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// Its worker, by a random number.
    pub worker: [u8; 16],
    /// By the clock of the proxy: what is old is of a worker that is gone.
    pub at_us: u64,
    pub span_us: u64,
    pub taken: Vec<(RateKeyHash, u32)>,
}

impl Told {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(VERSION);
        out.bytes(&self.worker);
        out.u64(self.at_us);
        out.u64(self.span_us);
        // More are never told.
        let taken = self.taken.get(..RATE_KEYS_TOLD_MAX).unwrap_or(&self.taken);
        let _fits = out.count(taken.len(), RATE_KEYS_TOLD_MAX);
        for (key, count) in taken {
            out.u64(key.0);
            out.u32(*count);
        }
        out.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Told, WireError> {
        let mut input = Reader::new(bytes);
        if input.u8()? != VERSION {
            return Ok(Told::default());
        }
        let worker = input.array()?;
        let (at_us, span_us) = (input.u64()?, input.u64()?);
        let count = input.count(RATE_KEYS_TOLD_MAX)?;
        let taken = (0..count).map(|_| Ok((RateKeyHash(input.u64()?), input.u32()?)));
        let taken = taken.collect::<Result<_, WireError>>()?;
        input.end()?;
        Ok(Told { worker, at_us, span_us, taken })
    }

    /// Whether its worker is still there, which tells something every second.
    pub const fn is_fresh(&self, now_us: u64) -> bool {
        self.at_us.abs_diff(now_us) < 3_000_000
    }
}

impl Rates {
    /// What this worker let pass since it was asked last.
    pub fn tell(&mut self, now_us: u64, span_us: u64) -> Told {
        let mut taken: Vec<_> = self
            .allowances
            .iter_mut()
            .filter(|(_, allowance)| allowance.taken > 0)
            .map(|(key, allowance)| (RateKeyHash(*key), core::mem::take(&mut allowance.taken)))
            .collect();
        if taken.len() > RATE_KEYS_TOLD_MAX {
            taken.sort_unstable_by_key(|(_, count)| core::cmp::Reverse(*count));
            taken.truncate(RATE_KEYS_TOLD_MAX);
        }
        Told { at_us: now_us, span_us, taken, ..Told::default() }
    }

    /// Hears what the others let pass. Half of what is believed of them is what they told before, so that two workers that
    /// make way for each other do not do so for ever.
    pub fn hear<'t>(&mut self, others: impl Iterator<Item = &'t Told> + Clone) {
        let count = u32::try_from(others.clone().count()).unwrap_or(u32::MAX);
        self.others = count.min(RATE_WORKERS_MAX);
        for allowance in self.allowances.values_mut() {
            allowance.others_per_us /= 2;
        }
        for told in others {
            for (key, count) in &told.taken {
                let Some(allowance) = self.allowances.get_mut(&key.0) else { continue };
                let parts = u128::from(*count).saturating_mul(ONE);
                let per_us = parts.checked_div(u128::from(told.span_us)).unwrap_or(0);
                allowance.others_per_us = allowance.others_per_us.saturating_add(per_us / 2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Told;
    use crate::contract::{RateLimit, ShedMode};
    use crate::rates::{RateKeyHash, Rates};
    use crate::testing::{universal_properties, universal_test};
    use proptest::prelude::*;

    const SECOND_US: u64 = 1_000_000;
    const START_US: u64 = 1_763_700_000 * SECOND_US;

    fn limit(requests: u32) -> RateLimit {
        RateLimit {
            name: "l".into(),
            requests,
            per_ms: 1000,
            burst: requests,
            by: Box::default(),
            operations: Box::default(),
            mode: ShedMode::Enforce,
        }
    }

    /// Workers that each get so many requests in a second for some seconds; how many pass in each.
    fn run(offered: &[u64], seconds: u64, limit: &RateLimit) -> Vec<u64> {
        let mut workers: Vec<Rates> = offered.iter().map(|_| Rates::default()).collect();
        let key = RateKeyHash(7);
        (0..seconds)
            .map(|second| {
                let start_us = START_US + second * SECOND_US;
                let mut passed = 0;
                for (rates, count) in workers.iter_mut().zip(offered) {
                    let times = (0..*count).map(|nth| start_us + nth * SECOND_US / count);
                    passed +=
                        times.filter(|at_us| rates.take(limit, || key, key, *at_us).is_ok()).count() as u64;
                }
                let end_us = start_us + SECOND_US;
                let told: Vec<Told> = workers.iter_mut().map(|rates| rates.tell(end_us, SECOND_US)).collect();
                for (at, rates) in workers.iter_mut().enumerate() {
                    let others = told.iter().enumerate().filter(|(other, _)| *other != at);
                    rates.hear(others.map(|(_, told)| told));
                }
                passed
            })
            .collect()
    }

    universal_test! {
        fn a_limit_holds_for_all_workers_together() {
            for offered in [
                vec![1000], vec![1000, 1000], vec![900, 100], vec![1000, 10], vec![500, 500, 500, 500], vec![1000; 8],
            ] {
                let passed = run(&offered, 30, &limit(100));
                // After the bursts, and the seconds in which the workers hear of each other.
                let late: u64 = passed.iter().skip(5).sum();
                let mean = late as f64 / 25.0;
                assert!((97.0..=125.0).contains(&mean), "{offered:?}: {mean} {passed:?}");
            }
        }
    }

    universal_test! {
        fn whoever_stays_below_the_limit_passes_wherever_the_requests_go() {
            for offered in [vec![90], vec![45, 45], vec![85, 5], vec![90, 0], vec![20, 20, 20, 20]] {
                let passed: u64 = run(&offered, 30, &limit(100)).iter().sum();
                assert_eq!(passed, offered.iter().sum::<u64>() * 30, "{offered:?}");
            }
        }
    }

    universal_test! {
        fn what_is_told_is_read_again_and_what_is_damaged_is_not() {
            let told = Told {
                worker: [9; 16],
                at_us: START_US,
                span_us: SECOND_US,
                taken: vec![(RateKeyHash(1), 2), (RateKeyHash(u64::MAX), u32::MAX)],
            };
            let bytes = told.encode();
            assert_eq!(Told::decode(&bytes), Ok(told.clone()));
            for end in 0..bytes.len() {
                assert!(Told::decode(&bytes[..end]).is_err(), "cut at {end}");
            }
            assert!(told.is_fresh(START_US + 2 * SECOND_US) && !told.is_fresh(START_US + 5 * SECOND_US));
        }
    }

    universal_properties! {
        fn nonsense_by_others_leaves_an_even_share(
            count in any::<u32>(), span_us in any::<u64>(), workers in 1_usize..5,
        ) {
            let limit = limit(100);
            let mut rates = Rates::default();
            let key = RateKeyHash(7);
            let told = vec![Told { at_us: START_US, span_us, taken: vec![(key, count)], ..Told::default() }; workers];
            let mut passed = 0;
            for nth in 0..10_000_u64 {
                let at_us = START_US + nth * 1000;
                passed += u64::from(rates.take(&limit, || key, key, at_us).is_ok());
                if nth % 1000 == 0 {
                    rates.hear(told.iter());
                }
            }
            let even = 1000 / (workers as u64 + 1);
            prop_assert!(passed >= even, "{passed} of {even}");
            prop_assert!(passed <= 1100 + 1);
        }
    }
}
