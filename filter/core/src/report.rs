//! Reports: what the filter itself refused, and what broke a rule without being refused, in batches that the server
//! acknowledges. A table of contents, and the words.
//!
//! `subject` reads what a refused request was, `drift` and `shed` count what is not told call by call, `load` what was let
//! through, `outbox` keeps reports until they are acknowledged, `batch` is what travels.
//! INVARIANT: each item of a VM has the next number of that VM. What is told of a run of numbers is either each refusal or
//! that they were lost, so that stored, lost and counted sheds together are what was refused; what is counted is never
//! lost, because it is only given a number where there is room.

mod batch;
mod drift;
mod load;
mod outbox;
mod rows;
mod shed;
mod subject;
#[cfg(test)]
mod tests;

pub use batch::{Batch, BatchError, read_message, read_reply, write_message, write_reply};
pub use drift::{DriftKey, DriftTable, OTHER, SEVERAL, general_place};
pub use load::{LoadTable, Passed};
pub use outbox::Outbox;
pub use shed::{ShedKey, ShedTable};
pub use subject::{ATTEMPT_HEADER, Kept, Subject, shown};

use crate::call_id::CallId;
use crate::routes::OperationIndex;
use std::borrow::Cow;

/// The service of the server that takes batches, and its method: bytes in one field in, bytes in one field out.
pub const SERVICE: &str = "palisade.filter.v1.Reports";
pub const METHOD: &str = "Submit";

/// Where the VM's environment names the server's cluster. Without it nothing is reported.
pub const CLUSTER_VARIABLE: &str = "PALISADE_REPORTS_CLUSTER";

/// One VM of a filter, by a random number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmId(pub [u8; 16]);

impl core::fmt::Display for VmId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// One server, by the random number in its state. All zero is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ServerId(pub [u8; 16]);

/// The filter's conclusion against a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// It breaks a rule.
    Reject = 1,
    /// It is one too many.
    Shed = 2,
}

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub call_id: CallId,
    /// Since 1970, by the clock of the filter.
    pub at_ms: u64,
    pub verdict: Verdict,
    /// A reason's code. The server may be older than the filter and not know it.
    pub reason: Cow<'static, str>,
    pub operation: Option<OperationIndex>,
    pub subject: Subject,
    /// The peer's identity as the proxy verified it; empty without.
    pub peer: String,
    /// Where the rule was broken, as in `body/items/3/price` or `query/limit`; empty where the reason says all. Never a
    /// value.
    pub place: String,
    /// Something says that this is not a first attempt. Only told of what is shed.
    pub retry: bool,
}

/// Which way the thing went that broke a rule without being refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Side {
    Request = 1,
    Response = 2,
}

impl Side {
    pub const ALL: [Side; 2] = [Side::Request, Side::Response];

    pub const fn name(self) -> &'static str {
        match self {
            Side::Request => "request",
            Side::Response => "response",
        }
    }
}

/// A rule that was broken without a refusal, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// `None`: of several operations, because there was no room to tell them apart.
    pub operation: Option<OperationIndex>,
    pub side: Side,
    /// A reason's code, or `OTHER`. The server may be older than the filter and not know it.
    pub reason: Cow<'static, str>,
    /// As in a report, with `*` for each number, or `SEVERAL`.
    pub place: String,
    /// Of a response.
    pub status: Option<u16>,
    /// The peer's identity as the proxy verified it; empty without, and where there was no room.
    pub peer: String,
    pub count: u64,
    /// Since 1970, by the clock of the filter.
    pub first_at_ms: u64,
    pub last_at_ms: u64,
    /// Of the first one: an example to look at.
    pub call_id: CallId,
}

/// How many were judged since the last time, so that it can be told of how many drift is a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// When it was told: since 1970, by the clock of the filter.
    pub at_ms: u64,
    pub counts: Vec<JudgedCount>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgedCount {
    /// `None`: of several operations.
    pub operation: Option<OperationIndex>,
    pub side: Side,
    pub count: u64,
}

/// Sheds of one kind that were not told one by one, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheds {
    /// `None`: of several operations, because there was no room to tell them apart.
    pub operation: Option<OperationIndex>,
    /// A reason's code, or `OTHER`. The server may be older than the filter and not know it.
    pub reason: Cow<'static, str>,
    pub retry: bool,
    /// They went on all the same.
    pub shadow: bool,
    /// The rate limit that said no; empty where it was the load.
    pub limit: String,
    /// The peer's identity as the proxy verified it; empty without, and `SEVERAL` where there was no room.
    pub peer: String,
    pub count: u64,
    /// Since 1970, by the clock of the filter.
    pub first_at_ms: u64,
    pub last_at_ms: u64,
    /// Of the first one: an example to look at.
    pub call_id: CallId,
}

/// What a VM that sheds let through since the last time, and how its shedders stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// When it was told: since 1970, by the clock of the filter.
    pub at_ms: u64,
    pub counts: Vec<LoadCount>,
    pub levels: Vec<LoadLevel>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadCount {
    /// `None`: of several operations.
    pub operation: Option<OperationIndex>,
    /// Requests that were let through, retries among them.
    pub admitted: u64,
    pub retries: u64,
    /// How many the service failed, of these or of those before.
    pub failed: u64,
}

/// How the shedder of one service stands in one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadLevel {
    /// Any operation of the service says which it is.
    pub operation: OperationIndex,
    /// How many requests may be in work, and how many are.
    pub limit: u32,
    pub load: u32,
    /// How many retries the budget still has.
    pub retry_tokens: u32,
}

/// What a number, or a run of numbers, was given to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Refused(Report),
    /// Refusals that were not kept, and how many of each reason there were.
    Lost(Vec<(Cow<'static, str>, u64)>),
    Drifted(Drift),
    Judged(Judged),
    Shed(Sheds),
    Load(Load),
}

impl Item {
    /// How many numbers it takes.
    pub fn numbers(&self) -> u64 {
        match self {
            Item::Refused(_) | Item::Drifted(_) | Item::Judged(_) | Item::Shed(_) | Item::Load(_) => 1,
            Item::Lost(reasons) => {
                reasons.iter().fold(0, |total: u64, (_, count)| total.saturating_add(*count))
            }
        }
    }
}
