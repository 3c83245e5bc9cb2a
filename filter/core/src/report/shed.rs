//! Sheds that are not told one by one: counted until there is room to tell them.
//!
//! In a storm they come by the thousand. The first of each second are told as refusals, which `why` finds; the others are
//! counted by what matters of them. Callers have names of their own, so that there may be any number of them: beyond a
//! bound rows are told apart without caller and limit, and beyond a second one by retry and mode alone.
//! INVARIANT: the counts of all rows, with those that were taken, add up to what was added.

use super::drift::told;
use super::rows::{Kept, Row, Rows};
use super::{Item, OTHER, Report, SEVERAL, Sheds, Subject, Verdict};
use crate::call_id::CallId;
use crate::contract::BundleDigest;
use crate::limits::{
    PLACE_BYTES_MAX, REPORT_TEXT_BYTES_MAX, SHED_FOLDED_ROWS_MAX, SHED_ROWS_MAX, SHEDS_TOLD_PER_S_MAX,
};
use crate::reason::Reason;
use crate::routes::OperationIndex;
use core::cmp::Ordering;
use std::borrow::Cow;

/// What the place of a shed begins with, where a limit of the contract says no; its name follows.
const LIMITS: &str = "limits/";

/// What sheds are told apart by, beside the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShedKey<'a> {
    pub operation: OperationIndex,
    pub reason: Reason,
    /// The peer's identity as the proxy verified it; empty without.
    pub peer: &'a str,
    /// Something says that this is not a first attempt.
    pub retry: bool,
    /// It went on all the same.
    pub shadow: bool,
    /// The name of the rate limit that says no; empty where the load does.
    pub limit: &'a str,
}

impl ShedKey<'_> {
    /// As one refusal.
    pub(super) fn report(&self, call_id: CallId, at_ms: u64, subject: Subject) -> Report {
        let ShedKey { operation, reason, peer, retry, shadow: _, limit } = *self;
        let place = if limit.is_empty() { String::new() } else { format!("{LIMITS}{limit}") };
        Report {
            call_id,
            at_ms,
            verdict: Verdict::Shed,
            reason: Cow::Borrowed(reason.code()),
            operation: Some(operation),
            subject,
            peer: told(peer, REPORT_TEXT_BYTES_MAX).into_owned(),
            place: told(&place, PLACE_BYTES_MAX).into_owned(),
            retry,
        }
    }
}

/// How many rows there may be of each kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) rows: usize,
    pub(super) folded: usize,
}

/// The counts of one VM.
#[derive(Debug)]
pub struct ShedTable {
    bounds: Bounds,
    rows: Rows<Shed>,
    folded: Rows<Shed>,
    /// By retry and mode, of any bundle.
    other: [Option<Row<Shed>>; 4],
    /// The second in which sheds are told one by one, and how many were.
    second: u64,
    told: u32,
}

#[derive(Debug)]
struct Shed {
    bundle: BundleDigest,
    operation: Option<OperationIndex>,
    reason: Option<Reason>,
    retry: bool,
    shadow: bool,
    limit: Box<str>,
    peer: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey<'a> {
    bundle: BundleDigest,
    operation: Option<OperationIndex>,
    reason: Option<Reason>,
    retry: bool,
    shadow: bool,
    limit: &'a str,
    peer: &'a str,
}

impl Default for ShedTable {
    fn default() -> ShedTable {
        ShedTable::with_bounds(Bounds { rows: SHED_ROWS_MAX, folded: SHED_FOLDED_ROWS_MAX })
    }
}

impl ShedTable {
    pub(super) fn with_bounds(bounds: Bounds) -> ShedTable {
        ShedTable {
            bounds,
            rows: Rows::default(),
            folded: Rows::default(),
            other: [const { None }; 4],
            second: 0,
            told: 0,
        }
    }

    /// Whether one more may be told by itself. A clock that jumps begins another second.
    pub fn may_tell(&mut self, now_ms: u64) -> bool {
        let second = now_ms / 1000;
        if self.second != second {
            (self.second, self.told) = (second, 0);
        }
        let may = self.told < SHEDS_TOLD_PER_S_MAX;
        self.told = self.told.saturating_add(u32::from(may));
        may
    }

    /// Counts one.
    pub fn add(&mut self, bundle: BundleDigest, key: ShedKey<'_>, call_id: CallId, now_ms: u64) {
        let ShedKey { operation, reason, peer, retry, shadow, limit } = key;
        let (limit, peer) = (told(limit, REPORT_TEXT_BYTES_MAX), told(peer, REPORT_TEXT_BYTES_MAX));
        let exact = RowKey {
            bundle,
            operation: Some(operation),
            reason: Some(reason),
            retry,
            shadow,
            limit: &limit,
            peer: &peer,
        };
        let folded = RowKey { limit: "", peer: SEVERAL, ..exact };
        if self.rows.count(exact, self.bounds.rows, call_id, now_ms)
            || self.folded.count(folded, self.bounds.folded, call_id, now_ms)
        {
            return;
        }
        let [first, first_shadow, retried, retried_shadow] = &mut self.other;
        let other = match (retry, shadow) {
            (false, false) => first,
            (false, true) => first_shadow,
            (true, false) => retried,
            (true, true) => retried_shadow,
        };
        Row::count_in(other, RowKey { operation: None, reason: None, ..folded }, call_id, now_ms);
    }

    /// Whether anything was counted that was not taken yet.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.other.iter().all(Option::is_none)
    }

    /// Whether so much is told apart that it should be taken before its time.
    pub fn is_half_full(&self) -> bool {
        self.rows.len() >= self.bounds.rows.div_ceil(2)
    }

    /// Takes one row out, and the bundle that it was judged by; what is of one bundle comes together.
    pub fn take(&mut self) -> Option<(BundleDigest, Item)> {
        let row = self.rows.pop().or_else(|| self.folded.pop());
        let row = row.or_else(|| self.other.iter_mut().find_map(Option::take))?;
        Some((row.of.bundle, Item::Shed(row.into_sheds())))
    }
}

impl Kept for Shed {
    type Key<'a> = RowKey<'a>;

    fn of(key: RowKey<'_>) -> Shed {
        let RowKey { bundle, operation, reason, retry, shadow, limit, peer } = key;
        Shed { bundle, operation, reason, retry, shadow, limit: limit.into(), peer: peer.into() }
    }

    fn compare(&self, key: &RowKey<'_>) -> Ordering {
        let Shed { bundle, operation, reason, retry, shadow, .. } = *self;
        RowKey { bundle, operation, reason, retry, shadow, limit: &self.limit, peer: &self.peer }.cmp(key)
    }
}

impl Row<Shed> {
    fn into_sheds(self) -> Sheds {
        let Row { of, count, first_at_ms, last_at_ms, call_id } = self;
        let Shed { bundle: _, operation, reason, retry, shadow, limit, peer } = of;
        Sheds {
            operation,
            reason: Cow::Borrowed(reason.map_or(OTHER, Reason::code)),
            retry,
            shadow,
            limit: limit.into(),
            peer: peer.into(),
            count,
            first_at_ms,
            last_at_ms,
            call_id,
        }
    }
}

#[cfg(test)]
mod tests;
