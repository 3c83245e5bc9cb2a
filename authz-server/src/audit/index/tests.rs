//! Which way each question is answered, asserted on SQLite's own plan instead of on time.

use super::plan::Plan;
use super::*;
use crate::audit::tests::sample::{self, NOON_MS};
use crate::audit::{Filter, Pattern, Verdict};
use crate::ledger::{Decision, Entry};
use crate::state::LEDGER_DIRECTORY;

const CALLS: u64 = 20_000;

/// Nearly all calls are one caller's reads; one in a thousand is denied, and one in two thousand is somebody else's.
fn entries() -> Vec<Entry> {
    let calls = (0..CALLS).flat_map(|number| {
        let at_ms = NOON_MS + number;
        let id = sample::id(at_ms, number);
        let mut decision: Decision = match number % 1000 {
            7 => sample::denied(&id, at_ms),
            _ => sample::decision(&id, at_ms),
        };
        if number % 2000 == 9 {
            decision.principal = "billing".to_owned();
        }
        let mut outcome = sample::outcome(Some(&id), at_ms, 200);
        outcome.duration_us = number % 1000;
        [Entry::Decision(decision), Entry::Outcome(outcome)]
    });
    calls.collect()
}

#[test]
fn no_question_is_answered_by_looking_at_calls_that_need_not_be_looked_at() {
    let state = tempfile::tempdir().unwrap();
    sample::record(state.path(), &entries());
    let mut index = Index::open(&state.path().join("index"), &state.path().join(LEDGER_DIRECTORY)).unwrap();
    while !index.advance(None, 4096).unwrap().at_end {}
    let check = |filter: Filter, plan: Plan, parts: &[&str]| {
        let asked = index.ask(&filter).unwrap();
        let (chosen, explained) = index.explain(&asked, 50).unwrap();
        assert_eq!(chosen, plan, "{filter:?}: {explained}");
        for part in parts {
            assert!(explained.contains(part), "{filter:?}: {explained}");
        }
        // Only what is put in order afterwards may be sorted.
        assert_eq!(
            explained.contains("TEMP B-TREE"),
            matches!(plan, Plan::ByShape | Plan::ById),
            "{explained}"
        );
        assert!(!explained.contains("AUTOMATIC"), "{explained}");
    };
    let rowid = "c USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)";
    let who = |text: &str| Some(Pattern::part(text));
    check(Filter::default(), Plan::Walk, &[rowid]);
    check(Filter { who: who("web"), ..Filter::default() }, Plan::Walk, &[rowid]);
    let by_shape = "c USING INDEX call_by_shape (shape=? AND rowid>? AND rowid<?)";
    check(Filter { who: who("billing"), ..Filter::default() }, Plan::ByShape, &[by_shape]);
    check(Filter { decision: Some(Verdict::Deny), ..Filter::default() }, Plan::ByShape, &[by_shape]);
    let rare = Filter { who: who("billing"), since_ms: Some(NOON_MS), slow_us: Some(3), ..Filter::default() };
    check(rare, Plan::ByShape, &["c USING INDEX call_by_shape (shape=? AND rowid>? AND rowid<?)"]);
    check(
        Filter { slow_us: Some(900), ..Filter::default() },
        Plan::ByOutcome,
        &["o USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", "c USING INTEGER PRIMARY KEY (rowid=?)"],
    );
    check(
        Filter { id: Some(sample::id(NOON_MS + 5, 5).parse().unwrap()), ..Filter::default() },
        Plan::ById,
        &["i USING PRIMARY KEY (id>? AND id<?)", "c USING INTEGER PRIMARY KEY (rowid=?)"],
    );

    // A time is a range of positions before anything is looked at.
    let hour =
        Filter { since_ms: Some(NOON_MS + 10_000), until_ms: Some(NOON_MS + 10_100), ..Filter::default() };
    let range = index.ask(&hour).unwrap().range;
    assert!(range.contains(&20_000) && range.end - range.start <= 200 + 2 * schema::BLOCK, "{range:?}");
}

#[test]
fn an_entry_costs_few_bytes() {
    let state = tempfile::tempdir().unwrap();
    let entries = entries();
    sample::record(state.path(), &entries);
    let mut index = Index::open(&state.path().join("index"), &state.path().join(LEDGER_DIRECTORY)).unwrap();
    while !index.advance(None, 4096).unwrap().at_end {}
    index.close();
    let bytes = fs::metadata(state.path().join("index").join(FILE)).unwrap().len();
    let each = bytes / entries.len() as u64;
    println!("{each} bytes in the index for each of {} entries", entries.len());
    assert!(each <= 60, "{each} bytes an entry");
}
