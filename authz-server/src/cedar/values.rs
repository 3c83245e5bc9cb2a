//! Values as Cedar holds them: from the attributes that people write, and from what a request brings.
//!
//! INVARIANT: a value is of exactly the kind that was declared for it, or it is a problem with a place.

use super::types::{Attribute, AttributeType};
use crate::bundle::EntityDeclarations;
use crate::bundle::yaml::{Node, Value};
use crate::bundle::{Problem, Reader};
use crate::value::decimal;
use cedar_policy::{Context, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use std::collections::BTreeMap;
use std::str::FromStr as _;

/// What is needed to read attributes.
pub(super) struct Attributes<'a> {
    pub(super) declared: &'a EntityDeclarations,
    /// Entities that exist without being declared: services.
    pub(super) exists: &'a dyn Fn(&str, &str) -> bool,
}

impl Attributes<'_> {
    /// Reads the attributes of an entity or the fields of a record. `whole` is what they belong to.
    pub(super) fn record(
        &self,
        entries: &[(crate::bundle::yaml::Key, Node)],
        attributes: &BTreeMap<String, Attribute>,
        whole: (&str, crate::bundle::yaml::Span),
        reader: &mut Reader<'_>,
    ) -> Vec<(String, RestrictedExpression)> {
        let (what, at) = whole;
        let mut read = Vec::new();
        for (key, node) in entries {
            match attributes.get(&key.text) {
                Some(attribute) => {
                    let value = self.value(node, &attribute.kind, reader);
                    read.extend(value.map(|value| (key.text.clone(), value)));
                }
                None => {
                    let message = format!("{what} has no attribute `{}`", key.text);
                    let known: Vec<_> = attributes.keys().map(|name| format!("`{name}`")).collect();
                    let help = match known.as_slice() {
                        [] => "declare it in a schema fragment".to_owned(),
                        known => format!("its attributes are {}", known.join(", ")),
                    };
                    let problem = Problem::new(reader.place(key.at), message);
                    reader.push(problem.suggest(&key.text, attributes.keys().map(String::as_str)).help(help));
                }
            }
        }
        for (name, attribute) in attributes {
            if attribute.required && entries.iter().all(|(key, _)| key.text != *name) {
                let message = format!("{what} has no value for attribute `{name}`");
                reader.wrong(at, message, format!("expected {}", expected(&attribute.kind)));
            }
        }
        read
    }

    fn value(
        &self,
        node: &Node,
        kind: &AttributeType,
        reader: &mut Reader<'_>,
    ) -> Option<RestrictedExpression> {
        let value = match (kind, &node.value) {
            (AttributeType::String, Value::Text(text)) => {
                Some(RestrictedExpression::new_string(text.clone()))
            }
            (AttributeType::Long, Value::Number(written)) => {
                crate::value::long(written).map(RestrictedExpression::new_long)
            }
            (AttributeType::Bool, Value::Bool(value)) => Some(RestrictedExpression::new_bool(*value)),
            (AttributeType::Extension(name), Value::Text(text) | Value::Number(text)) => {
                extension(name, text)
            }
            (AttributeType::Entity(kind), Value::Text(id)) => return self.entity(node, kind, id, reader),
            (AttributeType::Set(element), Value::List(items)) => {
                // All items are read before one that failed ends it, so that every problem is reported.
                let read: Vec<_> = items.iter().map(|item| self.value(item, element, reader)).collect();
                return Some(RestrictedExpression::new_set(read.into_iter().collect::<Option<Vec<_>>>()?));
            }
            (AttributeType::Record(attributes), Value::Map(entries)) => {
                let fields = self.record(entries, attributes, ("this record", node.at), reader);
                return RestrictedExpression::new_record(fields).ok();
            }
            _ => None,
        };
        if value.is_none() {
            let found = match &node.value {
                Value::Text(text) | Value::Number(text) => format!("`{text}`"),
                _ => node.kind().to_owned(),
            };
            let message = format!("expected {}, found {found}", expected(kind));
            let problem = Problem::new(reader.place(node.at), message);
            reader.push(match (kind, &node.value) {
                (AttributeType::String, Value::Number(written)) => {
                    problem.help(format!("quote it: `\"{written}\"`"))
                }
                _ => problem,
            });
        }
        value
    }

    fn entity(
        &self,
        node: &Node,
        kind: &str,
        id: &str,
        reader: &mut Reader<'_>,
    ) -> Option<RestrictedExpression> {
        let name = super::EntityName { kind: kind.to_owned(), id: id.to_owned() };
        if self.declared.find(&name).is_none() && !(self.exists)(kind, id) {
            let problem = Problem::new(reader.place(node.at), format!("`{kind}` `{id}` is declared nowhere"));
            reader.push(problem.suggest(id, self.declared.ids(kind)).help(crate::bundle::declare(kind)));
            return None;
        }
        let kind = EntityTypeName::from_str(kind).ok()?;
        Some(RestrictedExpression::new_entity_uid(EntityUid::from_type_name_and_id(kind, EntityId::new(id))))
    }
}

/// A value of an extension, if its text is one.
fn extension(name: &str, text: &str) -> Option<RestrictedExpression> {
    let value = match name {
        "decimal" => RestrictedExpression::new_decimal(decimal(text)?),
        "ipaddr" => RestrictedExpression::new_ip(text),
        _ => return None,
    };
    // Only evaluation finds out whether the text is such a value.
    Context::from_pairs([("value".to_owned(), value.clone())]).ok().map(|_| value)
}

fn expected(kind: &AttributeType) -> String {
    match kind {
        AttributeType::String => "a text".to_owned(),
        AttributeType::Long => "a whole number of 64 bits".to_owned(),
        AttributeType::Bool => "`true` or `false`".to_owned(),
        AttributeType::Extension(name) if name == "decimal" => {
            "a number with at most four digits after its point".to_owned()
        }
        AttributeType::Extension(name) if name == "ipaddr" => {
            "an address such as `10.1.2.3` or a range such as `10.0.0.0/8`".to_owned()
        }
        AttributeType::Extension(name) => format!("a value of type `{name}`, which this build does not read"),
        AttributeType::Entity(kind) => format!("the id of a `{kind}`"),
        AttributeType::Set(element) => format!("a list, of which each is {}", expected(element)),
        AttributeType::Record(_) => "a map".to_owned(),
    }
}
