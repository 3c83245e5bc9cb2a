//! Lints of single policies, and of policies beside each other.

use super::{Found, Lint};
use crate::bundle::landscape::{Holds, Landscape, full_name};
use crate::bundle::statement::{asks_who_calls, statement};
use crate::cedar::{ActionScope, Effect, EntityName, EntityScope, Mode, PolicySummary};
use palisade_core::contract::OperationClass;
use std::collections::HashMap;

pub(super) fn look(landscape: &Landscape<'_>, found: &mut Found) {
    let mut texts: HashMap<String, &PolicySummary> = HashMap::new();
    let forbids = Forbids::of(landscape);
    for policy in landscape.policies() {
        without_scope(policy, found);
        if never_applies(landscape, policy, found) {
            continue;
        }
        match forbids.over(landscape, policy) {
            Some(forbid) => always_forbidden(policy, forbid, found),
            None => anyone_may_write(landscape, policy, found),
        }
        let same = texts.entry(statement(&policy.text)).or_insert(policy);
        if same.id != policy.id && same.mode == policy.mode {
            let message = format!("policy `{}` says the same as `{}`", policy.id, same.id);
            let help = format!("keep one of them; the other is at {}", same.place);
            found.warn(Lint::SamePolicyTwice, &policy.id, policy.place.clone(), message, help);
        }
    }
}

fn without_scope(policy: &PolicySummary, found: &mut Found) {
    let open = |scope: &EntityScope| matches!(scope, EntityScope::Any);
    if policy.effect == Effect::Permit
        && open(&policy.principal)
        && policy.action == ActionScope::Any
        && open(&policy.resource)
    {
        let message =
            format!("policy `{}` permits everybody everything that its conditions do not exclude", policy.id);
        let help =
            "name who and what: `permit (principal in Group::\"…\", action in Action::\"read\", resource)`";
        found.warn(Lint::PermitWithoutScope, &policy.id, policy.place.clone(), message, help);
    }
}

/// Whether the scope of a policy holds nothing.
fn never_applies<'b>(landscape: &Landscape<'b>, policy: &'b PolicySummary, found: &mut Found) -> bool {
    let id = &policy.id;
    let (message, help) = if landscape.holds(&policy.principal) == Holds::Nobody {
        let help = match &policy.principal {
            EntityScope::Eq(EntityName { kind, id }) if kind == "Group" => {
                format!(
                    "`==` asks for the group itself, which never calls: write `principal in Group::\"{id}\"`"
                )
            }
            EntityScope::In(EntityName { kind, id }) | EntityScope::IsIn(_, EntityName { kind, id })
                if kind == "Group" =>
            {
                format!("group `{id}` has no such members; give it some under `clients` or `workloads`")
            }
            _ => "callers are of the types `Workload`, `Client` and `Anonymous`".to_owned(),
        };
        (format!("policy `{id}` can never apply: its principal is nobody who can call"), help)
    } else if landscape.operations_of(policy).is_empty() {
        let help = match &policy.action {
            ActionScope::Eq(name) if !name.contains('.') => {
                format!("`==` asks for the group itself, which is no operation: write `action in Action::\"{name}\"`")
            }
            _ => "action and resource must be of one service: the resource of `Action::\"orders.createOrder\"` is `Service::\"orders\"`".to_owned(),
        };
        (format!("policy `{id}` can never apply: no operation is in its action and its resource"), help)
    } else {
        return false;
    };
    found.warn(Lint::PolicyNeverApplies, id, policy.place.clone(), message, help);
    true
}

fn always_forbidden(policy: &PolicySummary, forbid: &PolicySummary, found: &mut Found) {
    let message = format!(
        "policy `{}` permits nothing: `{}` forbids all of it, and a forbid wins",
        policy.id, forbid.id
    );
    let help = format!("remove it, or narrow the forbid at {}", forbid.place);
    found.warn(Lint::PermitAlwaysForbidden, &policy.id, policy.place.clone(), message, help);
}

fn anyone_may_write<'b>(landscape: &Landscape<'b>, policy: &'b PolicySummary, found: &mut Found) {
    if policy.effect != Effect::Permit
        || policy.mode != Mode::Enforced
        || landscape.holds(&policy.principal) != Holds::Anyone
        || asks_who_calls(&policy.text)
    {
        return;
    }
    let operations = landscape.operations_of(policy);
    let mut changes = operations
        .iter()
        .filter_map(|index| landscape.operations.get(*index))
        .filter(|matched| matched.operation.class != OperationClass::Read);
    let Some(first) = changes.next().map(|matched| full_name(*matched)) else { return };
    let which = match changes.count() {
        0 => format!("`{first}`"),
        more => format!("`{first}` and {more} more operations that change something"),
    };
    let message = format!("policy `{}` lets callers without any identity call {which}", policy.id);
    let help = "name who may: `principal in Group::\"…\"`, or `principal is Workload`";
    found.warn(Lint::AnyoneMayWrite, &policy.id, policy.place.clone(), message, help);
}

/// Forbids that no condition can lift, by whom they hold.
#[derive(Debug)]
struct Forbids<'b> {
    of_anyone: Vec<&'b PolicySummary>,
    of_group: HashMap<EntityName, Vec<&'b PolicySummary>>,
}

impl<'b> Forbids<'b> {
    fn of(landscape: &Landscape<'b>) -> Forbids<'b> {
        let mut forbids = Forbids { of_anyone: Vec::new(), of_group: HashMap::new() };
        let absolute = landscape.policies().filter(|policy| {
            policy.effect == Effect::Forbid && policy.mode == Mode::Enforced && !policy.has_condition
        });
        for policy in absolute {
            match &policy.principal {
                EntityScope::Any => forbids.of_anyone.push(policy),
                EntityScope::In(name) | EntityScope::Eq(name) => {
                    forbids.of_group.entry(name.clone()).or_default().push(policy);
                }
                // Whom these hold is not worth the work of comparing.
                EntityScope::Is(_) | EntityScope::IsIn(..) => {}
            }
        }
        forbids
    }

    /// A forbid whose scope holds all that a permit's holds.
    fn over(&self, landscape: &Landscape<'b>, permit: &'b PolicySummary) -> Option<&'b PolicySummary> {
        if permit.effect != Effect::Permit || (self.of_anyone.is_empty() && self.of_group.is_empty()) {
            return None;
        }
        let above = match &permit.principal {
            EntityScope::In(name) | EntityScope::Eq(name) | EntityScope::IsIn(_, name) => {
                landscape.above(name)
            }
            EntityScope::Any | EntityScope::Is(_) => Vec::new(),
        };
        let of_groups = above.iter().filter_map(|name| self.of_group.get(name)).flatten();
        self.of_anyone.iter().chain(of_groups).copied().find(|forbid| holds_scope(landscape, forbid, permit))
    }
}

fn holds_scope<'b>(landscape: &Landscape<'b>, forbid: &'b PolicySummary, permit: &'b PolicySummary) -> bool {
    let forbidden = landscape.operations_of(forbid);
    let permitted = landscape.operations_of(permit);
    permitted.len() <= forbidden.len()
        && permitted.iter().all(|operation| forbidden.binary_search(operation).is_ok())
}
