//! The values of one request that policies may ask for, each of exactly the kind that its contract declares.
//!
//! INVARIANT: what is missing though it is required, is not of its kind, or has two readings is a denial with a reason,
//! never a value and never an absent one.

use super::body;
use super::judge::Request;
use crate::bundle::{ATTEMPT, ContextField, ContextPart, ListStyle, OperationContext, ValueKind};
use crate::value::{self, Value};
use palisade_core::contract::Matched;
use palisade_core::path::{alike, decoded};
use palisade_core::reason::Reason;
use palisade_core::routes::Segment;
use std::fmt::{self, Display};

/// Why there is no value: the caller's reason, and what only the ledger is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

impl Unreadable {
    pub(super) fn malformed(what: impl Display, why: &str) -> Unreadable {
        Unreadable { reason: Reason::ParameterMalformed, detail: format!("{what} {why}") }
    }

    pub(super) fn missing(what: impl Display) -> Unreadable {
        Unreadable { reason: Reason::ParameterMissing, detail: format!("{what} is missing") }
    }
}

/// The value of each field of an operation's context, in their order.
pub(super) fn read(
    asks: &OperationContext,
    matched: Matched<'_>,
    request: Request<'_>,
) -> Result<Vec<Option<Value>>, Unreadable> {
    let mut values: Vec<Option<Value>> = Vec::with_capacity(asks.fields.len());
    let mut in_body: Vec<(&[String], &ContextField)> = Vec::new();
    for field in &asks.fields {
        let name = field.keys.first().map(String::as_str).unwrap_or_default();
        let value = match field.part {
            ContextPart::Path => in_path(name, field, matched, request)?,
            ContextPart::Query => in_query(name, field, asks, request)?,
            ContextPart::Header => in_header(name, field, request)?,
            ContextPart::Body => {
                in_body.push((&field.keys, field));
                continue;
            }
        };
        values.push(present(value, field, Named { part: field.part, name })?);
    }
    // Body fields are the last ones of a context.
    if !in_body.is_empty() {
        values.extend(body::read(&in_body, request.body, request.head)?);
    }
    Ok(values)
}

/// A value that is required must be there.
pub(super) fn present(
    value: Option<Value>,
    field: &ContextField,
    what: impl Display,
) -> Result<Option<Value>, Unreadable> {
    if value.is_none() && field.required { Err(Unreadable::missing(what)) } else { Ok(value) }
}

/// Which try of its caller a request is, by the word of the proxies before: a sound positive number, or nothing.
pub(super) fn attempt(pairs: &[(&[u8], &[u8])]) -> Option<u32> {
    let mut values = pairs.iter().filter(|(known, _)| *known == ATTEMPT.as_bytes());
    let (Some((_, value)), None) = (values.next(), values.next()) else { return None };
    let number = value::long(std::str::from_utf8(value).ok()?)?;
    u32::try_from(number).ok().filter(|number| *number > 0)
}

/// A value as errors name it: put into words only where there is one.
#[derive(Debug, Clone, Copy)]
struct Named<'a> {
    part: ContextPart,
    name: &'a str,
}

impl Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            ContextPart::Path => "path parameter",
            ContextPart::Query => "query parameter",
            ContextPart::Header => "header",
            ContextPart::Body => "body field",
        };
        write!(f, "{part} `{}`", self.name)
    }
}

fn in_path(
    name: &str,
    field: &ContextField,
    matched: Matched<'_>,
    request: Request<'_>,
) -> Result<Option<Value>, Unreadable> {
    let place = matched.operation.template.iter().position(|segment| match segment {
        Segment::Parameter(known) => known.as_ref() == name,
        Segment::Literal(_) => false,
    });
    let raw = place.and_then(|place| request.head.target.segments().nth(place));
    let Some(raw) = raw else { return Ok(None) };
    written(raw, field, Named { part: ContextPart::Path, name }, Encoding::Path).map(Some)
}

fn in_query(
    name: &str,
    field: &ContextField,
    asks: &OperationContext,
    request: Request<'_>,
) -> Result<Option<Value>, Unreadable> {
    let what = Named { part: ContextPart::Query, name };
    let mut found: Vec<Option<&str>> = Vec::new();
    for (key, value) in request.head.target.query_pairs() {
        if decoded(key).is_some_and(|key| key == name) && !key.contains('+') {
            found.push(value);
        } else if alike(key, name) && !is_other(key, asks) {
            return Err(Unreadable::malformed(what, "stands beside one that some services take for it"));
        }
    }
    let found: Option<Vec<&str>> = found.into_iter().collect();
    let Some(found) = found else {
        return Err(Unreadable::malformed(
            what,
            "has no equals sign, so that it is empty to some services and true to others",
        ));
    };
    match (&field.kind, found.as_slice()) {
        (_, []) => Ok(None),
        (ValueKind::Set(element), items) if field.list == ListStyle::Repeated => {
            let items =
                items.iter().map(|raw| scalar(&unescaped(raw, what, Encoding::Query)?, element, what));
            Ok(Some(Value::Set(items.collect::<Result<_, _>>()?)))
        }
        (_, [raw]) => written(raw, field, what, Encoding::Query).map(Some),
        (_, [_, _, ..]) => Err(Unreadable::malformed(what, "comes more than once")),
    }
}

/// Whether a key is exactly another parameter that the operation declares.
fn is_other(key: &str, asks: &OperationContext) -> bool {
    let key = decoded(key);
    asks.part(ContextPart::Query).any(|field| field.keys.first() == key.as_ref())
}

fn in_header(name: &str, field: &ContextField, request: Request<'_>) -> Result<Option<Value>, Unreadable> {
    let what = Named { part: ContextPart::Header, name };
    let mut values = request.pairs.iter().filter(|(known, _)| *known == name.as_bytes());
    let Some((_, value)) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unreadable::malformed(what, "comes more than once"));
    }
    let text = std::str::from_utf8(value).map_err(|_| Unreadable::malformed(what, "is not UTF-8"))?;
    match &field.kind {
        ValueKind::Set(element) => {
            let items = text.split(',').map(|item| scalar(item.trim_matches([' ', '\t']), element, what));
            items
                .map(|item| item.and_then(|item| not_empty(item, what)))
                .collect::<Result<_, _>>()
                .map(Value::Set)
        }
        // The proxy joins what came twice with a comma.
        _ if text.contains(',') => {
            Err(Unreadable::malformed(what, "holds a comma, which may stand between two of them"))
        }
        kind => scalar(text, kind, what),
    }
    .map(Some)
}

/// How a text was escaped on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Path,
    Query,
}

/// A parameter that stands in one piece of text: a scalar, or a list with its separator.
fn written(
    raw: &str,
    field: &ContextField,
    what: Named<'_>,
    encoding: Encoding,
) -> Result<Value, Unreadable> {
    let ValueKind::Set(element) = &field.kind else {
        return scalar(&unescaped(raw, what, encoding)?, &field.kind, what);
    };
    let items: Vec<String> = match field.list {
        ListStyle::Commas | ListStyle::Repeated => {
            // An encoded comma is data to some services and a separator to those that decode first.
            let items = raw.split(',').map(|item| unescaped(item, what, encoding));
            let items = items.collect::<Result<Vec<_>, _>>()?;
            if items.iter().any(|item| item.contains(',')) {
                return Err(Unreadable::malformed(what, "holds an encoded comma in a list"));
            }
            items
        }
        ListStyle::Spaces => unescaped(raw, what, encoding)?.split(' ').map(ToOwned::to_owned).collect(),
        ListStyle::Pipes => unescaped(raw, what, encoding)?.split('|').map(ToOwned::to_owned).collect(),
    };
    let items = items.iter().map(|item| scalar(item, element, what).and_then(|item| not_empty(item, what)));
    items.collect::<Result<_, _>>().map(Value::Set)
}

/// An empty item of a list is an item to some services and nothing to others.
fn not_empty(item: Value, what: Named<'_>) -> Result<Value, Unreadable> {
    match item {
        Value::String(text) if text.is_empty() => Err(Unreadable::malformed(what, "has an empty item")),
        item => Ok(item),
    }
}

fn unescaped(raw: &str, what: Named<'_>, encoding: Encoding) -> Result<String, Unreadable> {
    if encoding == Encoding::Query && raw.contains('+') {
        return Err(Unreadable::malformed(what, "holds a plus sign, which is a space to some services"));
    }
    decoded(raw).ok_or_else(|| Unreadable::malformed(what, "is not UTF-8"))
}

fn scalar(text: &str, kind: &ValueKind, what: Named<'_>) -> Result<Value, Unreadable> {
    let value = match kind {
        ValueKind::String => Some(Value::String(text.to_owned())),
        ValueKind::Long => value::long(text).map(Value::Long),
        ValueKind::Bool => value::boolean(text).map(Value::Bool),
        ValueKind::Decimal => value::decimal(text).map(Value::Decimal),
        ValueKind::Ip => value::ip(text).map(Value::Ip),
        // A list in a list has no style.
        ValueKind::Set(_) => None,
    };
    value.ok_or_else(|| Unreadable::malformed(what, &format!("is not {}", expected(kind))))
}

pub(super) fn expected(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::String => "a text",
        ValueKind::Long => "a whole number of 64 bits",
        ValueKind::Bool => "`true` or `false`",
        ValueKind::Decimal => "a number with at most four digits after its point",
        ValueKind::Ip => "an address",
        ValueKind::Set(_) => "a list",
    }
}

#[cfg(test)]
mod tests;
