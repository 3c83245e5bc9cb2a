//! One value that is written as text.

use super::{read_bool, read_known};
use crate::contract::{Between, ObjectWriting, Parameter, Part, Properties, Scalars, Writing};
use crate::limits::{FIELDS_MAX, NAME_BYTES_MAX};
use crate::schema::SchemaIndex;
use crate::wire::{Reader, WireError, Writer};

pub(super) fn write_parameter(out: &mut Writer, parameter: &Parameter) -> Result<(), WireError> {
    out.u8(parameter.part as u8);
    out.text(&parameter.name, NAME_BYTES_MAX)?;
    out.u8(u8::from(parameter.required));
    out.u8(u8::from(parameter.allow_empty));
    write_writing(out, &parameter.writing)?;
    out.u32(parameter.schema.0);
    Ok(())
}

pub(super) fn read_parameter(input: &mut Reader<'_>) -> Result<Parameter, WireError> {
    let part = read_known(input, "part of a request", |code| {
        Part::ALL.into_iter().find(|part| *part as u8 == code)
    })?;
    let name = input.text(NAME_BYTES_MAX)?.into();
    let required = read_known(input, "requirement of a parameter", read_bool)?;
    let allow_empty = read_known(input, "allowance of a parameter", read_bool)?;
    let writing = read_writing(input)?;
    let schema = SchemaIndex(input.u32()?);
    Ok(Parameter { part, name, required, allow_empty, writing, schema })
}

const JSON: u8 = 0;
const SCALAR: u8 = 1;
const LIST: u8 = 2;
const OBJECT: u8 = 3;

pub(super) fn write_writing(out: &mut Writer, writing: &Writing) -> Result<(), WireError> {
    match writing {
        Writing::Json => out.u8(JSON),
        Writing::Scalar(scalars) => {
            out.u8(SCALAR);
            out.u8(scalars.bits());
        }
        Writing::List { items, between } => {
            out.u8(LIST);
            out.u8(items.bits());
            out.u8(*between as u8);
        }
        Writing::Object { properties, written } => {
            out.u8(OBJECT);
            out.u8(*written as u8);
            out.u8(properties.others.bits());
            out.count(properties.known.len(), FIELDS_MAX)?;
            for (name, scalars) in &properties.known {
                out.text(name, NAME_BYTES_MAX)?;
                out.u8(scalars.bits());
            }
        }
    }
    Ok(())
}

pub(super) fn read_writing(input: &mut Reader<'_>) -> Result<Writing, WireError> {
    match read_known(input, "writing of a value", |code| (code <= OBJECT).then_some(code))? {
        JSON => Ok(Writing::Json),
        SCALAR => read_scalars(input).map(Writing::Scalar),
        LIST => {
            let items = read_scalars(input)?;
            let between = read_known(input, "separator of a list", |code| {
                Between::ALL.into_iter().find(|known| *known as u8 == code)
            })?;
            Ok(Writing::List { items, between })
        }
        _ => read_object(input),
    }
}

fn read_object(input: &mut Reader<'_>) -> Result<Writing, WireError> {
    let written = read_known(input, "writing of an object", |code| {
        ObjectWriting::ALL.into_iter().find(|known| *known as u8 == code)
    })?;
    let others = read_scalars(input)?;
    let mut known: Vec<(Box<str>, Scalars)> = Vec::new();
    for _ in 0..input.count(FIELDS_MAX)? {
        let name = input.text(NAME_BYTES_MAX)?.into();
        known.push((name, read_scalars(input)?));
    }
    Ok(Writing::Object { properties: Properties { known: known.into(), others }, written })
}

fn read_scalars(input: &mut Reader<'_>) -> Result<Scalars, WireError> {
    read_known(input, "types of a text", Scalars::from_bits)
}
