//! The entities that policies are evaluated against: what a bundle declares, its services, and nobody.
//!
//! INVARIANT: every entity conforms to the schema; the server never sees one that Cedar would not accept.

use super::fragments::parents_of;
use super::names;
use super::types::Types;
use super::values::Attributes;
use crate::bundle::{EntityDeclarations, EntitySource, Place, Problem, Problems, Reader};
use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression, Schema};
use palisade_core::contract::Contract;
use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;

pub(super) fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// Checks what is declared against the types, and makes entities of it.
pub(super) fn read(
    contract: &Contract,
    sources: &[EntitySource<'_>],
    declared: &EntityDeclarations,
    types: &Types,
    problems: &mut Problems,
) -> Vec<Entity> {
    let is_service = |id: &str| contract.services().iter().any(|service| *service.name == *id);
    let exists = |kind: &str, id: &str| {
        let choices = types.entity(kind).and_then(|declared| declared.choices.as_ref());
        (kind == names::SERVICE && is_service(id))
            || (kind == names::ANONYMOUS && id == names::ANYBODY)
            || choices.is_some_and(|choices| choices.iter().any(|choice| choice == id))
    };
    let reader = Attributes { declared, exists: &exists };
    let mut all = Vec::new();
    for source in sources {
        all.extend(entity(source, &reader, types, problems));
    }
    let named: HashSet<&str> = declared.ids(names::SERVICE).collect();
    for service in contract.services().iter().filter(|service| !named.contains(service.name.as_ref())) {
        let required = types.attributes_of(names::SERVICE).into_iter().flatten();
        for (attribute, _) in required.filter(|(_, attribute)| attribute.required) {
            if *service.name == *palisade_core::canary::SERVICE {
                continue;
            }
            let place = Place::directory(&format!("services/{}", service.name));
            let message = format!("service `{}` has no value for attribute `{attribute}`", service.name);
            let help = "give it one in `entities/*.yaml` under `services`, or make the attribute optional";
            problems.push(Problem::new(place, message).help(help));
        }
        all.extend(bare(names::SERVICE, &service.name));
    }
    all.extend(bare(names::ANONYMOUS, names::ANYBODY));
    // The canary's service has no attributes and is never asked about; it would be the one that does not conform.
    all.retain(|entity| !is_canary(entity));
    all
}

/// Cedar's own word on all of them together.
pub(super) fn conform(
    all: Vec<Entity>,
    schema: &Schema,
    sources: &[EntitySource<'_>],
    problems: &mut Problems,
) -> Entities {
    match Entities::from_entities(all, Some(schema)) {
        Ok(entities) => entities,
        Err(error) => {
            let message = with_causes(&error);
            let named = sources.iter().find(|source| {
                message.contains(&format!("{}::\"{}\"", source.name.kind, source.name.id.escape_debug()))
            });
            let place = named.map_or_else(|| Place::directory("entities"), |source| source.place.clone());
            problems.push(Problem::new(place, message));
            Entities::empty()
        }
    }
}

fn is_canary(entity: &Entity) -> bool {
    let uid = entity.uid();
    uid.id().unescaped() == palisade_core::canary::SERVICE && uid.type_name().to_string() == names::SERVICE
}

fn bare(kind: &str, id: &str) -> Option<Entity> {
    Some(Entity::new_no_attrs(uid(&EntityTypeName::from_str(kind).ok()?, id), HashSet::new()))
}

fn entity(
    source: &EntitySource<'_>,
    attributes: &Attributes<'_>,
    types: &Types,
    problems: &mut Problems,
) -> Option<Entity> {
    let name = &source.name;
    let declared = types.entity(&name.kind);
    let own = parents_of(&name.kind);
    if own.is_none() && declared.is_none() {
        let problem = Problem::new(
            source.place.clone(),
            format!("no schema fragment declares entity type `{}`", name.kind),
        );
        problems.push(
            problem
                .suggest(&name.kind, types.entity_names())
                .help(format!("declare `entity {};` in a file `*.cedarschema`", name.kind)),
        );
        return None;
    }
    let allowed = |kind: &str| match (own, declared) {
        (Some(own), _) => own.contains(&kind),
        (None, Some(declared)) => declared.parents.iter().any(|parent| parent == kind),
        (None, None) => false,
    };
    for (parent, at) in source.parents.iter().filter(|(parent, _)| !allowed(&parent.kind)) {
        let message = format!("a `{}` cannot be in a `{}`", name.kind, parent.kind);
        let help = format!("say so in the schema fragment: `entity {} in [{}];`", name.kind, parent.kind);
        problems.push(Problem::new(source.place_of(*at), message).help(help));
    }
    let none = std::collections::BTreeMap::new();
    let expected = types.attributes_of(&name.kind).unwrap_or(&none);
    let mut reader = Reader::new(source.file);
    let entries = source.attributes.0.as_ref().and_then(|node| node.as_map()).unwrap_or_default();
    let at = source.attributes.0.as_ref().map_or(source.at, |node| node.at);
    let attributes = attributes.record(entries, expected, (&source.shown(), at), &mut reader);
    problems.extend(reader.problems);
    let attributes: HashMap<String, RestrictedExpression> = attributes.into_iter().collect();
    let parents: Option<HashSet<EntityUid>> = source
        .parents
        .iter()
        .map(|(parent, _)| Some(uid(&EntityTypeName::from_str(&parent.kind).ok()?, &parent.id)))
        .collect();
    let kind = EntityTypeName::from_str(&name.kind).ok()?;
    match Entity::new(uid(&kind, &name.id), attributes, parents?) {
        Ok(entity) => Some(entity),
        Err(error) => {
            problems.push(Problem::new(source.place.clone(), error.to_string()));
            None
        }
    }
}

/// A message of Cedar's with what it rests on.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}
