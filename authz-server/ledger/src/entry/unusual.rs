//! What the server tells of itself and of callers when something is not as usual.
//!
//! INVARIANT: bounded, however many calls it is about.

use serde::{Deserialize, Serialize};

use super::Conclusion;

/// So many calls were told the same, each without an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Undecided {
    /// An allow is by the fail mode of the operation's class.
    pub decision: Conclusion,
    /// Why they could not be decided or recorded, as the stable code that refused callers are told.
    pub reason: String,
    /// Empty, like `operation`, where nobody looked; `*` for several together.
    pub service: String,
    pub operation: String,
    pub count: u64,
    /// When the first of them was answered, since the Unix epoch.
    pub since_ms: u64,
}

/// More than usual of something that should be rare. `*` stands for caller, service or operation where it is several
/// together, `-` for a caller whom nobody proved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spike {
    /// `bad_request`, `unauthorised_write` or `denial`.
    pub kind: String,
    pub caller: String,
    pub service: String,
    pub operation: String,
    /// How many there were in the window, and how many there usually are.
    pub count: u64,
    pub usual: u64,
    pub window_s: u64,
}
