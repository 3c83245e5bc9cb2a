//! Parameters and headers: where they stand and how their values are written.

use super::{Fields, Reading, keys};
use crate::bundle::openapi::model::{Parameter, ParameterForm, ParameterPart, Style};
use crate::bundle::problem::Problem;
use crate::bundle::yaml::{Node, Span};
use palisade_core::path::Target;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::sync::Arc;

/// A header without its name, which is the key that it stands under.
#[derive(Debug, Clone)]
pub(super) struct HeaderContent {
    pub(super) required: bool,
    pub(super) form: ParameterForm,
}

impl<'d> Reading<'d> {
    /// A parameter that is no reference.
    pub(super) fn parameter(&mut self, node: &'d Node) -> Option<Arc<Parameter>> {
        if let Some(known) = self.known.parameters.get(&node.at) {
            return known.clone();
        }
        let parameter = self.new_parameter(node).map(Arc::new);
        self.known.parameters.insert(node.at, parameter.clone());
        parameter
    }

    fn new_parameter(&mut self, node: &'d Node) -> Option<Parameter> {
        let fields = self.object(node, &keys::PARAMETER)?;
        let part = self.part(fields);
        let name = self.parameter_name(fields, part);
        let form = self.form(fields, part.unwrap_or(ParameterPart::Query));
        let required = self.flag(fields, "required");
        if part == Some(ParameterPart::Path) && !required {
            let at = fields.find("required").map_or(Span::start_of(fields.at), |node| node.at);
            let message = match name.as_deref() {
                Some(name) => format!("path parameter `{name}` is not required"),
                None => "a path parameter is not required".to_owned(),
            };
            self.wrong(at, message, "a path without it is another path; write `required: true`");
        }
        Some(Parameter {
            part: part?,
            name: name?,
            required,
            deprecated: self.flag(fields, "deprecated"),
            allow_empty: self.flag(fields, "allowEmptyValue"),
            form: form?,
        })
    }

    fn part(&mut self, fields: Fields<'d>) -> Option<ParameterPart> {
        const PARTS: [&str; 4] = ["path", "query", "header", "cookie"];
        let Some(node) = fields.find("in") else {
            let place = self.place(Span::start_of(fields.at));
            let problem = Problem::new(place, "this parameter does not say where it stands");
            self.push(problem.help("write `in` with `path`, `query`, `header` or `cookie`"));
            return None;
        };
        match self.text(node)? {
            "path" => Some(ParameterPart::Path),
            "query" => Some(ParameterPart::Query),
            "header" => Some(ParameterPart::Header),
            "cookie" => Some(ParameterPart::Cookie),
            other => {
                let help = match other {
                    "body" | "formData" => "OpenAPI 3 has `requestBody` instead",
                    "querystring" => "it belongs to OpenAPI 3.2, which is not read yet",
                    _ => "expected `path`, `query`, `header` or `cookie`",
                };
                let problem = Problem::new(self.place(node.at), format!("no parameter stands in `{other}`"));
                self.push(problem.suggest(other, PARTS).help(help));
                None
            }
        }
    }

    fn parameter_name(&mut self, fields: Fields<'d>, part: Option<ParameterPart>) -> Option<Box<str>> {
        let Some(node) = fields.find("name") else {
            let place = self.place(Span::start_of(fields.at));
            self.push(Problem::new(place, "this parameter has no `name`"));
            return None;
        };
        let name = self.text(node)?;
        if part == Some(ParameterPart::Query) {
            let query = format!("/?{}=", utf8_percent_encode(name, NON_ALPHANUMERIC));
            if let Err(reason) = Target::parse(query.as_bytes()) {
                let message =
                    format!("no request can have the query parameter `{name}`: {}", reason.explains());
                self.wrong(node.at, message, "rename it, or serve the operation without Palisade");
                return None;
            }
        }
        if part != Some(ParameterPart::Header) && !name.is_empty() {
            return Some(name.into());
        }
        self.header_name(node.at, name)
    }

    pub(super) fn header_name(&mut self, at: Span, name: &str) -> Option<Box<str>> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            self.wrong(at, format!("`{name}` is not a name"), "expected one such as `x-request-id`");
            return None;
        }
        Some(name.to_ascii_lowercase().into())
    }

    /// How the value is written, and its schema.
    fn form(&mut self, fields: Fields<'d>, part: ParameterPart) -> Option<ParameterForm> {
        match (fields.find("schema"), fields.find("content")) {
            (Some(_), Some(content)) => {
                let message = "a parameter has either a `schema` or `content`";
                self.wrong(content.at, message, "keep `content` where the value is a document, such as JSON");
                None
            }
            (None, None) => {
                let place = self.place(Span::start_of(fields.at));
                let problem = Problem::new(place, "this parameter has no `schema`");
                self.push(problem.help("write `schema: {type: string}`, or what its values are"));
                None
            }
            (None, Some(content)) => {
                let mut media = self.content_of_parameter(content);
                if media.len() != 1 {
                    let message = format!("`content` of a parameter has {} media types", media.len());
                    self.wrong(content.at, message, "expected one");
                    return None;
                }
                media
                    .pop()
                    .map(|media| ParameterForm::Content { essence: media.essence, schema: media.schema })
            }
            (Some(schema), None) => {
                let schema = self.schema(schema);
                let style = self.style(fields, part)?;
                let explode = self.flag_or(fields, "explode", style == Style::Form);
                let allow_reserved = self.flag(fields, "allowReserved");
                Some(ParameterForm::Styled { style, explode, allow_reserved, schema })
            }
        }
    }

    fn style(&mut self, fields: Fields<'d>, part: ParameterPart) -> Option<Style> {
        let allowed: &[Style] = match part {
            ParameterPart::Path | ParameterPart::Header => &[Style::Simple],
            ParameterPart::Query => {
                &[Style::Form, Style::SpaceDelimited, Style::PipeDelimited, Style::DeepObject]
            }
            ParameterPart::Cookie => &[Style::Form],
        };
        let Some(node) = fields.find("style") else { return allowed.first().copied() };
        let written = self.text(node)?;
        let style = allowed.iter().copied().find(|style| style.as_str() == written);
        if style.is_none() {
            let names: Vec<_> = allowed.iter().map(|style| format!("`{}`", style.as_str())).collect();
            let expected = format!("expected {}", names.join(", "));
            let help = match written {
                "matrix" => format!("{expected}: a semicolon in a path has two readings and is refused"),
                "label" => format!("{expected}: the dot before the value would be read as a part of it"),
                _ => expected,
            };
            let message = format!("a {} parameter cannot have style `{written}`", part.as_str());
            let problem = Problem::new(self.place(node.at), message).help(help);
            self.push(problem.suggest(written, allowed.iter().map(|style| style.as_str())));
        }
        style
    }

    pub(super) fn encoding_style(&mut self, fields: Fields<'d>) -> Option<Style> {
        fields.find("style")?;
        self.style(fields, ParameterPart::Query)
    }

    /// A header that is no reference.
    pub(super) fn header(&mut self, node: &'d Node) -> Option<HeaderContent> {
        if let Some(known) = self.known.headers.get(&node.at) {
            return known.clone();
        }
        let header = self.object(node, &keys::HEADER).and_then(|fields| {
            let required = self.flag(fields, "required");
            let form = self.form(fields, ParameterPart::Header)?;
            Some(HeaderContent { required, form })
        });
        self.known.headers.insert(node.at, header.clone());
        header
    }
}
