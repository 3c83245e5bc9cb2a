//! Who may do what, by the scopes of policies: for every declared caller and every operation, before and after.
//!
//! INVARIANT: `Allowed` and `Denied` hold whatever a request is like; where a condition decides, it is `Conditional`.

use crate::bundle::Bundle;
use crate::bundle::landscape::{Landscape, full_name};
use crate::bundle::statement::statement;
use crate::cedar::{Effect, EntityName, EntityScope, Mode, PolicySummary};
use palisade_core::contract::OperationClass;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Kinds of callers times operations; what is beyond would take longer than anybody waits.
const PAIRS_MAX: usize = 20_000_000;

/// Whether a caller may use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    Denied,
    /// The request's content decides.
    Conditional,
    Allowed,
}

impl Access {
    pub fn name(self) -> &'static str {
        match self {
            Access::Denied => "denied",
            Access::Conditional => "conditional",
            Access::Allowed => "allowed",
        }
    }
}

/// Callers for whom the same operations changed in the same way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AccessChange {
    pub before: Access,
    pub after: Access,
    pub callers: Vec<String>,
    pub operations: Vec<String>,
    /// The policies that make it so now; none: nothing permits it.
    pub policies: Vec<String>,
    /// Why somebody should look at it twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub danger: Option<&'static str>,
}

/// Compares two bundles, or says why that would take too long.
pub(super) fn compare(before: &Bundle, after: &Bundle) -> Result<Vec<AccessChange>, String> {
    let (before, after) = (Landscape::of(before), Landscape::of(after));
    let (before, after) = (Reach::of(&before), Reach::of(&after));
    let operations = Operation::all(&before, &after);
    // Callers of whom the same scopes speak have the same access.
    let mut alike: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for caller in callers(&before, &after) {
        let scopes = (before.scopes_of(&caller), after.scopes_of(&caller));
        alike.entry(scopes).or_default().push(caller.shown());
    }
    if alike.len().saturating_mul(operations.len()) > PAIRS_MAX {
        let (callers, operations) = (alike.len(), operations.len());
        return Err(format!(
            "who may do what was not compared: {callers} kinds of callers by {operations} operations are too many"
        ));
    }
    let mut grouped: BTreeMap<AccessChange, BTreeSet<String>> = BTreeMap::new();
    for ((old, new), callers) in alike {
        for change in changes(&before, &after, &operations, old.as_deref(), new.as_deref()) {
            grouped.entry(change).or_default().extend(callers.iter().cloned());
        }
    }
    Ok(grouped
        .into_iter()
        .map(|(change, callers)| AccessChange { callers: callers.into_iter().collect(), ..change })
        .collect())
}

/// What changed for callers whom these scopes hold; those changes that are alike in one.
fn changes(
    before: &Reach<'_>,
    after: &Reach<'_>,
    operations: &[Operation],
    old: Option<&[Scope]>,
    new: Option<&[Scope]>,
) -> Vec<AccessChange> {
    let (old_marks, new_marks) = (before.marks(old), after.marks(new));
    let mut alike: BTreeMap<AccessChange, Vec<String>> = BTreeMap::new();
    for operation in operations {
        let old_mark = operation.before.and_then(|index| old_marks.get(index)).copied().unwrap_or_default();
        let new_mark = operation.after.and_then(|index| new_marks.get(index)).copied().unwrap_or_default();
        let (was, is) = (old_mark.access(), new_mark.access());
        let same = was == is && (was != Access::Conditional || old_mark.statements == new_mark.statements);
        if same {
            continue;
        }
        let policies = operation.after.map(|index| after.deciding(new, index, is)).unwrap_or_default();
        let danger = (operation.class != OperationClass::Read && is > was)
            .then_some("more callers may change something");
        let change = AccessChange {
            before: was,
            after: is,
            callers: Vec::new(),
            operations: Vec::new(),
            policies,
            danger,
        };
        alike.entry(change).or_default().push(operation.name.clone());
    }
    alike.into_iter().map(|(change, operations)| AccessChange { operations, ..change }).collect()
}

/// An operation of either bundle.
struct Operation {
    name: String,
    class: OperationClass,
    before: Option<usize>,
    after: Option<usize>,
}

impl Operation {
    fn all<'b>(before: &Reach<'b>, after: &Reach<'b>) -> Vec<Operation> {
        let mut all: BTreeMap<String, Operation> = BTreeMap::new();
        for (reach, is_after) in [(before, false), (after, true)] {
            for (index, matched) in reach.landscape.operations.iter().enumerate() {
                let name = full_name(*matched);
                let class = matched.operation.class;
                let operation =
                    all.entry(name.clone()).or_insert(Operation { name, class, before: None, after: None });
                // The stricter reading: what was a write or is one.
                operation.class = operation.class.max(class);
                let side = if is_after { &mut operation.after } else { &mut operation.before };
                *side = Some(index);
            }
        }
        all.into_values().collect()
    }
}

/// Somebody who may call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Anonymous,
    Client(String),
    Workload(String),
    User(String),
    /// A person who is declared nowhere, and in nothing but what their token says.
    AnyUser(Option<EntityName>),
    /// A workload of a trusted domain that is declared nowhere.
    Stranger,
}

impl Caller {
    fn shown(&self) -> String {
        match self {
            Caller::Anonymous => "callers without identity".to_owned(),
            Caller::Client(name) => format!("client {name}"),
            Caller::Workload(id) => format!("workload {id}"),
            Caller::User(name) => format!("user {name}"),
            Caller::AnyUser(None) => "any other user".to_owned(),
            Caller::AnyUser(Some(of)) => {
                format!("any user whose token says {} {}", of.kind.to_ascii_lowercase(), of.id)
            }
            Caller::Stranger => "any other workload".to_owned(),
        }
    }
}

fn callers(before: &Reach<'_>, after: &Reach<'_>) -> BTreeSet<Caller> {
    let mut all = BTreeSet::from([Caller::Anonymous, Caller::Stranger, Caller::AnyUser(None)]);
    for claimable in [before.landscape.claimable().collect::<Vec<_>>(), after.landscape.claimable().collect()]
    {
        all.extend(claimable.into_iter().map(|name| Caller::AnyUser(Some(name))));
    }
    for entities in [&before.landscape.bundle.entities, &after.landscape.bundle.entities] {
        all.extend(entities.clients.keys().cloned().map(Caller::Client));
        all.extend(entities.workloads.keys().cloned().map(Caller::Workload));
        all.extend(entities.users.keys().cloned().map(Caller::User));
    }
    all
}

/// Whom a policy speaks of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Scope {
    Anyone,
    Kind(String),
    Itself(EntityName),
    In(EntityName),
    KindIn(String, EntityName),
}

impl Scope {
    fn of(principal: &EntityScope) -> Scope {
        match principal.clone() {
            EntityScope::Any => Scope::Anyone,
            EntityScope::Is(kind) => Scope::Kind(kind),
            EntityScope::Eq(name) => Scope::Itself(name),
            EntityScope::In(name) => Scope::In(name),
            EntityScope::IsIn(kind, name) => Scope::KindIn(kind, name),
        }
    }
}

/// What policies say of one operation to whom a scope holds.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    permitted: bool,
    permitted_if: bool,
    forbidden: bool,
    forbidden_if: bool,
    /// All statements with conditions, as one number.
    statements: u64,
}

impl Mark {
    fn access(self) -> Access {
        if self.forbidden || !(self.permitted || self.permitted_if) {
            Access::Denied
        } else if self.permitted && !self.forbidden_if {
            Access::Allowed
        } else {
            Access::Conditional
        }
    }

    fn and(self, other: Mark) -> Mark {
        Mark {
            permitted: self.permitted || other.permitted,
            permitted_if: self.permitted_if || other.permitted_if,
            forbidden: self.forbidden || other.forbidden,
            forbidden_if: self.forbidden_if || other.forbidden_if,
            statements: self.statements.wrapping_add(other.statements),
        }
    }
}

/// What the policies of one bundle say, by scope.
struct Reach<'b> {
    landscape: &'b Landscape<'b>,
    policies: HashMap<Scope, Vec<&'b PolicySummary>>,
    marks: HashMap<Scope, Vec<Mark>>,
}

impl<'b> Reach<'b> {
    fn of(landscape: &'b Landscape<'b>) -> Reach<'b> {
        let mut policies: HashMap<Scope, Vec<&PolicySummary>> = HashMap::new();
        for policy in landscape.policies().filter(|policy| policy.mode == Mode::Enforced) {
            policies.entry(Scope::of(&policy.principal)).or_default().push(policy);
        }
        let marks =
            policies.iter().map(|(scope, policies)| (scope.clone(), marks(landscape, policies))).collect();
        Reach { landscape, policies, marks }
    }

    /// The scopes that hold a caller and are used. `None`: the caller cannot prove who it is.
    fn scopes_of(&self, caller: &Caller) -> Option<Vec<Scope>> {
        let bundle = self.landscape.bundle;
        let (kind, id) = match caller {
            Caller::Anonymous => ("Anonymous", "anonymous"),
            Caller::Client(name) => {
                let proven = bundle.palisade.identity.api_keys.is_some();
                (proven && bundle.entities.clients.contains_key(name)).then_some(("Client", name.as_str()))?
            }
            Caller::Workload(id) => {
                let domain = id.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next());
                let trusted =
                    bundle.palisade.trust_domains.iter().any(|known| Some(known.value.as_str()) == domain);
                trusted.then_some(("Workload", id.as_str()))?
            }
            Caller::User(name) => {
                let known = bundle.palisade.identity.no_user(name).is_none();
                known.then_some(("User", name.as_str()))?
            }
            Caller::AnyUser(of) => {
                let identity = &bundle.palisade.identity;
                let told = of.as_ref().is_none_or(|of| self.landscape.is_claimed(of));
                (identity.takes_tokens() && told).then_some(("User", ""))?
            }
            Caller::Stranger => (!bundle.palisade.trust_domains.is_empty()).then_some(("Workload", ""))?,
        };
        let name = EntityName { kind: kind.to_owned(), id: id.to_owned() };
        let mut scopes = vec![Scope::Anyone, Scope::Kind(kind.to_owned()), Scope::Itself(name.clone())];
        let claimed = match caller {
            Caller::AnyUser(Some(of)) => self.landscape.above(of),
            _ => Vec::new(),
        };
        for above in self.landscape.above(&name).into_iter().chain(claimed) {
            scopes.push(Scope::KindIn(kind.to_owned(), above.clone()));
            scopes.push(Scope::In(above));
        }
        scopes.retain(|scope| self.policies.contains_key(scope));
        scopes.sort();
        Some(scopes)
    }

    fn marks(&self, scopes: Option<&[Scope]>) -> Vec<Mark> {
        let mut all = vec![Mark::default(); self.landscape.operations.len()];
        for marks in scopes.unwrap_or_default().iter().filter_map(|scope| self.marks.get(scope)) {
            for (mark, more) in all.iter_mut().zip(marks) {
                *mark = mark.and(*more);
            }
        }
        all
    }

    /// The policies that make an access what it is.
    fn deciding(&self, scopes: Option<&[Scope]>, operation: usize, access: Access) -> Vec<String> {
        let policies =
            scopes.unwrap_or_default().iter().filter_map(|scope| self.policies.get(scope)).flatten();
        let mut ids: Vec<String> = policies
            .filter(|policy| match access {
                Access::Denied => policy.effect == Effect::Forbid && !policy.has_condition,
                Access::Allowed => policy.effect == Effect::Permit && !policy.has_condition,
                Access::Conditional => true,
            })
            .filter(|policy| self.landscape.operations_of(policy).binary_search(&operation).is_ok())
            .map(|policy| policy.id.clone())
            .collect();
        ids.sort();
        ids
    }
}

fn marks<'b>(landscape: &Landscape<'b>, policies: &[&'b PolicySummary]) -> Vec<Mark> {
    let mut marks = vec![Mark::default(); landscape.operations.len()];
    for policy in policies {
        let conditional = policy.has_condition;
        let mut mark = Mark::default();
        match policy.effect {
            Effect::Permit if conditional => mark.permitted_if = true,
            Effect::Permit => mark.permitted = true,
            Effect::Forbid if conditional => mark.forbidden_if = true,
            Effect::Forbid => mark.forbidden = true,
        }
        if conditional {
            let mut hasher = DefaultHasher::new();
            statement(&policy.text).hash(&mut hasher);
            mark.statements = hasher.finish();
        }
        for index in landscape.operations_of(policy).iter() {
            if let Some(known) = marks.get_mut(*index) {
                *known = known.and(mark);
            }
        }
    }
    marks
}
