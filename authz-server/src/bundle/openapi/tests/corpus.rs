//! The corpus of contracts in `tests/contracts/*.txt`.
//!
//! ```text
//! # A comment.
//! case a misspelt rule
//! schema 3.0                          what stands below is the schema of a JSON body; also `parameter`, `operation`
//! | type: object                      and `document`, which is a whole one
//! | requried: [name]
//! ~ putThing: {context: {body: [/name]}}      `operations` of the service's settings
//! ~~ base_path: /v2                           another key of them
//! < openapi.yaml:12:15: unknown key `requried` in a schema
//! ```
//! What is expected of a sound contract is what it says of each operation; of a broken one, all that its author is told.

use crate::bundle::context::{ContextField, ListStyle, ValueKind};
use crate::bundle::files::{File, Role};
use crate::bundle::parsed::Document;
use crate::bundle::problem::Problems;
use crate::bundle::service::{self, ServiceRead};
use crate::bundle::yaml;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Set to write what is expected anew.
const BLESS: &str = "PALISADE_BLESS";

/// How many cases there are at least, and how many of them are broken.
const CASES_MIN: (usize, usize) = (90, 50);

#[derive(Default)]
struct Case {
    name: String,
    frame: String,
    lines: String,
    operations: String,
    settings: String,
    expected: String,
}

impl Case {
    fn document(&self) -> String {
        let (frame, version) = self.frame.split_once(' ').unwrap_or((&self.frame, ""));
        let before = match frame {
            "schema" => {
                "paths:\n  /things/{id}:\n    put:\n      operationId: putThing\n      parameters:\n        - {name: id, in: path, required: true, schema: {type: string}}\n      requestBody:\n        required: true\n        content:\n          application/json:\n            schema:\n"
            }
            "parameter" => {
                "paths:\n  /things/{id}:\n    get:\n      operationId: getThing\n      parameters:\n        - {name: id, in: path, required: true, schema: {type: string}}\n"
            }
            "operation" => "paths:\n  /things:\n    post:\n      operationId: makeThing\n",
            "document" => return self.lines.clone(),
            other => panic!("{}: there is no frame `{other}`", self.name),
        };
        let indent = " ".repeat(match frame {
            "schema" => 14,
            "parameter" => 8,
            _ => 6,
        });
        let (inside, after) = self.lines.split_once("---\n").unwrap_or((&self.lines, ""));
        let inside: String = inside.lines().map(|line| format!("{indent}{line}\n")).collect();
        format!("openapi: {version}.0\n{before}{inside}{after}")
    }

    fn settings(&self) -> String {
        let operations = match self.operations.is_empty() {
            true => "{}\n".to_owned(),
            false => format!("\n{}", self.operations),
        };
        format!(
            "hosts: [things]\nworkload: {{namespace: shop, labels: {{app: things}}}}\nowner: team\n{}operations: {operations}",
            self.settings
        )
    }

    /// What is read, or what is told.
    fn outcome(&self) -> (String, bool) {
        let file = |path: &str, text: String, role| File { path: path.to_owned(), text, role };
        let contract = file("openapi.yaml", self.document(), Role::OpenApi);
        let settings = file("service.yaml", self.settings(), Role::Service);
        let mut problems = Problems::default();
        let parse = |file| match yaml::parse(file) {
            Ok(root) => Document { file, root },
            Err(problem) => panic!("{}: {problem}", self.name),
        };
        let read = service::read("things", &parse(&settings), &parse(&contract), (&[], None), &mut problems);
        match read.filter(|_| !problems.has_errors()) {
            None => (format!("{problems}\n"), true),
            Some(read) => (self.shown(&read), false),
        }
    }

    fn shown(&self, read: &ServiceRead) -> String {
        let mut out = String::new();
        for (operation, context) in read.model.operations.iter().zip(&read.contexts) {
            let Ok(()) =
                writeln!(out, "{} {} is {}", operation.method.as_str(), operation.path, operation.id)
            else {
                continue;
            };
            for (at, what) in read.model.facts(operation) {
                // The frame's own parameter is in each of them.
                if at != "path id" || self.frame == "document" {
                    let _ = writeln!(out, "  {at}: {what}");
                }
            }
            if !self.operations.is_empty() {
                context.fields.iter().for_each(|field| out.push_str(&shown_field(field)));
            }
        }
        for habit in &read.model.habits {
            let _ = writeln!(out, "warning: {habit}");
        }
        out
    }
}

fn shown_field(field: &ContextField) -> String {
    let presence = if field.required { "required" } else { "optional" };
    let kind = match &field.kind {
        ValueKind::Set(of) => {
            let by = match field.list {
                ListStyle::Commas => "commas",
                ListStyle::Spaces => "spaces",
                ListStyle::Pipes => "pipes",
                ListStyle::Repeated => "repetition",
            };
            format!("set of {of:?} by {by}")
        }
        kind => format!("{kind:?}"),
    };
    format!("  context.{}.{}: {kind}, {presence}\n", field.part.name(), field.keys.join("."))
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("case ") {
            cases.push(Case { name: name.to_owned(), ..Case::default() });
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        match mark {
            "|" => case.lines += &format!("{rest}\n"),
            "~" => case.operations += &format!("  {rest}\n"),
            "~~" => case.settings += &format!("{rest}\n"),
            "<" => case.expected += &format!("{rest}\n"),
            "" | "#" => {}
            _ => case.frame = line.to_owned(),
        }
    }
    cases
}

/// The text with what is expected written anew.
fn blessed(text: &str, outcomes: &[String]) -> String {
    let mut out = String::new();
    let mut outcomes = outcomes.iter();
    let mut pending: Option<&String> = None;
    let flush = |out: &mut String, pending: &mut Option<&String>| {
        for line in pending.take().into_iter().flat_map(|outcome| outcome.lines()) {
            *out += format!("< {line}").trim_end();
            out.push('\n');
        }
    };
    for line in text.lines().filter(|line| !line.starts_with('<')) {
        if line.is_empty() {
            flush(&mut out, &mut pending);
        }
        if line.starts_with("case ") {
            pending = outcomes.next();
        }
        out += line;
        out.push('\n');
    }
    flush(&mut out, &mut pending);
    out
}

#[test]
fn every_contract_is_read_or_refused_as_written() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/contracts");
    let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut all, mut broken, mut wrong) = (0, 0, String::new());
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let cases = parse(&text);
        let outcomes: Vec<_> = cases.iter().map(Case::outcome).collect();
        all += cases.len();
        broken += outcomes.iter().filter(|(_, broken)| *broken).count();
        if std::env::var_os(BLESS).is_some() {
            let outcomes: Vec<_> = outcomes.into_iter().map(|(outcome, _)| outcome).collect();
            fs::write(&path, blessed(&text, &outcomes)).unwrap();
            continue;
        }
        for (case, (found, _)) in cases.iter().zip(&outcomes) {
            let found: String = found.lines().map(|line| format!("{}\n", line.trim_end())).collect();
            if found != case.expected {
                let _ = writeln!(
                    wrong,
                    "{}: {}\nexpected:\n{}found:\n{found}",
                    path.display(),
                    case.name,
                    case.expected
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!((all, broken) >= CASES_MIN && broken >= CASES_MIN.1, "{all} cases, {broken} of them broken");
}
