//! The harness: real parts, started on free ports, killed by their id, and what they logged when a test fails.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a harness that cannot go on fails its test; nothing here is on a request path"
)]
