//! Reads the operations out of an OpenAPI document: methods, routes and which bodies they take.
//!
//! What is not read yet (schemas, parameters) is skipped; what cannot be kept as written is an error, never a guess.

use super::files::File;
use super::parsed;
use super::problem::{Place, Problem, Problems};
use palisade_core::contract::{BodyRule, MediaType, Operation, OperationClass};
use palisade_core::limits::{BODY_BYTES_MAX_DEFAULT, PATH_SEGMENTS_MAX};
use palisade_core::media;
use palisade_core::method::Method;
use palisade_core::path::Target;
use palisade_core::routes::Segment;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
struct Document {
    openapi: String,
    #[serde(default)]
    paths: BTreeMap<String, PathItem>,
    #[serde(default)]
    components: Components,
}

#[derive(Deserialize, Default)]
struct Components {
    #[serde(default, rename = "requestBodies")]
    request_bodies: BTreeMap<String, RequestBody>,
}

#[derive(Deserialize)]
struct PathItem {
    #[serde(rename = "$ref")]
    reference: Option<String>,
    get: Option<OperationObject>,
    head: Option<OperationObject>,
    post: Option<OperationObject>,
    put: Option<OperationObject>,
    patch: Option<OperationObject>,
    delete: Option<OperationObject>,
    options: Option<OperationObject>,
    trace: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct OperationObject {
    #[serde(rename = "operationId")]
    operation_id: Option<String>,
    #[serde(rename = "requestBody")]
    request_body: Option<RequestBody>,
}

#[derive(Deserialize, Clone)]
struct RequestBody {
    #[serde(rename = "$ref")]
    reference: Option<String>,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    content: BTreeMap<String, IgnoredAny>,
}

pub(super) fn read(document: &parsed::Document<'_>) -> Result<Vec<Operation>, Problems> {
    let file = document.file;
    let document: Document = serde_saphyr::from_str(&file.text)
        .map_err(|error| Problem::new(Place::file(&file.path), error.to_string()))?;
    let mut reading = Reading { file, problems: Problems::default(), ids: BTreeSet::new() };
    if !(document.openapi.starts_with("3.0.") || document.openapi.starts_with("3.1.")) {
        reading.wrong(
            &document.openapi,
            format!("unknown OpenAPI version `{}`", document.openapi),
            "expected 3.0.x or 3.1.x",
        );
    }
    let mut operations = Vec::new();
    for (path, item) in &document.paths {
        let Some(template) = reading.template(path) else { continue };
        if item.reference.is_some() {
            reading.wrong(
                path,
                format!("path `{path}` is a reference"),
                "write the path item here: references to path items are not followed",
            );
        }
        if item.trace.is_some() {
            reading.wrong(
                path,
                format!("path `{path}` declares TRACE"),
                "TRACE is never passed on; remove it",
            );
        }
        for (method, object) in item.methods() {
            operations.extend(reading.operation(path, &template, method, object, &document.components));
        }
    }
    if operations.is_empty() && reading.problems.is_empty() {
        reading.wrong(
            "paths",
            "the contract has no operations".to_owned(),
            "an empty contract refuses every request; declare at least one path",
        );
    }
    if reading.problems.is_empty() { Ok(operations) } else { Err(reading.problems) }
}

impl PathItem {
    fn methods(&self) -> impl Iterator<Item = (Method, &OperationObject)> {
        let all = [
            (Method::Get, &self.get),
            (Method::Head, &self.head),
            (Method::Post, &self.post),
            (Method::Put, &self.put),
            (Method::Patch, &self.patch),
            (Method::Delete, &self.delete),
            (Method::Options, &self.options),
        ];
        all.into_iter().filter_map(|(method, object)| Some((method, object.as_ref()?)))
    }
}

struct Reading<'f> {
    file: &'f File,
    problems: Problems,
    ids: BTreeSet<String>,
}

impl Reading<'_> {
    /// Reports a mistake at the first line that holds `near`, the text it is about.
    fn wrong(&mut self, near: &str, message: String, help: &str) {
        let place = match self.file.text.find(near) {
            Some(offset) => Place::of_offset(&self.file.path, &self.file.text, offset),
            None => Place::file(&self.file.path),
        };
        self.problems.push(Problem::new(place, message).help(help));
    }

    fn template(&mut self, path: &str) -> Option<Vec<Segment>> {
        let segments: Vec<&str> = path.split('/').collect();
        let Some(("", segments)) = segments.split_first().map(|(first, rest)| (*first, rest)) else {
            self.wrong(
                path,
                format!("path `{path}` does not begin with a slash"),
                "paths are absolute: `/orders`",
            );
            return None;
        };
        if segments.len() > PATH_SEGMENTS_MAX {
            self.wrong(
                path,
                format!("path `{path}` has more than {PATH_SEGMENTS_MAX} segments"),
                "no request with so many is let through",
            );
            return None;
        }
        let mut names = BTreeSet::new();
        let mut template = Vec::with_capacity(segments.len());
        for segment in segments {
            match parse_segment(segment) {
                Some(Segment::Parameter(name)) if !names.insert(name.clone()) => {
                    self.wrong(
                        path,
                        format!("path `{path}` has two parameters `{name}`"),
                        "give each its own name",
                    );
                    return None;
                }
                Some(segment) => template.push(segment),
                None => {
                    self.wrong(path, format!("segment `{segment}` of path `{path}` mixes text and a parameter, or is not a segment"), "a parameter takes a whole segment: `/orders/{orderId}`");
                    return None;
                }
            }
        }
        // A route that no accepted path can have would only look like protection.
        let sample: String = template
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => format!("/{text}"),
                Segment::Parameter(_) => "/x".to_owned(),
            })
            .collect();
        if let Err(reason) = Target::parse(sample.as_bytes()) {
            self.wrong(
                path,
                format!("no request can have path `{path}`: {}", reason.explains()),
                "change the path, or serve it without Palisade",
            );
            return None;
        }
        Some(template)
    }

    fn operation(
        &mut self,
        path: &str,
        template: &[Segment],
        method: Method,
        object: &OperationObject,
        components: &Components,
    ) -> Option<Operation> {
        let shown = format!("{} {path}", method.as_str());
        let Some(id) = object.operation_id.as_deref() else {
            self.wrong(path, format!("`{shown}` has no operationId"), "policies name operations by it");
            return None;
        };
        if !is_operation_id(id) {
            self.wrong(
                id,
                format!("operationId `{id}` of `{shown}` cannot be used"),
                "expected letters, digits, `_`, `-`, `.`, up to 128",
            );
            return None;
        }
        if !self.ids.insert(id.to_owned()) {
            self.wrong(id, format!("operationId `{id}` is used twice"), "each operation needs its own");
            return None;
        }
        let body = match &object.request_body {
            Some(body) => Some(self.body(&shown, body, components)?),
            None => None,
        };
        let class = match method {
            Method::Get | Method::Head | Method::Options => OperationClass::Read,
            Method::Post | Method::Put | Method::Patch => OperationClass::Write,
            Method::Delete => OperationClass::Delete,
        };
        Some(Operation { name: id.into(), method, class, template: template.to_vec(), upgrade: None, body })
    }

    fn body(&mut self, shown: &str, body: &RequestBody, components: &Components) -> Option<BodyRule> {
        let body = match &body.reference {
            None => body,
            Some(reference) => {
                let found = reference
                    .strip_prefix("#/components/requestBodies/")
                    .and_then(|name| components.request_bodies.get(name));
                let Some(found) = found.filter(|found| found.reference.is_none()) else {
                    self.wrong(
                        reference,
                        format!("`{reference}` in `{shown}` leads nowhere"),
                        "references stay within the document: `#/components/requestBodies/<name>`",
                    );
                    return None;
                };
                found
            }
        };
        let mut media_types = Vec::new();
        for essence in body.content.keys() {
            if essence.contains(['*', ';']) || !essence.contains('/') {
                self.wrong(
                    essence,
                    format!("content type `{essence}` of `{shown}` is not one media type"),
                    "name each accepted type: `application/json`",
                );
                return None;
            }
            let essence = essence.to_ascii_lowercase();
            media_types.push(MediaType { json: media::is_json(&essence), essence: essence.into() });
        }
        if media_types.is_empty() {
            self.wrong(
                "requestBody",
                format!("the request body of `{shown}` has no content types"),
                "name each accepted type: `application/json`",
            );
            return None;
        }
        Some(BodyRule { required: body.required, bytes_max: BODY_BYTES_MAX_DEFAULT, media_types })
    }
}

fn parse_segment(segment: &str) -> Option<Segment> {
    match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Some(Segment::Parameter(name.into())),
        Some(_) => None,
        None if segment.contains(['{', '}', '?', '#']) => None,
        None => Some(Segment::Literal(segment.into())),
    }
}

fn is_operation_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 128
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}
