//! One schema as the core asks it.

use super::values::{decimal, values};
use super::{Compiler, Direction, Located, Misdirected, Source, Unchecked};
use crate::bundle::openapi::{
    ArrayRules, Combined, Decimal, Discriminator, Model, NumberRules, ObjectRules, Pattern, Schema, SchemaId,
    TextRules, TypeSet,
};
use palisade_core::number;
use palisade_core::schema::{self, Barred, Format, NamedRules, Node, NumberFormat, SchemaIndex, Types};

/// Formats that say how a text is shown or sent, and nothing of what it may be.
const SILENT_FORMATS: [&str; 2] = ["password", "binary"];

/// Ends of the ranges that formats of numbers mean. A float's are half a step above its greatest number, where rounding
/// still comes down to it, in as many digits as are computed with.
const NUMBER_FORMATS: [(&str, bool, &str, &str); 6] = [
    ("int8", true, "-128", "127"),
    ("int16", true, "-32768", "32767"),
    ("int32", true, "-2147483648", "2147483647"),
    ("int64", true, "-9223372036854775808", "9223372036854775807"),
    ("float", false, "-340282356779733661637539395458142568e3", "340282356779733661637539395458142568e3"),
    (
        "double",
        false,
        "-179769313486231580793728971405303415e273",
        "179769313486231580793728971405303415e273",
    ),
];

/// Whether a property's schema says that it belongs in one direction only.
pub(super) fn mark(model: &Model, property: SchemaId) -> Option<Barred> {
    let schema = model.schema(property);
    // A reference with a mark beside it stands among `all_of`, and so does what carries the mark itself.
    let parts = schema.combined.iter().flat_map(|combined| &combined.all_of).map(|id| model.schema(*id));
    let mut all = parts.chain([schema]);
    all.find_map(|schema| match (schema.read_only, schema.write_only) {
        (true, _) => Some(Barred::ReadOnly),
        (false, true) => Some(Barred::WriteOnly),
        (false, false) => None,
    })
}

/// Where a schema stands that is being compiled.
#[derive(Debug, Clone, Copy)]
struct Here {
    source: usize,
    direction: Direction,
    index: SchemaIndex,
}

impl Compiler<'_> {
    pub(super) fn node(
        &mut self,
        source: usize,
        schema: &Schema,
        direction: Direction,
        index: SchemaIndex,
    ) -> Node {
        let here = Here { source, direction, index };
        Node {
            types: types(schema.types),
            values: schema.values.as_ref().and_then(|all| {
                let values = values(all);
                if values.is_none() {
                    self.refuse(index, "a value of `enum` cannot be kept exactly", "write fewer digits");
                }
                values.map(Box::new)
            }),
            number: schema.number.as_ref().map(|rules| Box::new(self.number(here, rules))),
            text: schema.text.as_ref().map(|rules| Box::new(self.text(here, rules))),
            array: schema.array.as_ref().map(|rules| Box::new(self.array(here, rules))),
            object: schema.object.as_ref().map(|rules| Box::new(self.object(here, rules))),
            combined: schema.combined.as_ref().map(|rules| Box::new(self.combined(here, rules))),
        }
    }

    fn child(&mut self, here: Here, schema: SchemaId, step: &str) -> SchemaIndex {
        let Some(Located { service, origin, way }) = self.place(here.index).cloned() else {
            return SchemaIndex(u32::MAX);
        };
        let at = Located { service, origin, way: format!("{way}, {step}") };
        self.reserve(schema, here.direction, &at)
    }

    fn exact(&mut self, here: Here, written: Decimal) -> Option<number::Decimal> {
        let number = decimal(written);
        if number.is_none() {
            let message = format!("`{written}` cannot be kept exactly");
            self.refuse(here.index, message, "write fewer digits");
        }
        number
    }

    fn number(&mut self, here: Here, rules: &NumberRules) -> schema::NumberRules {
        let mut bound = |bound: &Option<crate::bundle::openapi::Bound>| {
            let bound = bound.as_ref()?;
            let value = self.exact(here, bound.value)?;
            Some(schema::Bound { value, exclusive: bound.exclusive })
        };
        let (minimum, maximum) = (bound(&rules.minimum), bound(&rules.maximum));
        let multiple_of = rules.multiple_of.and_then(|step| self.exact(here, step));
        let format = rules.format.as_deref().and_then(|name| {
            let format = number_format(name);
            if format.is_none() {
                self.unknown_format(here, name);
            }
            format
        });
        schema::NumberRules { minimum, maximum, multiple_of, format }
    }

    /// JSON Schema lets a format that nobody knows pass; whoever wrote it should know.
    fn unknown_format(&mut self, here: Here, name: &str) {
        if let Some(at) = self.place(here.index).cloned() {
            self.unchecked.insert(Unchecked { at, format: name.into() });
        }
    }

    fn text(&mut self, here: Here, rules: &TextRules) -> schema::TextRules {
        let format = rules.format.as_deref().filter(|name| !SILENT_FORMATS.contains(name));
        schema::TextRules {
            length_min: rules.length_min,
            length_max: rules.length_max,
            pattern: rules.pattern.as_ref().and_then(|pattern| self.pattern(here, pattern)),
            format: format.and_then(|name| {
                let format = Format::parse(name);
                if format.is_none() {
                    self.unknown_format(here, name);
                }
                format
            }),
        }
    }

    fn pattern(&mut self, here: Here, pattern: &Pattern) -> Option<schema::PatternIndex> {
        let index = self.patterns.index(pattern);
        if index.is_none() {
            let message = format!("the pattern `{}` needs too large an automaton", pattern.written);
            self.refuse(here.index, message, "repeat less often, or bound the length by `maxLength`");
        }
        index
    }

    fn array(&mut self, here: Here, rules: &ArrayRules) -> schema::ArrayRules {
        let prefix = rules.prefix.iter().map(|id| self.child(here, *id, "`prefixItems`")).collect();
        let mut one = |id: Option<SchemaId>, step: &str| id.map(|id| self.child(here, id, step));
        schema::ArrayRules {
            prefix,
            items: one(rules.items, "`items`"),
            items_min: rules.items_min,
            items_max: rules.items_max,
            unique: rules.unique,
            contains: one(rules.contains, "`contains`"),
            contains_min: rules.contains_min.unwrap_or(1),
            contains_max: rules.contains_max,
            unevaluated: one(rules.unevaluated, "`unevaluatedItems`"),
        }
    }

    fn object(&mut self, here: Here, rules: &ObjectRules) -> schema::ObjectRules {
        let Some(Source { model, misdirected: misdirection, .. }) = self.models.get(here.source) else {
            return schema::ObjectRules::default();
        };
        let (model, misdirection) = (*model, *misdirection);
        let elsewhere = match here.direction {
            Direction::Request => Barred::ReadOnly,
            Direction::Response => Barred::WriteOnly,
        };
        let misdirected: Vec<Box<str>> = rules
            .properties
            .iter()
            .filter(|(_, id)| mark(model, *id) == Some(elsewhere))
            .map(|(name, _)| name.clone())
            .collect();
        let properties = rules.properties.iter().map(|(name, id)| {
            let schema = self.child(here, *id, &format!("property `{name}`"));
            (name.clone(), schema)
        });
        let mut named = NamedRules { properties: properties.collect(), ..NamedRules::default() };
        named.required = rules.required.iter().filter(|name| !misdirected.contains(name)).cloned().collect();
        for dependency in &rules.dependent_required {
            let needs = dependency.needs.iter().filter(|name| !misdirected.contains(name)).cloned();
            named.dependent_required.push((dependency.property.clone(), needs.collect()));
        }
        named.dependent_schemas = rules
            .dependent_schemas
            .iter()
            .map(|(name, id)| {
                (name.clone(), self.child(here, *id, &format!("`dependentSchemas` of `{name}`")))
            })
            .collect();
        if misdirection == Misdirected::Refused {
            named.barred = misdirected.into_iter().map(|name| (name, elsewhere)).collect();
        }
        let mut pattern_properties = Vec::new();
        for (pattern, id) in &rules.pattern_properties {
            let schema = self.child(here, *id, &format!("properties `{}`", pattern.written));
            pattern_properties.extend(self.pattern(here, pattern).map(|pattern| (pattern, schema)));
        }
        let mut one = |id: Option<SchemaId>, step: &str| id.map(|id| self.child(here, id, step));
        let mut object = schema::ObjectRules::named(named);
        object.pattern_properties = pattern_properties.into();
        object.additional = one(rules.additional, "`additionalProperties`");
        object.property_names = one(rules.names, "`propertyNames`");
        object.unevaluated = one(rules.unevaluated, "`unevaluatedProperties`");
        object.properties_min = rules.properties_min;
        object.properties_max = rules.properties_max;
        object
    }

    fn combined(&mut self, here: Here, rules: &Combined) -> schema::Combined {
        let mut all = |ids: &[SchemaId], step: &str| -> Box<[SchemaIndex]> {
            ids.iter().map(|id| self.child(here, *id, step)).collect()
        };
        let all_of = all(&rules.all_of, "`allOf`");
        let any_of = rules.any_of.as_ref().map(|ids| all(ids, "`anyOf`"));
        let one_of = rules.one_of.as_ref().map(|ids| all(ids, "`oneOf`"));
        let mut one = |id: Option<SchemaId>, step: &str| id.map(|id| self.child(here, id, step));
        // Without a condition there is nothing to do after it.
        let is_conditional = rules.condition.is_some();
        schema::Combined {
            all_of,
            any_of,
            one_of,
            not: one(rules.not, "`not`"),
            condition: one(rules.condition, "`if`"),
            then: one(rules.then.filter(|_| is_conditional), "`then`"),
            otherwise: one(rules.otherwise.filter(|_| is_conditional), "`else`"),
            discriminator: rules.discriminator.as_ref().map(|known| self.discriminator(here, rules, known)),
        }
    }

    /// A value that is not in the mapping is the name of a branch.
    fn discriminator(
        &mut self,
        here: Here,
        rules: &Combined,
        discriminator: &Discriminator,
    ) -> schema::Discriminator {
        let model = self.models.get(here.source).map(|source| source.model);
        let mut mapping: Vec<_> = discriminator.mapping.to_vec();
        let branches = rules.one_of.iter().chain(&rules.any_of).flatten();
        for branch in branches {
            let name = model.and_then(|model| model.schemas.name(*branch));
            if let Some(name) = name.filter(|name| mapping.iter().all(|(known, _)| **known != **name)) {
                mapping.push((name.into(), *branch));
            }
        }
        mapping.sort();
        let mapping = mapping.into_iter().map(|(value, id)| (value, self.child(here, id, "`discriminator`")));
        schema::Discriminator { property: discriminator.property.clone(), mapping: mapping.collect() }
    }
}

fn types(types: TypeSet) -> Types {
    let known = [
        (TypeSet::NULL, Types::NULL),
        (TypeSet::BOOLEAN, Types::BOOLEAN),
        (TypeSet::INTEGER, Types::INTEGER),
        (TypeSet::NUMBER, Types::FRACTION),
        (TypeSet::STRING, Types::STRING),
        (TypeSet::ARRAY, Types::ARRAY),
        (TypeSet::OBJECT, Types::OBJECT),
    ];
    known
        .into_iter()
        .filter(|(known, _)| types.contains(*known))
        .fold(Types::NONE, |all, (_, one)| all.union(one))
}

fn number_format(name: &str) -> Option<NumberFormat> {
    let (_, whole, least, most) = NUMBER_FORMATS.into_iter().find(|(known, ..)| *known == name)?;
    let exact = |text: &str| Decimal::parse(text).and_then(decimal);
    Some(NumberFormat { whole, least: exact(least)?, most: exact(most)? })
}
