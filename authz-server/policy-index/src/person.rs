//! A caller whose entity comes with the request: who it is, what it is in, what is known of it.
//!
//! INVARIANT: two persons are equal exactly where everything in them is; caches rest on it.

use cedar_policy::{Entity, EntityUid, EvalResult, RestrictedExpression};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};

/// An entity that no store holds. Made once per credential, not once per request.
#[derive(Debug, Clone)]
pub struct Person {
    uid: EntityUid,
    /// Sorted, each once.
    parents: Vec<EntityUid>,
    attributes: BTreeMap<String, EvalResult>,
    entity: Entity,
}

/// Why a person cannot be.
#[derive(Debug)]
pub struct PersonError(String);

impl Person {
    /// Fails where the value of an attribute cannot be computed, such as an address that is none.
    pub fn new(
        uid: EntityUid,
        parents: impl IntoIterator<Item = EntityUid>,
        attributes: impl IntoIterator<Item = (String, RestrictedExpression)>,
    ) -> Result<Person, PersonError> {
        let mut parents: Vec<EntityUid> = parents.into_iter().collect();
        parents.sort();
        parents.dedup();
        let values: HashMap<String, RestrictedExpression> = attributes.into_iter().collect();
        let set: HashSet<EntityUid> = parents.iter().cloned().collect();
        let entity = Entity::new(uid.clone(), values, set).map_err(PersonError::because)?;
        let value = |(name, value): (&str, Result<EvalResult, _>)| match value {
            Ok(value) => Ok((name.to_owned(), value)),
            Err(error) => Err(PersonError::because(error)),
        };
        let attributes = entity.attrs().map(value).collect::<Result<_, _>>()?;
        Ok(Person { uid, parents, attributes, entity })
    }

    pub fn uid(&self) -> &EntityUid {
        &self.uid
    }

    /// What it is in directly.
    pub fn parents(&self) -> &[EntityUid] {
        &self.parents
    }

    pub fn entity(&self) -> &Entity {
        &self.entity
    }
}

impl PartialEq for Person {
    fn eq(&self, other: &Person) -> bool {
        self.uid == other.uid && self.parents == other.parents && self.attributes == other.attributes
    }
}

impl Eq for Person {}

impl Hash for Person {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uid.hash(state);
        self.parents.hash(state);
        for (name, value) in &self.attributes {
            name.hash(state);
            hash(value, state);
        }
    }
}

/// Cedar's values have an order, so that of their parts is always the same.
fn hash<H: Hasher>(value: &EvalResult, state: &mut H) {
    match value {
        EvalResult::Bool(value) => value.hash(state),
        EvalResult::Long(number) => number.hash(state),
        EvalResult::String(text) | EvalResult::ExtensionValue(text) => text.hash(state),
        EvalResult::EntityUid(uid) => uid.hash(state),
        EvalResult::Set(items) => {
            items.len().hash(state);
            items.iter().for_each(|item| hash(item, state));
        }
        EvalResult::Record(fields) => {
            fields.len().hash(state);
            for (name, field) in fields.iter() {
                name.hash(state);
                hash(field, state);
            }
        }
    }
}

impl PersonError {
    fn because(error: impl fmt::Display) -> PersonError {
        PersonError(error.to_string())
    }
}

impl fmt::Display for PersonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PersonError {}
