//! The bundle: one directory of contracts, policies and rules, read whole or not at all.
//!
//! `files` collects and digests → `format` is what people write → `openapi` reads contracts → `entities` and the
//! policies become what Cedar evaluates. All problems of all files are reported together, each with its place.
//! INVARIANT: a `Bundle` that exists was checked completely; unknown files, keys and references never pass.

mod context;
mod entities;
mod files;
pub mod format;
pub mod openapi;
mod parsed;
mod problem;
mod record;
mod service;
#[cfg(test)]
mod tests;
mod yaml;

pub use context::{
    CONTEXT_BODY_BYTES_MAX, ContextField, ContextPart, ListStyle, OperationContext, ValueKind,
};
pub use entities::EntityDeclarations;
pub use problem::{Place, Problem, Problems, Severity};
pub use record::{KeyReference, Placed, RecordKeys};
pub use service::ServiceSettings;

use crate::cedar::Policies;
use files::{Files, Role};
use format::Palisade;
use palisade_core::contract::{BundleDigest, Contract};
use parsed::Parsed;
use record::{Read as _, Reader};
use std::path::Path;
use std::sync::Arc;

/// One file of policies, for the Cedar mapping.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PolicySource<'a> {
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
}

/// A checked bundle.
#[derive(Debug)]
pub struct Bundle {
    pub digest: BundleDigest,
    pub palisade: Palisade,
    pub contract: Contract,
    /// What policies may ask of each operation's requests, by the operation's index in the contract.
    pub contexts: Vec<OperationContext>,
    /// What the contract does not hold of each service: who owns it, which workload it is.
    pub services: Vec<ServiceSettings>,
    /// The contract of each service as it was written, in the order of `services`.
    pub models: Vec<Arc<openapi::Model>>,
    pub entities: EntityDeclarations,
    pub policies: Policies,
}

impl Bundle {
    pub fn load(directory: &Path) -> Result<Bundle, Problems> {
        let files = Files::collect(directory)?;
        let mut problems = Problems::default();
        let documents = Parsed::of(&files, &mut problems);
        if problems.has_errors() {
            return Err(problems);
        }
        let palisade = read_palisade(&documents, &mut problems);
        let services = service::read_all(&documents, &mut problems);
        let entities = entities::read_all(&documents, &mut problems);
        let sources: Vec<_> = files
            .with_role(Role::Policies)
            .map(|file| PolicySource { path: &file.path, text: &file.text })
            .collect();
        // What follows needs all of the above: one mistake there would only echo here.
        let Some(palisade) = palisade else { return Err(problems) };
        entities.check(&palisade, &mut problems);
        if problems.has_errors() {
            return Err(problems);
        }
        let digest = files.digest();
        let identity_headers =
            palisade.identity.api_keys.iter().map(|keys| keys.header.value.as_str().into()).collect();
        let mut settings = Vec::new();
        let mut contexts = Vec::new();
        let mut models = Vec::new();
        let mut contracts = Vec::new();
        for read in services {
            settings.push(read.settings);
            contracts.push(read.service);
            contexts.extend(read.contexts);
            models.push(Arc::new(read.model));
        }
        let contract = match Contract::assemble(digest, identity_headers, contracts) {
            Ok(contract) => contract,
            Err(error) => return Err(Problem::new(Place::directory("services"), error.to_string()).into()),
        };
        match problems.keep(Policies::load(&contract, &entities, &sources)) {
            Some(policies) if !problems.has_errors() => Ok(Bundle {
                digest,
                palisade,
                contract,
                contexts,
                services: settings,
                models,
                entities,
                policies,
            }),
            _ => Err(problems),
        }
    }
}

fn read_palisade(documents: &Parsed<'_>, problems: &mut Problems) -> Option<Palisade> {
    let Some(document) = documents.with_role(Role::Palisade).next() else {
        let missing = Problem::new(Place::file("palisade.yaml"), "the bundle has no `palisade.yaml`").help(
            "every bundle begins with one: `palisade: 1`, the trust domains, where identities come from",
        );
        problems.push(missing);
        return None;
    };
    let mut reader = Reader::new(document.file);
    let palisade = Palisade::read(&document.root, &mut reader);
    if let Some(palisade) = &palisade {
        palisade.check(&mut reader);
    }
    problems.extend(reader.problems);
    palisade
}
