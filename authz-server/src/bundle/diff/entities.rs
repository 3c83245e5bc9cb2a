//! Changes of groups and callers, and of the tests that came with a bundle.

use super::{Area, Found, Kind};
use crate::bundle::entities::{Declared, EntityDeclarations};
use crate::bundle::{Bundle, Case};
use std::collections::BTreeMap;

pub(super) fn compare(before: &Bundle, after: &Bundle, found: &mut Found) {
    let in_groups = |groups: &Vec<String>| match groups.as_slice() {
        [] => String::new(),
        groups => format!("in {}", groups.join(", ")),
    };
    let (old, new) = (memberships(&before.entities), memberships(&after.entities));
    found.named(Area::Entities, &old, &new, in_groups, |found, name, old, new| {
        for group in old.iter().filter(|group| !new.contains(group)) {
            found.change(Area::Entities, Kind::Removed, name).what("group").before(group.clone());
        }
        for group in new.iter().filter(|group| !old.contains(group)) {
            found.change(Area::Entities, Kind::Added, name).what("group").after(group.clone());
        }
    });
    let nothing = |_: &Case| String::new();
    found.named(Area::Tests, &cases(before), &cases(after), nothing, |found, name, old, new| {
        if (&old.caller, &old.request, &old.expect) != (&new.caller, &new.request, &new.expect) {
            found.change(Area::Tests, Kind::Changed, name);
        }
    });
}

/// The groups of each entity, by what it is and is called.
fn memberships(entities: &EntityDeclarations) -> BTreeMap<String, Vec<String>> {
    let named = [
        ("group", &entities.groups),
        ("role", &entities.roles),
        ("tier", &entities.tiers),
        ("client", &entities.clients),
        ("workload", &entities.workloads),
        ("service", &entities.services),
    ];
    let others = entities.others.iter().map(|(kind, declared)| (kind.as_str(), declared));
    let groups = |declared: &Declared| {
        let mut groups: Vec<_> = declared.parents.iter().map(|parent| parent.id.clone()).collect();
        groups.sort();
        groups.dedup();
        groups
    };
    named
        .into_iter()
        .chain(others)
        .flat_map(|(what, declared)| {
            declared.iter().map(move |(name, declared)| (format!("{what} {name}"), groups(declared)))
        })
        .collect()
}

fn cases(bundle: &Bundle) -> BTreeMap<String, Case> {
    let files = bundle.cases.iter();
    files
        .flat_map(|file| {
            file.cases.iter().map(|case| (format!("{}: {}", file.path, case.name), case.clone()))
        })
        .collect()
}
