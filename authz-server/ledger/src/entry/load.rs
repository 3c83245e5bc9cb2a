//! What load did: requests that were shed and not told one by one, what was let through beside them, and storms.
//!
//! INVARIANT: nobody's call stands here. A row is about many, with one of them as an example.

use serde::{Deserialize, Serialize};

/// How often requests of one kind were shed, since the filter last told of it, beside those that have entries of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sheds {
    /// The stable code that the callers were told; `other` where it is several.
    pub reason: String,
    /// Something said that they were not first attempts.
    pub retry: bool,
    /// They went on all the same: the contract has it so.
    pub shadow: bool,
    /// The rate limit that said no; absent where it was the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Empty, like `operation`, where it is several, or one that this server does not know.
    pub service: String,
    pub operation: String,
    /// The identity in the peer's certificate, as the proxy verified it; `…` where it is several.
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

/// What a filter that sheds let through since it last told of it, and how its shedders stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Since the Unix epoch, by the clock of the filter: when it was told.
    pub at_ms: u64,
    pub counts: Vec<LoadCount>,
    pub levels: Vec<LoadLevel>,
    /// In hexadecimal.
    pub bundle_digest: String,
    /// As in sheds.
    pub vm: String,
    pub sequence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadCount {
    /// Empty, like `operation`, where it is several, or one that this server does not know.
    pub service: String,
    pub operation: String,
    /// Requests that were let through, retries among them.
    pub admitted: u64,
    pub retries: u64,
    /// How many the service failed, of these or of those before.
    pub failed: u64,
}

/// How the shedder of one service stands in one VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadLevel {
    pub service: String,
    /// How many requests may be in work, and how many are.
    pub limit: u32,
    pub load: u32,
    /// How many retries the budget still has.
    pub retry_tokens: u32,
}

/// A caller who asks a service again and again. `-` stands for a caller whom nobody proved, `…` for several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Storm {
    pub caller: String,
    pub service: String,
    /// The one that is asked for most often again.
    pub operation: String,
    /// Since the Unix epoch, when it was found.
    pub since_ms: u64,
    /// How long it took, so far.
    pub duration_ms: u64,
    /// First attempts, retries and sheds so far, from some ten seconds before it was found.
    pub first_attempts: u64,
    pub retries: u64,
    pub sheds: u64,
    /// Attempts for each hundred first attempts, at the worst.
    pub amplification_percent: u64,
}
