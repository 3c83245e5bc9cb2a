//! The files of a bundle as they stood at one moment, before anybody has understood them.
//!
//! INVARIANT: it holds what the digest covers, no more and no less: written elsewhere it has the same digest.

use super::files::Files;
use super::problem::Problems;
use palisade_core::contract::BundleDigest;
use std::path::Path;

/// What a bundle is, byte by byte.
#[derive(Debug)]
pub struct Snapshot {
    digest: BundleDigest,
    files: Files,
}

impl Snapshot {
    pub fn read(directory: &Path) -> Result<Snapshot, Problems> {
        let files = Files::whole(directory)?;
        Ok(Snapshot { digest: files.digest(), files })
    }

    pub fn digest(&self) -> BundleDigest {
        self.digest
    }

    /// Each file's path inside of the bundle, slashes between its parts, and its text.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|file| (file.path.as_str(), file.text.as_str()))
    }
}
