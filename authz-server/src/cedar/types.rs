//! The types of attributes that fragments declare, resolved, so that values in YAML can be read by them.

use super::fragments::{self, ATTRIBUTES, Fragment, is_own};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What an attribute holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttributeType {
    String,
    Long,
    Bool,
    /// A value of one of Cedar's extensions, by the name of its type.
    Extension(String),
    /// A reference to an entity of this type.
    Entity(String),
    Set(Box<AttributeType>),
    Record(BTreeMap<String, Attribute>),
}

/// One attribute of a record or an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) kind: AttributeType,
    pub(super) required: bool,
}

/// An entity type that a fragment declares.
#[derive(Debug, Clone)]
pub(super) struct DeclaredEntity {
    pub(super) attributes: BTreeMap<String, Attribute>,
    pub(super) parents: Vec<String>,
    /// Where its entities are all named in its declaration.
    pub(super) choices: Option<Vec<String>>,
}

/// All types of all fragments, by their full names.
#[derive(Debug, Default)]
pub(super) struct Types {
    commons: BTreeMap<String, AttributeType>,
    entities: BTreeMap<String, DeclaredEntity>,
}

/// References through references end here; Cedar refuses cycles itself, after this was read.
const REFERENCES_MAX: usize = 32;

const EXTENSIONS: [&str; 4] = ["decimal", "ipaddr", "datetime", "duration"];

struct Resolver<'a> {
    commons: BTreeMap<String, (&'a str, &'a Value)>,
    entities: BTreeSet<String>,
}

impl Types {
    pub(super) fn of(all: &[Fragment<'_>]) -> Types {
        let commons = fragments::all(all, "commonTypes");
        let commons: BTreeMap<_, _> = commons
            .into_iter()
            .map(|(namespace, name, value)| (full_name(namespace, name), (namespace, value)))
            .collect();
        let declared = fragments::all(all, "entityTypes");
        let entities = declared.iter().map(|(namespace, name, _)| full_name(namespace, name)).collect();
        let resolver = Resolver { commons, entities };
        let entities = declared.into_iter().map(|(namespace, name, declared)| {
            let shape = declared.get("shape").and_then(|shape| resolver.resolve(namespace, shape, 0));
            let attributes = match shape {
                Some(AttributeType::Record(attributes)) => attributes,
                _ => BTreeMap::new(),
            };
            let parents = declared.get("memberOfTypes").and_then(Value::as_array).into_iter().flatten();
            let parents =
                parents.filter_map(Value::as_str).map(|name| resolver.entity(namespace, name)).collect();
            let choices = declared
                .get("enum")
                .and_then(Value::as_array)
                .map(|choices| choices.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect());
            (full_name(namespace, name), DeclaredEntity { attributes, parents, choices })
        });
        let entities = entities.collect();
        let commons = resolver.commons.iter().filter_map(|(name, (namespace, value))| {
            Some((name.clone(), resolver.resolve(namespace, value, 0)?))
        });
        Types { commons: commons.collect(), entities }
    }

    pub(super) fn entity(&self, name: &str) -> Option<&DeclaredEntity> {
        self.entities.get(name)
    }

    pub(super) fn entity_names(&self) -> impl Iterator<Item = &str> {
        self.entities.keys().map(String::as_str)
    }

    /// The attributes that fragments give to an entity type, ours or theirs.
    pub(super) fn attributes_of(&self, kind: &str) -> Option<&BTreeMap<String, Attribute>> {
        match self.commons.get(&format!("{kind}{ATTRIBUTES}")) {
            Some(AttributeType::Record(attributes)) if is_own(kind) => Some(attributes),
            _ => self.entities.get(kind).map(|declared| &declared.attributes),
        }
    }
}

fn full_name(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}::{name}") }
}

impl Resolver<'_> {
    fn resolve(&self, namespace: &str, value: &Value, depth: usize) -> Option<AttributeType> {
        if depth > REFERENCES_MAX {
            return None;
        }
        let name = value.get("name").and_then(Value::as_str);
        match (value.get("type")?.as_str()?, name) {
            ("String", _) => Some(AttributeType::String),
            ("Long", _) => Some(AttributeType::Long),
            ("Boolean" | "Bool", _) => Some(AttributeType::Bool),
            ("Set", _) => {
                let element = self.resolve(namespace, value.get("element")?, depth + 1)?;
                Some(AttributeType::Set(Box::new(element)))
            }
            ("Record", _) => self.record(namespace, value, depth),
            ("Extension", Some(name)) => Some(AttributeType::Extension(name.to_owned())),
            ("Entity", Some(name)) => Some(AttributeType::Entity(self.entity(namespace, name))),
            ("EntityOrCommon", Some(name)) | (name, _) => Some(self.named(namespace, name, depth)?),
        }
    }

    fn record(&self, namespace: &str, value: &Value, depth: usize) -> Option<AttributeType> {
        let mut attributes = BTreeMap::new();
        for (name, declared) in value.get("attributes")?.as_object()? {
            let required = declared.get("required").and_then(Value::as_bool).unwrap_or(true);
            let kind = self.resolve(namespace, declared, depth + 1)?;
            attributes.insert(name.clone(), Attribute { kind, required });
        }
        Some(AttributeType::Record(attributes))
    }

    /// Cedar's own order: a common type before a built-in one before an entity type, the own namespace before none.
    fn named(&self, namespace: &str, name: &str, depth: usize) -> Option<AttributeType> {
        let name = name.strip_prefix("__cedar::").unwrap_or(name);
        for candidate in [full_name(namespace, name), name.to_owned()] {
            if let Some((namespace, value)) = self.commons.get(&candidate) {
                return self.resolve(namespace, value, depth + 1);
            }
        }
        Some(match name {
            "String" => AttributeType::String,
            "Long" => AttributeType::Long,
            "Bool" => AttributeType::Bool,
            _ if EXTENSIONS.contains(&name) => AttributeType::Extension(name.to_owned()),
            _ => AttributeType::Entity(self.entity(namespace, name)),
        })
    }

    fn entity(&self, namespace: &str, name: &str) -> String {
        let inner = full_name(namespace, name);
        if self.entities.contains(&inner) { inner } else { name.to_owned() }
    }
}
