//! The one integration binary: each module is a claim about the whole, shown on a real Envoy.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what helps a test fails it like the test itself"
)]

mod audit;
mod bodies;
mod body_context;
mod bundle_tests;
mod bundles;
mod canary;
mod cancelled;
mod candidate;
mod contract;
mod core_in_wasm;
mod corpora;
mod drills;
mod durability;
mod entries;
mod facts;
mod fails_open;
mod floods;
mod full_disk;
mod fuzz_corpora;
mod gaps;
mod grpc;
mod handoff;
mod identity;
mod istio;
mod json_readers;
mod kills;
mod ledger_faults;
mod limiter;
mod module;
mod outage;
mod outcomes;
mod persons;
mod reload;
mod reports;
mod runtimes;
mod scale;
mod server_links;
mod shed;
mod skew;
mod soak;
mod spikes;
mod test_command;
mod tidy;
mod traces;
