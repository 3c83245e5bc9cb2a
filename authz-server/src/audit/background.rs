//! The index beside a running server: a thread that takes in what is durable, a little at a time.
//!
//! INVARIANT: nothing waits for this thread, and nothing that happens to it changes a decision: where the index cannot
//! be written it is behind, and the next command brings it up to date.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::INDEX_DIRECTORY;
use super::index::{Index, IndexError};
use super::source::LOOK_EVERY;
use crate::ledger::Ledger;
use crate::state::LEDGER_DIRECTORY;

/// Entries of one batch. It bounds how long a command waits for the lock.
const BATCH: usize = 2048;

/// How long an index that failed is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// How much the scheduler prefers everything else.
const NICENESS: i32 = 10;

/// The thread, until this is dropped.
#[derive(Debug)]
pub struct Indexer {
    stop: Option<mpsc::Sender<()>>,
    done: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Indexer {
    /// Starts it for the ledger of a state directory; `tell` is told how far it is. A machine that gives no thread has no index until a command
    /// makes one.
    pub fn start(state: &Path, ledger: &Ledger, tell: impl Fn(u64) + Send + 'static) -> Indexer {
        let (stop, stopped) = mpsc::channel();
        let done = Arc::new(AtomicU64::new(0));
        let work = Work {
            directory: state.join(INDEX_DIRECTORY),
            ledger_directory: state.join(LEDGER_DIRECTORY),
            ledger: ledger.clone(),
            stopped,
            done: Arc::clone(&done),
            tell: Box::new(tell),
        };
        let thread = thread::Builder::new().name("index".to_owned()).spawn(move || work.run());
        if let Err(error) = &thread {
            tracing::warn!(%error, "the index has no thread");
        }
        Indexer { stop: Some(stop), done, thread: thread.ok() }
    }

    /// How many entries of the ledger are in the index, as far as this thread has seen.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by then, and is no reason for another one.
            let _ended = thread.join();
        }
    }
}

struct Work {
    directory: PathBuf,
    ledger_directory: PathBuf,
    ledger: Ledger,
    stopped: mpsc::Receiver<()>,
    done: Arc<AtomicU64>,
    tell: Box<dyn Fn(u64) + Send>,
}

impl Work {
    fn run(self) {
        // On Linux this is about the thread that asks. It may be refused, and then the index is merely less polite.
        let _polite = rustix::process::nice(NICENESS);
        let mut index = None;
        let mut wait = Duration::ZERO;
        while matches!(self.stopped.recv_timeout(wait), Err(RecvTimeoutError::Timeout)) {
            wait = match self.work(&mut index) {
                Ok(true) => LOOK_EVERY,
                Ok(false) => Duration::ZERO,
                Err(error) => {
                    tracing::warn!(%error, "the index is not kept up to date");
                    index = None;
                    RETRY_AFTER
                }
            };
        }
        if let Some(index) = index {
            index.close();
        }
    }

    /// Takes in a batch; whether the index is up to date.
    fn work(&self, index: &mut Option<Index>) -> Result<bool, IndexError> {
        let opened = match index {
            Some(index) => index,
            None => {
                let opened = index.insert(Index::open(&self.directory, &self.ledger_directory)?);
                match opened.check() {
                    Err(IndexError::Damaged(why)) => rebuild(opened, &why)?,
                    checked => checked?,
                }
                opened
            }
        };
        match opened.advance(Some(self.ledger.entries()), BATCH) {
            Ok(progress) => {
                self.done.store(progress.done, Ordering::Release);
                (self.tell)(progress.done);
                progress.stopped.map_or(Ok(progress.at_end), |error| Err(error.into()))
            }
            Err(IndexError::Damaged(why)) => rebuild(opened, &why).map(|()| false),
            Err(error) => Err(error),
        }
    }
}

fn rebuild(index: &mut Index, why: &str) -> Result<(), IndexError> {
    tracing::warn!(why, "the index is built anew");
    index.rebuild()
}
