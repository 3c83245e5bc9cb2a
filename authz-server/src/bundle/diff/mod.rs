//! What changed from one bundle to another: rules, and what follows from them for every declared caller.
//!
//! INVARIANT: two bundles without a difference here decide the same. Whatever has no words of its own is told as a change
//! nevertheless.

mod access;
mod callers;
mod contracts;
mod enforcement;
mod entities;
mod load;
mod policies;
mod render;
mod settings;
mod validation;

pub use access::{Access, AccessChange};

use super::Bundle;
use palisade_core::contract::BundleDigest;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// All that changed.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    #[serde(serialize_with = "as_text")]
    pub before: BundleDigest,
    #[serde(serialize_with = "as_text")]
    pub after: BundleDigest,
    /// In the order of their areas.
    pub changes: Vec<Change>,
    /// Who may do what, and could not before, or the reverse.
    pub access: Vec<AccessChange>,
    /// What was not compared, and why.
    pub notes: Vec<String>,
}

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    Settings,
    Services,
    Operations,
    Validation,
    Schema,
    Policies,
    Entities,
    Tests,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Added,
    Removed,
    Changed,
}

/// Whether a rule accepts less than before, or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Tightened,
    Loosened,
}

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    pub area: Area,
    /// `orders.createOrder`, or the id of a policy.
    pub subject: String,
    pub kind: Kind,
    /// Which part of it, where it is not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Why somebody should look at it twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub danger: Option<String>,
}

impl Difference {
    pub fn of(before: &Bundle, after: &Bundle) -> Difference {
        let mut found = Found::default();
        let mut notes = Vec::new();
        let mut access = Vec::new();
        if before.digest != after.digest {
            settings::compare(before, after, &mut found);
            callers::compare(before, after, &mut found);
            contracts::compare(before, after, &mut found);
            load::compare(before, after, &mut found);
            policies::compare(before, after, &mut found);
            entities::compare(before, after, &mut found);
            match access::compare(before, after) {
                Ok(changes) => access = changes,
                Err(note) => notes.push(note),
            }
        }
        let mut changes = found.changes;
        changes.sort();
        Difference { before: before.digest, after: after.digest, changes, access, notes }
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.access.is_empty()
    }

    /// How many things somebody should look at twice.
    pub fn dangers(&self) -> usize {
        let changes = self.changes.iter().filter(|change| change.danger.is_some()).count();
        changes + self.access.iter().filter(|change| change.danger.is_some()).count()
    }
}

fn as_text<S: serde::Serializer>(digest: &BundleDigest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

/// The changes that were found.
#[derive(Debug, Default)]
struct Found {
    changes: Vec<Change>,
}

impl Found {
    /// Reports a change, to which more can be said.
    fn change(&mut self, area: Area, kind: Kind, subject: impl Into<String>) -> Said<'_> {
        let change = Change {
            area,
            subject: subject.into(),
            kind,
            what: None,
            before: None,
            after: None,
            direction: None,
            danger: None,
        };
        self.changes.push(change);
        Said(self.changes.last_mut())
    }

    /// Reports a part that is not the same on both sides.
    fn part(
        &mut self,
        area: Area,
        subject: &str,
        what: &str,
        before: impl Into<String>,
        after: impl Into<String>,
    ) -> Option<Said<'_>> {
        let (before, after) = (before.into(), after.into());
        if before == after {
            return None;
        }
        Some(self.change(area, Kind::Changed, subject).what(what).before(before).after(after))
    }

    /// Compares what has names: reports what is only on one side, and hands on what is on both.
    fn named<T>(
        &mut self,
        area: Area,
        before: &BTreeMap<String, T>,
        after: &BTreeMap<String, T>,
        words: impl Fn(&T) -> String,
        mut both: impl FnMut(&mut Found, &str, &T, &T),
    ) {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            match (before.get(name), after.get(name)) {
                (Some(gone), None) => {
                    self.change(area, Kind::Removed, name).before(words(gone));
                }
                (None, Some(new)) => {
                    self.change(area, Kind::Added, name).after(words(new));
                }
                (Some(before), Some(after)) => both(self, name, before, after),
                (None, None) => {}
            }
        }
    }
}

/// A change that was reported.
struct Said<'c>(Option<&'c mut Change>);

impl Said<'_> {
    fn with(mut self, write: impl FnOnce(&mut Change)) -> Self {
        if let Some(change) = &mut self.0 {
            write(change);
        }
        self
    }

    fn what(self, what: &str) -> Self {
        self.with(|change| change.what = Some(what.to_owned()))
    }

    fn before(self, text: String) -> Self {
        self.with(|change| change.before = Some(text).filter(|text| !text.is_empty()))
    }

    fn after(self, text: String) -> Self {
        self.with(|change| change.after = Some(text).filter(|text| !text.is_empty()))
    }

    fn direction(self, direction: Option<Direction>) -> Self {
        self.with(|change| change.direction = direction)
    }

    fn danger(self, danger: Option<&str>) -> Self {
        self.with(|change| change.danger = danger.map(ToOwned::to_owned))
    }
}
