//! What a server decided is decided again from the entry alone; and a change of a policy is found.

use super::{BundleSource, KeptBundles, Made, Replay, explain};
use crate::bundle::Bundle;
use crate::check::tests::calls::{Calls, copy, workspace};
use crate::check::tests::masked::masked_demo;
use crate::ledger::{self, Entry, Stored};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// `PALISADE_REPLAYS` makes it more.
const REPLAYS: usize = 5_000;

fn replays() -> usize {
    match std::env::var("PALISADE_REPLAYS") {
        Ok(text) => text.parse().expect("`PALISADE_REPLAYS` is a number of decisions"),
        Err(_) => REPLAYS,
    }
}

/// A folder in which the bundle stands under its digest, as a server keeps it.
fn kept(folder: &Path) -> (TempDir, Bundle) {
    let bundle = Bundle::load(folder).unwrap_or_else(|problems| panic!("{problems}"));
    let bundles = tempfile::tempdir().unwrap();
    copy(folder, &bundles.path().join(bundle.digest.to_string()));
    (bundles, bundle)
}

/// As it comes out of a ledger.
fn read_back(decision: ledger::Decision) -> ledger::Decision {
    let stored: Stored = Entry::Decision(decision).encode().unwrap();
    match Entry::decode(stored.kind(), stored.version(), stored.bytes()).unwrap() {
        Entry::Decision(decision) => decision,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_decided_is_decided_again_from_its_entry() {
    let all = replays();
    let masked = masked_demo();
    let bundles = [
        workspace().join("policies"),
        workspace().join("tests/bundles/second"),
        workspace().join("tests/bundles/sound"),
        masked.path().to_owned(),
    ];
    let each = all.div_ceil(bundles.len());
    let (mut same, mut masked, mut decisions, mut shadows, mut errors) = (0, 0, 0, 0, 0);
    for (seed, folder) in (11..).zip(&bundles) {
        let (folder, bundle) = kept(folder);
        let mut calls = Calls::of(bundle, seed);
        let mut replay = Replay::new(KeptBundles::new(BundleSource::Folder(folder.path().to_owned())));
        // As many as are asked for must be made again, whatever else comes in between.
        let mut index = 0;
        while replay.counts.same < each as u64 {
            let decision = read_back(calls.next().record);
            shadows += usize::from(decision.shadow.is_some());
            errors += usize::from(decision.reason == "policy_error");
            let made = replay.take(index, &decision);
            assert!(!matches!(made, Made::Different { .. }), "{made:?}: {decision:?}");
            index += 1;
        }
        let counts = &replay.counts;
        assert_eq!(counts.decisions, index);
        assert_eq!(counts.bundle_not_kept + counts.bundle_damaged + counts.without_values, 0);
        assert!(counts.same * 3 > index, "most calls reach the policies: {counts:?}");
        same += counts.same;
        masked += counts.masked;
        decisions += counts.decisions;
    }
    println!(
        "{decisions} decisions: {same} made again, none otherwise; {masked} not, because policies read what is masked or \
         too long; {shadows} with a shadow that disagrees, {errors} with policies that fail"
    );
    assert!(same >= all as u64 && masked * 50 > same && shadows * 1000 > all && errors * 1000 > all);
}

#[test]
fn a_change_of_a_policy_is_found_in_what_was_decided_before() {
    let (folder, bundle) = kept(&workspace().join("policies"));
    let path = folder.path().join(bundle.digest.to_string());
    let mut calls = Calls::of(bundle, 5);
    let decisions: Vec<ledger::Decision> = (0..2_000).map(|_| read_back(calls.next().record)).collect();
    let replayed = |folder: &Path| {
        let mut replay = Replay::new(KeptBundles::new(BundleSource::Folder(folder.to_owned())));
        for (index, decision) in (0..).zip(&decisions) {
            replay.take(index, decision);
        }
        replay
    };
    assert_eq!(replayed(folder.path()).counts.different, 0);
    let guardrails = path.join("guardrails.cedar");
    let text = fs::read_to_string(&guardrails).unwrap();
    fs::write(&guardrails, text.replace("context.query.limit > 100", "context.query.limit > 101")).unwrap();
    let changed = replayed(folder.path());
    let expected: Vec<&ledger::Decision> = decisions
        .iter()
        .filter(|decision| {
            let limit = decision.asked.as_ref().and_then(|asked| asked.query.get("limit"));
            decision.operation == "listOrders" && limit == Some(&101.into())
        })
        .collect();
    assert!(!expected.is_empty());
    let named: Vec<&str> = changed.different.iter().map(|found| found.decision_id.as_str()).collect();
    let ids: Vec<&str> = expected.iter().map(|decision| decision.decision_id.as_str()).collect();
    assert_eq!(changed.counts.different as usize, ids.len());
    assert_eq!(named, ids[..ids.len().min(super::NAMED_MAX)]);
    assert!(changed.different[0].recorded.contains("pages-are-bounded"), "{:?}", changed.different[0]);
}

#[test]
fn a_kept_bundle_is_only_used_if_it_is_what_it_was() {
    let state = tempfile::tempdir().unwrap();
    let bundle = Bundle::load(&workspace().join("policies")).unwrap();
    let path = state.path().join("bundles").join(bundle.digest.to_string());
    copy(&workspace().join("policies"), &path);
    let mut calls = Calls::of(bundle, 5);
    let decision = loop {
        let record = calls.next().record;
        if record.reason == "policy_allowed"
            && record.asked.as_ref().is_some_and(|asked| asked.not_replayable.is_empty())
        {
            break read_back(record);
        }
    };
    let made = || {
        let kept = BundleSource::Kept(crate::state::Bundles::of(state.path()));
        let mut replay = Replay::new(KeptBundles::new(kept));
        (replay.take(0, &decision), replay.complaints().len())
    };
    assert_eq!(made(), (Made::Same, 0));
    let old = ledger::Decision { asked: None, ..decision.clone() };
    let mut replay = Replay::new(KeptBundles::new(BundleSource::Folder(state.path().to_owned())));
    assert_eq!(replay.take(0, &old), Made::WithoutValues);
    fs::write(path.join("guardrails.cedar"), "").unwrap();
    assert_eq!(made(), (Made::BundleDamaged, 1));
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(made(), (Made::BundleNotKept, 0));
}

#[test]
fn a_recorded_decision_is_explained_from_its_entry_and_its_bundle() {
    let masked = masked_demo();
    let (mut explained, mut not_asked, mut hidden) = (0, 0, 0);
    for (seed, folder) in (31..).zip([workspace().join("policies"), masked.path().to_owned()]) {
        let (folder, bundle) = kept(&folder);
        let mut calls = Calls::of(bundle, seed);
        let source = || BundleSource::Folder(folder.path().to_owned());
        for _ in 0..60 {
            let decision = read_back(calls.next().record);
            match (&decision.asked, explain(source(), &decision)) {
                (Some(asked), Ok(explanation)) => {
                    assert!(asked.not_replayable.is_empty());
                    let told = serde_json::to_value(&explanation).unwrap();
                    let verdict = match decision.reason.as_str() {
                        "policy_allowed" => "allowed",
                        "policy_error" => "policy_error",
                        _ if decision.policies.is_empty() => "not_permitted",
                        _ => "forbidden",
                    };
                    assert_eq!(told["verdict"], verdict, "{decision:?}");
                    if verdict != "policy_error" {
                        let ids = explanation.policies.iter().map(|policy| policy.id.clone());
                        assert_eq!(ids.collect::<Vec<_>>(), decision.policies);
                    }
                    explained += 1;
                }
                (Some(asked), Err(why)) => {
                    assert!(
                        !asked.not_replayable.is_empty() && why.contains("masked"),
                        "{why}: {decision:?}"
                    );
                    hidden += 1;
                }
                (None, Err(_)) => not_asked += 1,
                (None, Ok(explanation)) => panic!("{explanation}"),
            }
        }
    }
    println!(
        "{explained} explained, {not_asked} decided before policies were asked, {hidden} with masked values"
    );
    assert!(explained > 40 && hidden > 0);
    let elsewhere = tempfile::tempdir().unwrap();
    let (_, bundle) = kept(&workspace().join("policies"));
    let mut calls = Calls::of(bundle, 5);
    let decision = loop {
        let record = calls.next().record;
        if record.asked.as_ref().is_some_and(|asked| asked.not_replayable.is_empty()) {
            break read_back(record);
        }
    };
    let why = explain(BundleSource::Folder(elsewhere.path().to_owned()), &decision).unwrap_err();
    assert!(why.contains("not kept here"), "{why}");
}
