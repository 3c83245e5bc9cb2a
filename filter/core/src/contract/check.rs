//! What must hold of an operation so that it can be judged by.

use super::{Content, ContractError, Operation, Parameter, Part, Writing};
use crate::limits::{FIELDS_MAX, MEDIA_TYPES_MAX, NEVER_MAX, PARAMETERS_MAX, RESPONSES_MAX};
use crate::schema::SchemaIndex;

pub(super) fn operation(operation: &Operation, schemas: usize) -> Result<(), ContractError> {
    at_most("parameters", operation.parameters.len(), PARAMETERS_MAX)?;
    if !operation.parameters.is_sorted_by(|one, other| (one.part, &one.name) < (other.part, &other.name)) {
        return Err(ContractError::Disordered { operation: operation.name.clone() });
    }
    for parameter in &operation.parameters {
        check_parameter(parameter, operation, schemas)?;
    }
    if let Some(body) = &operation.body {
        at_most("media types", body.media_types.len(), MEDIA_TYPES_MAX)?;
        for media in &body.media_types {
            check_content(&media.content, operation, schemas)?;
        }
    }
    let responses = &operation.responses;
    at_most("responses", responses.declared.len(), RESPONSES_MAX)?;
    at_most("names that responses never carry", responses.never_headers.len(), NEVER_MAX)?;
    at_most("names that responses never carry", responses.never_properties.len(), NEVER_MAX)?;
    if !responses.declared.is_sorted_by(|(one, _), (other, _)| one < other) {
        return Err(ContractError::Disordered { operation: operation.name.clone() });
    }
    for (_, rule) in &responses.declared {
        at_most("headers of a response", rule.headers.len(), RESPONSES_MAX)?;
        at_most("media types of a response", rule.media.len(), RESPONSES_MAX)?;
        for header in &rule.headers {
            check_parameter(header, operation, schemas)?;
        }
        for media in &rule.media {
            check_content(&media.content, operation, schemas)?;
        }
    }
    Ok(())
}

fn check_parameter(parameter: &Parameter, of: &Operation, schemas: usize) -> Result<(), ContractError> {
    let is_spread = matches!(
        parameter.writing,
        Writing::List { between: super::Between::Repeated, .. }
            | Writing::Object { written: super::ObjectWriting::Exploded | super::ObjectWriting::Deep, .. }
    );
    // Only pairs can be spread over several of them.
    if is_spread && matches!(parameter.part, Part::Path | Part::Header) {
        return Err(ContractError::Unwritable { operation: of.name.clone(), name: parameter.name.clone() });
    }
    check_writing(&parameter.writing, of)?;
    check_schema(parameter.schema, of, schemas)
}

fn check_writing(writing: &Writing, of: &Operation) -> Result<(), ContractError> {
    let Writing::Object { properties, .. } = writing else { return Ok(()) };
    at_most("properties of a parameter", properties.known.len(), FIELDS_MAX)?;
    if !properties.known.is_sorted_by(|(one, _), (other, _)| one < other) {
        return Err(ContractError::Disordered { operation: of.name.clone() });
    }
    Ok(())
}

fn check_content(content: &Content, of: &Operation, schemas: usize) -> Result<(), ContractError> {
    match content {
        Content::Opaque | Content::Json { schema: None } => Ok(()),
        Content::Json { schema: Some(schema) } => check_schema(*schema, of, schemas),
        Content::Form { form, schema } => {
            at_most("fields of a form", form.fields.len(), FIELDS_MAX)?;
            if !form.fields.is_sorted_by(|(one, _), (other, _)| one < other) {
                return Err(ContractError::Disordered { operation: of.name.clone() });
            }
            for (_, writing) in &form.fields {
                check_writing(writing, of)?;
            }
            check_schema(*schema, of, schemas)
        }
    }
}

fn check_schema(schema: SchemaIndex, of: &Operation, schemas: usize) -> Result<(), ContractError> {
    match usize::try_from(schema.0) {
        Ok(at) if at < schemas => Ok(()),
        _ => Err(ContractError::NoSuchSchema { operation: of.name.clone(), schema: schema.0 }),
    }
}

const fn at_most(what: &'static str, found: usize, max: usize) -> Result<(), ContractError> {
    if found > max { Err(ContractError::TooMany { what, found, max }) } else { Ok(()) }
}
