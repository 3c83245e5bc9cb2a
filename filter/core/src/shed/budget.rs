//! The allowance that retries live on: good first attempts pay in, retries pay out.
//!
//! A failure that goes out unmarked is a licence to try again, and costs as much from an account of its own: callers that
//! do not say which attempt they make are held to the same part.
//! While few requests fail, retries heal them, whoever called before sees none of it, and no allowance is needed. Where
//! many fail, most retries do too, and each service of a chain would multiply those of the one after it.
//! INVARIANT: while more than `FAILED_HEALED` fail, retries let in are at most the deposits of that time and
//! `BUDGET_MAX`; so are licences.

use super::tuning::{BUDGET_DEPOSIT, BUDGET_MAX, FAILED_HEALED, FAILED_PART};

#[derive(Debug)]
pub(super) struct Budget {
    retries: f64,
    licences: f64,
    /// Of the last failure: it got no licence.
    marks: bool,
    /// The part of answers that failed lately.
    failing: f64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { retries: BUDGET_MAX, licences: BUDGET_MAX, marks: false, failing: 0.0 }
    }
}

impl Budget {
    pub(super) fn allows(&self) -> bool {
        self.failing < FAILED_HEALED || self.retries >= 1.0
    }

    /// An answer of the service.
    pub(super) fn answered(&mut self, failed: bool) {
        self.failing += (f64::from(u8::from(failed)) - self.failing) * FAILED_PART;
    }

    pub(super) fn deposit(&mut self) {
        self.retries = (self.retries + BUDGET_DEPOSIT).min(BUDGET_MAX);
        self.licences = (self.licences + BUDGET_DEPOSIT).min(BUDGET_MAX);
    }

    /// In shadow mode a retry goes on that nothing was left for; there is no debt.
    pub(super) fn withdraw(&mut self) {
        if self.failing >= FAILED_HEALED {
            self.retries = (self.retries - 1.0).max(0.0);
        }
    }

    /// A retry was refused before the service worked on it: it cost nothing.
    pub(super) fn give_back(&mut self) {
        if self.failing >= FAILED_HEALED {
            self.retries = (self.retries + 1.0).min(BUDGET_MAX);
        }
    }

    /// The service failed: its reply is a licence to try again, if there is one left.
    pub(super) fn failed(&mut self) {
        let is_healed = self.failing < FAILED_HEALED;
        self.marks = !is_healed && self.licences < 1.0;
        if !is_healed && !self.marks {
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
