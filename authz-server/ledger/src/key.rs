//! The key that signs checkpoints: one file, made at the first start and never again.
//!
//! INVARIANT: the private key is in one file that only the server's user can read, and is never told.

use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::{SignerKey, VerifierKey};
use crate::error::{FileError, KeyError};
use crate::file::Files;

/// The files beside the segments.
pub(crate) const SIGNING_KEY_FILE: &str = "signing.key";
pub const VERIFIER_KEY_FILE: &str = "verifier.key";

/// A key that did not exist before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedKey {
    pub path: PathBuf,
    /// To be copied to where the ledger is verified.
    pub verifier: String,
}

/// Reads the key, or makes one if the ledger was never signed.
pub(crate) fn open<F: Files>(
    files: &F,
    dir: &Path,
    path: &Path,
    is_signed: bool,
) -> Result<(SignerKey, Option<CreatedKey>), KeyError> {
    let fail = |action, path: &Path| {
        let path = path.to_owned();
        move |source| FileError { action, path, source }
    };
    let (key, is_new) = match files.read(path) {
        Ok(contents) => {
            let text = std::str::from_utf8(&contents).ok();
            let key = text.and_then(SignerKey::parse);
            (key.ok_or_else(|| KeyError::Malformed { path: path.to_owned() })?, false)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_signed => {
            return Err(KeyError::Lost { path: path.to_owned() });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = generate()?;
            let text = key.private_text();
            files.replace(path, text.as_bytes(), true).map_err(fail("write", path))?;
            (key, true)
        }
        Err(source) => return Err(fail("read", path)(source).into()),
    };
    let public = dir.join(VERIFIER_KEY_FILE);
    let verifier = key.verifier().text();
    let line = format!("{verifier}\n");
    if files.read(&public).ok().as_deref() != Some(line.as_bytes()) {
        files.replace(&public, line.as_bytes(), true).map_err(fail("write", &public))?;
    }
    let created = is_new.then(|| CreatedKey { path: path.to_owned(), verifier });
    Ok((key, created))
}

/// Reads the public key that lies beside the segments.
pub(crate) fn verifier<F: Files>(files: &F, dir: &Path) -> Result<Option<VerifierKey>, FileError> {
    let path = dir.join(VERIFIER_KEY_FILE);
    match files.read(&path) {
        Ok(contents) => {
            Ok(std::str::from_utf8(&contents).ok().and_then(|text| VerifierKey::parse(text).ok()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError { action: "read", path, source }),
    }
}

fn generate() -> Result<SignerKey, KeyError> {
    let random = |bytes: &mut [u8]| {
        getrandom::fill(bytes).map_err(|error| KeyError::Randomness { cause: error.to_string() })
    };
    let (mut seed, mut name) = ([0; 32], [0; 8]);
    random(&mut seed)?;
    random(&mut name)?;
    // A name of its own, so that checkpoints of two ledgers are never taken for one another.
    Ok(SignerKey::new(format!("palisade.internal/ledger/{}", hex::encode(name)), &seed))
}
