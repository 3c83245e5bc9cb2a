//! Rate limits: for each limit of a contract and each key that it tells apart, an allowance that refills with time.
//!
//! Callers choose keys, so that there may be any number of them: an allowance that is whole again is forgotten, and beyond
//! a bound new keys of a limit share one. Half of the room is anybody's, the other half is divided among the limits, so
//! that the keys of one limit cannot crowd out those of another. The workers of a proxy tell each other in the background what they let pass
//! (`shares`), so that a limit holds for all of them together within a second or two.
//! INVARIANT: a limit of zero lets nothing pass, and a clock that jumps gives at most one burst.

mod shares;

use crate::contract::RateLimit;
use crate::limits::{RATE_ALLOWANCES_MAX, RATE_SWEEP_PAUSE_US};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub use shares::Told;

/// One request's worth of an allowance, so that slow limits refill in whole numbers.
const ONE: u128 = 1_000_000_000_000_000;

/// What an allowance belongs to: a keyed hash over limit and key, so that nobody can choose two that collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateKeyHash(pub u64);

/// The allowances of one VM.
#[derive(Debug, Default)]
pub struct Rates {
    allowances: HashMap<u64, Allowance, BuildHasherDefault<Hashed>>,
    /// How many of them each limit has.
    held: Held,
    swept_at_us: u64,
    /// How many other workers have told something lately.
    others: u32,
}

type Held = HashMap<u64, usize, BuildHasherDefault<Hashed>>;

#[derive(Debug, Clone, Copy)]
struct Allowance {
    /// The limit, by the key of those that share.
    of: RateKeyHash,
    /// In parts of `ONE`.
    left: u128,
    at_us: u64,
    /// When it is whole again if nobody asks.
    whole_at_us: u64,
    /// Requests since the others were told.
    taken: u32,
    /// What the other workers let pass in a microsecond, lately.
    others_per_us: u128,
}

/// For keys that are keyed hashes already.
#[derive(Debug, Default)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Rates {
    /// Takes one request out of the allowance of this key, or of the one that all share for which there is no room, and
    /// says of which. `Err`: there is none left, and how long until there is; `None` if never. `of` is the limit's, and
    /// the key of those that share; only asked for where a key is new.
    pub fn take(
        &mut self,
        limit: &RateLimit,
        of: impl FnOnce() -> RateKeyHash,
        key: RateKeyHash,
        now_us: u64,
    ) -> Result<RateKeyHash, Option<u64>> {
        if limit.requests == 0 || limit.per_ms == 0 {
            return Err(None);
        }
        let (of, key) = match self.allowances.get(&key.0) {
            Some(known) => (known.of, key),
            None => {
                let of = of();
                (of, if self.makes_room_for(of, now_us) { key } else { of })
            }
        };
        let capacity = u128::from(limit.burst.max(1)).saturating_mul(ONE);
        // Parts that come back in a microsecond; at least one, so that nothing waits for ever.
        let per_us = u128::from(limit.requests)
            .saturating_mul(ONE)
            .checked_div(u128::from(limit.per_ms).saturating_mul(1000))
            .unwrap_or(0)
            .max(1);
        let workers = u128::from(self.others).saturating_add(1);
        let held = &mut self.held;
        let allowance = self.allowances.entry(key.0).or_insert_with(|| {
            count(held, of);
            Allowance { of, left: capacity, at_us: now_us, whole_at_us: now_us, taken: 0, others_per_us: 0 }
        });
        // An even share is left to each worker, whatever the others take.
        let even = per_us.checked_div(workers).unwrap_or(0).max(1);
        let per_us = per_us.saturating_sub(allowance.others_per_us).max(even);
        let passed_us = u128::from(now_us.saturating_sub(allowance.at_us));
        allowance.left = allowance.left.saturating_add(passed_us.saturating_mul(per_us)).min(capacity);
        // Also when it was set back: time counts from what the clock says now.
        allowance.at_us = now_us;
        let taken = allowance.left.checked_sub(ONE);
        let missing_us = |parts: u128| {
            u64::try_from(parts.checked_div(per_us).unwrap_or(0).saturating_add(1)).unwrap_or(u64::MAX)
        };
        let wait_us = missing_us(ONE.saturating_sub(allowance.left));
        allowance.left = taken.unwrap_or(allowance.left);
        allowance.taken = allowance.taken.saturating_add(u32::from(taken.is_some()));
        allowance.whole_at_us = now_us.saturating_add(missing_us(capacity.saturating_sub(allowance.left)));
        taken.map(|_left| key).ok_or(Some(wait_us))
    }

    /// Gives back what was just taken: the request goes no further.
    pub fn give_back(&mut self, limit: &RateLimit, key: RateKeyHash) {
        let Some(allowance) = self.allowances.get_mut(&key.0) else { return };
        let capacity = u128::from(limit.burst.max(1)).saturating_mul(ONE);
        allowance.left = allowance.left.saturating_add(ONE).min(capacity);
        allowance.taken = allowance.taken.saturating_sub(1);
        if allowance.left == capacity && allowance.taken == 0 {
            // Whole again, it need not be remembered.
            let of = allowance.of;
            self.allowances.remove(&key.0);
            self.held.entry(of.0).and_modify(|held| *held = held.saturating_sub(1));
        }
    }

    /// For one more of this limit.
    fn makes_room_for(&mut self, of: RateKeyHash, now_us: u64) -> bool {
        if self.has_room(of) {
            return true;
        }
        // Looking at all of them is for once in a while, or each new key would cost as much as all that are there.
        if now_us.abs_diff(self.swept_at_us) >= RATE_SWEEP_PAUSE_US {
            self.swept_at_us = now_us;
            self.allowances.retain(|_, allowance| allowance.whole_at_us > now_us);
            self.held.clear();
            for allowance in self.allowances.values() {
                count(&mut self.held, allowance.of);
            }
        }
        self.has_room(of)
    }

    fn has_room(&self, of: RateKeyHash) -> bool {
        const ANYBODYS: usize = RATE_ALLOWANCES_MAX / 2;
        let held = self.held.get(&of.0).copied().unwrap_or(0);
        let limits = self.held.len().max(1);
        self.allowances.len() < ANYBODYS
            || (self.allowances.len() < RATE_ALLOWANCES_MAX
                && held < (RATE_ALLOWANCES_MAX - ANYBODYS).checked_div(limits).unwrap_or(0).max(1))
    }
}

/// One allowance more of this limit.
fn count(held: &mut Held, of: RateKeyHash) {
    let count = held.entry(of.0).or_default();
    *count = count.saturating_add(1);
}

#[cfg(test)]
mod tests;
