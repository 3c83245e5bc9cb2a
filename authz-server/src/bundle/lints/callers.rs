//! Lints of groups and callers that nothing is about.

use super::{Found, Lint};
use crate::bundle::entities::{Declared, shown};
use crate::bundle::landscape::{Caller, Landscape};
use crate::bundle::statement::words;
use crate::cedar::{EntityName, EntityScope};
use std::collections::HashSet;

pub(super) fn look(landscape: &Landscape<'_>, found: &mut Found) {
    let entities = &landscape.bundle.entities;
    let named = named_in_policies(landscape);
    let kinds = [("Group", &entities.groups), ("Role", &entities.roles), ("Tier", &entities.tiers)];
    let used: HashSet<&EntityName> =
        entities.services.values().flat_map(|service| &service.parents).collect();
    for (kind, declared) in kinds {
        for (name, group) in declared {
            let this = EntityName { kind: kind.to_owned(), id: name.clone() };
            let what = shown(&this);
            if landscape.members(&this).next().is_none()
                && !landscape.is_claimed(&this)
                && !holds_services(landscape, &used, &this)
            {
                let message = format!("{what} has no members");
                let help = "put somebody into it, or remove it";
                found.warn(Lint::EmptyGroup, name, group.place.clone(), message, help);
            } else if !landscape.above(&this).iter().any(|name| named.contains(name)) {
                let message = format!("no policy speaks of {what}, nor of anything that it is in");
                let help = "name it in a policy, or remove it";
                found.warn(Lint::UnusedGroup, name, group.place.clone(), message, help);
            }
        }
    }
    let permitted = Permitted::of(landscape);
    let clients = entities.clients.iter().map(|(name, client)| (Caller::Client(name), name, client));
    let workloads = entities.workloads.iter().map(|(id, workload)| (Caller::Workload(id), id, workload));
    // A token may put a person into any group, so that nobody can say that they are permitted nothing.
    let told = landscape.bundle.palisade.identity.claims_groups()
        || landscape.bundle.palisade.identity.claims_roles();
    let users = entities.users.iter().filter(|_| !told).map(|(name, user)| (Caller::User(name), name, user));
    for (caller, name, Declared { place, .. }) in clients.chain(workloads).chain(users) {
        if !permitted.holds(landscape, caller) {
            let what = match caller {
                Caller::Client(_) => "client",
                Caller::Workload(_) => "workload",
                Caller::User(_) => "user",
            };
            let message = format!("no policy permits {what} `{name}` anything");
            let help = "put it into a group that a policy permits something, or remove it";
            found.warn(Lint::CallerWithoutPermit, name, place.clone(), message, help);
        }
    }
}

/// Whether a service is in it, also by way of something else.
fn holds_services(landscape: &Landscape<'_>, used: &HashSet<&EntityName>, name: &EntityName) -> bool {
    used.iter().any(|parent| landscape.above(parent).contains(name))
}

/// Entities whose name stands in the scope or in the text of a policy.
fn named_in_policies(landscape: &Landscape<'_>) -> HashSet<EntityName> {
    let mut named = HashSet::new();
    for policy in landscape.policies() {
        let words = words(&policy.text);
        for window in words.windows(4) {
            if let [kind, first, second, id] = window
                && first == ":"
                && second == ":"
                && let Some(id) = id.strip_prefix('"').and_then(|id| id.strip_suffix('"'))
            {
                named.insert(EntityName { kind: kind.clone(), id: id.to_owned() });
            }
        }
    }
    named
}

/// Whom permits hold.
#[derive(Debug, Default)]
struct Permitted {
    anyone: bool,
    kinds: HashSet<String>,
    names: HashSet<EntityName>,
    kinds_in: HashSet<(String, EntityName)>,
}

impl Permitted {
    fn of(landscape: &Landscape<'_>) -> Permitted {
        let mut permitted = Permitted::default();
        for policy in landscape.permits() {
            match policy.principal.clone() {
                EntityScope::Any => permitted.anyone = true,
                EntityScope::Is(kind) => {
                    permitted.kinds.insert(kind);
                }
                EntityScope::In(name) | EntityScope::Eq(name) => {
                    permitted.names.insert(name);
                }
                EntityScope::IsIn(kind, name) => {
                    permitted.kinds_in.insert((kind, name));
                }
            }
        }
        permitted
    }

    fn holds(&self, landscape: &Landscape<'_>, caller: Caller<'_>) -> bool {
        let (kind, id) = caller.name();
        let name = EntityName { kind: kind.to_owned(), id: id.to_owned() };
        self.anyone
            || self.kinds.contains(kind)
            || landscape
                .above(&name)
                .into_iter()
                .any(|above| self.names.contains(&above) || self.kinds_in.contains(&(kind.to_owned(), above)))
    }
}
