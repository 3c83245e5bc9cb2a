//! The ledger as this module reads it: from a place on, in order, beside whoever writes it. The one seam to `ledger`.
//!
//! INVARIANT: nothing else in `audit` opens a file of the ledger.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ledger::{Entries, LeafHash, ReadError, Recorded};

/// How often the end of the ledger is looked at. A person reads along, or an index that may lag by seconds.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A place from which the ledger can be read on without reading what is before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    /// The place of the entry in the ledger, counted from 0.
    pub(super) position: u64,
    pub(super) offset: u64,
}

impl Anchor {
    pub(super) fn of<T>(recorded: &Recorded<T>) -> Anchor {
        Anchor { position: recorded.index, offset: recorded.offset }
    }
}

/// Entries from a place on.
#[derive(Debug)]
pub(super) struct Source {
    ledger: PathBuf,
    entries: Entries,
    next: u64,
    /// Nothing was read yet from a place that was taken on trust.
    is_unproven: bool,
}

impl Source {
    /// Begins at `anchor`, or with the first entry.
    pub(super) fn open(ledger: &Path, anchor: Option<Anchor>) -> Result<Source, ReadError> {
        let entries = match anchor {
            None => Entries::open(ledger)?,
            Some(Anchor { position, offset }) => Entries::open_at(ledger, position, offset)?,
        };
        let next = anchor.map_or(0, |anchor| anchor.position);
        Ok(Source { ledger: ledger.to_owned(), entries, next, is_unproven: anchor.is_some() })
    }

    /// The position of the oldest entry that retention left; `None` where there is no entry yet.
    pub(super) fn oldest(ledger: &Path) -> Result<Option<u64>, ReadError> {
        Ok(Entries::open(ledger)?.next().transpose()?.map(|recorded| recorded.index))
    }

    /// The next entry; `None` is the end for now, and a later call goes on from there.
    pub(super) fn step(&mut self) -> Result<Option<Recorded>, ReadError> {
        let mut step = self.entries.next().transpose();
        if std::mem::take(&mut self.is_unproven) && step.is_err() {
            // The entry may have moved to another segment, when its own could not be written any more.
            self.entries = Entries::open_from(&self.ledger, self.next)?;
            step = self.entries.next().transpose();
        }
        let recorded = step?;
        if let Some(recorded) = &recorded {
            self.next = recorded.index.saturating_add(1);
        }
        Ok(recorded)
    }

    /// The position of the entry that comes next.
    pub(super) fn next_position(&self) -> u64 {
        self.next
    }

    /// Goes on to a position that is known to exist, from an anchor at or before it where that is a shorter way than
    /// from here.
    pub(super) fn seek(&mut self, position: u64, anchor: Anchor) -> Result<(), ReadError> {
        if self.next > position || self.next < anchor.position {
            *self = Source::open(&self.ledger, Some(anchor))?;
        }
        while self.next < position && self.step()?.is_some() {}
        Ok(())
    }
}

/// The hash of an entry, by which two ledgers are told apart.
pub(super) type Leaf = LeafHash;

/// Lets time pass until the end of the ledger is worth another look.
pub(super) fn wait_for_more() {
    // Nothing tells a reader that entries came; whoever wakes this early only makes it look early.
    std::thread::park_timeout(LOOK_EVERY);
}
