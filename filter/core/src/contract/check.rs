//! What must hold of an operation and of rate limits so that requests can be judged by them.

use super::{
    Content, ContractError, Operation, Parameter, Part, RateKey, RateLimit, Service, ShedMode, Shedding,
    Writing,
};
use crate::handoff;
use crate::head::is_sound_name;
use crate::limits::{
    FIELDS_MAX, MEDIA_TYPES_MAX, NEVER_MAX, PARAMETERS_MAX, RATE_KEYS_MAX, RATE_LIMITS_MAX,
    RATE_PERIOD_MS_MAX, RATE_REQUESTS_MAX, RESPONSES_MAX,
};
use crate::schema::SchemaIndex;
use std::collections::BTreeSet;

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

pub(super) fn shedding(
    shedding: &Shedding,
    service: &Service,
    identity_headers: &[Box<str>],
) -> Result<(), ContractError> {
    at_most("rate limits", shedding.limits.len(), RATE_LIMITS_MAX)?;
    let operations = service.operations.iter().map(|operation| &*operation.name).collect();
    for (at, limit) in shedding.limits.iter().enumerate() {
        let is_known = shedding.limits.iter().take(at).any(|known| known.name == limit.name);
        let unsound =
            if is_known { Some("is declared twice") } else { unsound(limit, &operations, identity_headers) };
        if let Some(why) = unsound {
            let (service, limit) = (service.name.clone(), limit.name.clone());
            return Err(ContractError::LimitUnsound { service, limit, why });
        }
    }
    Ok(())
}

fn unsound(
    limit: &RateLimit,
    operations: &BTreeSet<&str>,
    identity_headers: &[Box<str>],
) -> Option<&'static str> {
    let is_credential =
        |key: &RateKey| matches!(key, RateKey::Header(name) if identity_headers.contains(name));
    let is_twice =
        limit.by.iter().enumerate().any(|(at, key)| limit.by.iter().take(at).any(|known| known == key));
    let unsound = [
        (limit.name.is_empty(), "has no name"),
        (limit.mode == ShedMode::Off, "is off, and does not belong into a compiled contract"),
        (limit.per_ms == 0, "counts in no time"),
        (limit.per_ms > RATE_PERIOD_MS_MAX, "counts in more than an hour"),
        (
            limit.requests > RATE_REQUESTS_MAX || limit.burst > RATE_REQUESTS_MAX,
            "lets more pass than can be counted",
        ),
        // Zero lets nothing pass, and everything else lets one pass at last.
        ((limit.requests == 0) != (limit.burst == 0), "has a burst that does not fit its rate"),
        (limit.by.len() > RATE_KEYS_MAX, "has too many keys"),
        (is_twice, "has a key twice"),
        (!limit.by.iter().all(is_key), "counts by a header that no request can have"),
        (limit.by.iter().any(is_credential), "counts by a header that carries an identity"),
        (
            !limit.operations.iter().all(|name| operations.contains(&**name)),
            "names an operation that is not there",
        ),
        (!limit.operations.is_sorted_by(|one, other| one < other), "names operations out of their order"),
    ];
    unsound.into_iter().find_map(|(is_so, why)| is_so.then_some(why))
}

/// Whether a key can be found in a request. Copies of our own headers are taken out before anybody counts.
fn is_key(key: &RateKey) -> bool {
    match key {
        RateKey::Caller | RateKey::Operation => true,
        RateKey::Header(name) => is_sound_name(name.as_bytes()) && !name.starts_with(handoff::HEADER_PREFIX),
    }
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
