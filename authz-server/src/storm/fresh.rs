//! What came since the last look: all that a decision has to do with storms.
//!
//! INVARIANT: to observe costs one place in a map, and no allocation where the flow came before since the last look.
//! INVARIANT: bounded whoever calls; what finds no place is counted for several callers together.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use super::{Counts, FLOWS_MAX, Flow, SEVERAL, cut};

/// Flows by a keyed hash of them, so that finding one costs a call no allocation. Nobody can make two flows share one of
/// 2^64 places without knowing the key.
pub(super) type FreshFlows = HashMap<u64, FreshFlow>;

/// A flow with what came of it.
#[derive(Debug)]
pub(super) struct FreshFlow {
    pub(super) caller: Box<str>,
    pub(super) service: Box<str>,
    pub(super) operation: Box<str>,
    pub(super) counts: Counts,
}

/// By service, reason and whether it is in shadow.
pub(super) type ShedKey = (Box<str>, &'static str, bool);

/// What came since the last look.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    pub(super) flows: FreshFlows,
    hasher: RandomState,
    pub(super) sheds: BTreeMap<ShedKey, u64>,
}

impl Fresh {
    pub(super) fn observe(&mut self, flow: Flow<'_>, counts: Counts) {
        let flow =
            Flow { caller: cut(flow.caller), service: cut(flow.service), operation: cut(flow.operation) };
        if let Some(known) = self.flows.get_mut(&self.hasher.hash_one(flow)) {
            known.counts.add(counts);
            return;
        }
        let flow = if self.flows.len() < FLOWS_MAX { flow } else { Flow { caller: SEVERAL, ..flow } };
        let known = self.flows.entry(self.hasher.hash_one(flow)).or_insert_with(|| FreshFlow {
            caller: flow.caller.into(),
            service: flow.service.into(),
            operation: flow.operation.into(),
            counts: Counts::default(),
        });
        known.counts.add(counts);
    }

    pub(super) fn shed(&mut self, service: &str, reason: &'static str, shadow: bool, count: u64) {
        let sum = self.sheds.entry((service.into(), reason, shadow)).or_default();
        *sum = sum.saturating_add(count);
    }
}
