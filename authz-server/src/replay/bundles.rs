//! The bundles that recorded decisions were made by, each loaded once while decisions by it come.
//!
//! INVARIANT: what a state directory keeps is only used if it is still what its digest says. A folder that somebody gave
//! is used as it is: that is how other policies are tried on old calls.

use crate::bundle::Bundle;
use crate::state::{BundleError, Bundles};
use palisade_core::contract::BundleDigest;
use palisade_core::routes::OperationIndex;
use std::collections::HashMap;
use std::path::PathBuf;

/// How many bundles are held at once. Decisions of one server change from one to the next, and filters lag by a few.
const LOADED_MAX: usize = 8;

/// Where bundles are found by their digests.
#[derive(Debug, Clone)]
pub enum BundleSource {
    Kept(Bundles),
    Folder(PathBuf),
}

/// A bundle, and its operations by their names.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) bundle: Bundle,
    operations: HashMap<String, HashMap<String, OperationIndex>>,
}

/// What there is of a bundle.
#[derive(Debug)]
pub(super) enum Kept {
    Loaded(Box<Loaded>),
    Gone,
    Damaged,
}

#[derive(Debug)]
pub struct KeptBundles {
    source: BundleSource,
    /// The last one is the one that was asked for last.
    known: Vec<(String, Kept)>,
    complaints: Vec<String>,
}

impl KeptBundles {
    pub fn new(source: BundleSource) -> KeptBundles {
        KeptBundles { source, known: Vec::new(), complaints: Vec::new() }
    }

    pub(super) fn find(&mut self, digest: &str) -> &Kept {
        match self.known.iter().rposition(|(known, _)| known == digest) {
            Some(place) if place + 1 == self.known.len() => {}
            Some(place) => {
                let known = self.known.remove(place);
                self.known.push(known);
            }
            None => {
                if self.known.len() >= LOADED_MAX {
                    self.known.remove(0);
                }
                let loaded = self.load(digest);
                self.known.push((digest.to_owned(), loaded));
            }
        }
        self.known.last().map_or(&Kept::Gone, |(_, kept)| kept)
    }

    pub(super) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    fn load(&mut self, digest: &str) -> Kept {
        let (path, kept) = match &self.source {
            BundleSource::Folder(folder) => {
                // A digest is a name, and no way out of the folder.
                let path = BundleDigest::parse(digest).map(|digest| folder.join(digest.to_string()));
                match path.filter(|path| path.is_dir()) {
                    Some(path) => (path, Ok(())),
                    None => return Kept::Gone,
                }
            }
            BundleSource::Kept(bundles) => {
                let Some(digest) = BundleDigest::parse(digest) else { return Kept::Gone };
                match bundles.find(digest) {
                    Ok(path) => (path, Ok(())),
                    Err(BundleError::NotKept { .. }) => return Kept::Gone,
                    Err(error) => (PathBuf::new(), Err(error.to_string())),
                }
            }
        };
        let loaded = kept.and_then(|()| {
            Bundle::load(&path).map_err(|problems| format!("`{}`: {problems}", path.display()))
        });
        match loaded {
            Ok(bundle) => Kept::Loaded(Box::new(Loaded::of(bundle))),
            Err(why) => {
                if !self.complaints.contains(&why) {
                    self.complaints.push(why);
                }
                Kept::Damaged
            }
        }
    }
}

impl Loaded {
    fn of(bundle: Bundle) -> Loaded {
        let mut operations: HashMap<String, HashMap<String, OperationIndex>> = HashMap::new();
        for (matched, _) in bundle.operations() {
            let of_service = operations.entry(matched.service.name.to_string()).or_default();
            of_service.insert(matched.operation.name.to_string(), matched.index);
        }
        Loaded { bundle, operations }
    }

    pub(super) fn operation(&self, service: &str, operation: &str) -> Option<OperationIndex> {
        self.operations.get(service)?.get(operation).copied()
    }
}
