//! The scopes of policies on one of the three sides of a request, and which of them match an entity.
//!
//! INVARIANT: a scope matches exactly where Cedar's evaluation of it is true. `in` holds for the entity itself and for
//! what the store lists as its ancestors; an entity that the store does not have is in nothing but itself.

use cedar_policy::{
    ActionConstraint, Entities, EntityTypeName, EntityUid, PrincipalConstraint, ResourceConstraint,
};
use std::collections::HashMap;

/// What one policy demands of one side, slots filled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    Any,
    Is(EntityTypeName),
    Eq(EntityUid),
    /// In any of these, sorted. None: never true.
    In(Vec<EntityUid>),
    IsIn(EntityTypeName, EntityUid),
}

impl From<PrincipalConstraint> for Scope {
    fn from(constraint: PrincipalConstraint) -> Scope {
        match constraint {
            PrincipalConstraint::Any => Scope::Any,
            PrincipalConstraint::In(uid) => Scope::In(vec![uid]),
            PrincipalConstraint::Eq(uid) => Scope::Eq(uid),
            PrincipalConstraint::Is(kind) => Scope::Is(kind),
            PrincipalConstraint::IsIn(kind, uid) => Scope::IsIn(kind, uid),
        }
    }
}

impl From<ResourceConstraint> for Scope {
    fn from(constraint: ResourceConstraint) -> Scope {
        match constraint {
            ResourceConstraint::Any => Scope::Any,
            ResourceConstraint::In(uid) => Scope::In(vec![uid]),
            ResourceConstraint::Eq(uid) => Scope::Eq(uid),
            ResourceConstraint::Is(kind) => Scope::Is(kind),
            ResourceConstraint::IsIn(kind, uid) => Scope::IsIn(kind, uid),
        }
    }
}

impl From<ActionConstraint> for Scope {
    fn from(constraint: ActionConstraint) -> Scope {
        match constraint {
            ActionConstraint::Any => Scope::Any,
            ActionConstraint::In(mut uids) => {
                uids.sort();
                uids.dedup();
                Scope::In(uids)
            }
            ActionConstraint::Eq(uid) => Scope::Eq(uid),
        }
    }
}

/// A scope's number on its side.
pub(crate) type ScopeId = u32;

/// All scopes of one side, found from the entity that they match.
#[derive(Debug, Default)]
pub(crate) struct Side {
    ids: HashMap<Scope, ScopeId>,
    any: Option<ScopeId>,
    is: HashMap<EntityTypeName, ScopeId>,
    eq: HashMap<EntityUid, ScopeId>,
    /// By what an entity must be in, with the type that it must have besides.
    within: HashMap<EntityUid, Vec<(Option<EntityTypeName>, ScopeId)>>,
    /// What matches each entity of the store, found out once.
    known: HashMap<EntityUid, Box<[ScopeId]>>,
}

impl Side {
    /// The scope's number; the same for the same scope. None where there are more than can be counted.
    pub(crate) fn insert(&mut self, scope: Scope) -> Option<ScopeId> {
        if let Some(id) = self.ids.get(&scope) {
            return Some(*id);
        }
        let id = ScopeId::try_from(self.ids.len()).ok()?;
        match &scope {
            Scope::Any => self.any = Some(id),
            Scope::Is(kind) => {
                self.is.insert(kind.clone(), id);
            }
            Scope::Eq(uid) => {
                self.eq.insert(uid.clone(), id);
            }
            Scope::In(uids) => {
                for uid in uids {
                    self.within.entry(uid.clone()).or_default().push((None, id));
                }
            }
            Scope::IsIn(kind, uid) => {
                self.within.entry(uid.clone()).or_default().push((Some(kind.clone()), id));
            }
        }
        self.ids.insert(scope, id);
        Some(id)
    }

    /// Finds out once what matches the entities of a store. After this, no scope comes in.
    pub(crate) fn learn(&mut self, entities: &Entities) {
        for entity in entities.iter() {
            let uid = entity.uid();
            let matching = self.matching(&uid, entities.ancestors(&uid).into_iter().flatten());
            self.known.insert(uid, matching.into());
        }
    }

    /// What matches an entity of the store, or one that it does not have.
    pub(crate) fn of(&self, uid: &EntityUid, into: &mut Vec<ScopeId>) {
        match self.known.get(uid) {
            Some(known) => into.extend_from_slice(known),
            None => into.extend(self.matching(uid, std::iter::empty())),
        }
    }

    /// What matches an entity with these ancestors, sorted.
    pub(crate) fn matching<'a>(
        &self,
        uid: &'a EntityUid,
        ancestors: impl Iterator<Item = &'a EntityUid>,
    ) -> Vec<ScopeId> {
        let kind = uid.type_name();
        let mut found: Vec<ScopeId> =
            [self.any, self.is.get(kind).copied(), self.eq.get(uid).copied()].into_iter().flatten().collect();
        for group in std::iter::once(uid).chain(ancestors) {
            let within = self.within.get(group).into_iter().flatten();
            found.extend(
                within
                    .filter(|(wanted, _)| wanted.as_ref().is_none_or(|wanted| wanted == kind))
                    .map(|(_, id)| *id),
            );
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
