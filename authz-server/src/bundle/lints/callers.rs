//! Lints of groups and callers that nothing is about.

use super::{Found, Lint};
use crate::bundle::entities::Declared;
use crate::bundle::landscape::{Caller, Landscape};
use crate::bundle::statement::words;
use crate::cedar::{EntityName, EntityScope};
use std::collections::HashSet;

pub(super) fn look(landscape: &Landscape<'_>, found: &mut Found) {
    let entities = &landscape.bundle.entities;
    let named = named_in_policies(landscape);
    // Groups of which no member, and no group above, is named anywhere.
    for (name, group) in &entities.groups {
        let this = EntityName { kind: "Group".to_owned(), id: name.clone() };
        if landscape.members(&this).next().is_none() {
            let message = format!("group `{name}` has no members");
            let help = "put clients, workloads or other groups into it, or remove it";
            found.warn(Lint::EmptyGroup, name, group.place.clone(), message, help);
            continue;
        }
        let above = landscape.above(&this);
        if !above.iter().any(|name| named.contains(name)) {
            let message = format!("no policy speaks of group `{name}`, nor of a group that it is in");
            let help = "name it in a policy, or remove it";
            found.warn(Lint::UnusedGroup, name, group.place.clone(), message, help);
        }
    }
    let permitted = Permitted::of(landscape);
    let clients = entities.clients.iter().map(|(name, client)| (Caller::Client(name), name, client));
    let workloads = entities.workloads.iter().map(|(id, workload)| (Caller::Workload(id), id, workload));
    for (caller, name, Declared { place, .. }) in clients.chain(workloads) {
        if !permitted.holds(landscape, caller) {
            let what = match caller {
                Caller::Client(_) => "client",
                Caller::Workload(_) => "workload",
            };
            let message = format!("no policy permits {what} `{name}` anything");
            let help = "put it into a group that a policy permits something, or remove it";
            found.warn(Lint::CallerWithoutPermit, name, place.clone(), message, help);
        }
    }
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
        let (kind, id) = match caller {
            Caller::Client(name) => ("Client", name),
            Caller::Workload(id) => ("Workload", id),
        };
        let name = EntityName { kind: kind.to_owned(), id: id.to_owned() };
        self.anyone
            || self.kinds.contains(kind)
            || landscape
                .above(&name)
                .into_iter()
                .any(|above| self.names.contains(&above) || self.kinds_in.contains(&(kind.to_owned(), above)))
    }
}
