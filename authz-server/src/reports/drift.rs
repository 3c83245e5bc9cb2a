//! Drift as filters report it: the entries of it, what is counted, and what the log says.
//!
//! INVARIANT: counted and told is what is durable, once; labels come from a bundle and from what this server knows, so that
//! no filter and no caller invents one.

use super::names::Names;
use crate::ledger::{Drift, Judged, JudgedCount, Side};
use crate::serve::seldom::Seldom;
use palisade_core::reason::Reason;
use palisade_core::report::{self, Batch, OTHER};
use palisade_core::routes::OperationIndex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::time::{Duration, Instant};

/// What drifts does so for days: one line in this time says it for all of an operation, a side and a reason.
const TOLD_EVERY: Duration = Duration::from_secs(10 * 60);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DriftLabels {
    service: String,
    operation: String,
    side: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JudgedLabels {
    service: String,
    operation: String,
    side: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SideLabels {
    side: &'static str,
}

/// What is counted of drift. A place is no label: callers choose keys.
#[derive(Debug)]
pub(super) struct DriftMetrics {
    drift: Family<DriftLabels, Counter>,
    judged: Family<JudgedLabels, Counter>,
    rows: Family<SideLabels, Counter>,
    seldom: Seldom,
}

impl DriftMetrics {
    pub(super) fn register(registry: &mut Registry) -> DriftMetrics {
        let metrics = DriftMetrics {
            drift: Family::default(),
            judged: Family::default(),
            rows: Family::default(),
            seldom: Seldom::every(TOLD_EVERY),
        };
        registry.register(
            "drift",
            "Requests and responses that broke a rule and were not refused, by service, operation, side and reason",
            metrics.drift.clone(),
        );
        registry.register(
            "drift_judged",
            "Requests and responses that were judged by the contract, by service, operation and side",
            metrics.judged.clone(),
        );
        registry.register(
            "drift_reports",
            "Reports of drift that were stored, by side",
            metrics.rows.clone(),
        );
        // Both sides are there from the start, so that the first one is a change that an alert can see.
        for side in Side::ALL {
            drop(metrics.rows.get_or_create(&SideLabels { side: side.name() }));
        }
        metrics
    }

    /// Takes note of drift that is durable now.
    pub(super) fn drifted(&self, drift: &Drift) {
        if is_undecided(drift) {
            return self.undecided(drift);
        }
        let Drift { side, reason, place, service, operation, count, peer, call_id, .. } = drift;
        let (side, reason) = (side.name(), Reason::from_code(reason).map_or(OTHER, Reason::code));
        let labels = DriftLabels { service: service.clone(), operation: operation.clone(), side, reason };
        self.drift.get_or_create(&labels).inc_by(*count);
        self.rows.get_or_create(&SideLabels { side }).inc();
        let thing = format!("{service}.{operation} {side} {reason}");
        if let Some(untold) = self.seldom.tell(&thing, Instant::now()) {
            let peer = peer.as_deref().unwrap_or("unknown");
            tracing::warn!(
                service,
                operation,
                side,
                reason,
                place,
                count,
                peer,
                call_id,
                untold,
                "contract drift: a rule was broken and nothing was refused, and the same is not told for a while"
            );
        }
    }

    /// Says it once in a while: the outage itself is over when this is heard.
    fn undecided(&self, drift: &Drift) {
        let Drift { service, operation, count, peer, call_id, first_at_ms, last_at_ms, .. } = drift;
        let thing = format!("{service}.{operation} undecided");
        if let Some(untold) = self.seldom.tell(&thing, Instant::now()) {
            let peer = peer.as_deref().unwrap_or("unknown");
            tracing::warn!(
                service,
                operation,
                count,
                peer,
                call_id,
                first_at_ms,
                last_at_ms,
                untold,
                "calls went on undecided because this server could not be reached, as the fail mode of their class says, and the same is not told for a while"
            );
        }
    }

    /// Takes note of counts that are durable now.
    pub(super) fn judged(&self, judged: &Judged) {
        for JudgedCount { service, operation, side, count } in &judged.counts {
            let labels =
                JudgedLabels { service: service.clone(), operation: operation.clone(), side: side.name() };
            self.judged.get_or_create(&labels).inc_by(*count);
        }
    }
}

/// Whether it tells of calls that went on without a decision. No rule of a contract was broken.
pub(super) fn is_undecided(drift: &Drift) -> bool {
    drift.reason == Reason::DecisionMissing.code()
}

pub(super) fn drift(batch: &Batch, drift: &report::Drift, sequence: u64, names: Option<&Names>) -> Drift {
    let (service, operation) = named(drift.operation, names);
    Drift {
        side: side(drift.side),
        reason: drift.reason.clone().into_owned(),
        place: drift.place.clone(),
        service,
        operation,
        status: drift.status,
        peer: Some(drift.peer.clone()).filter(|peer| !peer.is_empty()),
        count: drift.count,
        first_at_ms: drift.first_at_ms,
        last_at_ms: drift.last_at_ms,
        call_id: drift.call_id.to_string(),
        bundle_digest: batch.bundle.to_string(),
        vm: batch.vm.to_string(),
        sequence,
    }
}

pub(super) fn judged(batch: &Batch, judged: &report::Judged, sequence: u64, names: Option<&Names>) -> Judged {
    let count = |count: &report::JudgedCount| {
        let (service, operation) = named(count.operation, names);
        JudgedCount { service, operation, side: side(count.side), count: count.count }
    };
    Judged {
        at_ms: judged.at_ms,
        counts: judged.counts.iter().map(count).collect(),
        bundle_digest: batch.bundle.to_string(),
        vm: batch.vm.to_string(),
        sequence,
    }
}

pub(super) fn named(operation: Option<OperationIndex>, names: Option<&Names>) -> (String, String) {
    let found = operation.and_then(|index| names?.operation(index));
    let (service, operation) = found.unwrap_or_default();
    (service.to_owned(), operation.to_owned())
}

const fn side(side: report::Side) -> Side {
    match side {
        report::Side::Request => Side::Request,
        report::Side::Response => Side::Response,
    }
}
