//! How contracts are kept to: which rules are only watched, what becomes of responses, which numbers are let through.

use super::{Area, Direction, Found};
use crate::audit::Zone;
use crate::bundle::compiled::settings::word as word_of;
use palisade_core::contract::{Content, Enforcement, Operation, Parameter, ResponseRules, Rule};
use palisade_core::json::Numbers;
use palisade_core::schema::SchemaIndex;

pub(super) fn compare(found: &mut Found, name: &str, old: &Operation, new: &Operation) {
    let numbers = |operation: &Operation| operation.body.as_ref().map(|body| body.numbers);
    if let (Some(old), Some(new)) = (numbers(old), numbers(new)) {
        let word = |numbers| if numbers == Numbers::Any { "any" } else { "double" };
        if let Some(said) = found.part(Area::Validation, name, "numbers", word(old), word(new)) {
            said.direction(Some(direction(new == Numbers::Any)));
        }
    }
    for rule in Rule::ALL {
        let until = |operation: &Operation| {
            operation.shadows.iter().find(|(known, _)| *known == rule).map(|(_, until_ms)| until_ms)
        };
        let (was, is) = (until(old), until(new));
        let word = |until: Option<u64>| match until {
            None => "enforced".to_owned(),
            Some(until_ms) => format!("only watched until {}", Zone::utc().date(until_ms)),
        };
        if let Some(said) = found.part(Area::Validation, name, word_of(rule), word(was), word(is)) {
            let loosened = is > was;
            let danger = loosened.then_some("what breaks this rule reaches the service");
            said.direction(Some(direction(loosened))).danger(danger);
        }
    }
    responses(found, name, &old.responses, &new.responses);
}

fn responses(found: &mut Found, name: &str, old: &ResponseRules, new: &ResponseRules) {
    let word = |enforcement| match enforcement {
        Enforcement::Off => "off",
        Enforcement::Report => "report",
        Enforcement::Enforce => "enforce",
    };
    for (what, old, new) in [("responses.head", old.head, new.head), ("responses.body", old.body, new.body)] {
        if let Some(said) = found.part(Area::Validation, name, what, word(old), word(new)) {
            said.direction(Some(direction((new as u8) < old as u8)));
        }
    }
    let numbers = [
        ("responses.sample", old.sample, new.sample),
        ("responses.body_bytes_max", old.bytes_max, new.bytes_max),
    ];
    for (what, old, new) in numbers {
        found.part(Area::Validation, name, what, old.to_string(), new.to_string());
    }
    let never = [
        ("responses.never.headers", &old.never_headers, &new.never_headers),
        ("responses.never.properties", &old.never_properties, &new.never_properties),
    ];
    for (what, old, new) in never {
        let lost = old.iter().any(|known| !new.contains(known));
        let shown = |names: &[Box<str>]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        if let Some(said) = found.part(Area::Validation, name, what, shown(old), shown(new)) {
            let danger = lost.then_some("what must never leave the service may leave it from now on");
            said.direction(Some(direction(lost))).danger(danger);
        }
    }
}

const fn direction(loosened: bool) -> Direction {
    if loosened { Direction::Loosened } else { Direction::Tightened }
}

/// Whether two operations are the same but for where their schemas stand, of which the facts of the contract tell, and for
/// the fail mode of their class, which is told once.
pub(super) fn is_alike(one: &Operation, other: &Operation) -> bool {
    without_schemas(one) == without_schemas(other)
}

const NONE: SchemaIndex = SchemaIndex(0);

fn without_schemas(operation: &Operation) -> Operation {
    let mut operation = operation.clone();
    operation.fails_open = false;
    operation.parameters.iter_mut().for_each(forget);
    if let Some(body) = &mut operation.body {
        body.media_types.iter_mut().for_each(|media| forget_content(&mut media.content));
    }
    for (_, rule) in &mut operation.responses.declared {
        rule.headers.iter_mut().for_each(forget);
        rule.media.iter_mut().for_each(|media| forget_content(&mut media.content));
    }
    operation
}

const fn forget(parameter: &mut Parameter) {
    parameter.schema = NONE;
}

fn forget_content(content: &mut Content) {
    match content {
        Content::Json { schema: Some(schema) } | Content::Form { schema, .. } => *schema = NONE,
        Content::Opaque | Content::Json { schema: None } => {}
    }
}
