//! The bytes of compiled schemas.
//!
//! Layout, version 1: magic `PLSS`, version u16, schemas, patterns; each list behind a u32 count, each text behind a u16
//! length, all integers big-endian; an index that may be absent is one more than itself, and zero where it is; nothing may
//! follow.

use super::format::Format;
use super::node::{
    ArrayRules, Barred, Bound, Combined, Discriminator, Name, Node, NumberFormat, NumberRules, ObjectRules,
    PatternIndex, SchemaIndex, TextRules, Types, Values,
};
use super::table::{CompiledSchemas, SchemaTable, SchemasError};
use super::value::Digest;
use crate::json::text_hash;
use crate::limits::{PATTERN_BYTES_MAX, PATTERNS_MAX, SCHEMA_LIST_MAX, SCHEMA_TEXT_BYTES_MAX, SCHEMAS_MAX};
use crate::number::Decimal;
use crate::wire::{Reader, WireError, Writer};

const MAGIC: &[u8; 4] = b"PLSS";
const VERSION: u16 = 1;

impl CompiledSchemas {
    pub fn decode(bytes: &[u8]) -> Result<CompiledSchemas, SchemasError> {
        SchemaTable::decode(bytes).and_then(CompiledSchemas::assemble)
    }

    pub fn encode(&self) -> Result<Vec<u8>, SchemasError> {
        let patterns = self.patterns.iter().zip(0..).map(|(pattern, at)| {
            pattern.bytes().ok_or(SchemasError::PatternInvalid { pattern: PatternIndex(at) })
        });
        encode(&self.nodes, &patterns.collect::<Result<Vec<_>, _>>()?)
    }
}

impl SchemaTable {
    pub fn encode(&self) -> Result<Vec<u8>, SchemasError> {
        encode(&self.nodes, &self.patterns)
    }

    /// What was read is not yet checked as a whole.
    pub fn decode(bytes: &[u8]) -> Result<SchemaTable, SchemasError> {
        let mut input = Reader::new(bytes);
        if input.bytes(MAGIC.len()).map(|magic| magic == MAGIC) != Ok(true) {
            return Err(SchemasError::NotSchemas);
        }
        let found = input.u16()?;
        if found != VERSION {
            return Err(SchemasError::UnknownVersion { found });
        }
        let nodes = list(&mut input, SCHEMAS_MAX, read_node)?;
        let mut patterns = Vec::new();
        for _ in 0..input.count(PATTERNS_MAX)? {
            let length = input.count(PATTERN_BYTES_MAX)?;
            patterns.push(input.bytes(length)?.into());
        }
        input.end()?;
        Ok(SchemaTable { nodes, patterns })
    }
}

fn encode(nodes: &[Node], patterns: &[Box<[u8]>]) -> Result<Vec<u8>, SchemasError> {
    let mut out = Writer::default();
    out.bytes(MAGIC);
    out.u16(VERSION);
    out.count(nodes.len(), SCHEMAS_MAX)?;
    nodes.iter().try_for_each(|node| write_node(&mut out, node))?;
    out.count(patterns.len(), PATTERNS_MAX)?;
    for pattern in patterns {
        out.count(pattern.len(), PATTERN_BYTES_MAX)?;
        out.bytes(pattern);
    }
    Ok(out.finish())
}

/// Which rules a schema has.
const VALUES: u8 = 1;
const NUMBER: u8 = 2;
const TEXT: u8 = 4;
const ARRAY: u8 = 8;
const OBJECT: u8 = 16;
const COMBINED: u8 = 32;

fn write_node(out: &mut Writer, node: &Node) -> Result<(), WireError> {
    let has = [
        (node.values.is_some(), VALUES),
        (node.number.is_some(), NUMBER),
        (node.text.is_some(), TEXT),
        (node.array.is_some(), ARRAY),
        (node.object.is_some(), OBJECT),
        (node.combined.is_some(), COMBINED),
    ];
    out.u8(node.types.0);
    out.u8(has.into_iter().filter(|(there, _)| *there).fold(0, |all, (_, bit)| all | bit));
    node.values.iter().try_for_each(|values| write_values(out, values))?;
    node.number.iter().for_each(|number| write_number(out, number));
    node.text.iter().for_each(|text| write_text(out, text));
    node.array.iter().try_for_each(|array| write_array(out, array))?;
    node.object.iter().try_for_each(|object| write_object(out, object))?;
    node.combined.iter().try_for_each(|combined| write_combined(out, combined))
}

fn read_node(input: &mut Reader<'_>) -> Result<Node, WireError> {
    let types = known(input, "set of types", |code| (code <= Types::ANY.0).then_some(Types(code)))?;
    let has = known(input, "set of rules", |code| (code < 2 * COMBINED).then_some(code))?;
    let mut node = Node { types, ..Node::default() };
    if has & VALUES != 0 {
        node.values = Some(Box::new(read_values(input)?));
    }
    if has & NUMBER != 0 {
        node.number = Some(Box::new(read_number(input)?));
    }
    if has & TEXT != 0 {
        node.text = Some(Box::new(read_text(input)?));
    }
    if has & ARRAY != 0 {
        node.array = Some(Box::new(read_array(input)?));
    }
    if has & OBJECT != 0 {
        node.object = Some(Box::new(read_object(input)?));
    }
    if has & COMBINED != 0 {
        node.combined = Some(Box::new(read_combined(input)?));
    }
    Ok(node)
}

fn write_values(out: &mut Writer, values: &Values) -> Result<(), WireError> {
    out.u8(u8::from(values.null) | u8::from(values.yes) << 1 | u8::from(values.no) << 2);
    out.count(values.numbers.len(), SCHEMA_LIST_MAX)?;
    values.numbers.iter().for_each(|number| write_decimal(out, number));
    out.count(values.texts.len(), SCHEMA_LIST_MAX)?;
    values.texts.iter().try_for_each(|text| out.text(text, SCHEMA_TEXT_BYTES_MAX))?;
    out.count(values.compounds.len(), SCHEMA_LIST_MAX)?;
    values.compounds.iter().for_each(|digest| out.bytes(&digest.0));
    Ok(())
}

fn read_values(input: &mut Reader<'_>) -> Result<Values, WireError> {
    let words = known(input, "set of words", |code| (code < 8).then_some(code))?;
    Ok(Values {
        null: words & 1 != 0,
        yes: words & 2 != 0,
        no: words & 4 != 0,
        numbers: list(input, SCHEMA_LIST_MAX, read_decimal)?.into(),
        texts: list(input, SCHEMA_LIST_MAX, read_name)?.into(),
        compounds: list(input, SCHEMA_LIST_MAX, |input| input.array().map(Digest))?.into(),
    })
}

fn write_number(out: &mut Writer, rules: &NumberRules) {
    for bound in [&rules.minimum, &rules.maximum] {
        out.u8(bound.as_ref().map_or(0, |bound| if bound.exclusive { 2 } else { 1 }));
        bound.iter().for_each(|bound| write_decimal(out, &bound.value));
    }
    out.u8(u8::from(rules.multiple_of.is_some()));
    rules.multiple_of.iter().for_each(|step| write_decimal(out, step));
    out.u8(rules.format.as_ref().map_or(0, |format| if format.whole { 2 } else { 1 }));
    if let Some(format) = &rules.format {
        write_decimal(out, &format.least);
        write_decimal(out, &format.most);
    }
}

fn read_number(input: &mut Reader<'_>) -> Result<NumberRules, WireError> {
    let bound = |input: &mut Reader<'_>| {
        let kind = known(input, "bound", |code| (code < 3).then_some(code))?;
        let value = if kind > 0 { Some(read_decimal(input)?) } else { None };
        Ok::<_, WireError>(value.map(|value| Bound { value, exclusive: kind == 2 }))
    };
    let (minimum, maximum) = (bound(input)?, bound(input)?);
    let multiple_of = if flag(input)? { Some(read_decimal(input)?) } else { None };
    let kind = known(input, "format of numbers", |code| (code < 3).then_some(code))?;
    let format = match kind {
        0 => None,
        _ => {
            let (least, most) = (read_decimal(input)?, read_decimal(input)?);
            Some(NumberFormat { whole: kind == 2, least, most })
        }
    };
    Ok(NumberRules { minimum, maximum, multiple_of, format })
}

fn write_decimal(out: &mut Writer, number: &Decimal) {
    out.u8(u8::from(number.is_negative()));
    out.bytes(&number.coefficient().to_be_bytes());
    out.bytes(&number.exponent().to_be_bytes());
}

fn read_decimal(input: &mut Reader<'_>) -> Result<Decimal, WireError> {
    let at = input.at();
    let negative = flag(input)?;
    let (coefficient, exponent) = (u128::from_be_bytes(input.array()?), i32::from_be_bytes(input.array()?));
    // What was not written in its one form was not written by `write_decimal`.
    let is_same = |number: &Decimal| number.coefficient() == coefficient && number.is_negative() == negative;
    let number = Decimal::new(negative, coefficient, exponent).filter(is_same);
    number.filter(|number| number.exponent() == exponent).ok_or(WireError::Unknown {
        at,
        what: "number",
        found: 0,
    })
}

fn write_text(out: &mut Writer, rules: &TextRules) {
    write_u64(out, rules.length_min);
    write_most(out, rules.length_max);
    write_index(out, rules.pattern.map(|pattern| pattern.0));
    out.u8(rules.format.map_or(0, |format| format as u8));
}

fn read_text(input: &mut Reader<'_>) -> Result<TextRules, WireError> {
    Ok(TextRules {
        length_min: read_u64(input)?,
        length_max: read_most(input)?,
        pattern: read_index(input)?.map(PatternIndex),
        format: known(input, "format", |code| match code {
            0 => Some(None),
            code => Format::decode(code).map(Some),
        })?,
    })
}

fn write_array(out: &mut Writer, rules: &ArrayRules) -> Result<(), WireError> {
    write_schemas(out, &rules.prefix)?;
    write_schema(out, rules.items);
    write_u64(out, rules.items_min);
    write_most(out, rules.items_max);
    out.u8(u8::from(rules.unique));
    write_schema(out, rules.contains);
    write_u64(out, rules.contains_min);
    write_most(out, rules.contains_max);
    write_schema(out, rules.unevaluated);
    Ok(())
}

fn read_array(input: &mut Reader<'_>) -> Result<ArrayRules, WireError> {
    Ok(ArrayRules {
        prefix: read_schemas(input)?,
        items: read_schema(input)?,
        items_min: read_u64(input)?,
        items_max: read_most(input)?,
        unique: flag(input)?,
        contains: read_schema(input)?,
        contains_min: read_u64(input)?,
        contains_max: read_most(input)?,
        unevaluated: read_schema(input)?,
    })
}

fn write_object(out: &mut Writer, rules: &ObjectRules) -> Result<(), WireError> {
    out.count(rules.names.len(), SCHEMA_LIST_MAX)?;
    for name in &rules.names {
        out.text(&name.text, SCHEMA_TEXT_BYTES_MAX)?;
        write_schema(out, name.schema);
        out.u8(u8::from(name.required));
        out.u8(match name.barred {
            None => 0,
            Some(Barred::ReadOnly) => 1,
            Some(Barred::WriteOnly) => 2,
        });
    }
    out.count(rules.pattern_properties.len(), SCHEMA_LIST_MAX)?;
    for (pattern, schema) in &rules.pattern_properties {
        out.u32(pattern.0);
        out.u32(schema.0);
    }
    write_schema(out, rules.additional);
    write_schema(out, rules.property_names);
    write_u64(out, rules.properties_min);
    write_most(out, rules.properties_max);
    out.count(rules.dependent_required.len(), SCHEMA_LIST_MAX)?;
    for (name, needs) in &rules.dependent_required {
        out.u32(*name);
        out.count(needs.len(), SCHEMA_LIST_MAX)?;
        needs.iter().for_each(|need| out.u32(*need));
    }
    out.count(rules.dependent_schemas.len(), SCHEMA_LIST_MAX)?;
    for (name, schema) in &rules.dependent_schemas {
        out.u32(*name);
        out.u32(schema.0);
    }
    write_schema(out, rules.unevaluated);
    Ok(())
}

fn read_object(input: &mut Reader<'_>) -> Result<ObjectRules, WireError> {
    Ok(ObjectRules {
        names: list(input, SCHEMA_LIST_MAX, read_property)?.into(),
        pattern_properties: list(input, SCHEMA_LIST_MAX, |input| {
            Ok((PatternIndex(input.u32()?), SchemaIndex(input.u32()?)))
        })?
        .into(),
        additional: read_schema(input)?,
        property_names: read_schema(input)?,
        properties_min: read_u64(input)?,
        properties_max: read_most(input)?,
        dependent_required: list(input, SCHEMA_LIST_MAX, |input| {
            Ok((input.u32()?, list(input, SCHEMA_LIST_MAX, |input| input.u32())?.into()))
        })?
        .into(),
        dependent_schemas: list(input, SCHEMA_LIST_MAX, |input| {
            Ok((input.u32()?, SchemaIndex(input.u32()?)))
        })?
        .into(),
        unevaluated: read_schema(input)?,
    })
}

fn read_property(input: &mut Reader<'_>) -> Result<Name, WireError> {
    let text = read_name(input)?;
    Ok(Name {
        hash: text_hash(&text),
        text,
        schema: read_schema(input)?,
        required: flag(input)?,
        barred: known(input, "bar", |code| match code {
            0 => Some(None),
            1 => Some(Some(Barred::ReadOnly)),
            2 => Some(Some(Barred::WriteOnly)),
            _ => None,
        })?,
    })
}

fn write_combined(out: &mut Writer, combined: &Combined) -> Result<(), WireError> {
    write_schemas(out, &combined.all_of)?;
    for branches in [&combined.any_of, &combined.one_of] {
        out.u8(u8::from(branches.is_some()));
        branches.iter().try_for_each(|branches| write_schemas(out, branches))?;
    }
    let single = [combined.not, combined.condition, combined.then, combined.otherwise];
    single.into_iter().for_each(|schema| write_schema(out, schema));
    out.u8(u8::from(combined.discriminator.is_some()));
    if let Some(discriminator) = &combined.discriminator {
        out.text(&discriminator.property, SCHEMA_TEXT_BYTES_MAX)?;
        out.count(discriminator.mapping.len(), SCHEMA_LIST_MAX)?;
        for (value, schema) in &discriminator.mapping {
            out.text(value, SCHEMA_TEXT_BYTES_MAX)?;
            out.u32(schema.0);
        }
    }
    Ok(())
}

fn read_combined(input: &mut Reader<'_>) -> Result<Combined, WireError> {
    let branches =
        |input: &mut Reader<'_>| if flag(input)? { read_schemas(input).map(Some) } else { Ok(None) };
    let mut combined = Combined { all_of: read_schemas(input)?, ..Combined::default() };
    combined.any_of = branches(input)?;
    combined.one_of = branches(input)?;
    combined.not = read_schema(input)?;
    combined.condition = read_schema(input)?;
    combined.then = read_schema(input)?;
    combined.otherwise = read_schema(input)?;
    if flag(input)? {
        let property = read_name(input)?;
        let mapping =
            list(input, SCHEMA_LIST_MAX, |input| Ok((read_name(input)?, SchemaIndex(input.u32()?))))?;
        combined.discriminator = Some(Discriminator { property, mapping: mapping.into() });
    }
    Ok(combined)
}

fn list<T>(
    input: &mut Reader<'_>,
    max: usize,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    // It grows as it is read: the count was checked, the size of what is counted was not.
    let mut items = Vec::new();
    for _ in 0..input.count(max)? {
        items.push(read(input)?);
    }
    Ok(items)
}

fn known<T>(
    input: &mut Reader<'_>,
    what: &'static str,
    decode: impl Fn(u8) -> Option<T>,
) -> Result<T, WireError> {
    let at = input.at();
    let code = input.u8()?;
    decode(code).ok_or(WireError::Unknown { at, what, found: u64::from(code) })
}

fn flag(input: &mut Reader<'_>) -> Result<bool, WireError> {
    known(input, "flag", |code| (code < 2).then_some(code == 1))
}

fn read_name(input: &mut Reader<'_>) -> Result<Box<str>, WireError> {
    input.text(SCHEMA_TEXT_BYTES_MAX).map(Into::into)
}

fn write_u64(out: &mut Writer, value: u64) {
    out.bytes(&value.to_be_bytes());
}

fn read_u64(input: &mut Reader<'_>) -> Result<u64, WireError> {
    input.array().map(u64::from_be_bytes)
}

/// An upper end; there is none where it is as high as can be.
fn write_most(out: &mut Writer, most: Option<u64>) {
    write_u64(out, most.unwrap_or(u64::MAX));
}

fn read_most(input: &mut Reader<'_>) -> Result<Option<u64>, WireError> {
    read_u64(input).map(|most| (most < u64::MAX).then_some(most))
}

fn write_index(out: &mut Writer, index: Option<u32>) {
    out.u32(index.map_or(0, |index| index.saturating_add(1)));
}

fn read_index(input: &mut Reader<'_>) -> Result<Option<u32>, WireError> {
    input.u32().map(|index| index.checked_sub(1))
}

fn write_schema(out: &mut Writer, schema: Option<SchemaIndex>) {
    write_index(out, schema.map(|schema| schema.0));
}

fn read_schema(input: &mut Reader<'_>) -> Result<Option<SchemaIndex>, WireError> {
    read_index(input).map(|index| index.map(SchemaIndex))
}

fn write_schemas(out: &mut Writer, schemas: &[SchemaIndex]) -> Result<(), WireError> {
    out.count(schemas.len(), SCHEMA_LIST_MAX)?;
    schemas.iter().for_each(|schema| out.u32(schema.0));
    Ok(())
}

fn read_schemas(input: &mut Reader<'_>) -> Result<Box<[SchemaIndex]>, WireError> {
    list(input, SCHEMA_LIST_MAX, |input| input.u32().map(SchemaIndex)).map(Into::into)
}
