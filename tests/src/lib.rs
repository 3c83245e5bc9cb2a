//! The harness: real parts, started on free ports, killed by their id, and what they logged when a test fails.
//!
//! `rig` joins the parts; `corpus` runs files of raw requests through them; the rest are the parts' own rooms.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a harness that cannot go on fails its test; nothing here is on a request path"
)]

pub mod binaries;
pub mod corpus;
pub mod deadline;
pub mod dice;
pub mod floods;
pub mod http1;
pub mod lone_server;
pub mod module;
pub mod pki;
pub mod ports;
pub mod process;
pub mod raw_client;
pub mod raw_h2;
pub mod reporter;
pub mod rig;
pub mod spy;
mod spy_h2;
