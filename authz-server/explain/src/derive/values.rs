//! Changes of single values: attributes of principal and resource, and what the request brings.

use super::{concrete, settable};
use crate::change::{Change, Edit, Kind};
use crate::errors;
use crate::expression::Expr;
use crate::path::{self, Path, Root};
use crate::shown;
use crate::world::World;
use cedar_policy::EntityUid;
use serde_json::{Value as Json, json};

/// A ten-thousandth: the smallest step of a decimal.
const DECIMAL_PLACES: usize = 4;

pub(super) fn put(path: &Path, value: Option<Json>, words: String) -> Change {
    let kind = match path.root {
        _ if value.is_none() => Kind::Absence,
        Root::Principal => Kind::CallerAttribute,
        Root::Resource => Kind::ResourceAttribute,
        Root::Context | Root::Action if path.is_scopes() => Kind::Scope,
        Root::Context | Root::Action if path.is_workload() => Kind::Workload,
        Root::Context | Root::Action => Kind::Value,
    };
    Change::one(kind, Edit::Put { path: path.clone(), value }, words)
}

/// What stands there now, behind a wish.
pub(super) fn current(world: &World<'_>, path: &Path) -> String {
    if path.is_hidden(world.hidden) {
        return String::new();
    }
    match world.value_at(path) {
        Some(value) => format!(" (it is {})", shown::json(&value)),
        None => " (it is absent)".to_owned(),
    }
}

/// A value that something is compared with: itself, or how it is written where it may not be told.
pub(super) fn told(world: &World<'_>, expression: &Json, value: &Json) -> String {
    if path::all(expression).iter().any(|path| path.is_hidden(world.hidden)) {
        return Expr::of(expression.clone()).map_or_else(|| "the other".to_owned(), |other| other.shown());
    }
    shown::json(value)
}

/// A place that is only a flag.
pub(super) fn flag(world: &World<'_>, path: &Path, goal: bool) -> Vec<Change> {
    if path.is_fixed() {
        return Vec::new();
    }
    let words = format!("{} were {goal}{}", errors::text(path), current(world, path));
    vec![put(path, Some(json!(goal)), words)]
}

pub(super) fn entity(world: &World<'_>, path: &Path, uid: &EntityUid) -> Change {
    let value = json!({"__entity": {"type": uid.type_name().to_string(), "id": uid.id().unescaped()}});
    let words = format!("{} were {}{}", errors::text(path), shown::entity(uid), current(world, path));
    put(path, Some(value), words)
}

pub(super) fn equal(world: &World<'_>, left: &Json, right: &Json, goal: bool) -> Vec<Change> {
    let mut found = Vec::new();
    for (side, other) in [(left, right), (right, left)] {
        let Some(value) = concrete(world, other) else { continue };
        if let Some(Path { root: Root::Principal, keys }) = Path::of(side)
            && keys.is_empty()
            && goal
            && let Ok(uid) = EntityUid::from_json(value.clone())
        {
            found.extend(super::entities::exactly(world, uid));
        }
        let Some(path) = settable(side) else { continue };
        if let (Json::Bool(value), false) = (&value, goal) {
            found.extend(flag(world, &path, !*value));
            continue;
        }
        let told = told(world, other, &value);
        let value = if goal { Some(value) } else { different(&value) };
        let Some(value) = value else { continue };
        found.push(put(&path, Some(value), is_words(world, &path, &told, goal)));
    }
    found
}

/// "it were this", and the same where there is a better word for it.
pub(super) fn is_words(world: &World<'_>, path: &Path, told: &str, goal: bool) -> String {
    if path.is_workload() {
        let now = match world.value_at(path) {
            _ if path.is_hidden(world.hidden) => String::new(),
            Some(now) => format!(" (it came through {})", shown::json(&now)),
            None => " (it came through none)".to_owned(),
        };
        let not = if goal { "" } else { "not " };
        return format!("the call had {not}come through workload {told}{now}");
    }
    let not = if goal { "" } else { "not " };
    let now = if goal { current(world, path) } else { String::new() };
    format!("{} were {not}{told}{now}", errors::text(path))
}

/// Any other value of the same type.
pub(super) fn different(value: &Json) -> Option<Json> {
    match value {
        Json::Bool(value) => Some(json!(!value)),
        Json::Number(number) => {
            let number = number.as_i64()?;
            Some(json!(number.checked_add(1).or_else(|| number.checked_sub(1))?))
        }
        Json::String(text) => Some(json!(format!("{text}-"))),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// Numbers, and decimals by their methods.
pub(super) fn compare(world: &World<'_>, name: &str, left: &Json, right: &Json, goal: bool) -> Vec<Change> {
    let (below, with_equal) = match name {
        "<" | "lessThan" => (true, false),
        "<=" | "lessThanOrEqual" => (true, true),
        ">" | "greaterThan" => (false, false),
        ">=" | "greaterThanOrEqual" => (false, true),
        _ => return Vec::new(),
    };
    // What is not less is at least.
    let (below, with_equal) = if goal { (below, with_equal) } else { (!below, !with_equal) };
    let mut found = Vec::new();
    for (side, other, below) in [(left, right, below), (right, left, !below)] {
        let (Some(path), Some(bound)) = (settable(side), concrete(world, other)) else { continue };
        let step = match (with_equal, below) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let Some(value) = stepped(&bound, step) else { continue };
        let relation = match (below, with_equal) {
            (true, true) => "at most",
            (true, false) => "less than",
            (false, true) => "at least",
            (false, false) => "more than",
        };
        let told = told(world, other, &bound);
        let words = format!("{} were {relation} {told}{}", errors::text(&path), current(world, &path));
        found.push(put(&path, Some(value), words));
    }
    found
}

/// A number, or the next one.
fn stepped(bound: &Json, step: i64) -> Option<Json> {
    if let Some(number) = bound.as_i64() {
        return Some(json!(number.checked_add(step)?));
    }
    let call = bound.get("__extn")?;
    if call.get("fn")?.as_str()? != "decimal" || step == 0 {
        return Some(bound.clone());
    }
    let written = call.get("arg")?.as_str()?;
    let (whole, places) = written.split_once('.')?;
    let digits: String = format!("{whole}{places:0<DECIMAL_PLACES$}");
    let next = digits.parse::<i64>().ok()?.checked_add(step)?;
    let (sign, next) = if next < 0 { ("-", next.unsigned_abs()) } else { ("", next.unsigned_abs()) };
    let (whole, places) = (next / 10_000, next % 10_000);
    Some(json!({"__extn": {"fn": "decimal", "arg": format!("{sign}{whole}.{places:04}")}}))
}

pub(super) fn in_range(world: &World<'_>, left: &Json, right: &Json, goal: bool) -> Vec<Change> {
    let (Some(path), Some(range), true) = (settable(left), concrete(world, right), goal) else {
        return Vec::new();
    };
    let told = told(world, right, &range);
    let words = format!("{} were in {told}{}", errors::text(&path), current(world, &path));
    vec![put(&path, Some(range), words)]
}

pub(super) fn like(world: &World<'_>, arguments: &Json, goal: bool) -> Vec<Change> {
    let path = arguments.get("left").and_then(settable);
    let pattern = arguments.get("pattern").and_then(Json::as_array);
    let (Some(path), Some(pattern)) = (path, pattern) else { return Vec::new() };
    let (mut fits, mut told) = (String::new(), String::new());
    for element in pattern {
        match element.get("Literal").and_then(Json::as_str) {
            Some(literal) => {
                fits.push_str(literal);
                told.push_str(&literal.replace('*', "\\*"));
            }
            None => told.push('*'),
        }
    }
    // What fits no pattern that asks for anything in particular.
    let value = if goal { fits } else { "\u{1}".to_owned() };
    let verb = if goal { "matched" } else { "did not match" };
    let words = format!("{} {verb} \"{told}\"{}", errors::text(&path), current(world, &path));
    vec![put(&path, Some(json!(value)), words)]
}

pub(super) fn presence(world: &World<'_>, arguments: &Json, goal: bool) -> Vec<Change> {
    let Some(start) = arguments.get("left").and_then(Path::of) else { return Vec::new() };
    let path = match arguments.get("attr") {
        Some(Json::String(key)) => start.to(key),
        Some(Json::Array(keys)) => keys.iter().filter_map(Json::as_str).fold(start, Path::to),
        _ => return Vec::new(),
    };
    if path.is_fixed() {
        return Vec::new();
    }
    let name = errors::text(&path);
    let words = match (path.root, goal) {
        _ if path.is_workload() && goal => "the call had come through a workload".to_owned(),
        _ if path.is_workload() => "the call had not come through a workload".to_owned(),
        _ if path.is_scopes() && goal => "the credential had scopes".to_owned(),
        (Root::Context, true) => format!("{name} were given"),
        (Root::Context, false) => format!("{name} were left out"),
        (_, true) => format!("{name} were set"),
        (_, false) => format!("{name} were not set"),
    };
    if !goal {
        return vec![put(&path, None, words)];
    }
    // Of some type that the schema allows there; what it should be, other clauses say.
    let samples = [
        json!(1),
        json!("a"),
        json!(true),
        json!([]),
        json!({"__extn": {"fn": "decimal", "arg": "1.0"}}),
        json!({"__extn": {"fn": "ip", "arg": "127.0.0.1"}}),
    ];
    let mut changes = samples.into_iter().map(|sample| put(&path, Some(sample), words.clone()).presence());
    changes.find(|change| world.with(&change.edits).is_some()).into_iter().collect()
}
