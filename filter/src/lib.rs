//! The wasm filter: reads the host, calls the core, applies what the core says. A table of contents.
//!
//! INVARIANT: no rule about requests stands here; a callback reads, calls and applies, and a failure of the host is a
//! refusal.

mod held;
mod host;
mod http;
mod load;
mod reports;
mod root;
mod workers;
