//! Rows for people, and for programs.

use super::{Asked, Drifts};
use crate::audit::{Pattern, Zone};
use crate::ledger::{Drift, Entry, Judged, JudgedCount, Side};
use serde_json::Value;

const NOON_MS: u64 = 1_795_255_200_000;

fn drift(operation: &str, place: &str, peer: &str, count: u64, at_ms: u64) -> Drift {
    Drift {
        side: Side::Response,
        reason: "json_syntax".to_owned(),
        place: place.to_owned(),
        service: "orders".to_owned(),
        operation: operation.to_owned(),
        status: Some(200),
        peer: Some(peer.to_owned()).filter(|peer| !peer.is_empty()),
        count,
        first_at_ms: NOON_MS + at_ms,
        last_at_ms: NOON_MS + at_ms + 5,
        call_id: format!("call-{at_ms}"),
        bundle_digest: String::new(),
        vm: String::new(),
        sequence: 0,
    }
}

fn judged(operation: &str, side: Side, count: u64) -> Entry {
    let counts =
        vec![JudgedCount { service: "orders".to_owned(), operation: operation.to_owned(), side, count }];
    let (bundle_digest, vm) = Default::default();
    Entry::Judged(Judged { at_ms: NOON_MS, counts, bundle_digest, vm, sequence: 0 })
}

fn drifts(asked: Asked, entries: &[Entry]) -> Drifts {
    let mut drifts = Drifts::new(asked);
    entries.iter().for_each(|entry| drifts.add(entry));
    drifts
}

fn sample() -> Vec<Entry> {
    let several = Drift { service: String::new(), ..drift("", "…", "", 4, 40) };
    vec![
        Entry::Drift(drift("listOrders", "response/body/items/*/price", "web", 3, 10)),
        judged("listOrders", Side::Response, 80),
        judged("listOrders", Side::Request, 500),
        Entry::Drift(drift("listOrders", "response/body/items/*/price", "app", 4, 30)),
        Entry::Drift(drift("listOrders", "response/body/items/*/price", "tv", 1, 20)),
        Entry::Drift(drift("listOrders", "", "web", 2, 15)),
        Entry::Drift(drift("createOrder", "body\u{1b}[31m", "web", 7, 30)),
        Entry::Drift(several),
        judged("listOrders", Side::Response, 20),
    ]
}

#[test]
fn what_is_the_same_is_one_row_with_its_share() {
    let drifts = drifts(Asked::default(), &sample());
    let objects = drifts.objects();
    let expected = serde_json::json!({
        "service": "orders",
        "operation": "listOrders",
        "side": "response",
        "place": "response/body/items/*/price",
        "reason": "json_syntax",
        "statuses": [200],
        "callers": [
            {"caller": "app", "count": 4}, {"caller": "web", "count": 3}, {"caller": "tv", "count": 1},
        ],
        "count": 8,
        "judged": 100,
        "ratio": 0.08,
        "first_at": "2026-11-21T10:00:00.010Z",
        "first_at_ms": NOON_MS + 10,
        "last_at": "2026-11-21T10:00:00.035Z",
        "last_at_ms": NOON_MS + 35,
        "example": "call-30",
    });
    assert_eq!(objects[0], expected);
    let counts: Vec<_> = objects.iter().map(|object| object["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [8, 7, 4, 2], "the most frequent first");
    assert_eq!((&objects[2]["operation"], &objects[2]["callers"][0]["caller"]), (&().into(), &().into()));
    assert_eq!((&objects[1]["judged"], &objects[1]["ratio"]), (&().into(), &().into()), "not guessed");
    assert_eq!((drifts.judged(Side::Response), drifts.judged(Side::Request)), (100, 500));
}

#[test]
fn people_see_a_table_for_each_operation() {
    let mut out = Vec::new();
    drifts(Asked::default(), &sample()).write(&Zone::utc(), &mut out).unwrap();
    let expected = "\
orders.listOrders, responses: 10 among 100 that were judged
  count  share  place                        reason       callers     first (UTC)              last                     example
      8  8.0 %  response/body/items/*/price  json_syntax  app web +1  2026-11-21 10:00:00.010  2026-11-21 10:00:00.035  call-30
      2  2.0 %  -                            json_syntax  web         2026-11-21 10:00:00.015  2026-11-21 10:00:00.020  call-15

orders.createOrder, responses: 7, and how many were judged is not known
  count  share  place      reason       callers  first (UTC)              last                     example
      7      -  body\u{fffd}[31m  json_syntax  web      2026-11-21 10:00:00.030  2026-11-21 10:00:00.035  call-30

several operations, responses: 4, and how many were judged is not known
  count  share  place  reason       callers  first (UTC)              last                     example
      4      -  …      json_syntax  -        2026-11-21 10:00:00.040  2026-11-21 10:00:00.045  call-40
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn only_what_was_asked_for_counts() {
    let counted = |asked: Asked| -> Vec<u64> {
        let objects = drifts(asked, &sample()).objects();
        objects.iter().map(|object| object["count"].as_u64().unwrap()).collect()
    };
    let whole = |text: &str| Some(Pattern::whole(text));
    let caller = |text: &str| Asked { caller: Some(Pattern::part(text)), ..Asked::default() };
    assert_eq!(counted(Asked { service: whole("orders"), ..Asked::default() }), [8, 7, 2]);
    assert_eq!(counted(Asked { service: whole("payments"), ..Asked::default() }), [0; 0]);
    assert_eq!(counted(Asked { operation: whole("createOrder"), ..Asked::default() }), [7]);
    assert_eq!(counted(Asked { operation: whole("orders.list*"), ..Asked::default() }), [8, 2]);
    assert_eq!(counted(caller("app")), [4]);
    assert_eq!(counted(caller("web")), [7, 3, 2]);
    assert!(drifts(caller("nobody"), &sample()).is_empty());
}

#[test]
fn a_share_is_neither_nothing_nor_all_by_rounding() {
    for (count, judged, share) in [
        (1, 3, Some("33.3 %")),
        (1, 1_000_000, Some("<0.1 %")),
        (999_999, 1_000_000, Some(">99.9 %")),
        (5, 5, Some("100.0 %")),
        (5, 4, None),
        (0, 0, None),
    ] {
        assert_eq!(super::ratio(count, judged).map(super::percent).as_deref(), share, "{count} of {judged}");
    }
}

#[test]
fn what_nobody_decided_on_is_no_share_of_what_was_judged() {
    let undecided = Drift { reason: "decision_missing".to_owned(), ..drift("listOrders", "", "web", 30, 10) };
    let mut entries = vec![Entry::Drift(undecided)];
    let shown = |entries: &[Entry]| {
        let drifts = drifts(Asked::default(), entries);
        let mut out = Vec::new();
        drifts.write(&Zone::utc(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        (drifts.objects(), text.lines().next().unwrap().to_owned())
    };
    let (objects, heading) = shown(&entries);
    assert_eq!(
        heading,
        "orders.listOrders, responses: 30 went on undecided while the server could not be reached"
    );
    assert_eq!(objects[0]["count"], 30);
    entries.extend(sample());
    let (objects, heading) = shown(&entries);
    assert_eq!(
        heading,
        "orders.listOrders, responses: 10 among 100 that were judged; 30 went on undecided while the server could not be reached"
    );
    assert_eq!((&objects[0]["reason"], &objects[0]["ratio"]), (&"decision_missing".into(), &Value::Null));
}
