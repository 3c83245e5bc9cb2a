//! Checking a ledger without a server: every frame, every hash, every checkpoint, and copies that were kept elsewhere.
//!
//! What an entry must be is told by the tiles, as far as these lead up to a root that was signed. So a changed entry is named
//! although its checksums were made to fit. Where the tiles were changed too, the sealed checkpoints tell between which
//! two of them the change is.
//!
//! INVARIANT: what is called whole was compared with a signature, up to the latest checkpoint; what is newer is said to be
//! unsigned.

mod error;
mod trusted;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use error::{VerifyError, Which};

use crate::chain::Chain;
use crate::checkpoint::{Checkpoint, VerifierKey};
use crate::entry::{AdminEvent, Entry};
use crate::error::{ChainError, ReadError};
use crate::file::{Disk, Files};
use crate::key;
use crate::merkle::{Edge, Finished, Hash, LeafHash, TILE_WIDTH, Tile, leaf_hash};
use crate::tiles::{self, CHECKPOINT_FILE, SEALED_DIR};
use crate::walk::Walk;
use trusted::Trusted;

/// Tiles that are named one by one; more are only counted.
const TILES_NAMED_MAX: usize = 16;

/// What a ledger is compared with beside itself.
#[derive(Clone, Debug, Default)]
pub struct Against {
    /// The public key, kept elsewhere. Without it the one beside the segments is used, which whoever changes those can
    /// change too.
    pub key: Option<VerifierKey>,
    /// Checkpoints that were copied at some time: where each was kept, and its bytes.
    pub copies: Vec<(PathBuf, Vec<u8>)>,
}

/// Entries that retention deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// All before this one.
    pub before: u64,
    /// Since the Unix epoch, when it was entered into the ledger.
    pub at_ms: u64,
}

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many entries were ever recorded, deleted ones included.
    pub entries: u64,
    /// The hash of the last entry, to compare with what was noted elsewhere.
    pub last: Option<LeafHash>,
    /// The root of the tree over all entries.
    pub root: Hash,
    /// The unfinished part of a write, which opening the ledger would cut off.
    pub torn_bytes: u64,
    pub deleted: Option<Deleted>,
    /// The latest checkpoint, if the ledger was ever signed.
    pub checkpoint: Option<Checkpoint>,
    /// How many checkpoints the entries were compared with.
    pub checkpoints: usize,
    /// Tiles that are not as the entries make them; the server makes them again when it starts.
    pub tiles_damaged: u64,
    /// The first of them.
    pub tiles: Vec<String>,
}

impl Verified {
    /// How many entries are newer than the latest checkpoint.
    pub fn unsigned(&self) -> u64 {
        self.entries.saturating_sub(self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size))
    }
}

/// Compares a ledger with itself.
pub fn verify(dir: &Path) -> Result<Verified, VerifyError> {
    verify_against(dir, &Against::default())
}

/// Compares a ledger with itself and with this; the error names the first bad entry.
pub fn verify_against(dir: &Path, against: &Against) -> Result<Verified, VerifyError> {
    verify_on(&Disk, dir, against)
}

pub(crate) fn verify_on<F: Files>(files: &F, dir: &Path, against: &Against) -> Result<Verified, VerifyError> {
    let signed = Signed::read(files, dir, against)?;
    let chain = Chain::read(files, dir)?;
    let Some(first) = chain.segments.first().map(|segment| segment.header.first_index) else {
        return Err(match signed.heads.last() {
            Some(head) => {
                VerifyError::RolledBack { which: head.which.clone(), signed: head.size, entries: 0 }
            }
            None => ReadError::Missing { dir: dir.to_owned() }.into(),
        });
    };
    let mut run = Run::new(files, dir, &signed);
    run.take_deleted(first)?;
    run.take_segments(first)?;
    run.finish(first)
}

/// A tree head that the ledger must agree with.
#[derive(Clone, Debug)]
struct Head {
    size: u64,
    root: Hash,
    which: Which,
}

/// Everything that was signed.
struct Signed {
    /// In the order of their sizes.
    heads: Vec<Head>,
    latest: Option<Checkpoint>,
}

impl Signed {
    fn read<F: Files>(files: &F, dir: &Path, against: &Against) -> Result<Signed, VerifyError> {
        let note = tiles::checkpoint_note(files, dir)?;
        let sealed = tiles::sealed_sizes(files, dir)?;
        if note.is_none() && sealed.is_empty() && against.copies.is_empty() {
            return Ok(Signed { heads: Vec::new(), latest: None });
        }
        let key = match &against.key {
            Some(key) => key.clone(),
            None => {
                let found = key::verifier(files, dir)?;
                found.ok_or_else(|| VerifyError::NoKey { dir: dir.to_owned() })?
            }
        };
        let mut signed = Signed { heads: Vec::new(), latest: None };
        let path = dir.join(CHECKPOINT_FILE);
        // Where there were others there was a latest one.
        let note = note.ok_or_else(|| VerifyError::NoCheckpoint { path: path.clone() })?;
        let open = |note: &[u8], path: &Path| {
            key.open(note).map_err(|error| VerifyError::Checkpoint { path: path.to_owned(), error })
        };
        let latest = open(&note, &path)?;
        signed.add(&latest, Which::Own(path));
        for size in sealed {
            let path = dir.join(SEALED_DIR).join(format!("{size:020}"));
            let checkpoint = tiles::sealed(files, dir, size, &key)?;
            let checkpoint =
                checkpoint.map_err(|error| VerifyError::Checkpoint { path: path.clone(), error })?;
            signed.add(&checkpoint, Which::Own(path));
        }
        for (path, note) in &against.copies {
            signed.add(&open(note, path)?, Which::Copy(path.clone()));
        }
        signed.heads.sort_by_key(|head| head.size);
        signed.latest = Some(latest);
        Ok(signed)
    }

    fn add(&mut self, checkpoint: &Checkpoint, which: Which) {
        self.heads.push(Head { size: checkpoint.size, root: checkpoint.root, which });
    }
}

/// A walk over the entries, from the first to the last.
struct Run<'a, F: Files> {
    files: &'a F,
    dir: &'a Path,
    signed: &'a Signed,
    trusted: Trusted<'a, F>,
    edge: Edge,
    finished: Vec<Finished>,
    /// The next head to be compared, and the size of the one before.
    head: usize,
    compared: u64,
    deleted: Option<Deleted>,
    last: Option<LeafHash>,
    torn_bytes: u64,
    tiles_damaged: u64,
    tiles: Vec<String>,
}

impl<'a, F: Files> Run<'a, F> {
    fn new(files: &'a F, dir: &'a Path, signed: &'a Signed) -> Run<'a, F> {
        Run {
            files,
            dir,
            signed,
            trusted: Trusted::new(
                files,
                dir,
                signed.heads.iter().map(|head| (head.size, head.root)).collect(),
            ),
            edge: Edge::default(),
            finished: Vec::new(),
            head: 0,
            compared: 0,
            deleted: None,
            last: None,
            torn_bytes: 0,
            tiles_damaged: 0,
            tiles: Vec::new(),
        }
    }

    /// The deleted entries: their hashes stayed in the tiles.
    fn take_deleted(&mut self, first: u64) -> Result<(), VerifyError> {
        let mut at = 0;
        while at < first {
            self.compare()?;
            let tile = Tile { level: 0, number: at / TILE_WIDTH as u64, width: TILE_WIDTH };
            let wanted = usize::try_from(first.saturating_sub(at)).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
            let size = self.signed.latest.as_ref().map_or(0, |checkpoint| checkpoint.size);
            let there = usize::try_from(size.saturating_sub(at)).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
            let hashes = tiles::read(self.files, self.dir, Tile { width: there.max(wanted), ..tile })?;
            let hashes = hashes.ok_or_else(|| VerifyError::NoTile { path: self.dir.join(tile.path()) })?;
            for hash in hashes.iter().take(wanted) {
                self.push(*hash)?;
            }
            at = at.saturating_add(wanted as u64);
        }
        Ok(())
    }

    fn take_segments(&mut self, first: u64) -> Result<(), VerifyError> {
        let mut walk = Walk::open(self.files, self.dir, first)?;
        let mut hash = Sha256::new();
        let mut header = *walk.header();
        loop {
            let found = match walk.advance() {
                Ok(Some(located)) => (located.offset, leaf_hash(located.frame.stored)),
                Ok(None) => break,
                Err(error) => return Err(VerifyError::of_read(self.files, error)),
            };
            let (offset, leaf) = found;
            if walk.header().number != header.number {
                self.compare_segments(&walk, &mut hash)?;
                header = *walk.header();
            }
            hash.update(leaf.as_bytes());
            self.take_entry(&walk, offset, leaf)?;
        }
        self.torn_bytes = walk.torn_bytes();
        Ok(())
    }

    /// The segment that the walk has just entered says what the one before held.
    fn compare_segments(&mut self, walk: &Walk<F>, hash: &mut Sha256) -> Result<(), VerifyError> {
        let before: [u8; 32] = std::mem::take(hash).finalize().into();
        let header = walk.header();
        let said = header.previous.map(|previous| previous.entries);
        if said == Some(Hash::new(before)) && header.first_index == self.edge.size() {
            return Ok(());
        }
        let path = crate::segment::path(self.dir, header.number.saturating_sub(1));
        let next = walk.path().to_owned();
        Err(ReadError::from(ChainError::Changed { path, next }).into())
    }

    fn take_entry(&mut self, walk: &Walk<F>, offset: u64, leaf: LeafHash) -> Result<(), VerifyError> {
        let index = self.edge.size();
        let Some(located) = walk.last() else { return Ok(()) };
        let (frame, path) = (located.frame, walk.path());
        if self.trusted.leaf(index)?.is_some_and(|expected| expected != leaf) {
            let decision_id = error::decision_id_in(frame.stored);
            return Err(VerifyError::Changed { path: path.to_owned(), index, offset, decision_id });
        }
        let entry = Entry::decode(frame.kind, frame.version, frame.stored);
        let entry =
            entry.map_err(|error| ReadError::Entry { path: path.to_owned(), index, offset, error })?;
        if let Entry::Admin(admin) = &entry
            && let AdminEvent::EntriesDeleted { before } = admin.event
        {
            self.deleted = Some(Deleted { before, at_ms: admin.at_ms });
        }
        self.last = Some(leaf);
        self.push(leaf)
    }

    fn push(&mut self, leaf: LeafHash) -> Result<(), VerifyError> {
        self.compare()?;
        let mut finished = std::mem::take(&mut self.finished);
        self.edge.push(leaf, &mut finished);
        let signed = self.signed.latest.as_ref().map_or(0, |checkpoint| checkpoint.size);
        for Finished { tile, hashes } in finished.drain(..) {
            // What is not signed yet need not have been written.
            if self.edge.size() <= signed && tiles::read(self.files, self.dir, tile)? != Some(hashes) {
                self.tiles_damaged = self.tiles_damaged.saturating_add(1);
                if self.tiles.len() < TILES_NAMED_MAX {
                    self.tiles.push(tile.path());
                }
            }
        }
        self.finished = finished;
        self.compare()
    }

    /// Compares with what was signed at just this size.
    fn compare(&mut self) -> Result<(), VerifyError> {
        while let Some(head) = self.signed.heads.get(self.head).filter(|head| head.size <= self.edge.size()) {
            if head.size == self.edge.size() && head.root != self.edge.root() {
                let (which, from, to) = (head.which.clone(), self.compared, head.size);
                return Err(VerifyError::Forked { which, from, to });
            }
            self.compared = head.size;
            self.head = self.head.saturating_add(1);
        }
        Ok(())
    }

    fn finish(mut self, first: u64) -> Result<Verified, VerifyError> {
        self.compare()?;
        let entries = self.edge.size();
        if let Some(head) = self.signed.heads.last().filter(|head| head.size > entries) {
            return Err(VerifyError::RolledBack { which: head.which.clone(), signed: head.size, entries });
        }
        if first > 0 && self.deleted.is_none_or(|deleted| deleted.before < first) {
            return Err(VerifyError::Unexplained { first });
        }
        Ok(Verified {
            entries,
            last: self.last,
            root: self.edge.root(),
            torn_bytes: self.torn_bytes,
            deleted: self.deleted,
            checkpoint: self.signed.latest.clone(),
            checkpoints: self.signed.heads.len(),
            tiles_damaged: self.tiles_damaged,
            tiles: self.tiles,
        })
    }
}

#[cfg(test)]
mod tests;
