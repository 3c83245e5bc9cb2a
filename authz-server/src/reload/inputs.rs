//! The files that a server reads: where they are, whether they changed, and reading them whole.
//!
//! INVARIANT: what is read is what the files were at one moment, as far as that can be known: they are read until two
//! readings agree and nothing about any file has changed between. A directory that is edited file by file has no such
//! moment of its own; the caller waits until nothing has moved for a while. One that is swapped by its link has.

use super::report::{Fault, Source};
use super::watch::{Names, Watch};
use crate::bundle::{Bundle, Problem, Problems, Snapshot};
use crate::identity::{ApiKeys, KeysFrom, KeysUrl};
use crate::secrets::HandoffSecrets;
use palisade_core::contract::BundleDigest;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Beyond what a bundle may have; what has more is refused by whoever reads it.
const ENTRIES_MAX: usize = 100_000;
const DEPTH_MAX: usize = 16;

/// How often a reading is begun anew because the files changed under it.
const READINGS_MAX: usize = 5;

/// Where a server's bundle, secrets and keys are, and the bundle that is tried out beside it.
#[derive(Debug, Clone)]
pub struct Inputs {
    pub bundle: PathBuf,
    pub candidate: Option<PathBuf>,
    pub handoff_secrets: PathBuf,
    pub api_keys: Option<PathBuf>,
    /// Where keys of issuers are, instead of where the bundle says, by the names of the issuers.
    pub issuer_keys: BTreeMap<String, IssuerKeys>,
}

/// Where the keys of one issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKeys {
    File(PathBuf),
    Url(KeysUrl),
}

/// What the file system says about all of them. Equal stamps mean that nothing was touched, but for what happens
/// within one tick of its clock: a stamp speaks for the moment before the last tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([u8; 32]);

/// Identifies what was read, good or not. It tells whether there is anything new, and holds no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content([u8; 32]);

impl Content {
    fn of(kind: &str, bytes: &[u8]) -> Content {
        let mut hash = Sha256::new();
        hash.update((kind.len() as u64).to_be_bytes());
        hash.update(kind);
        hash.update(bytes);
        Content(hash.finalize().into())
    }

    fn of_file(path: &Path) -> Content {
        match fs::read(path) {
            Ok(bytes) => Content::of("file", &bytes),
            Err(error) => Content::of("error", error.to_string().as_bytes()),
        }
    }

    fn of_bundle(digest: BundleDigest) -> Content {
        Content::of("bundle", &digest.0)
    }
}

/// What a reading gave.
#[derive(Debug)]
pub(super) enum Reading<T> {
    /// What was seen the last time.
    Same,
    Good(T, Content),
    Bad(Vec<Fault>, Content),
    /// It changed each time that it was read.
    Unsettled,
}

impl Inputs {
    /// With paths that stay true wherever the process goes.
    pub fn absolute(self) -> Inputs {
        // A path that cannot be made absolute is empty, and reading it says so.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Inputs {
            bundle: absolute(self.bundle),
            candidate: self.candidate.map(absolute),
            handoff_secrets: absolute(self.handoff_secrets),
            api_keys: self.api_keys.map(absolute),
            issuer_keys: self
                .issuer_keys
                .into_iter()
                .map(|(name, keys)| match keys {
                    IssuerKeys::File(path) => (name, IssuerKeys::File(absolute(path))),
                    url @ IssuerKeys::Url(_) => (name, url),
                })
                .collect(),
        }
    }

    /// Looks at everything without reading it, and watches what it looks at.
    pub(super) fn scan(&self, watch: &mut Watch) -> Stamp {
        let files = [Some(&self.handoff_secrets), self.api_keys.as_ref()];
        let bundles = std::iter::once(&self.bundle).chain(&self.candidate);
        let files = files.into_iter().flatten().chain(self.key_files().map(|(_, path)| path));
        scan(bundles, files, watch)
    }

    fn key_files(&self) -> impl Iterator<Item = (&String, &PathBuf)> {
        self.issuer_keys.iter().filter_map(|(name, keys)| match keys {
            IssuerKeys::File(path) => Some((name, path)),
            IssuerKeys::Url(_) => None,
        })
    }

    /// `None` where the server was not given the keys of any issuer. What keys are good for, those say who use them.
    pub(super) fn read_issuer_keys(
        &self,
        last: Option<Content>,
    ) -> Option<Reading<BTreeMap<String, KeysFrom>>> {
        (!self.issuer_keys.is_empty()).then(|| {
            let mut faults = Vec::new();
            let mut seen = Vec::new();
            let mut read = BTreeMap::new();
            for (name, keys) in &self.issuer_keys {
                match keys {
                    IssuerKeys::Url(url) => {
                        read.insert(name.clone(), KeysFrom::Url(url.clone()));
                    }
                    IssuerKeys::File(path) => match fs::read_to_string(path) {
                        Ok(text) => {
                            seen.extend([name.as_bytes(), b"\0", text.as_bytes(), b"\0"].concat());
                            read.insert(name.clone(), KeysFrom::Text(text.into()));
                        }
                        Err(error) => {
                            let fault = format!(
                                "the keys of `{name}` in `{}` cannot be read: {error}",
                                path.display()
                            );
                            seen.extend(fault.as_bytes());
                            faults.push(Fault::new(Source::IssuerKeys, fault));
                        }
                    },
                }
            }
            let content = Content::of("issuer keys", &seen);
            if Some(content) == last {
                Reading::Same
            } else if faults.is_empty() {
                Reading::Good(read, content)
            } else {
                Reading::Bad(faults, content)
            }
        })
    }

    pub(super) fn read_bundle(&self, last: Option<Content>) -> Reading<(Bundle, Snapshot)> {
        read_settled(Source::Bundle, &self.bundle, last)
    }

    /// `None` where the server was not given a candidate.
    pub(super) fn read_candidate(&self, last: Option<Content>) -> Option<Reading<(Bundle, Snapshot)>> {
        self.candidate.as_ref().map(|directory| read_settled(Source::Candidate, directory, last))
    }

    pub(super) fn read_secrets(&self, last: Option<Content>) -> Reading<HandoffSecrets> {
        let read = |path: &Path| HandoffSecrets::read(path).map_err(|error| error.to_string());
        read_file(Source::HandoffSecrets, &self.handoff_secrets, last, read)
    }

    /// `None` where the server was not given a file of keys.
    pub(super) fn read_api_keys(&self, last: Option<Content>) -> Option<Reading<ApiKeys>> {
        let read = |path: &Path| ApiKeys::read(path).map_err(|error| error.to_string());
        self.api_keys.as_ref().map(|path| read_file(Source::ApiKeys, path, last, read))
    }
}

fn read_settled(source: Source, directory: &Path, last: Option<Content>) -> Reading<(Bundle, Snapshot)> {
    for _ in 0..READINGS_MAX {
        match read_bundle(source, directory, last) {
            Reading::Unsettled => {}
            settled => return settled,
        }
    }
    Reading::Unsettled
}

/// One reading. Everything is read twice, before and after it was understood, and must be the same.
fn read_bundle(source: Source, directory: &Path, last: Option<Content>) -> Reading<(Bundle, Snapshot)> {
    let before = Snapshot::read(directory);
    let content = content_of(&before);
    if Some(content) == last {
        return Reading::Same;
    }
    let bundle = match &before {
        Ok(_) => load(directory),
        Err(problems) => Err(problems.clone()),
    };
    if content_of(&Snapshot::read(directory)) != content {
        return Reading::Unsettled;
    }
    match (bundle, before) {
        (Ok(bundle), Ok(snapshot)) if bundle.digest == snapshot.digest() => {
            Reading::Good((bundle, snapshot), content)
        }
        (Ok(_), _) => Reading::Unsettled,
        (Err(problems), _) => Reading::Bad(Fault::of_problems(source, &problems), content),
    }
}

fn content_of(snapshot: &Result<Snapshot, Problems>) -> Content {
    match snapshot {
        Ok(snapshot) => Content::of_bundle(snapshot.digest()),
        Err(problems) => Content::of("problems", problems.to_string().as_bytes()),
    }
}

/// A mistake in our own reading must not end the reading for ever: the bundle that met it is refused.
fn load(directory: &Path) -> Result<Bundle, Problems> {
    catch_unwind(AssertUnwindSafe(|| Bundle::load(directory))).unwrap_or_else(|_| {
        let place = crate::bundle::Place::directory(".");
        Err(Problem::new(
            place,
            "reading this bundle failed in a way that is a mistake of ours: please report it",
        )
        .into())
    })
}

fn read_file<T>(
    source: Source,
    path: &Path,
    last: Option<Content>,
    read: impl Fn(&Path) -> Result<T, String>,
) -> Reading<T> {
    for _ in 0..READINGS_MAX {
        let before = Content::of_file(path);
        if Some(before) == last {
            return Reading::Same;
        }
        let value = read(path);
        if Content::of_file(path) != before {
            continue;
        }
        return match value {
            Ok(value) => Reading::Good(value, before),
            Err(error) => Reading::Bad(vec![Fault::new(source, error)], before),
        };
    }
    Reading::Unsettled
}

/// Looks at bundles and at single files beside them.
pub(super) fn scan<'p>(
    bundles: impl Iterator<Item = &'p PathBuf>,
    files: impl Iterator<Item = &'p PathBuf>,
    watch: &mut Watch,
) -> Stamp {
    let mut scan = Scan { hash: Sha256::new(), watch, entries: 0 };
    for bundle in bundles {
        scan.root(bundle);
        scan.tree(bundle, 0);
        scan.entries = 0;
    }
    for file in files {
        scan.root(file);
        scan.file(file);
    }
    let stamp = Stamp(scan.hash.finalize().into());
    watch.armed();
    stamp
}

struct Scan<'w> {
    hash: Sha256,
    watch: &'w mut Watch,
    entries: usize,
}

impl Scan<'_> {
    /// Watches where this path may be replaced: in the directory that holds it, and where a link leads.
    fn root(&mut self, path: &Path) {
        let mut places = vec![path.to_owned()];
        places.extend(fs::canonicalize(path).ok().filter(|real| real != path));
        let is_link = path.is_symlink();
        for place in places {
            let (Some(directory), Some(name)) = (place.parent(), place.file_name()) else { continue };
            // Links are swapped by their neighbours: `..data` of a ConfigMap stands beside what leads through it.
            let names = if is_link && place == path { Names::Links } else { Names::Only(name) };
            self.watch.arm(directory, names);
        }
    }

    fn tree(&mut self, directory: &Path, depth: usize) {
        self.watch.arm(directory, Names::All);
        let listed = fs::read_dir(directory)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
        let mut entries: Vec<PathBuf> = match listed {
            Ok(entries) => entries,
            Err(error) => return self.note(directory, error.to_string().as_bytes()),
        };
        entries.sort();
        for entry in entries {
            // No bundle has hidden files, and editors keep theirs in them.
            let hidden = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            self.entries += 1;
            if hidden || self.entries > ENTRIES_MAX || depth > DEPTH_MAX {
                continue;
            }
            if entry.is_symlink() {
                self.root(&entry);
            }
            self.file(&entry);
            if entry.is_dir() {
                self.tree(&entry, depth + 1);
            }
        }
    }

    fn file(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(metadata) => self.note(path, &facts(&metadata)),
            Err(error) => self.note(path, error.to_string().as_bytes()),
        }
    }

    fn note(&mut self, path: &Path, what: &[u8]) {
        for part in [path.as_os_str().as_encoded_bytes(), what] {
            self.hash.update((part.len() as u64).to_be_bytes());
            self.hash.update(part);
        }
    }
}

/// What of a file changes when anything is done to it. The time of its last change cannot be set by anybody.
fn facts(metadata: &Metadata) -> Vec<u8> {
    // The entries of a directory are looked at themselves, hidden ones apart, and only those would change its times.
    let mut numbers = vec![metadata.dev(), metadata.ino(), u64::from(metadata.mode())];
    if !metadata.is_dir() {
        numbers.push(metadata.size());
        let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
        numbers.extend(times.map(i64::cast_unsigned));
    }
    numbers.into_iter().flat_map(u64::to_be_bytes).collect()
}

#[cfg(test)]
mod tests;
