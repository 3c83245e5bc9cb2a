//! The key of the digests in entries: made at the first start, kept in the state directory.
//!
//! Without it nothing of the ledger is lost: entries made under another key no longer join with new ones, and that is
//! all. So a key that is gone is made anew, and log and ledger say so; a file that is there and cannot be read may still
//! hold the key, so it is never written over, and the server does not start. INVARIANT: no server runs without a key.

use crate::digests::Digests;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

pub const DIGEST_KEY_FILE: &str = "digest.key";

/// A key that did not exist before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedDigestKey {
    pub path: PathBuf,
    pub name: String,
    /// Whether this server was started before.
    pub again: bool,
}

impl CreatedDigestKey {
    /// For log and ledger.
    pub fn detail(&self) -> String {
        let made = format!(
            "requests and masked values are digested with the key {} in `{DIGEST_KEY_FILE}` of the state directory; whoever has it can try values until one fits: keep it there alone, and one copy where other keys are kept",
            self.name
        );
        match self.again {
            false => made,
            true => format!(
                "{made}; the state had none although it was used before: digests in earlier entries, if there are any, do not join with those from now on"
            ),
        }
    }
}

pub(super) fn open(directory: &Path, again: bool) -> Result<(Digests, Option<CreatedDigestKey>), String> {
    let path = directory.join(DIGEST_KEY_FILE);
    let fail = |error: io::Error| format!("`{}`: {error}", path.display());
    match fs::read(&path) {
        Ok(text) => Ok((Digests::new(&parse(&path, &text)?), None)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|error| format!("the system gives no randomness: {error}"))?;
            write(directory, &path, &key).map_err(fail)?;
            let digests = Digests::new(&key);
            let name = digests.name().to_owned();
            Ok((digests, Some(CreatedDigestKey { path, name, again })))
        }
        Err(error) => Err(fail(error)),
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<[u8; 32], String> {
    let mut key = [0; 32];
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    hex::decode_to_slice(digits, &mut key)
        .ok()
        .filter(|()| key != [0; 32])
        .map(|()| key)
        .ok_or_else(|| {
            format!(
                "`{}` is not a key: expected 64 hexadecimal digits; bring back the file that it was, or move it away to have a new key made",
                path.display()
            )
        })
}

/// A reader finds the whole key or none, whenever the power fails.
fn write(directory: &Path, path: &Path, key: &[u8; 32]) -> io::Result<()> {
    let fresh = path.with_extension("key.new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(format!("{}\n", hex::encode(key)).as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{DIGEST_KEY_FILE, open};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_for_this_user_only_and_found_again() {
        let state = tempfile::tempdir().unwrap();
        let (made, created) = open(state.path(), false).unwrap();
        let created = created.unwrap();
        assert_eq!(created.name, made.name());
        assert!(!created.detail().contains("earlier entries"));
        let mode = fs::metadata(&created.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (found, created) = open(state.path(), true).unwrap();
        assert_eq!((found.value(&"x"), created), (made.value(&"x"), None));
    }

    #[test]
    fn a_key_that_is_gone_is_made_anew_and_that_is_said() {
        let state = tempfile::tempdir().unwrap();
        let (first, _) = open(state.path(), false).unwrap();
        fs::remove_file(state.path().join(DIGEST_KEY_FILE)).unwrap();
        let (second, created) = open(state.path(), true).unwrap();
        assert_ne!(first.value(&"x"), second.value(&"x"));
        assert!(created.unwrap().detail().contains("do not join with those from now on"));
    }

    #[test]
    fn a_file_that_is_no_key_is_left_as_it_is() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(DIGEST_KEY_FILE);
        for text in [String::new(), "01".repeat(31), "0g".repeat(32), "00".repeat(32)] {
            fs::write(&path, &text).unwrap();
            let error = open(state.path(), true).unwrap_err();
            assert!(error.contains("expected 64 hexadecimal digits"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
