//! How long each operation takes when nothing is wrong.
//!
//! Latencies are only ever compared with their own operation's base, so that a change of the mix between quick and slow
//! operations is not read as overload.
//! INVARIANT: the memory is fixed, whatever operations come and go.

use super::OperationKey;
use super::tuning::{BASE_CREEP, BASE_FIRST, BASE_FIRST_STEP, BASE_SETS, BASE_STEP, BASE_WAYS, SLACK_US};

/// How far answers of now may move bases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learning {
    /// As it always is: towards the median, both ways.
    Calm,
    /// Slow, but with little load: slowly.
    Slowly,
    /// What is seen now is no measure of the service.
    Not,
}

#[derive(Debug, Clone, Copy, Default)]
struct Base {
    operation: OperationKey,
    us: f64,
    /// How many answers it was learned from, up to `BASE_FIRST`; zero: the place is free.
    learned: u8,
    used: u32,
}

/// Sets of ways: an operation has its place in one set, where the one that was not used for longest yields.
#[derive(Debug)]
pub(super) struct Bases {
    sets: Box<[[Base; BASE_WAYS]]>,
    uses: u32,
}

impl Default for Bases {
    fn default() -> Bases {
        Bases { sets: vec![[Base::default(); BASE_WAYS]; BASE_SETS].into_boxed_slice(), uses: 0 }
    }
}

impl Bases {
    /// The base of an operation, `None` before its first answer.
    pub(super) fn us(&self, operation: OperationKey) -> Option<f64> {
        let set = self.sets.get(Self::set(operation))?;
        set.iter().find(|base| base.learned > 0 && base.operation == operation).map(|base| base.us)
    }

    /// How many times its operation's base an answer took. An operation that was never seen gets a base with which this
    /// answer is as slow as the others of now are, `stress` times theirs.
    pub(super) fn ratio(&mut self, operation: OperationKey, us: f64, stress: f64, learning: Learning) -> f64 {
        self.uses = self.uses.wrapping_add(1);
        let uses = self.uses;
        let Some(base) = self.place(operation) else { return 1.0 };
        base.used = uses;
        if base.learned == 0 {
            *base = Base { operation, us: (us / stress.max(1.0)).max(1.0), learned: 1, used: uses };
            return stress.max(1.0);
        }
        let ratio = (us + SLACK_US) / (base.us + SLACK_US);
        let step = match learning {
            _ if base.learned < BASE_FIRST => BASE_FIRST_STEP,
            Learning::Calm => BASE_STEP,
            Learning::Slowly => BASE_CREEP,
            Learning::Not => 0.0,
        };
        base.learned = base.learned.saturating_add(1).min(BASE_FIRST);
        // Sound the median out: as many answers pull down as up where half of them are above.
        let towards =
            if us > base.us * stress_of_first(base.learned, stress) { 1.0 + step } else { 1.0 - step };
        base.us = (base.us * towards).max(1.0);
        ratio
    }

    /// How long so many bases are.
    pub(super) fn longer_us(base_us: f64, times: f64) -> f64 {
        (base_us + SLACK_US) * times - SLACK_US
    }

    /// All operations became quicker at once: what held them up when they were learned is gone.
    pub(super) fn scale(&mut self, by: f64) {
        for base in self.sets.iter_mut().flatten() {
            base.us = (base.us * by).max(1.0);
        }
    }

    fn set(operation: OperationKey) -> usize {
        operation.0 as usize % BASE_SETS
    }

    fn place(&mut self, operation: OperationKey) -> Option<&mut Base> {
        let uses = self.uses;
        let set = self.sets.get_mut(Self::set(operation))?;
        let known = set.iter().position(|base| base.learned > 0 && base.operation == operation);
        let at = match known {
            Some(at) => at,
            None => {
                let idle =
                    |base: &Base| if base.learned == 0 { u32::MAX } else { uses.wrapping_sub(base.used) };
                let (at, _) = set.iter().enumerate().max_by_key(|(_, base)| idle(base))?;
                if let Some(base) = set.get_mut(at) {
                    *base = Base::default();
                }
                at
            }
        };
        set.get_mut(at)
    }
}

/// While an operation is new, its base is learned as if there were no stress: what all others suffer is taken away.
fn stress_of_first(learned: u8, stress: f64) -> f64 {
    if learned < BASE_FIRST { stress.max(1.0) } else { 1.0 }
}
