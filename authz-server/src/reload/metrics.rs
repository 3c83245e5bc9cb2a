//! What is counted of reloads.

use super::report::{Attempt, Outcome, Source};
use palisade_core::contract::BundleDigest;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoadLabels {
    source: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BundleLabels {
    digest: String,
}

#[derive(Debug)]
pub struct ReloadMetrics {
    bundle_loads: Family<ResultLabels, Counter>,
    bundle_last_good: Gauge,
    bundle: Family<BundleLabels, Gauge>,
    bundle_since_s: Gauge,
    load_seconds: Histogram,
    credentials_loads: Family<LoadLabels, Counter>,
    credentials_last_good: Family<SourceLabels, Gauge>,
    candidate_loads: Family<ResultLabels, Counter>,
    candidate_last_good: Family<SourceLabels, Gauge>,
    candidate: Family<BundleLabels, Gauge>,
}

impl ReloadMetrics {
    pub(crate) fn register(registry: &mut Registry) -> ReloadMetrics {
        let metrics = ReloadMetrics {
            bundle_loads: Family::default(),
            bundle_last_good: Gauge::default(),
            bundle: Family::default(),
            bundle_since_s: Gauge::default(),
            // 1 ms to 16 s: from a small bundle that is kept already to a very large one on a slow disk.
            load_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            credentials_loads: Family::default(),
            credentials_last_good: Family::default(),
            candidate_loads: Family::default(),
            candidate_last_good: Family::default(),
            candidate: Family::default(),
        };
        registry.register(
            "bundle_load",
            "Attempts to load the bundle, by result",
            metrics.bundle_loads.clone(),
        );
        registry.register(
            "bundle_last_load_successful",
            "1 while the bundle in force is what the directory holds",
            metrics.bundle_last_good.clone(),
        );
        registry.register("bundle_info", "1 for the digest of the bundle in force", metrics.bundle.clone());
        registry.register(
            "bundle_in_force_since_timestamp_seconds",
            "When the bundle in force was swapped in",
            metrics.bundle_since_s.clone(),
        );
        registry.register(
            "bundle_load_seconds",
            "From the look at the files to the swap, waiting for them to settle apart",
            metrics.load_seconds.clone(),
        );
        registry.register(
            "credentials_load",
            "Attempts to load handoff secrets, API keys and keys of issuers, by source and result",
            metrics.credentials_loads.clone(),
        );
        registry.register(
            "credentials_last_load_successful",
            "1 while what is in force is what the file holds, by source",
            metrics.credentials_last_good.clone(),
        );
        registry.register(
            "candidate_load",
            "Attempts to load the candidate bundle, by result",
            metrics.candidate_loads.clone(),
        );
        registry.register(
            "candidate_last_load_successful",
            "1 while the candidate that is evaluated is what its directory holds; absent without a candidate",
            metrics.candidate_last_good.clone(),
        );
        registry.register(
            "candidate_info",
            "1 for the digest of the candidate that is evaluated beside the bundle in force",
            metrics.candidate.clone(),
        );
        // All results are there from the start, so that the first refusal is a change that an alert can see.
        for outcome in Outcome::ALL {
            drop(metrics.bundle_loads.get_or_create(&ResultLabels { result: outcome.name() }));
        }
        metrics
    }

    pub(crate) fn attempted(&self, attempt: &Attempt) {
        for source in Source::ALL {
            let Some(outcome) = attempt.outcome_of(source) else { continue };
            let (good, result) = (i64::from(outcome.is_good()), outcome.name());
            match source {
                Source::Bundle => {
                    self.bundle_last_good.set(good);
                    self.bundle_loads.get_or_create(&ResultLabels { result }).inc();
                }
                Source::Candidate => {
                    let source = source.name();
                    self.candidate_last_good.get_or_create(&SourceLabels { source }).set(good);
                    self.candidate_loads.get_or_create(&ResultLabels { result }).inc();
                }
                Source::HandoffSecrets | Source::ApiKeys | Source::IssuerKeys => {
                    let source = source.name();
                    self.credentials_last_good.get_or_create(&SourceLabels { source }).set(good);
                    self.credentials_loads.get_or_create(&LoadLabels { source, result }).inc();
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a load does not take 2^52 ms")]
        self.load_seconds.observe(attempt.took_ms as f64 / 1000.0);
    }

    pub(crate) fn evaluated(&self, candidate: Option<BundleDigest>) {
        self.candidate.clear();
        if let Some(digest) = candidate {
            self.candidate.get_or_create(&BundleLabels { digest: digest.to_string() }).set(1);
        }
    }

    pub(crate) fn in_force(&self, digest: BundleDigest, since_ms: u64) {
        self.bundle.clear();
        self.bundle.get_or_create(&BundleLabels { digest: digest.to_string() }).set(1);
        self.bundle_since_s.set(i64::try_from(since_ms / 1000).unwrap_or(i64::MAX));
    }
}
