//! What a VM that sheds let through, what came of it, and how its shedders stand: what no server can know otherwise.
//!
//! INVARIANT: the counts of all rows, with those that were taken, add up to what was added; memory is bounded by how many
//! operations are in use.

use super::{Item, Load, LoadCount, LoadLevel};
use crate::contract::BundleDigest;
use crate::limits::{LOAD_COUNTS_MAX, LOAD_LEVELS_MAX, LOAD_ROWS_MAX};
use crate::routes::OperationIndex;

/// How many rows there may be of each kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) rows: usize,
    pub(super) levels: usize,
}

/// The counts of one VM, of services that shed.
#[derive(Debug)]
pub struct LoadTable {
    bounds: Bounds,
    /// Sorted by what differs most, because this is looked into for each request: operation, bundle.
    rows: Vec<Row>,
    others: LoadCount,
    levels: Vec<(BundleDigest, LoadLevel)>,
    /// Something was counted that is no healthy first attempt.
    is_troubled: bool,
}

#[derive(Debug)]
struct Row {
    bundle: BundleDigest,
    count: LoadCount,
}

/// What happened to a request that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    First,
    Retry,
    /// The service failed it. It was counted before as one of the others.
    Failed,
}

impl Default for LoadTable {
    fn default() -> LoadTable {
        LoadTable::with_bounds(Bounds { rows: LOAD_ROWS_MAX, levels: LOAD_LEVELS_MAX })
    }
}

impl LoadTable {
    pub(super) fn with_bounds(bounds: Bounds) -> LoadTable {
        LoadTable {
            bounds,
            rows: Vec::new(),
            others: LoadCount::of(None),
            levels: Vec::new(),
            is_troubled: false,
        }
    }

    pub fn add(&mut self, bundle: BundleDigest, operation: OperationIndex, passed: Passed) {
        self.is_troubled |= passed != Passed::First;
        let key = (Some(operation), bundle);
        let count = match self.rows.binary_search_by(|row| (row.count.operation, row.bundle).cmp(&key)) {
            Ok(at) => self.rows.get_mut(at).map(|row| &mut row.count),
            Err(at) if self.rows.len() < self.bounds.rows => {
                self.rows.insert(at, Row { bundle, count: LoadCount::of(Some(operation)) });
                self.rows.get_mut(at).map(|row| &mut row.count)
            }
            Err(_) => Some(&mut self.others),
        };
        if let Some(count) = count {
            count.add(passed);
        }
    }

    /// How the shedder of a service stands now. The newest word counts.
    pub fn level(&mut self, bundle: BundleDigest, level: LoadLevel) {
        let known =
            self.levels.iter_mut().find(|(of, known)| (*of, known.operation) == (bundle, level.operation));
        match known {
            Some((_, known)) => *known = level,
            None => {
                // Those of bundles that are gone came first.
                if self.levels.len() >= self.bounds.levels && !self.levels.is_empty() {
                    self.levels.remove(0);
                }
                if self.levels.len() < self.bounds.levels {
                    self.levels.push((bundle, level));
                }
            }
        }
    }

    /// Whether anything was counted that was not taken yet.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.others == LoadCount::of(None)
    }

    /// Whether there were retries or failures: news that should not wait for long.
    pub const fn is_troubled(&self) -> bool {
        self.is_troubled
    }

    /// Takes out what is of one bundle, as much as one item may hold.
    pub fn take(&mut self, now_ms: u64) -> Option<(BundleDigest, Item)> {
        let Some(bundle) = self.rows.last().map(|row| row.bundle) else { return self.take_others(now_ms) };
        let of_bundle = self.rows.extract_if(.., |row| row.bundle == bundle);
        let counts = of_bundle.take(LOAD_COUNTS_MAX).map(|row| row.count).collect();
        let of_bundle = self.levels.extract_if(.., |(of, _)| *of == bundle);
        let levels = of_bundle.map(|(_, level)| level).collect();
        self.is_troubled &= !self.is_empty();
        Some((bundle, Item::Load(Load { at_ms: now_ms, counts, levels })))
    }

    fn take_others(&mut self, now_ms: u64) -> Option<(BundleDigest, Item)> {
        self.is_troubled = false;
        let others = core::mem::replace(&mut self.others, LoadCount::of(None));
        // What is of several operations is of no bundle in particular.
        let load = Load { at_ms: now_ms, counts: vec![others], levels: Vec::new() };
        (others != LoadCount::of(None)).then_some((BundleDigest([0; 32]), Item::Load(load)))
    }
}

impl LoadCount {
    const fn of(operation: Option<OperationIndex>) -> LoadCount {
        LoadCount { operation, admitted: 0, retries: 0, failed: 0 }
    }

    fn add(&mut self, passed: Passed) {
        let LoadCount { admitted, retries, failed, .. } = self;
        match passed {
            Passed::First => *admitted = admitted.saturating_add(1),
            Passed::Retry => {
                *admitted = admitted.saturating_add(1);
                *retries = retries.saturating_add(1);
            }
            Passed::Failed => *failed = failed.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests;
