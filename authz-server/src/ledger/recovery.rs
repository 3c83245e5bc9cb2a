//! Opening a segment after whatever happened to it.
//!
//! A crash may leave the last batch, and only it, incomplete: nothing is written before the batch before is synced.
//! A killed process leaves a prefix of it. A loss of power may leave any of its sectors unwritten, which read as
//! zeros, and may keep those after them. Everything else is corruption, and is never repaired by forgetting.
//!
//! INVARIANT: what is cut off was never acknowledged, as far as the file itself can tell.

use std::path::Path;

use super::error::{FileError, LedgerError};
use super::file::WriteAt;
use super::frame::{self, Decoded};
use super::limits::SECTOR_BYTES;
use super::segment::{self, Beginning, Scanner, Step};

/// Where the writer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recovered {
    pub(super) entries: u64,
    pub(super) end: u64,
    pub(super) truncated_bytes: u64,
}

/// Brings a segment that may be new, or that a crash may have left, into a state that can be written to.
pub(super) fn recover<F: WriteAt>(file: &mut F, path: &Path) -> Result<Recovered, LedgerError> {
    let fail = |action| {
        let path = path.to_owned();
        move |source| FileError { action, path, source }
    };
    match segment::check_header(file, path).map_err(fail("read"))?? {
        Beginning::Sound => {}
        Beginning::Unfinished => file.write_all_at(&segment::header(), 0).map_err(fail("write"))?,
    }

    let mut scanner = Scanner::new(&*file);
    // Until there is a frame the header itself may not be durable.
    let mut batch_start = 0;
    let truncated_bytes = loop {
        match scanner.step().map_err(fail("read"))? {
            Step::Frame(located) => batch_start = located.batch_start(),
            Step::End { torn_bytes } => break torn_bytes,
            Step::Corrupt(error) => return Err(LedgerError::Corrupt(scanner.corruption(path, error))),
        }
    };
    let (entries, end) = (scanner.index(), scanner.offset());

    // Cut off last: where storing fails, the next opening still finds, and reports, what was torn.
    store_again(file, batch_start, end).map_err(fail("write"))?;
    if truncated_bytes > 0 {
        file.truncate(end).map_err(fail("truncate"))?;
    }
    file.sync().map_err(fail("sync"))?;
    Ok(Recovered { entries, end, truncated_bytes })
}

/// Writes the last batch, or the header, once more. If its sync failed, the system may show what it has not stored and believe it
/// stored: only a new write makes the next sync mean something.
fn store_again<F: WriteAt>(file: &mut F, start: u64, end: u64) -> std::io::Result<()> {
    // At most one batch and one frame, because `decode` bounds the batch offset.
    let mut batch = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
    if batch.is_empty() {
        return Ok(());
    }
    let read = file.read_at(&mut batch, start)?;
    batch.truncate(read);
    file.write_all_at(&batch, start)
}

/// Whether `tail`, which begins with a damaged frame at `offset` and goes on to the end of the file, is what a loss
/// of power leaves of an unfinished batch.
///
/// If a later frame's batch began after the damaged one, the damaged one had been synced. If not, a whole sector
/// must be missing: disks lose sectors, and a changed byte is something else.
pub(super) fn is_unfinished(tail: &[u8], offset: u64) -> bool {
    let mut damaged = tail;
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

fn is_blank(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
