//! Reads an OpenAPI document out of its tree: everything that is wrong is found in one pass, each with its place.
//!
//! `keys` says what each object may have, `references` follows `$ref`, the rest is a file for each part of a document.
//! INVARIANT: what is not understood is an error and never skipped, because a misspelt rule would silently protect
//! nothing; `x-` keys, and what does not concern requests and responses, are the exceptions.

mod body;
mod content;
mod document;
mod keys;
mod operation;
mod parameter;
mod pattern;
mod references;
mod routes;
mod schema;
mod security;
mod servers;
mod template;

pub(in crate::bundle) use document::{base_path, read};

use super::model::{Parameter, Pattern, RequestBody, Response, Version};
use crate::bundle::files::File;
use crate::bundle::lints::Lint;
use crate::bundle::problem::{Place, Problem, Problems};
use crate::bundle::yaml::{Key, Node, Span, Value};
use keys::ObjectKeys;
use parameter::HeaderContent;
use references::Components;
use schema::Arena;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// More problems than anybody mends in one sitting; a document in another dialect may have one in each line.
const PROBLEMS_MAX: usize = 1_000;

/// A document that is being read.
struct Reading<'d> {
    file: &'d File,
    version: Version,
    components: Components<'d>,
    lines: Lines,
    problems: Problems,
    count: usize,
    /// One for each lint, with the number of further places: a habit of an author is one habit.
    lints: BTreeMap<Lint, Habit>,
    arena: Arena<'d>,
    known: Known<'d>,
}

/// What was read already, by the place it stands at: a component that many operations name is read, and found wrong, once.
#[derive(Default)]
struct Known<'d> {
    parameters: HashMap<Span, Option<Arc<Parameter>>>,
    bodies: HashMap<Span, Option<Arc<RequestBody>>>,
    responses: HashMap<Span, Option<Arc<Response>>>,
    headers: HashMap<Span, Option<HeaderContent>>,
    ids: HashMap<&'d str, Span>,
    patterns: HashMap<&'d str, Result<Pattern, pattern::Refused>>,
}

struct Habit {
    problem: Problem,
    more: usize,
}

/// The keys of an object that were checked against what it may have.
#[derive(Debug, Clone, Copy)]
struct Fields<'d> {
    at: Span,
    entries: &'d [(Key, Node)],
}

impl<'d> Fields<'d> {
    fn find(self, key: &str) -> Option<&'d Node> {
        self.entry(key).map(|(_, node)| node)
    }

    fn entry(self, key: &str) -> Option<&'d (Key, Node)> {
        self.entries.iter().find(|(known, _)| known.text == key)
    }

    fn has(self, key: &str) -> bool {
        self.entry(key).is_some()
    }
}

/// Whether a key is an extension, which anybody may put anywhere.
fn is_extension(key: &str) -> bool {
    key.starts_with("x-")
}

impl<'d> Reading<'d> {
    fn new(file: &'d File, root: &'d Node, version: Version) -> Reading<'d> {
        Reading {
            file,
            version,
            components: Components::of(root),
            lines: Lines::of(&file.text),
            problems: Problems::default(),
            count: 0,
            lints: BTreeMap::new(),
            arena: Arena::default(),
            known: Known::default(),
        }
    }

    fn place(&self, at: Span) -> Place {
        self.lines.place(self.file, at)
    }

    fn wrong(&mut self, at: Span, message: impl Into<String>, help: impl Into<String>) {
        let place = self.place(at);
        self.push(Problem::new(place, message).help(help));
    }

    fn push(&mut self, problem: Problem) {
        self.count += 1;
        if self.count <= PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// Something that is allowed and rarely meant.
    fn lint(&mut self, at: Span, lint: Lint, message: impl Into<String>, help: impl Into<String>) {
        if let Some(habit) = self.lints.get_mut(&lint) {
            habit.more += 1;
            return;
        }
        let problem = Problem::lint(self.place(at), lint, message).help(help);
        self.lints.insert(lint, Habit { problem, more: 0 });
    }

    /// What is allowed and rarely meant, once for each habit. The subject is the service, as `lints.allow` names it.
    fn habits(&mut self) -> Vec<Problem> {
        let service = self.file.path.split('/').nth(1).unwrap_or_default().to_owned();
        let habits = std::mem::take(&mut self.lints).into_values();
        let said = habits.map(|Habit { mut problem, more }| {
            match more {
                0 => {}
                1 => problem.message.push_str(" (and in one more place)"),
                more => problem.message.push_str(&format!(" (and in {more} more places)")),
            }
            problem.subject(&service)
        });
        said.collect()
    }

    fn finish(mut self) -> Problems {
        if let Some(more @ 1..) = self.count.checked_sub(PROBLEMS_MAX) {
            let message = format!("the contract has {more} more problems, which are not shown");
            self.problems.push(Problem::new(Place::file(&self.file.path), message));
        }
        self.problems
    }

    fn expected(&mut self, node: &Node, expected: &str) {
        let place = self.place(node.at);
        self.push(Problem::new(place, format!("expected {expected}, found {}", node.kind())));
    }

    /// A map in which only known keys stand.
    fn object(&mut self, node: &'d Node, keys: &ObjectKeys) -> Option<Fields<'d>> {
        let entries = self.map(node, keys.name)?;
        for (key, _) in entries {
            if !is_extension(&key.text) && !keys.know(&key.text, self.version) {
                self.unknown(key, keys);
            }
        }
        Some(Fields { at: node.at, entries })
    }

    fn unknown(&mut self, key: &Key, keys: &ObjectKeys) {
        let message = format!("unknown key `{}` in {}", key.text, keys.name);
        let mut problem = Problem::new(self.place(key.at), message);
        problem = match keys.hint(&key.text, self.version) {
            Some(hint) => problem.help(hint),
            None => problem
                .suggest(&key.text, keys.of(self.version))
                .help("a rule that nobody knows protects nothing; keys of your own begin with `x-`"),
        };
        self.push(problem);
    }

    /// A map whose keys the author chose.
    fn map(&mut self, node: &'d Node, what: &str) -> Option<&'d [(Key, Node)]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            _ => {
                self.expected(node, &format!("{what}, which is a map"));
                None
            }
        }
    }

    /// The entries of a map in which each key is a name that the author chose, `x-request-id` among them.
    fn named(&mut self, node: Option<&'d Node>, what: &str) -> &'d [(Key, Node)] {
        node.and_then(|node| self.map(node, what)).unwrap_or_default()
    }

    /// The entries of a map in which extensions stand beside keys of a form that is no extension's: paths, statuses.
    fn patterned(
        &mut self,
        node: Option<&'d Node>,
        what: &str,
    ) -> impl Iterator<Item = &'d (Key, Node)> + use<'d> {
        self.named(node, what).iter().filter(|(key, _)| !is_extension(&key.text))
    }

    fn list(&mut self, node: &'d Node) -> Option<&'d [Node]> {
        let items = node.as_list();
        if items.is_none() {
            self.expected(node, "a list");
        }
        items
    }

    fn text(&mut self, node: &'d Node) -> Option<&'d str> {
        match &node.value {
            Value::Text(text) => Some(text),
            Value::Number(written) => {
                let help = format!("quote it: `\"{written}\"`");
                self.wrong(node.at, "expected a text, found a number", help);
                None
            }
            _ => {
                self.expected(node, "a text");
                None
            }
        }
    }

    fn texts(&mut self, node: &'d Node) -> Vec<(&'d str, Span)> {
        let items = self.list(node).unwrap_or_default();
        items.iter().filter_map(|item| Some((self.text(item)?, item.at))).collect()
    }

    /// `true` or `false`; absent is `false`.
    fn flag(&mut self, fields: Fields<'d>, key: &str) -> bool {
        self.flag_or(fields, key, false)
    }

    fn flag_or(&mut self, fields: Fields<'d>, key: &str, absent: bool) -> bool {
        match fields.find(key) {
            None => absent,
            Some(Node { value: Value::Bool(value), .. }) => *value,
            Some(node) => {
                self.expected(node, "`true` or `false`");
                absent
            }
        }
    }
}

/// Where each line of a file begins, so that a place is found without reading all that stands before it.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Lines {
        let after = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Lines { starts: std::iter::once(0).chain(after).collect() }
    }

    fn place(&self, file: &File, at: Span) -> Place {
        let range = at.range();
        let line = self.starts.partition_point(|start| *start <= range.start);
        let start = line.checked_sub(1).and_then(|line| self.starts.get(line)).copied().unwrap_or(0);
        let rest = file.text.get(start..).unwrap_or_default();
        let within = range.start.saturating_sub(start)..range.end.saturating_sub(start);
        let place = Place::of_range(&file.path, rest, within);
        Place { line: Some(line as u64), ..place }
    }
}
