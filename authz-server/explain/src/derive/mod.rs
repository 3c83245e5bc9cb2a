//! Which changes might make an expression what it should be.
//!
//! INVARIANT: what comes from here is a guess from the form of the expression. Whether it is true is asked of Cedar, by
//! whoever makes a sentence of it.

mod entities;
mod sets;
mod values;

use crate::change::Change;
use crate::expression::{operands, sides};
use crate::path::{Path, operation};
use crate::world::World;
use serde_json::{Value as Json, json};

/// How many ways of one expression are followed.
const WAYS_MAX: usize = 6;

/// Changes that might make the expression true, or false. The smallest first.
pub(crate) fn changes(world: &World<'_>, expression: &Json, goal: bool) -> Vec<Change> {
    if world.holds(expression) == Some(goal) {
        return vec![Change::NOTHING];
    }
    let Some((name, arguments)) = operation(expression) else { return Vec::new() };
    let found = match (name, goal) {
        ("&&", true) | ("||", false) => {
            all(operands(expression, name).into_iter().map(|part| changes(world, part, goal)))
        }
        ("&&", false) | ("||", true) => {
            operands(expression, name).into_iter().flat_map(|part| changes(world, part, goal)).collect()
        }
        ("!", _) => arguments.get("arg").map(|arg| changes(world, arg, !goal)).unwrap_or_default(),
        ("if-then-else", _) => {
            branch(world, arguments).map(|branch| changes(world, branch, goal)).unwrap_or_default()
        }
        (".", _) => Path::of(expression).map(|path| values::flag(world, &path, goal)).unwrap_or_default(),
        ("is", _) => entities::of_type(world, arguments, goal),
        ("has", _) => values::presence(world, arguments, goal),
        ("like", _) => values::like(world, arguments, goal),
        _ => operator(world, name, arguments, goal),
    };
    smallest(found)
}

fn operator(world: &World<'_>, name: &str, arguments: &Json, goal: bool) -> Vec<Change> {
    let two = sides(arguments).or_else(|| match arguments.as_array().map(Vec::as_slice) {
        Some([left, right]) => Some((left, right)),
        _ => None,
    });
    let Some((left, right)) = two else { return Vec::new() };
    match name {
        "==" => values::equal(world, left, right, goal),
        "!=" => values::equal(world, left, right, !goal),
        "in" => entities::within(world, left, right, goal),
        "contains" => sets::contains(world, left, right, goal),
        "containsAny" => sets::contains_any(world, left, right, goal),
        "containsAll" => sets::contains_all(world, left, right, goal),
        "isInRange" => values::in_range(world, left, right, goal),
        _ => values::compare(world, name, left, right, goal),
    }
}

fn branch<'j>(world: &World<'_>, arguments: &'j Json) -> Option<&'j Json> {
    let branch = if world.holds(arguments.get("if")?)? { "then" } else { "else" };
    arguments.get(branch)
}

/// One change of each at the same time.
pub(crate) fn all(parts: impl IntoIterator<Item = Vec<Change>>) -> Vec<Change> {
    let mut together = vec![Change::NOTHING];
    for part in parts {
        let pairs = together.iter().flat_map(|one| part.iter().filter_map(|other| one.and(other)));
        together = smallest(pairs.collect());
    }
    together
}

fn smallest(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by_cached_key(|change| (change.size(), change.also.is_empty()));
    changes.dedup();
    changes.truncate(WAYS_MAX);
    changes
}

/// What an expression is now, in Cedar's JSON form of values.
fn concrete(world: &World<'_>, expression: &Json) -> Option<Json> {
    use cedar_policy::EvalResult;
    if let Some(path) = Path::of(expression)
        && let Some(value) = world.value_at(&path)
    {
        return Some(value);
    }
    match operation(expression)? {
        ("Value", value) => return Some(value.clone()),
        ("Set", items) => {
            return items.as_array()?.iter().map(|item| concrete(world, item)).collect();
        }
        (function @ ("decimal" | "ip"), arguments) => {
            let argument = concrete(world, arguments.as_array()?.first()?)?;
            return Some(json!({"__extn": {"fn": function, "arg": argument}}));
        }
        _ => {}
    }
    match world.evaluate(&crate::expression::Expr::of(expression.clone())?).ok()? {
        EvalResult::Bool(value) => Some(json!(value)),
        EvalResult::Long(value) => Some(json!(value)),
        EvalResult::String(value) => Some(json!(value)),
        EvalResult::EntityUid(uid) => {
            Some(json!({"__entity": {"type": uid.type_name().to_string(), "id": uid.id().unescaped()}}))
        }
        EvalResult::Set(_) | EvalResult::Record(_) | EvalResult::ExtensionValue(_) => None,
    }
}

/// The path that an expression is, where somebody could change what is there.
fn settable(expression: &Json) -> Option<Path> {
    Path::of(expression).filter(|path| !path.is_fixed())
}
