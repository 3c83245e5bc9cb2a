//! What is counted of load, and the gauges of it.
//!
//! INVARIANT: labels come from a bundle, from enums, or from the callers who ask most; nobody invents one.

use palisade_core::reason::Reason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel as _, EncodeLabelSet, EncodeMetric as _, LabelSetEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::StormWatch;
use super::view::View;
use crate::ledger::LoadCount;

/// In the place of a reason that this server does not know.
pub(super) const OTHER: &str = "other";

/// Callers and operations whose amplification is told.
pub(super) const CALLERS_TOLD: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShedLabels {
    service: String,
    operation: String,
    reason: &'static str,
    mode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    service: String,
    operation: String,
    attempt: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    service: String,
    operation: String,
}

/// What is counted of load.
#[derive(Debug)]
pub struct LoadMetrics {
    sheds: Family<ShedLabels, Counter>,
    attempts: Family<AttemptLabels, Counter>,
    admitted: Family<AttemptLabels, Counter>,
    failed: Family<OperationLabels, Counter>,
    critical: Counter,
    storms: Counter,
}

impl LoadMetrics {
    pub(crate) fn register(registry: &mut Registry, watch: StormWatch) -> LoadMetrics {
        let metrics = LoadMetrics {
            sheds: Family::default(),
            attempts: Family::default(),
            admitted: Family::default(),
            failed: Family::default(),
            critical: Counter::default(),
            storms: Counter::default(),
        };
        registry.register(
            "shed",
            "Requests that filters shed, or would have in shadow, by service, operation, reason and mode",
            metrics.sheds.clone(),
        );
        registry.register(
            "attempts",
            "First attempts and retries that callers made, those that were shed among them",
            metrics.attempts.clone(),
        );
        registry.register(
            "shedder_admitted",
            "Requests to services that shed that were let through, by what filters know of attempts",
            metrics.admitted.clone(),
        );
        registry.register(
            "shedder_failed",
            "Requests to services that shed that the service failed",
            metrics.failed.clone(),
        );
        registry.register(
            "shed_critical",
            "Requests of critical operations that filters shed",
            metrics.critical.clone(),
        );
        registry.register("storms", "Storms that began", metrics.storms.clone());
        registry.register_collector(Box::new(Gauges(watch)));
        metrics
    }

    pub(super) fn shed(
        &self,
        (service, operation): (&str, &str),
        reason: &'static str,
        shadow: bool,
        count: u64,
    ) {
        let mode = mode(shadow);
        let (service, operation) = (service.to_owned(), operation.to_owned());
        self.sheds.get_or_create(&ShedLabels { service, operation, reason, mode }).inc_by(count);
    }

    pub(super) fn attempted(&self, (service, operation): (&str, &str), firsts: u64, retries: u64) {
        count(&self.attempts, (service, operation), firsts, retries);
    }

    pub(super) fn passed(&self, LoadCount { service, operation, admitted, retries, failed }: &LoadCount) {
        count(&self.admitted, (service, operation), admitted.saturating_sub(*retries), *retries);
        if *failed > 0 {
            let labels = OperationLabels { service: service.clone(), operation: operation.clone() };
            self.failed.get_or_create(&labels).inc_by(*failed);
        }
    }

    pub(super) fn shed_critical(&self, count: u64) {
        self.critical.inc_by(count);
    }

    pub(super) fn storm(&self) {
        self.storms.inc();
    }
}

fn count(
    family: &Family<AttemptLabels, Counter>,
    (service, operation): (&str, &str),
    firsts: u64,
    retries: u64,
) {
    for (attempt, count) in [("first", firsts), ("retry", retries)] {
        if count > 0 {
            let (service, operation) = (service.to_owned(), operation.to_owned());
            family.get_or_create(&AttemptLabels { service, operation, attempt }).inc_by(count);
        }
    }
}

pub(super) const fn mode(shadow: bool) -> &'static str {
    if shadow { "shadow" } else { "enforce" }
}

/// A code as a label.
pub(super) fn reason_label(code: &str) -> &'static str {
    Reason::from_code(code).map_or(OTHER, Reason::code)
}

/// What is read when somebody asks, so that counting costs nothing more.
#[derive(Debug)]
struct Gauges(StormWatch);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let View { services, callers, storms, .. } = self.0.view(CALLERS_TOLD);
        let storms = ConstGauge::new(i64::try_from(storms.len()).unwrap_or(i64::MAX));
        let help = "Storms that are under way";
        storms.encode(encoder.encode_descriptor("storms_under_way", help, None, MetricType::Gauge)?)?;
        let mut family = encoder.encode_descriptor(
            "amplification",
            "Attempts for each first attempt of the callers who ask most, lately",
            None,
            MetricType::Gauge,
        )?;
        for caller in &callers {
            let labels = [
                ("caller", caller.caller.as_str()),
                ("service", &caller.service),
                ("operation", &caller.operation),
            ];
            ConstGauge::new(caller.amplification).encode(family.encode_family(&Labels(&labels))?)?;
        }
        for (name, help) in [
            ("shedder_limit", "Requests that may be in work, of all workers that told lately"),
            ("shedder_load", "Requests that are in work, of all workers that told lately"),
            ("shedder_retry_tokens", "Retries that budgets still have, of all workers that told lately"),
            ("shedder_workers", "Workers of proxies that told of their load lately"),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for service in services.iter().filter(|service| service.vms > 0) {
                let value = match name {
                    "shedder_limit" => service.limit,
                    "shedder_load" => service.load,
                    "shedder_retry_tokens" => service.retry_tokens,
                    _ => service.vms,
                };
                let labels = [("service", service.service.as_str())];
                let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
                gauge.encode(family.encode_family(&Labels(&labels))?)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Labels<'a>(&'a [(&'static str, &'a str)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        for label in self.0 {
            label.encode(encoder.encode_label())?;
        }
        Ok(())
    }
}
