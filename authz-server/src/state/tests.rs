//! Epochs go on, bundles are remembered, and what is not understood is refused.

use super::{PREVIOUS_MAX, PreviousBundle, State, Stored, digest_key};
use crate::bundle::Snapshot;
use palisade_core::contract::BundleDigest;
use std::fs;
use std::path::Path;

/// A snapshot with this text in its one policy file, which need not be a good one.
fn snapshot(text: &str) -> Snapshot {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.cedar"), text).unwrap();
    Snapshot::read(directory.path()).unwrap()
}

fn digest(index: usize) -> BundleDigest {
    let mut bytes = [7; 32];
    bytes[0] = u8::try_from(index).unwrap();
    BundleDigest(bytes)
}

fn names(state: &State) -> Vec<(BundleDigest, u64)> {
    state.previous.iter().map(|previous| (previous.digest, previous.replaced_at_ms)).collect()
}

#[test]
fn the_counter_goes_on_and_the_bundle_before_is_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (snapshot("one"), snapshot("two"));
    let open = |bundle: &Snapshot, now_ms| State::open(directory.path(), bundle, now_ms).unwrap();
    let first = open(&one, 10);
    assert_eq!((first.epoch.counter, names(&first)), (1, vec![]));
    let again = open(&one, 20);
    assert_eq!((again.epoch.counter, names(&again)), (2, vec![]));
    assert_eq!(again.epoch.server, first.epoch.server);
    let changed = open(&two, 30);
    assert_eq!((changed.epoch.counter, names(&changed)), (3, vec![(one.digest(), 30)]));
    assert_eq!(names(&open(&two, 40)), [(one.digest(), 30)], "a restart does not forget it");
    for bundle in [one, two] {
        assert!(changed.bundle(bundle.digest()).unwrap().starts_with(directory.path()));
    }
}

#[test]
fn swaps_to_and_fro_leave_each_other_bundle_once_and_the_current_never() {
    let directory = tempfile::tempdir().unwrap();
    let a = snapshot("a");
    let mut state = State::open(directory.path(), &a, 0).unwrap();
    let (a, b, c) = (a.digest(), digest(1), digest(2));
    let mut check = |next, now_ms, expected: &[(BundleDigest, u64)]| {
        let before = state.epoch.counter;
        state.advance(next, now_ms).unwrap();
        assert_eq!((state.epoch.counter, names(&state)), (before + 1, expected.to_vec()));
    };
    check(b, 10, &[(a, 10)]);
    check(a, 20, &[(b, 20)]);
    check(b, 30, &[(a, 30)]);
    check(c, 40, &[(b, 40), (a, 30)]);
    check(c, 50, &[(b, 40), (a, 30)]);
    check(a, 60, &[(c, 60), (b, 40)]);
    let stored = Stored::parse(&fs::read(directory.path().join("epoch.json")).unwrap()).unwrap();
    let reopened = State::of(directory.path(), stored, digest_key::open(directory.path(), true).unwrap());
    assert_eq!(names(&reopened.unwrap()), [(c, 60), (b, 40)]);
}

#[test]
fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
    let directory = tempfile::tempdir().unwrap();
    let mut state = State::open(directory.path(), &snapshot("a"), 0).unwrap();
    for index in 0..PREVIOUS_MAX + 10 {
        state.advance(digest(index), index as u64).unwrap();
    }
    assert_eq!(state.previous.len(), PREVIOUS_MAX);
    assert_eq!(state.previous[0].digest, digest(PREVIOUS_MAX + 8));
}

#[test]
fn an_epoch_that_cannot_be_stored_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut state = State::open(directory.path(), &snapshot("a"), 0).unwrap();
    let before = fs::read(directory.path().join("epoch.json")).unwrap();
    // What stands where the new file would be written cannot be overwritten by one, whoever runs this.
    fs::create_dir(directory.path().join("epoch.json.new")).unwrap();
    let error = state.advance(digest(1), 5).unwrap_err().to_string();
    assert!(error.contains("epoch.json") && error.contains("cannot be used"), "{error}");
    assert_eq!((state.epoch.counter, names(&state)), (1, vec![]));
    assert_eq!(fs::read(directory.path().join("epoch.json")).unwrap(), before);
    fs::remove_dir(directory.path().join("epoch.json.new")).unwrap();
    state.advance(digest(1), 5).unwrap();
    assert_eq!(state.epoch.counter, 2);
}

#[test]
fn a_state_of_the_version_before_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (old, older) = (digest(1), digest(2));
    let text = format!(
        r#"{{"version":1,"server":"s","counter":41,"bundle":"{old}","previous":{{"bundle":"{older}","replaced_at_ms":7}}}}"#
    );
    fs::write(directory.path().join("epoch.json"), text).unwrap();
    let state = State::open(directory.path(), &snapshot("a"), 50).unwrap();
    assert_eq!((state.epoch.server.as_str(), state.epoch.counter), ("s", 42));
    let expected =
        [(old, 50), (older, 7)].map(|(digest, replaced_at_ms)| PreviousBundle { digest, replaced_at_ms });
    assert_eq!(state.previous, expected);
}

#[test]
fn a_state_that_is_not_understood_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let check = |text: &str, part: &str| {
        fs::write(directory.path().join("epoch.json"), text).unwrap();
        let error = State::open(Path::new(directory.path()), &snapshot("a"), 1).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    check("", "EOF");
    check(
        r#"{"version":3,"server":"a","counter":1,"bundle":"","previous":null}"#,
        "unknown version `3`: this build reads versions 1 and 2",
    );
    let stored = |counter: &str, bundle: &str| {
        format!(r#"{{"version":2,"server":"a","counter":{counter},"bundle":"{bundle}","previous":[]}}"#)
    };
    check(&stored("18446744073709551615", &digest(1).to_string()), "exhausted");
    check(&stored("1", "no"), "`no` is not a bundle digest");
}
