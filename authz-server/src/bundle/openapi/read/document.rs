//! The document as a whole: its version, its paths, its components.

use super::references::{Kind, reference};
use super::servers::BasePath;
use super::{Fields, Reading, keys};
use crate::bundle::openapi::model::{Model, Operation, Version};
use crate::bundle::parsed::Document;
use crate::bundle::problem::{Problem, Problems};
use crate::bundle::record::Placed;
use crate::bundle::yaml::{Key, Node, Span, Value};
use palisade_core::method::Method;
use palisade_core::routes::Segment;

/// The dialect of JSON Schema that OpenAPI 3.1 has.
const DIALECTS: [&str; 2] =
    ["https://spec.openapis.org/oas/3.1/dialect/base", "https://json-schema.org/draft/2020-12/schema"];

/// Reads a contract. What was read is there even beside errors, so that what refers to it is not reported in turn.
pub(in crate::bundle) fn read(document: &Document<'_>, base: Option<BasePath>) -> (Option<Model>, Problems) {
    let mut reading = Reading::new(document.file, &document.root, Version::V31);
    let Some(version) = reading.version_of(&document.root) else { return (None, reading.finish()) };
    reading.version = version;
    let model = reading.document(&document.root, base);
    (model, reading.finish())
}

/// Reads the base path that `service.yaml` states.
pub(in crate::bundle) fn base_path(
    document: &Document<'_>,
    written: &Placed<String>,
) -> (Option<BasePath>, Problems) {
    let mut reading = Reading::new(document.file, &document.root, Version::V31);
    let base = reading.base_path_of(written.at, &written.value);
    (base, reading.finish())
}

impl<'d> Reading<'d> {
    fn version_of(&mut self, root: &'d Node) -> Option<Version> {
        if root.value == Value::Null {
            let place = self.place(root.at);
            self.push(Problem::new(place, "the contract is empty").help("expected an OpenAPI document"));
            return None;
        }
        self.map(root, "an OpenAPI document")?;
        let Some(node) = root.find("openapi") else {
            match root.find("swagger") {
                Some(node) => self.wrong(
                    node.at,
                    "this is Swagger 2.0, and contracts are read as OpenAPI 3.0 or 3.1",
                    "convert it once, for example with `npx swagger2openapi`, and keep the result",
                ),
                None => {
                    let place = self.place(Span::start_of(root.at));
                    let problem = Problem::new(place, "key `openapi` is missing");
                    self.push(problem.help("an OpenAPI document says its version: `openapi: 3.1.0`"));
                }
            }
            return None;
        };
        let written = self.text(node)?;
        let version = match written.split('.').collect::<Vec<_>>().as_slice() {
            ["3", "0", ..] => Some(Version::V30),
            ["3", "1", ..] => Some(Version::V31),
            _ => None,
        };
        if version.is_none() {
            self.wrong(node.at, format!("unknown OpenAPI version `{written}`"), "expected 3.0.x or 3.1.x");
        }
        version
    }

    fn document(&mut self, root: &'d Node, base: Option<BasePath>) -> Option<Model> {
        let fields = self.object(root, &keys::DOCUMENT)?;
        self.descriptions(fields);
        self.dialect(fields);
        let components = fields.find("components").and_then(|node| self.object(node, &keys::COMPONENTS));
        if let Some(components) = components {
            self.components(components);
        }
        let security = self.requirements(fields);
        let bases = Bases { fixed: base.is_some(), document: self.base_of(base, fields) };
        let mut paths: Vec<_> = self.patterned(fields.find("paths"), "the paths").collect();
        paths.sort_by(|(one, _), (other, _)| one.text.cmp(&other.text));
        let mut operations = Vec::new();
        let mut found = 0;
        for (path, item) in paths {
            found += self.path(path, item, &bases, &mut operations);
        }
        self.read_waiting();
        self.check_loops();
        self.check_routes(&operations);
        if found == 0 && self.count == 0 {
            self.no_operations(fields);
        }
        let operations = operations
            .into_iter()
            .map(|Placeable { mut operation, .. }| {
                operation.security = operation.security.take().or_else(|| security.clone());
                operation
            })
            .collect();
        let security_schemes = components.map(|fields| self.security_schemes(fields)).unwrap_or_default();
        Some(Model {
            version: self.version,
            operations,
            schemas: self.arena.take(),
            security_schemes,
            habits: self.habits(),
        })
    }

    fn no_operations(&mut self, fields: Fields<'d>) {
        let at = fields.entry("paths").map_or(Span::start_of(fields.at), |(key, _)| key.at);
        let help = match fields.has("webhooks") {
            true => {
                "webhooks are what the service sends, and nothing is let in by them; declare at least one path"
            }
            false => "an empty contract refuses every request; declare at least one path",
        };
        self.wrong(at, "the contract has no operations", help);
    }

    /// What only people read; its keys are checked all the same, since a rule may have slipped in there.
    fn descriptions(&mut self, fields: Fields<'d>) {
        if let Some(info) = fields.find("info").and_then(|node| self.object(node, &keys::INFO)) {
            for (key, keys) in [("contact", &keys::CONTACT), ("license", &keys::LICENSE)] {
                if let Some(node) = info.find(key) {
                    self.object(node, keys);
                }
            }
        }
        for tag in fields.find("tags").and_then(|node| self.list(node)).unwrap_or_default() {
            self.object(tag, &keys::TAG);
        }
        if let Some(node) = fields.find("externalDocs") {
            self.object(node, &keys::EXTERNAL_DOCS);
        }
    }

    fn dialect(&mut self, fields: Fields<'d>) {
        let Some(node) = fields.find("jsonSchemaDialect") else { return };
        let Some(written) = self.text(node) else { return };
        if !DIALECTS.contains(&written.trim_end_matches('#')) {
            let help = format!("expected `{}` or `{}`, or none of it", DIALECTS[0], DIALECTS[1]);
            self.wrong(node.at, format!("unknown dialect `{written}` of JSON Schema"), help);
        }
    }

    /// Everything under `components`, used or not: what is not used yet will be.
    fn components(&mut self, components: Fields<'d>) {
        self.named_schemas(components);
        for (_, node) in self.named(components.find("parameters"), "the parameters") {
            if let Some(node) = self.follow(node, Kind::Parameter) {
                self.parameter(node);
            }
        }
        for (_, node) in self.named(components.find("requestBodies"), "the request bodies") {
            if let Some(node) = self.follow(node, Kind::RequestBody) {
                self.request_body(node);
            }
        }
        for (_, node) in self.named(components.find("responses"), "the responses") {
            if let Some(node) = self.follow(node, Kind::Response) {
                self.response(node);
            }
        }
        for (_, node) in self.named(components.find("headers"), "the headers") {
            if let Some(node) = self.follow(node, Kind::Header) {
                self.header(node);
            }
        }
    }

    fn base_of(&mut self, stated: Option<BasePath>, fields: Fields<'d>) -> BasePath {
        match stated {
            Some(base) => base,
            None => self.base_path(fields.find("servers")).unwrap_or_default(),
        }
    }

    /// Reads the operations of one path, and says how many it has, also of those that cannot be used.
    fn path(&mut self, key: &'d Key, node: &'d Node, bases: &Bases, out: &mut Vec<Placeable>) -> usize {
        let Some(node) = self.path_item(key, node) else { return 0 };
        let Some(fields) = self.object(node, &keys::PATH_ITEM) else { return 0 };
        let template =
            self.template(key.at, &key.text).filter(|template| self.check_whole(key.at, &key.text, template));
        let own = if bases.fixed { None } else { self.base_path(fields.find("servers")) };
        let base = own.as_ref().unwrap_or(&bases.document);
        let shared = self.parameters(fields, template.as_deref());
        if let Some((trace, _)) = fields.entry("trace") {
            let message = format!("path `{}` declares TRACE", key.text);
            self.wrong(trace.at, message, "TRACE is never passed on; remove it");
        }
        let mut found = 0;
        for method in Method::ALL {
            let name = method.as_str().to_ascii_lowercase();
            let Some((at, object)) = fields.entry(&name) else { continue };
            found += 1;
            let scene =
                Scene { method, path: &key.text, template: template.as_deref(), shared: &shared, at: at.at };
            let Some(fields) = self.object(object, &keys::OPERATION) else { continue };
            // It stands in another file, and so does all that would seem to be missing.
            if fields.has("$ref") {
                continue;
            }
            let own = if bases.fixed { None } else { self.base_path(fields.find("servers")) };
            let base = own.as_ref().unwrap_or(base);
            if let Some(operation) = self.operation(scene, fields, base) {
                out.push(Placeable { operation, at: key.at });
            }
        }
        found
    }

    fn path_item(&mut self, key: &'d Key, node: &'d Node) -> Option<&'d Node> {
        if reference(node).is_none() {
            return Some(node);
        }
        if self.version == Version::V30 {
            let message =
                format!("path `{}` is a reference, which OpenAPI 3.0 has for other files only", key.text);
            let help = "write the path item here, or use OpenAPI 3.1 and `#/components/pathItems/<name>`";
            self.wrong(key.at, message, help);
            return None;
        }
        self.follow(node, Kind::PathItem)
    }
}

/// The base path that holds where a path or an operation has no servers of its own.
struct Bases {
    document: BasePath,
    /// Whether `service.yaml` states it: then no server counts.
    fixed: bool,
}

/// An operation with the place of its path.
pub(super) struct Placeable {
    pub(super) operation: Operation,
    pub(super) at: Span,
}

/// What an operation's place in the document says of it.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a, 'd> {
    pub(super) method: Method,
    pub(super) path: &'d str,
    /// `None`: the path is none that can be matched, which was reported.
    pub(super) template: Option<&'a [Segment]>,
    pub(super) shared: &'a super::operation::Parameters,
    /// Where the method stands.
    pub(super) at: Span,
}
