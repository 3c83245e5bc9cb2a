//! Which of the declared names a name in a request is.
//!
//! INVARIANT: a name belongs to at most one declaration, and one that some reader takes for a declared name, though it is
//! not that name, belongs to none and is told apart from one that nobody knows.

use crate::contract::{ObjectWriting, Parameter, Properties, Scalars, Writing};
use crate::path::alike;
use std::borrow::Cow;

/// What is declared by a name, among others in the order of their names.
pub(crate) trait Declared {
    fn name(&self) -> &str;
    fn writing(&self) -> &Writing;
}

impl Declared for Parameter {
    fn name(&self) -> &str {
        &self.name
    }

    fn writing(&self) -> &Writing {
        &self.writing
    }
}

impl Declared for (Box<str>, Writing) {
    fn name(&self) -> &str {
        &self.0
    }

    fn writing(&self) -> &Writing {
        &self.1
    }
}

/// What a name belongs to. Numbers are places among what is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Belonging {
    Whole(usize),
    /// It stands for this property of an object.
    Property(usize, String),
    /// It is none of the names, and some reader takes it for one of them.
    Alike,
    Unknown,
}

/// Finds what a name belongs to. `raw` is how it was sent, `name` what it means if everybody agrees on that.
pub(crate) fn find<D: Declared>(declared: &[D], raw: &str, name: Option<&Cow<'_, str>>) -> Belonging {
    if declared.is_empty() {
        return Belonging::Unknown;
    }
    if let Some(name) = name {
        match find_exact(declared, name) {
            Belonging::Unknown => {}
            found @ (Belonging::Whole(_) | Belonging::Property(..) | Belonging::Alike) => return found,
        }
    }
    if declared.iter().any(|one| is_alike(one, raw)) { Belonging::Alike } else { Belonging::Unknown }
}

/// The same where an object may have properties that no contract lists.
pub(crate) fn find_open<D: Declared>(declared: &[D], raw: &str, name: Option<&Cow<'_, str>>) -> Belonging {
    let found = find(declared, raw, name);
    if found != Belonging::Unknown {
        return found;
    }
    let is_open = |one: &D| {
        object(one, ObjectWriting::Exploded).is_some_and(|properties| properties.others != Scalars::NONE)
    };
    match (declared.iter().position(is_open), name) {
        (None, _) => Belonging::Unknown,
        (Some(at), Some(name)) if !name.is_empty() && !name.contains(['[', ']']) => {
            Belonging::Property(at, (**name).to_owned())
        }
        (Some(_), _) => Belonging::Alike,
    }
}

fn find_exact<D: Declared>(declared: &[D], name: &str) -> Belonging {
    let place = |name: &str| declared.binary_search_by(|one| one.name().cmp(name)).ok();
    if let Some(at) = place(name)
        && let Some(one) = declared.get(at)
    {
        match one.writing() {
            Writing::Object { written: ObjectWriting::Deep, .. } => return Belonging::Alike,
            // Its own name is never written.
            Writing::Object { written: ObjectWriting::Exploded, .. } => {}
            Writing::Json | Writing::Scalar(_) | Writing::List { .. } | Writing::Object { .. } => {
                return Belonging::Whole(at);
            }
        }
    }
    if let Some((base, property)) = name.strip_suffix(']').and_then(|name| name.split_once('['))
        && let Some(at) = place(base)
        && declared.get(at).is_some_and(|one| object(one, ObjectWriting::Deep).is_some())
        && !property.is_empty()
        && !property.contains(['[', ']'])
    {
        return Belonging::Property(at, property.to_owned());
    }
    let holds = |one: &D| object(one, ObjectWriting::Exploded).is_some_and(|known| knows(known, name));
    match declared.iter().position(holds) {
        Some(at) => Belonging::Property(at, name.to_owned()),
        None => Belonging::Unknown,
    }
}

fn object<D: Declared>(one: &D, how: ObjectWriting) -> Option<&Properties> {
    match one.writing() {
        Writing::Object { properties, written } if *written == how => Some(properties),
        Writing::Json | Writing::Scalar(_) | Writing::List { .. } | Writing::Object { .. } => None,
    }
}

fn knows(properties: &Properties, name: &str) -> bool {
    properties.known.binary_search_by(|(known, _)| known.as_ref().cmp(name)).is_ok()
}

fn is_alike<D: Declared>(one: &D, raw: &str) -> bool {
    match object(one, ObjectWriting::Exploded) {
        Some(properties) => properties.known.iter().any(|(known, _)| alike(raw, known)),
        None => alike(raw, one.name()),
    }
}
