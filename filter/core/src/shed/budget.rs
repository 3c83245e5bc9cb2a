//! The allowance that retries live on: good first attempts pay in, retries pay out.
//!
//! A failure that goes out unmarked is a licence to try again, and costs as much from an account of its own: callers that
//! do not say which attempt they make are held to the same part.
//! INVARIANT: over any time, retries let in are at most the deposits of that time and `BUDGET_MAX`; so are licences.

use super::tuning::{BUDGET_DEPOSIT, BUDGET_MAX};

#[derive(Debug)]
pub(super) struct Budget {
    retries: f64,
    licences: f64,
    /// Of the last failure: it got no licence.
    marks: bool,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { retries: BUDGET_MAX, licences: BUDGET_MAX, marks: false }
    }
}

impl Budget {
    pub(super) fn allows(&self) -> bool {
        self.retries >= 1.0
    }

    pub(super) fn deposit(&mut self) {
        self.retries = (self.retries + BUDGET_DEPOSIT).min(BUDGET_MAX);
        self.licences = (self.licences + BUDGET_DEPOSIT).min(BUDGET_MAX);
    }

    /// In shadow mode a retry goes on that nothing was left for; there is no debt.
    pub(super) fn withdraw(&mut self) {
        self.retries = (self.retries - 1.0).max(0.0);
    }

    /// The service failed: its reply is a licence to try again, if there is one left.
    pub(super) fn failed(&mut self) {
        self.marks = self.licences < 1.0 || !self.allows();
        if !self.marks {
            self.licences -= 1.0;
        }
    }

    pub(super) fn marks(&self) -> bool {
        self.marks
    }

    pub(super) fn tokens(&self) -> f64 {
        self.retries
    }
}
