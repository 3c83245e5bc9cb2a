//! What a server remembers between starts: who it is, how often it changed, which bundles it served, and the key of its
//! digests.
//!
//! INVARIANT: the counter of an epoch never repeats: it is on disk before anything is decided under it.
//! INVARIANT: a bundle is on disk before anything is decided by it.

mod bundles;
mod digest_key;

pub use bundles::{BundleError, Bundles};
pub use digest_key::{CreatedDigestKey, DIGEST_KEY_FILE};

use crate::bundle::Snapshot;
use crate::digests::Digests;
use palisade_core::contract::BundleDigest;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

const VERSION: u32 = 2;
const FILE: &str = "epoch.json";

/// Bundles that were in force and are remembered for handoffs. Filters that lag are served by a rollout or two; whoever
/// changes bundles faster than filters follow meets this bound, and its filters are then denied and named.
const PREVIOUS_MAX: usize = 64;

/// The folder of the ledger inside of the state directory.
pub const LEDGER_DIRECTORY: &str = "ledger";

/// Names the state under which a decision was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Which server: made once, at its first start.
    pub server: String,
    /// Counts starts, and changes of what decisions are made by: bundle, handoff secrets, API keys.
    pub counter: u64,
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.server, self.counter)
    }
}

/// A bundle that filters may still work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousBundle {
    pub digest: BundleDigest,
    pub replaced_at_ms: u64,
}

/// A state directory, opened for one bundle.
#[derive(Debug)]
pub struct State {
    pub epoch: Epoch,
    /// Those that were in force before, the last one first; never the one that is.
    pub previous: Vec<PreviousBundle>,
    pub digests: Digests,
    /// The key of the digests, if it was made just now.
    pub digest_key_created: Option<CreatedDigestKey>,
    current: BundleDigest,
    directory: PathBuf,
    bundles: Bundles,
}

#[derive(Debug)]
pub struct StateError {
    path: PathBuf,
    detail: String,
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the state in `{}` cannot be used: {}", self.path.display(), self.detail)
    }
}

impl std::error::Error for StateError {}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    server: String,
    counter: u64,
    bundle: String,
    previous: Vec<StoredPrevious>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPrevious {
    bundle: String,
    replaced_at_ms: u64,
}

/// Version 1 remembered one bundle.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredV1 {
    #[serde(rename = "version")]
    _version: u32,
    server: String,
    counter: u64,
    bundle: String,
    previous: Option<StoredPrevious>,
}

#[derive(Debug, Deserialize)]
struct StoredVersion {
    version: u32,
}

impl State {
    /// Keeps the bundle and begins the next epoch of this directory. Whoever calls must hold its ledger open: the
    /// ledger's lock is what keeps a second server from writing here, and from naming its bundle as one that was served.
    pub fn open(directory: &Path, bundle: &Snapshot, now_ms: u64) -> Result<State, StateError> {
        let path = directory.join(FILE);
        let fail = |detail: String| StateError { path: path.clone(), detail };
        fs::create_dir_all(directory).map_err(|error| fail(error.to_string()))?;
        let mut state = match fs::read(&path) {
            Ok(text) => {
                let stored = Stored::parse(&text).map_err(fail)?;
                State::of(directory, stored, digest_key::open(directory, true).map_err(fail)?)
                    .map_err(fail)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = digest_key::open(directory, false).map_err(fail)?;
                State::begin(directory, bundle.digest(), key).map_err(fail)?
            }
            Err(error) => return Err(fail(error.to_string())),
        };
        state.keep(bundle).map_err(|error| fail(error.to_string()))?;
        state.advance(bundle.digest(), now_ms)?;
        Ok(state)
    }

    /// Keeps the files of a bundle by its digest; on disk when this returns.
    pub fn keep(&self, bundle: &Snapshot) -> Result<(), BundleError> {
        self.bundles.keep(bundle)
    }

    /// Where exactly the files of that bundle are.
    pub fn bundle(&self, digest: BundleDigest) -> Result<PathBuf, BundleError> {
        self.bundles.find(digest)
    }

    /// Begins the next epoch, with this bundle in force. After an error everything is as it was.
    ///
    /// A bundle that comes back is current again and no longer one of those before, so that after A, B, A handoffs
    /// made under A are judged as current ones, and those under B are honoured from the moment when B was replaced.
    pub fn advance(&mut self, bundle: BundleDigest, now_ms: u64) -> Result<(), StateError> {
        let path = self.directory.join(FILE);
        let fail = |detail: String| StateError { path: path.clone(), detail };
        let counter =
            self.epoch.counter.checked_add(1).ok_or_else(|| fail("the counter is exhausted".to_owned()))?;
        let mut previous = self.previous.clone();
        if self.current != bundle {
            previous.retain(|known| known.digest != bundle && known.digest != self.current);
            previous.insert(0, PreviousBundle { digest: self.current, replaced_at_ms: now_ms });
            previous.truncate(PREVIOUS_MAX);
        }
        let stored = Stored {
            version: VERSION,
            server: self.epoch.server.clone(),
            counter,
            bundle: bundle.to_string(),
            previous: previous.iter().map(StoredPrevious::of).collect(),
        };
        write_durably(&self.directory, &path, &stored).map_err(|error| fail(error.to_string()))?;
        let replaced = std::mem::replace(&mut self.current, bundle);
        self.epoch.counter = counter;
        self.previous = previous;
        self.tidy(replaced, now_ms);
        Ok(())
    }

    /// Lets go of bundles that need not be kept. What cannot be removed now is removed another time.
    fn tidy(&self, replaced: BundleDigest, now_ms: u64) {
        let now = UNIX_EPOCH + Duration::from_millis(now_ms);
        self.bundles.touch(replaced, now);
        if replaced == self.current {
            return;
        }
        let mut honoured: Vec<BundleDigest> = self.previous.iter().map(|known| known.digest).collect();
        honoured.push(self.current);
        if let Err(error) = self.bundles.prune(&honoured, now) {
            tracing::warn!(%error, "old bundles could not be removed");
        }
    }

    fn begin(
        directory: &Path,
        bundle: BundleDigest,
        (digests, digest_key_created): (Digests, Option<CreatedDigestKey>),
    ) -> Result<State, String> {
        let mut id = [0_u8; 16];
        getrandom::fill(&mut id).map_err(|error| format!("the system gives no randomness: {error}"))?;
        Ok(State {
            epoch: Epoch { server: hex::encode(id), counter: 0 },
            previous: Vec::new(),
            digests,
            digest_key_created,
            current: bundle,
            directory: directory.to_owned(),
            bundles: Bundles::of(directory),
        })
    }

    fn of(
        directory: &Path,
        stored: Stored,
        (digests, digest_key_created): (Digests, Option<CreatedDigestKey>),
    ) -> Result<State, String> {
        Ok(State {
            epoch: Epoch { server: stored.server, counter: stored.counter },
            previous: stored.previous.iter().map(StoredPrevious::parse).collect::<Result<_, _>>()?,
            digests,
            digest_key_created,
            current: digest(&stored.bundle)?,
            directory: directory.to_owned(),
            bundles: Bundles::of(directory),
        })
    }
}

impl Stored {
    fn parse(text: &[u8]) -> Result<Stored, String> {
        let read = |error: serde_json::Error| error.to_string();
        let StoredVersion { version } = serde_json::from_slice(text).map_err(read)?;
        match version {
            1 => {
                let StoredV1 { server, counter, bundle, previous, .. } =
                    serde_json::from_slice(text).map_err(read)?;
                Ok(Stored {
                    version: VERSION,
                    server,
                    counter,
                    bundle,
                    previous: previous.into_iter().collect(),
                })
            }
            VERSION => serde_json::from_slice(text).map_err(read),
            unknown => Err(format!("unknown version `{unknown}`: this build reads versions 1 and {VERSION}")),
        }
    }
}

impl StoredPrevious {
    fn of(previous: &PreviousBundle) -> StoredPrevious {
        StoredPrevious { bundle: previous.digest.to_string(), replaced_at_ms: previous.replaced_at_ms }
    }

    fn parse(&self) -> Result<PreviousBundle, String> {
        Ok(PreviousBundle { digest: digest(&self.bundle)?, replaced_at_ms: self.replaced_at_ms })
    }
}

fn digest(text: &str) -> Result<BundleDigest, String> {
    BundleDigest::parse(text).ok_or_else(|| format!("`{text}` is not a bundle digest"))
}

/// A reader finds the old file or the new one, whenever the power fails.
fn write_durably(directory: &Path, path: &Path, stored: &Stored) -> io::Result<()> {
    let fresh = path.with_extension("json.new");
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(stored)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
