//! A YAML document, or a JSON one, as a tree in which every key and every value knows its place.
//!
//! INVARIANT: a tree has bounded depth and size, no key twice, and no value that its reader would have to guess:
//! a plain `yes` is a text, a `0x10` keeps its letters until somebody asks for a number.

use super::files::File;
use super::problem::{Place, Problem};
use granit_parser::{Event, Parser, ScalarStyle, Tag};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Deeper than any schema that a person wrote, far from the end of any stack.
const DEPTH_MAX: usize = 128;

/// Bounds what aliases of aliases can unfold to. The largest public contracts have a quarter of this.
const NODES_MAX: usize = 4_000_000;

/// Which bytes of a file something is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The point at which something begins.
    pub(crate) fn start_of(span: Span) -> Span {
        Span { start: span.start, end: span.start }
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn of(span: granit_parser::Span) -> Span {
        let range = span.byte_range().unwrap_or_default();
        // Files are bounded far below 4 GiB.
        let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Span { start: narrow(range.start), end: narrow(range.end) }
    }
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) at: Span,
    pub(crate) value: Value,
}

/// What a document holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// As it was written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) at: Span,
}

impl Node {
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_map(&self) -> Option<&[(Key, Node)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value under a key, where this is a map that has it.
    pub(crate) fn find(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|(known, _)| known.text == key).map(|(_, node)| node)
    }

    /// What it is, for a message: `a list`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "`true` or `false`",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Reads the one document of a file. An empty file is nothing.
pub(crate) fn parse(file: &File) -> Result<Node, Problem> {
    let mut builder = Builder { file, open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let options = granit_parser::options! { emit_comments: false, disallow_directives: true };
    for event in Parser::new_from_str_with_options(&file.text, options) {
        match event {
            Ok((event, span)) => builder.event(event, Span::of(span))?,
            Err(error) => {
                let at = error.marker().byte_offset().unwrap_or(file.text.len());
                let place = Place::of_offset(&file.path, &file.text, at);
                let problem = Problem::new(place, format!("this is not YAML: {}", error.info()));
                return Err(match builder.probably(&error.info()) {
                    Some(help) => problem.help(help),
                    None => problem,
                });
            }
        }
    }
    Ok(builder.root.unwrap_or(Node { at: Span::default(), value: Value::Null }))
}

struct Builder<'f> {
    file: &'f File,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

/// A list or a map that is not closed yet.
struct Open {
    at: Span,
    anchor: usize,
    nodes_before: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, keys: HashSet<String>, key: Option<Key> },
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, at: Span) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(self.wrong(at, "a second document begins here").help("one file holds one document"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(at, tag.as_deref())?;
                let value = match style {
                    ScalarStyle::Plain => resolve(&text),
                    _ => Value::Text(text.into_owned()),
                };
                self.count(at, 1)?;
                self.finish(Node { at, value }, anchor, 1)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(at, tag.as_deref())?;
                self.begin(at, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(at, tag.as_deref())?;
                let content = Content::Map { entries: Vec::new(), keys: HashSet::new(), key: None };
                self.begin(at, anchor, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(at),
            Event::Alias(anchor) => {
                let Some((node, nodes)) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.wrong(at, "this alias stands inside of what it names"));
                };
                self.count(at, nodes)?;
                self.finish(Node { at, value: node.value }, 0, nodes)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, at: Span, anchor: usize, content: Content) -> Result<(), Problem> {
        if self.open.len() >= DEPTH_MAX {
            return Err(self.wrong(at, format!("the document is nested deeper than {DEPTH_MAX} levels")));
        }
        self.count(at, 1)?;
        self.open.push(Open { at, anchor, nodes_before: self.nodes - 1, content });
        Ok(())
    }

    fn end(&mut self, at: Span) -> Result<(), Problem> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(entries),
        };
        let nodes = self.nodes - open.nodes_before;
        let at = Span { start: open.at.start, end: at.end.max(open.at.end) };
        self.finish(Node { at, value }, open.anchor, nodes)
    }

    /// Puts a complete value where it belongs.
    fn finish(&mut self, node: Node, anchor: usize, nodes: usize) -> Result<(), Problem> {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), nodes));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key, .. }) if key.is_some() => {
                entries.extend(key.take().map(|key| (key, node)));
            }
            Some(Content::Map { .. }) => return self.key(node),
        }
        Ok(())
    }

    fn key(&mut self, node: Node) -> Result<(), Problem> {
        let at = node.at;
        let text = match node.value {
            Value::Text(text) | Value::Number(text) => text,
            // As it was written: a response may be declared under the key `null`, and `yes` stays `yes`.
            Value::Bool(_) | Value::Null => self.file.text.get(at.range()).unwrap_or_default().to_owned(),
            Value::List(_) | Value::Map(_) => return Err(self.wrong(at, "a key must be a text")),
        };
        if text == "<<" {
            let help = "YAML 1.2 has no merge keys; write the keys out";
            return Err(self.wrong(at, "merge keys are not read").help(help));
        }
        let Some(Open { content: Content::Map { keys, key, .. }, .. }) = self.open.last_mut() else {
            return Ok(());
        };
        if keys.insert(text.clone()) {
            *key = Some(Key { text, at });
            return Ok(());
        }
        let twice = self.wrong(at, format!("key `{text}` is written twice in this map"));
        Err(twice.help("keep one: which of two would count is a guess"))
    }

    /// What a person should look for: the parser stops where it cannot go on, often lines behind the mistake.
    fn probably(&self, error: &str) -> Option<String> {
        let opened = self.open.last().and_then(|open| {
            let bracket = self.file.text.get(open.at.range())?.chars().next()?;
            matches!(bracket, '[' | '{').then_some((bracket, open.at))
        });
        if let Some((bracket, at)) = opened {
            let place = Place::of_range(&self.file.path, &self.file.text, at.range());
            let line = place.line.unwrap_or_default();
            return Some(format!("the `{bracket}` of line {line} is not closed before this"));
        }
        let help = if error.contains("quoted scalar") {
            "a quote above is not closed"
        } else if error.contains("mapping values") {
            "quote a text that holds `: `, and begin all keys of one map in the same column"
        } else if error.contains("tabs") {
            "indent with spaces"
        } else if error.contains("directives") {
            "remove the line: what is read is YAML 1.2"
        } else {
            return None;
        };
        Some(help.to_owned())
    }

    fn count(&mut self, at: Span, more: usize) -> Result<(), Problem> {
        self.nodes += more;
        if self.nodes > NODES_MAX {
            return Err(self.wrong(at, format!("the document has more than {NODES_MAX} values")));
        }
        Ok(())
    }

    fn refuse_tag(&self, at: Span, tag: Option<&Tag>) -> Result<(), Problem> {
        match tag {
            Some(tag) => Err(self
                .wrong(at, format!("tag `{tag}` is not read"))
                .help("write the value without it; a text that looks like something else stands in quotes")),
            None => Ok(()),
        }
    }

    fn wrong(&self, at: Span, message: impl Into<String>) -> Problem {
        Problem::new(Place::of_range(&self.file.path, &self.file.text, at.range()), message)
    }
}

/// What an unquoted scalar is, by the core schema of YAML 1.2.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if is_number(text) => Value::Number(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    if let Some(digits) = text.strip_prefix("0x") {
        return !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return !digits.is_empty() && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let starts = unsigned.bytes().find(|byte| *byte != b'.');
    starts.is_some_and(|byte| byte.is_ascii_digit()) && unsigned.parse::<f64>().is_ok()
}
