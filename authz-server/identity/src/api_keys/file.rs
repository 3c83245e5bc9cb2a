//! The file of API keys: version 2 as it is written, version 1 as it is still read. Pure.
//!
//! INVARIANT: a key that was issued never leaves the file by our hand: revoked and replaced ones stay as tombstones, so
//! that the ledger can say what became of a key that somebody still sends.

use super::entry;
use super::when::rfc3339;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Before every key, so that people and scanners for leaked secrets see what it is.
pub(super) const KEY_PREFIX: &str = "plsd_";

/// Before the id of a key of version 1, whose text has none: the first digits of its hash.
pub(super) const WITHOUT_ID: &str = "old-";

pub(super) const ID_DIGITS: usize = 12;
pub(super) const SECRET_DIGITS: usize = 64;

/// All keys that a file may have, tombstones as well.
pub(super) const KEYS_MAX: usize = 65_536;

/// The keys of a file, in the order in which they were issued.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeysFile {
    records: Vec<KeyRecord>,
}

/// What is known of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Public.
    pub id: Arc<str>,
    pub client: String,
    pub(super) sha256: [u8; 32],
    pub scopes: Option<Arc<BTreeSet<String>>>,
    /// Version 1 does not say.
    pub created_s: Option<u64>,
    /// It is worth nothing from this second on.
    pub expires_s: Option<u64>,
    pub replaced: Option<Replaced>,
    pub revoked_s: Option<u64>,
}

/// The end of a key that another one follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The id of the key that follows.
    pub by: String,
    pub not_after_s: u64,
}

/// What a key is worth at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    Live,
    /// Good beside the key that replaces it, until then.
    Retiring {
        until_s: u64,
    },
    Replaced {
        at_s: u64,
    },
    Expired {
        at_s: u64,
    },
    Revoked {
        at_s: u64,
    },
}

/// A key that is wanted.
#[derive(Debug, Clone, Default)]
pub struct Issue {
    /// Whose it is; for a rotation that of the key before.
    pub client: Option<String>,
    /// For a rotation without any: those of the key before.
    pub scopes: BTreeSet<String>,
    pub expires_s: Option<u64>,
    pub rotation: Option<Rotation>,
}

/// Which key the new one follows, and how long that one is still good.
#[derive(Debug, Clone)]
pub struct Rotation {
    pub id: String,
    pub overlap_s: u64,
}

/// Randomness for one key. Whoever asks for a key brings it.
pub struct Drawn {
    pub id: [u8; ID_DIGITS / 2],
    pub secret: [u8; SECRET_DIGITS / 2],
}

impl fmt::Debug for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drawn").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why the keys stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeRefused {
    /// No key has this id; these have.
    IdUnknown {
        id: String,
        known: Vec<Arc<str>>,
    },
    /// A key that is worth nothing any more cannot be rotated or revoked.
    NotLive {
        id: String,
        state: KeyState,
    },
    ClientMissing,
    OtherClient {
        id: String,
        client: String,
    },
    /// The key before expires, and nobody said when the new one does.
    ExpiryMissing {
        id: String,
    },
    Unfit(String),
    TooMany,
    /// The id that was drawn is taken.
    IdTaken,
}

impl fmt::Display for ChangeRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeRefused::IdUnknown { id, .. } => write!(f, "no key has the id `{id}`"),
            ChangeRefused::NotLive { id, state } => {
                write!(f, "key `{id}` is not live: {state}; issue a new one instead")
            }
            ChangeRefused::ClientMissing => f.write_str("whose key is it? name its client"),
            ChangeRefused::OtherClient { id, client } => {
                write!(f, "key `{id}` is that of client `{client}`: a rotation stays with its client")
            }
            ChangeRefused::ExpiryMissing { id } => {
                write!(f, "key `{id}` expires: say when the one that follows it does")
            }
            ChangeRefused::Unfit(detail) => f.write_str(detail),
            ChangeRefused::TooMany => write!(f, "the file has {KEYS_MAX} keys already, more are not read"),
            ChangeRefused::IdTaken => f.write_str("the id that was drawn is taken: draw once more"),
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyState::Live => f.write_str("live"),
            KeyState::Retiring { until_s } => write!(f, "retiring until {}", rfc3339(*until_s)),
            KeyState::Replaced { at_s } => write!(f, "replaced since {}", rfc3339(*at_s)),
            KeyState::Expired { at_s } => write!(f, "expired since {}", rfc3339(*at_s)),
            KeyState::Revoked { at_s } => write!(f, "revoked on {}", rfc3339(*at_s)),
        }
    }
}

impl KeyState {
    /// One word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyState::Live => "live",
            KeyState::Retiring { .. } => "retiring",
            KeyState::Replaced { .. } => "replaced",
            KeyState::Expired { .. } => "expired",
            KeyState::Revoked { .. } => "revoked",
        }
    }
}

impl KeyRecord {
    pub fn state(&self, now_s: u64) -> KeyState {
        if let Some(at_s) = self.revoked_s {
            return KeyState::Revoked { at_s };
        }
        if let Some(at_s) = self.expires_s.filter(|expires_s| now_s >= *expires_s) {
            return KeyState::Expired { at_s };
        }
        match &self.replaced {
            Some(Replaced { not_after_s, .. }) if now_s >= *not_after_s => {
                KeyState::Replaced { at_s: *not_after_s }
            }
            Some(Replaced { not_after_s, .. }) => KeyState::Retiring { until_s: *not_after_s },
            None => KeyState::Live,
        }
    }

    /// Whether the key's text names it.
    pub(super) fn is_without_id(&self) -> bool {
        self.id.starts_with(WITHOUT_ID)
    }
}

impl KeysFile {
    pub fn parse(text: &[u8]) -> Result<KeysFile, String> {
        entry::parse(text).map(|records| KeysFile { records })
    }

    pub fn records(&self) -> &[KeyRecord] {
        &self.records
    }

    pub(super) fn into_records(self) -> Vec<KeyRecord> {
        self.records
    }

    /// The text of version 2.
    pub fn render(&self) -> Result<String, serde_json::Error> {
        entry::render(&self.records)
    }

    /// Issues a key and tells its text, which nothing keeps.
    pub fn issue(&mut self, wanted: Issue, drawn: &Drawn, now_s: u64) -> Result<String, ChangeRefused> {
        let Issue { client, scopes, expires_s, rotation } = wanted;
        let id: Arc<str> = hex::encode(drawn.id).into();
        if self.records.len() >= KEYS_MAX {
            return Err(ChangeRefused::TooMany);
        }
        if self.records.iter().any(|record| record.id == id) {
            return Err(ChangeRefused::IdTaken);
        }
        let before = rotation.as_ref().map(|rotation| self.live(&rotation.id, now_s)).transpose()?;
        if let Some(before) = before {
            let id = before.id.to_string();
            if client.as_ref().is_some_and(|client| *client != before.client) {
                return Err(ChangeRefused::OtherClient { id, client: before.client.clone() });
            }
            if before.expires_s.is_some() && expires_s.is_none() {
                return Err(ChangeRefused::ExpiryMissing { id });
            }
        }
        let client = client.or_else(|| before.map(|before| before.client.clone()));
        let client = client.ok_or(ChangeRefused::ClientMissing)?;
        let inherited = || before.and_then(|before| before.scopes.clone());
        let scopes = if scopes.is_empty() { inherited() } else { Some(Arc::new(scopes)) };
        let key = format!("{KEY_PREFIX}{id}_{}", hex::encode(drawn.secret));
        let record = KeyRecord {
            id: id.clone(),
            client,
            sha256: super::hash(&key),
            scopes,
            created_s: Some(now_s),
            expires_s,
            replaced: None,
            revoked_s: None,
        };
        entry::check(&record).map_err(ChangeRefused::Unfit)?;
        if let Some(Rotation { id: before, overlap_s }) = rotation {
            let not_after_s = now_s.saturating_add(overlap_s);
            for record in self.records.iter_mut().filter(|record| *record.id == *before) {
                record.replaced = Some(Replaced { by: id.to_string(), not_after_s });
            }
        }
        self.records.push(record);
        Ok(key)
    }

    /// Makes a key worthless, and keeps what it was.
    pub fn revoke(&mut self, id: &str, now_s: u64) -> Result<KeyRecord, ChangeRefused> {
        let known = || self.records.iter().map(|record| record.id.clone()).collect();
        let unknown = ChangeRefused::IdUnknown { id: id.to_owned(), known: known() };
        let record = self.records.iter_mut().find(|record| *record.id == *id).ok_or(unknown)?;
        if record.revoked_s.is_some() {
            return Err(ChangeRefused::NotLive { id: id.to_owned(), state: record.state(now_s) });
        }
        record.revoked_s = Some(now_s);
        Ok(record.clone())
    }

    /// A key that can be rotated: neither over nor on its way out.
    fn live(&self, id: &str, now_s: u64) -> Result<&KeyRecord, ChangeRefused> {
        let known = || self.records.iter().map(|record| record.id.clone()).collect();
        let record = self.records.iter().find(|record| *record.id == *id);
        let record = record.ok_or_else(|| ChangeRefused::IdUnknown { id: id.to_owned(), known: known() })?;
        match record.state(now_s) {
            KeyState::Live => Ok(record),
            state => Err(ChangeRefused::NotLive { id: id.to_owned(), state }),
        }
    }
}
