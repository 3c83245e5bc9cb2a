//! What `/storm` shows, and what `palisade storm` reads: names and rates, for now.
//!
//! INVARIANT: a reader ignores what it does not know, so that it may be of another version than the server.

use serde::{Deserialize, Serialize};

use crate::ledger::Storm;

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Since the Unix epoch.
    pub at_ms: u64,
    /// By name.
    pub services: Vec<ServiceView>,
    /// Those with the most retries and sheds first, and then those with the most attempts.
    pub callers: Vec<CallerView>,
    /// Storms that are under way.
    pub storms: Vec<Storm>,
}

/// One service. Rates are of about the last ten seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    pub service: String,
    /// Of all workers of proxies that told lately, of which there are `vms`.
    pub limit: u64,
    pub load: u64,
    pub retry_tokens: u64,
    pub vms: u64,
    pub attempts_per_s: f64,
    pub retries_per_s: f64,
    pub amplification: f64,
    /// Those that there are.
    pub sheds: Vec<ShedView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShedView {
    pub reason: String,
    /// `enforce` or `shadow`.
    pub mode: String,
    pub per_s: f64,
}

/// One caller of one operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallerView {
    pub caller: String,
    pub service: String,
    pub operation: String,
    pub attempts_per_s: f64,
    pub retries_per_s: f64,
    pub sheds_per_s: f64,
    pub amplification: f64,
}
