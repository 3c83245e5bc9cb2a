//! Allowances by virtual time, through one `spend`.

use super::{RateKeyHash, Rates};
use crate::contract::{RateLimit, ShedMode};
use crate::limits::{RATE_ALLOWANCES_MAX, RATE_SWEEP_PAUSE_US};
use crate::testing::{universal_properties, universal_test};
use proptest::prelude::*;

const SECOND_US: u64 = 1_000_000;
const START_US: u64 = 1_763_700_000 * SECOND_US;
const SHARED: RateKeyHash = RateKeyHash(u64::MAX);

fn limit(requests: u32, per_ms: u32, burst: u32) -> RateLimit {
    RateLimit {
        name: "limit".into(),
        requests,
        per_ms,
        burst,
        by: Box::default(),
        operations: Box::default(),
        mode: ShedMode::Enforce,
    }
}

/// How many of `count` requests pass that come `every_us`.
fn spend(rates: &mut Rates, limit: &RateLimit, key: u64, from_us: u64, count: u64, every_us: u64) -> usize {
    (0..count)
        .filter(|nth| rates.take(limit, || SHARED, RateKeyHash(key), from_us + nth * every_us).is_ok())
        .count()
}

universal_test! {
    fn a_burst_passes_and_then_the_rate() {
        for (requests, per_ms, burst) in [(10, 1000, 10), (10, 1000, 1), (100, 1000, 250), (7, 60_000, 3), (1, 3_600_000, 2)] {
            let limit = limit(requests, per_ms, burst);
            let mut rates = Rates::default();
            assert_eq!(spend(&mut rates, &limit, 1, START_US, 1000, 0), burst as usize, "{limit:?}");
            // Ten periods, in steps that are much shorter than the time of one request.
            let span_us = 10 * u64::from(per_ms) * 1000;
            let step_us = span_us / 40_000;
            let passed = spend(&mut rates, &limit, 1, START_US, 40_000, step_us);
            let expected = 10 * requests as usize;
            assert!(passed.abs_diff(expected) <= 1, "{limit:?}: {passed} of {expected}");
        }
    }
}

universal_test! {
    fn zero_means_zero() {
        let mut rates = Rates::default();
        for limit in [limit(0, 1000, 5), limit(0, 1000, 0), limit(5, 0, 5)] {
            assert_eq!(spend(&mut rates, &limit, 1, START_US, 100, SECOND_US), 0, "{limit:?}");
            assert_eq!(rates.take(&limit, || SHARED, RateKeyHash(1), START_US), Err(None));
        }
    }
}

universal_test! {
    fn keys_do_not_share() {
        let limit = limit(1, 1000, 5);
        let mut rates = Rates::default();
        assert_eq!(spend(&mut rates, &limit, 1, START_US, 100, 0), 5);
        assert_eq!(spend(&mut rates, &limit, 2, START_US, 100, 0), 5);
    }
}

universal_test! {
    fn the_wait_that_is_told_is_long_enough_and_hardly_longer() {
        for (requests, per_ms) in [(3, 1000), (100, 1000), (1, 60_000), (4_000_000_000, 1000)] {
            let limit = limit(requests, per_ms, 1);
            let mut rates = Rates::default();
            assert_eq!(rates.take(&limit, || SHARED, RateKeyHash(1), START_US), Ok(RateKeyHash(1)));
            let Err(Some(wait_us)) = rates.take(&limit, || SHARED, RateKeyHash(1), START_US) else { continue };
            let early_us = START_US + wait_us * 99 / 100 - wait_us.min(2);
            assert!(wait_us < 100 || rates.take(&limit, || SHARED, RateKeyHash(1), early_us).is_err(), "{limit:?}");
            assert_eq!(rates.take(&limit, || SHARED, RateKeyHash(1), START_US + wait_us), Ok(RateKeyHash(1)), "{limit:?}");
        }
    }
}

universal_test! {
    fn a_clock_that_jumps_gives_at_most_one_burst() {
        let limit = limit(10, 1000, 20);
        let mut rates = Rates::default();
        assert_eq!(spend(&mut rates, &limit, 1, START_US, 100, 0), 20);
        for at_us in [0, u64::MAX, START_US, 1, u64::MAX] {
            assert!(spend(&mut rates, &limit, 1, at_us, 100, 0) <= 20, "{at_us}");
        }
        // Set back for good, it refills by the clock as it is.
        spend(&mut rates, &limit, 1, 0, 100, 0);
        assert_eq!(spend(&mut rates, &limit, 1, SECOND_US, 100, 0), 10);
    }
}

universal_test! {
    fn beyond_the_bound_new_keys_share_and_old_ones_are_forgotten() {
        let limit = limit(1, 1000, 2);
        let mut rates = Rates::default();
        // One limit has half of the room.
        for key in 0..RATE_ALLOWANCES_MAX as u64 / 2 {
            assert_eq!(rates.take(&limit, || SHARED, RateKeyHash(key), START_US), Ok(RateKeyHash(key)));
        }
        // None of them is whole yet.
        let strangers = (0..100).map(|key| RateKeyHash(1_000_000 + key));
        let passed = strangers.filter(|key| rates.take(&limit, || SHARED, *key, START_US).is_ok()).count();
        assert_eq!(passed, 2);
        assert!(rates.allowances.len() <= RATE_ALLOWANCES_MAX + 1);
        // A known key keeps what is its own.
        assert_eq!(rates.take(&limit, || SHARED, RateKeyHash(7), START_US), Ok(RateKeyHash(7)));
        assert!(rates.take(&limit, || SHARED, RateKeyHash(7), START_US).is_err());
        let later_us = START_US + 3 * SECOND_US + RATE_SWEEP_PAUSE_US;
        assert_eq!(spend(&mut rates, &limit, 2_000_000, later_us, 100, 0), 2);
        assert!(rates.allowances.len() < 10);
    }
}

universal_test! {
    fn the_keys_of_one_limit_do_not_crowd_out_those_of_another() {
        const OTHER: RateKeyHash = RateKeyHash(u64::MAX - 1);
        let limit = limit(1, 3_600_000, 1);
        let mut rates = Rates::default();
        for key in 0..2 * RATE_ALLOWANCES_MAX as u64 {
            let _taken = rates.take(&limit, || SHARED, RateKeyHash(key), START_US);
        }
        for key in 0..1_000 {
            let key = RateKeyHash(1_000_000 + key);
            assert_eq!(rates.take(&limit, || OTHER, key, START_US), Ok(key));
        }
        assert!(rates.allowances.len() <= RATE_ALLOWANCES_MAX + 2);
    }
}

universal_test! {
    fn what_is_given_back_is_there_again_and_a_whole_allowance_is_forgotten() {
        let limit = limit(1, 1000, 2);
        let mut rates = Rates::default();
        for _ in 0..100 {
            let key = rates.take(&limit, || SHARED, RateKeyHash(1), START_US).unwrap();
            rates.give_back(&limit, key);
        }
        assert!(rates.allowances.is_empty());
        assert_eq!(spend(&mut rates, &limit, 1, START_US, 100, 0), 2);
        rates.give_back(&limit, RateKeyHash(1));
        assert_eq!(spend(&mut rates, &limit, 1, START_US, 100, 0), 1);
        assert_eq!(rates.tell(START_US, SECOND_US).taken, [(RateKeyHash(1), 2)]);
    }
}

universal_properties! {
    fn no_span_lets_more_through_than_it_may(
        requests in 1_u32..1000, per_ms in 1_u32..100_000, burst in 1_u32..100,
        gaps_us in prop::collection::vec(0_u64..200_000, 1..400),
    ) {
        let limit = limit(requests, per_ms, burst);
        let mut rates = Rates::default();
        let mut now_us = START_US;
        let mut passed = 0_u128;
        for gap_us in gaps_us {
            now_us += gap_us;
            if rates.take(&limit, || SHARED, RateKeyHash(1), now_us).is_ok() {
                passed += 1;
            }
            let span_us = u128::from(now_us - START_US);
            let refilled = span_us * u128::from(requests) / (u128::from(per_ms) * 1000) + 1;
            prop_assert!(passed <= u128::from(burst) + refilled);
        }
    }
}
