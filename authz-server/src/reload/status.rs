//! What is in force and how the last attempt went, for whoever asks or waits.

use super::report::Attempt;
use std::sync::Arc;
use tokio::sync::watch;

/// Written by the reloader; read and waited for by the administration port.
#[derive(Debug)]
pub struct Status(watch::Sender<Told>);

#[derive(Debug, Clone)]
pub struct Told {
    /// Attempts that were told of, the start among them. Whoever waits for news names the count that it knows.
    pub attempts: u64,
    /// Since when the bundle in force is in force.
    pub since_ms: u64,
    pub last: Arc<Attempt>,
}

impl Status {
    pub fn begin(started: Attempt) -> Status {
        let told = Told { attempts: 1, since_ms: started.at_ms, last: Arc::new(started) };
        Status(watch::Sender::new(told))
    }

    pub fn told(&self) -> Told {
        self.0.borrow().clone()
    }

    /// Waits until there were more attempts than that.
    pub async fn told_after(&self, attempts: u64) -> Told {
        let mut told = self.0.subscribe();
        // It fails only without a sender, and that is us.
        let _news = told.wait_for(|told| told.attempts > attempts).await;
        self.told()
    }

    pub(super) fn tell(&self, attempt: &Arc<Attempt>) {
        self.0.send_modify(|told| {
            if told.last.digest != attempt.digest {
                told.since_ms = attempt.at_ms;
            }
            told.attempts = told.attempts.saturating_add(1);
            told.last = attempt.clone();
        });
    }
}
