//! What waits to be written: one open batch that everybody adds to, and those who wait for it.
//!
//! An entry is framed by its own caller, straight into the batch. The writer takes the batch whole, so that neither an
//! entry nor its waiting costs an allocation, and a wake-up is only paid where the writer really sleeps.
//!
//! INVARIANT: whoever waits for a batch is answered once: after its sync, with the failure, or when the writer is gone.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::error::AppendError;
use crate::frame::Body;
use crate::limits::{
    BATCH_BYTES_KEPT, BUFFERED_ENTRIES_MAX, BUFFERED_GATHER, BUFFERED_LOSS_MAX, QUEUE_BYTES_MAX,
    QUEUE_ENTRIES_MAX, QUEUE_RESERVED_DIVISOR, SOON_GATHER,
};
use crate::merkle::LeafHash;

/// What the caller of an append wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Durable,
    Buffered,
    /// Nobody waits, and the entry yields to those for whom somebody does.
    Soon,
}

/// How much may wait for the writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) buffered_entries: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        let buffered_entries = BUFFERED_ENTRIES_MAX;
        Bounds { entries: QUEUE_ENTRIES_MAX, bytes: QUEUE_BYTES_MAX, buffered_entries }
    }
}

/// Whether the queue takes entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Open,
    Failing {
        cause: Arc<str>,
    },
    Closed,
    /// The writer ended without being asked to.
    Lost {
        cause: Arc<str>,
    },
}

impl Mode {
    fn refusal(&self) -> Option<AppendError> {
        match self {
            Mode::Open => None,
            Mode::Failing { cause } | Mode::Lost { cause } => {
                Some(AppendError::Failing { cause: Arc::clone(cause) })
            }
            Mode::Closed => Some(AppendError::Closed),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Queue {
    bounds: Bounds,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    open: Open,
    /// What the writer has taken and not yet made durable.
    in_flight: Option<InFlight>,
    sleep: Sleep,
}

/// The frames of a batch, and the hash of each entry.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) bytes: Vec<u8>,
    pub(crate) leaves: Vec<LeafHash>,
}

impl Contents {
    /// The same memory, for another batch.
    pub(crate) fn recycled(mut self) -> Contents {
        self.bytes.clear();
        self.bytes.shrink_to(BATCH_BYTES_KEPT);
        self.leaves.clear();
        self
    }
}

#[derive(Debug, Default)]
struct Open {
    contents: Contents,
    batch: Arc<Batch>,
    /// Somebody waits for the batch.
    urgent: bool,
    /// When the batch is written although nobody waits for it.
    due: Option<Instant>,
    buffered: Buffered,
}

#[derive(Debug)]
struct InFlight {
    batch: Arc<Batch>,
    buffered: Buffered,
}

/// The entries of a batch that were acknowledged before they were durable.
#[derive(Clone, Copy, Debug, Default)]
struct Buffered {
    entries: usize,
    oldest: Option<Instant>,
}

/// What the writer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleep {
    Awake,
    UntilDue,
    UntilThereIsSomething,
}

/// A batch that the writer has to store, or to refuse.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) contents: Contents,
    pub(crate) batch: Arc<Batch>,
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Queue {
        let state = State { mode: Mode::Open, open: Open::default(), in_flight: None, sleep: Sleep::Awake };
        Queue { bounds, state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Adds an entry. What is given back resolves when the entry is durable, or could not be made so; nothing is where
    /// the entry is accepted already.
    pub(crate) fn put(
        &self,
        body: &Body<'_>,
        leaf: LeafHash,
        want: Want,
    ) -> Result<Option<Wait>, AppendError> {
        let mut state = self.state();
        if let Some(refusal) = state.mode.refusal() {
            return Err(refusal);
        }
        let divisor = if want == Want::Soon { QUEUE_RESERVED_DIVISOR } else { 1 };
        let contents = &state.open.contents;
        if contents.leaves.len() >= self.bounds.entries / divisor
            || contents.bytes.len() >= self.bounds.bytes / divisor
        {
            return Err(AppendError::Overloaded);
        }
        let waits = match want {
            Want::Durable => true,
            Want::Buffered => !state.buffer(Instant::now(), self.bounds.buffered_entries),
            Want::Soon => {
                state.open.due.get_or_insert_with(|| Instant::now() + SOON_GATHER);
                false
            }
        };
        state.open.urgent |= waits;
        let position = state.open.contents.leaves.len() as u64;
        body.put(&mut state.open.contents.bytes);
        state.open.contents.leaves.push(leaf);
        let batch = waits.then(|| Arc::clone(&state.open.batch));

        let wakes = match state.sleep {
            Sleep::Awake => false,
            Sleep::UntilDue => state.open.urgent,
            Sleep::UntilThereIsSomething => true,
        };
        if wakes {
            state.sleep = Sleep::Awake;
            drop(state);
            self.wake.notify_one();
        }
        Ok(batch.map(|batch| Wait { batch, position, leaf, slot: None }))
    }

    /// Waits for the next batch. `None` when nothing is left and nothing will come.
    pub(crate) fn take(&self, memory: Contents) -> Option<Taken> {
        let mut state = self.state();
        loop {
            let (closing, open) = (state.mode != Mode::Open, &state.open);
            if !open.contents.leaves.is_empty() {
                let wait =
                    open.due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now()));
                if open.urgent || closing || wait.is_zero() {
                    return Some(state.take(memory));
                }
                state.sleep = Sleep::UntilDue;
                let waited = self.wake.wait_timeout(state, wait);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else if closing {
                return None;
            } else {
                state.sleep = Sleep::UntilThereIsSomething;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.sleep = Sleep::Awake;
        }
    }

    /// The batch that was taken is durable, or given up.
    pub(crate) fn settled(&self) {
        self.state().in_flight = None;
    }

    /// From now on everything is refused. What waits is refused too, and given to be stored if that becomes possible:
    /// some of it may have been acknowledged as buffered.
    pub(crate) fn fail(&self, cause: &Arc<str>) -> Option<Taken> {
        let mut state = self.state();
        if state.mode == Mode::Open {
            state.mode = Mode::Failing { cause: Arc::clone(cause) };
        }
        let waiting = !state.open.contents.leaves.is_empty();
        let taken = waiting.then(|| state.take(Contents::default()));
        drop(state);
        if let Some(taken) = &taken {
            taken.batch.answer(Err(AppendError::Failing { cause: Arc::clone(cause) }));
        }
        taken
    }

    /// What could not be stored is stored, and more is taken.
    pub(crate) fn resume(&self) {
        let mut state = self.state();
        state.in_flight = None;
        if matches!(state.mode, Mode::Failing { .. }) {
            state.mode = Mode::Open;
        }
    }

    /// Waits this long, or until the queue is closed. Says whether it is.
    pub(crate) fn wait_for_close(&self, wait: Duration) -> bool {
        let state = self.state();
        let waited = self.wake.wait_timeout_while(state, wait, |state| state.mode != Mode::Closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.mode == Mode::Closed
    }

    /// Takes no further entries.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        if matches!(state.mode, Mode::Open | Mode::Failing { .. }) {
            state.mode = Mode::Closed;
        }
        drop(state);
        self.wake.notify_all();
    }

    /// The writer is gone. Everybody who still waits is told, and everybody who comes.
    pub(crate) fn abandon(&self, cause: &str) {
        let mut state = self.state();
        if state.mode != Mode::Closed {
            state.mode = Mode::Lost { cause: cause.into() };
        }
        let in_flight = state.in_flight.take().map(|in_flight| in_flight.batch);
        let open = Arc::clone(&state.open.batch);
        drop(state);
        for batch in in_flight.into_iter().chain([open]) {
            batch.answer(Err(AppendError::Failing { cause: cause.into() }));
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.state().mode.clone()
    }

    /// How many entries wait for the writer to take them.
    pub(crate) fn waiting(&self) -> usize {
        self.state().open.contents.leaves.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way; if it did, each field is still what it says.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts an entry as buffered, unless that could lose more than is promised.
    fn buffer(&mut self, now: Instant, entries_max: usize) -> bool {
        let in_flight = self.in_flight.as_ref().map(|in_flight| in_flight.buffered).unwrap_or_default();
        let oldest = in_flight.oldest.or(self.open.buffered.oldest);
        let is_late = oldest.is_some_and(|oldest| now.saturating_duration_since(oldest) >= BUFFERED_LOSS_MAX);
        let entries = in_flight.entries.saturating_add(self.open.buffered.entries).saturating_add(1);
        if is_late || entries > entries_max {
            return false;
        }
        self.open.buffered.entries = self.open.buffered.entries.saturating_add(1);
        self.open.buffered.oldest.get_or_insert(now);
        self.open.due.get_or_insert(now + BUFFERED_GATHER);
        // Written early enough that a steady flow never comes to the bound.
        self.open.urgent |= entries >= entries_max / 2;
        true
    }

    fn take(&mut self, memory: Contents) -> Taken {
        let fresh = Open { contents: memory, ..Open::default() };
        let Open { contents, batch, buffered, .. } = std::mem::replace(&mut self.open, fresh);
        self.in_flight = Some(InFlight { batch: Arc::clone(&batch), buffered });
        Taken { contents, batch }
    }
}

/// Those who wait for one batch.
#[derive(Debug)]
pub(crate) struct Batch(Mutex<Answer>);

#[derive(Debug)]
enum Answer {
    Pending(Vec<Waker>),
    /// The index of the batch's first entry.
    Given(Result<u64, AppendError>),
}

impl Default for Batch {
    fn default() -> Batch {
        Batch(Mutex::new(Answer::Pending(Vec::new())))
    }
}

impl Batch {
    /// Answers everybody who waits or will ask. Only the first answer counts.
    pub(crate) fn answer(&self, given: Result<u64, AppendError>) {
        let mut answer = self.lock();
        if matches!(*answer, Answer::Given(_)) {
            return;
        }
        let before = std::mem::replace(&mut *answer, Answer::Given(given));
        drop(answer);
        if let Answer::Pending(wakers) = before {
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One entry's wait for its batch: its index once it is durable.
#[derive(Debug)]
pub(crate) struct Wait {
    batch: Arc<Batch>,
    position: u64,
    leaf: LeafHash,
    /// Where this one's waker stands among those of the batch.
    slot: Option<usize>,
}

impl Future for Wait {
    type Output = Result<(u64, LeafHash), AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let batch = Arc::clone(&self.batch);
        let mut answer = batch.lock();
        match &mut *answer {
            Answer::Given(given) => {
                let (position, leaf) = (self.position, self.leaf);
                Poll::Ready(given.clone().map(|first| (first.saturating_add(position), leaf)))
            }
            Answer::Pending(wakers) => {
                match self.slot.and_then(|slot| wakers.get_mut(slot)) {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => {
                        self.slot = Some(wakers.len());
                        wakers.push(context.waker().clone());
                    }
                }
                Poll::Pending
            }
        }
    }
}
