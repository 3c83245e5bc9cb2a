//! The walk over the frames of a ledger, from any entry on, across its segments, also beside a live writer.
//!
//! INVARIANT: memory is bounded by one read and the largest frame, however large the ledger is; no frame is given twice,
//! and none is passed over.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use crate::chain::{self, Chain, Segment};
use crate::error::{FileError, ReadError};
use crate::file::Files;
use crate::frame::FrameError;
use crate::limits::LIVE_LOOK;
use crate::scan::{Located, Scanner, Step};

#[derive(Debug)]
pub(crate) struct Walk<D: Files> {
    files: D,
    dir: PathBuf,
    segment: Segment,
    scanner: Scanner<D::File>,
    /// The segments that are known to come after this one, in order.
    later: std::vec::IntoIter<Segment>,
    /// The next entry to be given.
    next: u64,
    torn_bytes: u64,
}

impl<D: Files> Walk<D> {
    /// Begins with the entry of this index, or with the first one that retention left.
    pub(crate) fn open(files: &D, dir: &Path, from: u64) -> Result<Walk<D>, ReadError> {
        let segments = Chain::read(files, dir)?.segments;
        let first = segments.partition_point(|segment| segment.header.first_index <= from).saturating_sub(1);
        let mut later = segments.into_iter();
        let Some(segment) = later.nth(first) else {
            return Err(ReadError::Missing { dir: dir.to_owned() });
        };
        let sealed_at = sealed_at(&later);
        let scanner = scanner_of(files, &segment, sealed_at)?;
        let next = from.max(segment.header.first_index);
        Ok(Walk { files: files.clone(), dir: dir.to_owned(), segment, scanner, later, next, torn_bytes: 0 })
    }

    /// Begins with an entry that was read before, and that begins there in its segment: nothing before it is read.
    pub(crate) fn open_at(files: &D, dir: &Path, index: u64, offset: u64) -> Result<Walk<D>, ReadError> {
        let mut walk = Walk::open(files, dir, index)?;
        if walk.next == index {
            walk.scanner.skip_to(index, offset);
        }
        Ok(walk)
    }

    /// The index of the next entry.
    pub(crate) fn index(&self) -> u64 {
        self.next
    }

    pub(crate) fn path(&self) -> &Path {
        self.scanner.path()
    }

    pub(crate) fn header(&self) -> &crate::segment::Header {
        &self.segment.header
    }

    /// What stands behind the last entry of the last segment: the unfinished part of a write.
    pub(crate) fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// Goes to the next frame. No at the end, for now.
    pub(crate) fn advance(&mut self) -> Result<Option<Located<'_>>, ReadError> {
        loop {
            match self.look()? {
                Look::Frame if self.scanner.index() <= self.next => {
                    // Before the entry that the walk begins with, or again in the segment that replaced a failed one.
                }
                Look::Frame => break,
                Look::End => {
                    if !self.enter_next_segment()? {
                        return Ok(None);
                    }
                }
            }
        }
        self.next = self.scanner.index();
        Ok(self.scanner.last())
    }

    /// The frame that the walk is at.
    pub(crate) fn last(&self) -> Option<Located<'_>> {
        self.scanner.last()
    }

    /// One step of the scanner, with patience for a writer that is in the middle of a write.
    fn look(&mut self) -> Result<Look, ReadError> {
        let began = Instant::now();
        loop {
            let step = match self.scanner.step() {
                Ok(step) => step,
                Err(source) => {
                    let path = self.scanner.path().to_owned();
                    return Err(FileError { action: "read", path, source }.into());
                }
            };
            let error = match step {
                Step::Frame(_) => return Ok(Look::Frame),
                Step::End => {
                    self.torn_bytes = 0;
                    return Ok(Look::End);
                }
                Step::Torn { bytes } => {
                    self.torn_bytes = bytes;
                    return Ok(Look::End);
                }
                Step::Corrupt(error) => error,
            };
            let may_change = !self.scanner.is_sealed() && error.is_damage() && began.elapsed() < LIVE_LOOK;
            if !may_change || !self.files.has_writer(&self.dir) {
                // The segment may have been given up just here, and another one tells where it ended.
                return if self.is_given_up()? { Ok(Look::End) } else { Err(self.corrupt(error)) };
            }
            thread::yield_now();
        }
    }

    fn is_given_up(&self) -> Result<bool, ReadError> {
        if self.scanner.is_sealed() {
            return Ok(false);
        }
        let next = chain::next(&self.files, &self.dir, &self.segment)?;
        let end = next.and_then(|next| next.header.previous).map(|previous| previous.end);
        Ok(end.is_some_and(|end| self.scanner.offset() >= end))
    }

    fn enter_next_segment(&mut self) -> Result<bool, ReadError> {
        let next = match self.later.next() {
            Some(next) => next,
            None => match chain::next(&self.files, &self.dir, &self.segment)? {
                Some(next) => next,
                None => return Ok(false),
            },
        };
        let end = next.header.previous.map_or(0, |previous| previous.end);
        if !self.scanner.is_sealed() && self.scanner.offset() < end {
            // More was written to this one before the other was begun.
            self.scanner.seal(end);
            self.later = vec![next].into_iter();
            return Ok(true);
        }
        if next.header.first_index > self.scanner.index() {
            return Err(self.corrupt(FrameError::Missing));
        }
        let sealed_at = sealed_at(&self.later);
        self.scanner = scanner_of(&self.files, &next, sealed_at)?;
        self.segment = next;
        self.torn_bytes = 0;
        Ok(true)
    }

    fn corrupt(&self, error: FrameError) -> ReadError {
        ReadError::Corrupt(self.scanner.corruption(error))
    }
}

enum Look {
    Frame,
    End,
}

fn sealed_at(later: &std::vec::IntoIter<Segment>) -> Option<u64> {
    later.as_slice().first().and_then(|next| next.header.previous).map(|previous| previous.end)
}

fn scanner_of<D: Files>(
    files: &D,
    segment: &Segment,
    sealed_at: Option<u64>,
) -> Result<Scanner<D::File>, ReadError> {
    let path = &segment.path;
    let file = files.open_to_read(path);
    let file = file.map_err(|source| FileError { action: "open", path: path.clone(), source })?;
    Ok(Scanner::new(file, path, segment.header.first_index, sealed_at))
}
