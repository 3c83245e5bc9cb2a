//! What is counted of reports.

use super::drift::DriftMetrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    cause: &'static str,
}

/// Why a batch was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Forged,
    Stale,
    Malformed,
    Busy,
    NotStored,
}

impl Cause {
    const ALL: [Cause; 5] = [Cause::Forged, Cause::Stale, Cause::Malformed, Cause::Busy, Cause::NotStored];

    const fn name(self) -> &'static str {
        match self {
            Cause::Forged => "forged",
            Cause::Stale => "stale",
            Cause::Malformed => "malformed",
            Cause::Busy => "busy",
            Cause::NotStored => "not_stored",
        }
    }
}

#[derive(Debug)]
pub struct ReportMetrics {
    pub(super) drift: DriftMetrics,
    stored: Counter,
    repeated: Counter,
    lost: Counter,
    not_taken: Family<CauseLabels, Counter>,
}

impl ReportMetrics {
    pub(crate) fn register(registry: &mut Registry) -> ReportMetrics {
        let metrics = ReportMetrics {
            drift: DriftMetrics::register(registry),
            stored: Counter::default(),
            repeated: Counter::default(),
            lost: Counter::default(),
            not_taken: Family::default(),
        };
        registry.register("reports", "Refusals by filters that were stored", metrics.stored.clone());
        registry.register(
            "reports_repeated",
            "Reports that came again, and were not stored again",
            metrics.repeated.clone(),
        );
        registry.register(
            "reports_lost",
            "Refusals by filters of which only the number is known",
            metrics.lost.clone(),
        );
        registry.register(
            "report_batches_not_taken",
            "Batches of reports that were not acknowledged, by cause; their filters keep them",
            metrics.not_taken.clone(),
        );
        // All causes are there from the start, so that the first one is a change that an alert can see.
        for cause in Cause::ALL {
            drop(metrics.not_taken.get_or_create(&CauseLabels { cause: cause.name() }));
        }
        metrics
    }

    pub(super) fn taken(&self, stored: u64, lost: u64, repeated: u64) {
        self.stored.inc_by(stored);
        self.lost.inc_by(lost);
        self.repeated.inc_by(repeated);
    }

    pub(super) fn not_taken(&self, cause: Cause) {
        self.not_taken.get_or_create(&CauseLabels { cause: cause.name() }).inc();
    }
}
