//! The tiles of the tree on disk, and the checkpoints beside them.
//!
//! | Place | What |
//! |---|---|
//! | `tile/<level>/<number>` | 256 hashes, as c2sp.org/tlog-tiles lays them out; `.p/<width>` where there are fewer |
//! | `checkpoint` | the latest one |
//! | `checkpoints/<size>` | those at which a segment was sealed or the server stopped; the tiles below are durable |
//!
//! INVARIANT: tiles follow from the entries. One that is lost or damaged is made again from the segments, as long as they
//! are there; before retention deletes a segment, its tiles are durable.

use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, VerifierKey};
use crate::error::{CheckpointError, FileError};
use crate::file::{Files, WriteAt, parent};
use crate::merkle::{Finished, HASH_BYTES, Hash, TILE_WIDTH, Tile};

pub const CHECKPOINT_FILE: &str = "checkpoint";
pub(crate) const SEALED_DIR: &str = "checkpoints";

fn fail(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { action, path, source }
}

/// Writes a tile. It becomes durable with [`make_durable`].
pub(crate) fn write<F: Files>(files: &F, dir: &Path, finished: &Finished) -> Result<PathBuf, FileError> {
    let path = dir.join(finished.tile.path());
    let contents: Vec<u8> = finished.hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
    if files.replace(&path, &contents, false).is_err() {
        // Most often the directory is not there yet.
        files.create_dir(parent(&path)).map_err(fail("create the directory", parent(&path)))?;
        files.replace(&path, &contents, false).map_err(fail("write", &path))?;
    }
    Ok(path)
}

/// Returns when these tiles, which were written, would survive a loss of power.
pub(crate) fn make_durable<F: Files>(files: &F, dir: &Path, paths: &[PathBuf]) -> Result<(), FileError> {
    let mut dirs: Vec<&Path> = Vec::new();
    for path in paths {
        let mut file = files.open(path).map_err(fail("open", path))?;
        file.sync().map_err(fail("sync", path))?;
        dirs.extend(path.ancestors().skip(1).take_while(|above| above.starts_with(dir)));
    }
    dirs.sort_unstable();
    dirs.dedup();
    dirs.into_iter().try_for_each(|dir| files.sync_dir(dir).map_err(fail("sync the directory", dir)))
}

/// Forgets a tile of the right edge that a wider one replaces.
pub(crate) fn forget<F: Files>(files: &F, dir: &Path, tile: &Tile) {
    let path = dir.join(tile.path());
    // What stays behind takes room and does no harm.
    let _removed = files.remove(&path);
    let _removed = files.remove_dir(parent(&path));
}

/// The hashes of a tile, from its own file or from that of a wider one. `None` where no file has them.
pub(crate) fn read<F: Files>(files: &F, dir: &Path, tile: Tile) -> Result<Option<Vec<Hash>>, FileError> {
    let full = Tile { width: TILE_WIDTH, ..tile };
    for candidate in [full, tile] {
        let path = dir.join(candidate.path());
        match files.read(&path) {
            Ok(contents) => {
                if let Some(hashes) = hashes_of(&contents, candidate.width, tile.width) {
                    return Ok(Some(hashes));
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(source) => return Err(fail("read", &path)(source)),
        }
    }
    Ok(None)
}

fn hashes_of(contents: &[u8], width: usize, wanted: usize) -> Option<Vec<Hash>> {
    let (chunks, rest) = contents.as_chunks::<HASH_BYTES>();
    let whole = rest.is_empty() && chunks.len() == width;
    whole.then(|| chunks.iter().take(wanted).map(|bytes| Hash::new(*bytes)).collect())
}

/// Stores a checkpoint as the latest one.
pub(crate) fn write_checkpoint<F: Files>(files: &F, dir: &Path, note: &[u8]) -> Result<(), FileError> {
    let path = dir.join(CHECKPOINT_FILE);
    files.replace(&path, note, true).map_err(fail("write", &path))
}

/// Stores a checkpoint whose tiles are durable.
pub(crate) fn write_sealed<F: Files>(files: &F, dir: &Path, size: u64, note: &[u8]) -> Result<(), FileError> {
    let path = dir.join(SEALED_DIR).join(format!("{size:020}"));
    files.create_dir(parent(&path)).map_err(fail("create the directory", parent(&path)))?;
    files.replace(&path, note, true).map_err(fail("write", &path))?;
    files.sync_dir(dir).map_err(fail("sync the directory", dir))
}

/// The sizes of the sealed checkpoints, the largest first.
pub(crate) fn sealed_sizes<F: Files>(files: &F, dir: &Path) -> Result<Vec<u64>, FileError> {
    let path = dir.join(SEALED_DIR);
    let names = match files.list(&path) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(fail("list", &path)(source)),
    };
    let mut sizes: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
    sizes.sort_unstable_by(|one, other| other.cmp(one));
    Ok(sizes)
}

/// The bytes of the latest checkpoint, if there is one.
pub(crate) fn checkpoint_note<F: Files>(files: &F, dir: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let path = dir.join(CHECKPOINT_FILE);
    match files.read(&path) {
        Ok(note) => Ok(Some(note)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(fail("read", &path)(source)),
    }
}

pub(crate) fn sealed<F: Files>(
    files: &F,
    dir: &Path,
    size: u64,
    key: &VerifierKey,
) -> Result<Result<Checkpoint, CheckpointError>, FileError> {
    let path = dir.join(SEALED_DIR).join(format!("{size:020}"));
    let note = files.read(&path).map_err(fail("read", &path))?;
    Ok(key.open(&note))
}
