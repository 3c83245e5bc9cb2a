//! What broke a rule and went on all the same, counted until there is room to tell it; and how many were judged.
//!
//! Callers choose places, so that there may be any number of them: beyond a bound rows are told apart by operation, side
//! and reason alone, and beyond a second one by side.
//! INVARIANT: the counts of all rows, with those that were taken, add up to what was added.

use super::rows::{Kept, Row, Rows};
use super::{Drift, Item, Judged, JudgedCount, Side, shown};
use crate::call_id::CallId;
use crate::contract::BundleDigest;
use crate::limits::{
    DRIFT_FOLDED_ROWS_MAX, DRIFT_ROWS_MAX, JUDGED_COUNTS_MAX, JUDGED_ROWS_MAX, PLACE_BYTES_MAX,
    REPORT_TEXT_BYTES_MAX,
};
use crate::reason::Reason;
use crate::routes::OperationIndex;
use core::cmp::Ordering;
use std::borrow::Cow;

/// The place of a row that stands for several.
pub const SEVERAL: &str = "…";

/// In the place of a reason's code, where a row stands for several reasons.
pub const OTHER: &str = "other";

/// Stands for any index and for any key that is a number.
const ANY_NUMBER: &str = "*";

/// What drift is told apart by, beside the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriftKey<'a> {
    pub operation: OperationIndex,
    pub side: Side,
    pub reason: Reason,
    /// As in a report on a refusal.
    pub place: &'a str,
    pub status: Option<u16>,
    pub peer: &'a str,
}

/// How many rows there may be of each kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) rows: usize,
    pub(super) folded: usize,
    pub(super) judged: usize,
}

/// The counts of one VM.
#[derive(Debug)]
pub struct DriftTable {
    bounds: Bounds,
    rows: Rows<Broken>,
    folded: Rows<Broken>,
    /// By side, of any bundle.
    other: [Option<Row<Broken>>; 2],
    /// Sorted by what differs most, because this is looked into for each request: operation, side, bundle.
    judged: Vec<JudgedRow>,
    judged_others: [u64; 2],
}

#[derive(Debug)]
struct Broken {
    bundle: BundleDigest,
    operation: Option<OperationIndex>,
    side: Side,
    reason: Option<Reason>,
    status: Option<u16>,
    place: Box<str>,
    peer: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey<'a> {
    bundle: BundleDigest,
    operation: Option<OperationIndex>,
    side: Side,
    reason: Option<Reason>,
    status: Option<u16>,
    place: &'a str,
    peer: &'a str,
}

#[derive(Debug)]
struct JudgedRow {
    bundle: BundleDigest,
    operation: OperationIndex,
    side: Side,
    count: u64,
}

impl Default for DriftTable {
    fn default() -> DriftTable {
        DriftTable::with_bounds(Bounds {
            rows: DRIFT_ROWS_MAX,
            folded: DRIFT_FOLDED_ROWS_MAX,
            judged: JUDGED_ROWS_MAX,
        })
    }
}

impl DriftTable {
    pub(super) fn with_bounds(bounds: Bounds) -> DriftTable {
        DriftTable {
            bounds,
            rows: Rows::default(),
            folded: Rows::default(),
            other: [None, None],
            judged: Vec::new(),
            judged_others: [0; 2],
        }
    }

    /// Counts one rule that was broken without a refusal.
    pub fn add(&mut self, bundle: BundleDigest, key: DriftKey<'_>, call_id: CallId, now_ms: u64) {
        let DriftKey { operation, side, reason, place, status, peer } = key;
        let (place, peer) = (general_place(place), told(peer, REPORT_TEXT_BYTES_MAX));
        let exact = RowKey {
            bundle,
            operation: Some(operation),
            side,
            reason: Some(reason),
            status,
            place: &place,
            peer: &peer,
        };
        let folded = RowKey { status: None, place: SEVERAL, peer: "", ..exact };
        if self.rows.count(exact, self.bounds.rows, call_id, now_ms)
            || self.folded.count(folded, self.bounds.folded, call_id, now_ms)
        {
            return;
        }
        let [request, response] = &mut self.other;
        let other = match side {
            Side::Request => request,
            Side::Response => response,
        };
        Row::count_in(other, RowKey { operation: None, reason: None, ..folded }, call_id, now_ms);
    }

    /// Counts one request or response that was judged, whatever came of it.
    pub fn judged(&mut self, bundle: BundleDigest, operation: OperationIndex, side: Side) {
        let key = (operation, side, bundle);
        let found = self.judged.binary_search_by(|row| (row.operation, row.side, row.bundle).cmp(&key));
        let count = match found {
            Ok(at) => self.judged.get_mut(at).map(|row| &mut row.count),
            Err(at) if self.judged.len() < self.bounds.judged => {
                self.judged.insert(at, JudgedRow { bundle, operation, side, count: 1 });
                return;
            }
            Err(_) => {
                let [request, response] = &mut self.judged_others;
                Some(match side {
                    Side::Request => request,
                    Side::Response => response,
                })
            }
        };
        if let Some(count) = count {
            *count = count.saturating_add(1);
        }
    }

    /// Whether anything drifted that was not taken yet.
    pub fn has_drift(&self) -> bool {
        !self.rows.is_empty() || self.other.iter().any(Option::is_some)
    }

    /// Whether so much is told apart that it should be taken before its time.
    pub fn is_half_full(&self) -> bool {
        self.rows.len() >= self.bounds.rows.div_ceil(2)
    }

    /// Takes one item out, and the bundle that it was judged by. Drift comes before what was judged, and what is of one
    /// bundle together.
    pub fn take(&mut self, now_ms: u64) -> Option<(BundleDigest, Item)> {
        let row = self.rows.pop().or_else(|| self.folded.pop());
        let row = row.or_else(|| self.other.iter_mut().find_map(Option::take));
        match row {
            Some(row) => Some((row.of.bundle, Item::Drifted(row.into_drift()))),
            None => self.take_judged(now_ms),
        }
    }

    fn take_judged(&mut self, now_ms: u64) -> Option<(BundleDigest, Item)> {
        let bundle = self.judged.last().map(|row| row.bundle);
        let of_bundle = self.judged.extract_if(.., |row| Some(row.bundle) == bundle);
        let mut counts: Vec<JudgedCount> =
            of_bundle.map(JudgedRow::into_count).take(JUDGED_COUNTS_MAX).collect();
        if bundle.is_none() {
            for (side, count) in Side::ALL.into_iter().zip(&mut self.judged_others) {
                let count = core::mem::take(count);
                if count > 0 {
                    counts.push(JudgedCount { operation: None, side, count });
                }
            }
        }
        // What is of several operations is of no bundle in particular.
        let bundle = bundle.unwrap_or(BundleDigest([0; 32]));
        (!counts.is_empty()).then_some((bundle, Item::Judged(Judged { at_ms: now_ms, counts })))
    }
}

impl JudgedRow {
    fn into_count(self) -> JudgedCount {
        let JudgedRow { operation, side, count, .. } = self;
        JudgedCount { operation: Some(operation), side, count }
    }
}

impl Kept for Broken {
    type Key<'a> = RowKey<'a>;

    fn of(key: RowKey<'_>) -> Broken {
        let RowKey { bundle, operation, side, reason, status, place, peer } = key;
        Broken { bundle, operation, side, reason, status, place: place.into(), peer: peer.into() }
    }

    fn compare(&self, key: &RowKey<'_>) -> Ordering {
        let Broken { bundle, operation, side, reason, status, .. } = *self;
        RowKey { bundle, operation, side, reason, status, place: &self.place, peer: &self.peer }.cmp(key)
    }
}

impl Row<Broken> {
    fn into_drift(self) -> Drift {
        let Row { of, count, first_at_ms, last_at_ms, call_id } = self;
        let Broken { bundle: _, operation, side, reason, status, place, peer } = of;
        Drift {
            operation,
            side,
            reason: Cow::Borrowed(reason.map_or(OTHER, Reason::code)),
            place: place.into(),
            status,
            peer: peer.into(),
            count,
            first_at_ms,
            last_at_ms,
            call_id,
        }
    }
}

/// A place with `*` for each step that is a number, so that all items of an array are one field: `body/items/3/price` is
/// `body/items/*/price`. The first step, which says what the others point into, stays.
pub fn general_place(place: &str) -> Cow<'_, str> {
    let place = told(place, PLACE_BYTES_MAX);
    let is_number = |step: &str| !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
    if !place.split('/').skip(1).any(is_number) {
        return place;
    }
    let mut general = String::with_capacity(place.len());
    for (index, step) in place.split('/').enumerate() {
        if index > 0 {
            general.push('/');
        }
        general.push_str(if index > 0 && is_number(step) { ANY_NUMBER } else { step });
    }
    Cow::Owned(general)
}

/// As a text may be told; most may be as they are.
pub(super) fn told(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max && !text.chars().any(char::is_control) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(shown(text.as_bytes(), bytes_max))
    }
}

#[cfg(test)]
mod tests;
