//! Changes of groups and callers, and of the tests that came with a bundle.

use super::{Area, Found, Kind};
use crate::bundle::entities::{Declared, EntityDeclarations, shown};
use crate::bundle::{Bundle, Case};
use crate::cedar::EntityName;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn compare(before: &Bundle, after: &Bundle, found: &mut Found) {
    let shown = |declared: &&Declared| match parents(declared).as_slice() {
        [] => String::new(),
        parents => format!("in {}", parents.join(", ")),
    };
    let (old, new) = (all(&before.entities), all(&after.entities));
    found.named(Area::Entities, &old, &new, shown, |found, name, old, new| {
        let (was, is) = (parents(old), parents(new));
        for gone in was.iter().filter(|parent| !is.contains(parent)) {
            found.change(Area::Entities, Kind::Removed, name).what("member of").before(gone.clone());
        }
        for added in is.iter().filter(|parent| !was.contains(parent)) {
            found.change(Area::Entities, Kind::Added, name).what("member of").after(added.clone());
        }
        let attributes: BTreeSet<&String> = old.attributes.keys().chain(new.attributes.keys()).collect();
        for attribute in attributes {
            let value = |declared: &Declared| declared.attributes.get(attribute).cloned().unwrap_or_default();
            found.part(Area::Entities, name, attribute, value(old), value(new));
        }
    });
    let nothing = |_: &Case| String::new();
    found.named(Area::Tests, &cases(before), &cases(after), nothing, |found, name, old, new| {
        if (&old.caller, &old.request, &old.expect) != (&new.caller, &new.request, &new.expect) {
            found.change(Area::Tests, Kind::Changed, name);
        }
    });
}

/// Each entity, by what it is and is called.
fn all(entities: &EntityDeclarations) -> BTreeMap<String, &Declared> {
    let named = [
        ("group", &entities.groups),
        ("role", &entities.roles),
        ("tier", &entities.tiers),
        ("client", &entities.clients),
        ("workload", &entities.workloads),
        ("user", &entities.users),
        ("service", &entities.services),
    ];
    let others = entities.others.iter().map(|(kind, declared)| (kind.as_str(), declared));
    let of_kind = |(what, declared)| {
        let declared: &BTreeMap<String, Declared> = declared;
        declared.iter().map(move |(name, declared)| (format!("{what} {name}"), declared))
    };
    named.into_iter().chain(others).flat_map(of_kind).collect()
}

fn parents(declared: &Declared) -> Vec<String> {
    let word = |name: &EntityName| shown(name).replace('`', "");
    let mut parents: Vec<_> = declared.parents.iter().map(word).collect();
    parents.sort();
    parents.dedup();
    parents
}

fn cases(bundle: &Bundle) -> BTreeMap<String, Case> {
    let files = bundle.cases.iter();
    files
        .flat_map(|file| {
            file.cases.iter().map(|case| (format!("{}: {}", file.path, case.name), case.clone()))
        })
        .collect()
}
