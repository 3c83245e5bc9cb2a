//! The keywords of schemas, by the type that they speak of.

use super::{Reading, Role};
use crate::bundle::lints::Lint;
use crate::bundle::openapi::model::{
    ArrayRules, Bound, Decimal, NumberRules, Schema, TextRules, TypeSet, Version,
};
use crate::bundle::openapi::read::Fields;
use crate::bundle::problem::Problem;
use crate::bundle::yaml::{Node, Span, Value};

const FOR_NUMBERS: [&str; 5] = ["multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"];
const FOR_TEXTS: [&str; 3] = ["maxLength", "minLength", "pattern"];
const FOR_LISTS: [&str; 9] = [
    "items",
    "prefixItems",
    "maxItems",
    "minItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "unevaluatedItems",
];
const FOR_OBJECTS: [&str; 10] = [
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "required",
    "maxProperties",
    "minProperties",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
];

/// Formats of OpenAPI that speak of numbers.
const NUMBER_FORMATS: [&str; 6] = ["int8", "int16", "int32", "int64", "float", "double"];

impl<'d> Reading<'d> {
    pub(super) fn types(&mut self, fields: Fields<'d>) -> TypeSet {
        let declared = fields.find("type").map(|node| match &node.value {
            Value::List(_) if self.version == Version::V30 => {
                let help = "name one type, and write `nullable: true` for `null`";
                self.wrong(node.at, "OpenAPI 3.0 has no lists of types", help);
                TypeSet::NONE
            }
            Value::List(items) if items.is_empty() => {
                self.wrong(node.at, "`type` is empty", "no value could be sent; name those that can");
                TypeSet::ANY
            }
            Value::List(items) => {
                items.iter().fold(TypeSet::NONE, |types, item| types.union(self.one_type(item)))
            }
            _ => self.one_type(node),
        });
        if self.version == Version::V30 && self.flag(fields, "nullable") {
            if declared.is_none()
                && let Some((key, _)) = fields.entry("nullable")
            {
                let message = "`nullable` has no effect without a `type` beside it";
                let help = "write the `type` here, or `nullable` in the schema that has the type";
                self.lint(key.at, Lint::NullableWithoutType, message, help);
            }
            return declared.unwrap_or_default().union(TypeSet::NULL);
        }
        declared.unwrap_or_default()
    }

    fn one_type(&mut self, node: &'d Node) -> TypeSet {
        if node.value == Value::Null {
            self.wrong(node.at, "this is nothing, and no type", "quote it: `\"null\"`");
            return TypeSet::NULL;
        }
        let Some(name) = self.text(node) else { return TypeSet::NONE };
        match (TypeSet::parse(name), self.version) {
            (Some(TypeSet::NULL), Version::V30) => {
                let help = "OpenAPI 3.0 writes `nullable: true` beside another type";
                self.wrong(node.at, "`null` is not a type here", help);
                TypeSet::NULL
            }
            (Some(types), _) => types,
            (None, _) => {
                let known = TypeSet::NAMED.iter().map(|(name, _)| *name);
                let problem = Problem::new(self.place(node.at), format!("unknown type `{name}`"))
                    .suggest(name, known)
                    .help(match name {
                        "file" => "write `type: string` and `format: binary`",
                        "any" => "remove `type`: a schema without one accepts every type",
                        "float" | "double" | "decimal" => "write `type: number`",
                        "long" => "write `type: integer` and `format: int64`",
                        "date" | "datetime" | "uuid" => "write `type: string` and the `format`",
                        _ => "expected `string`, `integer`, `number`, `boolean`, `array` or `object`",
                    });
                self.push(problem);
                TypeSet::ANY
            }
        }
    }

    pub(super) fn number_rules(&mut self, fields: Fields<'d>, types: TypeSet) -> Option<Box<NumberRules>> {
        let minimum = self.bound(fields, "minimum", "exclusiveMinimum", Ord::max);
        let maximum = self.bound(fields, "maximum", "exclusiveMaximum", Ord::min);
        if let (Some(least), Some(most)) = (&minimum, &maximum) {
            let empty =
                least.value > most.value || least.value == most.value && (least.exclusive || most.exclusive);
            if empty && let Some(at) = self.at_either(fields, &["minimum", "exclusiveMinimum"]) {
                let message = format!("no number is from {} to {}", least.value, most.value);
                self.wrong(at, message, "exchange `minimum` and `maximum`, or mend one");
            }
        }
        let multiple_of = fields.find("multipleOf").and_then(|node| {
            let step = self.decimal(node)?;
            if !step.is_positive() {
                self.wrong(node.at, format!("`multipleOf` is {step}"), "expected a number above 0");
            }
            Some(step)
        });
        let format = self.format(fields).filter(|format| NUMBER_FORMATS.contains(format));
        let format = format.filter(|_| types.meets(TypeSet::NUMBER)).map(Into::into);
        let rules = NumberRules { minimum, maximum, multiple_of, format };
        (rules != NumberRules::default()).then(|| Box::new(rules))
    }

    /// One end of a range: a boolean `exclusive…` in 3.0, a number of its own in 3.1.
    fn bound(
        &mut self,
        fields: Fields<'d>,
        key: &str,
        exclusive_key: &str,
        narrower: fn(Decimal, Decimal) -> Decimal,
    ) -> Option<Bound> {
        let inclusive = fields.find(key).and_then(|node| self.decimal(node));
        let Some(node) = fields.find(exclusive_key) else {
            return inclusive.map(|value| Bound { value, exclusive: false });
        };
        match (self.version, &node.value) {
            (Version::V30, Value::Bool(exclusive)) => {
                if inclusive.is_none() {
                    let message = format!("`{exclusive_key}` has no effect without `{key}`");
                    self.wrong(node.at, message, format!("write `{key}` beside it"));
                }
                inclusive.map(|value| Bound { value, exclusive: *exclusive })
            }
            (Version::V30, _) => {
                let message = format!("expected `true` or `false`, found {}", node.kind());
                let help = format!(
                    "OpenAPI 3.0 writes the number as `{key}`, and `{exclusive_key}: true` beside it"
                );
                self.wrong(node.at, message, help);
                inclusive.map(|value| Bound { value, exclusive: false })
            }
            (Version::V31, Value::Bool(_)) => {
                let message = format!("expected a number, found {}", node.kind());
                let help =
                    format!("OpenAPI 3.1 writes the number itself: `{exclusive_key}: 0`, without `{key}`");
                self.wrong(node.at, message, help);
                inclusive.map(|value| Bound { value, exclusive: false })
            }
            (Version::V31, _) => {
                let exclusive = self.decimal(node)?;
                Some(match inclusive {
                    Some(value) if narrower(value, exclusive) != exclusive => {
                        Bound { value, exclusive: false }
                    }
                    _ => Bound { value: exclusive, exclusive: true },
                })
            }
        }
    }

    pub(super) fn text_rules(&mut self, fields: Fields<'d>, types: TypeSet) -> Option<Box<TextRules>> {
        let length_min = self.count(fields, "minLength").unwrap_or(0);
        let length_max = self.count(fields, "maxLength");
        self.check_range(fields, "minLength", length_min, length_max);
        let format = self.format(fields).filter(|format| !NUMBER_FORMATS.contains(format));
        let mut text = |key: &str| fields.find(key).and_then(|node| self.text(node)).map(Into::into);
        let (content_encoding, content_media_type) = (text("contentEncoding"), text("contentMediaType"));
        if let Some(node) = fields.find("contentSchema") {
            self.schema(node);
        }
        let rules = TextRules {
            length_min,
            length_max,
            pattern: fields.find("pattern").and_then(|node| self.pattern(node)),
            format: format.filter(|_| types.meets(TypeSet::STRING)).map(Into::into),
            content_encoding,
            content_media_type,
        };
        (rules != TextRules::default()).then(|| Box::new(rules))
    }

    fn format(&mut self, fields: Fields<'d>) -> Option<&'d str> {
        fields.find("format").and_then(|node| self.text(node))
    }

    pub(super) fn array_rules(&mut self, fields: Fields<'d>) -> Option<Box<ArrayRules>> {
        let items = match fields.find("items") {
            Some(Node { value: Value::List(_), at }) => {
                let help =
                    "OpenAPI 3.0 has one schema for all items; 3.1 has `prefixItems` for a list of schemas";
                self.wrong(*at, "expected a schema, found a list", help);
                None
            }
            Some(node) => Some(self.schema(node)),
            None => None,
        };
        let prefix = match fields.find("prefixItems") {
            Some(node) => self.list(node).unwrap_or_default().iter().map(|item| self.schema(item)).collect(),
            None => Box::default(),
        };
        let rules = ArrayRules {
            prefix,
            items,
            items_min: self.count(fields, "minItems").unwrap_or(0),
            items_max: self.count(fields, "maxItems"),
            unique: self.flag(fields, "uniqueItems"),
            contains: fields.find("contains").map(|node| self.schema(node)),
            contains_min: self.count(fields, "minContains"),
            contains_max: self.count(fields, "maxContains"),
            unevaluated: fields.find("unevaluatedItems").map(|node| self.schema(node)),
        };
        self.check_range(fields, "minItems", rules.items_min, rules.items_max);
        self.check_range(fields, "minContains", rules.contains_min.unwrap_or(0), rules.contains_max);
        (rules != ArrayRules::default()).then(|| Box::new(rules))
    }

    pub(super) fn check_range(&mut self, fields: Fields<'d>, key: &str, least: u64, most: Option<u64>) {
        if let Some(most) = most.filter(|most| least > *most)
            && let Some((key, _)) = fields.entry(key)
        {
            let other = key.text.replacen("min", "max", 1);
            let message = format!("`{}` is {least}, and `{other}` is {most}", key.text);
            self.wrong(key.at, message, "nothing could be both; exchange them, or mend one");
        }
    }

    fn at_either(&self, fields: Fields<'d>, keys: &[&str]) -> Option<Span> {
        keys.iter().find_map(|key| fields.entry(key)).map(|(key, _)| key.at)
    }

    /// Rules that cannot do what they look like.
    pub(super) fn check_effects(&mut self, fields: Fields<'d>, schema: &Schema, role: Role) {
        let groups: [(TypeSet, &[&str]); 4] = [
            (TypeSet::NUMBER, &FOR_NUMBERS),
            (TypeSet::STRING, &FOR_TEXTS),
            (TypeSet::ARRAY, &FOR_LISTS),
            (TypeSet::OBJECT, &FOR_OBJECTS),
        ];
        for (types, keywords) in groups {
            if schema.types.meets(types) || schema.types.is_empty() {
                continue;
            }
            for (key, node) in fields.entries.iter().filter(|(key, _)| keywords.contains(&key.text.as_str()))
            {
                if node.value == Value::Bool(false) {
                    continue;
                }
                let message = format!("`{}` has no effect on type {}", key.text, schema.types);
                self.lint(
                    key.at,
                    Lint::RuleWithoutEffect,
                    message,
                    "mend `type`, or move the rule to where it holds",
                );
            }
        }
        let untyped = role == Role::Whole
            && !fields.has("type")
            && schema.values.is_none()
            && schema.combined.is_none();
        if untyped && let Some((key, _)) = fields.entry("properties") {
            let message = "`properties` without `type`: a value that is no object passes all of these rules";
            self.lint(key.at, Lint::PropertiesWithoutType, message, "write `type: object`");
        }
    }
}
