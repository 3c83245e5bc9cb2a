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
    comparisons: Family<ResultLabels, Counter>,
}

impl CandidateMetrics {
    pub(crate) fn register(registry: &mut Registry) -> CandidateMetrics {
        let comparisons = Family::<ResultLabels, Counter>::default();
        registry.register(
            "candidate_comparisons",
            "Decisions about which the candidate bundle was asked as well, by what came of it",
            comparisons.clone(),
        );
        for comparison in Comparison::ALL {
            // A counter that begins with 1 has no increase.
            drop(comparisons.get_or_create(&ResultLabels { result: comparison.name() }));
        }
        CandidateMetrics { comparisons }
    }

    pub(crate) fn compared(&self, comparison: Option<Comparison>) {
        if let Some(comparison) = comparison {
            self.comparisons.get_or_create(&ResultLabels { result: comparison.name() }).inc();
        }
    }
}
