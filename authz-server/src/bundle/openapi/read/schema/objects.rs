//! Keywords that speak of objects, and those that combine schemas.

use super::Reading;
use crate::bundle::lints::Lint;
use crate::bundle::openapi::model::{Combined, Dependency, Discriminator, ObjectRules, SchemaId};
use crate::bundle::openapi::read::{Fields, keys};
use crate::bundle::problem::Problem;
use crate::bundle::yaml::{Key, Node, Value};
use std::collections::BTreeSet;

impl<'d> Reading<'d> {
    pub(super) fn object_rules(&mut self, fields: Fields<'d>) -> Option<Box<ObjectRules>> {
        let properties = self.schemas_by_name(fields, "properties");
        let dependent_schemas = self.schemas_by_name(fields, "dependentSchemas");
        let required = self.required(fields, &properties);
        let mut pattern_properties = Vec::new();
        for (key, node) in self.entries(fields, "patternProperties") {
            let schema = self.schema(node);
            pattern_properties.extend(self.pattern_of(key.at, &key.text).map(|pattern| (pattern, schema)));
        }
        pattern_properties.sort();
        let mut dependent_required = Vec::new();
        for (key, node) in self.entries(fields, "dependentRequired") {
            let names: BTreeSet<&str> = self.texts(node).into_iter().map(|(name, _)| name).collect();
            let needs = names.into_iter().map(Into::into).collect();
            dependent_required.push(Dependency { property: key.text.as_str().into(), needs });
        }
        dependent_required.sort();
        let additional = fields.find("additionalProperties").map(|node| match node.value {
            Value::Bool(true) => self.any(),
            Value::Bool(false) => self.nothing(),
            _ => self.schema(node),
        });
        let rules = ObjectRules {
            properties,
            required,
            pattern_properties: pattern_properties.into(),
            additional,
            names: fields.find("propertyNames").map(|node| self.schema(node)),
            properties_min: self.count(fields, "minProperties").unwrap_or(0),
            properties_max: self.count(fields, "maxProperties"),
            dependent_required: dependent_required.into(),
            dependent_schemas,
            unevaluated: fields.find("unevaluatedProperties").map(|node| self.schema(node)),
        };
        self.check_range(fields, "minProperties", rules.properties_min, rules.properties_max);
        (rules != ObjectRules::default()).then(|| Box::new(rules))
    }

    fn entries(&mut self, fields: Fields<'d>, key: &str) -> &'d [(Key, Node)] {
        self.named(fields.find(key), &format!("`{key}`"))
    }

    fn schemas_by_name(&mut self, fields: Fields<'d>, key: &str) -> Box<[(Box<str>, SchemaId)]> {
        let mut schemas = Vec::new();
        for (name, node) in self.entries(fields, key) {
            schemas.push((name.text.as_str().into(), self.schema(node)));
        }
        schemas.sort();
        schemas.into()
    }

    fn required(&mut self, fields: Fields<'d>, properties: &[(Box<str>, SchemaId)]) -> Box<[Box<str>]> {
        let Some(node) = fields.find("required") else { return Box::default() };
        if matches!(node.value, Value::Bool(_)) {
            let help = "name the property in `required` of the object that has it";
            self.wrong(node.at, format!("expected a list of names, found {}", node.kind()), help);
            return Box::default();
        }
        let mut names = BTreeSet::new();
        let closed =
            matches!(fields.find("additionalProperties"), Some(Node { value: Value::Bool(false), .. }))
                && !fields.has("allOf")
                && !fields.has("patternProperties")
                && !fields.has("$ref");
        for (name, at) in self.texts(node) {
            names.insert(name);
            let declared = properties.iter().any(|(known, _)| **known == *name);
            if closed && !declared {
                let message = format!("`{name}` is required and, by `additionalProperties: false`, refused");
                let problem = Problem::new(self.place(at), message)
                    .suggest(name, properties.iter().map(|(known, _)| known.as_ref()))
                    .help("declare it under `properties`, or remove it from `required`");
                self.push(problem);
            } else if !declared && !properties.is_empty() {
                let near = Problem::new(self.place(at), "")
                    .suggest(name, properties.iter().map(|(known, _)| known.as_ref()));
                if let Some(near) = near.suggestion {
                    let message = format!("`{name}` is required and is no property; there is `{near}`");
                    self.lint(
                        at,
                        Lint::RequiredUndeclared,
                        message,
                        "mend the name, or declare the property",
                    );
                }
            }
        }
        names.into_iter().map(Into::into).collect()
    }

    pub(super) fn combined(&mut self, fields: Fields<'d>) -> Option<Combined> {
        for (_, node) in self.entries(fields, "$defs") {
            self.schema(node);
        }
        let mut one = |key: &str| fields.find(key).map(|node| self.branch(node));
        let (not, condition, then, otherwise) = (one("not"), one("if"), one("then"), one("else"));
        let combined = Combined {
            all_of: self.branches(fields, "allOf").unwrap_or_default(),
            any_of: self.branches(fields, "anyOf"),
            one_of: self.branches(fields, "oneOf"),
            not,
            condition,
            then,
            otherwise,
            discriminator: fields.find("discriminator").and_then(|node| self.discriminator(node)),
        };
        (combined != Combined::default()).then_some(combined)
    }

    fn branches(&mut self, fields: Fields<'d>, key: &str) -> Option<Box<[SchemaId]>> {
        let (key, node) = fields.entry(key)?;
        let items = self.list(node)?;
        if items.is_empty() {
            self.wrong(key.at, format!("`{}` is empty", key.text), "name at least one schema");
        }
        Some(items.iter().map(|item| self.branch(item)).collect())
    }

    fn discriminator(&mut self, node: &'d Node) -> Option<Discriminator> {
        let fields = self.object(node, &keys::DISCRIMINATOR)?;
        let Some(property) = fields.find("propertyName") else {
            self.wrong(
                node.at,
                "the discriminator has no `propertyName`",
                "name the property that tells the kinds apart",
            );
            return None;
        };
        let property = self.text(property)?.into();
        let mut mapping: Vec<(Box<str>, SchemaId)> = Vec::new();
        for (value, target) in self.named(fields.find("mapping"), "the mapping") {
            if let Some(schema) = self.named_schema(target) {
                mapping.push((value.text.as_str().into(), self.schema(schema)));
            }
        }
        mapping.sort();
        Some(Discriminator { property, mapping: mapping.into() })
    }
}
