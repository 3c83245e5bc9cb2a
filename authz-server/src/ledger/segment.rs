//! A segment: one file of the ledger. Its name, its header, and the walk over its frames.
//!
//! | Bytes | Field |
//! |---|---|
//! | 0–7 | magic |
//! | 8–11 | format, little-endian; it versions the header and the layout of frames |
//! | 12–15 | CRC32C of bytes 0–11, little-endian |
//! | 16– | frames, one directly after the other |
//!
//! INVARIANT: the header is durable before the first frame is written, so a file without one has no entries.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{Corruption, FormatError};
use super::file::ReadAt;
use super::frame::{self, Decoded, Frame, FrameError};
use super::limits::{BATCH_BYTES_MAX, READ_BYTES};
use super::recovery;

pub(super) const HEADER_BYTES: usize = 16;

const MAGIC: [u8; 8] = *b"PALISEG\n";
const FORMAT: u32 = 1;

/// Names sort in the order of the segments.
pub(super) fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:08}.seg"))
}

pub(super) fn header() -> [u8; HEADER_BYTES] {
    header_of(FORMAT)
}

fn header_of(format: u32) -> [u8; HEADER_BYTES] {
    let [m0, m1, m2, m3, m4, m5, m6, m7] = MAGIC;
    let [f0, f1, f2, f3] = format.to_le_bytes();
    let checked = [m0, m1, m2, m3, m4, m5, m6, m7, f0, f1, f2, f3];
    let [c0, c1, c2, c3] = crc32c::crc32c(&checked).to_le_bytes();
    [m0, m1, m2, m3, m4, m5, m6, m7, f0, f1, f2, f3, c0, c1, c2, c3]
}

/// What stands where a segment's header should.
#[derive(Debug)]
pub(super) enum Beginning {
    Sound,
    /// The crash came before the header was durable, so the file has never held an entry.
    Unfinished,
}

pub(super) fn check_header<F: ReadAt>(file: &F, path: &Path) -> io::Result<Result<Beginning, FormatError>> {
    let mut found = [0; HEADER_BYTES];
    let read = file.read_at(&mut found, 0)?;
    let expected = header();
    if read == HEADER_BYTES && found == expected {
        return Ok(Ok(Beginning::Sound));
    }
    // A lost write leaves zeros, and bytes that were not read are zeros here too.
    let unfinished = found.iter().zip(&expected).all(|(found, expected)| found == expected || *found == 0);
    if unfinished && file.length()? <= HEADER_BYTES as u64 {
        return Ok(Ok(Beginning::Unfinished));
    }
    let [.., f0, f1, f2, f3, _, _, _, _] = found;
    let format = u32::from_le_bytes([f0, f1, f2, f3]);
    if found == header_of(format) {
        return Ok(Err(FormatError::UnknownFormat { path: path.to_owned(), format, known: FORMAT }));
    }
    Ok(Err(FormatError::NotASegment { path: path.to_owned() }))
}

/// Walks the frames of a segment in order, also while they are being written.
#[derive(Debug)]
pub(super) struct Scanner<F> {
    file: F,
    /// Where the next frame begins, and its place in the ledger.
    offset: u64,
    index: u64,
    /// What has been read of the file from `offset` on begins at `start`.
    buffer: Vec<u8>,
    start: usize,
    /// The walk stopped, so the buffer may no longer be what the file holds.
    stale: bool,
}

/// A frame and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located<'a> {
    pub(super) index: u64,
    pub(super) offset: u64,
    pub(super) frame: Frame<'a>,
}

impl Located<'_> {
    /// Where the batch of this frame begins: all that lies before was durable when the frame was written.
    pub(super) fn batch_start(&self) -> u64 {
        self.offset.saturating_sub(u64::from(self.frame.batch_offset)).max(HEADER_BYTES as u64)
    }
}

/// One step of the walk.
#[derive(Debug)]
pub(super) enum Step<'a> {
    Frame(Located<'a>),
    /// There is no further frame, for now. What stands after the last one is the unfinished part of a write.
    End {
        torn_bytes: u64,
    },
    Corrupt(FrameError),
}

impl<F: ReadAt> Scanner<F> {
    /// Starts at the first frame of the first segment.
    pub(super) fn new(file: F) -> Scanner<F> {
        Scanner { file, offset: HEADER_BYTES as u64, index: 0, buffer: Vec::new(), start: 0, stale: false }
    }

    /// Goes on with the entry that is known to begin there.
    pub(super) fn skip_to(&mut self, index: u64, offset: u64) {
        (self.index, self.offset) = (index, offset);
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// The corruption that `error` is at this place.
    pub(super) fn corruption(&self, path: &Path, error: FrameError) -> Corruption {
        Corruption { path: path.to_owned(), index: self.index, offset: self.offset, error }
    }

    pub(super) fn step(&mut self) -> io::Result<Step<'_>> {
        if self.stale {
            // A writer that recovers may have cut off and overwritten the unfinished part that was read last time.
            self.buffer.clear();
            self.start = 0;
            self.stale = false;
        }
        self.fill(frame::HEAD_BYTES)?;
        if let Some(bytes) = frame::frame_bytes(self.rest()) {
            self.fill(bytes)?;
        }

        let rest = self.buffer.get(self.start..).unwrap_or_default();
        match frame::decode(rest) {
            Decoded::Frame { frame, consumed } => {
                let located = Located { index: self.index, offset: self.offset, frame };
                self.start = self.start.saturating_add(consumed);
                self.offset = self.offset.saturating_add(consumed as u64);
                self.index = self.index.saturating_add(1);
                Ok(Step::Frame(located))
            }
            Decoded::End | Decoded::Torn => {
                self.stale = true;
                Ok(Step::End { torn_bytes: rest.len() as u64 })
            }
            Decoded::Corrupt(error) => {
                self.stale = true;
                self.settle(error)
            }
        }
    }

    /// Tells a write that a loss of power left incomplete from a change to what was durable.
    fn settle(&self, error: FrameError) -> io::Result<Step<'static>> {
        let torn_bytes = self.file.length()?.saturating_sub(self.offset);
        if !error.is_damage() || torn_bytes > BATCH_BYTES_MAX as u64 {
            return Ok(Step::Corrupt(error));
        }
        let mut tail = vec![0; usize::try_from(torn_bytes).unwrap_or(BATCH_BYTES_MAX)];
        let read = self.file.read_at(&mut tail, self.offset)?;
        tail.truncate(read);
        let unfinished = recovery::is_unfinished(&tail, self.offset);
        Ok(if unfinished { Step::End { torn_bytes } } else { Step::Corrupt(error) })
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
        self.start = 0;
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
