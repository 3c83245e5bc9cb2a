//! Values and numbers of a contract as the core has them.

use crate::bundle::openapi::{Decimal, Json};
use palisade_core::number;
use palisade_core::schema::{Digest, Values};
use std::fmt::Write as _;

/// The same number. `None`: it has more digits, or a greater power of ten, than is computed with.
pub(super) fn decimal(written: Decimal) -> Option<number::Decimal> {
    let coefficient = written.coefficient();
    number::Decimal::new(coefficient < 0, coefficient.unsigned_abs(), written.exponent())
}

/// `None`: a value cannot be kept exactly.
pub(super) fn values(all: &[Json]) -> Option<Values> {
    let mut values = Values::default();
    let (mut numbers, mut texts, mut compounds) = (Vec::new(), Vec::new(), Vec::new());
    for value in all {
        match value {
            Json::Null => values.null = true,
            Json::Bool(true) => values.yes = true,
            Json::Bool(false) => values.no = true,
            Json::Number(written) => numbers.push(decimal(*written)?),
            Json::Text(text) => texts.push(text.clone()),
            Json::List(_) | Json::Object(_) => {
                let mut document = String::new();
                write(value, &mut document)?;
                compounds.push(Digest::of_document(document.as_bytes())?);
            }
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    texts.sort_unstable();
    texts.dedup();
    compounds.sort_unstable();
    compounds.dedup();
    values.numbers = numbers.into();
    values.texts = texts.into();
    values.compounds = compounds.into();
    Some(values)
}

/// As a document of JSON.
fn write(value: &Json, out: &mut String) -> Option<()> {
    match value {
        Json::Null | Json::Bool(_) => write!(out, "{value}").ok()?,
        Json::Number(number) => write!(out, "{}e{}", number.coefficient(), number.exponent()).ok()?,
        Json::Text(text) => out.push_str(&serde_json::to_string(text).ok()?),
        Json::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write(item, out)?;
            }
            out.push(']');
        }
        Json::Object(entries) => {
            out.push('{');
            for (at, (key, value)) in entries.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write!(out, "{}:", serde_json::to_string(key).ok()?).ok()?;
                write(value, out)?;
            }
            out.push('}');
        }
    }
    Some(())
}
