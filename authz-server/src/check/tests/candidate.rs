//! A candidate beside the demo bundle: what it is asked, how that is recorded, and that the answer is what it was.

use super::{Asked, NOW_MS, WORKLOAD, decide, decider};
use crate::bundle::Bundle;
use crate::check::{Candidate, Comparison, Concluded, Decider, Decision};
use crate::ledger::{self, Conclusion};
use palisade_core::reason::Reason;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The demo bundle with other texts in some of its files.
fn edited(edits: &[(&str, &str, &str)]) -> Arc<Bundle> {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies"), folder.path());
    // The demo's own tests would notice every change.
    fs::remove_dir_all(folder.path().join("tests")).unwrap();
    for (file, old, new) in edits {
        let path = folder.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "`{old}` is not in {file}");
        fs::write(path, text.replace(old, new)).unwrap();
    }
    Bundle::load(folder.path()).unwrap_or_else(|problems| panic!("{problems}")).into()
}

fn with(edits: &[(&str, &str, &str)]) -> Decider {
    let decider = decider();
    let candidate = Candidate::beside(&decider.bundle, edited(edits), (&decider.given, &decider.identity));
    Decider { candidate: Some(candidate.into()), ..decider }
}

/// Decides with the candidate and without, and compares all but what the candidate says.
fn beside(decider: &Decider, asked: &Asked) -> Concluded {
    let alone = decide(&Decider { candidate: None, ..decider.clone() }, asked);
    let with = decide(decider, asked);
    assert_eq!(alone.decision, with.decision, "the answer is what it was");
    assert_eq!(alone.record, ledger::Decision { candidate: None, ..with.record.clone() });
    assert_eq!((alone.comparison, &alone.record.candidate), (None, &None));
    with
}

#[track_caller]
fn check(edits: &[(&str, &str, &str)], asked: &Asked, expected: Comparison) -> Option<ledger::Otherwise> {
    let decider = with(edits);
    let concluded = beside(&decider, asked);
    assert_eq!(concluded.comparison, Some(expected));
    let digest = decider.candidate.unwrap().digest().to_string();
    let recorded = concluded.record.candidate;
    if expected == Comparison::NotComparable {
        assert_eq!(recorded, None);
        return None;
    }
    let recorded = recorded.expect("what was compared says so");
    assert_eq!(*recorded.bundle_digest, *digest);
    assert_eq!(recorded.otherwise.is_none(), expected == Comparison::Agreed);
    recorded.otherwise
}

const NOTHING: &[(&str, &str, &str)] = &[("storefront.cedar", "// What", "// All that")];
const NO_ORDERS: (&str, &str, &str) = (
    "guardrails.cedar",
    "// A forbid wins",
    "@id(\"no-orders\") forbid (principal, action in Action::\"orders\", resource);\n// A forbid wins",
);

#[test]
fn what_says_the_same_agrees() {
    assert_eq!(check(NOTHING, &Asked::default(), Comparison::Agreed), None);
    let delete = Asked { method: "DELETE", path: "/orders/7", ..Asked::default() };
    assert_eq!(check(NOTHING, &delete, Comparison::Agreed), None, "a denial for the same reason, too");
}

#[test]
fn policies_that_differ_are_told_with_their_names() {
    let denied = check(&[NO_ORDERS], &Asked::default(), Comparison::NewlyDenied).unwrap();
    assert_eq!((denied.decision, denied.reason.as_str()), (Conclusion::Deny, "policy_denied"));
    assert_eq!(denied.policies, ["no-orders"]);
    let permit = "@id(\"all-read\") permit (principal, action in Action::\"read\", resource);\n// What";
    let edits = [("storefront.cedar", "// What", permit)];
    let allowed = check(&edits, &Asked { key: None, ..Asked::default() }, Comparison::NewlyAllowed).unwrap();
    assert_eq!(
        (allowed.decision, allowed.policies.as_slice()),
        (Conclusion::Allow, &["all-read".to_owned()][..])
    );
    check(&edits, &Asked::default(), Comparison::Agreed);
}

#[test]
fn the_candidate_has_contracts_of_its_own() {
    let hosts = [("services/orders/service.yaml", "hosts: [orders,", "hosts: [orders-v2,")];
    let gone = check(&hosts, &Asked::default(), Comparison::NewlyDenied).unwrap();
    assert_eq!(gone.reason, Reason::HostUnknown.code());
    assert_eq!(gone.policies, [""; 0]);
    // Values are read by the candidate's own types: `limit` is a text there, and the policies about it are gone.
    let orders = "/orders?limit=many";
    let typed = [
        ("services/orders/service.yaml", "headers: [x-customer]", "headers: []"),
        ("palisade.yaml", "  mask:\n    headers:\n      x-customer: digest\n", ""),
    ];
    check(&typed, &Asked::default(), Comparison::Agreed);
    check(&typed, &Asked { path: orders, ..Asked::default() }, Comparison::Agreed);
}

#[test]
fn the_candidate_has_identities_of_its_own() {
    let header = [("palisade.yaml", "header: x-api-key", "header: x-shop-key")];
    let anonymous = check(&header, &Asked::default(), Comparison::NewlyDenied).unwrap();
    assert_eq!((anonymous.reason.as_str(), anonymous.policies.len()), ("policy_denied", 0));
    // The certificate is no matter of that header.
    check(&header, &Asked { key: None, peer: WORKLOAD, ..Asked::default() }, Comparison::Agreed);
    let wrong = Asked { key: Some("wrong"), ..Asked::default() };
    check(NOTHING, &wrong, Comparison::Agreed);
    let reason = check(&header, &wrong, Comparison::ReasonChanged).unwrap();
    assert_eq!(reason.reason, Reason::PolicyDenied.code(), "nobody looks at that header there");
}

#[test]
fn a_body_that_nobody_hands_over_is_not_made_up() {
    let body = [("services/orders/service.yaml", "body_bytes_max: 65536", "context: {body: [/item]}")];
    let bundle = std::panic::catch_unwind(|| edited(&body));
    // The contract may name its fields otherwise: then this test has to be told so.
    assert!(bundle.is_ok(), "`/item` is no field of an order any more");
    let asked = Asked { method: "POST", path: "/orders", ..Asked::default() };
    check(&body, &asked, Comparison::NotComparable);
    check(&body, &Asked::default(), Comparison::Agreed);
}

#[test]
fn only_what_a_genuine_filter_let_through_is_compared() {
    let decider = with(&[NO_ORDERS]);
    for asked in [
        Asked { send_handoff: false, ..Asked::default() },
        Asked { secret: [3; 32], ..Asked::default() },
        Asked { host: palisade_core::canary::HOST, path: palisade_core::canary::PATH, ..Asked::default() },
    ] {
        let concluded = beside(&decider, &asked);
        assert!(matches!(concluded.decision, Decision::Deny { .. }));
        assert_eq!((concluded.comparison, concluded.record.candidate), (None, None));
    }
}

#[test]
fn a_candidate_that_fails_or_dawdles_rests_and_the_answer_is_what_it_was() {
    let decider = with(&[NO_ORDERS]);
    let candidate = decider.candidate.clone().unwrap();
    let (at, later) = (NOW_MS, NOW_MS + 10_000);
    assert!(candidate.guard::<()>(at, || panic!("a mistake of ours")).is_err());
    assert_eq!(candidate.guard(at + 1, || ()), Err(Comparison::Resting));
    assert_eq!(beside(&decider, &Asked::default()).comparison, Some(Comparison::Resting));
    assert_eq!(candidate.guard(later, || ()), Ok(()));
    let slow = || {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(21) {
            std::hint::spin_loop();
        }
    };
    assert_eq!(candidate.guard(later, slow), Ok(()), "what it came to counts");
    assert_eq!(candidate.guard(later + 1, || ()), Err(Comparison::Resting));
    assert_eq!(candidate.guard(later + 2_000, || ()), Err(Comparison::Resting));
    assert_eq!(candidate.guard(later + 600_000, || ()), Ok(()));
}

#[test]
fn a_shadow_is_asked_until_its_day() {
    let ends_ms = crate::audit::day_ms("2030-06-30").unwrap();
    let bundle = edited(NOTHING);
    let (matched, asks) =
        bundle.operations().find(|(matched, _)| &*matched.operation.name == "listOrders").unwrap();
    let caller = crate::identity::Established::client("web");
    let mut values = vec![None; asks.fields.len()];
    let limit = asks.fields.iter().position(|field| field.keys == ["limit"]).unwrap();
    values[limit] = Some(crate::value::Value::Long(70));
    let shadow = |at_ms: u64| {
        let asked = (asks, values.clone());
        let judgement = bundle.ask(&caller, matched, ("orders", "/orders"), asked, at_ms);
        assert_eq!(judgement.decision, Decision::Allow);
        judgement.shadow.map(|shadow| shadow.policies)
    };
    assert_eq!(shadow(0), Some(vec!["pages-of-fifty".to_owned()]));
    assert_eq!(shadow(ends_ms - 1), Some(vec!["pages-of-fifty".to_owned()]));
    assert_eq!(shadow(ends_ms), None);
}
