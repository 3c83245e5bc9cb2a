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

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::error::AppendError;
use crate::frame::{FrameError, Kind, Stored};

/// One record of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Decision(Decision),
    Outcome(Outcome),
    Admin(Admin),
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

/// How the principal was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    Mtls,
    ApiKey,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminEvent {
    Start,
    Stop,
    BundleLoaded,
    BundleRefused,
    /// Handoff secrets or API keys were replaced; which, the detail says.
    CredentialsLoaded,
    CredentialsRefused,
    KeyCreated,
    /// Opening the ledger cut off an unfinished write.
    LedgerRecovered,
    /// A segment could not be written any more, and the ledger went on in another one.
    SegmentReplaced,
    /// Retention deletes the entries before this one.
    EntriesDeleted {
        before: u64,
    },
}

impl Entry {
    pub fn kind(&self) -> Kind {
        match self {
            Entry::Decision(_) => Kind::Decision,
            Entry::Outcome(_) => Kind::Outcome,
            Entry::Admin(_) => Kind::Admin,
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
            Entry::Outcome(outcome) => serde_json::to_writer(into, outcome),
            Entry::Admin(admin) => serde_json::to_writer(into, admin),
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
            Kind::Outcome => serde_json::from_slice(stored).map(Entry::Outcome),
            Kind::Admin => serde_json::from_slice(stored).map(Entry::Admin),
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
