//! Logs and metrics. Log messages are constant lower-case phrases with their data in fields.
//!
//! INVARIANT: labels come from enums, from the bundle, or from a set that is bounded here; a caller cannot invent one.

pub mod traces;

use crate::check::{Comparison, Decider, HandoffState};
use crate::ledger::{self, Conclusion, Ledger, LedgerMetrics, Proof};
use crate::reload::ReloadMetrics;
use crate::reports::ReportMetrics;
use crate::serve::{CandidateMetrics, ConnectionMetrics, PolicyMetrics};
use crate::spikes::Kind;
use crate::storm::{LoadMetrics, StormWatch};
use palisade_core::reason::Reason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::Instant;
use traces::Stages;
use tracing_subscriber::EnvFilter;

/// Workloads that are named in metrics before the rest is `other`.
const WORKLOADS_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    service: String,
    operation: String,
    decision: &'static str,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandoffLabels {
    workload: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProofLabels {
    proof: &'static str,
    decision: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailedOpenLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SpikeLabels {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

/// What is counted of traces.
#[derive(Debug, Default)]
pub struct TraceMetrics {
    sent: Counter,
    dropped: Counter,
}

impl TraceMetrics {
    fn sent(&self, count: u64) {
        self.sent.inc_by(count);
    }

    fn dropped(&self, count: u64) {
        self.dropped.inc_by(count);
    }
}

/// How long the stages of decisions took.
#[derive(Debug)]
struct StageSeconds {
    identity: Histogram,
    evaluation: Histogram,
    ledger: Histogram,
}

impl StageSeconds {
    /// Each is made once, so that a call need not look for it.
    fn register(registry: &mut Registry) -> StageSeconds {
        // 1 µs to 1 s: from a look into a cache to far beyond the proxy's patience.
        let new = || Histogram::new(exponential_buckets(0.000_001, 4.0, 11));
        let family = Family::<StageLabels, Histogram, fn() -> Histogram>::new_with_constructor(new);
        registry.register("stage_seconds", "How long the stages of a decision took", family.clone());
        let stage = |stage| family.get_or_create(&StageLabels { stage }).clone();
        StageSeconds { identity: stage("identity"), evaluation: stage("evaluation"), ledger: stage("ledger") }
    }
}

/// What the server counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    handoffs: Family<HandoffLabels, Counter>,
    callers: Family<ProofLabels, Counter>,
    bundle_skew: Counter,
    latency_seconds: Histogram,
    stage_seconds: StageSeconds,
    epoch: Gauge,
    refused_for_load: Counter,
    failed_open: Family<FailedOpenLabels, Counter>,
    pub(crate) connections: ConnectionMetrics,
    not_recorded: Counter,
    outcomes: Counter,
    outcomes_not_recorded: Counter,
    outcomes_missing: Counter,
    index_entries: Gauge,
    spikes: Family<SpikeLabels, Counter>,
    workloads: Mutex<BTreeSet<String>>,
    pub traces: TraceMetrics,
    pub reloads: ReloadMetrics,
    pub reports: ReportMetrics,
    candidate: CandidateMetrics,
    pub(crate) storms: StormWatch,
    pub(crate) load: LoadMetrics,
    policies: PolicyMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("palisade");
        let decisions = Family::default();
        registry.register(
            "decisions",
            "Decisions, by service, operation, decision and reason",
            decisions.clone(),
        );
        let handoffs = Family::default();
        registry.register(
            "handoffs_not_genuine",
            "Calls without a genuine handoff, by the peer's workload",
            handoffs.clone(),
        );
        let callers = Family::default();
        registry.register(
            "callers",
            "Decisions, by how the caller was proven; `none` also where nobody could be",
            callers.clone(),
        );
        let counter = |registry: &mut Registry, name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let bundle_skew = counter(
            &mut registry,
            "bundle_skew",
            "Calls from filters that still work with the bundle before",
        );
        let refused_for_load =
            counter(&mut registry, "refused_for_load", "Calls refused because too many were under way");
        let failed_open = Family::default();
        registry.register(
            "failed_open",
            "Calls that went on by the fail mode of their class because they could not be decided or recorded in time, or the server not be reached",
            failed_open.clone(),
        );
        let connections = ConnectionMetrics::register(&mut registry);
        let not_recorded = counter(
            &mut registry,
            "decisions_not_recorded",
            "Decisions that could not be stored and became refusals",
        );
        let outcomes = counter(&mut registry, "outcomes", "Entries of the access log that were stored");
        let outcomes_not_recorded = counter(
            &mut registry,
            "outcomes_not_recorded",
            "Entries of the access log that could not be stored",
        );
        let outcomes_missing = counter(
            &mut registry,
            "outcomes_missing",
            "Calls whose end the access log never told, as far as they were entered into the ledger",
        );
        let index_entries = Gauge::default();
        registry.register(
            "index_entries",
            "Entries of the ledger that can be found by the index",
            index_entries.clone(),
        );
        let spikes = Family::<SpikeLabels, Counter>::default();
        registry.register("spikes", "Spikes that were told, by kind", spikes.clone());
        for kind in Kind::ALL {
            // A counter that begins with 1 has no increase.
            drop(spikes.get_or_create(&SpikeLabels { kind: kind.name().to_owned() }));
        }
        // 50 µs to 1.6 s: from a decision without a sync to far beyond the proxy's patience.
        let latency_seconds = Histogram::new(exponential_buckets(0.000_05, 2.0, 16));
        registry.register(
            "check_latency_seconds",
            "From the call's arrival to its reply, the sync included",
            latency_seconds.clone(),
        );
        let stage_seconds = StageSeconds::register(&mut registry);
        let epoch = Gauge::default();
        registry.register("epoch", "The counter of the epoch in force", epoch.clone());
        let traces = TraceMetrics::default();
        registry.register("traces_sent", "Decisions whose spans a collector took", traces.sent.clone());
        registry.register(
            "traces_dropped",
            "Decisions whose spans were dropped because the collector is slow or away",
            traces.dropped.clone(),
        );
        let reloads = ReloadMetrics::register(&mut registry);
        let reports = ReportMetrics::register(&mut registry);
        let candidate = CandidateMetrics::register(&mut registry);
        let storms = StormWatch::default();
        let load = LoadMetrics::register(&mut registry, storms.clone());
        let policies = PolicyMetrics::register(&mut registry);
        Metrics {
            registry,
            decisions,
            handoffs,
            callers,
            bundle_skew,
            latency_seconds,
            stage_seconds,
            epoch,
            refused_for_load,
            failed_open,
            connections,
            not_recorded,
            outcomes,
            outcomes_not_recorded,
            outcomes_missing,
            index_entries,
            spikes,
            workloads: Mutex::default(),
            traces,
            reloads,
            reports,
            candidate,
            storms,
            load,
            policies,
        }
    }
}

impl Metrics {
    /// With what this ledger tells of itself.
    pub fn of(ledger: Ledger) -> Metrics {
        let mut metrics = Metrics::default();
        metrics.registry.register_collector(Box::new(LedgerMetrics(ledger)));
        metrics
    }

    pub fn decided(&self, record: &ledger::Decision, handoff: HandoffState, comparison: Option<Comparison>) {
        let decision = match record.decision {
            Conclusion::Allow => "allow",
            Conclusion::Deny => "deny",
        };
        let labels = DecisionLabels {
            service: record.service.clone(),
            operation: record.operation.clone(),
            decision,
            reason: record.reason.clone(),
        };
        self.decisions.get_or_create(&labels).inc();
        let proof = match record.proof {
            Proof::Mtls => "mtls",
            Proof::ApiKey => "api_key",
            Proof::Jwt => "jwt",
            Proof::Introspection => "introspection",
            Proof::None => "none",
        };
        self.callers.get_or_create(&ProofLabels { proof, decision }).inc();
        self.candidate.compared(comparison);
        if handoff == HandoffState::PreviousBundle {
            self.bundle_skew.inc();
        }
        if !handoff.is_genuine() {
            let workload = self.bounded(record.workload.as_deref().unwrap_or("unknown"));
            self.handoffs.get_or_create(&HandoffLabels { workload, state: handoff.code() }).inc();
        }
    }

    /// A call that was decided can be told.
    pub fn answered(&self, arrived: Instant, stages: Option<Stages>, ledger: (Instant, Instant)) {
        let seconds = |(from, to): (Instant, Instant)| to.saturating_duration_since(from).as_secs_f64();
        if let Some(Stages { identity, evaluation }) = stages {
            self.stage_seconds.identity.observe(seconds(identity));
            self.stage_seconds.evaluation.observe(seconds(evaluation));
        }
        self.stage_seconds.ledger.observe(seconds(ledger));
        self.latency_seconds.observe(seconds((arrived, ledger.1)));
    }

    /// What decisions are made by from now on.
    pub fn in_force(&self, decider: &Decider) {
        self.epoch.set(i64::try_from(decider.epoch.counter).unwrap_or(i64::MAX));
        self.policies.of(&decider.bundle);
    }

    /// A call was allowed by the fail mode of its class.
    pub fn failed_open(&self, reason: Reason) {
        self.failed_open.get_or_create(&FailedOpenLabels { reason: reason.code() }).inc();
    }

    /// So many calls went on while this server could not be reached, as filters report when it can be again.
    pub fn failed_open_unreachable(&self, count: u64) {
        let reason = Reason::DecisionMissing.code();
        self.failed_open.get_or_create(&FailedOpenLabels { reason }).inc_by(count);
    }

    pub fn refused_for_load(&self) {
        self.refused_for_load.inc();
    }

    pub fn not_recorded(&self) {
        self.not_recorded.inc();
    }

    pub fn outcome(&self, stored: bool) {
        if stored {
            self.outcomes.inc()
        } else {
            self.outcomes_not_recorded.inc()
        };
    }

    pub fn outcomes_missing(&self, count: u64) {
        self.outcomes_missing.inc_by(count);
    }

    pub fn indexed(&self, entries: u64) {
        self.index_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    pub fn spike(&self, kind: &str) {
        self.spikes.get_or_create(&SpikeLabels { kind: kind.to_owned() }).inc();
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &self.registry)?;
        Ok(out)
    }

    fn bounded(&self, workload: &str) -> String {
        // A poisoned set of names is still a set of names.
        let mut known = self.workloads.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.contains(workload) || (known.len() < WORKLOADS_MAX && known.insert(workload.to_owned())) {
            workload.to_owned()
        } else {
            "other".to_owned()
        }
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Pretty,
    Json,
}

/// Logs go to standard error. The level comes from `PALISADE_LOG`, `info` without it.
pub fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_env("PALISADE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // A line that cannot be written, to a full disk for instance, is lost; to tell that on the same stream would panic.
        .log_internal_errors(false)
        .with_target(false);
    // A second start in one process keeps the first.
    let _started = match format {
        LogFormat::Pretty => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
