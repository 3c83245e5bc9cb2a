//! Which operations a policy must be validated for, so that all others need not be.
//!
//! Cedar validates a policy once for each action. In actions outside of its scope the scope alone is false and nothing
//! else is looked at. Among those inside, two can be told apart only by what the policy asks of `context`, and by how
//! they relate to the actions that it names beside `action`. So one operation stands for all that answer alike.
//! INVARIANT: what is not recognised counts as a question for everything, never for nothing.

use super::annotations::entity;
use super::names;
use super::policies::Named;
use super::schema::{Writer, action_name, operations};
use crate::bundle::{ContextField, ContextPart, OperationContext};
use palisade_core::contract::{Contract, Matched};
use palisade_core::routes::OperationIndex;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};

/// The operations that stand for all, and the actions that the policy names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Needs {
    pub(super) operations: BTreeSet<OperationIndex>,
    pub(super) mentioned: BTreeSet<String>,
}

/// A way into the context, key by key. Empty: the context as a whole.
type Way = Vec<String>;

/// What a policy's conditions ask of a request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    ways: BTreeSet<Way>,
    action: bool,
}

/// Answers for one bundle, each computed once.
#[derive(Debug)]
pub(super) struct Needed<'a> {
    contexts: &'a [OperationContext],
    operations: Vec<Matched<'a>>,
    /// For each way, what each operation answers, as a number that is the same for the same answer.
    answers: HashMap<Way, Vec<usize>>,
}

impl<'a> Needed<'a> {
    pub(super) fn new(contract: &'a Contract, contexts: &'a [OperationContext]) -> Needed<'a> {
        Needed { contexts, operations: operations(contract).collect(), answers: HashMap::new() }
    }

    pub(super) fn of(&mut self, policy: &Named<'_>, writer: &Writer<'_>) -> Needs {
        let literals = policy.policy.entity_literals();
        let actions = literals.iter().map(entity).filter(|name| name.kind == names::ACTION);
        let mentioned: BTreeSet<String> = actions.map(|name| name.id).collect();
        let asked = asked(policy);
        for way in
            asked.ways.iter().filter(|way| !self.answers.contains_key(*way)).cloned().collect::<Vec<_>>()
        {
            let answers = self.answers_to(&way, writer);
            self.answers.insert(way, answers);
        }
        let answers: Vec<&Vec<usize>> = asked.ways.iter().filter_map(|way| self.answers.get(way)).collect();
        let mut seen: HashSet<(Vec<usize>, Vec<bool>)> = HashSet::new();
        let mut needed = BTreeSet::new();
        for (place, matched) in self.operations.iter().enumerate() {
            if !policy.summary.action.covers(*matched) {
                continue;
            }
            let answer = answers.iter().filter_map(|answers| answers.get(place).copied()).collect();
            let relations = if asked.action {
                mentioned.iter().map(|name| relates(*matched, name)).collect()
            } else {
                Vec::new()
            };
            if seen.insert((answer, relations)) {
                needed.insert(matched.index);
            }
        }
        if needed.is_empty() {
            // No request can meet the scope; one operation is enough to find that out, and what else is wrong.
            needed.extend(self.operations.first().map(|matched| matched.index));
        }
        Needs { operations: needed, mentioned }
    }

    fn answers_to(&self, way: &[String], writer: &Writer<'_>) -> Vec<usize> {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut number = |answer: String| {
            let next = numbers.len();
            *numbers.entry(answer).or_insert(next)
        };
        self.operations.iter().map(|matched| number(self.answer(*matched, way, writer))).collect()
    }

    /// What an operation's context has along a way, in words.
    fn answer(&self, matched: Matched<'_>, way: &[String], writer: &Writer<'_>) -> String {
        let Some((part, keys)) = way.split_first() else {
            return writer.context_of(matched.index).to_owned();
        };
        let part = ContextPart::ALL.into_iter().find(|known| known.name() == part);
        // What every context has, or none.
        let Some(part) = part else { return String::new() };
        let context = usize::try_from(matched.index.0).ok().and_then(|index| self.contexts.get(index));
        let mut fields: Vec<(&[String], &ContextField)> = context
            .into_iter()
            .flat_map(|context| context.part(part))
            .map(|field| (field.keys.as_slice(), field))
            .collect();
        let mut answer = String::new();
        for key in keys {
            answer.push_str(if fields.is_empty() { "absent " } else { "record " });
            fields.retain_mut(|(rest, _)| match rest.split_first() {
                Some((first, after)) if first == key => {
                    *rest = after;
                    true
                }
                _ => false,
            });
            if let [([], field)] = fields.as_slice() {
                return format!("{answer}{:?} {}", field.kind, field.required);
            }
        }
        let rest: Vec<_> = fields
            .iter()
            .map(|(keys, field)| format!("{keys:?} {:?} {}", field.kind, field.required))
            .collect();
        answer + &rest.join(",")
    }
}

/// Of each operation with masked values: the places in its context of those that a policy which may apply to it asks.
pub(super) fn masked_and_read(
    contract: &Contract,
    contexts: &[OperationContext],
    policies: &[Named<'_>],
) -> HashMap<OperationIndex, Vec<usize>> {
    let masked = |context: &OperationContext| context.fields.iter().any(|field| field.mask.is_some());
    let operations: Vec<_> =
        operations(contract).zip(contexts).filter(|(_, context)| masked(context)).collect();
    let mut read: HashMap<OperationIndex, BTreeSet<usize>> = HashMap::new();
    if operations.is_empty() {
        return HashMap::new();
    }
    for policy in policies {
        let ways = asked(policy).ways;
        for (matched, context) in operations.iter().filter(|(matched, _)| policy.summary.covers(*matched)) {
            let fields = context.fields.iter().enumerate().filter(|(_, field)| field.mask.is_some());
            let asked = fields.filter(|(_, field)| ways.iter().any(|way| meets(way, field)));
            read.entry(matched.index).or_default().extend(asked.map(|(place, _)| place));
        }
    }
    read.into_iter().map(|(operation, places)| (operation, places.into_iter().collect())).collect()
}

/// Whether a way leads to a field, past it, or to a record that it is in.
fn meets(way: &[String], field: &ContextField) -> bool {
    let mut to_field = std::iter::once(field.part.name()).chain(field.keys.iter().map(String::as_str));
    way.iter().all(|key| to_field.next().is_none_or(|known| known == key))
}

/// Whether an operation's action is, or is in, the action of this name.
fn relates(matched: Matched<'_>, name: &str) -> bool {
    name == matched.service.name.as_ref()
        || name == matched.operation.class.as_str()
        || name == action_name(matched)
}

fn asked(policy: &Named<'_>) -> Asked {
    let mut asked = Asked::default();
    match policy.policy.to_json() {
        Ok(json) => {
            if let Some(conditions) = json.get("conditions") {
                walk(conditions, &mut asked);
            }
        }
        // Then it is validated for every operation of its scope.
        Err(_) => {
            asked.ways.insert(Way::new());
            asked.action = true;
        }
    }
    asked
}

fn walk(value: &Value, asked: &mut Asked) {
    if let Some(way) = way(value) {
        asked.ways.insert(way);
        return;
    }
    if is_variable(value, "action") {
        asked.action = true;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, asked)),
        Value::Object(fields) => fields.values().for_each(|field| walk(field, asked)),
        _ => {}
    }
}

/// The keys of `context.a.b`, or of a question for its presence.
fn way(value: &Value) -> Option<Way> {
    if is_variable(value, "context") {
        return Some(Way::new());
    }
    let (_, step) = only(value).filter(|(operator, _)| matches!(*operator, "." | "has"))?;
    let mut way = way(step.get("left")?)?;
    way.push(step.get("attr")?.as_str()?.to_owned());
    Some(way)
}

fn is_variable(value: &Value, name: &str) -> bool {
    only(value).is_some_and(|(key, variable)| key == "Var" && variable.as_str() == Some(name))
}

/// The one field of an object that has one.
fn only(value: &Value) -> Option<(&str, &Value)> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    fields.iter().next().map(|(key, value)| (key.as_str(), value))
}
