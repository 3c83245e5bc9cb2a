//! The index beside a running server: a thread that takes in what is durable, while the server has little else to do.
//!
//! To take an entry in costs about a tenth of what it cost to decide, and nobody needs it before a question is asked; who
//! asks takes in what is missing by themselves. So the thread stays away from a server that is busy, for as long as a
//! question can still make up for it without a person noticing.
//!
//! INVARIANT: nothing waits for this thread, and nothing that happens to it changes a decision or an answer: where the
//! index is behind, for whatever reason, the next command brings it up to date. It begins to work when it is behind by
//! [`BEHIND_ENTRIES_MAX`] or for [`BEHIND_MAX`], however busy the server is, and then goes on to the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::INDEX_DIRECTORY;
use super::index::{Index, IndexError};
use super::source::LOOK_EVERY;
use crate::build::INDEX_BEHIND_ENTRIES_MAX;
use crate::ledger::Ledger;
use crate::state::LEDGER_DIRECTORY;

/// Entries of one batch. It bounds how long a command waits for the lock.
const BATCH: usize = 2048;

/// How far the index may be behind a busy server. Commands take in so many entries in less time than it takes to wonder.
const BEHIND_ENTRIES_MAX: u64 = 100_000;

/// How long entries of a busy server may wait. Missing outcomes are looked for among what is in the index.
const BEHIND_MAX: Duration = Duration::from_secs(60);

/// A server is quiet that has recorded no more than this since the last look: to take so few in at once costs it nothing
/// that anybody could measure.
const QUIET_ENTRIES: u64 = 50;

const _: () =
    assert!(BEHIND_ENTRIES_MAX < INDEX_BEHIND_ENTRIES_MAX as u64, "being behind on purpose alarms nobody");
const _: () =
    assert!(BEHIND_MAX.as_secs() < super::OUTCOME_GRACE.as_secs(), "the grace is waited for anyway");

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
        let mut pace = Pace::default();
        while matches!(self.stopped.recv_timeout(wait), Err(RecvTimeoutError::Timeout)) {
            if !pace.is_due(Instant::now(), self.ledger.entries()) {
                wait = LOOK_EVERY;
                continue;
            }
            wait = match self.work(&mut index) {
                Ok(true) => {
                    pace.took_all_in(self.done.load(Ordering::Acquire));
                    LOOK_EVERY
                }
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

/// When to work. Pure.
#[derive(Debug, Default)]
struct Pace {
    /// How many entries there were when the index was up to date last; `None` until it is.
    done: Option<u64>,
    /// How many there were at the last look.
    seen: u64,
    /// Since when something waits.
    behind_since: Option<Instant>,
}

impl Pace {
    /// Whether to work now, where the ledger has so many entries. Who began goes on until all of them are in.
    fn is_due(&mut self, now: Instant, entries: u64) -> bool {
        let Some(done) = self.done else { return true };
        let news = entries.saturating_sub(std::mem::replace(&mut self.seen, entries));
        let behind = entries.saturating_sub(done);
        if behind == 0 {
            return false;
        }
        let since = *self.behind_since.get_or_insert(now);
        let is_due = news <= QUIET_ENTRIES
            || behind >= BEHIND_ENTRIES_MAX
            || now.saturating_duration_since(since) >= BEHIND_MAX;
        if is_due {
            self.done = None;
        }
        is_due
    }

    /// The index has so many entries, and there were no more.
    fn took_all_in(&mut self, done: u64) {
        *self = Pace { done: Some(done), seen: done, behind_since: None };
    }
}

fn rebuild(index: &mut Index, why: &str) -> Result<(), IndexError> {
    tracing::warn!(why, "the index is built anew");
    index.rebuild()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a busy server records between two looks.
    const BUSY: u64 = 2_500;

    /// Looks four times a second, and takes everything in when it is due; how far it was behind then, and for how long.
    fn looks(news: impl Iterator<Item = u64>) -> Vec<(u64, Duration)> {
        let (mut pace, mut now, mut entries, mut done) = (Pace::default(), Instant::now(), 0, 0);
        assert!(pace.is_due(now, entries), "what was there before the server is taken in at once");
        pace.took_all_in(entries);
        let (mut taken, mut since) = (Vec::new(), now);
        for news in news {
            if entries == done {
                since = now;
            }
            (now, entries) = (now + LOOK_EVERY, entries + news);
            if pace.is_due(now, entries) {
                assert!(pace.is_due(now, entries + BUSY), "who began goes on");
                taken.push((entries - done, now - since));
                done = entries;
                pace.took_all_in(entries);
            }
        }
        taken
    }

    #[test]
    fn a_quiet_server_is_followed_and_a_silent_one_is_left_alone() {
        let once = LOOK_EVERY;
        assert_eq!(looks([1, 0, 50, 0, 0, 7].into_iter()), [(1, once), (50, once), (7, once)]);
    }

    #[test]
    fn a_burst_is_taken_in_when_it_is_over() {
        let burst = [BUSY; 20].into_iter().chain([3]).chain([0; 5]);
        let [(behind, _)] = looks(burst).try_into().unwrap();
        assert_eq!(behind, 20 * BUSY + 3);
    }

    #[test]
    fn a_server_that_is_always_busy_is_never_far_ahead() {
        for news in [QUIET_ENTRIES + 1, 300, 1_000, BUSY, 30_000] {
            // Half an hour.
            let taken = looks(std::iter::repeat_n(news, 4 * 1_800));
            assert!(taken.len() > 10, "{news}");
            for (behind, waited) in taken {
                assert!(behind < BEHIND_ENTRIES_MAX + news, "{news}: {behind}");
                assert!(waited <= BEHIND_MAX + 2 * LOOK_EVERY, "{news}: {waited:?}");
            }
        }
    }
}
