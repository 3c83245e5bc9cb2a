//! How many calls one thread has under way, and the bound from which on it refuses.
//!
//! INVARIANT: a call that is refused here costs neither a decision nor a place in the ledger's queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls that one thread has under way. Deciding takes no place: it is done at once, and what waits waits for the disk.
/// A bare server of the same libraries answered 67,000 calls a second and the outliers of a sound disk were 4 ms, so that
/// fewer than 300 wait at the worst; seven times that is a disk that stands still, and each further call would wait in vain.
pub(super) const CALLS_MAX: usize = 2048;

/// The calls of one thread.
#[derive(Debug)]
pub struct Load {
    under_way: AtomicUsize,
    calls_max: usize,
}

impl Default for Load {
    fn default() -> Load {
        Load::bounded(CALLS_MAX)
    }
}

impl Load {
    pub(crate) fn bounded(calls_max: usize) -> Load {
        Load { under_way: AtomicUsize::new(0), calls_max }
    }

    /// Takes a place, if there is one.
    pub(super) fn enter(self: &Arc<Load>) -> Option<UnderWay> {
        // Given back by dropping it where it was one too many.
        let place = UnderWay(Arc::clone(self));
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        (before < self.calls_max).then_some(place)
    }
}

/// One call's place.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Load>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Load;
    use std::sync::Arc;

    #[test]
    fn what_is_one_too_many_is_refused_and_takes_no_place() {
        let load = Arc::new(Load::bounded(2));
        let (first, second) = (load.enter(), load.enter());
        assert!(first.is_some() && second.is_some());
        assert!(load.enter().is_none() && load.enter().is_none());
        drop(first);
        assert!(load.enter().is_some());
    }
}
