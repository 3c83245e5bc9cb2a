//! Reads typed records out of trees, and says of each record which keys it has.
//!
//! One declaration makes the type, its reader and its line in the format reference, so that they cannot differ.
//! INVARIANT: an unknown key, a missing key and a value of the wrong kind are problems with a place; reading goes on, so
//! that all of them are found at once.

mod macros;

pub(crate) use macros::{choice, record};

use super::files::File;
use super::problem::{Place, Problem, Problems};
use super::yaml::{Key, Node, Span, Value};
use std::collections::BTreeMap;

/// A file that is being read, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Reader<'f> {
    file: &'f File,
    pub(crate) problems: Problems,
}

impl<'f> Reader<'f> {
    pub(crate) fn new(file: &'f File) -> Reader<'f> {
        Reader { file, problems: Problems::default() }
    }

    pub(crate) fn place(&self, at: Span) -> Place {
        Place::of_range(&self.file.path, &self.file.text, at.range())
    }

    pub(crate) fn wrong(&mut self, at: Span, message: impl Into<String>, help: impl Into<String>) {
        let problem = Problem::new(self.place(at), message).help(help);
        self.problems.push(problem);
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Reports a value of the wrong kind.
    pub(crate) fn expected<T: Read>(&mut self, node: &Node) {
        let message = format!("expected {}, found {}", T::EXPECTED, found(node));
        self.problems.push(Problem::new(self.place(node.at), message));
    }
}

/// A value for a message: its kind, and what is short as it was written.
fn found(node: &Node) -> String {
    const SHORT: usize = 40;
    match &node.value {
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(written) if written.len() <= SHORT => format!("the number `{written}`"),
        Value::Text(text) if text.is_empty() => "an empty text".to_owned(),
        Value::Text(text) if text.len() <= SHORT && !text.contains(char::is_control) => {
            format!("the text `{text}`")
        }
        _ => node.kind().to_owned(),
    }
}

/// A type that can be read from a value.
pub(crate) trait Read: Sized {
    /// With an article, for messages and the format reference: `a text`.
    const EXPECTED: &'static str;

    /// `None`: what is wrong was reported.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;

    /// What stands for a required key that is missing, after that was reported.
    fn absent() -> Option<Self> {
        None
    }

    /// The record that stands inside, if one does.
    fn record() -> Option<&'static RecordKeys> {
        None
    }
}

/// The lines of a doc comment as one.
pub(crate) fn one_line(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// What the format reference says of a record.
#[derive(Debug)]
pub struct RecordKeys {
    pub name: &'static str,
    pub doc: &'static [&'static str],
    pub keys: &'static [KeyReference],
}

/// What the format reference says of a key.
#[derive(Debug)]
pub struct KeyReference {
    pub name: &'static str,
    pub required: bool,
    pub expected: &'static str,
    pub doc: &'static [&'static str],
    pub record: fn() -> Option<&'static RecordKeys>,
}

/// A value with the place it was written in, for checks that come later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed<T> {
    pub value: T,
    pub(crate) at: Span,
}

impl AsRef<str> for Placed<String> {
    fn as_ref(&self) -> &str {
        &self.value
    }
}

impl<T: Read> Read for Placed<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        Some(Placed { value: T::read(node, reader)?, at: node.at })
    }

    fn record() -> Option<&'static RecordKeys> {
        T::record()
    }
}

/// A value without which the rest of its record can still be used. `None`: what is wrong with it was reported.
#[derive(Debug, Clone)]
pub struct Tried<T>(pub(crate) Option<T>);

impl<T: Read> Read for Tried<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        Some(Tried(T::read(node, reader)))
    }

    fn absent() -> Option<Self> {
        Some(Tried(None))
    }

    fn record() -> Option<&'static RecordKeys> {
        T::record()
    }
}

impl<T: Read> Read for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(Some)
    }

    fn record() -> Option<&'static RecordKeys> {
        T::record()
    }
}

impl Read for String {
    const EXPECTED: &'static str = "a text";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Number(written) => {
                let help = format!("quote it: `\"{written}\"`");
                reader.wrong(node.at, format!("expected a text, found {}", found(node)), help);
                None
            }
            _ => {
                reader.expected::<Self>(node);
                None
            }
        }
    }
}

impl Read for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                reader.expected::<Self>(node);
                None
            }
        }
    }
}

macro_rules! read_number {
    ($($number:ty),*) => {$(
        impl Read for $number {
            const EXPECTED: &'static str = "a whole number";

            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let Value::Number(written) = &node.value else {
                    reader.expected::<Self>(node);
                    return None;
                };
                let number = written.parse().ok();
                if number.is_none() {
                    let message = format!("`{written}` is not a whole number from 0 to {}", <$number>::MAX);
                    reader.wrong(node.at, message, "write it in decimal digits");
                }
                number
            }
        }
    )*};
}

read_number!(u32, u64);

impl<T: Read> Read for Vec<T> {
    const EXPECTED: &'static str = "a list";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::List(items) => Some(items.iter().filter_map(|item| T::read(item, reader)).collect()),
            _ => {
                reader.expected::<Self>(node);
                None
            }
        }
    }

    fn record() -> Option<&'static RecordKeys> {
        T::record()
    }
}

/// A map with names that the bundle's author chose.
impl<T: Read> Read for BTreeMap<String, T> {
    const EXPECTED: &'static str = "a map";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => Some(
                entries
                    .iter()
                    .filter_map(|(key, value)| Some((key.text.clone(), T::read(value, reader)?)))
                    .collect(),
            ),
            _ => {
                reader.expected::<Self>(node);
                None
            }
        }
    }

    fn record() -> Option<&'static RecordKeys> {
        T::record()
    }
}

/// The same where the place of each name is needed later.
#[derive(Debug, Clone)]
pub struct Named<T>(pub(crate) Vec<(Key, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named(Vec::new())
    }
}

impl<T: Read> Read for Named<T> {
    const EXPECTED: &'static str = "a map";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => Some(Named(
                entries
                    .iter()
                    .filter_map(|(key, value)| Some((key.clone(), T::read(value, reader)?)))
                    .collect(),
            )),
            _ => {
                reader.expected::<Self>(node);
                None
            }
        }
    }

    fn record() -> Option<&'static RecordKeys> {
        T::record()
    }
}

/// The keys of a record, checked; the values are taken out of it one by one.
#[derive(Debug)]
pub(crate) struct Entries<'n> {
    at: Span,
    entries: &'n [(Key, Node)],
    keys: &'static RecordKeys,
    /// Keys that something unknown was probably meant to be: it is told once, and not as missing again.
    misspelt: Vec<String>,
}

impl<'n> Entries<'n> {
    pub(crate) fn of(
        node: &'n Node,
        keys: &'static RecordKeys,
        reader: &mut Reader<'_>,
    ) -> Option<Entries<'n>> {
        let Value::Map(entries) = &node.value else {
            let known: Vec<_> = keys.keys.iter().map(|key| format!("`{}`", key.name)).collect();
            let message = format!("expected a map, found {}", found(node));
            reader.wrong(node.at, message, format!("its keys are {}", known.join(", ")));
            return None;
        };
        let known = || keys.keys.iter().map(|key| key.name);
        let is_absent = |name: &&str| entries.iter().all(|(key, _)| key.text != **name);
        let mut misspelt = Vec::new();
        for (key, _) in entries {
            if known().all(|name| name != key.text) {
                let names: Vec<_> = known().map(|name| format!("`{name}`")).collect();
                let problem = Problem::new(reader.place(key.at), format!("unknown key `{}`", key.text))
                    .suggest(&key.text, known().filter(is_absent))
                    .help(format!("the keys here are {}", names.join(", ")));
                misspelt.extend(problem.suggestion.clone());
                reader.push(problem);
            }
        }
        Some(Entries { at: node.at, entries, keys, misspelt })
    }

    pub(crate) fn required<T: Read>(&self, name: &str, reader: &mut Reader<'_>) -> Option<T> {
        match self.find(name) {
            Some(node) => T::read(node, reader),
            None => {
                if !self.misspelt.iter().any(|key| key == name) {
                    let place = reader.place(Span::start_of(self.at));
                    let message = format!("key `{name}` is missing, expected {}", T::EXPECTED);
                    let key = self.keys.keys.iter().find(|key| key.name == name);
                    let doc = key.map(|key| one_line(key.doc)).unwrap_or_default();
                    reader.push(Problem::new(place, message).help(format!("`{name}`: {doc}")));
                }
                T::absent()
            }
        }
    }

    pub(crate) fn optional<T: Read + Default>(&self, name: &str, reader: &mut Reader<'_>) -> Option<T> {
        match self.find(name) {
            Some(node) => T::read(node, reader),
            None => Some(T::default()),
        }
    }

    fn find(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }
}
