//! Values and texts as people are shown them: of bounded length, and in one line.

use cedar_policy::{EntityUid, EvalResult};
use serde_json::Value as Json;

/// How much of a value is shown.
const VALUE_CHARS_MAX: usize = 80;

/// How much of a clause is shown.
pub(crate) const CLAUSE_CHARS_MAX: usize = 240;

/// How many of several things are listed.
const LISTED_MAX: usize = 6;

/// Cut where it is too long.
pub(crate) fn bounded(text: &str, chars_max: usize) -> String {
    let line = text.replace(char::is_control, "\u{fffd}");
    match line.char_indices().nth(chars_max) {
        None => line,
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
    }
}

pub(crate) fn value(value: &EvalResult) -> String {
    bounded(&plain(value), VALUE_CHARS_MAX)
}

fn plain(value: &EvalResult) -> String {
    match value {
        EvalResult::Set(set) => {
            let items: Vec<String> = set.iter().map(plain).collect();
            format!("[{}]", items.join(", "))
        }
        EvalResult::ExtensionValue(written) => extension(written).unwrap_or_else(|| written.clone()),
        EvalResult::EntityUid(uid) => entity(uid),
        EvalResult::Bool(_) | EvalResult::Long(_) | EvalResult::String(_) | EvalResult::Record(_) => {
            value.to_string()
        }
    }
}

/// `decimal("1.5")` is `1.5` to people.
fn extension(written: &str) -> Option<String> {
    let (_, rest) = written.split_once("(\"")?;
    Some(rest.strip_suffix("\")")?.to_owned())
}

/// `Group "storefront"`.
pub(crate) fn entity(uid: &EntityUid) -> String {
    let id = bounded(uid.id().unescaped(), VALUE_CHARS_MAX * 2);
    format!("{} \"{id}\"", uid.type_name())
}

/// A value in Cedar's JSON form.
pub(crate) fn json(value: &Json) -> String {
    let text = if let Ok(uid) = EntityUid::from_json(value.clone())
        && value.is_object()
    {
        entity(&uid)
    } else if let Some(argument) = value.get("__extn").and_then(|call| call.get("arg")) {
        argument.as_str().map_or_else(|| argument.to_string(), ToOwned::to_owned)
    } else if let Some(items) = value.as_array() {
        format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(", "))
    } else {
        value.to_string()
    };
    bounded(&text, VALUE_CHARS_MAX)
}

/// A list that says how much longer it is.
pub(crate) fn listed(items: &[String]) -> String {
    let shown = items.get(..LISTED_MAX).unwrap_or(items).join(", ");
    match items.len().saturating_sub(LISTED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
