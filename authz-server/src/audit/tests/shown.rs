//! What a person sees.

use std::time::{Duration, Instant};

use super::sample::{self, NOON_MS};
use crate::audit::{
    Call, CountBy, Counts, Event, Filter, Follow, Found, Pattern, Table, Trail, Zone, json_line,
};
use crate::ledger::{Admin, AdminEvent, Decision, Entry, Judged, Load};

fn calls(entries: &[Entry]) -> Vec<Call> {
    let state = tempfile::tempdir().unwrap();
    sample::record(state.path(), entries);
    let mut trail = Trail::open(state.path(), true, &mut |_| {}).unwrap();
    let mut calls = Vec::new();
    let listed = trail.list(&Filter::default(), None, &mut |_| {}, &mut |some| {
        calls.extend_from_slice(some);
        Ok(())
    });
    listed.unwrap();
    calls
}

fn table(calls: &[Call], width: Option<usize>, is_coloured: bool) -> String {
    let mut out = Vec::new();
    Table::new(Zone::utc(), width, is_coloured).write(calls, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn three_calls() -> Vec<Entry> {
    let (allowed, denied, rejected) =
        (sample::id(NOON_MS, 1), sample::id(NOON_MS, 2), sample::id(NOON_MS, 3));
    vec![
        Entry::Decision(sample::decision(&allowed, NOON_MS)),
        Entry::Outcome(sample::outcome(Some(&allowed), NOON_MS + 1, 200)),
        Entry::Decision(sample::denied(&denied, NOON_MS + 1_234)),
        Entry::Outcome(sample::rejected(&rejected, NOON_MS + 61_000)),
    ]
}

#[test]
fn a_table_reads_at_a_glance() {
    let expected = "\
time (UTC)               decision  who  operation           because                        status    took  id
2026-11-21 10:00:00.000  allow     web  orders.getOrder     storefront-reads                  200  1.3 ms  01a1fe2f-8d00-79e3-8001-3779b97f4a7c
2026-11-21 10:00:01.234  deny      web  orders.deleteOrder  policy_denied orders-are-kept       -       -  01a1fe2f-8d00-73c6-8002-6ef372fe94f8
2026-11-21 10:01:01.000  reject    -    GET orders/orders/o-1  json_syntax                      400  1.3 ms  01a1fe2f-8d00-7daa-8003-a66d2c7ddf74
";
    let shown = table(&calls(&three_calls()), None, false);
    let words = |text: &str| {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    let without_ids = |text: &str| {
        words(text).iter().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(without_ids(&shown), without_ids(expected));
    let starts = |column: &str| shown.lines().next().unwrap().find(column).unwrap();
    for line in shown.lines().skip(1) {
        assert_eq!(line.get(starts("who") - 2..starts("who")), Some("  "), "{shown}");
    }
}

#[test]
fn a_narrow_terminal_cuts_texts_first_and_ids_to_what_why_takes() {
    let calls = calls(&three_calls());
    for width in [100, 120, 150] {
        let shown = table(&calls, Some(width), false);
        assert!(shown.lines().all(|line| line.chars().count() <= width), "{width}:\n{shown}");
    }
    let narrow = table(&calls, Some(100), false);
    assert!(narrow.contains('…'), "{narrow}");
    let id = narrow.lines().nth(1).unwrap().rsplit(' ').next().unwrap();
    assert!(calls[0].id().unwrap().starts_with(id) && id.len() == 18, "{id}");
}

#[test]
fn only_a_terminal_gets_colours_and_nobody_gets_control_characters() {
    let id = sample::id(NOON_MS, 1);
    let hostile = Decision {
        principal: "we\x1b[2Jb\u{202e}\u{9b}31m".to_owned(),
        operation: String::new(),
        path: "/a\n2026 deny\t\u{7f}".to_owned(),
        policies: vec!["a\rb\u{200b}".to_owned()],
        ..sample::decision(&id, NOON_MS)
    };
    let calls = calls(&[Entry::Decision(hostile)]);
    let (plain, coloured) = (table(&calls, None, false), table(&calls, Some(300), true));
    assert_eq!(plain.lines().count(), 2);
    assert!(plain.chars().all(|c| c == '\n' || !c.is_control()), "{plain:?}");
    assert!(coloured.contains("\x1b[32mallow\x1b[0m"), "{coloured:?}");
    let without_colours = coloured.replace("\x1b[32m", "").replace("\x1b[0m", "");
    assert!(without_colours.chars().all(|c| c == '\n' || !c.is_control()), "{coloured:?}");
    for hidden in ['\u{202e}', '\u{200b}', '\u{9b}'] {
        assert!(!plain.contains(hidden) && !coloured.contains(hidden));
    }
    let line = json_line(&calls[0].object());
    assert!(line.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{line:?}");
    let read: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(read, calls[0].object(), "it is the same JSON");
}

#[test]
fn wide_characters_do_not_move_the_columns() {
    let id = sample::id(NOON_MS, 1);
    let wide = Decision { principal: "注文サービス".to_owned(), ..sample::decision(&id, NOON_MS) };
    let shown = table(&calls(&[Entry::Decision(wide)]), None, false);
    let column = |line: &str, word: &str| {
        use unicode_width::UnicodeWidthStr as _;
        line.split(word).next().unwrap().width()
    };
    let mut lines = shown.lines();
    let (names, row) = (lines.next().unwrap(), lines.next().unwrap());
    assert_eq!(column(names, "operation"), column(row, "orders.getOrder"), "{shown}");
}

#[test]
fn json_has_the_names_that_are_promised() {
    let calls = calls(&three_calls());
    let names = |call: &Call| {
        call.object().as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    let common = "id at at_ms position decision reason who service operation method host path policies";
    let decided = "proof workload class request_id errors handoff bundle epoch latency_us shadow candidate verdict \
                   attempt request_digest asked credential";
    assert_eq!(names(&calls[0]), format!("{common} {decided} outcome"));
    assert_eq!(names(&calls[2]), format!("{common} outcome"));
    assert_eq!(calls[0].object()["at"], "2026-11-21T10:00:00.000Z");
    assert_eq!(calls[0].object()["outcome"]["status"], 200);
    assert!(calls[1].object()["outcome"].is_null() && calls[2].object()["who"].is_null());
}

#[test]
fn counts_begin_with_the_most_frequent_and_hours_with_the_oldest() {
    let counts = [("web", 3), ("", 1), ("billing", 40)].map(|(who, calls)| (who.to_owned(), calls));
    let counted = Counts::new(CountBy::Who, counts.into(), None);
    let mut out = Vec::new();
    counted.write(&Zone::utc(), &mut out).unwrap();
    let shown = String::from_utf8(out).unwrap();
    let first: Vec<&str> = shown.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(first, ["who", "billing", "web", "-"]);
    let objects: Vec<String> = counted.objects().map(|object| object.to_string()).collect();
    assert_eq!(objects[0], r#"{"who":"billing","calls":40}"#);
    assert_eq!(objects[2], r#"{"who":null,"calls":1}"#);
    let hours = [("2026-11-21 10:00", 1), ("2026-11-21 11:00", 9), ("2026-11-21 12:00", 4)];
    let hours = Counts::new(CountBy::Hour, hours.map(|(at, calls)| (at.to_owned(), calls)).into(), Some(2));
    let shown: Vec<String> = hours.objects().map(|object| object["hour"].to_string()).collect();
    assert_eq!(shown, ["\"2026-11-21 11:00\"", "\"2026-11-21 12:00\""]);
}

#[test]
fn what_is_followed_is_shown_once_with_its_outcome_if_that_comes_soon() {
    let state = tempfile::tempdir().unwrap();
    let id = |number: u64| sample::id(NOON_MS, number);
    let record = |entries: &[Entry]| sample::record(state.path(), entries);
    let decided = |number| Entry::Decision(sample::decision(&id(number), NOON_MS));
    let ended = |number, status| Entry::Outcome(sample::outcome(Some(&id(number)), NOON_MS, status));
    record(&[decided(0), decided(1), ended(1, 200)]);
    let open = || Trail::open(state.path(), false, &mut |_| {}).unwrap();
    let (mut trail, mut slow_trail) = (open(), open());
    let mut all = Follow::from_end(&mut trail, Filter::default()).unwrap();
    let failed = Filter { status: Some("5xx".parse().unwrap()), ..Filter::default() };
    let mut failed = Follow::from_end(&mut slow_trail, failed).unwrap();
    let begin = Instant::now();
    let mut look = |seconds: u64| {
        let now = begin + Duration::from_secs(seconds);
        let shown = |follow: &mut Follow, trail: &mut Trail| {
            let (calls, has_more) = follow.poll(trail, &mut |_| {}, now).unwrap();
            assert!(!has_more);
            let shown = |call: &Call| (call.position(), call.outcome().map(|outcome| outcome.entry.status));
            calls.iter().map(shown).collect::<Vec<_>>()
        };
        (shown(&mut all, &mut trail), shown(&mut failed, &mut slow_trail))
    };
    assert_eq!(look(0), (vec![], vec![]), "what was there before is not new");
    record(&[decided(2)]);
    assert_eq!(look(0), (vec![], vec![]), "its outcome may come");
    record(&[ended(2, 200), decided(3), Entry::Outcome(sample::rejected(&id(9), NOON_MS))]);
    assert_eq!(look(1), (vec![(3, Some(200))], vec![]), "the filter may tell more of what it refused");
    assert_eq!(look(9), (vec![(5, None), (6, Some(400))], vec![]), "the rest took too long");
    record(&[ended(3, 503), ended(0, 500), ended(1, 500), ended(9, 500)]);
    let failed = vec![(5, Some(503)), (0, Some(500))];
    assert_eq!(look(9), (vec![], failed), "shown already, and only now known to have failed");
    record(&[ended(8, 502), Entry::Outcome(sample::outcome(None, NOON_MS, 503))]);
    let undecided = vec![(11, Some(502)), (12, Some(503))];
    assert_eq!(look(9), (undecided.clone(), undecided));
}

#[test]
fn a_refusal_is_followed_once_whichever_of_report_and_access_log_is_first() {
    let state = tempfile::tempdir().unwrap();
    let id = |number: u64| sample::id(NOON_MS, number);
    let record = |entries: &[Entry]| sample::record(state.path(), entries);
    let reported = |number| Entry::Refusal(sample::refusal(&id(number), NOON_MS));
    let ended = |number| Entry::Outcome(sample::rejected(&id(number), NOON_MS));
    record(&[sample::admin(NOON_MS)]);
    let open = || Trail::open(state.path(), false, &mut |_| {}).unwrap();
    let (mut trail, mut peer_trail) = (open(), open());
    let mut all = Follow::from_end(&mut trail, Filter::default()).unwrap();
    let peer = Filter { who: Some(Pattern::part("spiffe")), ..Filter::default() };
    let mut peers = Follow::from_end(&mut peer_trail, peer).unwrap();
    let begin = Instant::now();
    let mut look = |seconds: u64| {
        let now = begin + Duration::from_secs(seconds);
        let shown = |follow: &mut Follow, trail: &mut Trail| {
            let (calls, _) = follow.poll(trail, &mut |_| {}, now).unwrap();
            let shown = |call: &Call| (call.position(), call.outcome().map(|outcome| outcome.index));
            calls.iter().map(shown).collect::<Vec<_>>()
        };
        (shown(&mut all, &mut trail), shown(&mut peers, &mut peer_trail))
    };
    let both = |calls: &[(u64, Option<u64>)]| (calls.to_vec(), calls.to_vec());
    record(&[reported(1), ended(1)]);
    assert_eq!(look(0), both(&[(1, Some(2))]), "the report first");
    record(&[ended(2), reported(2)]);
    assert_eq!(look(0), both(&[(4, Some(3))]), "the access log first, read at once");
    record(&[ended(3)]);
    assert_eq!(look(0), both(&[]));
    record(&[reported(3), reported(1), reported(2)]);
    assert_eq!(look(1), both(&[(6, Some(5))]), "read apart, and what is repeated is not news");
    record(&[reported(4)]);
    assert_eq!(look(2), both(&[]));
    assert_eq!(look(9), both(&[(9, None)]), "it took too long");
    record(&[ended(4), reported(4), ended(5)]);
    assert_eq!(look(9), both(&[]));
    assert_eq!(look(19), (vec![(12, Some(12))], vec![]), "nobody knows whose call it was");
    record(&[reported(5)]);
    assert_eq!(look(19), (vec![], vec![]), "its outcome came before");
    assert_eq!(look(29), (vec![], vec![(13, None)]), "and it was not shown to who asked for its caller");
}

#[test]
fn events_are_listed_by_their_kind_and_time() {
    let state = tempfile::tempdir().unwrap();
    let lost = AdminEvent::ReportsLost { vm: "v".to_owned(), from: 3, count: 2 };
    let admin = |at_ms, event, detail: &str| Entry::Admin(Admin { at_ms, event, detail: detail.to_owned() });
    let id = sample::id(NOON_MS, 1);
    sample::record(
        state.path(),
        &[
            sample::admin(NOON_MS),
            Entry::Decision(sample::decision(&id, NOON_MS)),
            admin(NOON_MS + 5, lost, "2 reports of a\nVM were lost"),
            admin(NOON_MS + 9, AdminEvent::Stop, "epoch 1"),
            Entry::Judged(Judged {
                at_ms: NOON_MS + 9,
                counts: vec![],
                bundle_digest: String::new(),
                vm: String::new(),
                sequence: 3,
            }),
            Entry::Drift(sample::drift(&id, NOON_MS + 9)),
            Entry::Load(Load {
                at_ms: NOON_MS + 9,
                counts: vec![],
                levels: vec![],
                bundle_digest: String::new(),
                vm: String::new(),
                sequence: 4,
            }),
        ],
    );
    for from_ledger in [false, true] {
        let mut trail = Trail::open(state.path(), from_ledger, &mut |_| {}).unwrap();
        let mut positions = |kind: Option<&str>, at_ms, limit| {
            let kind = kind.map(Pattern::whole);
            let events = trail.events(kind.as_ref(), at_ms, limit, &mut |_| {}).unwrap();
            events.iter().map(Event::position).collect::<Vec<_>>()
        };
        assert_eq!(positions(None, 0..u64::MAX, None), [0, 2, 3, 5], "what was judged is no event");
        assert_eq!(positions(None, 0..u64::MAX, Some(3)), [2, 3, 5], "the newest");
        assert_eq!(positions(Some("drift"), 0..u64::MAX, None), [5]);
        assert_eq!(positions(Some("judged"), 0..u64::MAX, None), [0; 0]);
        assert_eq!(positions(Some("load"), 0..u64::MAX, None), [0; 0]);
        assert_eq!(positions(Some("*lost"), 0..u64::MAX, None), [2]);
        assert_eq!(positions(None, NOON_MS + 1..NOON_MS + 9, None), [2]);
        assert_eq!(positions(Some("spike"), 0..u64::MAX, None), [0; 0]);
    }
    let mut trail = Trail::open(state.path(), true, &mut |_| {}).unwrap();
    let events = trail.events(None, 0..u64::MAX, None, &mut |_| {}).unwrap();
    let object = events[1].object();
    assert_eq!((&object["event"], &object["reports_lost"]["count"]), (&"reports_lost".into(), &2.into()));
    let mut out = Vec::new();
    events.iter().for_each(|event| event.write(&Zone::utc(), false, &mut out).unwrap());
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("2026-11-21 10:00:00.005  reports_lost         2 reports"), "{text}");
    let drift = format!(
        "drift                response 200 of orders.listOrders: json_syntax at response/body/items/*/price, 7 times by \
         spiffe://shop.example/web, as in {id}"
    );
    assert!(text.contains(&drift), "{text}");
    let object = events[3].object();
    assert_eq!((&object["event"], &object["drift"]["count"]), (&"drift".into(), &7.into()));
    assert_eq!(object["at_ms"], NOON_MS + 9);
}

#[test]
fn a_call_knows_the_drift_that_it_is_an_example_of_whichever_was_first() {
    let state = tempfile::tempdir().unwrap();
    let id = |number: u64| sample::id(NOON_MS, number);
    let drift = |number| Entry::Drift(sample::drift(&id(number), NOON_MS));
    let decided = |number| Entry::Decision(sample::decision(&id(number), NOON_MS));
    sample::record(
        state.path(),
        &[drift(1), decided(1), decided(2), drift(2), drift(2), decided(3), drift(4)],
    );
    for from_ledger in [false, true] {
        let mut trail = Trail::open(state.path(), from_ledger, &mut |_| {}).unwrap();
        let mut further = |number| match trail.find(&id(number).parse().unwrap(), &mut |_| {}).unwrap() {
            Found::One(why) => Some(why.further.iter().map(|recorded| recorded.index).collect::<Vec<_>>()),
            Found::Nothing => None,
            Found::Many(calls) => panic!("{calls:?}"),
        };
        assert_eq!(further(1), Some(vec![0]));
        assert_eq!(further(2), Some(vec![3, 4]));
        assert_eq!(further(3), Some(vec![]));
        assert_eq!(further(4), None, "an example alone is no call");
        let mut found = Vec::new();
        trail.drift(0..u64::MAX, &mut |_| {}, &mut |entry| found.push(entry.clone())).unwrap();
        assert_eq!(found, [drift(1), drift(2), drift(2), drift(4)]);
        trail.drift(NOON_MS + 1..u64::MAX, &mut |_| {}, &mut |entry| panic!("{entry:?}")).unwrap();
    }
}

#[test]
fn a_follower_that_is_far_behind_gives_all_of_it_piece_by_piece() {
    let state = tempfile::tempdir().unwrap();
    sample::record(state.path(), &[sample::admin(NOON_MS)]);
    let mut trail = Trail::open(state.path(), false, &mut |_| {}).unwrap();
    let who = Some(Pattern::part("web"));
    let mut follow = Follow::from_end(&mut trail, Filter { who, ..Filter::default() }).unwrap();
    let count = 6_000;
    let decisions = |number| Entry::Decision(sample::decision(&sample::id(NOON_MS, number), NOON_MS));
    sample::record(state.path(), &(0..count).map(decisions).collect::<Vec<_>>());
    let (mut found, mut at) = (Vec::new(), Instant::now());
    while found.len() < count as usize {
        let (calls, has_more) = follow.poll(&mut trail, &mut |_| {}, at).unwrap();
        if !has_more {
            at += Duration::from_secs(5);
        }
        found.extend(calls.iter().map(Call::position));
    }
    assert_eq!(found, (1..=count).collect::<Vec<_>>());
}
