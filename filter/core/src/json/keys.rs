//! The keys of the objects that are open, as hashes of their decoded text.
//!
//! Two different keys with the same hash would refuse a good document, once in 2^64; equal keys are always found.

use std::collections::BTreeSet;

/// Up to here a scan is faster than a tree.
const FEW_KEYS: usize = 16;

/// The first keys of all open objects, the innermost last.
#[derive(Debug, Default)]
pub(super) struct Keys {
    few: Vec<u64>,
}

/// The keys of one object.
#[derive(Debug, Default)]
pub(super) struct ObjectKeys {
    start: usize,
    many: BTreeSet<u64>,
}

impl Keys {
    pub(super) fn open(&self) -> ObjectKeys {
        ObjectKeys { start: self.few.len(), many: BTreeSet::new() }
    }

    pub(super) fn close(&mut self, object: &ObjectKeys) {
        self.few.truncate(object.start);
    }

    /// Whether the key is new to the innermost object.
    pub(super) fn insert(&mut self, object: &mut ObjectKeys, key: u64) -> bool {
        let few = self.few.get(object.start..).unwrap_or_default();
        if few.contains(&key) {
            return false;
        }
        if few.len() < FEW_KEYS {
            self.few.push(key);
            return true;
        }
        object.many.insert(key)
    }
}
