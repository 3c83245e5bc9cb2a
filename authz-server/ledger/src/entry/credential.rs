//! What a credential says of the principal beside its name.
//!
//! INVARIANT: never the credential itself, nor anything that one could be found by: only what it says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What was read of a token or of a key's record. What it does not say is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// What the bundle calls the issuer of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The public id of the API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// By the names that policies have for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, serde_json::Value>,
    /// Absent where it does not say what it is good for; empty where it is good for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The second since the Unix epoch from which on it is worth nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_s: Option<u64>,
    /// What the bundle masks, and what is too long to be stored, by name: a keyed digest, or null where it was dropped. A
    /// decision on such a caller cannot be made again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub masked: BTreeMap<String, Option<String>>,
}
