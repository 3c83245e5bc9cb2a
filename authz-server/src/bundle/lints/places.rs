//! Where things stand, looked up in the trees of a bundle's documents.

use crate::bundle::files::Role;
use crate::bundle::parsed::{Document, Parsed};
use crate::bundle::problem::Place;
use crate::bundle::yaml::{Node, Span};
use std::collections::HashMap;

/// The documents of a bundle by what they are about.
#[derive(Debug)]
pub(super) struct Places<'d> {
    palisade: Option<&'d Document<'d>>,
    services: HashMap<&'d str, Folder<'d>>,
}

#[derive(Debug, Default)]
struct Folder<'d> {
    settings: Option<&'d Document<'d>>,
    contract: Option<&'d Document<'d>>,
    /// The value of each `operationId`, and the key of its path.
    operations: HashMap<&'d str, (Span, Span)>,
}

impl<'d> Places<'d> {
    pub(super) fn of(documents: &'d Parsed<'d>) -> Places<'d> {
        let mut services: HashMap<&str, Folder<'_>> = HashMap::new();
        let name = |document: &Document<'d>| document.file.path.split('/').nth(1).unwrap_or_default();
        for document in documents.with_role(Role::Service) {
            services.entry(name(document)).or_default().settings = Some(document);
        }
        for document in documents.with_role(Role::OpenApi) {
            let folder = services.entry(name(document)).or_default();
            folder.operations = operations(&document.root).collect();
            folder.contract = Some(document);
        }
        Places { palisade: documents.with_role(Role::Palisade).next(), services }
    }

    pub(super) fn in_palisade(&self, at: Span) -> Place {
        self.palisade.map_or_else(|| Place::file("palisade.yaml"), |document| in_document(document, at))
    }

    /// The first key of a service's settings.
    pub(super) fn service(&self, service: &str) -> Place {
        match self.services.get(service).and_then(|folder| folder.settings) {
            Some(document) => in_document(document, Span::start_of(document.root.at)),
            None => Place::directory(&format!("services/{service}")),
        }
    }

    /// The `operationId` in the contract.
    pub(super) fn operation(&self, service: &str, operation: &str) -> Place {
        self.in_contract(service, operation, |(id, _)| id)
    }

    /// The key of the operation's path in the contract.
    pub(super) fn path(&self, service: &str, operation: &str) -> Place {
        self.in_contract(service, operation, |(_, path)| path)
    }

    fn in_contract(&self, service: &str, operation: &str, which: fn((Span, Span)) -> Span) -> Place {
        let found = self.services.get(service).and_then(|folder| {
            Some(in_document(folder.contract?, which(*folder.operations.get(operation)?)))
        });
        found.unwrap_or_else(|| Place::directory(&format!("services/{service}")))
    }

    /// The value of a rule of an operation in the service's settings.
    pub(super) fn rule(&self, service: &str, operation: &str, key: &str) -> Option<Place> {
        let document = self.services.get(service)?.settings?;
        let rule = document.root.find("operations")?.find(operation)?.find(key)?;
        Some(in_document(document, rule.at))
    }
}

impl Places<'_> {
    /// The name of a limit in the service's settings.
    pub(super) fn limit(&self, service: &str, limit: &str) -> Place {
        let found = self.services.get(service).and_then(|folder| {
            let document = folder.settings?;
            let mut names =
                document.root.find("limits")?.as_list()?.iter().filter_map(|limit| limit.find("name"));
            Some(in_document(document, names.find(|name| name.as_text() == Some(limit))?.at))
        });
        found.unwrap_or_else(|| self.service(service))
    }

    /// A value of `shedding` in the service's settings.
    pub(super) fn load(&self, service: &str, key: &str) -> Place {
        let found = self.services.get(service).and_then(|folder| {
            let document = folder.settings?;
            Some(in_document(document, document.root.find("shedding")?.find(key)?.at))
        });
        found.unwrap_or_else(|| self.service(service))
    }
}

fn in_document(document: &Document<'_>, at: Span) -> Place {
    Place::of_range(&document.file.path, &document.file.text, at.range())
}

fn operations(root: &Node) -> impl Iterator<Item = (&str, (Span, Span))> {
    let items = root.find("paths").and_then(Node::as_map).unwrap_or_default();
    items.iter().flat_map(|(path, item)| {
        item.as_map().unwrap_or_default().iter().filter_map(|(_, operation)| {
            let id = operation.find("operationId")?;
            Some((id.as_text()?, (id.at, path.at)))
        })
    })
}
