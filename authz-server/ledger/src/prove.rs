//! Making proofs: from the tiles, and from the entries where a tile is not there.
//!
//! INVARIANT: a proof that is given was checked against its own checkpoint first.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::checkpoint::VerifierKey;
use crate::entry::Entry;
use crate::error::{CheckpointError, FileError, ReadError};
use crate::file::{Disk, Files};
use crate::key::{self, VERIFIER_KEY_FILE};
use crate::merkle::{
    Hash, Subtree, TILE_WIDTH, Tile, inclusion_path, leaf_hash, node_hash, root_from_path, root_of,
};
use crate::proof::InclusionProof;
use crate::tiles::{self, CHECKPOINT_FILE};
use crate::walk::Walk;

/// A tile covers eight levels of the tree.
const TILE_LEVELS: u32 = TILE_WIDTH.trailing_zeros();

/// Why there is no proof.
#[derive(Debug)]
pub enum ProveError {
    Read(ReadError),
    File(FileError),
    /// No entry has this decision id.
    Unknown {
        decision_id: String,
    },
    NoKey {
        dir: PathBuf,
    },
    NoCheckpoint {
        dir: PathBuf,
    },
    Checkpoint {
        path: PathBuf,
        error: CheckpointError,
    },
    /// The entry is newer than the latest checkpoint.
    NotYet {
        index: u64,
        size: u64,
    },
    /// What is on disk does not lead to what was signed.
    Inconsistent {
        dir: PathBuf,
    },
}

impl fmt::Display for ProveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProveError::Read(error) => error.fmt(f),
            ProveError::File(error) => error.fmt(f),
            ProveError::Unknown { decision_id } => write!(
                f,
                "no entry has decision id `{decision_id}`: is this the state of the server that decided?"
            ),
            ProveError::NoKey { dir } => write!(
                f,
                "there is no `{VERIFIER_KEY_FILE}` in `{}`; put a copy there, or start the server once",
                dir.display()
            ),
            ProveError::NoCheckpoint { dir } => write!(
                f,
                "there is no checkpoint in `{}` yet; the server signs one at least every ten seconds",
                dir.display()
            ),
            ProveError::Checkpoint { path, error } => {
                write!(f, "`{}` is not believed: {error}", path.display())
            }
            ProveError::NotYet { index, size } => write!(
                f,
                "entry {index} is not under a checkpoint yet: the latest one covers {size} entries; try again in ten \
                 seconds, with the server running"
            ),
            ProveError::Inconsistent { dir } => write!(
                f,
                "the tiles in `{}` do not lead to the root that was signed; run `palisade ledger verify` on it",
                dir.display()
            ),
        }
    }
}

impl Error for ProveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ProveError::Read(error) => Some(error),
            ProveError::File(error) => Some(error),
            ProveError::Checkpoint { error, .. } => Some(error),
            ProveError::Unknown { .. }
            | ProveError::NoKey { .. }
            | ProveError::NoCheckpoint { .. }
            | ProveError::NotYet { .. }
            | ProveError::Inconsistent { .. } => None,
        }
    }
}

impl From<ReadError> for ProveError {
    fn from(error: ReadError) -> ProveError {
        ProveError::Read(error)
    }
}

impl From<FileError> for ProveError {
    fn from(error: FileError) -> ProveError {
        ProveError::File(error)
    }
}

/// Proves the decision with this id under the latest checkpoint.
pub fn prove(dir: &Path, decision_id: &str) -> Result<InclusionProof, ProveError> {
    let (index, entry) = stored_of(&Disk, dir, decision_id)?
        .ok_or_else(|| ProveError::Unknown { decision_id: decision_id.to_owned() })?;
    prove_entry(&Disk, dir, index, entry)
}

pub(crate) fn prove_entry<F: Files>(
    files: &F,
    dir: &Path,
    index: u64,
    entry: Vec<u8>,
) -> Result<InclusionProof, ProveError> {
    let key: VerifierKey =
        key::verifier(files, dir)?.ok_or_else(|| ProveError::NoKey { dir: dir.to_owned() })?;
    let note = tiles::checkpoint_note(files, dir)?;
    let note = note.ok_or_else(|| ProveError::NoCheckpoint { dir: dir.to_owned() })?;
    let path = dir.join(CHECKPOINT_FILE);
    let checkpoint = key.open(&note).map_err(|error| ProveError::Checkpoint { path, error })?;
    let size = checkpoint.size;
    if index >= size {
        return Err(ProveError::NotYet { index, size });
    }
    let hashes = Hashes { files, dir, size };
    let subtrees = inclusion_path(index, size).into_iter();
    let path: Vec<Hash> = subtrees.map(|subtree| hashes.root(subtree)).collect::<Result<_, _>>()?;
    if root_from_path(&leaf_hash(&entry), index, size, &path) != Some(checkpoint.root) {
        return Err(ProveError::Inconsistent { dir: dir.to_owned() });
    }
    Ok(InclusionProof { index, entry, path, checkpoint: note })
}

/// The decision's place and its stored bytes.
fn stored_of<F: Files>(
    files: &F,
    dir: &Path,
    decision_id: &str,
) -> Result<Option<(u64, Vec<u8>)>, ReadError> {
    let mut walk = Walk::open(files, dir, 0)?;
    while let Some(located) = walk.advance()? {
        let frame = located.frame;
        // Most entries are others, which need not be read to be passed by.
        let may_be =
            frame.stored.windows(decision_id.len().max(1)).any(|part| part == decision_id.as_bytes());
        if may_be
            && let Ok(Entry::Decision(decision)) = Entry::decode(frame.kind, frame.version, frame.stored)
            && decision.decision_id == decision_id
        {
            return Ok(Some((located.index, frame.stored.to_vec())));
        }
    }
    Ok(None)
}

/// The hashes of a tree of this size.
struct Hashes<'a, F> {
    files: &'a F,
    dir: &'a Path,
    size: u64,
}

impl<F: Files> Hashes<'_, F> {
    fn root(&self, subtree: Subtree) -> Result<Hash, ProveError> {
        match (subtree.perfect_level(), subtree.children()) {
            (Some(level), _) => self.perfect_root(subtree, level),
            (None, Some((left, right))) => Ok(node_hash(&self.root(left)?, &self.root(right)?)),
            (None, None) => Err(self.inconsistent()),
        }
    }

    /// Such a tree stands within one tile.
    fn perfect_root(&self, subtree: Subtree, level: u32) -> Result<Hash, ProveError> {
        let (tile_level, within) = (level / TILE_LEVELS, level % TILE_LEVELS);
        let first = subtree.from >> (tile_level * TILE_LEVELS);
        let (number, place) = (first / TILE_WIDTH as u64, first % TILE_WIDTH as u64);
        let place = usize::try_from(place).unwrap_or(TILE_WIDTH);
        let hashes = self.tile(u8::try_from(tile_level).unwrap_or(u8::MAX), number)?;
        let part = hashes.get(place..place.saturating_add(1 << within));
        part.map(root_of).ok_or_else(|| self.inconsistent())
    }

    /// A tile of the tree, as wide as it is at this size.
    fn tile(&self, level: u8, number: u64) -> Result<Vec<Hash>, ProveError> {
        let of_level = self.size.checked_shr(u32::from(level) * TILE_LEVELS).unwrap_or(0);
        let width = of_level.saturating_sub(number.saturating_mul(TILE_WIDTH as u64));
        let width = usize::try_from(width).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
        if let Some(hashes) = tiles::read(self.files, self.dir, Tile { level, number, width })? {
            return Ok(hashes);
        }
        let first = number.saturating_mul(TILE_WIDTH as u64);
        match level.checked_sub(1) {
            Some(below) => {
                let children = first..first.saturating_add(width as u64);
                children.map(|child| self.tile(below, child).map(|hashes| root_of(&hashes))).collect()
            }
            None => self.leaves(first, width),
        }
    }

    fn leaves(&self, first: u64, count: usize) -> Result<Vec<Hash>, ProveError> {
        let mut walk = Walk::open(self.files, self.dir, first)?;
        if walk.index() != first {
            // Deleted, and the tile that should have stayed is gone.
            return Err(self.inconsistent());
        }
        let mut leaves = Vec::new();
        while leaves.len() < count {
            let located = walk.advance()?.ok_or_else(|| self.inconsistent())?;
            leaves.push(leaf_hash(located.frame.stored));
        }
        Ok(leaves)
    }

    fn inconsistent(&self) -> ProveError {
        ProveError::Inconsistent { dir: self.dir.to_owned() }
    }
}

#[cfg(test)]
mod tests;
