//! All policies of a bundle, found by scope, with the entities that they are evaluated over.
//!
//! INVARIANT: an answer is the one that Cedar's authorizer gives over all policies. A policy is left out only where its
//! scope is false, and then it can neither determine an answer nor fail. Where the scope is true, what the policy says is
//! what its condition says, so only that is evaluated.

use crate::answer::{Answer, Conclusion, Said};
use crate::memo::Memo;
use crate::person::Person;
use crate::reach::Reach;
use crate::scope::{Scope, ScopeId, Side};
use crate::slice::{CallerError, Slices};
use cedar_policy::{
    Authorizer, Effect, Entities, EntityUid, EvalResult, EvaluationError, Expression, Policy, PolicyId,
    PolicySet, Request, eval_expression,
};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Lists of candidates that are kept.
const LISTS_MAX: usize = 16_384;
/// Longer lists are found anew: evaluating so many takes far longer than finding them.
const LIST_LENGTH_MAX: usize = 256;

/// Whose request it is.
#[derive(Debug, Clone, Copy)]
pub enum Caller<'a> {
    /// The store has the principal, or nobody has: then it has no attributes and is in nothing.
    Declared,
    /// The principal comes with the request.
    Brought {
        person: &'a Person,
        /// All entities that the request's context names. One that is missing here may be taken for one that does not
        /// exist.
        named: &'a [EntityUid],
    },
}

/// Policies and entities, ready to be asked. Immutable but for what it remembers.
#[derive(Debug)]
pub struct Index {
    policies: Vec<Indexed>,
    /// All policies, for what only Cedar can say.
    all: PolicySet,
    /// The policies that count, where some do not.
    counted: Option<PolicySet>,
    /// From then on no shadow is asked.
    shadows_until_ms: u64,
    entities: Arc<Entities>,
    principals: Side,
    actions: Side,
    resources: Side,
    /// By the scopes of principal and action, then by that of the resource: the places of policies.
    places: HashMap<(ScopeId, ScopeId), HashMap<ScopeId, Vec<u32>>>,
    lists: Memo<Arc<[ScopeId]>, Arc<[u32]>>,
    slices: Slices,
}

#[derive(Debug)]
struct Indexed {
    id: PolicyId,
    effect: Effect,
    /// A shadow ends at that moment.
    shadow_until_ms: Option<u64>,
    /// None: it is satisfied wherever its scope matches.
    condition: Option<Expression>,
}

/// A condition is neither true nor false, not a value, or has a slot: Cedar itself must say what comes of it. None that
/// was validated is.
struct OnlyCedar;

/// Why there is no index.
#[derive(Debug)]
pub struct IndexError(String);

impl Index {
    /// `shadows` names the policies that do not count, each with the moment from which it is not asked any more.
    pub fn new(
        policies: PolicySet,
        shadows: &HashMap<PolicyId, u64>,
        entities: Arc<Entities>,
    ) -> Result<Index, IndexError> {
        let mut indexed = Vec::new();
        let (mut principals, mut actions, mut resources) =
            (Side::default(), Side::default(), Side::default());
        let mut places: HashMap<(ScopeId, ScopeId), HashMap<ScopeId, Vec<u32>>> = HashMap::new();
        let mut reach = Reach::default();
        for policy in policies.policies() {
            let place = u32::try_from(indexed.len()).ok();
            let principal = principals.insert(Scope::from(policy.principal_constraint()));
            let action = actions.insert(Scope::from(policy.action_constraint()));
            let resource = resources.insert(Scope::from(policy.resource_constraint()));
            let (Some(place), Some(principal), Some(action), Some(resource)) =
                (place, principal, action, resource)
            else {
                return Err(IndexError("there are more policies than can be counted".to_owned()));
            };
            places.entry((principal, action)).or_default().entry(resource).or_default().push(place);
            reach.read(policy);
            indexed.push(Indexed::new(policy, shadows));
        }
        for side in [&mut principals, &mut actions, &mut resources] {
            side.learn(&entities);
        }
        let slices = Slices::new(Arc::clone(&entities), &reach).map_err(IndexError::because)?;
        let counted = if shadows.is_empty() { None } else { Some(without(&policies, shadows.keys())?) };
        let shadows_until_ms = shadows.values().copied().max().unwrap_or(0);
        Ok(Index {
            policies: indexed,
            all: policies,
            counted,
            shadows_until_ms,
            entities,
            principals,
            actions,
            resources,
            places,
            lists: Memo::new(LISTS_MAX),
            slices,
        })
    }

    /// All policies, shadows among them.
    pub fn policies(&self) -> &PolicySet {
        &self.all
    }

    /// The policies that count.
    pub fn counted(&self) -> &PolicySet {
        self.counted.as_ref().unwrap_or(&self.all)
    }

    pub fn entities(&self) -> &Arc<Entities> {
        &self.entities
    }

    /// What Cedar's authorizer would say. `shadows_at_ms` says which shadows have not ended; `None` asks none of them.
    pub fn answer(
        &self,
        request: &Request,
        caller: Caller<'_>,
        shadows_at_ms: Option<u64>,
    ) -> Result<Answer, CallerError> {
        let (Some(principal), Some(action), Some(resource)) =
            (request.principal(), request.action(), request.resource())
        else {
            // A request that leaves one open has no scope to look for.
            return Ok(self.plain(request, &self.entities, shadows_at_ms));
        };
        match caller {
            Caller::Declared => {
                let scopes = Scopes::new(
                    |into| self.principals.of(principal, into),
                    |into| self.actions.of(action, into),
                    |into| self.resources.of(resource, into),
                );
                let told = self.ask(request, &scopes, &self.entities, shadows_at_ms);
                Ok(told.unwrap_or_else(|OnlyCedar| self.plain(request, &self.entities, shadows_at_ms)))
            }
            Caller::Brought { person, named } => {
                if person.uid() != principal {
                    let [asked, brought] = [principal, person.uid()].map(|uid| Box::new(uid.clone()));
                    return Err(CallerError::Another { asked, brought });
                }
                let brought = self.slices.brought(person, &self.principals)?;
                let slice = self.slices.slice(&brought, action, resource, named)?;
                let above = self.slices.is_above(person);
                let side = |side: &Side, uid, into: &mut Vec<ScopeId>| {
                    // Who asks may be asked about, too.
                    if above || uid == principal {
                        into.extend(side.matching(uid, slice.ancestors(uid).into_iter().flatten()));
                    } else {
                        side.of(uid, into);
                    }
                };
                let scopes = Scopes::new(
                    |into| into.extend_from_slice(&brought.scopes),
                    |into| side(&self.actions, action, into),
                    |into| side(&self.resources, resource, into),
                );
                match self.ask(request, &scopes, &slice, shadows_at_ms) {
                    Ok(answer) => Ok(answer),
                    // A slice holds what conditions read, not what scopes do.
                    Err(OnlyCedar) => Ok(self.plain(request, &self.slices.whole(person)?, shadows_at_ms)),
                }
            }
        }
    }

    /// How many entities are in the slice of a person.
    #[cfg(test)]
    pub(crate) fn slice_of(&self, person: &Person) -> usize {
        let brought = self.slices.brought(person, &self.principals).unwrap();
        let nobody = person.uid();
        self.slices.slice(&brought, nobody, nobody, &[]).unwrap().len()
    }

    /// Asks the policies whose scopes match.
    fn ask(
        &self,
        request: &Request,
        scopes: &Scopes,
        entities: &Entities,
        shadows_at_ms: Option<u64>,
    ) -> Result<Answer, OnlyCedar> {
        let candidates = self.candidates(scopes);
        let mut counted = Said::default();
        let mut shadows = Said::default();
        for place in candidates.iter() {
            let Some(policy) = usize::try_from(*place).ok().and_then(|place| self.policies.get(place)) else {
                // Places come from this list.
                return Err(OnlyCedar);
            };
            let said = match policy.shadow_until_ms {
                None => &mut counted,
                Some(until_ms) if lasts(until_ms, shadows_at_ms) => &mut shadows,
                Some(_) => continue,
            };
            let Some(condition) = &policy.condition else {
                said.satisfied(&policy.id, policy.effect);
                continue;
            };
            match eval_expression(request, entities, condition) {
                Ok(EvalResult::Bool(true)) => said.satisfied(&policy.id, policy.effect),
                Ok(EvalResult::Bool(false)) => {}
                Ok(_) | Err(EvaluationError::NonValue(_) | EvaluationError::UnlinkedSlot(_)) => {
                    return Err(OnlyCedar);
                }
                Err(error) => said.failed(&policy.id, error),
            }
        }
        let with_shadows = lasts(self.shadows_until_ms, shadows_at_ms);
        let with_shadows = with_shadows.then(|| counted.clone().and(shadows).conclude());
        Ok(Answer { counted: counted.conclude(), with_shadows, candidates: candidates.len() })
    }

    /// The places of all policies whose scopes match, in their order.
    fn candidates(&self, scopes: &Scopes) -> Arc<[u32]> {
        if let Some(found) = self.lists.find(scopes.0.as_slice()) {
            return found;
        }
        let mut found = Vec::new();
        let [principals, actions, resources] = scopes.sides();
        for principal in principals {
            for action in actions {
                let Some(by_resource) = self.places.get(&(*principal, *action)) else { continue };
                let matching = resources.iter().filter_map(|resource| by_resource.get(resource));
                found.extend(matching.flatten().copied());
            }
        }
        found.sort_unstable();
        let found: Arc<[u32]> = found.into();
        if found.len() <= LIST_LENGTH_MAX {
            self.lists.insert(scopes.0.as_slice().into(), Arc::clone(&found));
        }
        found
    }

    /// Cedar's authorizer over all policies.
    fn plain(&self, request: &Request, entities: &Entities, shadows_at_ms: Option<u64>) -> Answer {
        let ask =
            |set: &PolicySet| Conclusion::from(&Authorizer::new().is_authorized(request, set, entities));
        let counted = ask(self.counted());
        let with_shadows = lasts(self.shadows_until_ms, shadows_at_ms).then(|| {
            let over = self.policies.iter().filter(|policy| {
                policy.shadow_until_ms.is_some_and(|until_ms| !lasts(until_ms, shadows_at_ms))
            });
            // A shadow that cannot be taken away is asked for longer than it should; it never counts.
            ask(without(&self.all, over.map(|policy| &policy.id)).as_ref().unwrap_or(&self.all))
        });
        Answer { counted, with_shadows, candidates: self.policies.len() }
    }
}

/// Whether what ends at that moment is still asked.
fn lasts(until_ms: u64, at_ms: Option<u64>) -> bool {
    at_ms.is_some_and(|at_ms| at_ms < until_ms)
}

impl Indexed {
    fn new(policy: &Policy, shadows: &HashMap<PolicyId, u64>) -> Indexed {
        Indexed {
            id: policy.id().clone(),
            effect: policy.effect(),
            shadow_until_ms: shadows.get(policy.id()).copied(),
            // Slots stand in scopes only, so a link's condition needs none of them.
            condition: policy.as_ref().non_scope_constraints().map(|condition| condition.clone().into()),
        }
    }
}

/// The policies without these.
fn without<'p>(
    policies: &PolicySet,
    taken: impl Iterator<Item = &'p PolicyId>,
) -> Result<PolicySet, IndexError> {
    let mut rest = policies.clone();
    for id in taken {
        let is_static = policies.policy(id).is_some_and(Policy::is_static);
        if is_static { rest.remove_static(id.clone()) } else { rest.unlink(id.clone()) }
            .map_err(IndexError::because)?;
    }
    Ok(rest)
}

/// The scopes that match a request: those of its principal, its action and its resource, each sorted.
#[derive(Debug)]
struct Scopes(Vec<ScopeId>);

/// Stands between two sides: no scope has this number, so no request's list reads like that of another.
const BETWEEN: ScopeId = ScopeId::MAX;

impl Scopes {
    fn new(
        principal: impl FnOnce(&mut Vec<ScopeId>),
        action: impl FnOnce(&mut Vec<ScopeId>),
        resource: impl FnOnce(&mut Vec<ScopeId>),
    ) -> Scopes {
        let mut all = Vec::with_capacity(32);
        principal(&mut all);
        all.push(BETWEEN);
        action(&mut all);
        all.push(BETWEEN);
        resource(&mut all);
        Scopes(all)
    }

    fn sides(&self) -> [&[ScopeId]; 3] {
        let mut sides = self.0.split(|id| *id == BETWEEN);
        std::array::from_fn(|_| sides.next().unwrap_or_default())
    }
}

impl IndexError {
    fn because(error: impl fmt::Display) -> IndexError {
        IndexError(error.to_string())
    }
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for IndexError {}
