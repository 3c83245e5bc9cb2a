//! The walk over a segment's frames, in order, also while they are being written.
//!
//! INVARIANT: no frame is passed over. The walk ends where the next segment says that this one ends; without a next one
//! it ends where the prepared room is still blank, or where a write was cut off.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Corruption, FormatError};
use crate::file::ReadAt;
use crate::frame::{self, Decoded, Frame, FrameError};
use crate::limits::READ_BYTES;
use crate::recovery::{self, Tail};
use crate::segment::{Beginning, HEADER_BYTES, Header};

pub(crate) fn read_header<F: ReadAt>(file: &F, path: &Path) -> io::Result<Result<Beginning, FormatError>> {
    let mut found = [0; HEADER_BYTES];
    let read = file.read_at(&mut found, 0)?;
    Ok(Header::decode(found.get(..read).unwrap_or_default(), path))
}

#[derive(Debug)]
pub(crate) struct Scanner<F> {
    file: F,
    path: PathBuf,
    /// Where the segment ends, if another one follows.
    sealed_at: Option<u64>,
    /// Where the next frame begins, and its place in the ledger.
    offset: u64,
    index: u64,
    /// What has been read of the file from `offset` on begins at `start`.
    buffer: Vec<u8>,
    start: usize,
    /// How long the frame before is, which still stands in the buffer.
    given: usize,
}

/// A frame and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located<'a> {
    pub(crate) index: u64,
    pub(crate) offset: u64,
    pub(crate) frame: Frame<'a>,
}

impl Located<'_> {
    /// Where the batch of this frame begins: all that lies before was durable when the frame was written.
    pub(crate) fn batch_start(&self) -> u64 {
        self.offset.saturating_sub(u64::from(self.frame.batch_offset)).max(HEADER_BYTES as u64)
    }
}

/// One step of the walk.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    Frame(Located<'a>),
    /// There is no further frame, for now.
    End,
    /// What stands after the last frame is the unfinished part of a write.
    Torn {
        bytes: u64,
    },
    Corrupt(FrameError),
}

/// What the buffer holds, without borrowing it.
enum Found {
    Frame { bytes: usize },
    End,
    Torn { bytes: u64 },
    Corrupt(FrameError),
}

impl<F: ReadAt> Scanner<F> {
    /// Starts at the first frame of a segment whose header says that it has this index.
    pub(crate) fn new(file: F, path: &Path, first_index: u64, sealed_at: Option<u64>) -> Scanner<F> {
        let offset = HEADER_BYTES as u64;
        let path = path.to_owned();
        Scanner { file, path, sealed_at, offset, index: first_index, buffer: Vec::new(), start: 0, given: 0 }
    }

    /// Goes on with the entry that is said to begin there.
    pub(crate) fn skip_to(&mut self, index: u64, offset: u64) {
        (self.index, self.offset) = (index, offset);
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Another segment was begun, whose header says that this one ends here.
    pub(crate) fn seal(&mut self, end: u64) {
        self.sealed_at = Some(end);
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed_at.is_some()
    }

    /// The corruption that `error` is at this place.
    pub(crate) fn corruption(&self, error: FrameError) -> Corruption {
        Corruption { path: self.path.clone(), index: self.index, offset: self.offset, error }
    }

    pub(crate) fn step(&mut self) -> io::Result<Step<'_>> {
        let mut found = self.look()?;
        if !matches!(found, Found::Frame { .. }) {
            // What is in the buffer may have been read before it was written.
            self.buffer.clear();
            (self.start, self.given) = (0, 0);
            found = self.look()?;
        }
        self.given = match found {
            Found::Frame { bytes } => bytes,
            Found::End => return Ok(Step::End),
            Found::Torn { bytes } => return Ok(Step::Torn { bytes }),
            Found::Corrupt(error) => return Ok(Step::Corrupt(error)),
        };
        self.start = self.start.saturating_add(self.given);
        self.offset = self.offset.saturating_add(self.given as u64);
        self.index = self.index.saturating_add(1);
        // It was a frame a moment ago, in the same bytes.
        Ok(self.last().map_or(Step::End, Step::Frame))
    }

    /// The frame that the last step gave.
    pub(crate) fn last(&self) -> Option<Located<'_>> {
        let start = self.start.checked_sub(self.given)?;
        let frame = frame::checked(self.buffer.get(start..self.start)?)?;
        let offset = self.offset.saturating_sub(self.given as u64);
        Some(Located { index: self.index.saturating_sub(1), offset, frame })
    }

    fn look(&mut self) -> io::Result<Found> {
        if self.sealed_at.is_some_and(|end| self.offset >= end) {
            return Ok(Found::End);
        }
        self.fill(frame::HEAD_BYTES)?;
        if let Some(bytes) = frame::frame_bytes(self.rest()) {
            self.fill(bytes)?;
        }
        let error = match frame::decode(self.rest()) {
            Decoded::Frame { consumed, .. } => {
                let end = self.offset.saturating_add(consumed as u64);
                let overruns = self.sealed_at.is_some_and(|sealed_at| end > sealed_at);
                return Ok(if overruns {
                    Found::Corrupt(FrameError::Missing)
                } else {
                    Found::Frame { bytes: consumed }
                });
            }
            Decoded::End | Decoded::Blank | Decoded::Torn if self.is_sealed() => FrameError::Missing,
            Decoded::End | Decoded::Blank => return Ok(Found::End),
            Decoded::Torn => return Ok(Found::Torn { bytes: self.rest().len() as u64 }),
            Decoded::Corrupt(error) => error,
        };
        if self.is_sealed() || !error.is_damage() {
            return Ok(Found::Corrupt(error));
        }
        // Tells a write that a loss of power left incomplete from a change to what was durable.
        Ok(match recovery::tail(&self.file, self.offset)? {
            Tail::Blank => Found::End,
            Tail::Unfinished { bytes } => Found::Torn { bytes },
            Tail::Damaged => Found::Corrupt(error),
        })
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Reads on until `bytes` are there from the next frame on, or the file ends.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        let there = self.rest().len();
        if there >= bytes {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        (self.start, self.given) = (0, 0);
        self.buffer.resize(bytes.max(READ_BYTES), 0);
        let room = self.buffer.get_mut(there..).unwrap_or_default();
        let read = self.file.read_at(room, self.offset.saturating_add(there as u64));
        // Also after an error the buffer holds only what was read.
        self.buffer.truncate(there.saturating_add(*read.as_ref().unwrap_or(&0)));
        read.map(|_| ())
    }
}

#[cfg(test)]
mod tests;
