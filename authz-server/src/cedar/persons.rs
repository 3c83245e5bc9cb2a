//! Persons: what a token says of one, beside what the bundle does, as an entity.
//!
//! INVARIANT: groups and roles of both count. Where both tell an attribute, the token does: it is newer.

use super::entities::{uid, with_causes};
use super::types::{AttributeType, Types};
use super::{Policies, names};
use crate::identity::{ClaimKind, ClaimValue, User};
use cedar_policy::{Entities, Entity, EntityTypeName, EntityUid, RestrictedExpression};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::str::FromStr as _;

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

impl Policies {
    /// All entities, with a person whom the token tells of. A group that nobody declares is a name without parents.
    pub(super) fn with_person(&self, user: &User) -> Result<Entities, String> {
        let kind = |name: &str| EntityTypeName::from_str(name).map_err(|error| error.to_string());
        let (group, role) = (kind(names::GROUP)?, kind(names::ROLE)?);
        let name = uid(&kind(names::USER)?, &user.name());
        let groups = user.groups.iter().map(|name| uid(&group, name));
        let mut parents: HashSet<EntityUid> =
            groups.chain(user.roles.iter().map(|name| uid(&role, name))).collect();
        let mut attributes: HashMap<String, RestrictedExpression> = HashMap::new();
        if let Some(declared) = self.entities.get(&name) {
            let (_, written, above) = declared.clone().into_inner();
            attributes.extend(written);
            parents.extend(above);
        }
        attributes.extend(user.attributes.iter().map(|(name, value)| (name.clone(), expression(value))));
        let person = Entity::new(name, attributes, parents).map_err(|error| with_causes(&error))?;
        let entities = self.entities.clone();
        entities.upsert_entities([person], Some(&self.schema)).map_err(|error| with_causes(&error))
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
