//! The ledger, as the server uses it: the package `palisade-ledger`, and what of it is measured.

mod metrics;

pub use metrics::LedgerMetrics;
pub use palisade_ledger::*;
