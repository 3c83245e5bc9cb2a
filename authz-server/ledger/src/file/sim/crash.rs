//! What a crash leaves of the simulated disk.

use std::collections::BTreeSet;

use super::{Inode, SECTOR};

/// What is left after a crash.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crash {
    /// The process is gone; the system stores everything in its own time.
    Killed,
    /// Of what was not synced nothing is left.
    PowerLost,
    /// Of what was not synced, in each file the first so many thousandths are left, and all names.
    PowerLostTorn { kept: usize },
    /// Of what was not synced, each sector and each name is left or not, as a coin with this seed falls.
    PowerLostAnyhow { seed: u64 },
}

/// Decides what of the unsynced is left.
pub(super) struct Coin {
    crash: Crash,
    state: u64,
}

impl Coin {
    pub(super) fn of(crash: Crash) -> Coin {
        let state = if let Crash::PowerLostAnyhow { seed } = crash {
            seed.wrapping_mul(2).wrapping_add(1)
        } else {
            1
        };
        Coin { crash, state }
    }

    pub(super) fn falls(&mut self) -> bool {
        // A small generator is enough to spread over the cases, and repeats for its seed.
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 63 == 1
    }

    /// Whether the unsynced sector that is the `nth` of `count` is left.
    fn keeps(&mut self, nth: usize, count: usize) -> bool {
        match self.crash {
            Crash::Killed => true,
            Crash::PowerLost => false,
            Crash::PowerLostTorn { kept } => nth * 1000 < count * kept,
            Crash::PowerLostAnyhow { .. } => self.falls(),
        }
    }
}

impl Inode {
    pub(super) fn left(&self, coin: &mut Coin) -> Inode {
        let count = self.dirty.len();
        let mut left = self.durable.clone();
        for (nth, sector) in self.dirty.iter().enumerate() {
            if coin.keeps(nth, count) {
                let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.shown.len());
                if range.is_empty() {
                    continue;
                }
                if left.len() < range.end {
                    left.resize(range.end, 0);
                }
                left[range.clone()].copy_from_slice(&self.shown[range]);
            }
        }
        Inode { shown: left.clone(), durable: left, dirty: BTreeSet::new() }
    }
}
