//! Lints of what nobody may reach.

use super::places::Places;
use super::{Found, Lint};
use crate::bundle::landscape::{Holds, Landscape, full_name};
use crate::cedar::{ActionScope, Effect};
use std::collections::HashSet;

pub(super) fn look(landscape: &Landscape<'_>, places: &Places<'_>, found: &mut Found) {
    let mut reached = vec![false; landscape.operations.len()];
    for policy in landscape.permits().filter(|policy| landscape.holds(&policy.principal) != Holds::Nobody) {
        for operation in landscape.operations_of(policy).iter() {
            if let Some(reached) = reached.get_mut(*operation) {
                *reached = true;
            }
        }
    }
    let refused = refused_by_name(landscape);
    for service in &landscape.bundle.services {
        let name = service.name.as_str();
        let unreached: Vec<String> = landscape
            .operations
            .iter()
            .zip(&reached)
            .filter(|(matched, reached)| matched.service.name.as_ref() == name && !**reached)
            .map(|(matched, _)| full_name(*matched))
            .collect();
        let count =
            landscape.operations.iter().filter(|matched| matched.service.name.as_ref() == name).count();
        if unreached.len() == count {
            let message =
                format!("nobody may call service `{name}`: no policy permits any of its operations");
            let help = format!("write a policy that does, for example with `action in Action::\"{name}\"`");
            found.warn(Lint::ServiceNobodyMayCall, name, places.service(name), message, help);
            continue;
        }
        for operation in unreached.iter().filter(|operation| !refused.contains(operation.as_str())) {
            let place = places.operation(name, operation.split_once('.').map_or("", |(_, id)| id));
            let message = format!("nobody may call `{operation}`: no policy permits it");
            let help = "write a policy that permits it, or one that forbids it by its name if that is meant";
            found.warn(Lint::OperationNobodyMayCall, operation, place, message, help);
        }
    }
}

/// Operations that a forbid names: somebody thought of them.
fn refused_by_name<'b>(landscape: &Landscape<'b>) -> HashSet<&'b str> {
    let forbids =
        landscape.policies().filter(|policy| policy.effect == Effect::Forbid && !policy.has_condition);
    forbids
        .flat_map(|policy| match &policy.action {
            ActionScope::Any => &[],
            ActionScope::Eq(name) => std::slice::from_ref(name),
            ActionScope::In(names) => names.as_slice(),
        })
        .map(String::as_str)
        .collect()
}
