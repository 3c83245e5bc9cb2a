//! Retry storms on a virtual clock: chains of services, callers that try again, and what stands between them.
//!
//! The simulator tells algorithms apart and keeps their bounds in CI. It is a model: no figure of it says how long
//! anything takes in a real proxy. One run is a `scene`, played in a `world` and summed up in `figures`; `guard` has our
//! shedder and its `rivals`, `policy` the callers, `bounds` what must hold.
//! INVARIANT: a scene and a seed give the same run on every machine; no clock is read and nobody sleeps.
#![expect(
    clippy::indexing_slicing,
    reason = "a simulation that loses count of its own parts must end; nothing here is on a request path"
)]

pub mod bounds;
pub mod dice;
pub mod figures;
pub mod guard;
pub mod policy;
pub mod rivals;
pub mod scene;
pub mod service;
pub mod world;
