//! A segment: one file of the ledger. Its name and its header. Pure.
//!
//! | Bytes | Field |
//! |---|---|
//! | 0–7 | magic |
//! | 8–11 | format; it versions the header and the layout of frames |
//! | 12–15 | the segment's number, which its name repeats |
//! | 16–23 | the index of its first entry |
//! | 24–31 | when it was begun, in milliseconds since the Unix epoch |
//! | 32–39 | where the segment before it ends: what stands behind that is not part of the ledger |
//! | 40–71 | SHA-256 of the header of the segment before |
//! | 72–103 | SHA-256 over the leaf hashes of the segment before, in order |
//! | 104–507 | zeros |
//! | 508–511 | CRC32C of bytes 0–507 |
//! | 512– | frames, one directly after the other, and after them zeros: room that was prepared |
//!
//! Integers are little-endian; the first segment's fields about the one before are zeros. A header is written in one
//! sector together with the first batch, and made durable by the same sync.
//!
//! INVARIANT: two headers that follow one another agree, so that a segment that is missing, swapped or of another ledger
//! is found by reading headers alone; what a segment holds is pinned by the next one's header.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::FormatError;
use crate::frame::is_blank;
use crate::merkle::{HASH_BYTES, Hash};

pub(crate) const HEADER_BYTES: usize = 512;

const MAGIC: [u8; 8] = *b"PALISEG\n";
pub(crate) const FORMAT: u32 = 2;

/// The header of the format before, which was never released: magic, format, checksum of both.
const FORMAT_1_BYTES: usize = 16;

const CHECKSUM_AT: usize = HEADER_BYTES - 4;

/// Names sort in the order of the segments.
pub(crate) fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:08}.seg"))
}

/// The number in a segment's name.
pub(crate) fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg")?;
    let exact = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    exact.then(|| digits.parse().ok()).flatten()
}

/// What a segment says of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Previous {
    pub(crate) end: u64,
    pub(crate) header: Hash,
    pub(crate) entries: Hash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u32,
    pub(crate) first_index: u64,
    pub(crate) begun_ms: u64,
    /// `None` for the first segment of a ledger alone.
    pub(crate) previous: Option<Previous>,
}

/// What stands where a segment's header should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    Sound(Header),
    /// Prepared and not yet used, or a crash came before the first sync ended: no entry of it was acknowledged.
    Unfinished,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let blank =
            Previous { end: 0, header: Hash::new([0; HASH_BYTES]), entries: Hash::new([0; HASH_BYTES]) };
        let previous = self.previous.unwrap_or(blank);
        let mut bytes = [0; HEADER_BYTES];
        let fields: [&[u8]; 8] = [
            &MAGIC,
            &FORMAT.to_le_bytes(),
            &self.number.to_le_bytes(),
            &self.first_index.to_le_bytes(),
            &self.begun_ms.to_le_bytes(),
            &previous.end.to_le_bytes(),
            previous.header.as_bytes(),
            previous.entries.as_bytes(),
        ];
        for (place, byte) in bytes.iter_mut().zip(fields.iter().flat_map(|field| field.iter())) {
            *place = *byte;
        }
        let (checked, checksum) = bytes.split_at_mut(CHECKSUM_AT);
        checksum.copy_from_slice(&crc32c::crc32c(checked).to_le_bytes());
        bytes
    }

    /// What the next segment's header says of this one.
    pub(crate) fn hash(&self) -> Hash {
        Hash::new(Sha256::digest(self.encode()).into())
    }

    /// Reads what a file begins with; shorter than a header only where the file is.
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Beginning, FormatError> {
        let mut found = [0; HEADER_BYTES];
        for (place, byte) in found.iter_mut().zip(bytes) {
            *place = *byte;
        }
        if is_blank(&found) {
            return Ok(Beginning::Unfinished);
        }
        let not_a_segment = || FormatError::NotASegment { path: path.to_owned() };
        let unknown = |format| FormatError::UnknownFormat { path: path.to_owned(), format, known: FORMAT };
        let mut fields = Fields(&found);
        let magic: [u8; 8] = fields.take().ok_or_else(not_a_segment)?;
        let format = fields.number().ok_or_else(not_a_segment)?;
        if magic == MAGIC && format == 1 && is_format_1(&found) {
            return Err(unknown(format));
        }
        let (checked, checksum) = found.split_at(CHECKSUM_AT);
        if checksum != crc32c::crc32c(checked).to_le_bytes() {
            // A write that was cut off leaves a beginning and then zeros, the checksum's among them.
            let torn = MAGIC.iter().zip(&found).all(|(expected, byte)| byte == expected || *byte == 0);
            return if torn && is_blank(checksum) { Ok(Beginning::Unfinished) } else { Err(not_a_segment()) };
        }
        if magic != MAGIC {
            return Err(not_a_segment());
        }
        if format != FORMAT {
            return Err(unknown(format));
        }
        Header::of(&mut fields).map(Beginning::Sound).ok_or_else(not_a_segment)
    }

    fn of(fields: &mut Fields<'_>) -> Option<Header> {
        let number = fields.number()?;
        let first_index = u64::from_le_bytes(fields.take()?);
        let begun_ms = u64::from_le_bytes(fields.take()?);
        let end = u64::from_le_bytes(fields.take()?);
        let header = Hash::new(fields.take()?);
        let entries = Hash::new(fields.take()?);
        // A segment ends behind its own header at the earliest.
        let previous = (end > 0).then_some(Previous { end, header, entries });
        Some(Header { number, first_index, begun_ms, previous })
    }
}

fn is_format_1(found: &[u8]) -> bool {
    let (checked, rest) = found.split_at_checked(FORMAT_1_BYTES - 4).unwrap_or_default();
    rest.first_chunk() == Some(&crc32c::crc32c(checked).to_le_bytes())
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests;
