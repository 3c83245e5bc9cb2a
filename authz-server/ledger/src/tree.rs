//! The ledger's second thread: the tree over the entries, its tiles, the checkpoints, and the next segment's room.
//!
//! It works on what is durable and nobody waits for it. After a crash it goes on from the last sealed checkpoint, whose
//! tiles are durable, and reads what came after from the segments.
//!
//! INVARIANT: nothing is signed that contradicts what this ledger signed before: the latest checkpoint is compared with the
//! entries before another one is made.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::chain::Chain;
use crate::checkpoint::{Checkpoint, SignerKey};
use crate::error::{FileError, ReadError};
use crate::file::Files;
use crate::inbox::{Inbox, Work};
use crate::merkle::{Edge, Finished, Tile, leaf_hash};
use crate::prepare::Prepared;
use crate::tiles;
use crate::walk::Walk;
use crate::writer::now_ms;

/// How many sealed checkpoints are tried before the tree is made anew.
const BASES_MAX: usize = 8;

/// What the tree tells those who hold the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    /// The latest checkpoint: how many entries it covers.
    pub entries: u64,
    /// Since the Unix epoch, when it was signed.
    pub at_s: u64,
    /// Why no newer one can be made, if none can.
    pub trouble: Option<Arc<str>>,
}

#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<Signed>);

impl Progress {
    /// Before anything was signed by this process.
    pub(crate) fn of(latest: Option<&Checkpoint>) -> Progress {
        let signed = latest.map(|checkpoint| Signed {
            entries: checkpoint.size,
            at_s: checkpoint.time_s,
            trouble: None,
        });
        Progress(Mutex::new(signed.unwrap_or_default()))
    }

    /// The thread is gone.
    pub(crate) fn lost(&self) {
        self.lock().trouble = Some("it lost its thread to a panic".into());
    }

    pub(crate) fn signed(&self) -> Signed {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Signed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Tree<D: Files> {
    pub(crate) files: D,
    pub(crate) dir: PathBuf,
    pub(crate) key: SignerKey,
    pub(crate) every: Duration,
    /// What was signed last, until the entries were found to be those that it covers.
    pub(crate) expected: Option<Checkpoint>,
    /// How many entries are known to be durable.
    pub(crate) durable: u64,
    pub(crate) prepared: Arc<Prepared<D::File>>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) state: State,
}

/// What the thread has in memory.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// `None` until what is on disk was read.
    edge: Option<Edge>,
    /// Tiles that could not be written yet.
    unwritten: VecDeque<Finished>,
    /// Tiles that were written since the last sealed checkpoint.
    unsynced: Vec<PathBuf>,
    /// The right edge of the latest checkpoint.
    partial: Vec<Tile>,
    /// A boundary that was not sealed, because something failed.
    boundaries: Vec<u64>,
    forked: bool,
}

/// Why there is no new checkpoint.
#[derive(Debug)]
enum TreeError {
    File(FileError),
    Read(ReadError),
    /// Entries are gone that no sealed checkpoint covers.
    Unreachable {
        from: u64,
        first: u64,
    },
    Forked {
        signed: u64,
    },
    Unsigned,
}

impl std::fmt::Display for TreeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TreeError::File(error) => error.fmt(f),
            TreeError::Read(error) => error.fmt(f),
            TreeError::Unreachable { from, first } => write!(
                f,
                "the tiles of the entries from {from} on are damaged, and the entries before {first} were deleted; restore \
                 `tile` and `checkpoints` from a copy"
            ),
            TreeError::Forked { signed } => write!(
                f,
                "the first {signed} entries are not those that were signed: they were changed; keep a copy for the \
                 investigation, and run `palisade ledger verify`"
            ),
            TreeError::Unsigned => f.write_str("the checkpoint could not be signed"),
        }
    }
}

impl From<FileError> for TreeError {
    fn from(error: FileError) -> TreeError {
        TreeError::File(error)
    }
}

impl From<ReadError> for TreeError {
    fn from(error: ReadError) -> TreeError {
        TreeError::Read(error)
    }
}

impl<D: Files> Tree<D> {
    pub(crate) fn run(mut self) {
        let mut memory = Vec::new();
        let mut due = Instant::now();
        loop {
            let work = self.inbox.take(due, memory);
            if !work.stop
                && let Err(error) = self.prepared.work(&self.files, &self.dir)
            {
                tracing::debug!(%error, "the next segment could not be prepared ahead");
            }
            let is_due = Instant::now() >= due || work.stop;
            let outcome = self.step(&work, is_due);
            self.tell(outcome);
            if is_due {
                due = Instant::now() + self.every;
            }
            if work.stop {
                return;
            }
            memory = work.leaves;
        }
    }

    fn step(&mut self, work: &Work, is_due: bool) -> Result<(), TreeError> {
        self.durable = self.durable.max(work.first.saturating_add(work.leaves.len() as u64));
        self.state.boundaries.extend(&work.sealed);
        while let Some(boundary) = self.state.boundaries.first().copied() {
            self.advance(boundary, work)?;
            self.seal()?;
            self.state.boundaries.remove(0);
        }
        self.advance(self.durable, work)?;
        if work.stop {
            self.seal()
        } else if is_due {
            self.sign(false)
        } else {
            Ok(())
        }
    }

    /// Tells trouble when it begins and when it ends.
    fn tell(&self, outcome: Result<(), TreeError>) {
        let mut signed = self.progress.lock();
        let trouble = outcome.err().map(|error| Arc::from(error.to_string()));
        match (&signed.trouble, &trouble) {
            (None, Some(trouble)) => tracing::error!(%trouble, "no checkpoint can be made"),
            (Some(_), None) => tracing::warn!("checkpoints are made again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        signed.trouble = trouble;
    }

    /// Brings the tree to this size.
    fn advance(&mut self, size: u64, work: &Work) -> Result<(), TreeError> {
        if self.state.forked {
            let signed = self.expected.as_ref().map_or(0, |checkpoint| checkpoint.size);
            return Err(TreeError::Forked { signed });
        }
        if self.state.edge.is_none() {
            self.state.edge = Some(self.restore()?);
        }
        // The comparison with what was signed last comes on the way.
        if let Some(expected) = self.expected.take_if(|expected| expected.size <= size) {
            self.extend(expected.size, work)?;
            let edge = self.edge();
            // A tree that was restored beyond it was itself signed, and later.
            if edge.size() == expected.size && edge.root() != expected.root {
                let signed = expected.size;
                (self.state.forked, self.expected) = (true, Some(expected));
                return Err(TreeError::Forked { signed });
            }
        }
        self.extend(size, work)
    }

    fn extend(&mut self, size: u64, work: &Work) -> Result<(), TreeError> {
        let at = self.edge().size();
        if at >= size {
            return Ok(());
        }
        let end = work.first.saturating_add(work.leaves.len() as u64);
        let in_memory = work.first.max(at)..end.min(size);
        if in_memory.is_empty() {
            return self.extend_from_segments(size);
        }
        self.extend_from_segments(in_memory.start)?;
        let skip = usize::try_from(in_memory.start.saturating_sub(work.first)).unwrap_or(usize::MAX);
        let count = usize::try_from(in_memory.end.saturating_sub(in_memory.start)).unwrap_or(0);
        let mut finished = Vec::new();
        let mut edge = self.state.edge.take().unwrap_or_default();
        for leaf in work.leaves.iter().skip(skip).take(count) {
            edge.push(*leaf, &mut finished);
        }
        self.state.edge = Some(edge);
        self.store(&mut finished)?;
        self.extend_from_segments(size)
    }

    fn extend_from_segments(&mut self, size: u64) -> Result<(), TreeError> {
        if self.edge().size() >= size {
            return Ok(());
        }
        let mut walk = Walk::open(&self.files, &self.dir, self.edge().size())?;
        if walk.index() > self.edge().size() {
            return Err(TreeError::Unreachable { from: self.edge().size(), first: walk.index() });
        }
        let mut finished = Vec::new();
        while self.edge().size() < size {
            let Some(located) = walk.advance()? else {
                // Less than is durable can only be there if somebody takes it away just now.
                return Err(TreeError::Read(ReadError::Missing { dir: self.dir.clone() }));
            };
            let leaf = leaf_hash(located.frame.stored);
            if let Some(edge) = self.state.edge.as_mut() {
                edge.push(leaf, &mut finished);
            }
            self.store(&mut finished)?;
        }
        Ok(())
    }

    /// The tree of the last sealed checkpoint that has its tiles, or none yet.
    fn restore(&self) -> Result<Edge, TreeError> {
        let verifier = self.key.verifier();
        for size in tiles::sealed_sizes(&self.files, &self.dir)?.into_iter().take(BASES_MAX) {
            let Ok(checkpoint) = tiles::sealed(&self.files, &self.dir, size, &verifier)? else { continue };
            if checkpoint.size != size || size > self.durable {
                continue;
            }
            let read = |tile| tiles::read(&self.files, &self.dir, tile).map(Option::unwrap_or_default);
            if let Some(edge) = Edge::restore(size, read)?
                && edge.root() == checkpoint.root
            {
                return Ok(edge);
            }
        }
        let segments = Chain::read(&self.files, &self.dir)?.segments;
        let first = segments.first().map_or(0, |segment| segment.header.first_index);
        if first == 0 { Ok(Edge::default()) } else { Err(TreeError::Unreachable { from: 0, first }) }
    }

    fn store(&mut self, finished: &mut Vec<Finished>) -> Result<(), TreeError> {
        self.state.unwritten.extend(finished.drain(..));
        while let Some(tile) = self.state.unwritten.front() {
            let path = tiles::write(&self.files, &self.dir, tile)?;
            self.state.unsynced.push(path);
            self.state.unwritten.pop_front();
        }
        Ok(())
    }

    /// Signs a checkpoint below which everything is durable, tiles too.
    fn seal(&mut self) -> Result<(), TreeError> {
        self.sign(true)
    }

    fn sign(&mut self, sealed: bool) -> Result<(), TreeError> {
        self.store(&mut Vec::new())?;
        let (size, root, unfinished) = {
            let edge = self.edge();
            (edge.size(), edge.root(), edge.unfinished())
        };
        let mut paths = Vec::new();
        for tile in &unfinished {
            paths.push(tiles::write(&self.files, &self.dir, tile)?);
        }
        let at_s = now_ms() / 1000;
        let note = self.key.sign(size, &root, at_s).map_err(|_| TreeError::Unsigned)?;
        if sealed {
            paths.append(&mut self.state.unsynced);
            if let Err(error) = tiles::make_durable(&self.files, &self.dir, &paths) {
                self.state.unsynced = paths;
                return Err(error.into());
            }
            tiles::write_sealed(&self.files, &self.dir, size, &note)?;
        }
        tiles::write_checkpoint(&self.files, &self.dir, &note)?;
        let partial: Vec<Tile> = unfinished.into_iter().map(|tile| tile.tile).collect();
        let before = std::mem::take(&mut self.state.partial);
        for tile in before.iter().filter(|tile| !partial.contains(tile)) {
            tiles::forget(&self.files, &self.dir, tile);
        }
        // The tiles of a sealed checkpoint stay for as long as it does.
        self.state.partial = if sealed { Vec::new() } else { partial };
        let mut signed = self.progress.lock();
        (signed.entries, signed.at_s) = (size, at_s);
        Ok(())
    }

    fn edge(&self) -> &Edge {
        static EMPTY: Edge = Edge::empty();
        self.state.edge.as_ref().unwrap_or(&EMPTY)
    }
}
