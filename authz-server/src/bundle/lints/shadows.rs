//! Lints of what is only watched: policies and rules in shadow, and what is looked for where nobody looks.
//!
//! INVARIANT: these are the only findings that depend on the day: a shadow that is forgotten is found by time alone.

use super::places::Places;
use super::{Found, Lint};
use crate::bundle::compiled::settings::word;
use crate::bundle::landscape::{Landscape, full_name};
use crate::cedar::{Mode, PolicySummary};
use palisade_core::contract::{Enforcement, Matched, Operation, Part, Rule};

pub(super) fn look(landscape: &Landscape<'_>, places: &Places<'_>, now_ms: u64, found: &mut Found) {
    for policy in landscape.policies().filter(|policy| policy.mode == Mode::Shadow) {
        shadow_policy(policy, now_ms, found);
    }
    for matched in &landscape.operations {
        shadow_rules(*matched, places, now_ms, found);
        never_rules(*matched, places, found);
    }
}

fn shadow_policy(policy: &PolicySummary, now_ms: u64, found: &mut Found) {
    let id = &policy.id;
    match &policy.until {
        None => {
            let message = format!("policy `{id}` is in shadow without an end");
            let help =
                "write `@until(\"2027-01-31\")` below its mode: the day, in UTC, by which it counts or goes";
            found.warn(Lint::ShadowWithoutEnd, id, policy.place.clone(), message, help);
        }
        Some((day, ends_ms)) if *ends_ms <= now_ms => {
            let message = format!("the shadow of policy `{id}` ended on {day}: it is asked no more");
            let help = "let it count by taking `@mode` and `@until` away, give it a later day, or remove it";
            found.warn(Lint::ShadowExpired, id, policy.place.clone(), message, help);
        }
        Some(_) => {}
    }
}

fn shadow_rules(matched: Matched<'_>, places: &Places<'_>, now_ms: u64, found: &mut Found) {
    let Matched { service, operation, .. } = matched;
    let name = full_name(matched);
    let place = || {
        let rule = places.rule(&service.name, &operation.name, "shadow");
        rule.unwrap_or_else(|| places.operation(&service.name, &operation.name))
    };
    for (rule, until_ms) in operation.shadows.iter() {
        let word = word(rule);
        if !has_part(operation, rule) {
            let message = format!("`{word}` of `{name}` is in shadow, and the operation has no such part");
            let help = "remove it: there is nothing to watch";
            found.warn(Lint::ShadowOfNothing, &name, place(), message, help);
        } else if until_ms <= now_ms {
            let message = format!("the shadow of `{word}` of `{name}` has ended: the rule is enforced");
            let help = "remove it, or give it a later day";
            found.warn(Lint::ShadowExpired, &name, place(), message, help);
        }
    }
}

/// Whether there is anything that a rule could be broken by.
fn has_part(operation: &Operation, rule: Rule) -> bool {
    let has = |part| operation.parameters_in(part).next().is_some();
    match rule {
        Rule::Path => has(Part::Path),
        Rule::Query => has(Part::Query),
        // Any request may carry a parameter that nobody declared.
        Rule::QueryNotDeclared => true,
        Rule::Header => has(Part::Header),
        Rule::Cookie => has(Part::Cookie),
        Rule::ContentType | Rule::Body => operation.body.is_some(),
    }
}

fn never_rules(matched: Matched<'_>, places: &Places<'_>, found: &mut Found) {
    let Matched { service, operation, .. } = matched;
    let rules = &operation.responses;
    let parts = [
        ("head", rules.head, &rules.never_headers, "headers"),
        ("body", rules.body, &rules.never_properties, "properties"),
    ];
    for (part, enforcement, names, what) in parts {
        if enforcement != Enforcement::Off || names.is_empty() {
            continue;
        }
        let name = full_name(matched);
        let message = format!("`never.{what}` of `{name}` is not looked for: `responses.{part}` is `off`");
        let help = format!("let `{part}` be `report` or `enforce`, or take the names away");
        let place = places.rule(&service.name, &operation.name, "responses");
        let place = place.unwrap_or_else(|| places.service(&service.name));
        found.warn(Lint::NeverNotLookedFor, &name, place, message, help);
    }
}
