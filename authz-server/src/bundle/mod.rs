//! The bundle: one directory of contracts, policies and rules, read whole or not at all.
//!
//! `files` collects and digests → `format` is what people write → `contracts` reads OpenAPI → `entities` and the
//! policies become what Cedar evaluates. All problems of all files are reported together, each with its place.
//! INVARIANT: a `Bundle` that exists was checked completely; unknown files, keys and references never pass.

mod contracts;
mod entities;
mod files;
pub mod format;
mod problem;
mod service;
#[cfg(test)]
mod tests;

pub use entities::EntityDeclarations;
pub use problem::{Place, Problem, Problems};
pub use service::ServiceSettings;

use crate::cedar::Policies;
use files::{Files, Role};
use format::{Palisade, parse_yaml};
use palisade_core::contract::{BundleDigest, Contract};
use std::path::Path;

/// One file of policies, for the Cedar mapping.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PolicySource<'a> {
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
}

/// A file that a bundle's digest is made of, with its path inside of the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleFile {
    pub path: String,
    pub text: String,
}

/// A checked bundle.
#[derive(Debug)]
pub struct Bundle {
    pub digest: BundleDigest,
    pub palisade: Palisade,
    pub contract: Contract,
    /// What the contract does not hold of each service: who owns it, which workload it is.
    pub services: Vec<ServiceSettings>,
    pub entities: EntityDeclarations,
    pub policies: Policies,
}

impl Bundle {
    pub fn load(directory: &Path) -> Result<Bundle, Problems> {
        let files = Files::collect(directory)?;
        let mut problems = Problems::default();
        let palisade = problems.keep(read_palisade(&files));
        let services = service::read_all(&files, &mut problems);
        let entities = entities::read_all(&files, &mut problems);
        let sources: Vec<_> = files
            .with_role(Role::Policies)
            .map(|file| PolicySource { path: &file.path, text: &file.text })
            .collect();
        // What follows needs all of the above: one mistake there would only echo here.
        let Some(palisade) = palisade else { return Err(problems) };
        if !problems.is_empty() {
            return Err(problems);
        }
        let (settings, services): (Vec<_>, Vec<_>) = services.into_iter().unzip();
        let digest = files.digest();
        let identity_headers =
            palisade.identity.api_keys.iter().map(|keys| keys.header.as_str().into()).collect();
        let contract = match Contract::assemble(digest, identity_headers, services) {
            Ok(contract) => contract,
            Err(error) => return Err(Problem::new(Place::directory("services"), error.to_string()).into()),
        };
        entities.check(&palisade, &mut problems);
        let policies = problems.keep(Policies::load(&contract, &entities, &sources));
        match policies {
            Some(policies) if problems.is_empty() => {
                Ok(Bundle { digest, palisade, contract, services: settings, entities, policies })
            }
            _ => Err(problems),
        }
    }
}

impl Bundle {
    /// Reads the files again, for those who carry them elsewhere, in the order of their paths. They must still be those
    /// that the bundle was made of.
    pub fn files(&self, directory: &Path) -> Result<Vec<BundleFile>, Problems> {
        let files = Files::collect(directory)?;
        if files.digest() != self.digest {
            let changed = "the bundle was changed while it was read: try again";
            return Err(Problem::new(Place::directory("."), changed).into());
        }
        Ok(files.into_files().map(|file| BundleFile { path: file.path, text: file.text }).collect())
    }
}

fn read_palisade(files: &Files) -> Result<Palisade, Problems> {
    let mut found = files.with_role(Role::Palisade);
    let Some(file) = found.next() else {
        let missing = Problem::new(Place::file("palisade.yaml"), "the bundle has no `palisade.yaml`").help(
            "every bundle begins with one: `palisade: 1`, the trust domains, where identities come from",
        );
        return Err(missing.into());
    };
    let palisade: Palisade = parse_yaml(file)?;
    palisade.check(&file.path)?;
    Ok(palisade)
}
