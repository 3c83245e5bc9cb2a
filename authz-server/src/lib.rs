//! Palisade's ext_authz server and tools: a table of contents.
//!
//! A request's way through here is `envoy` (wire) → `check` (pipeline) → `identity` → `cedar` → `ledger` → `envoy`.

pub mod admin;
pub mod audit;
pub mod build;
pub mod bundle;
pub mod cedar;
pub mod check;
pub mod commands;
pub mod dev;
pub mod digests;
pub mod envoy;
pub mod ledger;
pub mod mint;
pub mod reload;
pub mod replay;
pub mod reports;
pub mod secrets;
pub mod serve;
pub mod spikes;
pub mod state;
pub mod storm;
pub mod telemetry;
pub mod testing;
pub mod value;

/// Who is calling: the package `palisade-identity`.
pub use palisade_identity as identity;
