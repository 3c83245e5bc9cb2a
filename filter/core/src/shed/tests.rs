//! One service by the steps of its life: what is let in, what is shed, and what the shedder learns from it.

use super::*;
use crate::testing::{universal_properties, universal_test};

const READ: OperationKey = OperationKey(1);
const SLOW: OperationKey = OperationKey(2);
const MS: u64 = 1_000;

const ASK: Ask = Ask {
    priority: Priority::Default,
    retry: false,
    operation: READ,
    timeout_us: None,
    concurrency_max: None,
};

fn caller() -> CallerKey {
    CallerKey(7)
}

fn go(shedder: &mut Shedder, now_us: u64, ask: &Ask) -> Ticket {
    match shedder.admit(now_us, ask, caller) {
        Ok(mut ticket) => {
            shedder.sent(now_us, &mut ticket);
            ticket
        }
        Err(cause) => panic!("expected to be let in, got {cause:?} at {:?}", shedder.level()),
    }
}

fn shed(shedder: &mut Shedder, now_us: u64, ask: &Ask) -> Cause {
    match shedder.admit(now_us, ask, caller) {
        Err(cause) => cause,
        Ok(_) => panic!("expected to be shed, got let in at {:?}", shedder.level()),
    }
}

/// Requests one after another, each answered after `took_us`; the time after them.
fn serve(shedder: &mut Shedder, from_us: u64, count: u64, ask: &Ask, took_us: u64) -> u64 {
    let mut now_us = from_us;
    for _ in 0..count {
        let mut ticket = go(shedder, now_us, ask);
        now_us += took_us;
        shedder.answered(now_us, &mut ticket, Answer::Good);
        shedder.gone(now_us, ticket);
    }
    now_us
}

/// Keeps the service full for so many rounds: all that is let in at once is answered after `took_us`.
fn press(shedder: &mut Shedder, from_us: u64, rounds: u32, took_us: impl Fn(usize) -> u64) -> u64 {
    let mut now_us = from_us;
    for _ in 0..rounds {
        let mut tickets = Vec::new();
        while let Ok(mut ticket) = shedder.admit(now_us, &ASK, caller) {
            shedder.sent(now_us, &mut ticket);
            tickets.push(ticket);
        }
        now_us += took_us(tickets.len()).max(1);
        for mut ticket in tickets {
            shedder.answered(now_us, &mut ticket, Answer::Good);
            shedder.gone(now_us, ticket);
        }
    }
    now_us
}

universal_test! {
    fn a_new_shedder_lets_requests_in_up_to_its_limit() {
        let mut shedder = Shedder::default();
        let tickets: Vec<_> = (0..48).map(|_| go(&mut shedder, 0, &ASK)).collect();
        assert_eq!(shed(&mut shedder, 0, &ASK), Cause::Load);
        assert_eq!(shedder.level().in_flight, 48);
        for ticket in tickets {
            shedder.gone(0, ticket);
        }
        assert_eq!(shedder.level().in_flight, 0);
    }
}

universal_test! {
    fn classes_yield_in_their_order() {
        let rooms = [(Priority::Sheddable, 36), (Priority::Default, 48), (Priority::Critical, 75)];
        let mut shedder = Shedder::default();
        let mut tickets = Vec::new();
        for (priority, up_to) in rooms {
            let ask = Ask { priority, ..ASK };
            while let Ok(mut ticket) = shedder.admit(0, &ask, caller) {
                shedder.sent(0, &mut ticket);
                tickets.push(ticket);
            }
            assert_eq!(tickets.len(), up_to, "{priority:?}");
        }
    }
}

/// As many requests, one after another, that the service fails at; how many of the failures were licences to try again.
fn fail(shedder: &mut Shedder, from_us: u64, count: u64) -> usize {
    let licensed = (0..count).filter(|at| {
        let now_us = from_us + at * MS;
        let mut ticket = go(shedder, now_us, &ASK);
        shedder.answered(now_us + MS, &mut ticket, Answer::Failed);
        shedder.gone(now_us + MS, ticket);
        !shedder.tells_no_retry()
    });
    licensed.count()
}

universal_test! {
    fn retries_live_on_deposits_where_many_requests_fail() {
        let mut shedder = Shedder::default();
        let retry = Ask { retry: true, ..ASK };
        fail(&mut shedder, 0, 100);
        let now_us = serve(&mut shedder, 100 * MS, 10, &retry, 10 * MS);
        assert_eq!(shed(&mut shedder, now_us, &retry), Cause::Retry);
        let now_us = serve(&mut shedder, now_us, 24, &ASK, 10 * MS);
        assert_eq!(shed(&mut shedder, now_us, &retry), Cause::Retry, "0.96 tokens are none");
        let now_us = serve(&mut shedder, now_us, 2, &ASK, 10 * MS);
        let _kept = go(&mut shedder, now_us, &retry);
    }
}

universal_test! {
    fn where_few_requests_fail_all_may_be_tried_again() {
        let mut shedder = Shedder::default();
        let retry = Ask { retry: true, ..ASK };
        let mut now_us = 0;
        for _ in 0..100 {
            assert_eq!(fail(&mut shedder, now_us, 1), 1);
            now_us = serve(&mut shedder, now_us + MS, 1, &retry, 10 * MS);
            now_us = serve(&mut shedder, now_us, 18, &ASK, 10 * MS);
        }
    }
}

universal_test! {
    fn a_failure_is_a_licence_to_try_again_while_there_are_some() {
        let mut shedder = Shedder::default();
        let at_first = fail(&mut shedder, 0, 100);
        assert!((10..25).contains(&at_first), "{at_first}: ten, and those before it was seen how many fail");
        serve(&mut shedder, 1_000 * MS, 51, &ASK, 10 * MS);
        assert_eq!(fail(&mut shedder, 2_000 * MS, 30), 2, "one for each 25 that went well");
    }
}

universal_test! {
    fn failures_pay_nothing_in() {
        let mut shedder = Shedder::default();
        let retry = Ask { retry: true, ..ASK };
        fail(&mut shedder, 0, 100);
        let now_us = serve(&mut shedder, 100 * MS, 10, &retry, 10 * MS);
        fail(&mut shedder, now_us, 200);
        assert_eq!(shed(&mut shedder, now_us + 200 * MS, &retry), Cause::Retry);
    }
}

universal_test! {
    fn zero_lets_nothing_in_and_a_maximum_holds() {
        let mut shedder = Shedder::default();
        let ask = Ask { concurrency_max: Some(0), priority: Priority::Critical, ..ASK };
        assert_eq!(shed(&mut shedder, 0, &ask), Cause::Load);
        let ask = Ask { concurrency_max: Some(2), priority: Priority::Critical, ..ASK };
        let _two = (go(&mut shedder, 0, &ask), go(&mut shedder, 0, &ask));
        assert_eq!(shed(&mut shedder, 0, &ask), Cause::Load);
    }
}

universal_test! {
    fn the_caller_is_asked_for_only_when_shares_count() {
        let mut shedder = Shedder::default();
        let mut asked = 0;
        let mut tickets = Vec::new();
        for _ in 0..31 {
            let mut ticket = shedder
                .admit(0, &ASK, || {
                    asked += 1;
                    caller()
                })
                .unwrap();
            shedder.sent(0, &mut ticket);
            tickets.push(ticket);
        }
        assert_eq!(asked, 1);
    }
}

universal_test! {
    fn a_queue_cuts_the_limit_and_an_end_of_it_lets_it_grow() {
        let mut shedder = Shedder::default();
        let mut now_us = serve(&mut shedder, 0, 100, &ASK, 20 * MS);
        assert_eq!(shedder.level().limit, 60, "nothing came near the limit");
        // Eight workers of 20 ms: what is more waits.
        let queue = |load: usize| (20 * MS).max(20 * MS * load as u64 / 8);
        now_us = press(&mut shedder, now_us, 200, queue);
        let limit = shedder.level().limit;
        assert!((12..=40).contains(&limit), "{limit} for 8 workers");
        // Then it has workers for all.
        now_us = press(&mut shedder, now_us, 200, |_| 20 * MS);
        assert!(shedder.level().limit > 100, "{:?}", shedder.level());
        assert!(now_us > 0);
    }
}

universal_test! {
    fn a_slower_service_is_not_taken_for_a_queue() {
        let mut shedder = Shedder::default();
        let now_us = serve(&mut shedder, 0, 100, &ASK, 20 * MS);
        press(&mut shedder, now_us, 300, |load| (80 * MS).max(80 * MS * load as u64 / 16));
        let level = shedder.level();
        assert!((12..=80).contains(&level.limit), "{level:?} for 16 workers");
        assert!(level.slowness > 2.0, "{level:?}");
    }
}

universal_test! {
    fn a_mix_that_shifts_to_slow_operations_is_no_overload() {
        let mut shedder = Shedder::default();
        let slow = Ask { operation: SLOW, ..ASK };
        let mut now_us = 0;
        for _ in 0..100 {
            now_us = serve(&mut shedder, now_us, 9, &ASK, 5 * MS);
            now_us = serve(&mut shedder, now_us, 1, &slow, 200 * MS);
        }
        serve(&mut shedder, now_us, 200, &slow, 200 * MS);
        let level = shedder.level();
        assert!(level.stress < 1.3 && level.limit >= 60, "{level:?}");
    }
}

universal_test! {
    fn callers_that_give_up_leave_ghosts_and_cut_the_limit() {
        let mut shedder = Shedder::default();
        let mut now_us = serve(&mut shedder, 0, 100, &ASK, 20 * MS);
        let tickets: Vec<_> = (0..40).map(|_| go(&mut shedder, now_us, &ASK)).collect();
        now_us += 500 * MS;
        for ticket in tickets {
            shedder.gone(now_us, ticket);
        }
        let level = shedder.level();
        assert_eq!(level.in_flight, 0);
        assert!(level.ghosts >= 39, "{level:?}");
        assert!(level.limit < 60, "{level:?}");
        assert_eq!(shed(&mut shedder, now_us, &ASK), Cause::Load, "the service still works on all of them");
        let _kept = go(&mut shedder, now_us + 5_000 * MS, &ASK);
    }
}

universal_test! {
    fn callers_that_give_up_at_once_cut_nothing() {
        let mut shedder = Shedder::default();
        let mut now_us = serve(&mut shedder, 0, 100, &ASK, 20 * MS);
        for _ in 0..1_000 {
            let ticket = go(&mut shedder, now_us, &ASK);
            now_us += 5 * MS;
            shedder.gone(now_us, ticket);
        }
        assert!(shedder.level().limit >= 60, "{:?}", shedder.level());
    }
}

universal_test! {
    fn what_never_reached_the_service_leaves_no_ghost() {
        let mut shedder = Shedder::default();
        let Ok(ticket) = shedder.admit(0, &ASK, caller) else { panic!("let in") };
        shedder.gone(60_000 * MS, ticket);
        assert_eq!(shedder.level().ghosts, 0);
    }
}

universal_test! {
    fn a_deadline_that_cannot_be_met_is_refused_at_once() {
        let mut shedder = Shedder::default();
        let hurried = |timeout_ms: u64| Ask { timeout_us: Some(timeout_ms * MS), ..ASK };
        let _kept = go(&mut shedder, 0, &hurried(1));
        let now_us = serve(&mut shedder, 0, 100, &ASK, 50 * MS);
        assert_eq!(shed(&mut shedder, now_us, &hurried(20)), Cause::Deadline);
        let _kept = go(&mut shedder, now_us, &hurried(60));
        let _kept = go(&mut shedder, now_us + 3_000 * MS, &hurried(20));
    }
}

universal_test! {
    fn a_clock_that_is_set_changes_nothing() {
        let mut shedder = Shedder::default();
        let hour_us = 3_600_000 * MS;
        let mut now_us = serve(&mut shedder, 2 * hour_us, 200, &ASK, 20 * MS);
        for jumped_us in [now_us + hour_us, now_us - hour_us, 0, u64::MAX, now_us] {
            let mut tickets: Vec<_> = (0..40).map(|_| go(&mut shedder, now_us, &ASK)).collect();
            now_us = jumped_us;
            for ticket in &mut tickets {
                shedder.answered(now_us, ticket, Answer::Good);
            }
            for ticket in tickets {
                shedder.gone(now_us, ticket);
            }
            let level = shedder.level();
            assert_eq!(level.in_flight, 0);
            assert!(level.limit >= 60 && level.stress < 1.5, "{level:?}");
        }
    }
}

universal_test! {
    fn pushback_is_spread_and_ends_in_never() {
        let mut shedder = Shedder::default();
        assert_eq!(shedder.pushback(0), Pushback::Later(1_000));
        assert_eq!(shedder.pushback(u32::MAX), Pushback::Later(2_999));
        let now_us = serve(&mut shedder, 0, 50, &ASK, 20 * MS);
        while let Ok(mut ticket) = shedder.admit(now_us, &ASK, caller) {
            shedder.sent(now_us, &mut ticket);
        }
        for _ in 0..100 {
            shed(&mut shedder, now_us, &ASK);
        }
        assert_eq!(shedder.pushback(0), Pushback::Never);
    }
}

universal_test! {
    fn whoever_only_begins_requests_takes_little_room() {
        let mut shedder = Shedder::default();
        let mut begun: Vec<_> = (0..1_000).map(|_| shedder.admit(0, &ASK, caller).unwrap()).collect();
        // A tenth of the 48 that are for default operations is theirs, the others are there for others.
        let others: Vec<_> = (0..44).map(|_| go(&mut shedder, 0, &ASK)).collect();
        assert_eq!(shed(&mut shedder, 0, &ASK), Cause::Load);
        // Once they are there as a whole they count as any other.
        begun.drain(..500).for_each(|mut ticket| {
            shedder.sent(MS, &mut ticket);
            shedder.answered(2 * MS, &mut ticket, Answer::Good);
        });
        begun.drain(..).for_each(|ticket| shedder.gone(2 * MS, ticket));
        assert_eq!(shedder.level().in_flight as usize, others.len());
    }
}

universal_test! {
    fn whoever_leaves_at_once_leaves_no_work_behind() {
        for (after_us, ghosts) in [(0, 0), (20 * MS, 0), (60 * MS, 1), (180 * MS, 1)] {
            let mut shedder = Shedder::default();
            let now_us = serve(&mut shedder, 0, 50, &ASK, 200 * MS);
            let ticket = go(&mut shedder, now_us, &ASK);
            shedder.gone(now_us + after_us, ticket);
            assert_eq!(shedder.level().ghosts, ghosts, "{after_us}");
        }
    }
}

universal_test! {
    fn a_service_that_takes_its_time_gets_all_that_it_can_bear() {
        let mut shedder = Shedder::default();
        // Eighty at once, each of which takes 20 s: four answers in a second.
        let mut in_work = std::collections::VecDeque::new();
        let mut turned_away = 0;
        for nth in 0..2_000_u64 {
            let now_us = nth * 250 * MS;
            while let Some((begun_us, _)) = in_work.front() && begun_us + 20_000 * MS <= now_us {
                let (_, mut ticket): (u64, Ticket) = in_work.pop_front().unwrap();
                shedder.answered(now_us, &mut ticket, Answer::Good);
                shedder.gone(now_us, ticket);
            }
            match shedder.admit(now_us, &ASK, caller) {
                Ok(mut ticket) => {
                    shedder.sent(now_us, &mut ticket);
                    in_work.push_back((now_us, ticket));
                }
                Err(_) => turned_away += u32::from(nth > 400),
            }
        }
        assert_eq!(turned_away, 0, "{:?}", shedder.level());
    }
}

universal_test! {
    fn a_deadline_is_hopeless_only_where_no_answer_was_as_quick() {
        let mut shedder = Shedder::default();
        let mut now_us = serve(&mut shedder, 0, 100, &ASK, 1_000 * MS);
        // Some are known already, and answered at once.
        for _ in 0..100 {
            let slow = go(&mut shedder, now_us, &ASK);
            now_us = serve(&mut shedder, now_us, 1, &ASK, 10 * MS);
            let mut slow = slow;
            shedder.answered(now_us, &mut slow, Answer::Good);
            shedder.gone(now_us, slow);
        }
        let ask = Ask { timeout_us: Some(50 * MS), ..ASK };
        let _served = go(&mut shedder, now_us, &ask);
    }
}

universal_test! {
    fn a_retry_that_was_refused_behind_us_costs_nothing() {
        let retry = Ask { retry: true, ..ASK };
        let left = |answer| {
            let mut shedder = Shedder::default();
            fail(&mut shedder, 0, 100);
            let mut ticket = go(&mut shedder, 200 * MS, &retry);
            shedder.answered(210 * MS, &mut ticket, answer);
            shedder.level().retry_tokens
        };
        assert_eq!(left(Answer::Refused) - left(Answer::Failed), 1.0);
    }
}

universal_properties! {
    fn whatever_comes_nothing_breaks(steps in proptest::collection::vec(proptest::prelude::any::<(u8, u64, u8)>(), 1..400)) {
        let mut shedder = Shedder::default();
        let mut tickets = Vec::new();
        for (what, now_us, which) in steps {
            // Mostly small steps, and now and then any time at all.
            let now_us = if which < 250 { now_us % 10_000_000 } else { now_us };
            match what % 6 {
                0 | 1 => {
                    let ask = Ask {
                        priority: Priority::ALL[usize::from(which) % 3],
                        retry: which % 5 == 0,
                        operation: OperationKey(now_us as u32),
                        timeout_us: which.is_multiple_of(7).then_some(now_us),
                        concurrency_max: which.is_multiple_of(11).then_some(u32::from(which)),
                    };
                    if let Ok(ticket) = shedder.admit(now_us, &ask, || CallerKey(now_us)) {
                        tickets.push(ticket);
                    }
                }
                2 => tickets.push(shedder.admit_anyway(now_us, &ASK, caller).0),
                3 => {
                    if let Some(ticket) = tickets.last_mut() {
                        shedder.sent(now_us, ticket);
                    }
                }
                4 => {
                    if let Some(ticket) = tickets.last_mut() {
                        let answer = [Answer::Good, Answer::Failed, Answer::Refused][usize::from(which) % 3];
                        shedder.answered(now_us, ticket, answer);
                    }
                }
                _ => {
                    if let Some(ticket) = tickets.pop() {
                        shedder.gone(now_us, ticket);
                    }
                }
            }
            let level = shedder.level();
            assert!((4..=65_536).contains(&level.limit));
            assert!(level.in_flight as usize <= tickets.len());
            assert!(level.stress.is_finite() && level.slowness >= 1.0 && level.retry_tokens >= 0.0);
            assert!(!level.share.is_nan());
        }
    }
}
