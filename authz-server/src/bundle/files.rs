//! The files of a bundle, and its digest: SHA-256 over the path and content of each, in the order of paths.
//!
//! INVARIANT: what is not digested is not read: hidden files and `*.md` are neither, everything else must have a role.

use super::problem::{Place, Problem, Problems};
use palisade_core::contract::BundleDigest;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Names the layout and its version inside of the digest, so that no other hash can be taken for one.
const DIGEST_DOMAIN: &[u8] = b"palisade bundle v1\n";

/// The largest public contracts have 12 MB.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// A bundle beyond this is the wrong directory.
const FILES_MAX: usize = 20_000;

/// Deep enough for `services/<name>/…` and policies in folders; a loop of links ends here too.
const DEPTH_MAX: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Palisade,
    Service,
    OpenApi,
    Policies,
    /// Cedar schema that extends the generated one.
    SchemaFragments,
    Entities,
    Tests,
}

impl Role {
    /// Whether it is a YAML or JSON document.
    pub(super) fn is_document(self) -> bool {
        match self {
            Role::Palisade | Role::Service | Role::OpenApi | Role::Entities | Role::Tests => true,
            Role::Policies | Role::SchemaFragments => false,
        }
    }
}

/// A file with its path inside of the bundle, slashes between its parts.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) role: Role,
}

#[derive(Debug)]
pub(super) struct Files {
    /// Sorted by path.
    files: Vec<File>,
}

impl Files {
    pub(super) fn collect(directory: &Path) -> Result<Files, Problems> {
        if !directory.is_dir() {
            let place = Place::file(&directory.display().to_string());
            return Err(Problem::new(place, "there is no such directory: expected a bundle").into());
        }
        let mut paths = Vec::new();
        let mut problems = Problems::default();
        walk(directory, &mut Vec::new(), &mut paths, &mut problems);
        paths.sort();
        let files: Vec<File> = paths.iter().filter_map(|path| problems.keep(read(directory, path))).collect();
        if problems.is_empty() { Ok(Files { files }) } else { Err(problems) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    pub(super) fn with_role(&self, role: Role) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| file.role == role)
    }

    pub(super) fn digest(&self) -> BundleDigest {
        let mut hash = Sha256::new();
        hash.update(DIGEST_DOMAIN);
        for file in &self.files {
            for part in [&file.path, &file.text] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part.as_bytes());
            }
        }
        BundleDigest(hash.finalize().into())
    }
}

fn walk(directory: &Path, above: &mut Vec<String>, paths: &mut Vec<String>, problems: &mut Problems) {
    let shown = Place::directory(&if above.is_empty() { ".".to_owned() } else { above.join("/") });
    if above.len() > DEPTH_MAX {
        problems.push(Problem::new(shown, format!("the bundle is nested deeper than {DEPTH_MAX} folders")));
        return;
    }
    // One entry that cannot be read may be the policy that forbids: then nothing is read.
    let entries = std::fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    let mut entries: Vec<PathBuf> = match entries {
        Ok(entries) => entries,
        Err(error) => return problems.push(Problem::new(shown, format!("cannot be listed: {error}"))),
    };
    entries.sort();
    for entry in entries {
        let Some(name) = entry.file_name().and_then(|name| name.to_str()) else {
            problems.push(Problem::new(shown.clone(), "a file's name is not UTF-8"));
            continue;
        };
        // A ConfigMap mount holds its data behind hidden folders and links to them.
        if name.starts_with('.') || name.ends_with(".md") {
            continue;
        }
        above.push(name.to_owned());
        if entry.is_dir() {
            walk(&entry, above, paths, problems);
        } else if paths.len() < FILES_MAX {
            paths.push(above.join("/"));
        } else if paths.len() == FILES_MAX {
            problems
                .push(Problem::new(Place::file("."), format!("the bundle has more than {FILES_MAX} files")));
        }
        above.pop();
    }
}

fn read(directory: &Path, path: &str) -> Result<File, Problems> {
    let place = || Place::file(path);
    let role = role(path).ok_or_else(|| {
        Problem::new(place(), "this file has no role in a bundle")
            .help("expected `palisade.yaml`, `services/<name>/service.yaml`, `services/<name>/openapi.yaml` (or `.json`), `*.cedar`, `*.cedarschema`, `entities/*.yaml` (or `.json`), `tests/*.yaml` or `*.md`")
    })?;
    let full = directory.join(path);
    let size = std::fs::metadata(&full).map(|metadata| metadata.len());
    if size.as_ref().is_ok_and(|size| *size > FILE_BYTES_MAX) {
        return Err(Problem::new(place(), format!("the file is larger than {FILE_BYTES_MAX} bytes")).into());
    }
    match std::fs::read_to_string(&full) {
        Ok(text) => Ok(File { path: path.to_owned(), text, role }),
        Err(error) => Err(Problem::new(place(), format!("cannot be read: {error}")).into()),
    }
}

fn role(path: &str) -> Option<Role> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["palisade.yaml"] => Some(Role::Palisade),
        ["services", _, "service.yaml"] => Some(Role::Service),
        ["services", _, "openapi.yaml" | "openapi.yml" | "openapi.json"] => Some(Role::OpenApi),
        ["entities", name] if name.ends_with(".yaml") || name.ends_with(".json") => Some(Role::Entities),
        ["tests", .., name] if name.ends_with(".yaml") => Some(Role::Tests),
        [.., name] if name.ends_with(".cedarschema") => Some(Role::SchemaFragments),
        [.., name] if name.ends_with(".cedar") => Some(Role::Policies),
        _ => None,
    }
}
