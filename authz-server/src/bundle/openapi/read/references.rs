//! `$ref`: JSON pointers within the document.
//!
//! INVARIANT: a reference leads to an object of the kind that its place asks for, in at most so many steps, or it is an
//! error; nothing is ever read from another file or from the network.

use super::{Fields, Reading, is_extension};
use crate::bundle::openapi::model::Version;
use crate::bundle::problem::Problem;
use crate::bundle::yaml::{Node, Span, Value};
use percent_encoding::percent_decode_str;
use std::collections::{BTreeSet, HashMap};

/// What a reference may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Schema,
    Response,
    Parameter,
    RequestBody,
    Header,
    SecurityScheme,
    PathItem,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Schema,
        Kind::Response,
        Kind::Parameter,
        Kind::RequestBody,
        Kind::Header,
        Kind::SecurityScheme,
        Kind::PathItem,
    ];

    pub(super) const fn section(self) -> &'static str {
        match self {
            Kind::Schema => "schemas",
            Kind::Response => "responses",
            Kind::Parameter => "parameters",
            Kind::RequestBody => "requestBodies",
            Kind::Header => "headers",
            Kind::SecurityScheme => "securitySchemes",
            Kind::PathItem => "pathItems",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Kind::Schema => "a schema",
            Kind::Response => "a response",
            Kind::Parameter => "a parameter",
            Kind::RequestBody => "a request body",
            Kind::Header => "a header",
            Kind::SecurityScheme => "a security scheme",
            Kind::PathItem => "a path",
        }
    }
}

/// What stands under `components`, by section and name.
pub(super) struct Components<'d> {
    root: &'d Node,
    sections: HashMap<Kind, HashMap<&'d str, &'d Node>>,
}

impl<'d> Components<'d> {
    pub(super) fn of(root: &'d Node) -> Components<'d> {
        let components = root.find("components");
        let section = |kind: Kind| {
            let entries = components.and_then(|node| node.find(kind.section())).and_then(Node::as_map);
            entries.unwrap_or_default().iter().map(|(key, node)| (key.text.as_str(), node)).collect()
        };
        Components { root, sections: Kind::ALL.into_iter().map(|kind| (kind, section(kind))).collect() }
    }

    pub(super) fn find(&self, kind: Kind, name: &str) -> Option<&'d Node> {
        self.sections.get(&kind)?.get(name).copied()
    }

    pub(super) fn names(&self, kind: Kind) -> BTreeSet<&'d str> {
        self.sections.get(&kind).map(|section| section.keys().copied().collect()).unwrap_or_default()
    }
}

/// The text of a node's `$ref`, if it has one.
pub(super) fn reference(node: &Node) -> Option<&Node> {
    node.find("$ref")
}

impl<'d> Reading<'d> {
    /// The object itself, or what its reference leads to. `None`: what is wrong was reported.
    pub(super) fn follow(&mut self, node: &'d Node, kind: Kind) -> Option<&'d Node> {
        let mut node = node;
        let mut seen = BTreeSet::new();
        while let Some(target) = reference(node) {
            self.check_siblings(node, kind);
            let written = self.text(target)?;
            if !seen.insert(written) {
                let message = format!("`{written}` leads back to itself");
                self.wrong(target.at, message, "a reference must end at what it stands for");
                return None;
            }
            node = self.resolve(target, written, kind)?;
        }
        Some(node)
    }

    /// One step.
    pub(super) fn resolve(&mut self, target: &Node, written: &str, kind: Kind) -> Option<&'d Node> {
        let Some(pointer) = written.strip_prefix('#') else {
            let help = "references stay within the document; bundle it into one file, for example with `redocly bundle`";
            self.wrong(target.at, format!("`{written}` leads out of the document"), help);
            return None;
        };
        let Some(tokens) = tokens(pointer) else {
            let help = format!("expected `#/components/{}/<name>`", kind.section());
            self.wrong(target.at, format!("`{written}` is not a reference"), help);
            return None;
        };
        if let [components, section, name] = tokens.as_slice()
            && components == "components"
        {
            if section != kind.section() {
                let message = format!("expected {}, and `{written}` is among the {section}", kind.name());
                let help = format!("{} stands under `#/components/{}`", kind.name(), kind.section());
                self.wrong(target.at, message, help);
                return None;
            }
            if let Some(node) = self.components.find(kind, name) {
                return Some(node);
            }
            self.dangling(target.at, written, Some((kind, name)));
            return None;
        }
        let found = tokens.iter().try_fold(self.components.root, |node, token| step(node, token));
        if found.is_none() {
            self.dangling(target.at, written, None);
        }
        found
    }

    fn dangling(&mut self, at: Span, written: &str, among: Option<(Kind, &str)>) {
        let mut problem = Problem::new(self.place(at), format!("`{written}` leads nowhere"));
        if let Some((kind, name)) = among {
            problem = problem.suggest(name, self.components.names(kind));
            // What is suggested stands in for the whole reference.
            let whole = |name: String| format!("#/components/{}/{name}", kind.section());
            problem.suggestion = problem.suggestion.map(whole);
            problem = problem.help(format!("declare it under `components`, `{}`", kind.section()));
        }
        self.push(problem);
    }

    /// What stands beside a `$ref` has no effect, and would look as if it had.
    fn check_siblings(&mut self, node: &'d Node, kind: Kind) {
        for (key, _) in node.as_map().unwrap_or_default() {
            let harmless =
                matches!(key.text.as_str(), "$ref" | "description" | "summary") || is_extension(&key.text);
            if !harmless {
                let message = format!("`{}` beside a `$ref` has no effect", key.text);
                let help = format!("remove it, or write {} out here", kind.name());
                self.wrong(key.at, message, help);
            }
        }
    }

    /// The name of what a mapping or requirement means, as a reference or as a bare name.
    pub(super) fn named_schema(&mut self, target: &'d Node) -> Option<&'d Node> {
        let written = self.text(target)?;
        if let Some(node) = self.components.find(Kind::Schema, written) {
            return Some(node);
        }
        if written.starts_with('#') || written.contains(['/', ':']) {
            return self.resolve(target, written, Kind::Schema);
        }
        let problem = Problem::new(self.place(target.at), format!("there is no schema `{written}`"))
            .suggest(written, self.components.names(Kind::Schema))
            .help("expected the name of a schema under `components`, or a reference to one");
        self.push(problem);
        None
    }
}

/// A pointer's steps, without escapes.
fn tokens(pointer: &str) -> Option<Vec<String>> {
    let pointer = percent_decode_str(pointer).decode_utf8().ok()?;
    let steps = pointer.strip_prefix('/')?.split('/');
    steps.map(|step| is_escaped(step).then(|| step.replace("~1", "/").replace("~0", "~"))).collect()
}

/// Whether each tilde begins an escape.
fn is_escaped(step: &str) -> bool {
    step.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

fn step<'d>(node: &'d Node, token: &str) -> Option<&'d Node> {
    match &node.value {
        Value::Map(_) => node.find(token),
        Value::List(items) => items.get(token.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => None,
    }
}

/// Whether a schema is nothing but a reference: in 3.0 whatever stands beside it.
pub(super) fn is_pure(fields: Fields<'_>, version: Version) -> bool {
    let silent = |key: &str| key == "$ref" || is_extension(key) || super::keys::ANNOTATIONS.contains(&key);
    version == Version::V30 || fields.entries.iter().all(|(key, _)| silent(&key.text))
}
