//! Persons: what a token says of one, beside what the bundle does, as an entity.
//!
//! INVARIANT: groups and roles of both count. Where both tell an attribute, the token does: it is newer.

use super::entities::{uid, with_causes};
use super::types::{AttributeType, Types};
use super::{Policies, names};
use crate::identity::{ClaimKind, ClaimValue, User};
use cedar_policy::{Entities, EntityTypeName, EntityUid, RestrictedExpression};
use hashlink::LruCache;
use palisade_policy_index::Person;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};

/// What a fragment says of an attribute of persons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserAttribute {
    /// `None`: of a kind that no token can tell.
    pub kind: Option<ClaimKind>,
    pub required: bool,
}

pub(super) fn attributes(types: &Types) -> BTreeMap<String, UserAttribute> {
    let kind = |kind: &AttributeType| match kind {
        AttributeType::String => Some(ClaimKind::Text),
        AttributeType::Long => Some(ClaimKind::Long),
        AttributeType::Bool => Some(ClaimKind::Bool),
        AttributeType::Set(element) if **element == AttributeType::String => Some(ClaimKind::Texts),
        AttributeType::Set(_)
        | AttributeType::Extension(_)
        | AttributeType::Entity(_)
        | AttributeType::Record(_) => None,
    };
    let declared = types.attributes_of(names::USER).into_iter().flatten();
    declared
        .map(|(name, attribute)| {
            (name.clone(), UserAttribute { kind: kind(&attribute.kind), required: attribute.required })
        })
        .collect()
}

/// Persons that were made an entity of. More than call within minutes; each is a kilobyte or two.
const PERSONS_MAX: usize = 16 * 1024;

/// Persons as entities, so that one who calls again is not made anew.
pub(super) struct Persons(Mutex<LruCache<Arc<User>, Arc<Person>>>);

impl Default for Persons {
    fn default() -> Persons {
        Persons(Mutex::new(LruCache::new(PERSONS_MAX)))
    }
}

impl fmt::Debug for Persons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Persons").finish_non_exhaustive()
    }
}

impl Policies {
    /// A person whom a token tells of, as an entity. A group that nobody declares is a name without parents.
    pub(super) fn person(&self, user: &Arc<User>) -> Result<Arc<Person>, String> {
        // A poisoned memory of persons is still one.
        let known = || self.persons.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(person) = known().get(user) {
            return Ok(person.clone());
        }
        let person = Arc::new(self.make_person(user)?);
        known().insert(user.clone(), person.clone());
        Ok(person)
    }

    fn make_person(&self, user: &User) -> Result<Person, String> {
        let kind = |name: &str| EntityTypeName::from_str(name).map_err(|error| error.to_string());
        let (group, role) = (kind(names::GROUP)?, kind(names::ROLE)?);
        let name = uid(&kind(names::USER)?, &user.name());
        let groups = user.groups.iter().map(|name| uid(&group, name));
        let mut parents: HashSet<EntityUid> =
            groups.chain(user.roles.iter().map(|name| uid(&role, name))).collect();
        let mut attributes: HashMap<String, RestrictedExpression> = HashMap::new();
        if let Some(declared) = self.index.entities().get(&name) {
            let (_, written, above) = declared.clone().into_inner();
            attributes.extend(written);
            parents.extend(above);
        }
        attributes.extend(user.attributes.iter().map(|(name, value)| (name.clone(), expression(value))));
        let person = Person::new(name, parents, attributes).map_err(|error| with_causes(&error))?;
        // What a token says must be what the schema has, as what the bundle says is.
        Entities::from_entities([person.entity().clone()], Some(&self.schema))
            .map_err(|error| with_causes(&error))?;
        Ok(person)
    }

    /// All entities with such a person, for tools that look at everything.
    pub(super) fn with_person(&self, user: &Arc<User>) -> Result<Entities, String> {
        let person = self.person(user)?;
        let entities = Entities::clone(self.index.entities());
        let with = entities.upsert_entities([person.entity().clone()], Some(&self.schema));
        with.map_err(|error| with_causes(&error))
    }
}

fn expression(value: &ClaimValue) -> RestrictedExpression {
    let text = |text: &String| RestrictedExpression::new_string(text.clone());
    match value {
        ClaimValue::Text(value) => text(value),
        ClaimValue::Long(number) => RestrictedExpression::new_long(*number),
        ClaimValue::Bool(value) => RestrictedExpression::new_bool(*value),
        ClaimValue::Texts(items) => RestrictedExpression::new_set(items.iter().map(text)),
    }
}
