//! Changes of policies: what they say, and what is written above them.

use super::{Area, Found, Kind};
use crate::bundle::Bundle;
use crate::bundle::statement::statement;
use crate::cedar::{Effect, Mode, PolicySummary};
use std::collections::BTreeMap;

pub(super) fn compare(before: &Bundle, after: &Bundle, found: &mut Found) {
    let first = found.changes.len();
    let text = |policy: &&PolicySummary| policy.text.clone();
    found.named(Area::Policies, &by_id(before), &by_id(after), text, |found, id, old, new| {
        policy(found, id, old, new);
    });
    // Only now is known which of those that are gone were forbids.
    let counted = |bundle: &Bundle, id: &str| {
        bundle.policies.all().any(|policy| policy.id == id && is_enforced_forbid(policy))
    };
    for change in found.changes.iter_mut().skip(first) {
        if change.kind == Kind::Removed && change.what.is_none() && counted(before, &change.subject) {
            change.danger = Some("what it forbade is now for the permits to decide".to_owned());
        }
    }
}

fn by_id(bundle: &Bundle) -> BTreeMap<String, &PolicySummary> {
    bundle.policies.all().map(|policy| (policy.id.clone(), policy)).collect()
}

fn is_enforced_forbid(policy: &PolicySummary) -> bool {
    policy.effect == Effect::Forbid && policy.mode == Mode::Enforced
}

fn policy(found: &mut Found, id: &str, old: &PolicySummary, new: &PolicySummary) {
    if statement(&old.text) != statement(&new.text) {
        let said = found.change(Area::Policies, Kind::Changed, id).what("statement");
        let danger = is_enforced_forbid(old).then_some("a forbid says something else");
        said.before(old.text.clone()).after(new.text.clone()).danger(danger);
    }
    let mode = |policy: &PolicySummary| match policy.mode {
        Mode::Enforced => "enforced",
        Mode::Shadow => "shadow",
    };
    if let Some(said) = found.part(Area::Policies, id, "mode", mode(old), mode(new)) {
        let lifted = is_enforced_forbid(old) && new.mode == Mode::Shadow;
        said.danger(lifted.then_some("what it forbade is now for the permits to decide"));
    }
    let annotations = |policy: &PolicySummary| {
        let PolicySummary { reason, owner, runbook, advice, until, .. } = policy.clone();
        let until = until.map(|(day, _)| day);
        [
            ("@reason", reason),
            ("@owner", owner),
            ("@runbook", runbook),
            ("@advice", advice),
            ("@until", until),
        ]
    };
    for ((name, old), (_, new)) in annotations(old).into_iter().zip(annotations(new)) {
        found.part(Area::Policies, id, name, old.unwrap_or_default(), new.unwrap_or_default());
    }
}
