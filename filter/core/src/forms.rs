//! Forms as browsers encode them, judged as the objects that they stand for.
//!
//! INVARIANT: a form that is accepted has one reading: each field once unless it is a list, each with an equals sign, and
//! no two names that some service takes for one. All of it is read before its schema is asked.

use crate::contract::{Between, Form, Rule, Scalars, Writing};
use crate::json::{Event, Text, push_step, text_hash};
use crate::limits::FORM_PAIRS_MAX;
use crate::parameters::names::{Belonging, find};
use crate::parameters::written::{self, Encoding, Step, Unread, Written};
use crate::path;
use crate::reason::Reason;
use crate::rules::Watched;
use crate::schema::{Broken, Cause, CompiledSchemas, Judge, Keyword, SchemaIndex};
use crate::violation::Violation;
use std::borrow::Cow;

/// Judges a whole form.
pub fn judge(
    schemas: &CompiledSchemas,
    form: &Form,
    schema: SchemaIndex,
    body: &[u8],
    watched: &mut Watched<'_>,
) -> Result<(), Violation> {
    let fields = read(form, body)?;
    match tell(schemas, schema, &fields, body.len()) {
        Ok(()) => Ok(()),
        Err((cause, place)) => {
            let rule = matches!(cause, Cause::Schema(_)).then_some(Rule::Body);
            let broken = Violation::in_body(&Broken { cause, pointer: pointer(&fields, place) });
            watched.found(Violation { rule, ..broken })
        }
    }
}

/// A field with all that came of it.
struct Field<'b> {
    name: Cow<'b, str>,
    value: Written<'b>,
}

/// One pair of a form.
struct Pair<'b> {
    name: Cow<'b, str>,
    /// The place among the fields that the contract lists.
    declared: Option<usize>,
    property: Option<String>,
    raw: &'b str,
}

/// What a field is that the contract does not list: the schema says whether it may be there.
const UNLISTED: Writing = Writing::Scalar(Scalars::TEXT);

fn read<'b>(form: &'b Form, body: &'b [u8]) -> Result<Vec<Field<'b>>, Violation> {
    let body = core::str::from_utf8(body).map_err(|_| Reason::FormSyntax)?;
    let mut pairs: Vec<Pair<'b>> = Vec::new();
    // An empty form is an empty object.
    let texts = body.split('&').filter(|_| !body.is_empty());
    for (count, text) in texts.enumerate() {
        if count >= FORM_PAIRS_MAX {
            return Err(Reason::FormTooMany.into());
        }
        pairs.push(read_pair(form, text)?);
    }
    pairs.sort_by(|one, other| one.name.cmp(&other.name));
    check_unlisted(&pairs)?;
    pairs.chunk_by(|one, other| one.name == other.name).map(|pairs| gather(form, pairs)).collect()
}

fn read_pair<'b>(form: &Form, text: &'b str) -> Result<Pair<'b>, Violation> {
    // A semicolon separates fields for some services and is data for others.
    if !path::has_sound_escapes(text) || text.bytes().any(|byte| byte.is_ascii_control() || byte == b';') {
        return Err(Reason::FormSyntax.into());
    }
    let (name, raw) = match text.split_once('=') {
        Some((name, raw)) => (name, Ok(raw)),
        None => (text, Err(Reason::FormAmbiguous)),
    };
    if path::is_method_override(name) {
        return Err(Reason::FormMethodOverride.into());
    }
    let decoded = Encoding::Form.decode(name).map_err(|_| Reason::FormSyntax)?;
    let raw = raw.map_err(|reason| at(&decoded, reason))?;
    let (name, declared, property) = match find(&form.fields, name, Some(&decoded)) {
        Belonging::Whole(at) => (decoded, Some(at), None),
        Belonging::Property(place, property) => {
            let (name, _) = form.fields.get(place).ok_or(Reason::Internal)?;
            (Cow::Owned((**name).to_owned()), Some(place), Some(property))
        }
        // The name of an object whose properties are fields is none of a field.
        Belonging::Unknown if !decoded.is_empty() && form.field(&decoded).is_none() => (decoded, None, None),
        Belonging::Alike | Belonging::Unknown => return Err(at(&decoded, Reason::FormAmbiguous)),
    };
    Ok(Pair { name, declared, property, raw })
}

/// Names that no contract lists can be alike each other.
fn check_unlisted(pairs: &[Pair<'_>]) -> Result<(), Violation> {
    let unlisted = || pairs.iter().filter(|pair| pair.declared.is_none());
    let mut names: Vec<(Vec<u8>, &str)> =
        unlisted().map(|pair| (path::leniently(&pair.name).collect(), &*pair.name)).collect();
    names.sort_unstable();
    let twins = names.windows(2).find_map(|pair| match pair {
        [(one, _), (other, name)] if one == other => Some(*name),
        _ => None,
    });
    twins.map_or(Ok(()), |name| Err(at(name, Reason::FormAmbiguous)))
}

/// Reads the pairs of one field.
fn gather<'b>(form: &'b Form, pairs: &[Pair<'b>]) -> Result<Field<'b>, Violation> {
    let Some(first) = pairs.first() else { return Err(Reason::Internal.into()) };
    let writing = first.declared.and_then(|at| form.fields.get(at)).map_or(&UNLISTED, |(_, writing)| writing);
    let value = match (writing, &first.property, pairs) {
        (Writing::List { items, between: Between::Repeated }, None, _) => {
            let texts = pairs.iter().map(|pair| Encoding::Form.decode(pair.raw));
            texts.collect::<Result<_, _>>().and_then(|texts| written::list(texts, *items))
        }
        (Writing::Object { properties, .. }, Some(_), _) => {
            let member = |pair: &Pair<'b>| {
                let name = pair.property.clone().unwrap_or_default();
                Ok((Cow::Owned(name), Encoding::Form.decode(pair.raw)?))
            };
            let members = pairs.iter().map(member).collect::<Result<_, _>>();
            members.and_then(|members| written::object(members, properties))
        }
        (writing, None, [pair]) => written::read(pair.raw, writing, Encoding::Form),
        _ => Err(Unread::Ambiguous),
    };
    match value {
        Ok(value) => Ok(Field { name: first.name.clone(), value }),
        Err(Unread::Ambiguous) if has_text(pairs) => Err(at(&first.name, Reason::FormAmbiguous)),
        Err(Unread::Ambiguous) => Err(at(&first.name, Reason::FormSyntax)),
        Err(Unread::Document(broken)) => {
            let mut pointer = String::new();
            push_step(&mut pointer, &first.name);
            pointer.push_str(&broken.pointer);
            Err(Violation::in_body(&Broken { cause: broken.cause, pointer }))
        }
    }
}

/// Whether all that came is UTF-8.
fn has_text(pairs: &[Pair<'_>]) -> bool {
    pairs.iter().all(|pair| Encoding::Form.decode(pair.raw).is_ok())
}

/// A form that is read in different ways: no rule of a contract, and never in shadow.
fn at(name: &str, reason: Reason) -> Violation {
    let mut place = "body".to_owned();
    push_step(&mut place, name);
    Violation { reason, place: place.into(), rule: None }
}

/// Where in a form something stands: in all of it, or in a field.
#[derive(Clone, Copy)]
enum Place {
    Form,
    Field(usize, Step),
}

/// Tells a judge the object that the form stands for.
fn tell(
    schemas: &CompiledSchemas,
    schema: SchemaIndex,
    fields: &[Field<'_>],
    length: usize,
) -> Result<(), (Cause, Place)> {
    let mut judge = Judge::new(schemas, schema, length);
    // The judge is told of a place by its number.
    let mut places = vec![Place::Form];
    let mut tell = |event: Option<Event<'_>>, place: Place| {
        let at = match place {
            Place::Form => 0,
            Place::Field(..) => {
                places.push(place);
                places.len().saturating_sub(1)
            }
        };
        let told = event.map_or(Err((Cause::Schema(Keyword::Type), at)), |event| judge.event(event, at));
        told.map_err(|(cause, at)| (cause, places.get(at).copied().unwrap_or(Place::Form)))
    };
    tell(Some(Event::ObjectStart), Place::Form)?;
    for (at, Field { name, value }) in fields.iter().enumerate() {
        let key = Event::Key(Text::plain(name), text_hash(name));
        tell(Some(key), Place::Field(at, Step::Whole))?;
        value.tell(&mut |event, step| tell(event, Place::Field(at, step)))?;
    }
    tell(Some(Event::ObjectEnd), Place::Form)
}

fn pointer(fields: &[Field<'_>], place: Place) -> String {
    let mut pointer = String::new();
    if let Place::Field(at, step) = place
        && let Some(field) = fields.get(at)
    {
        push_step(&mut pointer, &field.name);
        pointer.push_str(&field.value.pointer(step));
    }
    pointer
}

#[cfg(test)]
mod tests;
