//! What the ledger records, and its JSON form. Pure.
//!
//! The stored bytes are one JSON object: the fields in the order of the struct, without white space; an absent
//! option is left out. The frame's kind says which struct it is, the frame's version which shape of it.
//!
//! Within a version fields may be added, never removed or changed in meaning, and a reader ignores those that it
//! does not know. A server that is rolled back can then still read what its successor wrote, and nothing is lost:
//! the stored bytes stay as they are, and the leaf hash covers all of them. A field that must not be overlooked
//! is a new version, which older readers refuse. A code that an enum here does not know is refused as well.
//!
//! INVARIANT: no query is ever stored; it may carry secrets, and whoever fills an entry may have forgotten it.

mod credential;
mod drift;
mod header;
mod load;
mod unusual;

pub use credential::Credential;
pub use drift::{Drift, Judged, JudgedCount, Side};
pub use header::{HeaderName, UnrecordableHeader};
pub use load::{Load, LoadCount, LoadLevel, Sheds, Storm};
pub use unusual::{Spike, Undecided};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::error::AppendError;
use crate::frame::{FrameError, Kind, Stored};

/// One record of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "almost every entry is the large one, and a box would cost it an allocation"
)]
pub enum Entry {
    Decision(Decision),
    Refusal(Refusal),
    Outcome(Outcome),
    Admin(Admin),
    Drift(Drift),
    Judged(Judged),
    Shed(Sheds),
    Load(Load),
}

/// What the server concluded about one call, and everything that it rested on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The call id, a UUID in its usual text form.
    pub decision_id: String,
    /// Since the Unix epoch, when the decision was made.
    pub at_ms: u64,
    /// Empty, like `operation` and `class`, where no contract claims the request.
    pub service: String,
    pub operation: String,
    pub class: String,
    pub method: String,
    pub host: String,
    /// Whatever follows a `?` or `#` is left out when stored.
    #[serde(serialize_with = "without_query")]
    pub path: String,
    pub query_present: bool,
    /// The client's `x-request-id`: an attribute, never a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    pub principal: String,
    pub proof: Proof,
    /// The peer's own identity, whoever the principal is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    pub decision: Conclusion,
    /// The stable code that the caller is told.
    pub reason: String,
    /// The ids of the policies that determined the decision.
    pub policies: Vec<String>,
    /// What went wrong while policies were evaluated; an allow has none.
    pub errors: Vec<String>,
    /// In hexadecimal.
    pub bundle_digest: String,
    pub epoch: Epoch,
    /// What the handoff was worth, as a stable code: `current`, `previous_bundle`, `missing`, `forged` and others.
    pub handoff: String,
    pub latency_us: u64,
    /// What would have been decided if the shadow policies counted; only where that is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// What the candidate bundle made of the call; only where there was one and it came to a conclusion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    /// What the filter concluded, as its handoff vouches for it; absent where no handoff did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Passed>,
    /// Which try of its caller this is, by the word of the proxies before; 1 proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// A keyed digest of method, authority, path with query, and the body where the server saw it whole, in hexadecimal:
    /// equal requests join, and whoever has the key can show that one was this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_digest: Option<String>,
    /// What the policies were asked beside caller, operation, host and path. Absent where they were not asked, and in
    /// entries of servers that did not write it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// What the credential says of the principal; absent where that is a certificate or nothing, and in entries of servers
    /// that did not write it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
}

/// The filter's verdict `pass`, and what it found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Passed {
    /// The body was held until the filter had judged it.
    pub body_judged: bool,
    pub grpc: bool,
    pub upgrade: bool,
}

/// The values of a request that policies could ask for, by name, each as JSON: numbers as numbers, lists as lists,
/// decimals and addresses as texts. What the request did not have is left out.
///
/// Names are shared with the bundle that declares them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub path: BTreeMap<Arc<str>, serde_json::Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<Arc<str>, serde_json::Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<HeaderName, serde_json::Value>,
    /// By JSON pointer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub body: BTreeMap<Arc<str>, serde_json::Value>,
    /// What the bundle masks, and what is too long to be stored, by part and name as in `query.token` and
    /// `body./customer/id`: a keyed digest of the value, or null where it was dropped.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub masked: BTreeMap<Arc<str>, Option<String>>,
    /// Those of `masked` that policies of this operation read: the decision cannot be made again from this entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_replayable: Vec<Arc<str>>,
}

/// What the filter itself concluded against a request, by its own report. The server was not asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The call id, a UUID in its usual text form.
    pub call_id: String,
    /// Since the Unix epoch, by the clock of the filter.
    pub at_ms: u64,
    pub verdict: Verdict,
    /// The stable code that the caller is told.
    pub reason: String,
    /// Where the rule was broken, as in `body/items/3/price` or `query/limit`, and never a value. Absent where the reason
    /// says all, and in entries of servers that did not know it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Empty, like `operation`, where no contract claims the request or its head could not be read.
    pub service: String,
    pub operation: String,
    pub method: String,
    pub host: String,
    /// Whatever follows a `?` or `#` is left out when stored.
    #[serde(serialize_with = "without_query")]
    pub path: String,
    /// The identity in the peer's certificate, as the proxy verified it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Which try of its caller this is, by the word of the proxies before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Something said that this is not a first attempt. Only of what was shed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
    /// In hexadecimal.
    pub bundle_digest: String,
    /// The VM of the filter that reports, and the report's number there, counted from 0: a number that is missing was lost.
    pub vm: String,
    pub sequence: u64,
}

/// The filter's conclusion against a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It breaks a rule.
    Reject,
    /// It is one too many.
    Shed,
}

/// A decision that was not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    pub decision: Conclusion,
    /// The ids of the policies that would have determined it.
    pub policies: Vec<String>,
    /// What went wrong while they were evaluated.
    pub errors: Vec<String>,
}

/// The conclusion of a candidate bundle, which was evaluated beside the one in force.
///
/// It stands in each decision that was compared, so that how many were is told by the entries themselves, whatever
/// became of the server between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Of the candidate, in hexadecimal.
    pub bundle_digest: Arc<str>,
    /// Absent where it came to the same decision for the same reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Otherwise>,
}

/// A decision of a candidate bundle that is not the one that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Otherwise {
    pub decision: Conclusion,
    /// The stable code that the caller would have been told.
    pub reason: String,
    /// The ids of the candidate's policies that would have determined it.
    pub policies: Vec<String>,
    /// What went wrong while they were evaluated.
    pub errors: Vec<String>,
}

/// How the principal was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    Mtls,
    ApiKey,
    /// A signed token.
    Jwt,
    /// An opaque token, of which its issuer was asked.
    Introspection,
    None,
}

/// What the server decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    Allow,
    Deny,
}

/// The state that a decision was made under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch {
    pub server: String,
    pub counter: u64,
}

/// How a call ended, as Envoy's access log tells it: best effort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The decision's id; absent where the call ended without a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// Since the Unix epoch, when the call ended.
    pub at_ms: u64,
    /// The HTTP status, or 0 where none was sent.
    pub status: u32,
    /// Envoy's response code details.
    pub details: String,
    /// Envoy's response flags.
    pub flags: Vec<String>,
    pub duration_us: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// The proxy's name for the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The address that the call was sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_host: Option<String>,
    pub method: String,
    pub host: String,
    /// Whatever follows a `?` or `#` is left out when stored.
    #[serde(serialize_with = "without_query")]
    pub path: String,
    /// The reason code, where the filter itself ended the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_reason: Option<String>,
}

/// Something that happened to the server and not to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admin {
    /// Since the Unix epoch.
    pub at_ms: u64,
    pub event: AdminEvent,
    /// For people; it names what the event is about.
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminEvent {
    Start,
    Stop,
    BundleLoaded,
    BundleRefused,
    /// Handoff secrets or API keys were replaced; which, the detail says.
    CredentialsLoaded,
    CredentialsRefused,
    /// A candidate bundle is evaluated beside the one in force from now on; which, the detail says.
    CandidateLoaded,
    CandidateRefused,
    KeyCreated,
    /// Opening the ledger cut off an unfinished write.
    LedgerRecovered,
    /// A segment could not be written any more, and the ledger went on in another one.
    SegmentReplaced,
    /// Retention deletes the entries before this one.
    EntriesDeleted {
        before: u64,
    },
    /// So many reports of one VM of a filter, from this number on, will never come.
    ReportsLost {
        vm: String,
        from: u64,
        count: u64,
    },
    /// Of the calls that the entries from `from` to before `to` tell of, so many have no outcome.
    OutcomesMissing {
        from: u64,
        to: u64,
        count: u64,
    },
    /// One caller has far more of something than it usually has.
    Spike(Spike),
    /// Calls that were answered without entries of their own, because the server could not decide or record in time.
    Undecided(Undecided),
    /// A caller began to ask far more often again than at first.
    StormBegan(Storm),
    /// It ended; what it was in all, this says.
    StormEnded(Storm),
}

impl Entry {
    pub fn kind(&self) -> Kind {
        match self {
            Entry::Decision(_) => Kind::Decision,
            Entry::Refusal(_) => Kind::Refusal,
            Entry::Outcome(_) => Kind::Outcome,
            Entry::Admin(_) => Kind::Admin,
            Entry::Drift(_) => Kind::Drift,
            Entry::Judged(_) => Kind::Judged,
            Entry::Shed(_) => Kind::Shed,
            Entry::Load(_) => Kind::Load,
        }
    }

    /// The stored form, in the newest version of its kind.
    pub fn encode(&self) -> Result<Stored, AppendError> {
        let mut json = Vec::new();
        self.write_to(&mut json)?;
        let bytes = json.len();
        Stored::new(self.kind(), json).map_err(|_: FrameError| AppendError::TooLarge { bytes })
    }

    /// Adds the stored form to `into`.
    pub(crate) fn write_to(&self, into: &mut Vec<u8>) -> Result<(), AppendError> {
        let written = match self {
            Entry::Decision(decision) => serde_json::to_writer(into, decision),
            Entry::Refusal(refusal) => serde_json::to_writer(into, refusal),
            Entry::Outcome(outcome) => serde_json::to_writer(into, outcome),
            Entry::Admin(admin) => serde_json::to_writer(into, admin),
            Entry::Drift(drift) => serde_json::to_writer(into, drift),
            Entry::Judged(judged) => serde_json::to_writer(into, judged),
            Entry::Shed(sheds) => serde_json::to_writer(into, sheds),
            Entry::Load(load) => serde_json::to_writer(into, load),
        };
        written.map_err(|error| AppendError::Unencodable { cause: error.to_string().into() })
    }

    /// Reads the stored bytes of a frame of this kind and version.
    pub fn decode(kind: Kind, version: u8, stored: &[u8]) -> Result<Entry, EntryError> {
        if version != 1 {
            return Err(EntryError::UnknownVersion { kind, version });
        }
        let entry = match kind {
            Kind::Decision => serde_json::from_slice(stored).map(Entry::Decision),
            Kind::Refusal => serde_json::from_slice(stored).map(Entry::Refusal),
            Kind::Outcome => serde_json::from_slice(stored).map(Entry::Outcome),
            Kind::Admin => serde_json::from_slice(stored).map(Entry::Admin),
            Kind::Drift => serde_json::from_slice(stored).map(Entry::Drift),
            Kind::Judged => serde_json::from_slice(stored).map(Entry::Judged),
            Kind::Shed => serde_json::from_slice(stored).map(Entry::Shed),
            Kind::Load => serde_json::from_slice(stored).map(Entry::Load),
        };
        entry.map_err(|error| EntryError::Malformed { kind, cause: error.to_string() })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryError {
    UnknownVersion { kind: Kind, version: u8 },
    Malformed { kind: Kind, cause: String },
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryError::UnknownVersion { kind, version } => {
                FrameError::UnknownVersion { kind: *kind, version: *version }.fmt(f)
            }
            EntryError::Malformed { kind, cause } => {
                write!(f, "its content is not what version 1 of {} entries promises: {cause}", kind.name())
            }
        }
    }
}

impl std::error::Error for EntryError {}

fn without_query<S: Serializer>(path: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let (path, _query) = path.split_once(['?', '#']).unwrap_or((path, ""));
    serializer.serialize_str(path)
}

#[cfg(test)]
pub(crate) mod tests;
