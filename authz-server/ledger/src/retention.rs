//! Retention: whole sealed segments are deleted from the front, and what proves their entries stays.
//!
//! A segment goes only after its tiles are durable under a sealed checkpoint, and after the ledger itself says that it goes.
//! The proof of a deleted entry stays what it was, and so does every later root.
//!
//! INVARIANT: when a segment is deleted, an entry that says so is durable, and the tiles and a sealed checkpoint
//! over its entries are.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::chain::Chain;
use crate::entry::{Admin, AdminEvent, Entry};
use crate::error::{AppendError, FileError, ReadError};
use crate::file::{Disk, Files, ReadAt};
use crate::ledger::Ledger;
use crate::tiles;
use crate::writer::now_ms;

/// What is kept. Without either bound everything is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Segments whose last entry is older may go.
    pub age: Option<Duration>,
    /// While the segments together are larger, the oldest may go.
    pub bytes: Option<u64>,
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub segments: usize,
    pub bytes: u64,
    /// The first entry that is left, if any was deleted.
    pub before: Option<u64>,
}

#[derive(Debug)]
pub enum PruneError {
    Append(AppendError),
    Read(ReadError),
    File(FileError),
}

impl fmt::Display for PruneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PruneError::Append(error) => error.fmt(f),
            PruneError::Read(error) => error.fmt(f),
            PruneError::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PruneError {}

impl From<ReadError> for PruneError {
    fn from(error: ReadError) -> PruneError {
        PruneError::Read(error)
    }
}

impl From<FileError> for PruneError {
    fn from(error: FileError) -> PruneError {
        PruneError::File(error)
    }
}

/// A segment that may go: its file, its size, and the first entry after it.
struct Candidate {
    path: PathBuf,
    bytes: u64,
    before: u64,
}

impl Ledger {
    /// Deletes what need not be kept. Works beside appends.
    pub async fn prune(&self, retention: &Retention) -> Result<Pruned, PruneError> {
        let candidates = self.candidates(retention)?;
        let Some(before) = candidates.last().map(|last| last.before) else { return Ok(Pruned::default()) };
        let detail = format!("the entries before {before} are deleted; their hashes and checkpoints stay");
        let event = AdminEvent::EntriesDeleted { before };
        let entry = Entry::Admin(Admin { at_ms: now_ms(), event, detail });
        self.append(&entry).await.map_err(PruneError::Append)?;
        let mut pruned = Pruned { before: Some(before), ..Pruned::default() };
        for Candidate { path, bytes, .. } in candidates {
            let fail = |source| FileError { action: "remove", path: path.clone(), source };
            Disk.remove(&path).map_err(fail)?;
            pruned.segments = pruned.segments.saturating_add(1);
            pruned.bytes = pruned.bytes.saturating_add(bytes);
        }
        let dir = self.dir();
        let fail = |source| FileError { action: "sync the directory", path: dir.to_owned(), source };
        Disk.sync_dir(dir).map_err(fail)?;
        Ok(pruned)
    }

    /// The oldest segments, as many as may go; never the one that is written to.
    fn candidates(&self, retention: &Retention) -> Result<Vec<Candidate>, PruneError> {
        let dir = self.dir();
        let segments = Chain::read(&Disk, dir)?.segments;
        // A seal is written after the segment, so that the newest ones may have to wait for the next time.
        let sealed = tiles::sealed_sizes(&Disk, dir)?.first().copied().unwrap_or(0);
        let mut sizes = Vec::new();
        for segment in &segments {
            let fail = |source| FileError { action: "read", path: segment.path.clone(), source };
            sizes.push(Disk.open_to_read(&segment.path).and_then(|file| file.length()).map_err(fail)?);
        }
        let mut total: u64 = sizes.iter().sum();
        let mut candidates = Vec::new();
        for ((segment, next), bytes) in segments.iter().zip(segments.iter().skip(1)).zip(sizes) {
            let age_ms = u128::from(now_ms().saturating_sub(next.header.begun_ms));
            let is_old = retention.age.is_some_and(|age| age_ms > age.as_millis());
            let is_over = retention.bytes.is_some_and(|most| total > most);
            if !(is_old || is_over) || next.header.first_index > sealed {
                break;
            }
            total = total.saturating_sub(bytes);
            candidates.push(Candidate { path: segment.path.clone(), bytes, before: next.header.first_index });
        }
        Ok(candidates)
    }
}

#[cfg(test)]
mod tests;
