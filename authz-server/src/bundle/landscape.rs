//! A bundle as lints see it: who can call, what can be called, and what each policy's scope holds of both.
//!
//! INVARIANT: what stands here is true whatever the conditions of policies say: a scope that holds nothing never applies.

use crate::bundle::Bundle;
use crate::cedar::{ActionScope, Effect, EntityName, EntityScope, Mode, PolicySummary};
use palisade_core::canary;
use palisade_core::contract::{Matched, OperationClass};
use palisade_core::routes::OperationIndex;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// The operations of a scope, sorted: their places in `Landscape::operations`.
type Operations = Rc<[usize]>;

#[derive(Debug)]
pub(crate) struct Landscape<'b> {
    pub(crate) bundle: &'b Bundle,
    /// All operations but the canary's.
    pub(crate) operations: Vec<Matched<'b>>,
    /// Operations by each name that an action scope can bear: their own, a class, a service.
    by_operation: HashMap<String, usize>,
    by_group: HashMap<&'b str, Vec<usize>>,
    /// For each group, the callers in it who are declared, also by way of other groups.
    members: HashMap<&'b EntityName, BTreeSet<Caller<'b>>>,
    /// Groups and roles into which tokens can put persons whom nobody declares, and what these are in.
    claimed: HashSet<EntityName>,
    /// What was found for scopes that were asked for already: many policies share one.
    scopes: RefCell<HashMap<(&'b ActionScope, &'b EntityScope), Operations>>,
}

/// Somebody who can call, as far as it is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Caller<'b> {
    Client(&'b str),
    Workload(&'b str),
    User(&'b str),
}

impl<'b> Caller<'b> {
    /// Type and id.
    pub(crate) fn name(self) -> (&'static str, &'b str) {
        match self {
            Caller::Client(name) => ("Client", name),
            Caller::Workload(id) => ("Workload", id),
            Caller::User(name) => ("User", name),
        }
    }
}

/// Who is held by the scope of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Nobody,
    /// Callers that prove who they are.
    Proven,
    /// Also those who prove nothing.
    Anyone,
}

impl<'b> Landscape<'b> {
    pub(crate) fn of(bundle: &'b Bundle) -> Landscape<'b> {
        let operations: Vec<Matched<'b>> = (0..u32::MAX)
            .map_while(|index| bundle.contract.operation(OperationIndex(index)))
            .filter(|matched| matched.service.name.as_ref() != canary::SERVICE)
            .collect();
        let mut by_group: HashMap<&str, Vec<usize>> = HashMap::new();
        for class in OperationClass::ALL {
            by_group.insert(class.as_str(), Vec::new());
        }
        for (index, matched) in operations.iter().enumerate() {
            by_group.entry(matched.operation.class.as_str()).or_default().push(index);
            by_group.entry(&matched.service.name).or_default().push(index);
        }
        let by_operation =
            operations.iter().enumerate().map(|(index, matched)| (full_name(*matched), index)).collect();
        let mut landscape = Landscape {
            bundle,
            operations,
            by_operation,
            by_group,
            members: members(bundle),
            claimed: HashSet::new(),
            scopes: RefCell::default(),
        };
        landscape.claimed = landscape.claimable().flat_map(|name| landscape.above(&name)).collect();
        landscape
    }

    /// Groups and roles that a token may name.
    pub(crate) fn claimable(&self) -> impl Iterator<Item = EntityName> + use<'b> {
        let (identity, entities) = (&self.bundle.palisade.identity, &self.bundle.entities);
        let kinds = [
            ("Group", identity.claims_groups(), &entities.groups),
            ("Role", identity.claims_roles(), &entities.roles),
        ];
        kinds.into_iter().filter(|(_, told, _)| *told).flat_map(|(kind, _, declared)| {
            declared.keys().map(move |id| EntityName { kind: kind.to_owned(), id: id.clone() })
        })
    }

    /// Whether a token can put somebody into it, also by way of something else.
    pub(crate) fn is_claimed(&self, name: &EntityName) -> bool {
        self.claimed.contains(name)
    }

    pub(crate) fn operation(&self, service: &str, operation: &str) -> Option<Matched<'b>> {
        let index = self.by_operation.get(&format!("{service}.{operation}"))?;
        self.operations.get(*index).copied()
    }

    pub(crate) fn policies(&self) -> impl Iterator<Item = &'b PolicySummary> {
        self.bundle.policies.all()
    }

    /// Permits that count.
    pub(crate) fn permits(&self) -> impl Iterator<Item = &'b PolicySummary> {
        self.policies().filter(|policy| policy.effect == Effect::Permit && policy.mode == Mode::Enforced)
    }

    /// The operations that the scope of a policy holds.
    pub(crate) fn operations_of(&self, policy: &'b PolicySummary) -> Operations {
        let scope = (&policy.action, &policy.resource);
        if let Some(known) = self.scopes.borrow().get(&scope) {
            return Rc::clone(known);
        }
        let found: Operations = self.operations_in(scope.0, scope.1).into();
        self.scopes.borrow_mut().insert(scope, Rc::clone(&found));
        found
    }

    fn operations_in(&self, action: &ActionScope, resource: &EntityScope) -> Vec<usize> {
        let in_service = |index: &usize| {
            let Some(matched) = self.operations.get(*index) else { return false };
            match resource {
                EntityScope::Any => true,
                EntityScope::Is(kind) => kind == "Service",
                EntityScope::Eq(name) => name.kind == "Service" && name.id == *matched.service.name,
                EntityScope::In(name) | EntityScope::IsIn(_, name) => {
                    let service =
                        EntityName { kind: "Service".to_owned(), id: matched.service.name.to_string() };
                    self.above(&service).contains(name)
                }
            }
        };
        match action {
            ActionScope::Any => (0..self.operations.len()).filter(in_service).collect(),
            ActionScope::Eq(name) => {
                self.by_operation.get(name).copied().filter(in_service).into_iter().collect()
            }
            ActionScope::In(names) => {
                let mut found: Vec<usize> = Vec::new();
                for name in names {
                    found.extend(self.by_operation.get(name).filter(|index| in_service(index)));
                    let group = self.by_group.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
                    found.extend(group.iter().copied().filter(in_service));
                }
                found.sort_unstable();
                found.dedup();
                found
            }
        }
    }

    pub(crate) fn holds(&self, principal: &EntityScope) -> Holds {
        let some = |some: bool| if some { Holds::Proven } else { Holds::Nobody };
        match principal {
            EntityScope::Any => Holds::Anyone,
            EntityScope::Is(kind) => match kind.as_str() {
                "Anonymous" => Holds::Anyone,
                "Client" => some(!self.bundle.entities.clients.is_empty()),
                "Workload" => some(!self.bundle.palisade.trust_domains.is_empty()),
                "User" => some(self.bundle.palisade.identity.takes_tokens()),
                _ => Holds::Nobody,
            },
            EntityScope::Eq(name) => match name.kind.as_str() {
                "Anonymous" => Holds::Anyone,
                "Client" | "Workload" | "User" => Holds::Proven,
                _ => Holds::Nobody,
            },
            EntityScope::In(name) => match name.kind.as_str() {
                "Anonymous" | "Client" | "Workload" | "User" => self.holds(&EntityScope::Eq(name.clone())),
                _ => some(self.has_members(name, None)),
            },
            EntityScope::IsIn(kind, name) => match (kind.as_str(), name.kind.as_str()) {
                (kind, other) if kind == other => self.holds(&EntityScope::Eq(name.clone())),
                (kind, _) => some(self.has_members(name, Some(kind))),
            },
        }
    }

    /// The callers in a group, a role, a tier or something that a schema fragment declares.
    pub(crate) fn members(&self, above: &EntityName) -> impl Iterator<Item = Caller<'b>> {
        self.members.get(above).into_iter().flatten().copied()
    }

    fn has_members(&self, above: &EntityName, kind: Option<&str>) -> bool {
        let claimed = kind.is_none_or(|kind| kind == "User") && self.is_claimed(above);
        claimed || self.members(above).any(|caller| kind.is_none_or(|kind| kind == caller.name().0))
    }

    /// The entities that hold whoever this one holds: itself, and what it is in.
    pub(crate) fn above(&self, name: &EntityName) -> Vec<EntityName> {
        let mut all = vec![name.clone()];
        let mut seen: HashSet<&EntityName> = HashSet::new();
        let mut next: Vec<&EntityName> = self.parents(name).iter().collect();
        while let Some(above) = next.pop() {
            if seen.insert(above) {
                all.push(above.clone());
                next.extend(self.parents(above));
            }
        }
        all
    }

    fn parents(&self, name: &EntityName) -> &'b [EntityName] {
        self.bundle.entities.find(name).map_or(&[], |declared| declared.parents.as_slice())
    }
}

/// `orders.createOrder`, as policies name it.
pub(crate) fn full_name(matched: Matched<'_>) -> String {
    format!("{}.{}", matched.service.name, matched.operation.name)
}

/// Puts each caller into whatever it is in, and into all that is above.
fn members(bundle: &Bundle) -> HashMap<&EntityName, BTreeSet<Caller<'_>>> {
    let entities = &bundle.entities;
    let mut members: HashMap<&EntityName, BTreeSet<Caller<'_>>> = HashMap::new();
    let clients = entities.clients.iter().map(|(name, client)| (Caller::Client(name), client));
    let workloads = entities.workloads.iter().map(|(id, workload)| (Caller::Workload(id), workload));
    let users = entities.users.iter().map(|(name, user)| (Caller::User(name), user));
    for (caller, declared) in clients.chain(workloads).chain(users) {
        let mut next: Vec<&EntityName> = declared.parents.iter().collect();
        while let Some(above) = next.pop() {
            if members.entry(above).or_default().insert(caller) {
                next.extend(entities.find(above).into_iter().flat_map(|declared| &declared.parents));
            }
        }
    }
    members
}
