//! Changes of sets, and of what should be a member of one.

use super::values::{current, different, is_words, put, told};
use super::{concrete, settable};
use crate::change::{Change, Edit};
use crate::errors;
use crate::path::Path;
use crate::shown;
use crate::world::World;
use serde_json::Value as Json;

/// How many members of a set are tried for one value.
const MEMBERS_MAX: usize = 8;

pub(super) fn contains(world: &World<'_>, set: &Json, member: &Json, goal: bool) -> Vec<Change> {
    let mut found = Vec::new();
    if let (Some(path), Some(value)) = (settable(set), concrete(world, member)) {
        let told = told(world, member, &value);
        found.extend(edited(world, &path, &[value], &told, goal));
    }
    let members = concrete(world, set).and_then(|set| set.as_array().cloned());
    if let (Some(path), Some(members)) = (settable(member), members) {
        found.extend(if goal {
            member_of(world, &path, set, &members)
        } else {
            not_member_of(world, &path, set, &members)
        });
    }
    found
}

pub(super) fn contains_any(world: &World<'_>, set: &Json, others: &Json, goal: bool) -> Vec<Change> {
    let others_now = concrete(world, others).and_then(|others| others.as_array().cloned());
    let (Some(path), Some(values)) = (settable(set), others_now) else { return Vec::new() };
    if !goal {
        let told = told(world, others, &Json::Array(values.clone()));
        return edited(world, &path, &values, &format!("any of {told}"), false).into_iter().collect();
    }
    let each = values.iter().take(MEMBERS_MAX);
    each.filter_map(|value| {
        edited(world, &path, std::slice::from_ref(value), &told(world, others, value), true)
    })
    .collect()
}

pub(super) fn contains_all(world: &World<'_>, set: &Json, others: &Json, goal: bool) -> Vec<Change> {
    let others_now = concrete(world, others).and_then(|others| others.as_array().cloned());
    let (Some(path), Some(values), true) = (settable(set), others_now, goal) else { return Vec::new() };
    let told = told(world, others, &Json::Array(values.clone()));
    edited(world, &path, &values, &format!("all of {told}"), true).into_iter().collect()
}

/// A set with some values more, or less.
fn edited(world: &World<'_>, path: &Path, values: &[Json], told: &str, goal: bool) -> Option<Change> {
    let mut set = match world.value_at(path) {
        Some(Json::Array(items)) => items,
        Some(_) => return None,
        None => Vec::new(),
    };
    set.retain(|item| !values.contains(item));
    if goal {
        set.extend(values.iter().cloned());
    }
    let now =
        current(world, path).replace("(it is absent)", "(it has none)").replace("(it is [", "(it has [");
    let words = match (path.is_scopes(), goal) {
        (true, true) => format!("the credential had scope {told}{now}"),
        (true, false) => format!("the credential had not scope {told}"),
        (false, true) => format!("{} contained {told}{now}", errors::text(path)),
        (false, false) => format!("{} did not contain {told}{now}", errors::text(path)),
    };
    Some(put(path, Some(Json::Array(set)), words))
}

fn member_of(world: &World<'_>, path: &Path, set: &Json, members: &[Json]) -> Vec<Change> {
    let members = members.get(..MEMBERS_MAX).unwrap_or(members);
    let single = |member: &Json| {
        let told = told(world, set, member);
        put(path, Some(member.clone()), is_words(world, path, &told, true))
    };
    let mut found: Vec<Change> = members.iter().map(single).collect();
    if let [first, rest @ ..] = members
        && !rest.is_empty()
    {
        let names: Vec<String> = members.iter().map(shown::json).collect();
        let told = format!("one of {}", names.join(", "));
        let mut any = put(path, Some(first.clone()), is_words(world, path, &told, true));
        any.also = rest
            .iter()
            .map(|member| vec![Edit::Put { path: path.clone(), value: Some(member.clone()) }])
            .collect();
        found.insert(0, any);
    }
    found
}

fn not_member_of(world: &World<'_>, path: &Path, set: &Json, members: &[Json]) -> Vec<Change> {
    let other = members.iter().filter_map(different).find(|other| !members.contains(other));
    let Some(other) = other else { return Vec::new() };
    let told = format!("none of {}", told(world, set, &Json::Array(members.to_vec())));
    let words = format!("{} were {told}{}", errors::text(path), current(world, path));
    vec![put(path, Some(other), words)]
}
