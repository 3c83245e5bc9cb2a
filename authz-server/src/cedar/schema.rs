//! The Cedar schema of a bundle, written from its contracts: one action an operation, with a context that is typed.
//!
//! INVARIANT: the text is a function of contract, contexts and fragments; operations whose contexts are alike share one
//! type, so that a thousand of them stay readable.

use super::fragments::{Fragment, OwnAttributes};
use super::names;
use crate::bundle::{ContextField, ContextPart, OperationContext, ValueKind};
use palisade_core::canary;
use palisade_core::contract::{Contract, Matched, OperationClass};
use palisade_core::routes::{OperationIndex, Segment};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::ops::Range;

/// A schema's text, with where each fragment begins in it.
#[derive(Debug)]
pub(super) struct SchemaText {
    pub(super) text: String,
    /// Which bytes come from which fragment.
    pub(super) fragments: Vec<Range<usize>>,
}

/// All that is needed to write schemas of one bundle.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    contract: &'a Contract,
    /// The type of each operation's context, by its index.
    contexts: Vec<String>,
    own: &'a OwnAttributes,
    fragments: &'a [Fragment<'a>],
}

const HEADING: &str = "\
// The Cedar schema of this bundle, generated from its contracts. Files `*.cedarschema` extend it; what they hold stands
// at the end.
";

const REQUEST: &str = "type Request = { method: String, host: String, path: String };\n";

impl<'a> Writer<'a> {
    pub(super) fn new(
        contract: &'a Contract,
        contexts: &[OperationContext],
        own: &'a OwnAttributes,
        fragments: &'a [Fragment<'a>],
    ) -> Writer<'a> {
        let contexts = contexts.iter().map(context_type).collect();
        Writer { contract, contexts, own, fragments }
    }

    /// The type of an operation's context, as it is written.
    pub(super) fn context_of(&self, index: OperationIndex) -> &str {
        usize::try_from(index.0)
            .ok()
            .and_then(|index| self.contexts.get(index))
            .map_or(NO_FIELDS, String::as_str)
    }

    /// The schema of the whole bundle, as `palisade schema` shows it.
    pub(super) fn whole(&self) -> SchemaText {
        let mut out = String::from(HEADING);
        self.entity_types(&mut out);
        out.push_str("\n// What every request has.\n");
        out.push_str(REQUEST);
        out.push_str("\n// Operations by what they do, and by their service.\n");
        let classes: Vec<_> = OperationClass::ALL.iter().map(|class| quoted(class.as_str())).collect();
        line(&mut out, &format!("action {};", classes.join(", ")));
        let services: Vec<_> =
            self.contract.services().iter().filter(|service| *service.name != *canary::SERVICE).collect();
        if !services.is_empty() {
            let names: Vec<_> = services.iter().map(|service| quoted(&service.name)).collect();
            line(&mut out, &format!("action {};", names.join(", ")));
        }
        let shared = self.shared_contexts(&mut out);
        let mut service = "";
        for matched in operations(self.contract) {
            if service != matched.service.name.as_ref() {
                service = &matched.service.name;
                line(&mut out, &format!("\n// Service `{service}`."));
            }
            let method = matched.operation.method.as_str();
            line(&mut out, &format!("\n// {method} {}", template(&matched.operation.template)));
            let context = self.context_of(matched.index);
            line(&mut out, &action(matched, shared.get(context).map_or(context, String::as_str)));
        }
        self.with_fragments(out)
    }

    /// A schema with these operations only, beside names of others that policies may mention.
    pub(super) fn of_operations(
        &self,
        indices: &BTreeSet<OperationIndex>,
        mentioned: &BTreeSet<String>,
    ) -> String {
        let mut out = String::from(REQUEST);
        self.entity_types(&mut out);
        let mut groups: BTreeSet<&str> = OperationClass::ALL.iter().map(|class| class.as_str()).collect();
        let mut declared = BTreeSet::new();
        for matched in indices.iter().filter_map(|index| self.contract.operation(*index)) {
            groups.insert(&matched.service.name);
            declared.insert(action_name(matched));
            line(&mut out, &action(matched, self.context_of(matched.index)));
        }
        for name in mentioned.iter().filter(|name| !declared.contains(*name)) {
            if let Some(service) = self.service(name) {
                groups.insert(service);
            } else if let Some(matched) = self.operation(name) {
                groups.insert(&matched.service.name);
                line(&mut out, &format!("{};", action_head(matched)));
            }
        }
        for group in groups {
            line(&mut out, &format!("action {};", quoted(group)));
        }
        self.with_fragments(out).text
    }

    /// The operation of an action's name.
    pub(super) fn operation(&self, name: &str) -> Option<Matched<'a>> {
        let (service, operation) = name.split_once('.')?;
        // Rare: only policies that mention operations in their conditions lead here.
        operations(self.contract)
            .find(|matched| *matched.service.name == *service && *matched.operation.name == *operation)
    }

    fn service(&self, name: &str) -> Option<&'a str> {
        let service = self.contract.services().iter().find(|service| *service.name == *name)?;
        (*service.name != *canary::SERVICE).then_some(&service.name)
    }

    fn entity_types(&self, out: &mut String) {
        out.push_str("\n// What callers and services belong to.\n");
        for kind in [names::GROUP, names::ROLE, names::TIER] {
            line(out, self.own.declaration(kind));
        }
        out.push_str("\n// Callers: by certificate, by API key, by token, without any credential.\n");
        for kind in [names::WORKLOAD, names::CLIENT, names::USER, names::ANONYMOUS] {
            line(out, self.own.declaration(kind));
        }
        out.push_str("\n// What is called.\n");
        line(out, self.own.declaration(names::SERVICE));
    }

    /// Declares the contexts that several operations have, and says under which name each is.
    fn shared_contexts(&self, out: &mut String) -> HashMap<&str, String> {
        let mut users: BTreeMap<&str, Vec<Matched<'_>>> = BTreeMap::new();
        for matched in operations(self.contract) {
            users.entry(self.context_of(matched.index)).or_default().push(matched);
        }
        let mut shared: Vec<_> = users.into_iter().filter(|(_, users)| users.len() > 1).collect();
        shared.sort_by_key(|(_, users)| users.first().map(|matched| matched.index.0));
        let mut names = HashMap::new();
        if !shared.is_empty() {
            out.push_str("\n// Contexts that several operations have in common.\n");
        }
        let mut taken = BTreeSet::new();
        for (context, users) in shared {
            let Some(first) = users.first() else { continue };
            let mut name = if context == NO_FIELDS { "Call".to_owned() } else { type_name(*first) };
            while !taken.insert(name.clone()) {
                name.push('_');
            }
            line(out, &format!("type {name} = {context};"));
            names.insert(context, name);
        }
        names
    }

    fn with_fragments(&self, mut text: String) -> SchemaText {
        let mut fragments = Vec::new();
        for fragment in self.fragments {
            line(&mut text, &format!("\n// From `{}`.", fragment.source.path));
            let start = text.len();
            line(&mut text, fragment.source.text);
            fragments.push(start..text.len());
        }
        SchemaText { text, fragments }
    }
}

/// All operations that policies may speak of: the canary's are refused before any policy is asked.
pub(super) fn operations(contract: &Contract) -> impl Iterator<Item = Matched<'_>> {
    (0..u32::MAX)
        .map_while(|index| contract.operation(OperationIndex(index)))
        .filter(|matched| *matched.service.name != *canary::SERVICE)
}

/// `orders.createOrder`.
pub(super) fn action_name(matched: Matched<'_>) -> String {
    format!("{}.{}", matched.service.name, matched.operation.name)
}

fn action_head(matched: Matched<'_>) -> String {
    format!(
        "action {} in [{}, {}]",
        quoted(&action_name(matched)),
        quoted(matched.operation.class.as_str()),
        quoted(&matched.service.name)
    )
}

fn action(matched: Matched<'_>, context: &str) -> String {
    format!(
        "{} appliesTo {{\n  principal: [{}, {}, {}, {}],\n  resource: {},\n  context: {context},\n}};",
        action_head(matched),
        names::WORKLOAD,
        names::CLIENT,
        names::USER,
        names::ANONYMOUS,
        names::SERVICE,
    )
}

/// The type of a context that has nothing from the contract.
const NO_FIELDS: &str = "{ request: Request, workload?: String, scopes?: Set<String> }";

fn context_type(context: &OperationContext) -> String {
    let mut out = String::from("{ request: Request, workload?: String, scopes?: Set<String>");
    for part in ContextPart::ALL {
        let fields: Vec<(&[String], &ContextField)> =
            context.part(part).map(|field| (field.keys.as_slice(), field)).collect();
        if !fields.is_empty() {
            out.push_str(", ");
            out.push_str(part.name());
            out.push_str(": ");
            record(&fields, &mut out);
        }
    }
    out.push_str(" }");
    out
}

/// A field with those of its keys that are not written yet.
type Rest<'c> = (&'c [String], &'c ContextField);

/// Fields that begin with the same key stand together: they are in the order of their keys.
fn record(fields: &[Rest<'_>], out: &mut String) {
    let mut groups: Vec<(&str, Vec<Rest<'_>>)> = Vec::new();
    for (keys, field) in fields {
        let Some((first, rest)) = keys.split_first() else { continue };
        match groups.last_mut() {
            Some((name, group)) if *name == first => group.push((rest, field)),
            _ => groups.push((first, vec![(rest, field)])),
        }
    }
    out.push('{');
    for (index, (name, group)) in groups.iter().enumerate() {
        out.push_str(if index > 0 { ", " } else { " " });
        out.push_str(&attribute(name));
        match group.as_slice() {
            [([], field)] => {
                out.push_str(if field.required { ": " } else { "?: " });
                out.push_str(&kind(&field.kind));
            }
            // A record on the way is always there, empty where the request has nothing in it.
            inner => {
                out.push_str(": ");
                record(inner, out);
            }
        }
    }
    out.push_str(" }");
}

fn kind(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String => "String".to_owned(),
        ValueKind::Long => "Long".to_owned(),
        ValueKind::Bool => "Bool".to_owned(),
        ValueKind::Decimal => "decimal".to_owned(),
        ValueKind::Ip => "ipaddr".to_owned(),
        ValueKind::Set(element) => format!("Set<{}>", self::kind(element)),
    }
}

/// Words that are no names in Cedar.
const KEYWORDS: [&str; 9] = ["true", "false", "if", "then", "else", "in", "like", "has", "is"];

/// An attribute's name, quoted where it is not a word.
fn attribute(name: &str) -> String {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let word = starts && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if word && !name.starts_with("__") && !KEYWORDS.contains(&name) { name.to_owned() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

fn template(segments: &[Segment]) -> String {
    segments
        .iter()
        .map(|segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::Parameter(name) => format!("/{{{name}}}"),
        })
        .collect()
}

/// `OrdersListOrders`, for a context that this operation is the first to have.
fn type_name(matched: Matched<'_>) -> String {
    let words = [matched.service.name.as_ref(), matched.operation.name.as_ref()];
    let words = words.iter().flat_map(|text| text.split(|letter: char| !letter.is_ascii_alphanumeric()));
    let mut name = String::from("Context");
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.extend(letters);
    }
    name
}

fn line(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _written = writeln!(out, "{text}");
}
