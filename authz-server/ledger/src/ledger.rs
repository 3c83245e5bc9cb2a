//! The way into the ledger: opening it, and appending to it.
//!
//! INVARIANT: a [`Receipt`] is given for an entry that is durable, and never otherwise.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use crate::entry::Entry;
use crate::error::{AppendError, LedgerError};
use crate::file::{DirLock, Disk, Files};
use crate::frame::{Body, FrameError};
use crate::inbox::Inbox;
use crate::key::CreatedKey;
use crate::limits::{BATCH_BYTES_KEPT, CHECKPOINT_EVERY, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::merkle::{LeafHash, leaf_hash};
use crate::open::{self, Opened};
use crate::queue::{Bounds, Mode, Queue, Want};
use crate::tree::{Progress, Signed};
use crate::writer::{Counters, Sizes};

/// A ledger that is open for writing. Clones share it, and the last one closes it.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    progress: Arc<Progress>,
    /// Entries are refused because too many wait.
    overloaded: AtomicBool,
    refused_for_load: AtomicU64,
    ended: watch::Receiver<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The proof that an entry is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's place in the ledger, counted from 0.
    pub index: u64,
    pub leaf_hash: LeafHash,
}

/// When an entry counts as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// It would survive a loss of power.
    Durable,
    /// It will be made durable within [`crate::BUFFERED_LOSS_MAX`], together with at most
    /// [`crate::BUFFERED_ENTRIES_MAX`] others; where that cannot be held, the caller waits until it is durable.
    Buffered,
}

/// How an entry was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    Durable(Receipt),
    Buffered,
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    pub entries: u64,
    /// What was cut off: the rest of a write that was never acknowledged.
    pub truncated_bytes: u64,
    /// The key, if this is the first start.
    pub key_created: Option<CreatedKey>,
}

/// Whether the ledger takes entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerState {
    Open,
    /// Nothing can be stored; see [`AppendError::Failing`].
    Failing {
        cause: Arc<str>,
    },
    Closed,
}

/// What a ledger is opened with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the key that signs checkpoints is kept, if not beside the segments.
    pub key: Option<PathBuf>,
    pub checkpoint_every: Duration,
    /// The room of the first segment. Each next one has twice what the one before came to hold.
    pub segment_bytes_min: u64,
    /// The most room that a segment gets.
    pub segment_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            key: None,
            checkpoint_every: CHECKPOINT_EVERY,
            segment_bytes_min: SEGMENT_BYTES_MIN,
            segment_bytes_max: SEGMENT_BYTES_MAX,
        }
    }
}

/// What the ledger has done since it was opened, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub state: LedgerState,
    pub entries: u64,
    pub batches: u64,
    /// Segments that could not be written any more.
    pub segments_given_up: u64,
    /// Entries that were refused because too many waited.
    pub refused_for_load: u64,
    pub signed: Signed,
}

impl Ledger {
    /// Opens the ledger in `dir`, creating it if need be, after recovering what a crash may have left.
    ///
    /// Blocks for as long as it takes to read the headers of the segments and the whole last one.
    pub fn open(dir: &Path) -> Result<(Ledger, Recovery), LedgerError> {
        Ledger::open_with(dir, &Settings::default())
    }

    pub fn open_with(dir: &Path, settings: &Settings) -> Result<(Ledger, Recovery), LedgerError> {
        let lock = DirLock::take(dir)?;
        Ledger::open_on(&Disk, dir, Some(lock), Bounds::default(), settings)
    }

    pub(crate) fn open_on<D: Files>(
        files: &D,
        dir: &Path,
        lock: Option<DirLock>,
        bounds: Bounds,
        settings: &Settings,
    ) -> Result<(Ledger, Recovery), LedgerError> {
        let sizes = Sizes {
            segment_bytes_min: settings.segment_bytes_min,
            segment_bytes_max: settings.segment_bytes_max.max(settings.segment_bytes_min),
        };
        let queue = Arc::new(Queue::new(bounds));
        let Opened { writer, tree, recovery } = open::open(files, dir, &queue, sizes, settings)?;
        let (counters, progress) = (Arc::clone(&writer.counters), Arc::clone(&tree.progress));
        let (ending, ended) = watch::channel(());

        let inbox = Arc::clone(&writer.inbox);
        let tree_guard = TreeGuard { progress: Arc::clone(&progress), inbox: Arc::clone(&inbox) };
        let tree = thread::Builder::new().name("ledger-tree".to_owned()).spawn(move || {
            let _guard = tree_guard;
            tree.run();
        });
        let tree = tree.map_err(LedgerError::Thread)?;
        let writer_guard = WriterGuard { queue: Arc::clone(&queue) };
        let writes = thread::Builder::new().name("ledger".to_owned()).spawn({
            let inbox = Arc::clone(&inbox);
            move || {
                // Dropped in the reverse order, also in a panic: first the callers are told, then the tree seals what is
                // there, then the directory is free, and then whoever waits for the end may open it.
                let _ending = ending;
                let _lock = lock;
                let _stopped = StopTree { inbox, tree: Some(tree) };
                let _guard = writer_guard;
                writer.run();
            }
        });
        if let Err(error) = writes {
            inbox.stop();
            return Err(LedgerError::Thread(error));
        }
        let (overloaded, refused_for_load) = (AtomicBool::new(false), AtomicU64::new(0));
        let dir = dir.to_owned();
        let shared = Shared { dir, queue, counters, progress, overloaded, refused_for_load, ended };
        Ok((Ledger { shared: Arc::new(shared) }, recovery))
    }

    /// Records an entry. The entry is queued when this returns, and durable when the future resolves to a receipt;
    /// dropping the future takes nothing back.
    pub fn append(&self, entry: &Entry) -> impl Future<Output = Result<Receipt, AppendError>> + Send + use<> {
        let queued = self.put(entry, Want::Durable);
        async move {
            match queued? {
                Some(wait) => wait.await.map(|(index, leaf_hash)| Receipt { index, leaf_hash }),
                // A durable entry is always waited for.
                None => Err(AppendError::Closed),
            }
        }
    }

    /// Records an entry in this way; a durable one as [`Ledger::append`] does.
    pub fn append_as(
        &self,
        entry: &Entry,
        durability: Durability,
    ) -> impl Future<Output = Result<Accepted, AppendError>> + Send + use<> {
        let queued = self.put(
            entry,
            match durability {
                Durability::Durable => Want::Durable,
                Durability::Buffered => Want::Buffered,
            },
        );
        async move {
            match queued? {
                Some(wait) => {
                    wait.await.map(|(index, leaf_hash)| Accepted::Durable(Receipt { index, leaf_hash }))
                }
                None => Ok(Accepted::Buffered),
            }
        }
    }

    /// Records an entry for which nobody waits. It is durable with one of the next batches; if the ledger fails
    /// before that, [`Ledger::state`] tells. Refused earlier than `append`, to leave room for those who wait.
    pub fn append_soon(&self, entry: &Entry) -> Result<(), AppendError> {
        self.put(entry, Want::Soon).map(drop)
    }

    /// Takes no further entries, makes the queued ones durable, signs what is there, and gives the directory free. For
    /// all clones.
    pub async fn close(self) -> Result<(), AppendError> {
        let mode = self.shared.queue.mode();
        self.shared.queue.close();
        let mut ended = self.shared.ended.clone();
        // Nothing is ever sent; the error says that the thread is gone.
        while ended.changed().await.is_ok() {}
        match mode {
            Mode::Failing { cause } | Mode::Lost { cause } => Err(AppendError::Failing { cause }),
            Mode::Open | Mode::Closed => Ok(()),
        }
    }

    pub fn state(&self) -> LedgerState {
        match self.shared.queue.mode() {
            Mode::Open => LedgerState::Open,
            Mode::Failing { cause } | Mode::Lost { cause } => LedgerState::Failing { cause },
            Mode::Closed => LedgerState::Closed,
        }
    }

    /// How many entries are durable.
    pub fn entries(&self) -> u64 {
        self.shared.counters.entries.load(Ordering::Acquire)
    }

    /// How many entries wait for the writer to take them.
    pub fn queued(&self) -> usize {
        self.shared.queue.waiting()
    }

    pub fn health(&self) -> Health {
        let counters = &self.shared.counters;
        Health {
            state: self.state(),
            entries: self.entries(),
            batches: counters.batches.load(Ordering::Relaxed),
            segments_given_up: counters.segments_given_up.load(Ordering::Relaxed),
            refused_for_load: self.shared.refused_for_load.load(Ordering::Relaxed),
            signed: self.shared.progress.signed(),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    fn put(&self, entry: &Entry, want: Want) -> Result<Option<crate::queue::Wait>, AppendError> {
        thread_local! {
            static STORED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        STORED.with_borrow_mut(|stored| {
            stored.clear();
            stored.shrink_to(BATCH_BYTES_KEPT);
            entry.write_to(stored)?;
            let bytes = stored.len();
            let body =
                Body::new(entry.kind(), stored).map_err(|_: FrameError| AppendError::TooLarge { bytes })?;
            // Hashed here and not by the writer, of whose time everybody waits for a part.
            let leaf = leaf_hash(stored);
            let put = self.shared.queue.put(&body, leaf, want);
            self.note_load(matches!(put, Err(AppendError::Overloaded)));
            put
        })
    }

    /// Tells an overload when it begins and when it ends.
    fn note_load(&self, refused: bool) {
        let Shared { overloaded, refused_for_load, queue, .. } = &*self.shared;
        if refused {
            refused_for_load.fetch_add(1, Ordering::Relaxed);
            if !overloaded.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "the ledger refuses entries because they come faster than the disk stores them"
                );
            }
        } else if overloaded.load(Ordering::Relaxed)
            && queue.waiting() <= 1
            && overloaded.swap(false, Ordering::Relaxed)
        {
            tracing::info!("the ledger takes all entries again");
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("dir", &self.dir())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Tells the callers when the writer is gone, however it went.
struct WriterGuard {
    queue: Arc<Queue>,
}

impl Drop for WriterGuard {
    fn drop(&mut self) {
        self.queue.abandon("lost its thread to a panic");
    }
}

/// Ends the tree after the writer, and waits for it.
struct StopTree {
    inbox: Arc<Inbox>,
    tree: Option<thread::JoinHandle<()>>,
}

impl Drop for StopTree {
    fn drop(&mut self) {
        self.inbox.stop();
        if let Some(tree) = self.tree.take() {
            // A panic of the tree was told where it happened.
            let _ended = tree.join();
        }
    }
}

/// Tells when the tree is gone although nobody stopped it.
struct TreeGuard {
    progress: Arc<Progress>,
    inbox: Arc<Inbox>,
}

impl Drop for TreeGuard {
    fn drop(&mut self) {
        if !self.inbox.is_stopped() || thread::panicking() {
            tracing::error!("the ledger's tree lost its thread to a panic, no checkpoint is made any more");
            self.progress.lost();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
