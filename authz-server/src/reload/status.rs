//! What is in force and how the last attempt went, for whoever asks.

use super::report::Attempt;
use std::sync::{Arc, Mutex, PoisonError};

/// Shared by the reloader, who writes it, and the administration port.
#[derive(Debug)]
pub struct Status(Mutex<Told>);

#[derive(Debug, Clone)]
pub struct Told {
    /// Since when the bundle in force is in force.
    pub since_ms: u64,
    pub last: Arc<Attempt>,
}

impl Status {
    pub fn begin(started: Attempt) -> Status {
        Status(Mutex::new(Told { since_ms: started.at_ms, last: Arc::new(started) }))
    }

    pub fn told(&self) -> Told {
        self.lock().clone()
    }

    pub(super) fn tell(&self, attempt: &Arc<Attempt>) {
        let mut told = self.lock();
        if told.last.digest != attempt.digest {
            told.since_ms = attempt.at_ms;
        }
        told.last = attempt.clone();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Told> {
        // What is told is replaced as a whole, so that it is whole after a panic, too.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
