//! What is measured of the ledger: read from it when somebody asks, so that recording costs nothing more.

use palisade_ledger::{Health, Ledger, LedgerState};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// A ledger whose health is told.
#[derive(Debug)]
pub struct LedgerMetrics(pub Ledger);

impl Collector for LedgerMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Health { state, entries, batches, segments_given_up, refused_for_load, signed } = self.0.health();
        let mut counter = |name, help, value: u64| {
            let metric = ConstCounter::new(value);
            let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(encoder)
        };
        counter("ledger_batches", "Writes to the ledger, each with one sync", batches)?;
        counter(
            "ledger_segments_given_up",
            "Segments that could not be written any more",
            segments_given_up,
        )?;
        counter("ledger_refused_for_load", "Entries refused because too many waited", refused_for_load)?;
        let mut gauge = |name, help, value: u64| {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let encoder: MetricEncoder<'_> =
                encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(encoder)
        };
        let stores = u64::from(matches!(state, LedgerState::Open));
        gauge("ledger_stores", "Whether the ledger can store entries", stores)?;
        gauge("ledger_entries", "Entries that are durable", entries)?;
        gauge("ledger_signed_entries", "Entries that the latest checkpoint covers", signed.entries)?;
        gauge("ledger_signed_at_seconds", "When the latest checkpoint was signed", signed.at_s)?;
        gauge(
            "ledger_cannot_sign",
            "Whether no new checkpoint can be made",
            u64::from(signed.trouble.is_some()),
        )
    }
}
