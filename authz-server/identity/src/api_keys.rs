//! API keys: who holds one, as the file of hashes has it.
//!
//! A key is `plsd_<id>_<secret>`. The id is public and finds the one hash to compare with, so the cost is the same for
//! one key and for thousands. Keys of version 1 have no id, and are compared with all of their kind.
//!
//! INVARIANT: a key itself is never stored, logged or compared byte by byte; its SHA-256 is, in constant time. The
//! secret is 256 random bits, so that a fast hash gives a thief nothing to guess: a slow one is for what people make up,
//! and here it would only let strangers burn the server's time.
//! INVARIANT: what became of a key is only said of one that was really sent: ids alone learn nothing.

mod entry;
mod file;
mod store;
#[cfg(test)]
mod tests;
mod when;

pub use file::{ChangeRefused, Drawn, Issue, KeyRecord, KeyState, KeysFile, Replaced, Rotation};
pub use store::{KeysStoreError, update};
pub use when::{parse_expiry, parse_overlap, rfc3339};

use entry::{is_key_id, is_secret};
use file::KEY_PREFIX;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// A longer header value is not a key of ours, and is not worth hashing.
const KEY_BYTES_MAX: usize = 512;

/// What a key with an id that nobody has is compared with, so that it takes as long.
const NOBODY: [u8; 32] = [0; 32];

/// The issued keys.
#[derive(Debug)]
pub struct ApiKeys {
    by_id: HashMap<Arc<str>, KeyRecord>,
    /// Keys of version 1. Each of them is compared, whichever it is.
    without_id: Vec<KeyRecord>,
}

/// Whose key it was that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHolder<'k> {
    /// The public part of the key.
    pub id: &'k Arc<str>,
    pub client: &'k str,
    /// What the key is good for, where it says so.
    pub scopes: Option<&'k Arc<BTreeSet<String>>>,
}

/// Why a key proves nothing. For the ledger: the caller is told the same of all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKeyError {
    /// No text that a key of ours can be.
    Malformed,
    Unknown,
    Revoked {
        id: Arc<str>,
        client: String,
        at_s: u64,
    },
    Expired {
        id: Arc<str>,
        client: String,
        at_s: u64,
    },
    /// Its time beside the key that took its place is over.
    Replaced {
        id: Arc<str>,
        client: String,
        by: String,
        at_s: u64,
    },
}

impl fmt::Display for ApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApiKeyError::Malformed => f.write_str("the API key is not one: no key of ours looks like it"),
            ApiKeyError::Unknown => f.write_str("the API key is none of those issued"),
            ApiKeyError::Revoked { id, client, at_s } => {
                write!(f, "the API key `{id}` of client `{client}` was revoked on {}", rfc3339(*at_s))
            }
            ApiKeyError::Expired { id, client, at_s } => {
                write!(f, "the API key `{id}` of client `{client}` expired on {}", rfc3339(*at_s))
            }
            ApiKeyError::Replaced { id, client, by, at_s } => write!(
                f,
                "the API key `{id}` of client `{client}` was replaced by `{by}`, and could be used until {}",
                rfc3339(*at_s)
            ),
        }
    }
}

/// Why a file of keys cannot be used.
#[derive(Debug)]
pub struct ApiKeysError {
    path: PathBuf,
    detail: String,
}

impl fmt::Display for ApiKeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API keys in `{}` cannot be used: {}", self.path.display(), self.detail)
    }
}

impl std::error::Error for ApiKeysError {}

impl ApiKeys {
    pub fn read(path: &Path) -> Result<ApiKeys, ApiKeysError> {
        let fail = |detail: String| ApiKeysError { path: path.to_owned(), detail };
        let text = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
        ApiKeys::parse(&text).map_err(fail)
    }

    pub fn parse(text: &[u8]) -> Result<ApiKeys, String> {
        let mut keys = ApiKeys { by_id: HashMap::new(), without_id: Vec::new() };
        for record in KeysFile::parse(text)?.into_records() {
            match record.is_without_id() {
                true => keys.without_id.push(record),
                false => {
                    keys.by_id.insert(record.id.clone(), record);
                }
            }
        }
        Ok(keys)
    }

    /// The text of version 1 for keys that somebody drew by their own form.
    pub fn render<'k>(
        issued: impl IntoIterator<Item = (&'k str, &'k str)>,
    ) -> Result<String, serde_json::Error> {
        entry::render_version_1(issued.into_iter().map(|(client, key)| (client, hash(key))))
    }

    /// Whose key this is, at `now_ms`.
    pub fn client_of(&self, key: &str, now_ms: u64) -> Result<KeyHolder<'_>, ApiKeyError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(ApiKeyError::Malformed);
        }
        let sent = hash(key);
        let record = match key.strip_prefix(KEY_PREFIX) {
            Some(rest) => {
                let (id, secret) = rest.split_once('_').unwrap_or_default();
                let known = self.by_id.get(id);
                let expected = known.map_or(&NOBODY, |record| &record.sha256);
                let holds = bool::from(expected.ct_eq(&sent));
                if !is_key_id(id) || !is_secret(secret) {
                    return Err(ApiKeyError::Malformed);
                }
                known.filter(|_| holds)
            }
            None => {
                let mut found = None;
                for record in &self.without_id {
                    if bool::from(record.sha256.ct_eq(&sent)) {
                        found = Some(record);
                    }
                }
                found
            }
        };
        holder(record.ok_or(ApiKeyError::Unknown)?, now_ms)
    }
}

fn holder(record: &KeyRecord, now_ms: u64) -> Result<KeyHolder<'_>, ApiKeyError> {
    let KeyRecord { id, client, scopes, .. } = record;
    let (id, client) = (id.clone(), client.clone());
    match record.state(now_ms / 1000) {
        KeyState::Live | KeyState::Retiring { .. } => {
            Ok(KeyHolder { id: &record.id, client: &record.client, scopes: scopes.as_ref() })
        }
        KeyState::Revoked { at_s } => Err(ApiKeyError::Revoked { id, client, at_s }),
        KeyState::Expired { at_s } => Err(ApiKeyError::Expired { id, client, at_s }),
        KeyState::Replaced { at_s } => {
            let by = record.replaced.as_ref().map(|replaced| replaced.by.clone()).unwrap_or_default();
            Err(ApiKeyError::Replaced { id, client, by, at_s })
        }
    }
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}
