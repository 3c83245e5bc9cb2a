//! The way out of the ledger: everything that reads it. Needs no server, takes no lock and changes nothing.
//!
//! INVARIANT: an entry is either given as it was recorded or named as unreadable; none is passed over.

use std::io;
use std::path::{Path, PathBuf};

use super::entry::{Decision, Entry, Outcome};
use super::error::{FileError, ReadError};
use super::file::DiskFile;
use super::frame::{self, LeafHash};
use super::limits::POLL_ENTRIES_MAX;
use super::segment::{self, Beginning, Located, Scanner, Step};

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
pub struct Entries {
    path: PathBuf,
    scanner: Scanner<DiskFile>,
    torn_bytes: u64,
    failed: bool,
}

impl Entries {
    pub fn open(dir: &Path) -> Result<Entries, ReadError> {
        let path = segment::path(dir, 0);
        let fail = |action, source| FileError { action, path: path.clone(), source };
        let file = match DiskFile::open_to_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ReadError::Missing { dir: dir.to_owned() });
            }
            Err(error) => return Err(fail("open", error).into()),
        };
        match segment::check_header(&file, &path).map_err(|source| fail("read", source))?? {
            // Without a whole header there are no entries yet, which is what the scanner finds as well.
            Beginning::Sound | Beginning::Unfinished => {}
        }
        Ok(Entries { path, scanner: Scanner::new(file), torn_bytes: 0, failed: false })
    }

    /// Goes on where an entry that was read before begins.
    pub fn open_at(dir: &Path, index: u64, offset: u64) -> Result<Entries, ReadError> {
        let mut entries = Entries::open(dir)?;
        entries.scanner.skip_to(index, offset);
        Ok(entries)
    }

    fn read(&mut self) -> Result<Option<Recorded>, ReadError> {
        let step = self.scanner.step();
        let step = step.map_err(|source| FileError { action: "read", path: self.path.clone(), source })?;
        match step {
            Step::Frame(located) => recorded(&self.path, &located).map(Some),
            Step::End { torn_bytes } => {
                self.torn_bytes = torn_bytes;
                Ok(None)
            }
            Step::Corrupt(error) => Err(ReadError::Corrupt(self.scanner.corruption(&self.path, error))),
        }
    }
}

impl Iterator for Entries {
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

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub entries: u64,
    /// The hash of the last entry, to compare with what was noted elsewhere.
    pub last: Option<LeafHash>,
    /// The unfinished part of a write, which opening the ledger would cut off.
    pub torn_bytes: u64,
}

/// Reads every entry; the error names the first bad one.
pub fn verify(dir: &Path) -> Result<Verified, ReadError> {
    let mut entries = Entries::open(dir)?;
    let mut verified = Verified { entries: 0, last: None, torn_bytes: 0 };
    for recorded in &mut entries {
        let recorded = recorded?;
        verified.entries = recorded.index.saturating_add(1);
        verified.last = Some(recorded.leaf_hash);
    }
    verified.torn_bytes = entries.torn_bytes;
    Ok(verified)
}

/// What the ledger knows of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub decision: Option<Recorded<Decision>>,
    pub outcomes: Vec<Recorded<Outcome>>,
}

/// Looks for a call by its decision id, through the whole ledger. `None` if nothing was recorded of it.
pub fn find(dir: &Path, decision_id: &str) -> Result<Option<Found>, ReadError> {
    let mut found = Found { decision: None, outcomes: Vec::new() };
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
            Entry::Decision(_) | Entry::Outcome(_) | Entry::Admin(_) => {}
        }
    }
    Ok((found.decision.is_some() || !found.outcomes.is_empty()).then_some(found))
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

fn recorded(path: &Path, located: &Located<'_>) -> Result<Recorded, ReadError> {
    let Located { index, offset, frame } = *located;
    let leaf_hash = frame::leaf_hash(frame.stored);
    match Entry::decode(frame.kind, frame.version, frame.stored) {
        Ok(entry) => Ok(Recorded { index, offset, leaf_hash, entry }),
        Err(error) => Err(ReadError::Entry { path: path.to_owned(), index, offset, error }),
    }
}

#[cfg(test)]
mod tests;
