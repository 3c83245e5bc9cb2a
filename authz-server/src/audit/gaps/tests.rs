//! What is missing and what is not, on ledgers that the real writer wrote.

use std::path::Path;

use super::*;
use crate::audit::INDEX_DIRECTORY;
use crate::audit::tests::sample::{self, NOON_MS};
use crate::ledger::{Admin, Passed};
use crate::state::LEDGER_DIRECTORY;

fn id(number: u64) -> String {
    sample::id(NOON_MS, number)
}

fn decided(number: u64) -> Entry {
    Entry::Decision(sample::decision(&id(number), NOON_MS))
}

fn ended(number: u64) -> Entry {
    Entry::Outcome(sample::outcome(Some(&id(number)), NOON_MS, 200))
}

fn look(state: &Path, looked_to: u64, settled: u64) -> Option<Stretch> {
    let ledger = state.join(LEDGER_DIRECTORY);
    let mut index = Index::open(&state.join(INDEX_DIRECTORY), &ledger).unwrap();
    while !index.advance(None, 4096).unwrap().at_end {}
    find(&index, &ledger, looked_to, settled).unwrap()
}

fn enter(state: &Path, stretch: &Stretch) {
    let (from, to) = (stretch.entries.start, stretch.entries.end);
    let event = AdminEvent::OutcomesMissing { from, to, count: stretch.missing };
    sample::record(state, &[Entry::Admin(Admin { at_ms: NOON_MS, event, detail: "missing".to_owned() })]);
}

#[test]
fn what_has_no_outcome_is_missing_unless_it_may_still_run() {
    let passed = |grpc, upgrade| Some(Passed { body_judged: false, grpc, upgrade });
    let stream = |number, verdict| Decision { verdict, ..sample::decision(&id(number), NOON_MS) };
    let denied = |number, verdict| Decision { verdict, ..sample::denied(&id(number), NOON_MS) };
    let refused = |number| Entry::Refusal(sample::refusal(&id(number), NOON_MS));
    let state = tempfile::tempdir().unwrap();
    sample::record(
        state.path(),
        &[
            sample::admin(NOON_MS),
            decided(1),
            ended(1),
            decided(2),
            Entry::Decision(stream(3, passed(true, false))),
            Entry::Decision(stream(4, passed(false, true))),
            Entry::Decision(denied(5, passed(true, false))),
            Entry::Decision(stream(6, passed(false, false))),
            refused(7),
            refused(7),
            ended(8),
            refused(8),
            // Of two with one id the first one has the outcome, and nothing is missing of the other.
            decided(1),
            Entry::Outcome(sample::outcome(None, NOON_MS, 503)),
            decided(9),
        ],
    );
    let found = look(state.path(), 0, 14).unwrap();
    assert_eq!(found.entries, 0..14);
    assert_eq!(found.named, [2, 5, 6, 7].map(id));
    assert_eq!(found.missing, 4);
    assert_eq!(look(state.path(), 0, 0), None);
    let last = look(state.path(), 14, 15).unwrap();
    assert_eq!((last.entries.clone(), last.missing), (14..15, 1));
    let detail = last.detail();
    assert!(
        detail.starts_with("1 call has no outcome, of those that entries 14 to 14 tell of: "),
        "{detail}"
    );
}

#[test]
fn nothing_is_entered_twice_whatever_becomes_of_server_and_index() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path();
    sample::record(state, &[decided(1), decided(2), ended(2), decided(3)]);
    let first = look(state, 0, 3).unwrap();
    assert_eq!((first.entries.clone(), first.missing), (0..3, 1));
    enter(state, &first);
    // Another server knows nothing but the ledger; what was not settled then is looked at now.
    let second = look(state, 0, 5).unwrap();
    assert_eq!((second.entries.clone(), second.missing, &second.named), (3..5, 1, &vec![id(3)]));
    enter(state, &second);
    std::fs::remove_dir_all(state.join(INDEX_DIRECTORY)).unwrap();
    assert_eq!(look(state, 0, 5), None);
    // The entry of a gap is an entry itself, and no call.
    let third = look(state, 0, 6).unwrap();
    assert_eq!((third.entries, third.missing), (5..6, 0));
    // An outcome that comes late changes nothing of what was entered.
    sample::record(state, &[ended(1)]);
    assert_eq!(look(state, 0, 5), None);
}

#[test]
fn a_loss_of_everything_is_entered_piece_by_piece() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path();
    let calls = CANDIDATES_MAX + 500;
    sample::record(state, &(0..calls).map(decided).collect::<Vec<_>>());
    let first = look(state, 0, calls).unwrap();
    assert_eq!((first.entries.clone(), first.missing), (0..CANDIDATES_MAX, CANDIDATES_MAX));
    assert_eq!(first.named, (0..5).map(id).collect::<Vec<_>>());
    assert!(first.detail().ends_with(", and others"), "{}", first.detail());
    enter(state, &first);
    let second = look(state, 0, calls).unwrap();
    assert_eq!((second.entries, second.missing), (CANDIDATES_MAX..calls, 500));
}
