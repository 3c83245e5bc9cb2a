//! Changes of what a request must be like, fact by fact, and whether each accepts less or more.
//!
//! INVARIANT: a direction is told only where every part of a fact leads the same way; else nobody should rely on one.

use super::{Area, Direction, Found, Kind, Said};
use std::collections::BTreeMap;

/// What is said of fields that no schema accepts.
const NOTHING: &str = "nothing";

/// Facts of one operation by where they stand, as the contract's model tells them.
pub(super) type Facts = BTreeMap<String, String>;

pub(super) fn compare(found: &mut Found, name: &str, before: &Facts, after: &Facts) {
    // Bodies as such are compared by the rules that are compiled from them.
    let bodies = |facts: &Facts| facts.get("body").cloned().unwrap_or_default();
    let (old_bodies, new_bodies) = (bodies(before), bodies(after));
    let in_both = |essence: &str| [&old_bodies, &new_bodies].iter().all(|all| words(all).contains(&essence));
    let is_rule = |at: &&String| match at.split_once(' ') {
        Some(("body", rest)) => in_both(rest.split(' ').next().unwrap_or(rest)),
        Some(_) => true,
        None => *at != "body",
    };
    for at in before.keys().filter(is_rule) {
        if let (Some(was), None) = (before.get(at), after.get(at)) {
            let required = parts(was).contains(&"required") && !is_response(at);
            let said = found.change(Area::Validation, Kind::Removed, name).what(at).before(was.clone());
            let opened = was == NOTHING && !is_response(at);
            let direction = (required || opened).then_some(Direction::Loosened);
            let said = dangerous(said.direction(direction), at, required);
            if opened {
                said.danger(Some("fields that nobody declared are accepted from now on"));
            }
        }
    }
    for (at, is) in after.iter().filter(|(at, _)| is_rule(at)) {
        match before.get(at) {
            None => {
                let tightened = (is == NOTHING || parts(is).contains(&"required")) && !is_response(at);
                let direction = tightened.then_some(Direction::Tightened);
                let said = found.change(Area::Validation, Kind::Added, name).what(at);
                said.after(is.clone()).direction(direction);
            }
            Some(was) => {
                let lost = parts(was).contains(&"required") && parts(is).contains(&"optional");
                if let Some(said) = found.part(Area::Validation, name, at, was.as_str(), is.as_str())
                    && !is_response(at)
                {
                    dangerous(said.direction(direction(was, is)), at, lost);
                }
            }
        }
    }
}

/// What a service answers is its own matter: no request is let through or refused by it.
fn is_response(at: &str) -> bool {
    at.starts_with("response ")
}

fn dangerous<'f>(said: Said<'f>, at: &str, lost: bool) -> Said<'f> {
    let danger = format!("`{at}` had to be there, and may be left out from now on");
    said.danger(lost.then_some(danger.as_str()))
}

/// `application/json or text/plain, required`.
fn words(bodies: &str) -> Vec<&str> {
    bodies.split([' ', ',']).collect()
}

fn parts(fact: &str) -> Vec<&str> {
    fact.split(", ").collect()
}

/// Whether what is different between two facts accepts less, or more.
fn direction(before: &str, after: &str) -> Option<Direction> {
    let (before, after) = (parts(before), parts(after));
    let gone: Vec<_> = before.iter().copied().filter(|part| !after.contains(part)).collect();
    let new: Vec<_> = after.iter().copied().filter(|part| !before.contains(part)).collect();
    let mut directions = Vec::new();
    for part in &gone {
        directions.push(match Rule::of(part) {
            Rule::Presence { required } => of(!required),
            Rule::Range { about, .. } => match partner(&new, about) {
                Some(other) => ranges(part, other)?,
                None => Direction::Loosened,
            },
            Rule::Value => Direction::Tightened,
            Rule::Other(word) if new.iter().any(|part| Rule::of(part) == Rule::Other(word)) => return None,
            Rule::Other(_) => Direction::Loosened,
            Rule::Type => return None,
        });
    }
    for part in &new {
        directions.push(match Rule::of(part) {
            Rule::Presence { required } => of(required),
            Rule::Range { about, .. } if partner(&gone, about).is_some() => continue,
            Rule::Range { .. } | Rule::Other(_) => Direction::Tightened,
            Rule::Value => Direction::Loosened,
            Rule::Type => return None,
        });
    }
    let first = *directions.first()?;
    directions.iter().all(|direction| *direction == first).then_some(first)
}

fn of(tightened: bool) -> Direction {
    if tightened { Direction::Tightened } else { Direction::Loosened }
}

/// A part of a fact, as far as a direction can be told from it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule<'t> {
    Presence {
        required: bool,
    },
    /// `length 1 to 20`; `about` is empty for a number itself.
    Range {
        about: &'t str,
        least: Option<f64>,
        most: Option<f64>,
    },
    /// One of the values of an `enum`.
    Value,
    /// A constraint that is there or not: `matches …`, a format.
    Other(&'t str),
    /// What kind of value it is.
    Type,
}

impl<'t> Rule<'t> {
    fn of(part: &'t str) -> Rule<'t> {
        match part {
            "required" => return Rule::Presence { required: true },
            "optional" => return Rule::Presence { required: false },
            _ => {}
        }
        if let Some(range) = Rule::range(part) {
            return range;
        }
        let value = part.strip_prefix("one of ").unwrap_or(part);
        if serde_json::from_str::<serde_json::Value>(value).is_ok() {
            return Rule::Value;
        }
        let word = part.split(' ').next().unwrap_or(part);
        match word {
            "matches" | "unique" | "multiple" | "needs" | "in" | "holds" | "style" => Rule::Other(word),
            _ => Rule::Type,
        }
    }

    /// `length 1 to 20`, `from 3`, `items up to 5`.
    fn range(part: &'t str) -> Option<Rule<'t>> {
        let words: Vec<&str> = part.split(' ').collect();
        let number = |text: &str| text.parse::<f64>().ok();
        let (about, rest) = match words.as_slice() {
            ["length" | "items" | "contained" | "fields", rest @ ..] => (*words.first()?, rest),
            rest => ("", rest),
        };
        let (least, most) = match rest {
            ["up", "to", most] => (None, Some(number(most)?)),
            [least, "to", most] => (Some(number(least)?), Some(number(most)?)),
            ["from", least] => (Some(number(least)?), None),
            _ => return None,
        };
        Some(Rule::Range { about, least, most })
    }
}

/// The range among these that is about the same thing.
fn partner<'t>(parts: &[&'t str], about: &str) -> Option<&'t str> {
    parts
        .iter()
        .copied()
        .find(|part| matches!(Rule::of(part), Rule::Range { about: other, .. } if other == about))
}

fn ranges(before: &str, after: &str) -> Option<Direction> {
    let (Rule::Range { least, most, .. }, Rule::Range { least: new_least, most: new_most, .. }) =
        (Rule::of(before), Rule::of(after))
    else {
        return None;
    };
    let end = |end: Option<f64>, open: f64| end.unwrap_or(open);
    let below = end(new_least, f64::NEG_INFINITY).total_cmp(&end(least, f64::NEG_INFINITY));
    let above = end(most, f64::INFINITY).total_cmp(&end(new_most, f64::INFINITY));
    // Both ends moved inwards, or both outwards.
    if below.is_ge() && above.is_ge() {
        Some(Direction::Tightened)
    } else if below.is_le() && above.is_le() {
        Some(Direction::Loosened)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Direction, direction};

    #[test]
    fn a_direction_is_told_only_where_all_parts_lead_the_same_way() {
        let check =
            |before, after, expected| assert_eq!(direction(before, after), expected, "{before} → {after}");
        let (tightened, loosened) = (Some(Direction::Tightened), Some(Direction::Loosened));
        check("integer, 1 to 100, optional", "integer, 1 to 50, optional", tightened);
        check("integer, 1 to 100, optional", "integer, from 1, optional", loosened);
        check("integer, 1 to 100", "integer", loosened);
        check("integer, 1 to 100", "integer, 2 to 101", None);
        check("integer, 1 to 100, optional", "integer, 1 to 50, required", tightened);
        check("integer, 1 to 100, required", "integer, 1 to 50, optional", None);
        check("string, length 1 to 20", "string, length 1 to 20, matches ^a$", tightened);
        check("string, matches ^a$", "string, matches ^b$", None);
        check("string, one of \"a\", \"b\"", "string, one of \"a\", \"b\", \"c\"", loosened);
        check("string", "integer", None);
        check("string, uuid", "string, date", None);
    }
}
