//! What is told, and what is not, in virtual time.

use super::*;

const WINDOW: u64 = WINDOW_MS;

fn deletes(caller: &str) -> Observed<'_> {
    let kinds = &[Kind::UnauthorisedWrite, Kind::Denial];
    Observed { kinds, caller, service: "orders", operation: "deleteOrder" }
}

/// Observes so many, spread over one window; what was told.
fn window(detector: &mut Detector, observed: Observed<'_>, number: u64, count: u64) -> Vec<Spike> {
    let at = |index: u64| number * WINDOW + index * WINDOW / count.max(1);
    let seen = (0..count).map(|index| detector.observe(observed, at(index)));
    let begins = |seen| match seen {
        Seen::Begins(spike) => Some(spike),
        Seen::Usual | Seen::Told => None,
    };
    seen.collect::<Vec<_>>().into_iter().filter_map(begins).collect()
}

#[test]
fn small_numbers_are_never_told() {
    let mut detector = Detector::default();
    for number in 0..10_000 {
        assert_eq!(window(&mut detector, deletes("web"), number * 3, CALL_FLOOR - 1), []);
    }
}

#[test]
fn a_flood_is_told_once_with_its_caller_and_the_caller_beside_it_is_not() {
    let mut detector = Detector::default();
    let mut told = Vec::new();
    for number in 0..60 {
        told.extend(window(&mut detector, deletes("usual"), number, 10));
        let count = if (30..40).contains(&number) { 500 } else { 3 };
        told.extend(window(&mut detector, deletes("flood"), number, count));
    }
    assert_eq!(told.len(), 1, "{told:?}");
    let Spike { kind, caller, service, operation, count, usual, window_s } = &told[0];
    assert_eq!((kind.as_str(), caller.as_str()), ("unauthorised_write", "flood"));
    assert_eq!((service.as_str(), operation.as_str()), ("orders", "deleteOrder"));
    assert_eq!((*count, *usual, *window_s), (CALL_FLOOR, 3, 10));
}

#[test]
fn what_is_usual_is_a_spike_only_when_it_is_four_times_as_much() {
    let steady = |factor_in_tenths: u64| {
        let mut detector = Detector::default();
        // It grows so slowly that it never is one.
        for number in 0..400 {
            assert_eq!(window(&mut detector, deletes("web"), number, 10 + number / 4), []);
        }
        let count = (10 + 400 / 4) * factor_in_tenths / 10;
        window(&mut detector, deletes("web"), 400, count).len()
    };
    assert_eq!((steady(20), steady(30), steady(41)), (0, 0, 1));
}

#[test]
fn it_is_told_again_only_after_it_was_calm() {
    let mut detector = Detector::default();
    let flood = |detector: &mut Detector, number| window(detector, deletes("web"), number, 300).len();
    assert_eq!(flood(&mut detector, 0), 1);
    assert_eq!(flood(&mut detector, 1), 0);
    assert_eq!(flood(&mut detector, CALM_WINDOWS), 0, "a pause that is too short");
    assert_eq!(flood(&mut detector, 2 * CALM_WINDOWS + 1), 1, "a minute without any");
    // Fewer than half of a spike are calm, too; more are not.
    let mut number = 2 * CALM_WINDOWS + 1;
    for (count, again) in [(CALL_FLOOR / 2 - 1, 1), (CALL_FLOOR - 1, 0)] {
        for _ in 0..CALM_WINDOWS {
            number += 1;
            assert_eq!(window(&mut detector, deletes("web"), number, count), []);
        }
        number += 1;
        assert_eq!(flood(&mut detector, number), again, "after {count} in each window");
    }
}

#[test]
fn an_attack_is_not_learnt_and_a_new_level_is() {
    let mut detector = Detector::default();
    for number in 0..100 {
        window(&mut detector, deletes("web"), number, 10);
    }
    assert_eq!(window(&mut detector, deletes("web"), 100, 5_000).len(), 1);
    for number in 101..110 {
        assert_eq!(window(&mut detector, deletes("web"), number, 5_000), []);
    }
    for number in 110..130 {
        assert_eq!(window(&mut detector, deletes("web"), number, 10), []);
    }
    assert_eq!(
        window(&mut detector, deletes("web"), 130, 60).len(),
        1,
        "100 s of attack have not made 60 usual"
    );

    let mut detector = Detector::default();
    let told: usize = (0..1_000).map(|number| window(&mut detector, deletes("new"), number, 100).len()).sum();
    assert_eq!(told, 1, "a level that stays is told of once, and not as something wider when it is usual");
    assert_eq!(window(&mut detector, deletes("new"), 1_000, 190), [], "and is usual by then");
}

#[test]
fn a_caller_that_tries_everything_is_told_of_as_itself() {
    let mut detector = Detector::default();
    let mut told = Vec::new();
    let operations: Vec<String> = (0..40).map(|number| format!("operation{number}")).collect();
    for operation in &operations {
        let observed = Observed { kinds: &[Kind::Denial], caller: "scan", service: "orders", operation };
        told.extend(window(&mut detector, observed, 0, 5));
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].caller.as_str(), told[0].operation.as_str()), ("scan", SEVERAL));
}

#[test]
fn many_callers_with_a_little_each_are_told_of_together_and_hide_nobody() {
    let mut detector = Detector::default();
    let mut told = Vec::new();
    // Far more identities than there are places, for an hour, and nobody is over a floor.
    for number in 0..360 {
        for identity in 0..2 * TALLIES_MAX {
            let caller = format!("identity-{number}-{identity}");
            if let Seen::Begins(spike) = detector.observe(deletes(&caller), number * WINDOW) {
                told.push(spike);
            }
        }
        assert!(detector.tallies.len() <= TALLIES_MAX);
        if number == 0 {
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!((told[0].caller.as_str(), told[0].count), (SEVERAL, ALL_FLOOR));
        }
    }
    assert_eq!(told.len(), 1, "it never was calm");
    // Whoever was there before the crowd came in a window is counted to its end.
    let number = 400;
    for round in 0..CALL_FLOOR {
        let seen = detector.observe(deletes("flood"), number * WINDOW);
        assert_eq!(matches!(seen, Seen::Begins(_)), round + 1 == CALL_FLOOR, "{round}: {seen:?}");
        for identity in 0..TALLIES_MAX / 2 {
            detector.observe(deletes(&format!("later-{round}-{identity}")), number * WINDOW);
        }
    }
}

#[test]
fn names_are_cut_between_characters_and_clocks_that_go_back_do_no_harm() {
    let long = "é".repeat(NAME_BYTES_MAX);
    assert_eq!((cut(&long).len(), cut("web")), (NAME_BYTES_MAX, "web"));
    assert_eq!(cut(&format!("a{long}")).len(), NAME_BYTES_MAX - 1);
    let mut detector = Detector::default();
    assert_eq!(detector.observe(deletes("web"), 50 * WINDOW), Seen::Usual);
    assert_eq!(window(&mut detector, deletes("web"), 3, CALL_FLOOR).len(), 1);
    assert_eq!(detector.observe(deletes("web"), u64::MAX), Seen::Usual, "and at the end of time it is calm");
}
