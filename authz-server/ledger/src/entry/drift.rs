//! What broke a rule without being refused, and of how many that is a part: counted by filters, and told in their time.
//!
//! INVARIANT: nobody's call stands here. A row is about many, with one of them as an example.

use serde::{Deserialize, Serialize};

/// How often one thing broke one rule in one place, since the filter last told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    pub side: Side,
    /// The stable code that a refusal would have; `other` where it is several.
    pub reason: String,
    /// As in a refusal, with `*` for any number; `…` where it is several.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// Empty, like `operation`, where it is several, or one that this server does not know.
    pub service: String,
    pub operation: String,
    /// Of a response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The identity in the peer's certificate, as the proxy verified it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    pub count: u64,
    /// Since the Unix epoch, by the clock of the filter.
    pub first_at_ms: u64,
    pub last_at_ms: u64,
    /// Of the first one, a UUID in its usual text form.
    pub call_id: String,
    /// In hexadecimal.
    pub bundle_digest: String,
    /// The VM of the filter that reports, and the report's number there, among those of refusals.
    pub vm: String,
    pub sequence: u64,
}

/// How many were judged since the filter last told of it, whatever came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Since the Unix epoch, by the clock of the filter: when it was told.
    pub at_ms: u64,
    pub counts: Vec<JudgedCount>,
    /// In hexadecimal.
    pub bundle_digest: String,
    /// As in drift.
    pub vm: String,
    pub sequence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedCount {
    /// Empty, like `operation`, where it is several, or one that this server does not know.
    pub service: String,
    pub operation: String,
    pub side: Side,
    pub count: u64,
}

/// Which way the thing went that broke a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Request,
    Response,
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
