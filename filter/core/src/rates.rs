//! Rate limits: for each limit of a contract and each key that it tells apart, an allowance that refills with time.
//!
//! Callers choose keys, so that there may be any number of them: an allowance that is whole again is forgotten, and beyond
//! a bound new keys of a limit share one. The workers of a proxy tell each other in the background what they let pass
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
    swept_at_us: u64,
    /// How many other workers have told something lately.
    others: u32,
}

#[derive(Debug, Clone, Copy)]
struct Allowance {
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
    /// Takes one request out of the allowance of this key. `Err`: there is none left, and how long until there is; `None`
    /// if never. `shared` is the key of those for which there is no room.
    pub fn take(
        &mut self,
        limit: &RateLimit,
        key: RateKeyHash,
        shared: RateKeyHash,
        now_us: u64,
    ) -> Result<(), Option<u64>> {
        if limit.requests == 0 || limit.per_ms == 0 {
            return Err(None);
        }
        let key = if self.has_room_for(key, now_us) { key } else { shared };
        let capacity = u128::from(limit.burst.max(1)).saturating_mul(ONE);
        // Parts that come back in a microsecond; at least one, so that nothing waits for ever.
        let per_us = u128::from(limit.requests)
            .saturating_mul(ONE)
            .checked_div(u128::from(limit.per_ms).saturating_mul(1000))
            .unwrap_or(0)
            .max(1);
        let fresh =
            Allowance { left: capacity, at_us: now_us, whole_at_us: now_us, taken: 0, others_per_us: 0 };
        let workers = u128::from(self.others).saturating_add(1);
        let allowance = self.allowances.entry(key.0).or_insert(fresh);
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
        taken.map(drop).ok_or(Some(wait_us))
    }

    fn has_room_for(&mut self, key: RateKeyHash, now_us: u64) -> bool {
        if self.allowances.len() < RATE_ALLOWANCES_MAX || self.allowances.contains_key(&key.0) {
            return true;
        }
        // Looking at all of them is for once in a while, or each new key would cost as much as all that are there.
        if now_us.abs_diff(self.swept_at_us) >= RATE_SWEEP_PAUSE_US {
            self.swept_at_us = now_us;
            self.allowances.retain(|_, allowance| allowance.whole_at_us > now_us);
        }
        self.allowances.len() < RATE_ALLOWANCES_MAX
    }
}

#[cfg(test)]
mod tests;
