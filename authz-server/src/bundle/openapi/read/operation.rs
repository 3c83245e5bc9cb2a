//! Operations: their names, the parameters that apply to them, and what they take and give.

use super::document::Scene;
use super::references::Kind;
use super::servers::BasePath;
use super::{Fields, Reading};
use crate::bundle::lints::Lint;
use crate::bundle::openapi::model::{Operation, Parameter, ParameterPart, RequestBody, Response, Status};
use crate::bundle::problem::Problem;
use crate::bundle::yaml::{Key, Span};
use palisade_core::method::Method;
use palisade_core::routes::Segment;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longer ones fit on no line of a ledger or a dashboard.
const ID_BYTES_MAX: usize = 128;

/// Parameters as they are told apart, and whether all of them could be read.
pub(super) struct Parameters {
    list: BTreeMap<(ParameterPart, Box<str>), Arc<Parameter>>,
    whole: bool,
}

impl<'d> Reading<'d> {
    pub(super) fn operation(
        &mut self,
        scene: Scene<'_, 'd>,
        fields: Fields<'d>,
        base: &BasePath,
    ) -> Option<Operation> {
        let id = self.operation_id(scene, fields);
        let parameters = self.merged_parameters(scene, fields);
        let body = self.body_of(fields);
        let responses = self.responses(fields);
        let security = self.requirements(fields);
        let deprecated = self.flag(fields, "deprecated");
        if let Some(node) = fields.find("externalDocs") {
            self.object(node, &super::keys::EXTERNAL_DOCS);
        }
        let template: Vec<Segment> = base.segments.iter().chain(scene.template?).cloned().collect();
        let path = format!("{}{}", base.text, scene.path);
        if !base.segments.is_empty() && !self.check_whole(scene.at, &path, &template) {
            return None;
        }
        Some(Operation {
            id: id?,
            method: scene.method,
            path: path.into(),
            template,
            deprecated,
            parameters,
            body: body?,
            responses,
            security,
        })
    }

    fn operation_id(&mut self, scene: Scene<'_, 'd>, fields: Fields<'d>) -> Option<Box<str>> {
        let Scene { method, path, at, .. } = scene;
        let Some(node) = fields.find("operationId") else {
            let message = format!("`{} {path}` has no operationId", method.as_str());
            let help =
                format!("policies name operations by it; write `operationId: {}`", proposed_id(method, path));
            self.wrong(at, message, help);
            return None;
        };
        let id = self.text(node)?;
        if !is_operation_id(id) {
            let message = format!("operationId `{id}` of `{} {path}` cannot be used", method.as_str());
            let help = format!("expected letters, digits and any of `_-.:/#@+~`, up to {ID_BYTES_MAX}");
            self.wrong(node.at, message, help);
            return None;
        }
        if let Some(first) = self.known.ids.insert(id, node.at) {
            let line = self.place(first).line.unwrap_or_default();
            let message = format!("operationId `{id}` is used twice, first in line {line}");
            self.wrong(node.at, message, "each operation needs its own");
            return None;
        }
        Some(id.into())
    }

    /// One list of parameters.
    pub(super) fn parameters(&mut self, fields: Fields<'d>, template: Option<&[Segment]>) -> Parameters {
        let mut parameters = Parameters { list: BTreeMap::new(), whole: true };
        let Some(node) = fields.find("parameters") else { return parameters };
        for item in self.list(node).unwrap_or_default() {
            let read = self.follow(item, Kind::Parameter).and_then(|node| self.parameter(node));
            let Some(parameter) = read else {
                parameters.whole = false;
                continue;
            };
            if is_ignored(&parameter) {
                let message =
                    format!("the header `{}` is no parameter: OpenAPI ignores it here", parameter.name);
                let help = "`accept` and `content-type` follow from the media types, `authorization` from `security`; remove it";
                self.lint(item.at, Lint::HeaderIgnored, message, help);
                continue;
            }
            self.check_template(item.at, &parameter, template);
            let key = (parameter.part, parameter.name.clone());
            if parameters.list.contains_key(&key) {
                let message = format!("the {} parameter `{}` is declared twice", key.0.as_str(), key.1);
                self.wrong(item.at, message, "keep one: which of two would count is a guess");
            }
            parameters.list.insert(key, parameter);
        }
        parameters
    }

    fn check_template(&mut self, at: Span, parameter: &Parameter, template: Option<&[Segment]>) {
        let Some(template) = template.filter(|_| parameter.part == ParameterPart::Path) else { return };
        let names = || {
            template.iter().filter_map(|segment| match segment {
                Segment::Parameter(name) => Some(name.as_ref()),
                Segment::Literal(_) => None,
            })
        };
        if names().any(|name| name == &*parameter.name) {
            return;
        }
        let names: Vec<_> = names().map(|name| format!("`{{{name}}}`")).collect();
        let help = match names.is_empty() {
            true => "the path has no parameters; did you mean `in: query`?".to_owned(),
            false => format!("the path has {}", names.join(", ")),
        };
        let message = format!("path parameter `{}` does not stand in the path", parameter.name);
        self.wrong(at, message, help);
    }

    fn merged_parameters(&mut self, scene: Scene<'_, 'd>, fields: Fields<'d>) -> Vec<Arc<Parameter>> {
        let own = self.parameters(fields, scene.template);
        let mut all = scene.shared.list.clone();
        all.extend(own.list);
        // Where one could not be read, one that seems to be missing may be that one.
        if scene.shared.whole && own.whole {
            for segment in scene.template.unwrap_or_default() {
                let Segment::Parameter(name) = segment else { continue };
                if !all.contains_key(&(ParameterPart::Path, name.clone())) {
                    let shown = format!("{} {}", scene.method.as_str(), scene.path);
                    let message = format!("`{shown}` does not declare its path parameter `{name}`");
                    let help = format!(
                        "add `{{name: {name}, in: path, required: true, schema: {{type: string}}}}` to `parameters`"
                    );
                    self.wrong(scene.at, message, help);
                }
            }
        }
        all.into_values().collect()
    }

    /// The outer `None`: there is one, and it could not be read.
    fn body_of(&mut self, fields: Fields<'d>) -> Option<Option<Arc<RequestBody>>> {
        match fields.find("requestBody") {
            None => Some(None),
            Some(node) => {
                self.follow(node, Kind::RequestBody).and_then(|node| self.request_body(node)).map(Some)
            }
        }
    }

    fn responses(&mut self, fields: Fields<'d>) -> Vec<(Status, Arc<Response>)> {
        let mut responses = Vec::new();
        for (key, node) in self.patterned(fields.find("responses"), "the responses") {
            let status = self.status(key);
            let response = self.follow(node, Kind::Response).and_then(|node| self.response(node));
            responses.extend(status.zip(response));
        }
        responses.sort_by_key(|(status, _)| *status);
        responses
    }

    fn status(&mut self, key: &Key) -> Option<Status> {
        let class = |text: &str| match text.as_bytes() {
            [digit @ b'1'..=b'5', b'X', b'X'] => Some(Status::Class(digit - b'0')),
            _ => None,
        };
        let exact = key.text.parse::<u16>().ok().filter(|status| (100..600).contains(status));
        let status = match key.text.as_str() {
            "default" => Some(Status::Default),
            text => exact.map(Status::Exact).or_else(|| class(text)),
        };
        if status.is_none() {
            let mut problem = Problem::new(self.place(key.at), format!("`{}` is no status", key.text))
                .help("expected one from `100` to `599`, a class such as `4XX`, or `default`");
            problem.suggestion = class(&key.text.to_ascii_uppercase()).map(|class| class.to_string());
            self.push(problem);
        }
        status
    }
}

/// Headers that OpenAPI does not let parameters describe.
fn is_ignored(parameter: &Parameter) -> bool {
    parameter.part == ParameterPart::Header
        && matches!(&*parameter.name, "accept" | "content-type" | "authorization")
}

fn is_operation_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/#@+~".contains(&byte);
    !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(allowed)
}

/// A name that an operation could have: `getOrdersByOrderId`.
fn proposed_id(method: Method, path: &str) -> String {
    let mut id = method.as_str().to_ascii_lowercase();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        if segment.starts_with('{') {
            id.push_str("By");
        }
        for word in segment.split(|character: char| !character.is_ascii_alphanumeric()) {
            let mut letters = word.chars();
            id.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            id.extend(letters);
        }
    }
    id
}
