//! What the tests of a bundle leave out.
//!
//! INVARIANT: counted is what came out, not what was expected: a policy is covered when it determined an answer, an
//! operation when the server decided on it.

use super::run::{CaseRun, Run};
use crate::bundle::cases::Caller;
use crate::bundle::{Bundle, Place};
use crate::cedar::Mode;
use palisade_core::canary;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// How much of something was met, and what was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    pub all: usize,
    /// In the order of the bundle. Policies have a place.
    pub missing: Vec<(String, Option<Place>)>,
}

/// What a run of all cases covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Policies that determined an answer.
    pub policies: Share,
    /// Shadow policies that would have determined one. Not part of the percentage.
    pub shadows: Share,
    /// Operations on which the server decided.
    pub operations: Share,
    /// Operations that were decided on and never allowed: forbidden to all, or not tested with the right caller.
    pub never_allowed: Vec<String>,
    /// Clients, workloads and users of the bundle that no case calls as.
    pub unused_callers: Vec<String>,
}

impl Share {
    fn of(all: Vec<(String, Option<Place>)>, met: &BTreeSet<&str>) -> Share {
        let count = all.len();
        let missing = all.into_iter().filter(|(name, _)| !met.contains(name.as_str())).collect();
        Share { all: count, missing }
    }

    pub fn met(&self) -> usize {
        self.all.saturating_sub(self.missing.len())
    }
}

impl Coverage {
    pub fn of(bundle: &Bundle, run: &Run<'_>) -> Coverage {
        let policies = |mode: Mode| {
            let of_mode = bundle.policies.all().filter(move |policy| policy.mode == mode);
            of_mode.map(|policy| (policy.id.clone(), Some(policy.place.clone()))).collect()
        };
        let determined = run.cases().flat_map(|ran| &ran.answer.policies);
        let shadows = run.cases().filter_map(|ran| ran.answer.shadow.as_ref());
        let decided: BTreeSet<&str> = run.cases().filter_map(operation).collect();
        let allowed: BTreeSet<&str> =
            run.cases().filter(|ran| ran.answer.reason().is_none()).filter_map(operation).collect();
        let callers: BTreeSet<Cow<'_, str>> =
            run.cases().filter_map(|ran| caller(&ran.case.caller)).collect();
        let entities = &bundle.entities;
        let declared = entities.clients.keys().chain(entities.workloads.keys()).chain(entities.users.keys());
        Coverage {
            policies: Share::of(policies(Mode::Enforced), &determined.map(String::as_str).collect()),
            shadows: Share::of(
                policies(Mode::Shadow),
                &shadows.flat_map(|shadow| &shadow.policies).map(String::as_str).collect(),
            ),
            operations: Share::of(operations(bundle), &decided),
            never_allowed: operations(bundle)
                .into_iter()
                .map(|(name, _)| name)
                .filter(|name| decided.contains(name.as_str()) && !allowed.contains(name.as_str()))
                .collect(),
            unused_callers: declared.filter(|name| !callers.contains(name.as_str())).cloned().collect(),
        }
    }

    /// Of policies and operations together, rounded down: 100 is all of them.
    pub fn percent(&self) -> usize {
        let all = self.policies.all.saturating_add(self.operations.all);
        let met = self.policies.met().saturating_add(self.operations.met());
        met.saturating_mul(100).checked_div(all).unwrap_or(100)
    }
}

fn operation<'r>(ran: &'r CaseRun<'_>) -> Option<&'r str> {
    ran.answer.operation.as_deref()
}

fn caller(caller: &Caller) -> Option<Cow<'_, str>> {
    match caller {
        Caller::Anonymous => None,
        Caller::Workload(id) => Some(id.into()),
        Caller::Client { name, .. } => Some(name.into()),
        Caller::User(person) => Some(person.user.name().into()),
    }
}

/// All operations but the canary's, as policies call them.
fn operations(bundle: &Bundle) -> Vec<(String, Option<Place>)> {
    let services = bundle.contract.services().iter().filter(|service| *service.name != *canary::SERVICE);
    let names = services.flat_map(|service| {
        service.operations.iter().map(|operation| format!("{}.{}", service.name, operation.name))
    });
    names.map(|name| (name, None)).collect()
}
