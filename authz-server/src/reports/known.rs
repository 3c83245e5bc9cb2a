//! What is known of each VM that reports: the first number that it has not told us.
//!
//! INVARIANT: bounded. What was forgotten is believed as it comes: nothing is claimed to be lost, and a batch whose
//! acknowledgement was lost before it was forgotten is stored again.

use palisade_core::report::VmId;
use std::collections::HashMap;

/// VMs that are known at once: a thousand proxies of four workers.
pub(super) const VMS_MAX: usize = 4096;

/// A batch of this VM is being stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

#[derive(Debug, Default)]
pub(super) struct Known {
    vms: HashMap<VmId, Vm>,
    /// Counts batches, to know who was silent for longest.
    clock: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Vm {
    next: Option<u64>,
    heard: u64,
    busy: bool,
}

impl Known {
    /// From the ledger: this number of the VM is stored, and so are those before.
    pub(super) fn stored(&mut self, vm: VmId, next: u64) {
        let heard = self.tick();
        self.make_room(vm);
        let known = self.vms.entry(vm).or_default();
        known.heard = heard;
        known.next = known.next.max(Some(next));
    }

    /// The next number of the VM, if it is known; until `end` nobody else begins with it.
    pub(super) fn begin(&mut self, vm: VmId) -> Result<Option<u64>, Busy> {
        let heard = self.tick();
        self.make_room(vm);
        let known = self.vms.entry(vm).or_default();
        if known.busy {
            return Err(Busy);
        }
        known.busy = true;
        known.heard = heard;
        Ok(known.next)
    }

    pub(super) fn end(&mut self, vm: VmId, next: Option<u64>) {
        if let Some(known) = self.vms.get_mut(&vm) {
            known.busy = false;
            known.next = known.next.max(next);
        }
    }

    fn tick(&mut self) -> u64 {
        self.clock = self.clock.saturating_add(1);
        self.clock
    }

    fn make_room(&mut self, vm: VmId) {
        if self.vms.len() < VMS_MAX || self.vms.contains_key(&vm) {
            return;
        }
        let idle = self.vms.iter().filter(|(_, known)| !known.busy);
        let silent = idle.min_by_key(|(_, known)| known.heard).map(|(vm, _)| *vm);
        if let Some(silent) = silent {
            self.vms.remove(&silent);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.vms.len()
    }
}
