//! Decide and record, so that a cancelled call leaves no decision without its record.
//!
//! A decision is made and queued for the ledger without an await in between; what is awaited then is its receipt, and who
//! stops waiting takes nothing back. So a call needs no task of its own, and costs its thread nothing but its own work.
//! INVARIANT: an `Answered` with an allow is only made after the ledger accepted exactly that decision: with a receipt, or
//! buffered where the bundle lets operations of that class be; or by the fail mode of its class, and then it says so and is
//! counted into the ledger. A denial has its receipt, or says that it could not be recorded. One `Decider` makes it, taken once.

mod failing;
mod issuer;

use super::counted::Counted;
use super::faults::{self, Stage};
use super::load::Load;
use super::seldom::Seldom;
use super::undecided::{self, Kind, Tallies};
use crate::bundle::format::FailMode;
use crate::check::{Call, Comparison, Concluded, Decider, Decision, HandoffState};
use crate::ledger::{self, Accepted, AppendError, Entry, Ledger, Outcome, Refusal, Spike};
use crate::reload::{Orders, Status};
use crate::spikes::{self, SpikeWatch};
use crate::telemetry::Metrics;
use crate::telemetry::traces::{Parent, Stages, Traced, Traces};
use futures_util::FutureExt as _;
use palisade_core::call_id::{CallId, CallIdMint};
use palisade_core::reason::Reason;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Shorter than the proxy's patience, so that the caller gets a reason and not a timeout; long enough for a slow disk.
const DEADLINE_MS: u64 = 1_500;

/// What is left for the receipt where deciding took all of the time, as a divisor of the deadline: a denial that is made
/// late is told with its entry all the same.
const LATE_DIVISOR: u32 = 4;

const _: () = assert!(
    DEADLINE_MS + DEADLINE_MS / LATE_DIVISOR as u64 <= crate::build::CHECK_TIMEOUT_MS,
    "the proxy would give up first"
);

/// How long a call from a filter that works with a bundle that we do not know waits for us to look whether it is there.
/// A rollout brings it to filters and servers at about the same time, and nothing says who is first.
const BUNDLE_AWAITED: Duration = Duration::from_millis(1_000);

const _: () = assert!(BUNDLE_AWAITED.as_millis() + 300 < DEADLINE_MS as u128, "deciding needs its time, too");

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
    deadline: Duration,
    tallies: Tallies,
    traces: Traces,
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
    /// Why an allow rests on the fail mode of its operation's class and not on a recorded decision.
    pub failed_open: Option<Reason>,
    pub counted: Option<Box<Counted>>,
}

impl Answered {
    /// A refusal for a reason of our own, under the same id.
    pub(crate) fn refused(&self, reason: Reason) -> Answered {
        refused(reason, self.call_id, self.epoch.clone())
    }
}

/// Where a call is read from, again if need be.
pub trait Source: Send + Sync + 'static {
    fn with_call<T>(&self, use_call: impl FnOnce(Call<'_>) -> T) -> T;
}

/// What a decision may be put off for: something that would change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MayWait {
    /// A bundle, and what only an issuer knows of a token.
    Yes,
    /// The bundle was waited for.
    ForIssuer,
    No,
}

/// A decision in the ledger's queue.
#[derive(Debug)]
struct Queued {
    entry: Entry,
    decision: Decision,
    call_id: CallId,
    handoff: HandoffState,
    fail_mode: FailMode,
    failed_open: Option<Reason>,
    advice: Option<Arc<str>>,
    comparison: Option<Comparison>,
    stages: Option<Stages>,
    /// The caller's place in a trace, where its spans are wanted.
    parent: Option<Parent>,
    queued_at: Instant,
}

/// The reason in entries of calls that were allowed although they could not be decided.
const FAILED_OPEN: &str = "failed_open";

impl Service {
    pub fn new(
        decider: Decider,
        (orders, reloads): (Orders, Status),
        ledger: Ledger,
        (metrics, traces): (Arc<Metrics>, Traces),
        seed: [u8; 16],
    ) -> Service {
        metrics.in_force(&decider);
        let (decider, mint) = (RwLock::new(Arc::new(decider)), Mutex::new(CallIdMint::new(seed)));
        let spikes = SpikeWatch::default();
        let seldom = Seldom::default();
        let (deadline, tallies) = (Duration::from_millis(DEADLINE_MS), Tallies::default());
        Service { decider, orders, reloads, ledger, metrics, mint, deadline, tallies, traces, spikes, seldom }
    }

    /// What decides now. Whoever makes a decision takes it once.
    pub fn decider(&self) -> Arc<Decider> {
        // The lock is never held while anything could panic.
        self.decider.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on decisions are made by `decider`. Those under way end with the one that they began with.
    pub(crate) fn swap(&self, decider: Decider) {
        self.metrics.in_force(&decider);
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

    /// Answers one call. Dropping this future does not stop what it began: a decision is queued for the ledger in the same
    /// breath in which it is made, and what has to wait for something before that runs in a task of its own.
    pub async fn answer(self: &Arc<Self>, load: &Arc<Load>, source: impl Source) -> Answered {
        let arrived = Instant::now();
        let fallback = self.mint(now_ms());
        let known = OnceLock::new();
        match AssertUnwindSafe(self.decide_and_record(load, source, (fallback, arrived), &known))
            .catch_unwind()
            .await
        {
            Ok(answered) => answered,
            // A panic while deciding was recorded by those who caught it. This one came before or after it.
            Err(_panic) => {
                let call_id = known.into_inner().unwrap_or(fallback);
                self.refused_after_all();
                refused(Reason::Internal, call_id, self.decider().epoch.to_string())
            }
        }
    }

    async fn decide_and_record(
        self: &Arc<Self>,
        load: &Arc<Load>,
        source: impl Source,
        (fallback, arrived): (CallId, Instant),
        known: &OnceLock<CallId>,
    ) -> Answered {
        faults::reach(Stage::BeforeDeciding);
        let decider = self.decider();
        let Some(place) = load.enter() else { return self.refuse_for_load(&decider, &source, fallback) };
        let concluded = match self.begin(&decider, &source, (fallback, arrived), MayWait::Yes) {
            Ok((queued, stored)) => {
                known.get_or_init(|| queued.call_id);
                return self.settle(&decider, queued, stored, arrived).await;
            }
            Err(concluded) => concluded,
        };
        let call_id = *known.get_or_init(|| concluded.call_id);
        let (service, epoch) = (Arc::clone(self), decider.epoch.to_string());
        let late = tokio::spawn(async move {
            let _place = place;
            let at = (fallback, arrived);
            let mut decider = decider;
            let mut begun = Err(concluded);
            if let Err(concluded) = &begun
                && concluded.handoff == HandoffState::BundleUnknown
            {
                decider = service.newer_than(&decider).await.unwrap_or(decider);
                begun = service.begin(&decider, &source, at, MayWait::ForIssuer);
            }
            if let Err(concluded) = begun {
                issuer::ask(&decider, concluded.awaits, arrived).await;
                begun = service.begin(&decider, &source, at, MayWait::No);
            }
            // Whoever may not wait is queued always.
            match begun {
                Ok((queued, stored)) => service.settle(&decider, queued, stored, arrived).await,
                Err(concluded) => refused(Reason::Internal, concluded.call_id, decider.epoch.to_string()),
            }
        });
        match tokio::time::timeout(self.left(arrived), late).await {
            Ok(Ok(answered)) => answered,
            // The task goes on and its record is written; the caller is refused all the same, under the record's id.
            Ok(Err(_)) | Err(_) => {
                self.refused_after_all();
                refused(Reason::Internal, call_id, epoch)
            }
        }
    }

    /// Decides and queues the decision for the ledger, or says what it would be where waiting may change it. A panic
    /// becomes a decision, too.
    fn begin<S: Source>(
        &self,
        decider: &Decider,
        source: &S,
        (fallback, arrived): (CallId, Instant),
        may_wait: MayWait,
    ) -> Result<(Queued, impl Future<Output = Result<Accepted, AppendError>> + Send + use<S>), Box<Concluded>>
    {
        let begun = catch_unwind(AssertUnwindSafe(|| {
            let concluded = source.with_call(|call| {
                faults::reach(Stage::Deciding);
                decider.decide(call, now_ms(), fallback)
            });
            let waits = match may_wait {
                MayWait::Yes => {
                    concluded.handoff == HandoffState::BundleUnknown || concluded.awaits.is_some()
                }
                MayWait::ForIssuer => concluded.awaits.is_some(),
                MayWait::No => false,
            };
            if waits {
                return Err(Box::new(concluded));
            }
            // Decided too late: nobody could be told in time.
            let concluded = if arrived.elapsed() < self.deadline || concluded.decision != Decision::Allow {
                concluded
            } else {
                self.undecided(decider, source, fallback, (Reason::Overloaded, "the server took too long"))
            };
            let parent = self.parent(source);
            Ok(self.queue(concluded, arrived, parent))
        }));
        begun.unwrap_or_else(|_panic| {
            let internal = (Reason::Internal, "deciding panicked");
            Ok(self.queue(self.undecided(decider, source, fallback, internal), arrived, None))
        })
    }

    fn parent(&self, source: &impl Source) -> Option<Parent> {
        if !self.traces.are_on() {
            return None;
        }
        source.with_call(|call| self.traces.parent(call.pairs))
    }

    /// The last thing here is to queue the entry: whatever goes wrong before that, nothing was recorded yet.
    fn queue(
        &self,
        mut concluded: Concluded,
        arrived: Instant,
        parent: Option<Parent>,
    ) -> (Queued, impl Future<Output = Result<Accepted, AppendError>> + Send + use<>) {
        faults::reach(Stage::BeforeAppend);
        let Concluded { decision, call_id, handoff, durability, fail_mode, failed_open, stages, .. } =
            concluded;
        let (advice, comparison) = (concluded.advice.take(), concluded.comparison);
        let queued_at = Instant::now();
        concluded.record.latency_us = u64::try_from(arrived.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.metrics.storms.decided(&concluded);
        let entry = Entry::Decision(concluded.record);
        let stored = self.ledger.append_as(&entry, durability);
        let queued = Queued {
            entry,
            decision,
            call_id,
            handoff,
            fail_mode,
            failed_open,
            advice,
            comparison,
            stages,
            parent,
            queued_at,
        };
        (queued, stored)
    }

    /// Waits until a queued decision may be told.
    async fn settle(
        &self,
        decider: &Decider,
        queued: Queued,
        stored: impl Future<Output = Result<Accepted, AppendError>>,
        arrived: Instant,
    ) -> Answered {
        let Queued { entry, decision, call_id, handoff, fail_mode, failed_open, .. } = queued;
        let Queued { advice, comparison, stages, parent, queued_at, .. } = queued;
        let Entry::Decision(record) = entry else {
            return refused(Reason::Internal, call_id, decider.epoch.to_string());
        };
        self.metrics.decided(&record, handoff, comparison);
        if !handoff.is_genuine() {
            self.tell_of_handoff(&record, handoff, call_id);
        }
        self.tell_spike(self.spikes.decided(&record));
        let counted = Counted::of(&decider.bundle, &record);
        faults::reach(Stage::BeforeReceipt);
        let left = self.left(arrived).max(self.deadline / LATE_DIVISOR);
        let stored = tokio::time::timeout(left, stored).await;
        faults::reach(Stage::AfterReceipt);
        let ledger = (queued_at, Instant::now());
        self.metrics.answered(arrived, stages, ledger);
        if let Some(parent) = parent {
            self.traces.send(Traced::of(&record, parent, arrived, stages, ledger), &self.metrics);
        }
        let epoch = decider.epoch.to_string();
        match stored {
            // What was stored and then held up is told too late to be of use, and the caller would not believe it.
            Ok(Ok(_accepted))
                if decision != Decision::Allow
                    || failed_open.is_some()
                    || arrived.elapsed() < self.deadline =>
            {
                if let Some(reason) = failed_open {
                    self.metrics.failed_open(reason);
                }
                return Answered { decision, call_id, epoch, advice, failed_open, counted };
            }
            // The entry may still be stored; the caller is told otherwise all the same, under its id.
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(error)) => {
                // The ledger says by itself when it fails and when it stores again; a line for each call would drown it.
                if !error.is_told_by_the_ledger() {
                    tracing::error!(%error, decision_id = %call_id, "a decision could not be stored");
                }
            }
        }
        self.metrics.not_recorded();
        let reason = Reason::LedgerUnavailable;
        let allowed = decision == Decision::Allow && fail_mode == FailMode::Open;
        self.tallies
            .count(Kind { allowed, reason, service: record.service, operation: record.operation }, now_ms());
        if allowed {
            self.metrics.failed_open(reason);
            return Answered { advice: None, failed_open: Some(reason), counted, decision, call_id, epoch };
        }
        refused(reason, call_id, epoch)
    }

    #[cfg(test)]
    pub(crate) fn with_deadline(mut self, deadline: Duration) -> Service {
        self.deadline = deadline;
        self
    }

    /// How much of its time a call has left.
    fn left(&self, arrived: Instant) -> Duration {
        self.deadline.saturating_sub(arrived.elapsed())
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
    fn tell_of_handoff(&self, record: &ledger::Decision, handoff: HandoffState, call_id: CallId) {
        let workload = record.workload.as_deref().unwrap_or("unknown");
        let state = handoff.code();
        if let Some(untold) = self.seldom.tell(&format!("{state} {workload}"), Instant::now()) {
            tracing::warn!(workload, state, decision_id = %call_id, untold, "a call without a genuine handoff");
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
    let decision = Decision::Deny { reason };
    Answered { decision, call_id, epoch, advice: None, failed_open: None, counted: None }
}

/// The one clock of the server. Before 1970 it stands at 0, and every handoff is stale.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
