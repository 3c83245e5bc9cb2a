//! Decide and record, in a task that a cancelled call cannot kill.
//!
//! INVARIANT: an `Answered` with an allow is only made after the ledger accepted exactly that decision: with a receipt, or
//! buffered where the bundle lets operations of that class be. A denial always has its receipt.
//! INVARIANT: a decision is made with one `Decider`, taken once; a swap changes it for those who come after.

use super::seldom::Seldom;
use crate::check::{Concluded, Decider, Decision, HandoffState};
use crate::ledger::{Entry, Ledger, Outcome, Refusal, Spike};
use crate::reload::{Orders, Status};
use crate::spikes::{self, SpikeWatch};
use crate::telemetry::Metrics;
use palisade_core::call_id::{CallId, CallIdMint};
use palisade_core::reason::Reason;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, watch};

/// Decisions under way at once. Each waits for a sync of the disk; more than this means the disk is gone.
const CONCURRENT_MAX: usize = 4096;

/// Shorter than the proxy's patience, so that the caller gets a reason and not a timeout; long enough for a slow disk.
const DEADLINE_MS: u64 = 1_500;

const _: () = assert!(DEADLINE_MS < crate::build::CHECK_TIMEOUT_MS, "the proxy would give up first");

/// How long a call from a filter that works with a bundle that we do not know waits for us to look whether it is there.
/// A rollout brings it to filters and servers at about the same time, and nothing says who is first.
const BUNDLE_AWAITED: Duration = Duration::from_millis(1_000);

const _: () = assert!(BUNDLE_AWAITED.as_millis() + 300 < DEADLINE_MS as u128, "deciding needs its time, too");

/// How long after its arrival a call may still wait for an issuer's answer about its caller.
const IDENTITY_AWAITED: Duration = Duration::from_millis(1_100);

const _: () =
    assert!(IDENTITY_AWAITED.as_millis() + 300 < DEADLINE_MS as u128, "deciding needs its time, too");

/// What all calls share.
#[derive(Debug)]
pub struct Service {
    /// Locked for as long as it takes to count a reference.
    decider: RwLock<Arc<Decider>>,
    orders: Orders,
    reloads: Status,
    ledger: Ledger,
    metrics: Arc<Metrics>,
    mint: Mutex<CallIdMint>,
    slots: Arc<Semaphore>,
    spikes: SpikeWatch,
    seldom: Seldom,
}

/// A conclusion that may leave: it is durable, or it is a refusal that says why it is not.
#[derive(Debug)]
pub struct Answered {
    pub decision: Decision,
    pub call_id: CallId,
    pub epoch: String,
    /// What the caller is told beside the reason.
    pub advice: Option<Arc<str>>,
}

impl Service {
    pub fn new(
        decider: Decider,
        (orders, reloads): (Orders, Status),
        ledger: Ledger,
        metrics: Arc<Metrics>,
        seed: [u8; 16],
    ) -> Service {
        let slots = Arc::new(Semaphore::new(CONCURRENT_MAX));
        let (decider, mint) = (RwLock::new(Arc::new(decider)), Mutex::new(CallIdMint::new(seed)));
        let spikes = SpikeWatch::default();
        let seldom = Seldom::default();
        Service { decider, orders, reloads, ledger, metrics, mint, slots, spikes, seldom }
    }

    /// What decides now. Whoever makes a decision takes it once.
    pub fn decider(&self) -> Arc<Decider> {
        // The lock is never held while anything could panic.
        self.decider.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on decisions are made by `decider`. Those under way end with the one that they began with.
    pub(crate) fn swap(&self, decider: Decider) {
        let decider = Arc::new(decider);
        let old =
            std::mem::replace(&mut *self.decider.write().unwrap_or_else(PoisonError::into_inner), decider);
        // A large bundle takes a while to be let go of, and not under the lock.
        drop(old);
    }

    /// How to have everything read anew.
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// What came of reading it.
    pub fn reloads(&self) -> &Status {
        &self.reloads
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Answers one call, which `decide` holds in the proxy's form. Dropping this future does not stop what it began.
    pub async fn answer(
        self: Arc<Self>,
        decide: impl Fn(&Decider, u64, CallId) -> Concluded + Send + Sync + 'static,
    ) -> Answered {
        let arrived = Instant::now();
        let fallback = self.mint(now_ms());
        let epoch = self.decider().epoch.to_string();
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            self.metrics.refused_for_load();
            return refused(Reason::Overloaded, fallback, epoch);
        };
        let service = self.clone();
        let (known, recorded) = watch::channel((fallback, epoch.clone()));
        let task = tokio::spawn(async move {
            let _slot = slot;
            service.decide_and_record(decide, known, arrived).await
        });
        match tokio::time::timeout(Duration::from_millis(DEADLINE_MS), task).await {
            Ok(Ok(answered)) => answered,
            // The task goes on and its record is written; the caller is refused all the same, under the record's id.
            Err(_deadline) => {
                self.metrics.not_recorded();
                let (call_id, epoch) = recorded.borrow().clone();
                refused(Reason::LedgerUnavailable, call_id, epoch)
            }
            Ok(Err(error)) => {
                tracing::error!(%error, decision_id = %fallback, "deciding a call failed");
                self.metrics.not_recorded();
                refused(Reason::Internal, fallback, epoch)
            }
        }
    }

    async fn decide_and_record(
        &self,
        decide: impl Fn(&Decider, u64, CallId) -> Concluded,
        known: watch::Sender<(CallId, String)>,
        arrived: Instant,
    ) -> Answered {
        let (fallback, _) = *known.borrow();
        let mut decider = self.decider();
        let mut concluded = decide(&decider, now_ms(), fallback);
        if concluded.handoff == HandoffState::BundleUnknown
            && let Some(newer) = self.newer_than(&decider).await
        {
            concluded = decide(&newer, now_ms(), fallback);
            decider = newer;
        }
        if let (Some(pending), Some(tokens)) = (concluded.awaits.take(), &decider.identity.tokens) {
            // Whatever comes of it, deciding once more says so.
            let until = tokio::time::Instant::from_std(arrived + IDENTITY_AWAITED);
            let _in_time = tokio::time::timeout_at(until, tokens.fetch(pending)).await;
            concluded = decide(&decider, now_ms(), fallback);
        }
        let epoch = decider.epoch.to_string();
        known.send_replace((concluded.call_id, epoch.clone()));
        concluded.record.latency_us = u64::try_from(arrived.elapsed().as_micros()).unwrap_or(u64::MAX);
        if !concluded.handoff.is_genuine() {
            self.tell_of_handoff(&concluded);
        }
        let entry = Entry::Decision(concluded.record.clone());
        let stored = self.ledger.append_as(&entry, concluded.durability).await;
        self.metrics.decided(&concluded, arrived.elapsed().as_secs_f64());
        self.tell_spike(self.spikes.decided(&concluded.record));
        let Concluded { decision, call_id, advice, .. } = concluded;
        match stored {
            Ok(_accepted) => Answered { decision, call_id, epoch, advice },
            Err(error) => {
                // The ledger says by itself when it fails and when it stores again; a line for each call would drown it.
                if !error.is_told_by_the_ledger() {
                    tracing::error!(%error, decision_id = %call_id, "a decision could not be stored");
                }
                self.metrics.not_recorded();
                refused(Reason::LedgerUnavailable, call_id, epoch)
            }
        }
    }

    /// Has the reloader look, for a filter that got its bundle before us. The filter proved that it holds the secret, so
    /// that nobody else can make us look.
    async fn newer_than(&self, decider: &Arc<Decider>) -> Option<Arc<Decider>> {
        // It may have come while we decided.
        if Arc::ptr_eq(&self.decider(), decider) {
            let _in_time = tokio::time::timeout(BUNDLE_AWAITED, self.orders.look()).await;
        }
        let newer = self.decider();
        (!Arc::ptr_eq(&newer, decider)).then_some(newer)
    }

    /// Whoever takes in the filter's reports gives each here, once.
    pub fn observe_refusal(&self, refusal: &Refusal) {
        self.tell_spike(self.spikes.refused(refusal));
    }

    /// Whoever reaches the server can cause this as often as they like; the metric counts all of them.
    fn tell_of_handoff(&self, concluded: &Concluded) {
        let workload = concluded.record.workload.as_deref().unwrap_or("unknown");
        let state = concluded.handoff.code();
        if let Some(untold) = self.seldom.tell(&format!("{state} {workload}"), Instant::now()) {
            tracing::warn!(workload, state, decision_id = %concluded.call_id, untold, "a call without a genuine handoff");
        }
    }

    fn tell_spike(&self, spike: Option<Spike>) {
        if let Some(spike) = spike {
            spikes::tell(spike, now_ms(), &self.ledger, &self.metrics);
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

    fn mint(&self, now_ms: u64) -> CallId {
        // A mint that was held while something panicked still mints.
        self.mint.lock().unwrap_or_else(PoisonError::into_inner).mint(now_ms)
    }
}

fn refused(reason: Reason, call_id: CallId, epoch: String) -> Answered {
    Answered { decision: Decision::Deny { reason }, call_id, epoch, advice: None }
}

/// The one clock of the server. Before 1970 it stands at 0, and every handoff is stale.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
