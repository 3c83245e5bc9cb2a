//! What the filter judges each operation by: contracts and the rules beside them, in the form in which the core asks.
//!
//! `writing` says how a value stands in text, `operation` what one operation takes and gives, `settings` what
//! `service.yaml` adds. INVARIANT: whatever a contract says is kept to, or it is an error with its place, or a lint says
//! aloud that nobody looks.

mod operation;
pub(super) mod settings;
mod writing;

use super::files::Role;
use super::parsed::{Document, Parsed};
use super::problem::{Place, Problem, Problems};
use super::schemas::{Compiler, Located, Origin, Unchecked};
use super::service::ServiceRead;
use super::yaml::{Node, Span};
use crate::bundle::lints::Lint;
use palisade_core::schema::SchemaTable;
use std::collections::BTreeMap;

/// Compiles the contracts of all services into their operations. `None`: what cannot be kept to was reported.
pub(super) fn compile(
    services: &mut [ServiceRead],
    documents: &Parsed<'_>,
    problems: &mut Problems,
) -> Option<SchemaTable> {
    let mut compiler = Compiler::default();
    let mut all = Vec::with_capacity(services.len());
    for read in services.iter() {
        let service = compiler.service(&read.model, read.terms.misdirected);
        let operations = read.model.operations.iter().zip(&read.terms.operations);
        let terms: Vec<_> = operations
            .map(|(declared, settings)| {
                operation::terms(&mut compiler, service, &read.model, declared, settings)
            })
            .collect();
        all.push(terms);
    }
    let compiled = compiler.finish();
    let names: Vec<String> = services.iter().map(|read| read.settings.name.clone()).collect();
    let contracts = Contracts::of(&names, documents);
    for (service, lints) in unchecked(&contracts, compiled.unchecked) {
        if let Some(read) = services.get_mut(service) {
            read.model.habits.extend(lints);
        }
    }
    match compiled.table {
        Ok(table) => {
            for (read, terms) in services.iter_mut().zip(all) {
                for (operation, terms) in read.service.operations.iter_mut().zip(terms) {
                    terms.put_into(operation);
                }
            }
            Some(table)
        }
        Err(refused) => {
            for refused in refused {
                let message = match &refused.at {
                    Some(at) => format!("{}: {}", at.way, refused.message),
                    None => refused.message,
                };
                let place =
                    refused.at.map_or_else(|| Place::directory("services"), |at| contracts.place(&at));
                problems.push(Problem::new(place, message).help(refused.help));
            }
            None
        }
    }
}

/// One finding for each format of a service: it stands in many schemas of a contract, or in none.
fn unchecked(
    contracts: &Contracts<'_>,
    found: impl IntoIterator<Item = Unchecked>,
) -> BTreeMap<usize, Vec<Problem>> {
    let mut by_format: BTreeMap<(usize, Box<str>), Vec<Located>> = BTreeMap::new();
    for Unchecked { at, format } in found {
        by_format.entry((at.service.0, format)).or_default().push(at);
    }
    let mut lints: BTreeMap<usize, Vec<Problem>> = BTreeMap::new();
    for ((service, format), places) in by_format {
        let Some(first) = places.first() else { continue };
        let others = match places.len() {
            1 => String::new(),
            count => format!(", and at {} other places", count - 1),
        };
        let message = format!("nothing checks the format `{format}` of {}{others}", first.way);
        let help = match &*format {
            "idn-email" | "idn-hostname" => {
                "write `email` or `hostname`, which take internationalized names in their ASCII form"
            }
            _ => {
                "say it by `pattern`, or use one of date-time, date, time, duration, uuid, email, hostname, ipv4, ipv6, uri, byte"
            }
        };
        let problem = Problem::lint(contracts.place(first), Lint::FormatNotChecked, message);
        lints.entry(service).or_default().push(problem.subject(&format).help(help));
    }
    lints
}

/// The contracts of services, in which places are looked up.
struct Contracts<'d>(Vec<(String, Option<&'d Document<'d>>)>);

impl<'d> Contracts<'d> {
    fn of(names: &[String], documents: &'d Parsed<'d>) -> Contracts<'d> {
        let document = |name: &str| {
            documents
                .with_role(Role::OpenApi)
                .find(|document| document.file.path.split('/').nth(1) == Some(name))
        };
        Contracts(names.iter().map(|name| (name.clone(), document(name))).collect())
    }

    fn place(&self, at: &Located) -> Place {
        match self.0.get(at.service.0) {
            Some((_, Some(document))) => {
                let span = span_of(&document.root, &at.origin).unwrap_or(Span::start_of(document.root.at));
                Place::of_range(&document.file.path, &document.file.text, span.range())
            }
            Some((name, None)) => Place::directory(&format!("services/{name}")),
            None => Place::directory("services"),
        }
    }
}

fn span_of(root: &Node, origin: &Origin) -> Option<Span> {
    match origin {
        Origin::Component(name) => {
            let schemas = root.find("components")?.find("schemas")?.as_map()?;
            schemas.iter().find(|(key, _)| *key.text == **name).map(|(key, _)| key.at)
        }
        Origin::Operation(id) => {
            let items = root.find("paths")?.as_map()?;
            let operations = items.iter().flat_map(|(_, item)| item.as_map().unwrap_or_default());
            let ids = operations.filter_map(|(_, operation)| operation.find("operationId"));
            ids.into_iter().find(|node| node.as_text() == Some(id)).map(|node| node.at)
        }
    }
}
