//! The bundles that decisions were made by, kept by digest, so that an old decision can be evaluated again.
//!
//! INVARIANT: a folder named by a digest is whole: it was written beside, synced, and renamed. What is read back is
//! digested again, so that a disk that lies is found out.
//!
//! A bundle is kept while it is in force or still honoured for handoffs, while it is among the newest `KEPT_MIN`, and
//! for `KEPT_FOR` after it was last in force; what is beyond all of these goes.

use crate::bundle::Snapshot;
use palisade_core::contract::BundleDigest;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Kept however old they are: who changes policies twice a year can look back for decades.
const KEPT_MIN: usize = 100;

/// Kept however many they are.
const KEPT_FOR: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What a bundle is called while it is written. Hidden, so that nobody takes it for one.
const UNFINISHED: &str = ".unfinished";

/// The folder of kept bundles.
#[derive(Debug, Clone)]
pub struct Bundles {
    directory: PathBuf,
}

/// Why a bundle is not at hand.
#[derive(Debug)]
pub enum BundleError {
    NotKept { digest: BundleDigest },
    Damaged { path: PathBuf, detail: String },
    Store { path: PathBuf, error: io::Error },
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BundleError::NotKept { digest } => {
                write!(f, "bundle {digest} is not kept here: another server had it, or it became too old")
            }
            BundleError::Damaged { path, detail } => {
                write!(f, "`{}` is no longer the bundle that it was: {detail}", path.display())
            }
            BundleError::Store { path, error } => {
                write!(f, "the bundle cannot be kept in `{}`: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for BundleError {}

impl Bundles {
    /// Those of the state directory `state`.
    pub fn of(state: &Path) -> Bundles {
        Bundles { directory: state.join("bundles") }
    }

    /// The folder that holds exactly the files of that bundle.
    pub fn find(&self, digest: BundleDigest) -> Result<PathBuf, BundleError> {
        let path = self.path(digest);
        if !path.is_dir() {
            return Err(BundleError::NotKept { digest });
        }
        let damaged = |detail| BundleError::Damaged { path: path.clone(), detail };
        let found = Snapshot::read(&path).map_err(|problems| damaged(problems.to_string()))?.digest();
        if found == digest { Ok(path) } else { Err(damaged(format!("its digest is {found}"))) }
    }

    /// Keeps a bundle; when this returns it is on disk. One that is kept already costs a look.
    pub(super) fn keep(&self, snapshot: &Snapshot) -> Result<(), BundleError> {
        let path = self.path(snapshot.digest());
        let failed = |error| BundleError::Store { path: path.clone(), error };
        if self.find(snapshot.digest()).is_ok() {
            return Ok(());
        }
        let unfinished = self.directory.join(UNFINISHED);
        remove(&unfinished).map_err(failed)?;
        let written = self.write(snapshot, &unfinished, &path);
        if written.is_err() {
            // Half a bundle is of no use, and on a full disk its room is.
            let _gone = remove(&unfinished);
        }
        written.map_err(failed)
    }

    fn write(&self, snapshot: &Snapshot, unfinished: &Path, path: &Path) -> io::Result<()> {
        let mut folders = vec![unfinished.to_owned()];
        fs::create_dir_all(unfinished)?;
        for (name, text) in snapshot.files() {
            let file = unfinished.join(name);
            if let Some(folder) = file.parent().filter(|folder| !folders.iter().any(|known| known == folder))
            {
                fs::create_dir_all(folder)?;
                folders.push(folder.to_owned());
            }
            let mut file = File::create_new(file)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
        }
        // A folder is made with those above it, so all of these are synced, not only those that hold files.
        let above: Vec<PathBuf> = folders
            .iter()
            .flat_map(|folder| folder.ancestors().take_while(|above| above.starts_with(unfinished)))
            .map(Path::to_path_buf)
            .collect();
        for folder in above {
            File::open(folder)?.sync_all()?;
        }
        // What stands there, if anything does, was found to be damaged.
        remove(path)?;
        fs::rename(unfinished, path)?;
        File::open(&self.directory)?.sync_all()
    }

    /// Notes that a bundle was in force until now.
    pub(super) fn touch(&self, digest: BundleDigest, now: SystemTime) {
        // Best effort: what is lost is a few days of keeping it.
        let _noted = File::open(self.path(digest)).and_then(|folder| folder.set_modified(now));
    }

    /// Removes what need not be kept, but never those in `honoured`; how many went.
    pub(super) fn prune(&self, honoured: &[BundleDigest], now: SystemTime) -> io::Result<usize> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let digest = entry.file_name().to_str().and_then(BundleDigest::parse);
            if let Some(digest) = digest.filter(|digest| !honoured.contains(digest)) {
                kept.push((entry.metadata()?.modified()?, digest));
            }
        }
        kept.sort();
        let beyond = (kept.len() + honoured.len()).saturating_sub(KEPT_MIN);
        let is_old = |last: &SystemTime| now.duration_since(*last).is_ok_and(|age| age > KEPT_FOR);
        let mut gone = 0;
        for (_, digest) in kept.iter().take(beyond).take_while(|(last, _)| is_old(last)) {
            remove(&self.path(*digest))?;
            gone += 1;
        }
        Ok(gone)
    }

    fn path(&self, digest: BundleDigest) -> PathBuf {
        self.directory.join(digest.to_string())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> Snapshot {
        Snapshot::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")).unwrap()
    }

    #[test]
    fn a_kept_bundle_is_the_same_bundle_and_loads() {
        let state = tempfile::tempdir().unwrap();
        let (bundles, demo) = (Bundles::of(state.path()), demo());
        assert!(matches!(bundles.find(demo.digest()), Err(BundleError::NotKept { .. })));
        bundles.keep(&demo).unwrap();
        bundles.keep(&demo).unwrap();
        let path = bundles.find(demo.digest()).unwrap();
        assert_eq!(crate::bundle::Bundle::load(&path).unwrap().digest, demo.digest());
        assert!(!state.path().join("bundles").join(UNFINISHED).exists());
    }

    #[test]
    fn a_damaged_bundle_is_found_out_and_mended_by_keeping_it_again() {
        let state = tempfile::tempdir().unwrap();
        let (bundles, demo) = (Bundles::of(state.path()), demo());
        bundles.keep(&demo).unwrap();
        let path = bundles.find(demo.digest()).unwrap();
        for damage in [
            |path: &Path| fs::write(path.join("guardrails.cedar"), "").unwrap(),
            |path: &Path| fs::remove_file(path.join("palisade.yaml")).unwrap(),
            |path: &Path| fs::write(path.join("stranger"), "").unwrap(),
        ] {
            damage(&path);
            assert!(matches!(bundles.find(demo.digest()), Err(BundleError::Damaged { .. })));
            bundles.keep(&demo).unwrap();
            bundles.find(demo.digest()).unwrap();
        }
    }

    #[test]
    fn what_a_crash_left_unfinished_does_not_stand_in_the_way() {
        let state = tempfile::tempdir().unwrap();
        let unfinished = state.path().join("bundles").join(UNFINISHED).join("services");
        fs::create_dir_all(&unfinished).unwrap();
        fs::write(unfinished.join("half"), "x").unwrap();
        Bundles::of(state.path()).keep(&demo()).unwrap();
    }

    #[test]
    fn the_old_go_when_they_are_also_many_and_nobody_needs_them() {
        let state = tempfile::tempdir().unwrap();
        let bundles = Bundles::of(state.path());
        let now = SystemTime::now();
        let digest = |index: u8| BundleDigest([index; 32]);
        let make = |index: u8, days: u64| {
            fs::create_dir_all(bundles.path(digest(index))).unwrap();
            bundles.touch(digest(index), now - Duration::from_secs(days * 24 * 60 * 60));
        };
        for index in 0..120 {
            make(index, if index < 10 { 91 } else { 80 });
        }
        let is_kept = |index: u8| bundles.path(digest(index)).is_dir();
        assert_eq!(bundles.prune(&[digest(3), digest(119)], now).unwrap(), 9, "the old ones, but for 3");
        assert!(is_kept(3) && !is_kept(0) && !is_kept(9) && is_kept(10));
        for index in 10..119 {
            bundles.touch(digest(index), now - Duration::from_secs(100 * 24 * 60 * 60));
        }
        bundles.prune(&[digest(3), digest(119)], now).unwrap();
        let left = (0..120).filter(|index| is_kept(*index)).count();
        assert_eq!(left, KEPT_MIN, "the newest are kept however old they are");
    }
}
