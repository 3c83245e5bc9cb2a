//! Rows of counts, each told apart by what it is of, with when it came first and last and one call as an example.
//!
//! Sorted, so that finding a row costs no allocation, and no caller can choose names that collide.
//! INVARIANT: what is added is counted in exactly one row, or refused for want of room.

use crate::call_id::CallId;
use core::cmp::Ordering;

/// What rows are told apart by, as it is kept.
pub(super) trait Kept {
    /// The same, borrowed from what comes in.
    type Key<'a>: Ord;

    fn of(key: Self::Key<'_>) -> Self;

    fn compare(&self, key: &Self::Key<'_>) -> Ordering;
}

#[derive(Debug)]
pub(super) struct Rows<K>(pub(super) Vec<Row<K>>);

#[derive(Debug)]
pub(super) struct Row<K> {
    pub(super) of: K,
    pub(super) count: u64,
    pub(super) first_at_ms: u64,
    pub(super) last_at_ms: u64,
    pub(super) call_id: CallId,
}

impl<K> Default for Rows<K> {
    fn default() -> Rows<K> {
        Rows(Vec::new())
    }
}

impl<K: Kept> Rows<K> {
    /// False: there is no such row, and no room for another one.
    pub(super) fn count(&mut self, key: K::Key<'_>, rows_max: usize, call_id: CallId, now_ms: u64) -> bool {
        match self.0.binary_search_by(|row| row.of.compare(&key)) {
            Ok(at) => {
                if let Some(row) = self.0.get_mut(at) {
                    row.count(now_ms);
                }
                true
            }
            Err(at) if self.0.len() < rows_max => {
                self.0.insert(at, Row::new(key, call_id, now_ms));
                true
            }
            Err(_) => false,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes one out; neighbours come after each other.
    pub(super) fn pop(&mut self) -> Option<Row<K>> {
        self.0.pop()
    }
}

impl<K: Kept> Row<K> {
    fn new(key: K::Key<'_>, call_id: CallId, now_ms: u64) -> Row<K> {
        Row { of: K::of(key), count: 1, first_at_ms: now_ms, last_at_ms: now_ms, call_id }
    }

    /// Counts in a row that stands for all that found no room elsewhere.
    pub(super) fn count_in(row: &mut Option<Row<K>>, key: K::Key<'_>, call_id: CallId, now_ms: u64) {
        match row {
            Some(row) => row.count(now_ms),
            None => *row = Some(Row::new(key, call_id, now_ms)),
        }
    }

    /// A clock may be set back meanwhile.
    fn count(&mut self, now_ms: u64) {
        self.count = self.count.saturating_add(1);
        self.first_at_ms = self.first_at_ms.min(now_ms);
        self.last_at_ms = self.last_at_ms.max(now_ms);
    }
}
