//! Palisade's core: bytes and the time in, verdict and effects out. A table of contents.
//!
//! INVARIANT: nothing here reads a clock, does IO, logs or draws randomness; it cannot fail for outside reasons.
//! The filter's shell and the server link the same code, so that both read a request in the same way.
//!
//! One request's way: `head` (with `path`, `authority`, `headers`) → `contract` (`routes`) → `rules` (`parameters`, and for
//! bodies `json`, `forms` and `schema`) → `handoff` → `exchange`, which holds the steps together and says what the shell
//! must do. What it refused is told to the server by `report`.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]
#![warn(clippy::wildcard_enum_match_arm)]

pub mod attempt;
pub mod authority;
pub mod call_id;
pub mod canary;
pub mod contract;
pub mod exchange;
pub mod forms;
pub mod handoff;
pub mod head;
pub mod headers;
pub mod json;
pub mod limits;
pub mod load;
pub mod media;
pub mod method;
pub mod number;
pub mod parameters;
pub mod path;
pub mod rates;
pub mod reason;
pub mod reply;
pub mod report;
pub mod responses;
pub mod routes;
pub mod rules;
pub mod schema;
pub mod shed;
pub mod trailers;
pub mod violation;
pub mod wire;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
