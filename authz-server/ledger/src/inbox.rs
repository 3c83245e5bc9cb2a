//! What the writer tells the tree: which entries became durable, and where a segment was sealed.
//!
//! INVARIANT: the writer never waits for the tree. What the tree is too slow for is dropped here, and read from the
//! segments instead.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits::{LEAVES_WAITING_MAX, LEAVES_WAKE};
use crate::merkle::LeafHash;

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<Work>,
    wake: Condvar,
}

/// What there is to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    /// The index of the first of `leaves`.
    pub(crate) first: u64,
    pub(crate) leaves: Vec<LeafHash>,
    /// The sizes at which a segment was sealed.
    pub(crate) sealed: Vec<u64>,
    /// Something cannot wait for the next checkpoint.
    urgent: bool,
    pub(crate) stop: bool,
}

impl Inbox {
    /// These entries became durable; `sealed` if a segment ended before the first of them.
    pub(crate) fn add(&self, first: u64, leaves: &[LeafHash], sealed: bool) {
        let mut work = self.lock();
        if sealed {
            work.sealed.push(first);
        }
        if work.leaves.len().saturating_add(leaves.len()) > LEAVES_WAITING_MAX {
            work.leaves.clear();
        }
        if work.leaves.is_empty() {
            work.first = first;
        }
        work.leaves.extend_from_slice(leaves);
        if !work.urgent && (sealed || work.leaves.len() >= LEAVES_WAKE) {
            work.urgent = true;
            drop(work);
            self.wake.notify_one();
        }
    }

    /// There is something to prepare.
    pub(crate) fn nudge(&self) {
        self.lock().urgent = true;
        self.wake.notify_one();
    }

    pub(crate) fn stop(&self) {
        let mut work = self.lock();
        (work.stop, work.urgent) = (true, true);
        drop(work);
        self.wake.notify_one();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().stop
    }

    /// Waits until something is urgent, or until then. The memory comes back for the next time.
    pub(crate) fn take(&self, until: Instant, mut memory: Vec<LeafHash>) -> Work {
        memory.clear();
        let wait = until.saturating_duration_since(Instant::now());
        let waited = self.wake.wait_timeout_while(self.lock(), wait, |work| !work.urgent);
        let mut work = waited.unwrap_or_else(PoisonError::into_inner).0;
        let stop = work.stop;
        std::mem::replace(&mut *work, Work { leaves: memory, stop, urgent: stop, ..Work::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
