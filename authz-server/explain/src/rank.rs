//! Which permits nearly matched, by their scopes alone: what is looked at more closely afterwards.
//!
//! INVARIANT: this orders and drops; no mark that anybody sees comes from here. Ten thousand policies cost one look at
//! each scope, with the ancestors of the three entities at hand.

use crate::world::World;
use cedar_policy::{
    ActionConstraint, Effect, EntityTypeName, EntityUid, Policy, PrincipalConstraint, ResourceConstraint,
};
use std::collections::HashSet;

/// How many permits are looked at clause by clause.
const EXAMINED_MAX: usize = 48;

/// What a part of a scope that does not match weighs. Groups are granted every day; what an operation is, never.
const PRINCIPAL: usize = 3;
const RESOURCE: usize = 4;
const ACTION: usize = 16;

struct Member<'w> {
    uid: &'w EntityUid,
    ancestors: HashSet<&'w EntityUid>,
}

impl<'w> Member<'w> {
    fn of(world: &'w World<'_>, uid: &'w EntityUid) -> Member<'w> {
        let ancestors = world.entities.ancestors(uid).into_iter().flatten().collect();
        Member { uid, ancestors }
    }

    fn is_in(&self, other: &EntityUid) -> bool {
        self.uid == other || self.ancestors.contains(other)
    }

    fn is(&self, kind: &EntityTypeName) -> bool {
        self.uid.type_name() == kind
    }
}

/// The permits that are nearest by their scopes.
pub(crate) struct Nearest<'w> {
    pub(crate) permits: Vec<&'w Policy>,
    /// Permits for the action beyond those.
    pub(crate) further: usize,
    /// Whether any permit is for the action at all.
    pub(crate) covers_action: bool,
}

pub(crate) fn nearest<'w>(world: &'w World<'_>, permits: &'w [Policy]) -> Nearest<'w> {
    let principal = Member::of(world, &world.principal);
    let action = Member::of(world, &world.action);
    let resource = Member::of(world, &world.resource);
    let mut all: Vec<(usize, String, &Policy)> = permits
        .iter()
        .filter(|policy| policy.effect() == Effect::Permit)
        .map(|policy| {
            let misses = [
                (PRINCIPAL, matches_principal(&principal, &policy.principal_constraint())),
                (ACTION, matches_action(&action, &policy.action_constraint())),
                (RESOURCE, matches_resource(&resource, &policy.resource_constraint())),
            ];
            let misses = misses.into_iter().filter_map(|(weight, matches)| (!matches).then_some(weight));
            (misses.sum(), policy.id().to_string(), policy)
        })
        .collect();
    all.sort_by(|(one, one_id, _), (other, other_id, _)| (one, one_id).cmp(&(other, other_id)));
    let covers_action = all.first().is_some_and(|(weight, _, _)| *weight < ACTION);
    // Permits of other operations say nothing of this one, unless there are no others.
    all.retain(|(weight, _, _)| !covers_action || *weight < ACTION);
    let further = all.len().saturating_sub(EXAMINED_MAX);
    all.truncate(EXAMINED_MAX);
    Nearest { permits: all.into_iter().map(|(_, _, policy)| policy).collect(), further, covers_action }
}

fn matches_principal(member: &Member<'_>, constraint: &PrincipalConstraint) -> bool {
    match constraint {
        PrincipalConstraint::Any => true,
        PrincipalConstraint::Eq(uid) => member.uid == uid,
        PrincipalConstraint::In(uid) => member.is_in(uid),
        PrincipalConstraint::Is(kind) => member.is(kind),
        PrincipalConstraint::IsIn(kind, uid) => member.is(kind) && member.is_in(uid),
    }
}

fn matches_resource(member: &Member<'_>, constraint: &ResourceConstraint) -> bool {
    match constraint {
        ResourceConstraint::Any => true,
        ResourceConstraint::Eq(uid) => member.uid == uid,
        ResourceConstraint::In(uid) => member.is_in(uid),
        ResourceConstraint::Is(kind) => member.is(kind),
        ResourceConstraint::IsIn(kind, uid) => member.is(kind) && member.is_in(uid),
    }
}

fn matches_action(member: &Member<'_>, constraint: &ActionConstraint) -> bool {
    match constraint {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => member.uid == uid,
        ActionConstraint::In(uids) => uids.iter().any(|uid| member.is_in(uid)),
    }
}
