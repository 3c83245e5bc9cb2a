//! Decide and record, in a task that a cancelled call cannot kill.
//!
//! INVARIANT: an `Answered` with an allow is only made after the ledger gave a receipt for exactly that decision.

use crate::check::{Concluded, Decider, Decision};
use crate::ledger::{Entry, Ledger, Outcome};
use crate::telemetry::Metrics;
use palisade_core::call_id::{CallId, CallIdMint};
use palisade_core::reason::Reason;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, watch};

/// Decisions under way at once. Each waits for a sync of the disk; more than this means the disk is gone.
const CONCURRENT_MAX: usize = 4096;

/// Shorter than the proxy's patience, so that the caller gets a reason and not a timeout; long enough for a slow disk.
const DEADLINE_MS: u64 = 1_500;

const _: () = assert!(DEADLINE_MS < crate::build::CHECK_TIMEOUT_MS, "the proxy would give up first");

/// What all calls share.
#[derive(Debug)]
pub struct Service {
    decider: Decider,
    ledger: Ledger,
    metrics: Arc<Metrics>,
    mint: Mutex<CallIdMint>,
    slots: Arc<Semaphore>,
}

/// A conclusion that may leave: it is durable, or it is a refusal that says why it is not.
#[derive(Debug)]
pub struct Answered {
    pub decision: Decision,
    pub call_id: CallId,
    pub epoch: String,
}

impl Service {
    pub fn new(decider: Decider, ledger: Ledger, metrics: Arc<Metrics>, seed: [u8; 16]) -> Service {
        let slots = Arc::new(Semaphore::new(CONCURRENT_MAX));
        Service { decider, ledger, metrics, mint: Mutex::new(CallIdMint::new(seed)), slots }
    }

    pub fn decider(&self) -> &Decider {
        &self.decider
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Answers one call, which `decide` holds in the proxy's form. Dropping this future does not stop what it began.
    pub async fn answer(
        self: Arc<Self>,
        decide: impl FnOnce(&Decider, u64, CallId) -> Concluded + Send + 'static,
    ) -> Answered {
        let arrived = Instant::now();
        let fallback = self.mint(now_ms());
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            self.metrics.refused_for_load();
            return self.refused(Reason::Overloaded, fallback);
        };
        let service = self.clone();
        let (known_id, call_id) = watch::channel(fallback);
        let task = tokio::spawn(async move {
            let _slot = slot;
            service.decide_and_record(decide, known_id, arrived).await
        });
        match tokio::time::timeout(Duration::from_millis(DEADLINE_MS), task).await {
            Ok(Ok(answered)) => answered,
            // The task goes on and its record is written; the caller is refused all the same, under the record's id.
            Err(_deadline) => {
                self.metrics.not_recorded();
                self.refused(Reason::LedgerUnavailable, *call_id.borrow())
            }
            Ok(Err(error)) => {
                tracing::error!(%error, decision_id = %fallback, "deciding a call failed");
                self.metrics.not_recorded();
                self.refused(Reason::Internal, fallback)
            }
        }
    }

    async fn decide_and_record(
        &self,
        decide: impl FnOnce(&Decider, u64, CallId) -> Concluded,
        known_id: watch::Sender<CallId>,
        arrived: Instant,
    ) -> Answered {
        let fallback = *known_id.borrow();
        let mut concluded = decide(&self.decider, now_ms(), fallback);
        known_id.send_replace(concluded.call_id);
        concluded.record.latency_us = u64::try_from(arrived.elapsed().as_micros()).unwrap_or(u64::MAX);
        if !concluded.handoff.is_genuine() {
            let workload = concluded.record.workload.as_deref().unwrap_or("unknown");
            tracing::warn!(workload, state = concluded.handoff.code(), decision_id = %concluded.call_id, "a call without a genuine handoff");
        }
        let entry = Entry::Decision(concluded.record.clone());
        let stored = self.ledger.append(&entry).await;
        self.metrics.decided(&concluded, arrived.elapsed().as_secs_f64());
        let Concluded { decision, call_id, .. } = concluded;
        match stored {
            Ok(_receipt) => Answered { decision, call_id, epoch: self.decider.epoch.to_string() },
            Err(error) => {
                // The ledger says by itself when it fails and when it stores again; a line for each call would drown it.
                if !error.is_told_by_the_ledger() {
                    tracing::error!(%error, decision_id = %call_id, "a decision could not be stored");
                }
                self.metrics.not_recorded();
                self.refused(Reason::LedgerUnavailable, call_id)
            }
        }
    }

    /// An outcome is best effort: what cannot be stored is counted.
    pub fn record_outcome(&self, outcome: Outcome) {
        let stored = self.ledger.append_soon(&Entry::Outcome(outcome));
        if let Err(error) = &stored
            && !error.is_told_by_the_ledger()
        {
            tracing::warn!(%error, "an outcome could not be stored");
        }
        self.metrics.outcome(stored.is_ok());
    }

    fn refused(&self, reason: Reason, call_id: CallId) -> Answered {
        Answered { decision: Decision::Deny { reason }, call_id, epoch: self.decider.epoch.to_string() }
    }

    fn mint(&self, now_ms: u64) -> CallId {
        // A mint that was held while something panicked still mints.
        self.mint.lock().unwrap_or_else(PoisonError::into_inner).mint(now_ms)
    }
}

/// The one clock of the server. Before 1970 it stands at 0, and every handoff is stale.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
