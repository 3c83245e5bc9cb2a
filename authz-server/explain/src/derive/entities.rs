//! Changes of what principal and resource belong to, and as the last resort of who calls and what.

use super::{concrete, settable};
use crate::change::{Change, Edit, Kind, Who};
use crate::derive::values;
use crate::path::{Path, Root};
use crate::shown;
use crate::world::World;
use cedar_policy::{EntityTypeName, EntityUid};
use serde_json::Value as Json;
use std::str::FromStr as _;

/// How many callers are proposed to somebody without a credential.
const CALLERS_MAX: usize = 3;

/// How many actions are named.
const ACTIONS_MAX: usize = 6;

pub(super) fn within(world: &World<'_>, left: &Json, right: &Json, goal: bool) -> Vec<Change> {
    let Some(parents) = concrete(world, right).map(uids) else { return Vec::new() };
    let who = match Path::of(left) {
        Some(Path { root: Root::Principal, keys }) if keys.is_empty() => Who::Principal,
        Some(Path { root: Root::Resource, keys }) if keys.is_empty() => Who::Resource,
        Some(Path { root: Root::Action, keys }) if keys.is_empty() && goal => {
            return one_of(parents, ACTIONS_MAX, Kind::Action, Edit::Action, "the action were");
        }
        Some(_) | None => {
            let Some(path) = settable(left).filter(|_| goal) else { return Vec::new() };
            return parents.iter().map(|parent| values::entity(world, &path, parent)).collect();
        }
    };
    if !goal {
        // Taking a resource out of its tier would weaken what stands guard over it.
        return if who == Who::Principal { leave(world, &parents) } else { Vec::new() };
    }
    let mut found: Vec<Change> = parents.iter().map(|parent| join(world, who, parent)).collect();
    if who == Who::Principal && world.anonymous {
        found.extend(callers(world, |uid| {
            parents.iter().any(|parent| world.entities.is_ancestor_of(parent, uid))
        }));
    }
    found
}

fn join(world: &World<'_>, who: Who, parent: &EntityUid) -> Change {
    let (kind, uid) = match who {
        Who::Principal => (Kind::Membership, &world.principal),
        Who::Resource => (Kind::ResourceMembership, &world.resource),
    };
    let name = who.root().word();
    let parent_name = shown::entity(parent);
    let words = if world.is_declared(uid) {
        format!("the {name} were in {parent_name}")
    } else {
        format!("the {name} were declared, in {parent_name}")
    };
    Change::one(kind, Edit::Join { who, parent: parent.clone() }, words)
}

/// Out of each of the groups that it is in now.
fn leave(world: &World<'_>, parents: &[EntityUid]) -> Vec<Change> {
    let inside = parents.iter().filter(|parent| world.entities.is_ancestor_of(parent, &world.principal));
    super::all(inside.map(|parent| {
        let words = format!("the principal were not in {}", shown::entity(parent));
        let edit = Edit::Leave { who: Who::Principal, parent: parent.clone() };
        vec![Change::one(Kind::Departure, edit, words)]
    }))
}

pub(super) fn of_type(world: &World<'_>, arguments: &Json, goal: bool) -> Vec<Change> {
    let (Some(left), Some(kind)) =
        (arguments.get("left"), arguments.get("entity_type").and_then(Json::as_str))
    else {
        return Vec::new();
    };
    let (Ok(kind), Some(Path { root, keys })) = (EntityTypeName::from_str(kind), Path::of(left)) else {
        return Vec::new();
    };
    if !keys.is_empty() {
        return Vec::new();
    }
    let uid = match root {
        Root::Principal => &world.principal,
        Root::Resource => &world.resource,
        Root::Action | Root::Context => return Vec::new(),
    };
    let within_what = arguments.get("in");
    if uid.type_name() == &kind {
        return within_what.map(|right| within(world, left, right, goal)).unwrap_or_default();
    }
    if root != Root::Principal || !goal {
        return Vec::new();
    }
    let parents = within_what.and_then(|right| concrete(world, right)).map(uids);
    if !world.anonymous && parents.is_none() {
        // Anybody else of another kind: nothing that could be granted.
        return Vec::new();
    }
    callers(world, |uid| {
        uid.type_name() == &kind
            && parents
                .as_ref()
                .is_none_or(|parents| parents.iter().any(|parent| world.entities.is_ancestor_of(parent, uid)))
    })
}

/// Somebody else as the caller.
pub(super) fn exactly(world: &World<'_>, uid: EntityUid) -> Vec<Change> {
    one_of(vec![uid], 1, Kind::Caller, Edit::Caller, caller_words(world))
}

fn caller_words(world: &World<'_>) -> &'static str {
    if world.anonymous { "the caller proved to be" } else { "the caller were" }
}

fn callers(world: &World<'_>, is: impl Fn(&EntityUid) -> bool) -> Vec<Change> {
    let kinds = world.principal_types();
    let declared = world.entities.iter().map(|entity| entity.uid());
    let mut found: Vec<EntityUid> = declared
        .filter(|uid| kinds.as_ref().is_none_or(|kinds| kinds.contains(uid.type_name())))
        .filter(|uid| *uid != world.principal && is(uid))
        .collect();
    found.sort_by_cached_key(ToString::to_string);
    one_of(found, CALLERS_MAX, Kind::Caller, Edit::Caller, caller_words(world))
}

/// Any of some entities; beside it each on its own, should not all of them do.
fn one_of(
    mut uids: Vec<EntityUid>,
    max: usize,
    kind: Kind,
    edit: impl Fn(EntityUid) -> Edit,
    before: &str,
) -> Vec<Change> {
    uids.truncate(max);
    let names: Vec<String> = uids.iter().map(shown::entity).collect();
    let single =
        |uid: &EntityUid, name: &String| Change::one(kind, edit(uid.clone()), format!("{before} {name}"));
    let mut found: Vec<Change> = uids.iter().zip(&names).map(|(uid, name)| single(uid, name)).collect();
    if let [first, _, ..] = uids.as_slice() {
        let words = format!("{before} one of {}", names.join(", "));
        let mut any = Change::one(kind, edit(first.clone()), words);
        any.also = uids.iter().skip(1).map(|uid| vec![edit(uid.clone())]).collect();
        found.insert(0, any);
    }
    found
}

/// The entities that a value names.
fn uids(value: Json) -> Vec<EntityUid> {
    let items = match value {
        Json::Array(items) => items,
        one => vec![one],
    };
    items.into_iter().filter_map(|item| EntityUid::from_json(item).ok()).collect()
}
