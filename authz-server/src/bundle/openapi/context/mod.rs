//! What policies may ask of each operation: all path and query parameters, and the headers and body fields that
//! `service.yaml` names.
//!
//! INVARIANT: a field has one kind in every request that the contract accepts, or it is not offered; one that
//! `service.yaml` asks for and that cannot be offered is an error that says why.

mod body;
mod kind;

pub(in crate::bundle) use body::pointer as body_pointer;

use super::model::{Model, Operation, Parameter, ParameterForm, ParameterPart, Style};
use crate::bundle::context::{ContextField, ContextPart, ListStyle, OperationContext, ValueKind};
use crate::bundle::format::ContextRules;
use crate::bundle::problem::Problem;
use crate::bundle::record::{Placed, Reader};
use crate::ledger::HeaderName;
use kind::kind_of;

/// The context of one operation. What is wrong with its rules is reported in `service.yaml`.
pub(in crate::bundle) fn context(
    model: &Model,
    operation: &Operation,
    rules: Option<&ContextRules>,
    credentials: &[Box<str>],
    reader: &mut Reader<'_>,
) -> OperationContext {
    let mut fields: Vec<_> = operation
        .parameters
        .iter()
        .filter_map(|parameter| {
            let part = match parameter.part {
                ParameterPart::Path => ContextPart::Path,
                ParameterPart::Query => ContextPart::Query,
                ParameterPart::Header | ParameterPart::Cookie => return None,
            };
            field_of(model, parameter, part).ok()
        })
        .collect();
    if let Some(rules) = rules {
        for header in &rules.headers {
            match HeaderName::new(&header.value, credentials) {
                Ok(name) => fields.extend(header_field(model, operation, (header, name), &fields, reader)),
                Err(error) => {
                    let help =
                        "what policies may ask stands in the ledger; let them ask who the caller is instead";
                    reader.wrong(header.at, error.to_string(), help);
                }
            }
        }
        fields.extend(body::fields(model, operation, &rules.body, reader));
    }
    fields.sort_by(|one, other| (one.part, &one.keys).cmp(&(other.part, &other.keys)));
    OperationContext::new(fields)
}

/// The field of a parameter, or why it can be none.
fn field_of(model: &Model, parameter: &Parameter, part: ContextPart) -> Result<ContextField, String> {
    let ParameterForm::Styled { style, explode, schema, .. } = parameter.form else {
        return Err("its value is a document, and not one value".to_owned());
    };
    let found = kind_of(model, &[schema])?;
    let list = match (style, explode) {
        (Style::DeepObject, _) => return Err("its style is that of an object".to_owned()),
        (Style::Form | Style::SpaceDelimited | Style::PipeDelimited, true) => ListStyle::Repeated,
        (Style::Simple | Style::Form, _) => ListStyle::Commas,
        (Style::SpaceDelimited, false) => ListStyle::Spaces,
        (Style::PipeDelimited, false) => ListStyle::Pipes,
    };
    let list = if matches!(found.kind, ValueKind::Set(_)) { list } else { ListStyle::default() };
    // `limit=` is sent, and is no number.
    let empty = parameter.allow_empty && found.kind != ValueKind::String;
    Ok(ContextField {
        part,
        keys: vec![parameter.name.to_string()],
        kind: found.kind,
        required: parameter.required && !empty,
        list,
        mask: None,
    })
}

fn header_field(
    model: &Model,
    operation: &Operation,
    (selected, name): (&Placed<String>, HeaderName),
    taken: &[ContextField],
    reader: &mut Reader<'_>,
) -> Option<ContextField> {
    let name: String = name.into();
    let headers = || operation.parameters.iter().filter(|parameter| parameter.part == ParameterPart::Header);
    if taken.iter().any(|field| field.part == ContextPart::Header && field.keys.iter().eq([&name])) {
        reader.wrong(selected.at, format!("header `{name}` is named twice"), "keep one");
        return None;
    }
    let Some(parameter) = headers().find(|parameter| *parameter.name == *name) else {
        let message = format!("operation `{}` declares no header `{name}`", operation.id);
        let help = match name.as_str() {
            "accept" | "content-type" | "authorization" => {
                "OpenAPI does not let a parameter describe this header, so its value was not checked"
            }
            _ => "declare it in the contract, among the operation's `parameters` with `in: header`",
        };
        let problem = Problem::new(reader.place(selected.at), message).help(help);
        reader.push(problem.suggest(&name, headers().map(|parameter| &*parameter.name)));
        return None;
    };
    match field_of(model, parameter, ContextPart::Header) {
        Ok(field) => Some(field),
        Err(why) => {
            let message = format!("header `{name}` cannot be asked for by policies: {why}");
            reader.wrong(selected.at, message, "remove it here, or mend its schema in the contract");
            None
        }
    }
}
