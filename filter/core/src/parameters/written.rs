//! A value as its text says it, and then as the schema is told.
//!
//! INVARIANT: a text is read whole before a schema is asked, so that what has two readings is refused even where what the
//! schema says is only watched. A number is a number only as JSON writes it; a whole one has no fraction and no exponent.

use crate::contract::{Between, ObjectWriting, Properties, Scalars, Writing};
use crate::json::{Event, Events, Numbers, Text, push_step, text_hash};
use crate::number::Number;
use crate::path;
use crate::schema::{Broken, Cause, CompiledSchemas, Judge, Keyword, SchemaIndex, check_document};
use std::borrow::Cow;

/// How texts are escaped where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Path,
    Query,
    Form,
    Header,
    /// Of a response: nobody has joined it with another one.
    ResponseHeader,
    Cookie,
}

impl Encoding {
    /// What a piece of text means, if everybody agrees on that.
    pub(crate) fn decode<'t>(self, raw: &'t str) -> Result<Cow<'t, str>, Unread> {
        match self {
            Encoding::Path => path::read(raw).ok_or(Unread::Ambiguous),
            // It is a space to some services and a plus to others.
            Encoding::Query if raw.contains('+') => Err(Unread::Ambiguous),
            Encoding::Query => path::read(raw).ok_or(Unread::Ambiguous),
            Encoding::Form if raw.contains('+') => {
                path::decoded(&raw.replace('+', " ")).map(Cow::Owned).ok_or(Unread::Ambiguous)
            }
            Encoding::Form => path::read(raw).ok_or(Unread::Ambiguous),
            Encoding::Header | Encoding::ResponseHeader => Ok(Cow::Borrowed(raw)),
            Encoding::Cookie if raw.bytes().all(is_plain_in_cookie) => Ok(Cow::Borrowed(raw)),
            Encoding::Cookie => Err(Unread::Ambiguous),
        }
    }

    /// Whether a comma may stand between two values that came apart, or ends a value for older readers.
    const fn has_joining_comma(self) -> bool {
        matches!(self, Encoding::Header | Encoding::Cookie)
    }
}

/// What everybody reads as it is in a cookie: RFC 6265's letters and the comma, without the percent sign and the plus,
/// which some services decode and others do not.
const fn is_plain_in_cookie(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x24 | 0x26..=0x2a | 0x2c..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

/// A text that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written<'t> {
    /// One document that everybody reads alike.
    Document(Cow<'t, str>),
    Scalar(Cow<'t, str>, Scalars),
    List(Vec<Cow<'t, str>>, Scalars),
    /// Each name once.
    Object(Vec<(Cow<'t, str>, Cow<'t, str>)>, &'t Properties),
}

/// Why a text is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It has two readings, or is not written as its contract says.
    Ambiguous,
    Document(Broken),
}

/// Where in a value something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Whole,
    /// An item of a list, or a property of an object.
    Part(usize),
    /// Bytes of a document.
    Offset(usize),
}

/// Reads one text.
pub(crate) fn read<'t>(
    raw: &'t str,
    writing: &'t Writing,
    encoding: Encoding,
) -> Result<Written<'t>, Unread> {
    match writing {
        Writing::Json => {
            let document = encoding.decode(raw)?;
            check_document(document.as_bytes(), Numbers::Double).map_err(Unread::Document)?;
            Ok(Written::Document(document))
        }
        Writing::Scalar(_) if encoding.has_joining_comma() && raw.contains(',') => Err(Unread::Ambiguous),
        Writing::Scalar(scalars) => scalar(encoding.decode(raw)?, *scalars),
        Writing::List { items, between: Between::Repeated } => list(vec![encoding.decode(raw)?], *items),
        Writing::List { items, between: Between::Comma } => list(pieces(raw, &[','], encoding)?, *items),
        Writing::List { items, between: Between::Space } => list(split(raw, ' ', encoding)?, *items),
        Writing::List { items, between: Between::Pipe } => list(split(raw, '|', encoding)?, *items),
        Writing::Object { properties, written: ObjectWriting::Commas } => {
            let pieces = pieces(raw, &[','], encoding)?;
            let mut pieces = pieces.into_iter();
            let mut members = Vec::new();
            while let Some(name) = pieces.next() {
                members.push((name, pieces.next().ok_or(Unread::Ambiguous)?));
            }
            object(members, properties)
        }
        Writing::Object { properties, written: ObjectWriting::Assignments } => {
            object(assignments(raw, encoding)?, properties)
        }
        // These stand in names, and never in one text.
        Writing::Object { written: ObjectWriting::Exploded | ObjectWriting::Deep, .. } => {
            Err(Unread::Ambiguous)
        }
    }
}

pub(crate) fn scalar(text: Cow<'_, str>, scalars: Scalars) -> Result<Written<'_>, Unread> {
    check_number(&text, scalars)?;
    Ok(Written::Scalar(text, scalars))
}

pub(crate) fn list(items: Vec<Cow<'_, str>>, scalars: Scalars) -> Result<Written<'_>, Unread> {
    items.iter().try_for_each(|item| check_number(item, scalars))?;
    Ok(Written::List(items, scalars))
}

pub(crate) fn object<'t>(
    members: Vec<(Cow<'t, str>, Cow<'t, str>)>,
    properties: &'t Properties,
) -> Result<Written<'t>, Unread> {
    members.iter().try_for_each(|(name, text)| check_number(text, properties.scalars(name)))?;
    let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    if names.is_sorted_by(|one, other| one < other) {
        Ok(Written::Object(members, properties))
    } else {
        Err(Unread::Ambiguous)
    }
}

/// A number that a double would change is two numbers, as services go. Where only whole numbers may be, services hold
/// them as such, and their schema says how large they are.
fn check_number(text: &str, scalars: Scalars) -> Result<(), Unread> {
    let changes = || Number::parse(text).is_none_or(|number| !number.fits_double(text));
    if scalars.contains(Scalars::NUMBER) && is_number(text) && changes() {
        return Err(Unread::Ambiguous);
    }
    Ok(())
}

/// Pieces between commas. An encoded comma is data to some services and a separator to those that decode first, and an
/// empty piece is a piece to some and nothing to others.
fn pieces<'t>(raw: &'t str, apart: &[char], encoding: Encoding) -> Result<Vec<Cow<'t, str>>, Unread> {
    let piece = |piece: &'t str| {
        let text = encoding.decode(trimmed(piece, encoding))?;
        if text.is_empty() || text.contains(apart) { Err(Unread::Ambiguous) } else { Ok(text) }
    };
    raw.split(',').map(piece).collect()
}

/// Pieces between what can stand in a target only encoded.
fn split<'t>(raw: &'t str, between: char, encoding: Encoding) -> Result<Vec<Cow<'t, str>>, Unread> {
    let pieces: Vec<Cow<'t, str>> = match encoding.decode(raw)? {
        Cow::Borrowed(text) => text.split(between).map(Cow::Borrowed).collect(),
        Cow::Owned(text) => text.split(between).map(|piece| Cow::Owned(piece.to_owned())).collect(),
    };
    if pieces.iter().any(|piece| piece.is_empty()) { Err(Unread::Ambiguous) } else { Ok(pieces) }
}

type Members<'t> = Vec<(Cow<'t, str>, Cow<'t, str>)>;

fn assignments(raw: &str, encoding: Encoding) -> Result<Members<'_>, Unread> {
    let member = |piece| {
        let (name, text) = trimmed(piece, encoding).split_once('=').ok_or(Unread::Ambiguous)?;
        let (name, text) = (encoding.decode(name)?, encoding.decode(text)?);
        let is_sound = !name.is_empty() && !name.contains([',', '=']) && !text.contains([',', '=']);
        if is_sound { Ok((name, text)) } else { Err(Unread::Ambiguous) }
    };
    raw.split(',').map(member).collect()
}

/// Headers may have white space around what stands between commas.
fn trimmed(piece: &str, encoding: Encoding) -> &str {
    if matches!(encoding, Encoding::Header | Encoding::ResponseHeader) {
        piece.trim_matches([' ', '\t'])
    } else {
        piece
    }
}

fn is_number(text: &str) -> bool {
    // What else could follow the number is either part of it or makes the texts differ.
    let first = Events::new(text.as_bytes(), Numbers::Any).and_then(|mut events| events.next());
    matches!(first, Ok(Some(Event::Number(number))) if number.len() == text.len())
}

fn is_integer(text: &str) -> bool {
    match text.strip_prefix('-').unwrap_or(text).as_bytes() {
        // A zero with a minus is another number than zero to some.
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// What a text is, of the types that it may be. The word `null` is a text wherever a text may be.
fn event(text: &str, scalars: Scalars) -> Option<Event<'_>> {
    let may_be = |kind| scalars.contains(kind);
    match text {
        "true" if may_be(Scalars::BOOLEAN) => Some(Event::Bool(true)),
        "false" if may_be(Scalars::BOOLEAN) => Some(Event::Bool(false)),
        "null" if may_be(Scalars::NULL) && !may_be(Scalars::TEXT) => Some(Event::Null),
        text if may_be(Scalars::INTEGER) && is_integer(text) => Some(Event::Number(text)),
        text if may_be(Scalars::NUMBER) && is_number(text) => Some(Event::Number(text)),
        text if may_be(Scalars::TEXT) => Some(Event::Text(Text::plain(text))),
        _ => None,
    }
}

impl Written<'_> {
    /// Tells the value, event by event; `None` stands for a text that is of none of the types that it may be.
    pub(crate) fn tell<E>(
        &self,
        to: &mut impl FnMut(Option<Event<'_>>, Step) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Written::Document(document) => {
                // It was found to be sound when it was read.
                let Ok(mut events) = Events::new(document.as_bytes(), Numbers::Any) else {
                    return to(None, Step::Whole);
                };
                while let Ok(Some(event)) = events.next() {
                    to(Some(event), Step::Offset(events.start()))?;
                }
                Ok(())
            }
            Written::Scalar(text, scalars) => to(event(text, *scalars), Step::Whole),
            Written::List(items, scalars) => {
                to(Some(Event::ArrayStart), Step::Whole)?;
                for (at, item) in items.iter().enumerate() {
                    to(event(item, *scalars), Step::Part(at))?;
                }
                to(Some(Event::ArrayEnd), Step::Whole)
            }
            Written::Object(members, properties) => {
                to(Some(Event::ObjectStart), Step::Whole)?;
                for (at, (name, text)) in members.iter().enumerate() {
                    to(Some(Event::Key(Text::plain(name), text_hash(name))), Step::Part(at))?;
                    to(event(text, properties.scalars(name)), Step::Part(at))?;
                }
                to(Some(Event::ObjectEnd), Step::Whole)
            }
        }
    }

    /// The pointer of a place in the value.
    pub(crate) fn pointer(&self, step: Step) -> String {
        let mut pointer = String::new();
        match (self, step) {
            (_, Step::Whole) => {}
            (Written::Document(document), Step::Offset(offset)) => {
                return crate::json::pointer_to(document.as_bytes(), offset);
            }
            (Written::Object(members, _), Step::Part(at)) => {
                if let Some((name, _)) = members.get(at) {
                    push_step(&mut pointer, name);
                }
            }
            (_, Step::Part(at) | Step::Offset(at)) => push_step(&mut pointer, &at.to_string()),
        }
        pointer
    }

    /// Judges the value.
    pub(crate) fn judge(
        &self,
        schemas: &CompiledSchemas,
        schema: SchemaIndex,
        length: usize,
    ) -> Result<(), Broken> {
        if let Written::Document(document) = self {
            return schemas.validate(schema, document.as_bytes(), Numbers::Double);
        }
        let mut judge = Judge::new(schemas, schema, length);
        self.tell(&mut |event, step| {
            let at = match step {
                Step::Whole => 0,
                Step::Part(at) | Step::Offset(at) => at.saturating_add(1),
            };
            match event {
                Some(event) => judge.event(event, at),
                None => Err((Cause::Schema(Keyword::Type), at)),
            }
        })
        .map_err(|(cause, at)| {
            let step = at.checked_sub(1).map_or(Step::Whole, Step::Part);
            Broken { cause, pointer: self.pointer(step) }
        })
    }
}
