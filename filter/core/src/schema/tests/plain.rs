//! A plain reading of JSON Schema for tests: enough to say in a line what a test is about.
//!
//! Contracts are compiled elsewhere, out of what was checked; here a schema that is not understood is a failed test.

use crate::number::Decimal;
use crate::schema::{
    ArrayRules, Barred, Bound, Combined, CompiledSchemas, Digest, Discriminator, Format, NamedRules, Node,
    NumberRules, ObjectRules, PatternIndex, SchemaIndex, SchemaTable, TextRules, Types, Values,
};
use regex_automata::dfa::{StartKind, dense};
use serde_json::Value;
use std::collections::BTreeMap;

pub(crate) const ROOT: SchemaIndex = SchemaIndex(0);

/// Why a schema is not understood.
pub(super) type Unknown = String;

pub(super) fn table(schema: &Value) -> Result<SchemaTable, Unknown> {
    let mut reading =
        Reading { root: schema, table: SchemaTable::default(), places: BTreeMap::new(), waiting: vec![] };
    reading.at("");
    while let Some((index, pointer)) = reading.waiting.pop() {
        let node = schema.pointer(&pointer).ok_or(format!("no {pointer}"))?;
        let node = reading.node(&pointer, node)?;
        reading.table.nodes[index] = node;
    }
    Ok(reading.table)
}

pub(crate) fn compile(schema: &Value) -> CompiledSchemas {
    let table = table(schema).unwrap();
    let bytes = table.encode().unwrap();
    assert_eq!(SchemaTable::decode(&bytes).unwrap(), table);
    CompiledSchemas::decode(&bytes).unwrap()
}

struct Reading<'v> {
    root: &'v Value,
    table: SchemaTable,
    places: BTreeMap<String, SchemaIndex>,
    waiting: Vec<(usize, String)>,
}

const SILENT: [&str; 14] = [
    "$schema",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
];

impl Reading<'_> {
    fn at(&mut self, pointer: &str) -> SchemaIndex {
        if let Some(known) = self.places.get(pointer) {
            return *known;
        }
        let place = self.table.nodes.len();
        self.table.nodes.push(Node::default());
        self.waiting.push((place, pointer.to_owned()));
        self.places.insert(pointer.to_owned(), SchemaIndex(place as u32));
        SchemaIndex(place as u32)
    }

    fn all(&mut self, pointer: &str, items: &Value) -> Box<[SchemaIndex]> {
        (0..items.as_array().unwrap().len()).map(|at| self.at(&format!("{pointer}/{at}"))).collect()
    }

    fn each(&mut self, pointer: &str, map: &Value) -> Vec<(Box<str>, SchemaIndex)> {
        let names = map.as_object().unwrap().keys();
        let step = |name: &str| name.replace('~', "~0").replace('/', "~1");
        names.map(|name| (name.as_str().into(), self.at(&format!("{pointer}/{}", step(name))))).collect()
    }

    fn node(&mut self, pointer: &str, schema: &Value) -> Result<Node, Unknown> {
        let mut node = Node::default();
        let map = match schema {
            Value::Bool(true) => return Ok(node),
            Value::Bool(false) => return Ok(Node { types: Types::NONE, ..node }),
            Value::Object(map) => map,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(schema.to_string());
            }
        };
        let (mut number, mut text) = (NumberRules::default(), TextRules::default());
        let (mut array, mut object) =
            (ArrayRules { contains_min: 1, ..Default::default() }, ObjectRules::default());
        let (mut named, mut combined) = (NamedRules::default(), Combined::default());
        let mut all_of = Vec::new();
        for (key, value) in map {
            let here = format!("{pointer}/{key}");
            let count = || -> Result<u64, Unknown> {
                value.as_u64().or(value.as_f64().map(|v| v as u64)).ok_or(format!("{key}: {value}"))
            };
            match key.as_str() {
                "type" => node.types = types(value),
                "enum" => node.values = Some(Box::new(values(value.as_array().unwrap())?)),
                "const" => node.values = Some(Box::new(values(std::slice::from_ref(value))?)),
                "minimum" => narrow(&mut number.minimum, bound(value, false)?, false),
                "exclusiveMinimum" => narrow(&mut number.minimum, bound(value, true)?, false),
                "maximum" => narrow(&mut number.maximum, bound(value, false)?, true),
                "exclusiveMaximum" => narrow(&mut number.maximum, bound(value, true)?, true),
                "multipleOf" => number.multiple_of = Some(decimal(&value.to_string())?),
                "minLength" => text.length_min = count()?,
                "maxLength" => text.length_max = Some(count()?),
                "pattern" => text.pattern = Some(self.pattern(value.as_str().unwrap())?),
                "format" => {
                    let name = value.as_str().unwrap();
                    text.format = Some(Format::parse(name).ok_or(format!("format {name}"))?);
                }
                "prefixItems" => array.prefix = self.all(&here, value),
                "items" => array.items = Some(self.at(&here)),
                "minItems" => array.items_min = count()?,
                "maxItems" => array.items_max = Some(count()?),
                "uniqueItems" => array.unique = *value == Value::Bool(true),
                "contains" => array.contains = Some(self.at(&here)),
                "minContains" => array.contains_min = count()?,
                "maxContains" => array.contains_max = Some(count()?),
                "unevaluatedItems" => array.unevaluated = Some(self.at(&here)),
                "properties" => {
                    named.properties = self.each(&here, value);
                    let read_only = |value: &Value| value["readOnly"] == Value::Bool(true);
                    let barred = value.as_object().unwrap().iter().filter(|(_, value)| read_only(value));
                    named.barred = barred.map(|(name, _)| (name.as_str().into(), Barred::ReadOnly)).collect();
                }
                "required" => named.required = texts(value),
                "dependentRequired" => {
                    let map = value.as_object().unwrap().iter();
                    named.dependent_required =
                        map.map(|(name, needs)| (name.as_str().into(), texts(needs))).collect();
                }
                "dependentSchemas" => named.dependent_schemas = self.each(&here, value),
                "patternProperties" => {
                    let mut rules = Vec::new();
                    for (pattern, schema) in self.each(&here, value) {
                        rules.push((self.pattern(&pattern)?, schema));
                    }
                    object.pattern_properties = rules.into();
                }
                "additionalProperties" => object.additional = Some(self.at(&here)),
                "propertyNames" => object.property_names = Some(self.at(&here)),
                "minProperties" => object.properties_min = count()?,
                "maxProperties" => object.properties_max = Some(count()?),
                "unevaluatedProperties" => object.unevaluated = Some(self.at(&here)),
                "allOf" => all_of.extend(self.all(&here, value)),
                "anyOf" => combined.any_of = Some(self.all(&here, value)),
                "oneOf" => combined.one_of = Some(self.all(&here, value)),
                "not" => combined.not = Some(self.at(&here)),
                "if" => combined.condition = Some(self.at(&here)),
                "then" if map.contains_key("if") => combined.then = Some(self.at(&here)),
                "else" if map.contains_key("if") => combined.otherwise = Some(self.at(&here)),
                "then" | "else" => {}
                "discriminator" => {
                    let mapping = value["mapping"].as_object().unwrap().iter();
                    let mapping = mapping.map(|(kind, target)| {
                        (kind.as_str().into(), self.at(target.as_str().unwrap().trim_start_matches('#')))
                    });
                    combined.discriminator = Some(Discriminator {
                        property: value["propertyName"].as_str().unwrap().into(),
                        mapping: mapping.collect(),
                    });
                }
                "$ref" => {
                    let target =
                        value.as_str().and_then(|text| text.strip_prefix('#')).ok_or(format!("{value}"))?;
                    let target = target.replace("%25", "%").replace("%22", "\"");
                    self.root.pointer(&target).ok_or(format!("{value}"))?;
                    all_of.push(self.at(&target));
                }
                silent if SILENT.contains(&silent) => {}
                other => return Err(format!("keyword {other}")),
            }
        }
        combined.all_of = all_of.into();
        let pattern_properties = object.pattern_properties;
        object = ObjectRules {
            pattern_properties,
            additional: object.additional,
            property_names: object.property_names,
            properties_min: object.properties_min,
            properties_max: object.properties_max,
            unevaluated: object.unevaluated,
            ..ObjectRules::named(named)
        };
        node.number = Some(Box::new(number)).filter(|rules| **rules != NumberRules::default());
        node.text = Some(Box::new(text)).filter(|rules| **rules != TextRules::default());
        node.array = Some(Box::new(array))
            .filter(|rules| **rules != ArrayRules { contains_min: 1, ..Default::default() });
        node.object = Some(Box::new(object)).filter(|rules| **rules != ObjectRules::default());
        node.combined = Some(Box::new(combined)).filter(|rules| **rules != Combined::default());
        Ok(node)
    }

    fn pattern(&mut self, pattern: &str) -> Result<PatternIndex, Unknown> {
        self.table.patterns.push(automaton(pattern)?);
        Ok(PatternIndex(self.table.patterns.len() as u32 - 1))
    }
}

pub(super) fn automaton(pattern: &str) -> Result<Box<[u8]>, Unknown> {
    let config = dense::Config::new().start_kind(StartKind::Unanchored);
    let dense = dense::Builder::new().configure(config).build(pattern).map_err(|error| error.to_string())?;
    Ok(dense.to_sparse().unwrap().to_bytes_little_endian().into())
}

fn types(value: &Value) -> Types {
    let one = |name: &Value| match name.as_str().unwrap() {
        "null" => Types::NULL,
        "boolean" => Types::BOOLEAN,
        "integer" => Types::INTEGER,
        "number" => Types::INTEGER.union(Types::FRACTION),
        "string" => Types::STRING,
        "array" => Types::ARRAY,
        "object" => Types::OBJECT,
        other => panic!("type {other}"),
    };
    match value.as_array() {
        Some(names) => names.iter().map(one).fold(Types::NONE, Types::union),
        None => one(value),
    }
}

fn texts(value: &Value) -> Vec<Box<str>> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().into()).collect()
}

fn values(all: &[Value]) -> Result<Values, Unknown> {
    let mut values = Values {
        null: all.contains(&Value::Null),
        yes: all.contains(&Value::Bool(true)),
        no: all.contains(&Value::Bool(false)),
        ..Values::default()
    };
    let (mut numbers, mut texts, mut compounds) = (vec![], Vec::<Box<str>>::new(), vec![]);
    for value in all {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => numbers.push(decimal(&number.to_string())?),
            Value::String(text) => texts.push(text.as_str().into()),
            Value::Array(_) | Value::Object(_) => {
                compounds.push(Digest::of_document(value.to_string().as_bytes()).unwrap());
            }
        }
    }
    texts.sort();
    texts.dedup();
    (values.numbers, values.texts, values.compounds) = (numbers.into(), texts.into(), compounds.into());
    Ok(values)
}

fn decimal(text: &str) -> Result<Decimal, Unknown> {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let parsed = digits.parse().ok().zip(exponent.parse::<i32>().ok());
    let number = parsed.and_then(|(coefficient, exponent)| {
        Decimal::new(text.starts_with('-'), coefficient, exponent - fraction.len() as i32)
    });
    number.ok_or(format!("number {text}"))
}

fn bound(value: &Value, exclusive: bool) -> Result<Bound, Unknown> {
    Ok(Bound { value: decimal(&value.to_string())?, exclusive })
}

/// The narrower of two ends.
fn narrow(place: &mut Option<Bound>, bound: Bound, upper: bool) {
    let written = format!(
        "{}{}e{}",
        if bound.value.is_negative() { "-" } else { "" },
        bound.value.coefficient(),
        bound.value.exponent()
    );
    let number = crate::number::Number::parse(&written).unwrap();
    let narrower = |known: &Bound| {
        let order = number.compare(&known.value);
        order.is_eq() && bound.exclusive || (if upper { order.is_lt() } else { order.is_gt() })
    };
    if place.as_ref().is_none_or(narrower) {
        *place = Some(bound);
    }
}
