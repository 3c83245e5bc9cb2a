//! What is counted of the policies that decisions ask: by the index, not all of them.
//!
//! INVARIANT: what is counted never falls, whichever bundle is in force; calls that end with the bundle before are
//! not counted any more.

use crate::bundle::Bundle;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Clone, Default)]
pub(crate) struct PolicyMetrics(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    /// Of the bundles before: requests, and policies that were evaluated for them.
    before: (u64, u64),
    bundle: Option<Arc<Bundle>>,
}

impl PolicyMetrics {
    pub(crate) fn register(registry: &mut Registry) -> PolicyMetrics {
        let metrics = PolicyMetrics::default();
        registry.register_collector(Box::new(metrics.clone()));
        metrics
    }

    /// From now on these policies are asked.
    pub(crate) fn of(&self, bundle: &Arc<Bundle>) {
        let mut counted = self.lock();
        let is_new = counted.bundle.as_ref().is_none_or(|known| !Arc::ptr_eq(known, bundle));
        if is_new {
            counted.before = counted.all();
            let old = counted.bundle.replace(Arc::clone(bundle));
            drop(counted);
            // A large bundle takes a while to be let go of, and not under the lock.
            drop(old);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        // Two numbers that were held while something panicked are still two numbers.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn all(&self) -> (u64, u64) {
        let (requests, policies) = self.bundle.as_ref().map_or((0, 0), |bundle| bundle.policies.asked());
        (self.before.0.saturating_add(requests), self.before.1.saturating_add(policies))
    }
}

impl Collector for PolicyMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (requests, policies) = self.lock().all();
        let mut counter = |name, help, value: u64| {
            let metric = ConstCounter::new(value);
            let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(encoder)
        };
        counter("policy_requests", "Requests that policies were asked about", requests)?;
        counter(
            "policy_candidates",
            "Policies that were evaluated for them, because their scopes match",
            policies,
        )
    }
}
