//! The entities that policies name: each must exist, because a policy on something that nobody declared never applies.
//!
//! Cedar's validator knows types and actions, not entities, so that a mistyped group would pass it.

use super::World;
use super::names;
use super::policies::Named;
use super::schema::{action_name, operations};
use super::types::Types;
use crate::bundle::format::Palisade;
use crate::bundle::{EntityDeclarations, Lines, Place, Problem, Problems, declare, shown};
use crate::cedar::EntityName;
use crate::identity::{SpiffeError, SpiffeId};
use palisade_core::canary;
use palisade_core::contract::{Contract, OperationClass};
use std::collections::{BTreeSet, HashMap};

/// What there is.
pub(super) struct Known<'a> {
    contract: &'a Contract,
    /// Operations, services and classes.
    actions: BTreeSet<String>,
    declared: &'a EntityDeclarations,
    types: &'a Types,
    /// Where it could be read; else nobody can say which workloads can be proven.
    palisade: Option<&'a Palisade>,
    /// Whether all entities could be read; else one that is missing may only be one that could not.
    entities_hold: bool,
}

/// Reports every entity in every policy that does not exist.
pub(super) fn check(policies: &[Named<'_>], known: &Known<'_>, problems: &mut Problems) {
    let mut lines: HashMap<&str, Lines<'_>> = HashMap::new();
    for policy in policies {
        for uid in policy.policy.entity_literals() {
            let name = super::annotations::entity(&uid);
            let Some(problem) = known.problem(&name) else { continue };
            let source = policy.source;
            let lines = lines.entry(source.path).or_insert_with(|| Lines::of(source.path, source.text));
            let place = uid.as_ref().loc().map(|loc| lines.place(loc.start()..loc.end()));
            let place = place.unwrap_or_else(|| policy.summary.place.clone());
            // It stands for the whole literal, which is what is marked.
            let suggestion = problem.suggestion.map(|id| format!("{}::\"{}\"", name.kind, id.escape_debug()));
            problems.push(Problem { place: place.into(), suggestion, ..problem });
        }
    }
}

impl<'a> Known<'a> {
    pub(super) fn new(world: &World<'a>, types: &'a Types) -> Known<'a> {
        let World { contract, declared, palisade, entities_hold, .. } = *world;
        let mut known =
            Known { contract, actions: BTreeSet::new(), declared, types, palisade, entities_hold };
        let classes = OperationClass::ALL.iter().map(|class| class.as_str());
        known.actions = classes.chain(known.services()).map(ToOwned::to_owned).collect();
        known.actions.extend(operations(contract).map(action_name));
        known
    }

    fn services(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let all = self.contract.services().iter().map(|service| service.name.as_ref());
        all.filter(|name| *name != canary::SERVICE)
    }

    /// What is wrong with an entity's name, at a place that is still to be given.
    fn problem(&self, name: &EntityName) -> Option<Problem> {
        let nowhere = |message: String| Problem::new(Place::file(""), message);
        match name.kind.as_str() {
            names::ACTION => {
                if self.actions.contains(&name.id) {
                    return None;
                }
                let problem = nowhere(format!("there is no action `{}`", name.id));
                let problem = problem.suggest(&name.id, self.actions.iter().map(String::as_str));
                Some(problem.help("an action is an operation, `<service>.<operationId>`, a service, or one of `read`, `write` and `delete`"))
            }
            names::WORKLOAD => {
                let trusted = &self.palisade?.trust_domains;
                let error = SpiffeId::parse(&name.id, trusted).err()?;
                let problem = nowhere(format!("{}: {error}", shown(name)));
                Some(match &error {
                    SpiffeError::TrustDomainUnknown { domain } => {
                        let mut problem =
                            problem.suggest(domain, trusted.iter().map(|known| known.value.as_str()));
                        problem.suggestion =
                            problem.suggestion.map(|near| name.id.replacen(domain.as_str(), &near, 1));
                        problem
                            .help("a caller from there is never believed, so that the policy never applies")
                    }
                    SpiffeError::Malformed => problem.suggest(&name.id, self.declared.ids(names::WORKLOAD)),
                })
            }
            names::USER => {
                let identity = &self.palisade?.identity;
                let wrong = identity.no_user(&name.id)?;
                let mut problem = nowhere(format!("{}: {}", shown(name), wrong.why))
                    .suggest(wrong.found, identity.issuers());
                problem.suggestion = problem.suggestion.map(|near| name.id.replacen(wrong.found, &near, 1));
                Some(problem.help(wrong.help))
            }
            names::SERVICE => {
                if self.services().any(|service| service == name.id) {
                    return None;
                }
                let problem = nowhere(format!("the bundle has no {}", shown(name)));
                Some(problem.suggest(&name.id, self.services()).help(declare(names::SERVICE)))
            }
            names::ANONYMOUS => {
                let problem = || {
                    let problem = nowhere(format!("there is no `Anonymous::\"{}\"`", name.id));
                    problem.help("a caller without credential is `Anonymous::\"anonymous\"`; `principal is Anonymous` says the same")
                };
                (name.id != names::ANYBODY).then(problem)
            }
            kind => {
                // An unknown type, and a choice that is none, Cedar's validator names.
                let other = self.types.entity(kind);
                let unknown = !super::fragments::is_own(kind) && other.is_none();
                let is_choice = other.is_some_and(|other| other.choices.is_some());
                if !self.entities_hold || unknown || is_choice || self.declared.find(name).is_some() {
                    return None;
                }
                let problem = nowhere(format!("{} is declared nowhere", shown(name)));
                Some(problem.suggest(&name.id, self.declared.ids(kind)).help(declare(kind)))
            }
        }
    }
}
