//! What is asked of a shedder, and what it says.
//!
//! INVARIANT: plain values; none of them holds a place in the service.

use crate::contract::Priority;

/// An operation, by which latencies are compared. It outlives configurations, in which indexes mean something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct OperationKey(pub u32);

impl OperationKey {
    /// By its name in the contract: FNV-1a.
    pub fn named(name: &str) -> OperationKey {
        OperationKey(
            name.bytes()
                .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)),
        )
    }
}

/// A caller, as a keyed hash that is made outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallerKey(pub u64);

/// A request that wants to go to the service.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    pub priority: Priority,
    /// Known to be a second attempt or a later one.
    pub retry: bool,
    pub operation: OperationKey,
    /// How long the caller waits.
    pub timeout_us: Option<u64>,
    pub concurrency_max: Option<u32>,
}

/// Why a request was shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// More would only wait.
    Load,
    /// Retries of now are more than their budget, or first attempts need what is left.
    Retry,
    /// Its caller has its share already.
    Share,
    /// Its caller would not wait long enough for an answer.
    Deadline,
}

/// When a caller that was shed may come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushback {
    Later(u32),
    Never,
}

/// How things stand, for metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// How many may be in the service.
    pub limit: u32,
    pub in_flight: u32,
    /// Requests that nobody waits for any more, and that the service still works on.
    pub ghosts: u32,
    pub retry_tokens: f64,
    /// The median latency of the last window, in what it would be without a queue.
    pub stress: f64,
    /// How many times longer answers take without a queue than operations took when they were learned.
    pub slowness: f64,
    /// How many requests of one caller are let in within about a second; infinite while all get what they ask for.
    pub share: f64,
}
