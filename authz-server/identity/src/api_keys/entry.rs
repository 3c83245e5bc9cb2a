//! How keys stand in their file: version 2 as it is written, version 1 as it is still read. Pure.
//!
//! INVARIANT: what is not understood whole is refused whole: a key of which half is known would be good for too much.

use super::file::{ID_DIGITS, KEYS_MAX, KeyRecord, Replaced, SECRET_DIGITS, WITHOUT_ID};
use super::when::{parse_rfc3339, rfc3339};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

const VERSION: u32 = 2;

/// Each call with a key of version 1 is compared with all of them; this bounds it.
const WITHOUT_ID_MAX: usize = 4096;

const CLIENT_BYTES_MAX: usize = 256;
const SCOPE_BYTES_MAX: usize = 128;
const SCOPES_MAX: usize = 64;

pub(super) fn parse(text: &[u8]) -> Result<Vec<KeyRecord>, String> {
    let versioned: Versioned = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let records = match versioned.version {
        1 => {
            let file: FileOf<EntryV1> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
            file.keys.into_iter().map(EntryV1::checked).collect::<Result<Vec<_>, _>>()?
        }
        VERSION => {
            let file: FileOf<Entry> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
            file.keys.into_iter().map(Entry::checked).collect::<Result<Vec<_>, _>>()?
        }
        other => return Err(format!("unknown version `{other}`: this build reads versions 1 and {VERSION}")),
    };
    check_all(&records)?;
    Ok(records)
}

/// The text of version 2.
pub(super) fn render(records: &[KeyRecord]) -> Result<String, serde_json::Error> {
    let keys = records.iter().map(Entry::of).collect();
    Ok(serde_json::to_string_pretty(&FileOf { version: VERSION, keys })? + "\n")
}

/// The one thing to read before the rest can be.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileOf<E> {
    version: u32,
    keys: Vec<E>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryV1 {
    client: String,
    sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    client: String,
    sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scopes: Option<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced: Option<EntryReplaced>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryReplaced {
    by: String,
    not_after: String,
}

impl EntryV1 {
    fn checked(self) -> Result<KeyRecord, String> {
        let EntryV1 { client, sha256 } = self;
        let sha256 = decode(&sha256)
            .ok_or_else(|| format!("`sha256` of client `{client}` is not 64 hexadecimal digits"))?;
        Ok(KeyRecord {
            id: id_of_hash(&sha256).into(),
            client,
            sha256,
            scopes: None,
            created_s: None,
            expires_s: None,
            replaced: None,
            revoked_s: None,
        })
    }
}

impl Entry {
    fn of(record: &KeyRecord) -> Entry {
        let replaced = |replaced: &Replaced| EntryReplaced {
            by: replaced.by.clone(),
            not_after: rfc3339(replaced.not_after_s),
        };
        Entry {
            id: record.id.to_string(),
            client: record.client.clone(),
            sha256: hex::encode(record.sha256),
            scopes: record.scopes.as_deref().cloned(),
            created: record.created_s.map(rfc3339),
            expires: record.expires_s.map(rfc3339),
            replaced: record.replaced.as_ref().map(replaced),
            revoked: record.revoked_s.map(rfc3339),
        }
    }

    fn checked(self) -> Result<KeyRecord, String> {
        let Entry { id, client, sha256, scopes, created, expires, replaced, revoked } = self;
        let time = |name: &str, text: Option<String>| match text {
            None => Ok(None),
            Some(text) => parse_rfc3339(&text).map(Some).ok_or_else(|| {
                format!("`{name}` of key `{id}` is `{text}`: expected a time like `2027-01-31T12:00:00Z`")
            }),
        };
        let digits =
            decode(&sha256).ok_or_else(|| format!("`sha256` of key `{id}` is not 64 hexadecimal digits"))?;
        let (created_s, expires_s) = (time("created", created)?, time("expires", expires)?);
        let revoked_s = time("revoked", revoked)?;
        let replaced = match replaced {
            None => None,
            Some(EntryReplaced { by, not_after }) => {
                time("not_after", Some(not_after))?.map(|not_after_s| Replaced { by, not_after_s })
            }
        };
        let scopes = scopes.map(Arc::new);
        Ok(KeyRecord {
            id: id.into(),
            client,
            sha256: digits,
            scopes,
            created_s,
            expires_s,
            replaced,
            revoked_s,
        })
    }
}

fn check_all(records: &[KeyRecord]) -> Result<(), String> {
    if records.len() > KEYS_MAX {
        return Err(format!("{} keys are over the limit of {KEYS_MAX}", records.len()));
    }
    let without_id = records.iter().filter(|record| record.is_without_id()).count();
    if without_id > WITHOUT_ID_MAX {
        return Err(format!("{without_id} keys of version 1 are over the limit of {WITHOUT_ID_MAX}"));
    }
    let (mut hashes, mut ids) = (HashSet::new(), HashSet::new());
    for record in records {
        check(record)?;
        if !hashes.insert(record.sha256) {
            return Err(format!("the key of client `{}` is issued twice", record.client));
        }
        if !ids.insert(&record.id) {
            return Err(format!("two keys have the id `{}`", record.id));
        }
    }
    Ok(())
}

/// What holds of a key alone.
pub(super) fn check(record: &KeyRecord) -> Result<(), String> {
    let KeyRecord { id, client, sha256, scopes, .. } = record;
    if record.is_without_id() {
        if **id != id_of_hash(sha256) {
            return Err(format!("the id `{id}` does not fit the key's `sha256`"));
        }
    } else if !is_key_id(id) {
        return Err(format!("`{id}` is no id of a key: expected {ID_DIGITS} digits of `0`–`9`, `a`–`f`"));
    }
    if client.is_empty() || client.len() > CLIENT_BYTES_MAX || client.chars().any(char::is_control) {
        return Err(format!(
            "the client of key `{id}` has no proper name: expected 1 to {CLIENT_BYTES_MAX} bytes without control characters"
        ));
    }
    let Some(scopes) = scopes else { return Ok(()) };
    if scopes.is_empty() || scopes.len() > SCOPES_MAX {
        return Err(format!(
            "key `{id}` has {} scopes: expected 1 to {SCOPES_MAX}, or none of the list",
            scopes.len()
        ));
    }
    match scopes.iter().find(|scope| !is_scope(scope)) {
        Some(scope) => Err(format!(
            "`{}` is no scope: expected 1 to {SCOPE_BYTES_MAX} printable characters without space, `\"` and `\\`",
            scope.escape_debug()
        )),
        None => Ok(()),
    }
}

/// OAuth's own rule for a scope.
fn is_scope(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    !text.is_empty() && text.len() <= SCOPE_BYTES_MAX && text.bytes().all(allowed)
}

pub(super) fn is_key_id(text: &str) -> bool {
    text.len() == ID_DIGITS && is_lower_hex(text)
}

pub(super) fn is_secret(text: &str) -> bool {
    text.len() == SECRET_DIGITS && is_lower_hex(text)
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The name of a key that has none in its text.
fn id_of_hash(sha256: &[u8; 32]) -> String {
    let digits: String = hex::encode(sha256).chars().take(ID_DIGITS).collect();
    format!("{WITHOUT_ID}{digits}")
}

fn decode(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

pub(super) fn render_version_1<'k>(
    issued: impl Iterator<Item = (&'k str, [u8; 32])>,
) -> Result<String, serde_json::Error> {
    let keys = issued
        .map(|(client, sha256)| EntryV1 { client: client.to_owned(), sha256: hex::encode(sha256) })
        .collect();
    serde_json::to_string_pretty(&FileOf { version: 1, keys })
}
