//! One operation: what it takes and what it gives.

use super::parameter::{read_parameter, read_writing, write_parameter, write_writing};
use super::{read_bool, read_known, read_texts, write_texts};
use crate::contract::{
    BodyRule, Content, Enforcement, Form, MediaType, Operation, OperationClass, Parameter, Priority,
    ResponseMedia, ResponseRule, ResponseRules, Rule, Shadows, Status,
};
use crate::json::Numbers;
use crate::limits::{
    BODY_BYTES_MAX, FIELDS_MAX, MEDIA_TYPES_MAX, NAME_BYTES_MAX, NEVER_MAX, PARAMETERS_MAX,
    PATH_SEGMENTS_MAX, RESPONSES_MAX,
};
use crate::method::Method;
use crate::routes::Segment;
use crate::schema::SchemaIndex;
use crate::wire::{Reader, WireError, Writer};

pub(super) fn write_operation(out: &mut Writer, operation: &Operation) -> Result<(), WireError> {
    out.text(&operation.name, NAME_BYTES_MAX)?;
    out.u8(operation.method as u8);
    out.u8(operation.class as u8);
    out.count(operation.template.len(), PATH_SEGMENTS_MAX)?;
    for segment in &operation.template {
        let (kind, text) = match segment {
            Segment::Literal(text) => (0, text),
            Segment::Parameter(name) => (1, name),
        };
        out.u8(kind);
        out.text(text, NAME_BYTES_MAX)?;
    }
    out.text(operation.upgrade.as_deref().unwrap_or(""), NAME_BYTES_MAX)?;
    write_parameters(out, &operation.parameters, PARAMETERS_MAX)?;
    out.u8(u8::from(operation.body.is_some()));
    operation.body.iter().try_for_each(|body| write_body(out, body))?;
    write_responses(out, &operation.responses)?;
    out.count(operation.shadows.iter().len(), Rule::ALL.len())?;
    for (rule, until_ms) in operation.shadows.iter() {
        out.u8(rule as u8);
        out.u64(until_ms);
    }
    out.u8(operation.priority as u8);
    out.u8(u8::from(operation.fails_open));
    Ok(())
}

pub(super) fn read_operation(input: &mut Reader<'_>) -> Result<Operation, WireError> {
    let name = input.text(NAME_BYTES_MAX)?.into();
    let method = read_known(input, "method", Method::decode)?;
    let class = read_known(input, "operation class", |code| {
        OperationClass::ALL.into_iter().find(|class| *class as u8 == code)
    })?;
    let mut template = Vec::new();
    for _ in 0..input.count(PATH_SEGMENTS_MAX)? {
        let parameter = read_known(input, "segment kind", read_bool)?;
        let text = input.text(NAME_BYTES_MAX)?.into();
        template.push(if parameter { Segment::Parameter(text) } else { Segment::Literal(text) });
    }
    let upgrade = Some(input.text(NAME_BYTES_MAX)?).filter(|text| !text.is_empty()).map(Into::into);
    let parameters = read_parameters(input, PARAMETERS_MAX)?.into();
    let body = if read_known(input, "body rule", read_bool)? { Some(read_body(input)?) } else { None };
    let responses = Box::new(read_responses(input)?);
    let mut shadows = Vec::new();
    for _ in 0..input.count(Rule::ALL.len())? {
        let rule = read_known(input, "rule in shadow", |code| {
            Rule::ALL.into_iter().find(|rule| *rule as u8 == code)
        })?;
        shadows.push((rule, input.u64()?));
    }
    let shadows = Shadows::new(shadows);
    let priority = read_known(input, "priority", |code| {
        Priority::ALL.into_iter().find(|priority| *priority as u8 == code)
    })?;
    let fails_open = read_known(input, "fail mode", read_bool)?;
    Ok(Operation {
        name,
        method,
        class,
        template,
        upgrade,
        parameters,
        body,
        responses,
        shadows,
        priority,
        fails_open,
    })
}

fn write_parameters(out: &mut Writer, parameters: &[Parameter], max: usize) -> Result<(), WireError> {
    out.count(parameters.len(), max)?;
    parameters.iter().try_for_each(|parameter| write_parameter(out, parameter))
}

fn read_parameters(input: &mut Reader<'_>, max: usize) -> Result<Vec<Parameter>, WireError> {
    let count = input.count(max)?;
    (0..count).map(|_| read_parameter(input)).collect()
}

fn write_body(out: &mut Writer, body: &BodyRule) -> Result<(), WireError> {
    out.u8(u8::from(body.required));
    out.u32(body.bytes_max);
    write_numbers(out, body.numbers);
    out.count(body.media_types.len(), MEDIA_TYPES_MAX)?;
    for media_type in &body.media_types {
        out.text(&media_type.essence, NAME_BYTES_MAX)?;
        write_content(out, &media_type.content)?;
    }
    Ok(())
}

fn read_body(input: &mut Reader<'_>) -> Result<BodyRule, WireError> {
    let required = read_known(input, "requirement of a body", read_bool)?;
    let bytes_max = read_bytes_max(input)?;
    let numbers = read_numbers(input)?;
    let mut media_types = Vec::new();
    for _ in 0..input.count(MEDIA_TYPES_MAX)? {
        let essence = input.text(NAME_BYTES_MAX)?.into();
        media_types.push(MediaType { essence, content: read_content(input)? });
    }
    Ok(BodyRule { required, bytes_max, numbers, media_types })
}

fn read_bytes_max(input: &mut Reader<'_>) -> Result<u32, WireError> {
    let at = input.at();
    let bytes_max = input.u32()?;
    if bytes_max > BODY_BYTES_MAX {
        return Err(WireError::TooLarge { at, found: bytes_max as usize, max: BODY_BYTES_MAX as usize });
    }
    Ok(bytes_max)
}

fn write_numbers(out: &mut Writer, numbers: Numbers) {
    out.u8(match numbers {
        Numbers::Any => 0,
        Numbers::Double => 1,
    });
}

fn read_numbers(input: &mut Reader<'_>) -> Result<Numbers, WireError> {
    let double = read_known(input, "rule for numbers", read_bool)?;
    Ok(if double { Numbers::Double } else { Numbers::Any })
}

const OPAQUE: u8 = 0;
const JSON: u8 = 1;
const JSON_BY_SCHEMA: u8 = 2;
const FORM: u8 = 3;

fn write_content(out: &mut Writer, content: &Content) -> Result<(), WireError> {
    match content {
        Content::Opaque => out.u8(OPAQUE),
        Content::Json { schema: None } => out.u8(JSON),
        Content::Json { schema: Some(schema) } => {
            out.u8(JSON_BY_SCHEMA);
            out.u32(schema.0);
        }
        Content::Form { form, schema } => {
            out.u8(FORM);
            out.u32(schema.0);
            out.count(form.fields.len(), FIELDS_MAX)?;
            for (name, writing) in &form.fields {
                out.text(name, NAME_BYTES_MAX)?;
                write_writing(out, writing)?;
            }
        }
    }
    Ok(())
}

fn read_content(input: &mut Reader<'_>) -> Result<Content, WireError> {
    let kind = read_known(input, "content", |code| (code <= FORM).then_some(code))?;
    if kind == OPAQUE || kind == JSON {
        return Ok(if kind == OPAQUE { Content::Opaque } else { Content::Json { schema: None } });
    }
    let schema = SchemaIndex(input.u32()?);
    if kind == JSON_BY_SCHEMA {
        return Ok(Content::Json { schema: Some(schema) });
    }
    let mut fields = Vec::new();
    for _ in 0..input.count(FIELDS_MAX)? {
        let name = input.text(NAME_BYTES_MAX)?.into();
        fields.push((name, read_writing(input)?));
    }
    Ok(Content::Form { form: Box::new(Form { fields: fields.into() }), schema })
}

fn write_responses(out: &mut Writer, responses: &ResponseRules) -> Result<(), WireError> {
    out.u8(responses.head as u8);
    out.u8(responses.body as u8);
    out.u32(responses.sample);
    out.u32(responses.bytes_max);
    write_numbers(out, responses.numbers);
    out.count(responses.declared.len(), RESPONSES_MAX)?;
    for (status, rule) in &responses.declared {
        out.u16(match status {
            Status::Exact(status) => *status,
            Status::Class(class) => u16::from(*class),
            Status::Other => 0,
        });
        write_parameters(out, &rule.headers, RESPONSES_MAX)?;
        out.count(rule.media.len(), RESPONSES_MAX)?;
        for media in &rule.media {
            out.text(&media.range, NAME_BYTES_MAX)?;
            write_content(out, &media.content)?;
        }
    }
    write_texts(out, &responses.never_headers, NEVER_MAX)?;
    write_texts(out, &responses.never_properties, NEVER_MAX)
}

fn read_responses(input: &mut Reader<'_>) -> Result<ResponseRules, WireError> {
    let head = read_enforcement(input)?;
    let body = read_enforcement(input)?;
    let sample = input.u32()?;
    let bytes_max = read_bytes_max(input)?;
    let numbers = read_numbers(input)?;
    let mut declared = Vec::new();
    for _ in 0..input.count(RESPONSES_MAX)? {
        declared.push((read_status(input)?, read_response(input)?));
    }
    let never_headers = read_texts(input, NEVER_MAX)?;
    let never_properties = read_texts(input, NEVER_MAX)?;
    Ok(ResponseRules { head, body, sample, bytes_max, numbers, declared, never_headers, never_properties })
}

fn read_response(input: &mut Reader<'_>) -> Result<ResponseRule, WireError> {
    let headers = read_parameters(input, RESPONSES_MAX)?;
    let mut media = Vec::new();
    for _ in 0..input.count(RESPONSES_MAX)? {
        let range = input.text(NAME_BYTES_MAX)?.into();
        media.push(ResponseMedia { range, content: read_content(input)? });
    }
    Ok(ResponseRule { headers, media })
}

fn read_enforcement(input: &mut Reader<'_>) -> Result<Enforcement, WireError> {
    read_known(input, "enforcement", |code| Enforcement::ALL.into_iter().find(|known| *known as u8 == code))
}

fn read_status(input: &mut Reader<'_>) -> Result<Status, WireError> {
    let at = input.at();
    let code = input.u16()?;
    match (code, u8::try_from(code)) {
        (0, _) => Ok(Status::Other),
        (1..=5, Ok(class)) => Ok(Status::Class(class)),
        (100..=599, _) => Ok(Status::Exact(code)),
        _ => Err(WireError::Unknown { at, what: "status", found: u64::from(code) }),
    }
}
