//! The ledger frame: how one entry stands in a segment. Pure.
//!
//! | Bytes | Field | |
//! |---|---|---|
//! | 0–3 | length | of the stored bytes |
//! | 4–7 | batch offset | how many bytes before this frame its batch begins |
//! | 8 | kind | what the entry is, [`Kind`] |
//! | 9 | version | of the encoding of the stored bytes, counted per kind |
//! | 10–13 | head checksum | CRC32C of bytes 0–9 |
//! | 14–17 | body checksum | CRC32C of kind, version and stored bytes |
//! | 18– | stored bytes | |
//!
//! Integers are little-endian. The layout itself is versioned by the segment's header.
//!
//! The head has a checksum of its own because the length decides whether a frame is torn: with one checksum, a
//! flipped bit in a length would make everything after it look like an unfinished write, to be cut off.
//! The batch offset tells recovery what was durable when the frame was written: all that lies before its batch.
//!
//! INVARIANT: `decode` never panics, and gives a frame only if every byte of it is as `encode` wrote it.

use std::fmt;

use crate::limits::{BATCH_BYTES_MAX, ENTRY_BYTES_MAX};

pub(crate) const HEAD_BYTES: usize = 18;

/// What an entry is. The codes are stored: they are never reused, and 0 stays free because blank disk reads as 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Decision,
    Outcome,
    Admin,
    Refusal,
    Drift,
    Judged,
    Shed,
    Load,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Decision,
        Kind::Outcome,
        Kind::Admin,
        Kind::Refusal,
        Kind::Drift,
        Kind::Judged,
        Kind::Shed,
        Kind::Load,
    ];

    pub fn code(self) -> u8 {
        match self {
            Kind::Decision => 1,
            Kind::Outcome => 2,
            Kind::Admin => 3,
            Kind::Refusal => 4,
            Kind::Drift => 5,
            Kind::Judged => 6,
            Kind::Shed => 7,
            Kind::Load => 8,
        }
    }

    /// The newest version of this kind's encoding, which is what gets written; versions count from 1.
    pub fn version(self) -> u8 {
        match self {
            Kind::Decision
            | Kind::Outcome
            | Kind::Admin
            | Kind::Refusal
            | Kind::Drift
            | Kind::Judged
            | Kind::Shed
            | Kind::Load => 1,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Decision => "decision",
            Kind::Outcome => "outcome",
            Kind::Admin => "admin",
            Kind::Refusal => "refusal",
            Kind::Drift => "drift",
            Kind::Judged => "judged",
            Kind::Shed => "shed",
            Kind::Load => "load",
        }
    }

    fn parse(code: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// An entry's bytes, ready to be framed.
///
/// INVARIANT: `bytes` are at most [`ENTRY_BYTES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    kind: Kind,
    version: u8,
    bytes: Vec<u8>,
}

impl Stored {
    pub fn new(kind: Kind, bytes: Vec<u8>) -> Result<Stored, FrameError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(FrameError::TooLong { bytes: bytes.len() });
        }
        Ok(Stored { kind, version: kind.version(), bytes })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn version(&self) -> u8 {
        self.version
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// One frame, read from a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub kind: Kind,
    pub version: u8,
    pub batch_offset: u32,
    pub stored: &'a [u8],
}

/// What stands at the beginning of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoded<'a> {
    Frame {
        frame: Frame<'a>,
        consumed: usize,
    },
    /// The slice is empty.
    End,
    /// The slice ends before the frame does, and what is there of it is sound.
    Torn,
    /// Where the head should be there are only zeros, which is how room looks that was prepared and not yet used.
    Blank,
    Corrupt(FrameError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    HeadChecksum,
    BodyChecksum,
    /// Where the entry should stand, nothing does.
    Missing,
    TooLong {
        bytes: usize,
    },
    BatchOffset {
        bytes: usize,
    },
    UnknownKind {
        code: u8,
    },
    UnknownVersion {
        kind: Kind,
        version: u8,
    },
}

impl FrameError {
    /// Whether lost or changed bytes explain the error. The others have sound checksums: something wrote them so.
    pub(crate) fn is_damage(self) -> bool {
        match self {
            FrameError::HeadChecksum | FrameError::BodyChecksum | FrameError::Missing => true,
            FrameError::TooLong { .. }
            | FrameError::BatchOffset { .. }
            | FrameError::UnknownKind { .. }
            | FrameError::UnknownVersion { .. } => false,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::HeadChecksum => {
                f.write_str("the checksum of its length, kind and version does not match")
            }
            FrameError::BodyChecksum => f.write_str("the checksum of its content does not match"),
            FrameError::Missing => {
                f.write_str("it is not there, although what follows was recorded after it")
            }
            FrameError::TooLong { bytes } => {
                write!(f, "it has {bytes} bytes, and an entry has at most {ENTRY_BYTES_MAX}")
            }
            FrameError::BatchOffset { bytes } => {
                write!(
                    f,
                    "it claims to stand {bytes} bytes into its batch, and a batch has at most {BATCH_BYTES_MAX}"
                )
            }
            FrameError::UnknownKind { code } => write!(
                f,
                "entry kind `{code}` is unknown to this palisade; use the version that wrote it, or a later one"
            ),
            FrameError::UnknownVersion { kind, version } => write!(
                f,
                "version `{version}` of {} entries is unknown to this palisade, which reads up to version `{}`; use \
                 the version that wrote it, or a later one",
                kind.name(),
                kind.version()
            ),
        }
    }
}

impl std::error::Error for FrameError {}

/// What is left to be framed of an entry once its bytes were looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<'a> {
    kind: Kind,
    checksum: u32,
    bytes: &'a [u8],
}

impl<'a> Body<'a> {
    /// Does all that does not depend on the place in the batch, so that it need not be done while others wait.
    pub(crate) fn new(kind: Kind, bytes: &'a [u8]) -> Result<Body<'a>, FrameError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(FrameError::TooLong { bytes: bytes.len() });
        }
        Ok(Body { kind, checksum: body_checksum(kind.code(), kind.version(), bytes), bytes })
    }

    /// Adds the frame to `batch`, which begins with the batch.
    pub(crate) fn put(&self, batch: &mut Vec<u8>) {
        // Neither conversion saturates: `new` bounds the one, and the queue the other. If one did, decode would
        // refuse the frame rather than misread it.
        let [l0, l1, l2, l3] = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let [o0, o1, o2, o3] = u32::try_from(batch.len()).unwrap_or(u32::MAX).to_le_bytes();
        let checked = [l0, l1, l2, l3, o0, o1, o2, o3, self.kind.code(), self.kind.version()];
        batch.reserve(HEAD_BYTES.saturating_add(self.bytes.len()));
        batch.extend_from_slice(&checked);
        batch.extend_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
        batch.extend_from_slice(&self.checksum.to_le_bytes());
        batch.extend_from_slice(self.bytes);
    }
}

/// Adds one frame to `into`, the batch that is being built and that starts at the beginning of `into`.
#[cfg(test)]
pub(crate) fn encode(stored: &Stored, into: &mut Vec<u8>) {
    Body::new(stored.kind, &stored.bytes).unwrap().put(into);
}

/// Reads the frame at the beginning of `bytes`.
pub(crate) fn decode(bytes: &[u8]) -> Decoded<'_> {
    if bytes.is_empty() {
        return Decoded::End;
    }
    if is_blank(bytes.get(..HEAD_BYTES).unwrap_or_default()) {
        return Decoded::Blank;
    }
    let (head, rest) = match Head::decode(bytes) {
        Ok(Some(decoded)) => decoded,
        Ok(None) => return Decoded::Torn,
        Err(error) => return Decoded::Corrupt(error),
    };
    let Some(stored) = rest.get(..head.length) else { return Decoded::Torn };
    if body_checksum(head.kind.code(), head.version, stored) != head.body_checksum {
        return Decoded::Corrupt(FrameError::BodyChecksum);
    }
    let frame = Frame { kind: head.kind, version: head.version, batch_offset: head.batch_offset, stored };
    Decoded::Frame { frame, consumed: head.frame_bytes() }
}

/// Gives the frame that these bytes were found to be before.
pub(crate) fn checked(bytes: &[u8]) -> Option<Frame<'_>> {
    let (head, rest) = Head::decode(bytes).ok().flatten()?;
    let stored = rest.get(..head.length)?;
    Some(Frame { kind: head.kind, version: head.version, batch_offset: head.batch_offset, stored })
}

/// How long the frame at the beginning of `bytes` is, as far as its head says so.
pub(crate) fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    Head::decode(bytes).ok().flatten().map(|(head, _)| head.frame_bytes())
}

struct Head {
    length: usize,
    batch_offset: u32,
    kind: Kind,
    version: u8,
    body_checksum: u32,
}

impl Head {
    /// Kind and version are judged here, before the body is looked at: a torn frame of a newer palisade is refused
    /// and not cut off.
    fn decode(bytes: &[u8]) -> Result<Option<(Head, &[u8])>, FrameError> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let [l0, l1, l2, l3, o0, o1, o2, o3, code, version, h0, h1, h2, h3, b0, b1, b2, b3] = *head;
        let checked = [l0, l1, l2, l3, o0, o1, o2, o3, code, version];
        if crc32c::crc32c(&checked) != u32::from_le_bytes([h0, h1, h2, h3]) {
            return Err(FrameError::HeadChecksum);
        }

        let kind = Kind::parse(code).ok_or(FrameError::UnknownKind { code })?;
        if version == 0 || version > kind.version() {
            return Err(FrameError::UnknownVersion { kind, version });
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > ENTRY_BYTES_MAX {
            return Err(FrameError::TooLong { bytes: length });
        }
        let batch_offset = u32::from_le_bytes([o0, o1, o2, o3]);
        if batch_offset as usize > BATCH_BYTES_MAX {
            return Err(FrameError::BatchOffset { bytes: batch_offset as usize });
        }
        let body_checksum = u32::from_le_bytes([b0, b1, b2, b3]);
        Ok(Some((Head { length, batch_offset, kind, version, body_checksum }, rest)))
    }

    fn frame_bytes(&self) -> usize {
        HEAD_BYTES.saturating_add(self.length)
    }
}

/// Whether all of these bytes, and there are some, are zeros.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0)
}

fn body_checksum(code: u8, version: u8, stored: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[code, version]), stored)
}

#[cfg(test)]
mod tests;
