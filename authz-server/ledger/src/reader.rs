//! The way out of the ledger: everything that reads it. Needs no server, takes no lock and changes nothing.
//!
//! INVARIANT: an entry is either given as it was recorded or named as unreadable; none is passed over.

use std::path::{Path, PathBuf};

use crate::entry::{Decision, Entry, Outcome, Refusal};
use crate::error::ReadError;
use crate::file::{Disk, Files};
use crate::limits::POLL_ENTRIES_MAX;
use crate::merkle::{LeafHash, leaf_hash};
use crate::scan::Located;
use crate::walk::Walk;

/// Something recorded, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded<T = Entry> {
    /// The entry's place in the ledger, counted from 0.
    pub index: u64,
    /// Where its frame begins in the segment.
    pub offset: u64,
    pub leaf_hash: LeafHash,
    pub entry: T,
}

/// The entries of a ledger in their order. Works beside an active writer: `None` is the end for now, and a later
/// call goes on from there. After an error there is nothing more.
#[derive(Debug)]
pub struct Entries<D: Files = Disk> {
    walk: Walk<D>,
    failed: bool,
}

impl Entries {
    /// Begins with the first entry that there still is.
    pub fn open(dir: &Path) -> Result<Entries, ReadError> {
        Entries::open_from(dir, 0)
    }

    /// Begins with the entry of this index, or with the first one after it that there still is.
    pub fn open_from(dir: &Path, index: u64) -> Result<Entries, ReadError> {
        Entries::on(&Disk, dir, index)
    }

    /// Begins with an entry of which index and offset are known, without a look at those before it. Where that place is
    /// no frame's, the walk fails as it does on a damaged one; where it is another entry's, that one is given.
    pub fn open_at(dir: &Path, index: u64, offset: u64) -> Result<Entries, ReadError> {
        Ok(Entries { walk: Walk::open_at(&Disk, dir, index, offset)?, failed: false })
    }
}

impl<D: Files> Entries<D> {
    pub(crate) fn on(files: &D, dir: &Path, index: u64) -> Result<Entries<D>, ReadError> {
        Ok(Entries { walk: Walk::open(files, dir, index)?, failed: false })
    }

    /// What stands behind the last entry: the unfinished part of a write, which opening the ledger would cut off.
    pub fn torn_bytes(&self) -> u64 {
        self.walk.torn_bytes()
    }

    fn read(&mut self) -> Result<Option<Recorded>, ReadError> {
        let Some(located) = self.walk.advance()? else { return Ok(None) };
        let Located { index, offset, frame } = located;
        let leaf_hash = leaf_hash(frame.stored);
        match Entry::decode(frame.kind, frame.version, frame.stored) {
            Ok(entry) => Ok(Some(Recorded { index, offset, leaf_hash, entry })),
            Err(error) => Err(ReadError::Entry { path: self.walk.path().to_owned(), index, offset, error }),
        }
    }
}

impl<D: Files> Iterator for Entries<D> {
    type Item = Result<Recorded, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read().transpose();
        self.failed = matches!(read, Some(Err(_)));
        read
    }
}

/// What the ledger knows of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub decision: Option<Recorded<Decision>>,
    /// What the filter itself said to it.
    pub refusal: Option<Recorded<Refusal>>,
    pub outcomes: Vec<Recorded<Outcome>>,
}

/// Looks for a call by its decision id, through the whole ledger. `None` if nothing was recorded of it.
pub fn find(dir: &Path, decision_id: &str) -> Result<Option<Found>, ReadError> {
    let mut found = Found { decision: None, refusal: None, outcomes: Vec::new() };
    for recorded in Entries::open(dir)? {
        let Recorded { index, offset, leaf_hash, entry } = recorded?;
        match entry {
            Entry::Decision(entry) if entry.decision_id == decision_id => {
                // Ids are unique; were one not, the first is what was answered first.
                found.decision.get_or_insert(Recorded { index, offset, leaf_hash, entry });
            }
            Entry::Outcome(entry) if entry.call_id.as_deref() == Some(decision_id) => {
                found.outcomes.push(Recorded { index, offset, leaf_hash, entry });
            }
            Entry::Refusal(entry) if entry.call_id == decision_id => {
                // A report that was repeated is the same one.
                found.refusal.get_or_insert(Recorded { index, offset, leaf_hash, entry });
            }
            Entry::Decision(_)
            | Entry::Refusal(_)
            | Entry::Outcome(_)
            | Entry::Admin(_)
            | Entry::Drift(_)
            | Entry::Judged(_)
            | Entry::Shed(_)
            | Entry::Load(_) => {}
        }
    }
    let known = found.decision.is_some() || found.refusal.is_some() || !found.outcomes.is_empty();
    Ok(known.then_some(found))
}

/// A live tail: gives what was recorded since the last poll.
#[derive(Debug)]
pub struct Follow {
    dir: PathBuf,
    entries: Option<Entries>,
    /// What ended the walk, until it can be told without keeping entries back.
    error: Option<ReadError>,
}

impl Follow {
    /// Begins with the first entry. The ledger need not exist yet.
    pub fn from_start(dir: &Path) -> Follow {
        Follow { dir: dir.to_owned(), entries: None, error: None }
    }

    /// Begins after the entries that are there now. The ledger need not exist yet.
    pub fn from_end(dir: &Path) -> Result<Follow, ReadError> {
        let mut follow = Follow::from_start(dir);
        while !follow.poll()?.is_empty() {}
        Ok(follow)
    }

    /// The next entries, at most so many that memory stays small; empty if there are none for now. An entry is
    /// seen when it is written, which may be shortly before it is durable.
    pub fn poll(&mut self) -> Result<Vec<Recorded>, ReadError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let entries = match &mut self.entries {
            Some(entries) => entries,
            None => match Entries::open(&self.dir) {
                Ok(entries) => self.entries.insert(entries),
                Err(ReadError::Missing { .. }) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            },
        };
        let mut polled = Vec::new();
        for recorded in entries.take(POLL_ENTRIES_MAX) {
            match recorded {
                Ok(recorded) => polled.push(recorded),
                Err(error) if polled.is_empty() => return Err(error),
                Err(error) => self.error = Some(error),
            }
        }
        Ok(polled)
    }
}

#[cfg(test)]
mod tests;
