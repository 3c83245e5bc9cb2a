//! What there is of a ledger, without reading its entries.

use std::path::{Path, PathBuf};

use crate::chain::Chain;
use crate::checkpoint::Checkpoint;
use crate::error::{FileError, ReadError};
use crate::file::{Disk, Files, ReadAt};
use crate::key;
use crate::scan::{Scanner, Step};
use crate::tiles::{self, CHECKPOINT_FILE};

/// A ledger as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The first entry that there still is.
    pub first: u64,
    /// How many entries were ever recorded.
    pub entries: u64,
    pub segments: usize,
    pub bytes: u64,
    pub has_writer: bool,
    /// The public key beside the segments.
    pub key: Option<String>,
    pub key_id: Option<String>,
    pub checkpoint: Option<Checkpoint>,
    /// Where the latest checkpoint is that was not believed.
    pub checkpoint_not_believed: Option<PathBuf>,
}

/// Reads the headers, the last segment and the latest checkpoint.
pub fn status(dir: &Path) -> Result<Status, ReadError> {
    let segments = Chain::read(&Disk, dir)?.segments;
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
        return Err(ReadError::Missing { dir: dir.to_owned() });
    };
    let mut bytes = 0_u64;
    for segment in &segments {
        let fail = |source| FileError { action: "read", path: segment.path.clone(), source };
        let length = Disk.open_to_read(&segment.path).and_then(|file| file.length()).map_err(fail)?;
        bytes = bytes.saturating_add(length);
    }
    let key = key::verifier(&Disk, dir)?;
    let note = tiles::checkpoint_note(&Disk, dir)?;
    let opened = note.zip(key.as_ref()).map(|(note, key)| key.open(&note));
    Ok(Status {
        first: first.header.first_index,
        entries: entries_of(last)?,
        segments: segments.len(),
        bytes,
        has_writer: Disk.has_writer(dir),
        key: key.as_ref().map(|key| key.text()),
        key_id: key.as_ref().map(|key| key.id()),
        checkpoint_not_believed: matches!(opened, Some(Err(_))).then(|| dir.join(CHECKPOINT_FILE)),
        checkpoint: opened.and_then(Result::ok),
    })
}

fn entries_of(last: &crate::chain::Segment) -> Result<u64, ReadError> {
    let path = &last.path;
    let fail = |action| move |source| FileError { action, path: path.clone(), source };
    let file = Disk.open_to_read(path).map_err(fail("open"))?;
    let mut scanner = Scanner::new(file, path, last.header.first_index, None);
    loop {
        match scanner.step().map_err(fail("read"))? {
            Step::Frame(_) => {}
            Step::End | Step::Torn { .. } => return Ok(scanner.index()),
            // The count ends where reading does; verifying says why.
            Step::Corrupt(_) => return Ok(scanner.index()),
        }
    }
}
