//! Writes a directory of objects, and knows what it wrote there before.
//!
//! A policy that stays behind when its service is gone is applied again with all the rest, so what an earlier build wrote
//! and this one does not is removed.
//! INVARIANT: only files that a build wrote are ever removed, and a directory of somebody else's is not written to.

use super::super::error::BuildError;
use super::{Manifest, Manifests};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Lists what is ours in a directory.
const LIST_FILE: &str = "palisade-build.json";
const LIST_VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    version: u32,
    bundle: String,
    files: BTreeSet<String>,
}

/// What became of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub written: Vec<PathBuf>,
    /// What an earlier build had written and this one did not.
    pub removed: Vec<PathBuf>,
}

/// Writes all files, each renamed into place, and removes what they replace.
pub fn write(manifests: &Manifests, directory: &Path) -> Result<Written, BuildError> {
    fs::create_dir_all(directory).map_err(failed(directory))?;
    let before = read_list(directory)?;
    let now: BTreeSet<String> = manifests.files.iter().map(|file| file.path.clone()).collect();
    let bundle = manifests.digest.to_string();
    // First both: whatever happens in between, the next build knows of all files.
    let both = List { version: LIST_VERSION, bundle: bundle.clone(), files: &before | &now };
    write_list(directory, &both)?;
    let mut written = Vec::new();
    for Manifest { path, bytes } in &manifests.files {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        replace(&path, bytes)?;
        written.push(path);
    }
    let mut removed = Vec::new();
    for path in &before - &now {
        let path = directory.join(path);
        match fs::remove_file(&path) {
            Ok(()) => removed.push(path.clone()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&path)(error)),
        }
        if let Some(parent) = path.parent().filter(|parent| *parent != directory) {
            // It stays where something else is in it.
            let _kept = fs::remove_dir(parent);
        }
    }
    write_list(directory, &List { version: LIST_VERSION, bundle, files: now })?;
    written.push(directory.join(LIST_FILE));
    Ok(Written { written, removed })
}

/// What earlier builds wrote. A directory with files and no list is not ours.
fn read_list(directory: &Path) -> Result<BTreeSet<String>, BuildError> {
    let path = directory.join(LIST_FILE);
    let not_ours = |detail: String| BuildError::NotOurs { path: directory.to_owned(), detail };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut entries = fs::read_dir(directory).map_err(failed(directory))?;
            return match entries.next() {
                None => Ok(BTreeSet::new()),
                Some(_) => Err(not_ours(format!("it has files and no `{LIST_FILE}`"))),
            };
        }
        Err(error) => return Err(failed(&path)(error)),
    };
    let list: List =
        serde_json::from_str(&text).map_err(|error| not_ours(format!("`{LIST_FILE}`: {error}")))?;
    if list.version != LIST_VERSION {
        return Err(not_ours(format!("`{LIST_FILE}` has the unknown version `{}`", list.version)));
    }
    let inside = |path: &&String| {
        !path.is_empty()
            && Path::new(path.as_str()).components().all(|part| matches!(part, Component::Normal(_)))
    };
    match list.files.iter().find(|path| !inside(path)) {
        Some(path) => Err(not_ours(format!("`{LIST_FILE}` names `{path}`, which is no file of it"))),
        None => Ok(list.files),
    }
}

fn write_list(directory: &Path, list: &List) -> Result<(), BuildError> {
    let path = directory.join(LIST_FILE);
    let mut text = serde_json::to_string_pretty(list)
        .map_err(|error| BuildError::Yaml { file: LIST_FILE.to_owned(), detail: error.to_string() })?;
    text.push('\n');
    replace(&path, text.as_bytes())
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    fs::write(&unfinished, bytes).map_err(failed(&unfinished))?;
    fs::rename(&unfinished, path).map_err(failed(path))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    |error| BuildError::Write { path, error }
}
