//! Which schemas apply to one value: each that a schema leads to without going deeper into the value, once.
//!
//! INVARIANT: a plan lists a schema before all that it leads to, so that going through it backwards meets results before
//! whoever asks for them; it is bounded, and there is none for schemas that lead back to themselves.

use super::node::{Node, SchemaIndex};
use super::table::SchemasError;
use crate::limits::{SCHEMA_PLAN_ENTRIES_MAX, SCHEMA_PLAN_MAX};
use std::collections::BTreeMap;

/// One schema of a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) schema: SchemaIndex,
    /// Where what it leads to begins among the edges.
    edges: u32,
    /// Whether the value is refused when this schema refuses it.
    pub(super) must: bool,
    /// Whether it must be known which properties and items it has looked at.
    pub(super) tracked: bool,
}

/// All that applies to a value, the schema itself first.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) entries: Box<[Entry]>,
    /// Places among the entries.
    edges: Box<[u32]>,
}

impl Plan {
    /// What an entry leads to, in the order of `Node::same_value`.
    pub(super) fn edges(&self, entry: &Entry) -> impl Iterator<Item = usize> {
        let edges = self.edges.get(entry.edges as usize..).unwrap_or_default();
        edges.iter().map(|place| *place as usize)
    }
}

/// The plans of all schemas that lead to others.
pub(super) fn plans(nodes: &[Node]) -> Result<Box<[Option<Box<Plan>>]>, SchemasError> {
    let children: Vec<Box<[u32]>> =
        nodes.iter().map(|node| node.same_value().map(|at| at.0).collect()).collect();
    check_loops(&children)?;
    let mut total = 0_usize;
    let mut plans = Vec::with_capacity(nodes.len());
    for (at, own) in children.iter().enumerate() {
        if own.is_empty() {
            plans.push(None);
            continue;
        }
        let plan = plan(at, nodes, &children)?;
        total = total.saturating_add(plan.entries.len()).saturating_add(plan.edges.len());
        if total > SCHEMA_PLAN_ENTRIES_MAX {
            return Err(SchemasError::TooMany {
                what: "schemas that apply to the same values",
                max: SCHEMA_PLAN_ENTRIES_MAX,
            });
        }
        plans.push(Some(Box::new(plan)));
    }
    Ok(plans.into())
}

/// A walk down from a schema, which visits each child once and says when it leaves.
struct Walk<'c> {
    children: &'c [Box<[u32]>],
    /// A schema and which of its children comes next.
    open: Vec<(u32, usize)>,
}

enum Step {
    Child(u32),
    Leave(u32),
}

impl Walk<'_> {
    fn step(&mut self) -> Option<Step> {
        let (schema, next) = self.open.last_mut()?;
        match self.children.get(*schema as usize).and_then(|children| children.get(*next)) {
            Some(child) => {
                *next = next.saturating_add(1);
                Some(Step::Child(*child))
            }
            None => {
                let schema = *schema;
                self.open.pop();
                Some(Step::Leave(schema))
            }
        }
    }
}

fn check_loops(children: &[Box<[u32]>]) -> Result<(), SchemasError> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut states = vec![State::New; children.len()];
    for start in 0..children.len() {
        if states.get(start) != Some(&State::New) {
            continue;
        }
        let start = u32::try_from(start).unwrap_or(u32::MAX);
        let mut walk = Walk { children, open: vec![(start, 0)] };
        let mut set = |schema: u32, state| {
            let place = states.get_mut(schema as usize);
            place.map(|place| core::mem::replace(place, state))
        };
        set(start, State::Open);
        while let Some(step) = walk.step() {
            match step {
                Step::Leave(schema) => drop(set(schema, State::Done)),
                Step::Child(child) => match set(child, State::Open) {
                    Some(State::New) => walk.open.push((child, 0)),
                    Some(State::Open) => return Err(SchemasError::Endless { schema: SchemaIndex(child) }),
                    Some(State::Done) => drop(set(child, State::Done)),
                    None => return Err(SchemasError::Dangling { index: child }),
                },
            }
        }
    }
    Ok(())
}

fn plan(root: usize, nodes: &[Node], children: &[Box<[u32]>]) -> Result<Plan, SchemasError> {
    let root = u32::try_from(root).unwrap_or(u32::MAX);
    let mut met = std::collections::BTreeSet::from([root]);
    let mut left = Vec::new();
    let mut walk = Walk { children, open: vec![(root, 0)] };
    while let Some(step) = walk.step() {
        match step {
            Step::Leave(schema) => left.push(schema),
            Step::Child(child) => {
                if met.insert(child) {
                    walk.open.push((child, 0));
                }
            }
        }
        if met.len() > SCHEMA_PLAN_MAX {
            return Err(SchemasError::TooManyAtOnce { schema: SchemaIndex(root), max: SCHEMA_PLAN_MAX });
        }
    }
    left.reverse();
    let places: BTreeMap<u32, u32> = left.iter().copied().zip(0..).collect();
    let mut edges = Vec::new();
    let mut entries = Vec::with_capacity(left.len());
    for schema in &left {
        let first = u32::try_from(edges.len()).unwrap_or(u32::MAX);
        let own = children.get(*schema as usize).map(AsRef::as_ref).unwrap_or_default();
        edges.extend(own.iter().filter_map(|child| places.get(child).copied()));
        let tracked = nodes.get(*schema as usize).is_some_and(Node::has_unevaluated);
        entries.push(Entry { schema: SchemaIndex(*schema), edges: first, must: false, tracked });
    }
    let mut plan = Plan { entries: entries.into(), edges: edges.into() };
    spread(&mut plan, nodes);
    Ok(plan)
}

/// Tells what an entry leads to, whether it must hold and whether it is tracked.
fn spread(plan: &mut Plan, nodes: &[Node]) {
    if let Some(first) = plan.entries.first_mut() {
        first.must = true;
    }
    for at in 0..plan.entries.len() {
        let Some(entry) = plan.entries.get(at).copied() else { continue };
        let Some(node) = nodes.get(entry.schema.0 as usize) else { continue };
        let all_of = node.combined.as_ref().map_or(0, |combined| combined.all_of.len());
        let count = node.same_value().count();
        let targets: Vec<usize> = plan.edges(&entry).take(count).collect();
        for (order, target) in targets.into_iter().enumerate() {
            let Some(target) = plan.entries.get_mut(target) else { continue };
            target.tracked |= entry.tracked;
            target.must |= entry.must && order < all_of;
        }
    }
}
