//! What is counted of comparisons with a candidate bundle.

use crate::check::Comparison;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Debug)]
pub(crate) struct CandidateMetrics {
    /// In the order of `Comparison::ALL`.
    comparisons: [Counter; Comparison::ALL.len()],
}

impl CandidateMetrics {
    pub(crate) fn register(registry: &mut Registry) -> CandidateMetrics {
        let comparisons = Family::<ResultLabels, Counter>::default();
        registry.register(
            "candidate_comparisons",
            "Decisions about which the candidate bundle was asked as well, by what came of it",
            comparisons.clone(),
        );
        // Made once, so that a call need not look for it; and a counter that begins with 1 has no increase.
        let counter = |comparison: Comparison| {
            comparisons.get_or_create(&ResultLabels { result: comparison.name() }).clone()
        };
        CandidateMetrics { comparisons: Comparison::ALL.map(counter) }
    }

    pub(crate) fn compared(&self, comparison: Option<Comparison>) {
        for (known, counter) in Comparison::ALL.into_iter().zip(&self.comparisons) {
            if comparison == Some(known) {
                counter.inc();
            }
        }
    }
}
