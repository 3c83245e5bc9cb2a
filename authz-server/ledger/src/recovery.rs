//! Opening the last segment after whatever happened to it.
//!
//! A crash may leave the last batch, and only it, incomplete: nothing is written before the batch before is synced.
//! A killed process leaves a beginning of it. A loss of power may leave any of its sectors unwritten, which read as the
//! zeros that were prepared there, and may keep those after them. Everything else is corruption, and is never
//! repaired by forgetting.
//!
//! INVARIANT: what is cut off was never acknowledged as durable, as far as the file itself can tell.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{FileError, LedgerError};
use crate::file::{ReadAt, WriteAt};
use crate::frame::{self, Decoded, HEAD_BYTES, is_blank};
use crate::limits::{BATCH_BYTES_MAX, READ_BYTES, SECTOR_BYTES};
use crate::merkle::leaf_hash;
use crate::scan::{Scanner, Step};
use crate::segment::{HEADER_BYTES, Header};

/// Where the writer goes on.
#[derive(Clone, Debug)]
pub(crate) struct Recovered {
    /// The index of the next entry.
    pub(crate) entries: u64,
    pub(crate) end: u64,
    /// The unfinished part of a write, which stands behind the end.
    pub(crate) truncated_bytes: u64,
    /// Where the last batch begins, or the header before it.
    again_from: u64,
    /// The hash over the leaf hashes of the segment, as far as it goes.
    pub(crate) hash: Sha256,
}

/// Finds the end of the last segment, which a crash may have left in any state. Changes nothing.
pub(crate) fn look<F: ReadAt>(file: &F, path: &Path, header: &Header) -> Result<Recovered, LedgerError> {
    let fail = |action| {
        let path = path.to_owned();
        move |source| FileError { action, path, source }
    };
    let mut hash = Sha256::new();
    let mut batch_start = 0;
    let mut scanner = Scanner::new(file, path, header.first_index, None);
    loop {
        match scanner.step().map_err(fail("read"))? {
            Step::Frame(located) => {
                batch_start = located.batch_start();
                hash.update(leaf_hash(located.frame.stored).as_bytes());
            }
            Step::End | Step::Torn { .. } => break,
            Step::Corrupt(error) => return Err(LedgerError::Corrupt(scanner.corruption(error))),
        }
    }
    let (entries, end) = (scanner.index(), scanner.offset());
    let truncated_bytes = match tail(file, end).map_err(fail("read"))? {
        Tail::Blank => 0,
        Tail::Unfinished { bytes } => bytes,
        // The walk ended at a blank head, and what follows had been synced after it.
        Tail::Damaged => return Err(LedgerError::Corrupt(scanner.corruption(frame::FrameError::Missing))),
    };

    // The header is stored by the same sync as the first batch.
    let again_from = if batch_start <= HEADER_BYTES as u64 { 0 } else { batch_start };
    Ok(Recovered { entries, end, truncated_bytes, again_from, hash })
}

/// Brings the segment into a state that can be written to.
pub(crate) fn mend<F: WriteAt>(file: &mut F, path: &Path, found: &Recovered) -> Result<(), LedgerError> {
    let fail = |action| {
        let path = path.to_owned();
        move |source| FileError { action, path, source }
    };
    // Cut off last: where storing fails, the next opening still finds, and reports, what was torn.
    store_again(file, found.again_from, found.end).map_err(fail("write"))?;
    blank(file, found.end, found.truncated_bytes).map_err(fail("write"))?;
    file.sync().map_err(fail("sync"))?;
    Ok(())
}

/// Writes the last batch once more. If its sync failed, the system may show what it has not stored and believe it
/// stored: only a new write makes the next sync mean something.
fn store_again<F: WriteAt>(file: &mut F, start: u64, end: u64) -> io::Result<()> {
    // At most one batch and one frame, because `decode` bounds the batch offset.
    let mut batch = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
    if batch.is_empty() {
        return Ok(());
    }
    let read = file.read_at(&mut batch, start)?;
    batch.truncate(read);
    file.write_all_at(&batch, start)
}

fn blank<F: WriteAt>(file: &mut F, offset: u64, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let zeros = vec![0; usize::try_from(bytes).unwrap_or(0)];
    file.write_all_at(&zeros, offset)
}

/// What stands behind the last sound frame of a segment that no other follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    Blank,
    Unfinished { bytes: u64 },
    Damaged,
}

pub(crate) fn tail<F: ReadAt>(file: &F, offset: u64) -> io::Result<Tail> {
    let used = used_from(file, offset)?;
    if used == 0 {
        return Ok(Tail::Blank);
    }
    if used > BATCH_BYTES_MAX as u64 {
        return Ok(Tail::Damaged);
    }
    let mut tail = vec![0; usize::try_from(used).unwrap_or(BATCH_BYTES_MAX)];
    let read = file.read_at(&mut tail, offset)?;
    tail.truncate(read);
    // Where the file ends within the frame it grew no further, so the frame was never written whole.
    let in_file = usize::try_from(file.length()?.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut first = tail.clone();
    first.resize(in_file.min(HEAD_BYTES).max(tail.len()), 0);
    let is_cut = matches!(frame::decode(&first), Decoded::Torn)
        && frame::frame_bytes(&first).is_none_or(|bytes| in_file < bytes);
    let unfinished = is_cut || is_unfinished(tail, offset);
    Ok(if unfinished { Tail::Unfinished { bytes: used } } else { Tail::Damaged })
}

/// How many bytes from `offset` on are used: those up to the last one that is not zero.
fn used_from<F: ReadAt>(file: &F, offset: u64) -> io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    let (mut at, mut used) = (0_u64, 0);
    loop {
        let read = file.read_at(&mut buffer, offset.saturating_add(at))?;
        if read == 0 {
            return Ok(used);
        }
        let piece = buffer.get(..read).unwrap_or_default();
        if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
            used = at.saturating_add(last as u64).saturating_add(1);
        }
        at = at.saturating_add(read as u64);
    }
}

/// Whether `tail`, which begins at `offset` with what is no sound frame and ends with the last byte that is not zero,
/// is what a crash leaves of an unfinished batch.
///
/// If a later frame's batch began after the damaged one, the damaged one had been synced. If not, a whole sector
/// must be missing: disks lose sectors, and a changed byte is something else.
fn is_unfinished(mut tail: Vec<u8>, offset: u64) -> bool {
    let expected = frame_room(&tail, offset);
    tail.resize(tail.len().max(expected), 0);
    let mut damaged = tail.as_slice();
    let mut at = 1;
    // A frame cannot be hidden within an entry: kinds are control characters, which JSON escapes.
    while let Some(rest) = tail.get(at..).filter(|rest| !rest.is_empty()) {
        let Decoded::Frame { frame, consumed } = frame::decode(rest) else {
            at = at.saturating_add(1);
            continue;
        };
        if at > frame.batch_offset as usize {
            return false;
        }
        if damaged.len() == tail.len() {
            damaged = tail.get(..at).unwrap_or_default();
        }
        at = at.saturating_add(consumed);
    }
    let followed = damaged.len() < tail.len();
    has_lost_sector(damaged, offset, followed)
}

/// How many bytes the first frame would take, as far as what is left of it tells.
fn frame_room(tail: &[u8], offset: u64) -> usize {
    if tail.len() < HEAD_BYTES {
        // Not even the head is there, so the sector that it ends in is lost from some place on.
        let head_end = offset.saturating_add(HEAD_BYTES as u64);
        let room = head_end.next_multiple_of(SECTOR_BYTES as u64).saturating_sub(offset);
        return usize::try_from(room).unwrap_or(HEAD_BYTES);
    }
    frame::frame_bytes(tail).unwrap_or(tail.len())
}

/// Whether one of the sectors that lie in `damaged` reads as zeros. The first may have begun before; the last may
/// go on in a frame that follows, and was then stored.
fn has_lost_sector(damaged: &[u8], offset: u64, followed: bool) -> bool {
    let before = usize::try_from(offset % SECTOR_BYTES as u64).unwrap_or(0);
    let first = SECTOR_BYTES.saturating_sub(before).min(damaged.len());
    let (first, rest) = damaged.split_at_checked(first).unwrap_or((damaged, &[]));
    let first_is_whole = !followed || before.saturating_add(first.len()) == SECTOR_BYTES;

    let mut sectors = rest.chunks(SECTOR_BYTES).filter(|sector| !followed || sector.len() == SECTOR_BYTES);
    (first_is_whole && is_blank(first)) || sectors.any(is_blank)
}

#[cfg(test)]
mod tests;
