//! What one operation takes and gives.

use super::settings::{OperationTerms, Responses};
use super::writing::{properties, styled, types_of, writing};
use crate::bundle::openapi::{
    self, Header, Media, Model, Operation, ParameterForm, ParameterPart, Style, TypeSet,
};
use crate::bundle::schemas::{Compiler, Direction, Located, Origin, ServiceSchemas};
use palisade_core::contract::{
    Between, Content, Enforcement, Form, ObjectWriting, Parameter, Part, ResponseMedia, ResponseRule,
    ResponseRules, Shadows, Status, Writing,
};
use palisade_core::json::Numbers;
use palisade_core::media;
use std::collections::BTreeMap;

const UNREADABLE: &str =
    "describe the value as one text, or as a document by `content: {application/json: …}`";

/// The parts of an operation that come of its contract.
pub(super) struct Compiled {
    parameters: Vec<Parameter>,
    /// By media type.
    contents: Vec<(Box<str>, Content)>,
    numbers: Numbers,
    responses: ResponseRules,
    shadows: Shadows,
}

impl Compiled {
    pub(super) fn put_into(self, operation: &mut palisade_core::contract::Operation) {
        operation.parameters = self.parameters.into();
        *operation.responses = self.responses;
        operation.shadows = self.shadows;
        let Some(body) = &mut operation.body else { return };
        body.numbers = self.numbers;
        for (essence, content) in self.contents {
            body.media_types
                .iter_mut()
                .filter(|media| media.essence == essence)
                .for_each(|media| media.content = content.clone());
        }
    }
}

/// An operation that is being compiled.
struct Here<'c, 'm> {
    compiler: &'c mut Compiler<'m>,
    model: &'m Model,
    service: ServiceSchemas,
    id: &'m str,
}

pub(super) fn terms<'m>(
    compiler: &mut Compiler<'m>,
    service: ServiceSchemas,
    model: &'m Model,
    operation: &'m Operation,
    settings: &OperationTerms,
) -> Compiled {
    let mut here = Here { compiler, model, service, id: &operation.id };
    let mut parameters = Vec::new();
    for declared in &operation.parameters {
        let part = match declared.part {
            ParameterPart::Path => Part::Path,
            ParameterPart::Query => Part::Query,
            ParameterPart::Header => Part::Header,
            ParameterPart::Cookie => Part::Cookie,
        };
        let way = format!("{} parameter `{}`", declared.part.as_str(), declared.name);
        let form = &declared.form;
        if let Some((writing, schema)) = here.parameter(form, part, Direction::Request, &way) {
            parameters.push(Parameter {
                part,
                name: declared.name.clone(),
                required: declared.required,
                allow_empty: declared.allow_empty,
                writing,
                schema,
            });
        }
    }
    parameters.sort_by(|one, other| (one.part, &one.name).cmp(&(other.part, &other.name)));
    let media = operation.body.iter().flat_map(|body| &body.media);
    let contents =
        media.map(|media| (media.essence.clone(), here.content(media, Direction::Request, "body"))).collect();
    Compiled {
        parameters,
        contents,
        numbers: settings.numbers,
        responses: here.responses(operation, settings),
        shadows: settings.shadows.clone(),
    }
}

impl<'m> Here<'_, 'm> {
    fn at(&self, way: &str) -> Located {
        Located {
            service: self.service,
            origin: Origin::Operation(self.id.into()),
            way: format!("operation `{}`, {way}", self.id),
        }
    }

    fn parameter(
        &mut self,
        form: &ParameterForm,
        part: Part,
        direction: Direction,
        way: &str,
    ) -> Option<(Writing, palisade_core::schema::SchemaIndex)> {
        let at = self.at(way);
        let written = writing(self.model, form).and_then(|writing| match (&writing, part) {
            (Writing::List { between: Between::Repeated, .. }, Part::Cookie)
            | (Writing::Object { written: ObjectWriting::Exploded, .. }, Part::Cookie) => {
                Err("what is spread over several cookies has no form that all agree on".to_owned())
            }
            _ => Ok(writing),
        });
        match written {
            Ok(writing) => Some((writing, self.compiler.schema(form.schema(), direction, &at))),
            Err(why) => {
                self.compiler.refuse_at(&at, why, UNREADABLE);
                None
            }
        }
    }

    fn content(&mut self, media: &Media, direction: Direction, way: &str) -> Content {
        let at = self.at(&format!("{way} `{}`", media.essence));
        if media::is_json(&media.essence) {
            return Content::Json { schema: Some(self.compiler.schema(media.schema, direction, &at)) };
        }
        if *media.essence == *media::FORM && direction == Direction::Request {
            let form = Box::new(self.form(media, &at));
            return Content::Form { form, schema: self.compiler.schema(media.schema, direction, &at) };
        }
        Content::Opaque
    }

    fn form(&mut self, media: &Media, at: &Located) -> Form {
        let types = types_of(self.model, media.schema);
        if types == TypeSet::ANY || !types.meets(TypeSet::OBJECT) {
            if types != TypeSet::ANY {
                let help = "a form has fields: describe it as an object";
                self.compiler.refuse_at(at, format!("a form is an object, and its schema is {types}"), help);
            }
            return Form::default();
        }
        let mut fields: BTreeMap<Box<str>, Writing> = BTreeMap::new();
        for (name, schema) in properties(self.model, media.schema) {
            let encoding =
                media.encoding.iter().find(|(known, _)| *known == name).map(|(_, encoding)| encoding);
            let says_json = encoding
                .is_some_and(|encoding| encoding.content_types.iter().any(|essence| media::is_json(essence)));
            let style = encoding.and_then(|encoding| encoding.style);
            let explode = encoding
                .and_then(|encoding| encoding.explode)
                .unwrap_or(style.is_none_or(|style| style == Style::Form));
            let types = types_of(self.model, schema);
            let is_object =
                types != TypeSet::ANY && types.meets(TypeSet::OBJECT) && !types.meets(TypeSet::ARRAY);
            // OpenAPI's own default for an object among the fields.
            let written = if says_json || (is_object && style.is_none()) {
                Ok(Writing::Json)
            } else {
                styled(self.model, style.unwrap_or(Style::Form), explode, schema)
            };
            match written {
                Ok(writing) => _ = fields.insert(name, writing),
                Err(why) => {
                    let at = Located { way: format!("{}, field `{name}`", at.way), ..at.clone() };
                    let help = "say by `encoding` that it is `contentType: application/json`, or describe it as one text";
                    self.compiler.refuse_at(&at, why, help);
                }
            }
        }
        Form { fields: fields.into_iter().collect() }
    }

    fn responses(&mut self, operation: &Operation, settings: &OperationTerms) -> ResponseRules {
        let Responses { head, body, sample, bytes_max, never_headers, never_properties } =
            settings.responses.clone();
        // A contract that says nothing of responses cannot be broken by one.
        let head =
            if operation.responses.is_empty() && never_headers.is_empty() { Enforcement::Off } else { head };
        let mut rules = ResponseRules {
            head,
            body,
            sample,
            bytes_max,
            numbers: Numbers::Any,
            declared: Vec::new(),
            never_headers,
            never_properties,
        };
        if rules.is_off() {
            return rules;
        }
        for (status, response) in &operation.responses {
            let way = format!("response {status}");
            let rule = ResponseRule {
                headers: response.headers.iter().filter_map(|header| self.header(header, &way)).collect(),
                media: self.response_media(&response.media, &way),
            };
            let status = match status {
                openapi::Status::Exact(status) => Status::Exact(*status),
                openapi::Status::Class(class) => Status::Class(*class),
                openapi::Status::Default => Status::Other,
            };
            rules.declared.push((status, rule));
        }
        rules.declared.sort_by_key(|(status, _)| *status);
        rules
    }

    fn header(&mut self, header: &Header, way: &str) -> Option<Parameter> {
        let way = format!("{way}, header `{}`", header.name);
        let (writing, schema) = self.parameter(&header.form, Part::Header, Direction::Response, &way)?;
        Some(Parameter {
            part: Part::Header,
            name: header.name.clone(),
            required: header.required,
            allow_empty: false,
            writing,
            schema,
        })
    }

    /// Exact types before ranges, and those before what means all of them.
    fn response_media(&mut self, media: &[Media], way: &str) -> Vec<ResponseMedia> {
        let breadth = |essence: &str| match essence {
            "*/*" => 2,
            range if range.ends_with("/*") => 1,
            _ => 0,
        };
        let mut media: Vec<&Media> = media.iter().collect();
        media.sort_by_key(|media| breadth(&media.essence));
        media
            .into_iter()
            .map(|media| ResponseMedia {
                range: media.essence.clone(),
                content: self.content(media, Direction::Response, way),
            })
            .collect()
    }
}
