//! How many bytes of bodies this VM holds, for all streams together.
//!
//! INVARIANT: what a stream holds is given back when it lets go of it, and at the latest when it is gone.

use palisade_core::limits::VM_HELD_BYTES_MAX;
use std::cell::Cell;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// What one direction of a stream holds.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    bytes: usize,
}

impl Lease {
    /// How much it may hold, given what all others do.
    pub(crate) fn room(&self) -> usize {
        let all = HELD.try_with(Cell::get).unwrap_or(usize::MAX);
        VM_HELD_BYTES_MAX.saturating_sub(all.saturating_sub(self.bytes))
    }

    pub(crate) fn set(&mut self, bytes: usize) {
        let _gone_with_the_vm = HELD.try_with(|held| {
            held.set(held.get().saturating_sub(self.bytes).saturating_add(bytes));
        });
        self.bytes = bytes;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.set(0);
    }
}
