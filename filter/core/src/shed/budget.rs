//! The allowance that retries live on: good first attempts pay in, retries pay out.
//!
//! INVARIANT: over any time, retries let in are at most the deposits of that time and `BUDGET_MAX`.

use super::tuning::{BUDGET_DEPOSIT, BUDGET_MAX};

#[derive(Debug)]
pub(super) struct Budget {
    tokens: f64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { tokens: BUDGET_MAX }
    }
}

impl Budget {
    pub(super) fn allows(&self) -> bool {
        self.tokens >= 1.0
    }

    pub(super) fn deposit(&mut self) {
        self.tokens = (self.tokens + BUDGET_DEPOSIT).min(BUDGET_MAX);
    }

    /// In shadow mode a retry goes on that nothing was left for; there is no debt.
    pub(super) fn withdraw(&mut self) {
        self.tokens = (self.tokens - 1.0).max(0.0);
    }

    pub(super) fn tokens(&self) -> f64 {
        self.tokens
    }
}
