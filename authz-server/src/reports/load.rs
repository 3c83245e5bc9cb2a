//! What filters report of load: the entries of it.

use super::drift::named;
use super::names::Names;
use crate::ledger::{Load, LoadCount, LoadLevel, Sheds};
use palisade_core::report::{self, Batch};

pub(super) fn sheds(batch: &Batch, sheds: &report::Sheds, sequence: u64, names: Option<&Names>) -> Sheds {
    let (service, operation) = named(sheds.operation, names);
    let told = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Sheds {
        reason: sheds.reason.clone().into_owned(),
        retry: sheds.retry,
        shadow: sheds.shadow,
        limit: told(&sheds.limit),
        service,
        operation,
        peer: told(&sheds.peer),
        count: sheds.count,
        first_at_ms: sheds.first_at_ms,
        last_at_ms: sheds.last_at_ms,
        call_id: sheds.call_id.to_string(),
        bundle_digest: batch.bundle.to_string(),
        vm: batch.vm.to_string(),
        sequence,
    }
}

pub(super) fn load(batch: &Batch, load: &report::Load, sequence: u64, names: Option<&Names>) -> Load {
    let count = |count: &report::LoadCount| {
        let (service, operation) = named(count.operation, names);
        let report::LoadCount { admitted, retries, failed, .. } = *count;
        LoadCount { service, operation, admitted, retries, failed }
    };
    let level = |level: &report::LoadLevel| {
        let (service, _) = named(Some(level.operation), names);
        LoadLevel { service, limit: level.limit, load: level.load, retry_tokens: level.retry_tokens }
    };
    Load {
        at_ms: load.at_ms,
        counts: load.counts.iter().map(count).collect(),
        levels: load.levels.iter().map(level).collect(),
        bundle_digest: batch.bundle.to_string(),
        vm: batch.vm.to_string(),
        sequence,
    }
}
