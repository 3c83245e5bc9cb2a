//! The files of a bundle, and its digest: SHA-256 over the path and content of each, in the order of paths.
//!
//! INVARIANT: what is not digested is not read: hidden files and `*.md` are neither, everything else must have a role.

use super::problem::{Place, Problem, Problems};
use palisade_core::contract::BundleDigest;
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Names the layout and its version inside of the digest, so that no other hash can be taken for one.
const DIGEST_DOMAIN: &[u8] = b"palisade bundle v1\n";

/// The largest public contracts have 12 MB.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// A bundle beyond this is the wrong directory.
const FILES_MAX: usize = 20_000;

/// Deep enough for `services/<name>/…` and policies in folders.
const DEPTH_MAX: usize = 8;

/// What a file must be to have a role, for whoever gave one another name.
const ROLES: &str = "expected `palisade.yaml`, `services/<name>/service.yaml`, `services/<name>/openapi.yaml` (or `.json`), `*.cedar`, `*.cedarschema`, `entities/*.yaml` (or `.json`), `keys/*.json`, `tests/*.yaml` or `*.md`";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Palisade,
    Service,
    OpenApi,
    Policies,
    /// Cedar schema that extends the generated one.
    SchemaFragments,
    Entities,
    /// Public keys of issuers of tokens.
    Keys,
    Tests,
}

impl Role {
    /// Whether it is a YAML or JSON document.
    pub(super) fn is_document(self) -> bool {
        match self {
            Role::Palisade | Role::Service | Role::OpenApi | Role::Entities | Role::Tests => true,
            Role::Policies | Role::SchemaFragments | Role::Keys => false,
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
    /// Files that nobody reads: a mistake that hides no other.
    without_role: Problems,
}

impl Files {
    /// All files, or what keeps one of them from being read.
    pub(super) fn whole(directory: &Path) -> Result<Files, Problems> {
        let mut problems = Problems::default();
        let files = Files::collect(directory, &mut problems);
        problems.extend(files.without_role());
        if problems.has_errors() { Err(problems) } else { Ok(files) }
    }

    /// All files that could be read; what could not is reported. Whether what was read may be used is for the caller to
    /// say: one file that cannot be read may hold the policy that forbids.
    pub(super) fn collect(directory: &Path, problems: &mut Problems) -> Files {
        let mut files = Vec::new();
        let mut without_role = Problems::default();
        if directory.is_dir() {
            let mut walk = Walk { above: Vec::new(), entered: Vec::new(), paths: Vec::new(), problems };
            walk.enter(directory);
            let mut paths = walk.paths;
            paths.sort();
            for path in paths {
                match role(&path) {
                    Some(role) => files.extend(problems.keep(read(directory, &path, role))),
                    None => without_role.push(has_no_role(&path)),
                }
            }
        } else {
            let place = Place::file(&directory.display().to_string());
            problems.push(Problem::new(place, "there is no such directory: expected a bundle"));
        }
        Files { files, without_role }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    pub(super) fn with_role(&self, role: Role) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| file.role == role)
    }

    pub(super) fn into_files(self) -> impl Iterator<Item = File> {
        self.files.into_iter()
    }

    pub(super) fn without_role(&self) -> Problems {
        self.without_role.clone()
    }

    pub(super) fn count(&self) -> usize {
        self.files.len()
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

/// The way through the folders of a bundle.
struct Walk<'p> {
    /// The names of the folders that are entered, without the bundle's own.
    above: Vec<String>,
    /// Device and number of each: a folder inside of itself is a loop of links.
    entered: Vec<(u64, u64)>,
    paths: Vec<String>,
    problems: &'p mut Problems,
}

impl Walk<'_> {
    fn enter(&mut self, directory: &Path) {
        let shown =
            Place::directory(&if self.above.is_empty() { ".".to_owned() } else { self.above.join("/") });
        if self.above.len() > DEPTH_MAX {
            let message = format!("the bundle is nested deeper than {DEPTH_MAX} folders");
            return self.problems.push(Problem::new(shown, message));
        }
        let listed = fs::metadata(directory).and_then(|metadata| {
            let entries: io::Result<Vec<PathBuf>> =
                fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect();
            Ok(((metadata.dev(), metadata.ino()), entries?))
        });
        let (identity, mut entries) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                return self.problems.push(Problem::new(shown, format!("cannot be listed: {error}")));
            }
        };
        if self.entered.contains(&identity) {
            let problem = Problem::new(shown, "this link leads back to a folder that it stands in");
            return self.problems.push(problem.help("a bundle holds each file once; remove the link"));
        }
        self.entered.push(identity);
        entries.sort();
        for entry in entries {
            match entry.file_name().and_then(|name| name.to_str()) {
                Some(name) => self.entry(&entry, name),
                None => self.problems.push(Problem::new(shown.clone(), "a file's name is not UTF-8")),
            }
        }
        self.entered.pop();
    }

    fn entry(&mut self, entry: &Path, name: &str) {
        // A ConfigMap mount holds its data behind hidden folders and links to them.
        if name.starts_with('.') || name.ends_with(".md") {
            return;
        }
        self.above.push(name.to_owned());
        if entry.is_dir() {
            self.enter(entry);
        } else if self.paths.len() < FILES_MAX {
            self.paths.push(self.above.join("/"));
        } else if self.paths.len() == FILES_MAX {
            let message = format!("the bundle has more than {FILES_MAX} files");
            self.problems.push(Problem::new(Place::file("."), message));
        }
        self.above.pop();
    }
}

fn has_no_role(path: &str) -> Problem {
    let meant = candidates(path);
    let problem = Problem::new(Place::file(path), "this file has no role in a bundle");
    problem.suggest(path, meant.iter().map(String::as_str)).help(ROLES)
}

fn read(directory: &Path, path: &str, role: Role) -> Result<File, Problems> {
    let wrong = |message: String| Problem::new(Place::file(path), message);
    let full = directory.join(path);
    let metadata = match fs::metadata(&full) {
        Ok(metadata) => metadata,
        Err(error) => {
            let problem = match fs::read_link(&full) {
                Ok(target) => {
                    wrong(format!("this link leads to `{}`, which cannot be read: {error}", target.display()))
                }
                Err(_) => wrong(format!("cannot be read: {error}")),
            };
            return Err(problem.into());
        }
    };
    // Whoever opens a pipe waits for its other end.
    if !metadata.is_file() {
        return Err(wrong("this is neither a file nor a folder".to_owned()).into());
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(wrong(format!("the file is larger than {FILE_BYTES_MAX} bytes")).into());
    }
    let bytes = fs::read(&full).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(File { path: path.to_owned(), text, role }),
        Err(error) => {
            let sound = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(error.as_bytes().get(..sound).unwrap_or_default());
            let place = Place::of_offset(path, &before, sound);
            Err(Problem::new(place, "the file is not UTF-8").help("save it as UTF-8").into())
        }
    }
}

/// Names with a role that somebody who wrote this path may have meant.
fn candidates(path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let (stem, ending) = path.rsplit_once('.').unwrap_or((path, ""));
    let endings: &[&str] = match parts.as_slice() {
        ["services", name, _] => {
            let files = ["service.yaml", "openapi.yaml", "openapi.json"];
            return files.iter().map(|file| format!("services/{name}/{file}")).collect();
        }
        ["palisade.yml" | "palisade.json"] => return vec!["palisade.yaml".to_owned()],
        ["entities", _] | ["tests", ..] if ending == "yml" => &["yaml"],
        _ if ending.starts_with('c') => &["cedar", "cedarschema"],
        _ => &[],
    };
    endings.iter().map(|ending| format!("{stem}.{ending}")).collect()
}

fn role(path: &str) -> Option<Role> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["palisade.yaml"] => Some(Role::Palisade),
        ["services", _, "service.yaml"] => Some(Role::Service),
        ["services", _, "openapi.yaml" | "openapi.yml" | "openapi.json"] => Some(Role::OpenApi),
        ["entities", name] if name.ends_with(".yaml") || name.ends_with(".json") => Some(Role::Entities),
        ["keys", name] if name.ends_with(".json") => Some(Role::Keys),
        ["tests", .., name] if name.ends_with(".yaml") => Some(Role::Tests),
        [.., name] if name.ends_with(".cedarschema") => Some(Role::SchemaFragments),
        [.., name] if name.ends_with(".cedar") => Some(Role::Policies),
        _ => None,
    }
}
