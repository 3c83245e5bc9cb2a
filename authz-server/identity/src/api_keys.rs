//! API keys: a file of hashes, each with the client that the key was issued to.
//!
//! INVARIANT: a key itself is never stored, logged or compared byte by byte; its SHA-256 is, in constant time. Keys are
//! random and long (`palisade dev` draws 256 bits), so that a fast hash gives a thief nothing to guess.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;

const VERSION: u32 = 1;

/// A longer header value is not a key of ours, and is not worth hashing.
const KEY_BYTES_MAX: usize = 512;

/// Each check compares with all keys, so that the time tells nothing; this bounds it.
const KEYS_MAX: usize = 4096;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    version: u32,
    keys: Vec<KeyEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    client: String,
    sha256: String,
}

/// The issued keys.
#[derive(Debug)]
pub struct ApiKeys {
    keys: Vec<([u8; 32], String)>,
}

/// Why a file of keys cannot be used.
#[derive(Debug)]
pub struct ApiKeysError {
    path: PathBuf,
    detail: String,
}

impl std::fmt::Display for ApiKeysError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
        let file: KeysFile = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if file.version != VERSION {
            return Err(format!("unknown version `{}`: this build reads version {VERSION}", file.version));
        }
        if file.keys.len() > KEYS_MAX {
            return Err(format!("{} keys are over the limit of {KEYS_MAX}", file.keys.len()));
        }
        let mut keys = Vec::with_capacity(file.keys.len());
        for KeyEntry { client, sha256 } in file.keys {
            let hash = decode_hex(&sha256)
                .ok_or_else(|| format!("`sha256` of client `{client}` is not 64 hexadecimal digits"))?;
            if keys.iter().any(|(known, _)| *known == hash) {
                return Err(format!("the key of client `{client}` is issued twice"));
            }
            keys.push((hash, client));
        }
        Ok(ApiKeys { keys })
    }

    /// The file's text for freshly issued keys.
    pub fn render<'k>(
        issued: impl IntoIterator<Item = (&'k str, &'k str)>,
    ) -> Result<String, serde_json::Error> {
        let entry = |(client, key): (&str, &str)| KeyEntry {
            client: client.to_owned(),
            sha256: hex::encode(hash(key)),
        };
        let keys = issued.into_iter().map(entry).collect();
        serde_json::to_string_pretty(&KeysFile { version: VERSION, keys })
    }

    /// Whose key this is. Looks at every key, whichever it is.
    pub fn client_of(&self, key: &str) -> Option<&str> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return None;
        }
        let sent = hash(key);
        let mut found = None;
        for (known, client) in &self.keys {
            if bool::from(known.ct_eq(&sent)) {
                found = Some(client.as_str());
            }
        }
        found
    }
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::ApiKeys;

    #[test]
    fn a_key_leads_to_its_client_and_nothing_else_does() {
        let text = ApiKeys::render([("web", "example-key-1"), ("support", "example-key-2")]).unwrap();
        assert!(!text.contains("example-key"), "{text}");
        let keys = ApiKeys::parse(text.as_bytes()).unwrap();
        assert_eq!(keys.client_of("example-key-1"), Some("web"));
        assert_eq!(keys.client_of("example-key-2"), Some("support"));
        for wrong in ["", "example-key-", "example-key-11", "EXAMPLE-KEY-1", &"x".repeat(600)] {
            assert_eq!(keys.client_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_that_is_not_understood_is_refused() {
        let check = |text: &str, part: &str| {
            let error = ApiKeys::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check("", "EOF");
        check(r#"{"version":2,"keys":[]}"#, "unknown version `2`: this build reads version 1");
        check(r#"{"version":1,"keys":[],"more":1}"#, "unknown field `more`");
        check(r#"{"version":1,"keys":[{"client":"web","sha256":"+1"}]}"#, "not 64 hexadecimal digits");
        let twice = ApiKeys::render([("a", "k"), ("b", "k")]).unwrap();
        check(&twice, "the key of client `b` is issued twice");
    }
}
