//! The fields of a body that policies may ask for.
//!
//! INVARIANT: no field is read from a body that was not proven to be there whole, and to have one reading.

use super::context::{Unreadable, expected, present};
use crate::bundle::{ContextField, ValueKind};
use crate::value::{self, Value};
use palisade_core::head::RequestHead;
use palisade_core::json;
use palisade_core::media::{self, ContentType};
use palisade_core::reason::Reason;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What the server holds of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// The request has none.
    None,
    /// All of it.
    Whole(&'a [u8]),
    /// There is one, and this is why it is not proven to be whole.
    Unproven(&'static str),
}

impl<'a> Body<'a> {
    /// What of it counts, given whether the filter saw a body and judged it.
    pub(super) fn as_judged(self, judged: bool) -> Body<'a> {
        match (self, judged) {
            (Body::None, true) => Body::Unproven(
                "the filter judged a body and none came with the Check: is `with_request_body` as it was built?",
            ),
            (Body::Whole(_), false) => {
                Body::Unproven("a body came with the Check that the filter has not judged")
            }
            (body, _) => body,
        }
    }
}

/// A field on the way down into its object.
type Placed<'a> = (&'a [String], &'a ContextField);

/// The value of each field, in their order.
pub(super) fn read(
    fields: &[Placed<'_>],
    body: Body<'_>,
    head: &RequestHead<'_>,
) -> Result<Vec<Option<Value>>, Unreadable> {
    let bytes = match body {
        Body::None => return object(fields, None, ""),
        Body::Whole(bytes) => bytes,
        Body::Unproven(why) => {
            return Err(Unreadable { reason: Reason::BodyIncomplete, detail: why.to_owned() });
        }
    };
    match head.content_type {
        Some(ContentType::Media(essence)) if media::is_json(&essence.to_ascii_lowercase()) => {}
        _ => {
            let detail = "policies may ask for fields of the body, and it is not JSON".to_owned();
            return Err(Unreadable { reason: Reason::ParameterMalformed, detail });
        }
    }
    json::check(bytes).map_err(|reason| Unreadable {
        reason,
        detail: "the body is not one strict JSON document".to_owned(),
    })?;
    let raw = std::str::from_utf8(bytes).ok().and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
    let Some(raw) = raw else {
        return Err(Unreadable::malformed("the body", "cannot be read"));
    };
    object(fields, Some(raw), "")
}

/// The fields below one object. What is `null` is absent, with everything below it.
fn object(
    fields: &[Placed<'_>],
    raw: Option<&RawValue>,
    above: &str,
) -> Result<Vec<Option<Value>>, Unreadable> {
    let raw = raw.map(RawValue::get).filter(|raw| *raw != "null");
    let members: BTreeMap<Cow<'_, str>, &RawValue> = match raw {
        None => BTreeMap::new(),
        Some(raw) => {
            serde_json::from_str(raw).map_err(|_| Unreadable::malformed(Shown(above), "is not an object"))?
        }
    };
    let mut values = Vec::with_capacity(fields.len());
    let mut rest = fields;
    while let [(keys, field), ..] = rest {
        let Some((first, below)) = keys.split_first() else {
            return Err(Unreadable::malformed(Shown(above), "has no name"));
        };
        // Fields that begin with the same key stand together: they are in the order of their keys.
        let together = rest.iter().take_while(|(keys, _)| keys.first() == Some(first)).count();
        let (group, after) = rest.split_at_checked(together).unwrap_or((rest, &[]));
        rest = after;
        let member = members.get(first.as_str()).copied();
        let pointer = format!("{above}/{first}");
        if below.is_empty() {
            let value = member.map(|raw| field_value(raw, &field.kind, &pointer)).transpose()?.flatten();
            values.push(present(value, field, Shown(&pointer))?);
        } else {
            let inner: Vec<Placed<'_>> =
                group.iter().filter_map(|(keys, field)| Some((keys.split_first()?.1, *field))).collect();
            values.extend(object(&inner, member, &pointer)?);
        }
    }
    Ok(values)
}

/// A field as errors name it.
struct Shown<'a>(&'a str);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shown(pointer) = self;
        if pointer.is_empty() { f.write_str("the body") } else { write!(f, "body field `{pointer}`") }
    }
}

fn field_value(raw: &RawValue, kind: &ValueKind, pointer: &str) -> Result<Option<Value>, Unreadable> {
    let raw = raw.get();
    if raw == "null" {
        return Ok(None);
    }
    let value = match kind {
        ValueKind::String => text(raw).map(Value::String),
        ValueKind::Long => value::long(raw).map(Value::Long),
        ValueKind::Bool => value::boolean(raw).map(Value::Bool),
        ValueKind::Decimal => value::decimal(raw).map(Value::Decimal),
        ValueKind::Ip => text(raw).and_then(|text| value::ip(&text)).map(Value::Ip),
        ValueKind::Set(element) => {
            let items: Vec<&RawValue> = serde_json::from_str(raw)
                .map_err(|_| Unreadable::malformed(Shown(pointer), "is not a list"))?;
            let items = items.into_iter().map(|item| {
                let item = field_value(item, element, pointer)?;
                item.ok_or_else(|| Unreadable::malformed(Shown(pointer), "has a `null` in its list"))
            });
            Some(Value::Set(items.collect::<Result<_, _>>()?))
        }
    };
    let value =
        value.ok_or_else(|| Unreadable::malformed(Shown(pointer), &format!("is not {}", expected(kind))))?;
    Ok(Some(value))
}

/// A string's text. What is no string is none: `1` is not `"1"`.
fn text(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}
