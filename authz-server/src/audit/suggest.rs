//! What was perhaps meant by a name that stands nowhere in the ledger. Pure.

use std::collections::BTreeSet;

use super::call::Shape;
use super::filter::Filter;
use super::pattern::Pattern;

/// How many names are listed where none is near.
const LISTED_MAX: usize = 8;

/// A sentence for each part of the filter that no call answers, whatever the other parts say.
pub(super) fn unknown(filter: &Filter, shapes: &[Shape]) -> Vec<String> {
    let Filter { who, service, operation, reason, policy, .. } = filter;
    let mut sentences = Vec::new();
    let mut look = |pattern: &Option<Pattern>, kind: &str, names: BTreeSet<String>| {
        if let Some(pattern) = pattern
            && !names.iter().any(|name| pattern.matches(name))
        {
            sentences.push(sentence(kind, pattern, &names));
        }
    };
    let names = |of: fn(&Shape) -> Vec<String>| shapes.iter().flat_map(of).collect::<BTreeSet<String>>();
    look(who, "caller", names(|shape| vec![shape.who.clone()]));
    look(service, "service", names(|shape| vec![shape.service.clone()]));
    look(operation, "operation", names(|shape| vec![shape.operation.clone(), shape.operation_in_full()]));
    look(reason, "reason", names(|shape| vec![shape.reason.clone()]));
    look(policy, "policy", names(|shape| shape.policies.clone()));
    sentences
}

fn sentence(kind: &str, pattern: &Pattern, names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    let guess = match nearest(pattern.bare(), &names) {
        Some(name) => format!("did you mean `{name}`?"),
        None if names.is_empty() => format!("no call names a {kind}"),
        None => {
            let listed: Vec<String> = names.iter().take(LISTED_MAX).map(|name| format!("`{name}`")).collect();
            let more = if names.len() > LISTED_MAX { " and others" } else { "" };
            format!("there is {}{more}", listed.join(", "))
        }
    };
    super::visible(&format!("no {kind} `{pattern}`; {guess}"))
}

/// The name that is nearest, as a whole or in one of its parts: one letter in three may differ.
fn nearest<'n>(written: &str, names: &[&'n str]) -> Option<&'n str> {
    let written = written.to_ascii_lowercase();
    let edits_max = (written.chars().count() / 3).max(1);
    let distance = |name: &str| {
        let name = name.to_ascii_lowercase();
        let parts = name.split(['/', '.', ':']).chain([name.as_str()]);
        parts.map(|part| strsim::damerau_levenshtein(&written, part)).min().unwrap_or(usize::MAX)
    };
    let near = names.iter().map(|name| (distance(name), *name)).filter(|(edits, _)| *edits <= edits_max);
    // Of names that are equally near the shorter is the likelier.
    near.min_by_key(|(edits, name)| (*edits, name.len())).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Verdict;

    #[test]
    fn a_mistyped_name_is_recognised_and_a_known_one_is_not_mentioned() {
        let shape = |who: &str, operation: &str| Shape {
            who: who.to_owned(),
            service: "orders".to_owned(),
            operation: operation.to_owned(),
            verdict: Verdict::Deny,
            reason: "policy_denied".to_owned(),
            policies: vec!["orders-are-kept".to_owned()],
            shadow: None,
            candidate: String::new(),
            otherwise: None,
        };
        let shapes = [shape("web", "getOrder"), shape("spiffe://shop.example/billing", "deleteOrder")];
        let check = |filter: Filter, expected: &[&str]| assert_eq!(unknown(&filter, &shapes), expected);
        let who = |text: &str| Filter { who: Some(Pattern::part(text)), ..Filter::default() };
        check(who("wbe"), &["no caller `wbe`; did you mean `web`?"]);
        check(who("biling"), &["no caller `biling`; did you mean `spiffe://shop.example/billing`?"]);
        check(who("web"), &[]);
        check(who("payments"), &["no caller `payments`; there is `spiffe://shop.example/billing`, `web`"]);
        let operation = Filter { operation: Some(Pattern::whole("getOrders")), ..Filter::default() };
        check(operation, &["no operation `getOrders`; did you mean `getOrder`?"]);
        let hostile = shape("w\x1beb", "getOrder");
        assert!(!unknown(&who("wbe"), &[hostile])[0].contains('\x1b'));
    }
}
