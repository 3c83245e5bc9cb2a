//! Golden tables, with virtual time: what callers do in each second, and what is told of it when.

use std::fmt::Write as _;
use std::mem::take;

use super::fresh::Fresh;
use super::*;

/// So much in each second of a stretch.
#[derive(Clone, Copy)]
struct Each {
    seconds: u64,
    caller: &'static str,
    operation: &'static str,
    firsts: u64,
    retries: u64,
    sheds: u64,
}

const fn each(seconds: u64, caller: &'static str, firsts: u64, retries: u64, sheds: u64) -> Each {
    Each { seconds, caller, operation: "listOrders", firsts, retries, sheds }
}

/// What is told, a line each. Stretches of the same caller and operation follow each other; different ones go on at once.
fn told(seconds: u64, stretches: &[Each]) -> String {
    let (mut detector, mut fresh) = (Detector::default(), Fresh::default());
    let mut out = String::new();
    let mut seen = Counts::default();
    for second in 0..seconds {
        let mut begins = BTreeMap::new();
        for stretch in stretches {
            let begin = begins.entry((stretch.caller, stretch.operation)).or_insert(0);
            if (*begin..*begin + stretch.seconds).contains(&second) {
                let flow = Flow { caller: stretch.caller, service: "orders", operation: stretch.operation };
                let Each { firsts, retries, sheds, .. } = *stretch;
                fresh.observe(flow, Counts { firsts, retries, sheds });
            }
            *begin += stretch.seconds;
        }
        for finding in detector.tick(second * 1_000, take(&mut fresh.flows), |_, counts| seen.add(counts)) {
            let (what, storm) = match &finding {
                Finding::Begins(storm) => ("begins", storm),
                Finding::Ends(storm) => ("ends", storm),
            };
            let Storm { caller, operation, first_attempts, retries, sheds, amplification_percent, .. } =
                storm;
            let (since_s, took_s) = (storm.since_ms / 1000, storm.duration_ms / 1000);
            writeln!(
                out,
                "{second} s: {what}: {caller} {operation}, {first_attempts} + {retries}, {sheds} shed, \
                 {amplification_percent} %, since {since_s} s, {took_s} s"
            )
            .unwrap();
        }
    }
    let of = |pick: fn(&Each) -> u64| {
        stretches.iter().map(|stretch| stretch.seconds.min(seconds) * pick(stretch)).sum::<u64>()
    };
    let expected = Counts {
        firsts: of(|each| each.firsts),
        retries: of(|each| each.retries),
        sheds: of(|each| each.sheds),
    };
    assert_eq!(seen, expected, "each count was given once");
    out
}

#[track_caller]
fn check(seconds: u64, stretches: &[Each], expected: &str) {
    let told = told(seconds, stretches);
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(told.lines().collect::<Vec<_>>(), expected, "\n{told}");
}

#[test]
fn steady_traffic_is_nothing() {
    check(300, &[each(300, "web", 1_000, 0, 0)], "");
    check(300, &[each(300, "web", 1_000, 190, 0)], "");
    check(300, &[each(300, "web", 1, 3, 0)], "");
}

#[test]
fn overload_without_retries_is_no_storm() {
    check(300, &[each(300, "web", 1_000, 0, 900)], "");
}

#[test]
fn one_second_of_retries_is_none_either() {
    check(300, &[each(60, "web", 100, 0, 0), each(1, "web", 100, 300, 0), each(239, "web", 100, 0, 0)], "");
}

#[test]
fn a_storm_begins_once_and_ends_once() {
    check(
        200,
        &[each(60, "web", 100, 0, 0), each(60, "web", 100, 300, 250), each(80, "web", 100, 0, 0)],
        "
        64 s: begins: web listOrders, 1049 + 1240, 1033 shed, 218 %, since 61 s, 3 s
        129 s: ends: web listOrders, 6549 + 17740, 14783 shed, 399 %, since 61 s, 58 s
        ",
    );
}

#[test]
fn a_storm_of_one_caller_is_not_told_of_another() {
    check(
        200,
        &[
            each(60, "web", 100, 0, 0),
            each(60, "web", 100, 300, 0),
            each(80, "web", 100, 0, 0),
            each(200, "batch", 500, 20, 0),
        ],
        "
        64 s: begins: web listOrders, 1049 + 1240, 0 shed, 218 %, since 61 s, 3 s
        129 s: ends: web listOrders, 6549 + 17740, 0 shed, 399 %, since 61 s, 58 s
        ",
    );
}

#[test]
fn two_callers_are_two_storms() {
    check(
        200,
        &[
            each(60, "web", 100, 300, 0),
            each(140, "web", 100, 0, 0),
            each(30, "batch", 50, 0, 0),
            each(60, "batch", 50, 400, 0),
            each(110, "batch", 50, 0, 0),
        ],
        "
        3 s: begins: web listOrders, 346 + 1039, 0 shed, 400 %, since 0 s, 3 s
        33 s: begins: batch listOrders, 507 + 1385, 0 shed, 373 %, since 30 s, 3 s
        69 s: ends: web listOrders, 5946 + 17839, 0 shed, 400 %, since 0 s, 59 s
        99 s: ends: batch listOrders, 3307 + 23785, 0 shed, 898 %, since 30 s, 59 s
        ",
    );
}

#[test]
fn several_operations_of_a_caller_are_one_storm() {
    let with = |operation, stretch| Each { operation, ..stretch };
    check(
        200,
        &[
            each(60, "web", 100, 300, 0),
            with("createOrder", each(20, "web", 100, 0, 0)),
            with("createOrder", each(60, "web", 10, 90, 0)),
        ],
        "
        3 s: begins: web listOrders, 692 + 1039, 0 shed, 250 %, since 0 s, 3 s
        89 s: ends: web createOrder, 8492 + 23239, 0 shed, 981 %, since 0 s, 79 s
        ",
    );
}

#[test]
fn a_storm_that_is_spread_over_operations_is_found() {
    const OPERATIONS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let spread = OPERATIONS.map(|operation| {
        let more = u64::from(operation == "c");
        Each { operation, ..each(100, "web", 1, 3 + more, 0) }
    });
    check(
        200,
        &spread,
        "
        5 s: begins: web c, 37 + 118, 0 shed, 413 %, since 2 s, 3 s
        109 s: ends: web c, 789 + 2468, 0 shed, 500 %, since 2 s, 97 s
        ",
    );
}

#[test]
fn a_storm_on_one_operation_is_found_beside_many_calls_that_go_well() {
    let well = each(200, "web", 2_000, 0, 0);
    let storm = Each { operation: "createOrder", ..each(60, "web", 50, 200, 0) };
    check(
        200,
        &[well, storm],
        "
        3 s: begins: web createOrder, 173 + 692, 0 shed, 500 %, since 0 s, 3 s
        69 s: ends: web createOrder, 114973 + 11892, 0 shed, 500 %, since 0 s, 59 s
        ",
    );
}

#[test]
fn what_flaps_is_one_storm() {
    let mut stretches = Vec::new();
    for _ in 0..10 {
        stretches.extend([each(5, "web", 100, 300, 0), each(5, "web", 100, 0, 0)]);
    }
    stretches.push(each(100, "web", 100, 0, 0));
    check(
        200,
        &stretches,
        "
        3 s: begins: web listOrders, 346 + 1039, 0 shed, 400 %, since 0 s, 3 s
        104 s: ends: web listOrders, 9446 + 14839, 0 shed, 400 %, since 0 s, 94 s
        ",
    );
}

#[test]
fn storms_with_calm_between_are_several() {
    let storm = || [each(30, "web", 100, 300, 0), each(60, "web", 100, 0, 0)];
    check(
        180,
        &[storm(), storm()].concat(),
        "
        3 s: begins: web listOrders, 346 + 1039, 0 shed, 400 %, since 0 s, 3 s
        39 s: ends: web listOrders, 2946 + 8839, 0 shed, 400 %, since 0 s, 29 s
        94 s: begins: web listOrders, 1050 + 1244, 0 shed, 218 %, since 91 s, 3 s
        129 s: ends: web listOrders, 3550 + 8744, 0 shed, 385 %, since 91 s, 28 s
        ",
    );
}

#[test]
fn a_clock_that_jumps_neither_begins_nor_repeats_a_storm() {
    let (mut detector, mut fresh) = (Detector::default(), Fresh::default());
    let flow = Flow { caller: "web", service: "orders", operation: "listOrders" };
    let mut told = Vec::new();
    for now_ms in [1_000, 2_000, 0, u64::MAX / 2, 5_000, u64::MAX / 2 + 1_000, u64::MAX / 2 + 1_500] {
        fresh.observe(flow, Counts { firsts: 100, retries: 300, sheds: 0 });
        told.extend(detector.tick(now_ms, take(&mut fresh.flows), |_, _| {}));
    }
    assert_eq!(told.len(), 1, "{told:?}");
    let ended = detector.tick(u64::MAX, FreshFlows::new(), |_, _| {});
    assert!(matches!(ended.as_slice(), [Finding::Ends(_)]), "{ended:?}");
    assert_eq!(detector.tick(u64::MAX, FreshFlows::new(), |_, _| {}), []);
}

#[test]
fn memory_is_bounded_and_no_count_is_lost() {
    let (mut detector, mut fresh) = (Detector::default(), Fresh::default());
    let (mut added, mut seen) = (0_u64, 0_u64);
    let name = "n".repeat(5_000);
    for second in 0..5 {
        for caller in 0..3 * FLOWS_MAX as u64 {
            let caller = format!("{second}-{caller}-{name}");
            fresh.observe(
                Flow { caller: &caller, service: "orders", operation: "listOrders" },
                Counts::attempts(true, 1),
            );
            added += 1;
        }
        assert!(fresh.flows.len() <= FLOWS_MAX + 1);
        detector.tick(second * 1_000, take(&mut fresh.flows), |flow, counts| {
            assert!(flow.caller.len() <= NAME_BYTES_MAX);
            seen += counts.retries;
        });
        assert!(detector.flows.len() <= FLOWS_KEPT && detector.callers.len() <= FLOWS_MAX + 1);
    }
    assert_eq!(seen, added);
    for second in 5..200 {
        detector.tick(second * 1_000, FreshFlows::new(), |_, _| {});
    }
    assert_eq!(
        (detector.flows.len(), detector.callers.len(), detector.storms.len()),
        (0, 0, 0),
        "what is over is forgotten"
    );
}
