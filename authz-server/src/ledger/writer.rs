//! The way into the ledger: a queue, and one thread that writes what waits in it.
//!
//! The thread takes what is queued, up to a batch, writes it in one piece, syncs once, and only then answers
//! everyone. While it syncs the next batch gathers, so the disk's own pace sets the size of batches and nobody
//! waits for a timer.
//!
//! INVARIANT: a receipt is sent after the sync that covers its entry, and never otherwise.
//! INVARIANT: after a write or a sync has failed nothing is written any more. What the disk holds is then unknown;
//! opening again finds out.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::entry::Entry;
use super::error::{AppendError, FileError, LedgerError};
use super::file::{DirLock, Disk, Files, WriteAt};
use super::frame::{self, LeafHash, Stored};
use super::limits::{
    BATCH_BYTES_FULL, BATCH_ENTRIES_MAX, QUEUE_BYTES_MAX, QUEUE_ENTRIES_MAX, QUEUE_RESERVED_DIVISOR,
};
use super::recovery::{self, Recovered};
use super::segment;

/// A ledger that is open for writing. Clones share it.
#[derive(Clone)]
pub struct Ledger {
    dir: PathBuf,
    queue: mpsc::Sender<Command>,
    /// One permit for each stored byte that may wait, of so many.
    room: Arc<Semaphore>,
    room_bytes: usize,
    status: Arc<Status>,
    ended: watch::Receiver<()>,
}

/// The proof that an entry is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's place in the ledger, counted from 0.
    pub index: u64,
    pub leaf_hash: LeafHash,
}

/// What opening found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    pub entries: u64,
    /// What was cut off: the rest of a write that was never acknowledged.
    pub truncated_bytes: u64,
}

/// Whether the ledger takes entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerState {
    Open,
    /// A restart is needed; see [`AppendError::Poisoned`].
    Poisoned {
        cause: Arc<str>,
    },
    Closed,
}

impl Ledger {
    /// Opens the ledger in `dir`, creating it if need be, after recovering what a crash may have left.
    ///
    /// Blocks for as long as it takes to read the whole ledger.
    pub fn open(dir: &Path) -> Result<(Ledger, Recovery), LedgerError> {
        let lock = DirLock::take(dir)?;
        let bounds = QueueBounds { entries: QUEUE_ENTRIES_MAX, bytes: QUEUE_BYTES_MAX };
        Ledger::open_with(&Disk, dir, Some(lock), bounds)
    }

    fn open_with<F: Files>(
        files: &F,
        dir: &Path,
        lock: Option<DirLock>,
        bounds: QueueBounds,
    ) -> Result<(Ledger, Recovery), LedgerError> {
        let path = segment::path(dir, 0);
        let mut file =
            files.open(&path).map_err(|source| FileError { action: "open", path: path.clone(), source })?;
        let Recovered { entries, end, truncated_bytes } = recovery::recover(&mut file, &path)?;
        files.sync_dir(dir).map_err(|source| FileError {
            action: "sync the directory",
            path: dir.to_owned(),
            source,
        })?;

        let (queue, commands) = mpsc::channel(bounds.entries);
        let (ending, ended) = watch::channel(());
        let status = Arc::new(Status { entries: AtomicU64::new(entries), ..Status::default() });
        let writer = Writer {
            file,
            _lock: lock,
            path,
            commands,
            status: Arc::clone(&status),
            end,
            batch: Vec::new(),
            waiting: Vec::new(),
        };
        thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                // Dropped last, also in a panic: whoever waits for the end may then open the directory.
                let _ending = ending;
                writer.run();
            })
            .map_err(LedgerError::Thread)?;

        let room = Arc::new(Semaphore::new(bounds.bytes));
        let ledger = Ledger { dir: dir.to_owned(), queue, room, room_bytes: bounds.bytes, status, ended };
        Ok((ledger, Recovery { entries, truncated_bytes }))
    }

    /// Records an entry. The entry is queued when this returns, and durable when the future resolves to a receipt;
    /// dropping the future takes nothing back.
    pub fn append(&self, entry: &Entry) -> impl Future<Output = Result<Receipt, AppendError>> + Send + use<> {
        let (reply, receipt) = oneshot::channel();
        let queued = entry.encode().and_then(|stored| self.enqueue(stored, Some(reply)));
        let status = Arc::clone(&self.status);
        async move {
            queued?;
            // Without an answer the thread ended by a panic, and whether the entry was stored is unknown.
            receipt.await.unwrap_or_else(|_| Err(status.refusal()))
        }
    }

    /// Records an entry for which nobody waits. It is durable with one of the next batches; if the ledger fails
    /// before that, [`Ledger::state`] tells. Refused earlier than `append`, to leave room for those who wait.
    pub fn append_soon(&self, entry: &Entry) -> Result<(), AppendError> {
        let stored = entry.encode()?;
        let crowded = self.queue.capacity() < self.queue.max_capacity() / QUEUE_RESERVED_DIVISOR
            || self.room.available_permits() < self.room_bytes / QUEUE_RESERVED_DIVISOR;
        if crowded && !self.queue.is_closed() {
            return Err(AppendError::Overloaded);
        }
        self.enqueue(stored, None)
    }

    /// Takes no further entries, makes the queued ones durable, and gives the directory free. For all clones.
    pub async fn close(self) -> Result<(), AppendError> {
        // A refused send means that the writer has ended or is about to; the wait covers both.
        let _ = self.queue.send(Command::Close).await;
        let mut ended = self.ended;
        // Nothing is ever sent; the error says that the thread is gone.
        while ended.changed().await.is_ok() {}
        match self.status.state(true) {
            LedgerState::Poisoned { cause } => Err(AppendError::Poisoned { cause }),
            LedgerState::Open | LedgerState::Closed => Ok(()),
        }
    }

    pub fn state(&self) -> LedgerState {
        self.status.state(self.ended.has_changed().is_err())
    }

    /// How many entries are durable.
    pub fn entries(&self) -> u64 {
        self.status.entries.load(Ordering::Acquire)
    }

    /// How many entries wait for the writer to take them.
    pub fn queued(&self) -> usize {
        self.queue.max_capacity().saturating_sub(self.queue.capacity())
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn enqueue(&self, stored: Stored, reply: Option<Reply>) -> Result<(), AppendError> {
        let permits = u32::try_from(stored.bytes().len()).map_err(|_| AppendError::Overloaded)?;
        let room =
            Arc::clone(&self.room).try_acquire_many_owned(permits).map_err(|_| AppendError::Overloaded)?;
        // Hashed here and not by the writer, of whose time everybody waits for a part.
        let leaf_hash = frame::leaf_hash(stored.bytes());
        let waiting = Waiting { leaf_hash, reply, _room: room };
        match self.queue.try_send(Command::Append(stored, waiting)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(AppendError::Overloaded),
            Err(TrySendError::Closed(_)) => Err(self.status.refusal()),
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("dir", &self.dir).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// How much may wait for the writer.
#[derive(Clone, Copy, Debug)]
struct QueueBounds {
    entries: usize,
    bytes: usize,
}

type Reply = oneshot::Sender<Result<Receipt, AppendError>>;

enum Command {
    Append(Stored, Waiting),
    Close,
}

/// An entry whose batch is not durable yet.
struct Waiting {
    leaf_hash: LeafHash,
    reply: Option<Reply>,
    /// The entry's bytes count against the queue until they are stored or refused.
    _room: OwnedSemaphorePermit,
}

impl Waiting {
    fn answer(self, answer: Result<Receipt, AppendError>) {
        if let Some(reply) = self.reply {
            // The caller may be gone; the entry stands all the same.
            let _ = reply.send(answer);
        }
    }
}

/// What the thread tells those who hold a [`Ledger`].
#[derive(Debug, Default)]
struct Status {
    entries: AtomicU64,
    poison: OnceLock<Arc<str>>,
    closed: AtomicBool,
}

impl Status {
    fn state(&self, ended: bool) -> LedgerState {
        if let Some(cause) = self.poison.get() {
            LedgerState::Poisoned { cause: Arc::clone(cause) }
        } else if self.closed.load(Ordering::Acquire) {
            LedgerState::Closed
        } else if ended {
            LedgerState::Poisoned { cause: "lost its thread to a panic".into() }
        } else {
            LedgerState::Open
        }
    }

    /// Why the queue takes nothing. Only the thread closes it, so it has ended or is about to.
    fn refusal(&self) -> AppendError {
        match self.state(true) {
            LedgerState::Poisoned { cause } => AppendError::Poisoned { cause },
            LedgerState::Open | LedgerState::Closed => AppendError::Closed,
        }
    }
}

/// The thread's own half.
struct Writer<F> {
    file: F,
    _lock: Option<DirLock>,
    path: PathBuf,
    commands: mpsc::Receiver<Command>,
    status: Arc<Status>,
    /// Where the next batch goes.
    end: u64,
    /// The frames that are not written yet, and who waits for each.
    batch: Vec<u8>,
    waiting: Vec<Waiting>,
}

impl<F: WriteAt> Writer<F> {
    fn run(mut self) {
        while let Some(command) = self.commands.blocking_recv() {
            self.take(command);
            while self.has_room()
                && let Ok(command) = self.commands.try_recv()
            {
                self.take(command);
            }
            if let Err(error) = self.commit() {
                return self.poison(&error);
            }
        }
        self.status.closed.store(true, Ordering::Release);
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Append(stored, waiting) => {
                frame::encode(&stored, &mut self.batch);
                self.waiting.push(waiting);
            }
            Command::Close => {
                // What is queued already still comes out of the queue, and then the loop ends.
                self.status.closed.store(true, Ordering::Release);
                self.commands.close();
            }
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < BATCH_ENTRIES_MAX && self.batch.len() < BATCH_BYTES_FULL
    }

    fn commit(&mut self) -> Result<(), FileError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let fail = |action| {
            let path = self.path.clone();
            move |source| FileError { action, path, source }
        };
        self.file.write_all_at(&self.batch, self.end).map_err(fail("write"))?;
        self.file.sync().map_err(fail("sync"))?;

        self.end = self.end.saturating_add(self.batch.len() as u64);
        self.batch.clear();
        let first = self.status.entries.load(Ordering::Acquire);
        self.status.entries.store(first.saturating_add(self.waiting.len() as u64), Ordering::Release);
        for (index, waiting) in (first..).zip(self.waiting.drain(..)) {
            let leaf_hash = waiting.leaf_hash;
            waiting.answer(Ok(Receipt { index, leaf_hash }));
        }
        Ok(())
    }

    /// Refuses the batch that failed and everything behind it. The file is not touched again.
    fn poison(mut self, error: &FileError) {
        let cause: Arc<str> = error.to_string().into();
        let _ = self.status.poison.set(Arc::clone(&cause));
        self.commands.close();
        for waiting in self.waiting.drain(..) {
            waiting.answer(Err(AppendError::Poisoned { cause: Arc::clone(&cause) }));
        }
        while let Some(command) = self.commands.blocking_recv() {
            match command {
                Command::Append(_, waiting) => {
                    waiting.answer(Err(AppendError::Poisoned { cause: Arc::clone(&cause) }));
                }
                Command::Close => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
