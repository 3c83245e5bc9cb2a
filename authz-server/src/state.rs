//! What a server remembers between starts: who it is, how often it changed, which bundle it served before.
//!
//! INVARIANT: the counter of an epoch never repeats: it is on disk before anything is decided under it.

use palisade_core::contract::BundleDigest;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
const FILE: &str = "epoch.json";

/// The folder of the ledger inside of the state directory.
pub const LEDGER_DIRECTORY: &str = "ledger";

/// Names the state under which a decision was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Which server: made once, at its first start.
    pub server: String,
    /// Counts starts and changes of the bundle.
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
    pub previous: Option<PreviousBundle>,
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
    previous: Option<StoredPrevious>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPrevious {
    bundle: String,
    replaced_at_ms: u64,
}

impl State {
    /// Begins the next epoch of this directory. Whoever calls must hold its ledger open: the ledger's lock is what keeps
    /// a second server from writing here, and from naming its bundle as one that was served.
    pub fn open(directory: &Path, bundle: BundleDigest, now_ms: u64) -> Result<State, StateError> {
        let path = directory.join(FILE);
        let fail = |detail: String| StateError { path: path.clone(), detail };
        fs::create_dir_all(directory).map_err(|error| fail(error.to_string()))?;
        let next = match fs::read(&path) {
            Ok(text) => follow(&text, bundle, now_ms).map_err(fail)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => begin(bundle).map_err(fail)?,
            Err(error) => return Err(fail(error.to_string())),
        };
        write_durably(directory, &path, &next).map_err(|error| fail(error.to_string()))?;
        let previous = next.previous.as_ref().map(|previous| {
            let digest = BundleDigest::parse(&previous.bundle)
                .ok_or_else(|| fail(format!("`{}` is not a bundle digest", previous.bundle)))?;
            Ok(PreviousBundle { digest, replaced_at_ms: previous.replaced_at_ms })
        });
        Ok(State {
            epoch: Epoch { server: next.server, counter: next.counter },
            previous: previous.transpose()?,
        })
    }
}

fn begin(bundle: BundleDigest) -> Result<Stored, String> {
    let mut id = [0_u8; 16];
    getrandom::fill(&mut id).map_err(|error| format!("the system gives no randomness: {error}"))?;
    Ok(Stored {
        version: VERSION,
        server: hex::encode(id),
        counter: 1,
        bundle: bundle.to_string(),
        previous: None,
    })
}

fn follow(text: &[u8], bundle: BundleDigest, now_ms: u64) -> Result<Stored, String> {
    let stored: Stored = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if stored.version != VERSION {
        return Err(format!("unknown version `{}`: this build reads version {VERSION}", stored.version));
    }
    let counter = stored.counter.checked_add(1).ok_or("the counter is exhausted")?;
    let bundle = bundle.to_string();
    let previous = if stored.bundle == bundle {
        stored.previous
    } else {
        Some(StoredPrevious { bundle: stored.bundle, replaced_at_ms: now_ms })
    };
    Ok(Stored { version: VERSION, server: stored.server, counter, bundle, previous })
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
mod tests {
    use super::{PreviousBundle, State};
    use palisade_core::contract::BundleDigest;

    #[test]
    fn the_counter_goes_on_and_the_bundle_before_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (BundleDigest([1; 32]), BundleDigest([2; 32]));
        let open = |bundle, now_ms| State::open(directory.path(), bundle, now_ms).unwrap();
        let first = open(one, 10);
        assert_eq!((first.epoch.counter, first.previous), (1, None));
        let again = open(one, 20);
        assert_eq!((again.epoch.counter, again.previous), (2, None));
        assert_eq!(again.epoch.server, first.epoch.server);
        let changed = open(two, 30);
        let previous = Some(PreviousBundle { digest: one, replaced_at_ms: 30 });
        assert_eq!((changed.epoch.counter, changed.previous), (3, previous));
        assert_eq!(open(two, 40).previous, previous, "a restart does not forget it");
    }

    #[test]
    fn a_state_that_is_not_understood_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let check = |text: &str, part: &str| {
            std::fs::write(directory.path().join("epoch.json"), text).unwrap();
            let error = State::open(directory.path(), BundleDigest([1; 32]), 1).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check("", "EOF");
        check(
            r#"{"version":2,"server":"a","counter":1,"bundle":"","previous":null}"#,
            "unknown version `2`: this build reads version 1",
        );
        check(
            r#"{"version":1,"server":"a","counter":18446744073709551615,"bundle":"","previous":null}"#,
            "exhausted",
        );
    }
}
