//! The bundle: one directory of contracts, policies and rules, read whole or not at all.
//!
//! `files` collects and digests → `format` is what people write → `openapi` reads contracts → `entities` and the
//! policies become what Cedar evaluates. All problems of all files are reported together, each with its place.
//! INVARIANT: a `Bundle` that exists was checked completely; unknown files, keys and references never pass.

pub mod callers;
pub mod cases;
mod compiled;
mod context;
pub mod diff;
mod entities;
mod failure;
mod files;
pub mod format;
mod landscape;
pub mod lints;
mod masks;
pub mod openapi;
mod parsed;
mod problem;
mod record;
mod recording;
pub mod reference;
pub mod schemas;
mod service;
pub mod shedding;
mod snapshot;
mod statement;
#[cfg(test)]
mod tests;
pub(crate) mod yaml;

pub use cases::{Case, CaseFile};
pub use context::{
    CONTEXT_BODY_BYTES_MAX, ContextField, ContextPart, ListStyle, OperationContext, ValueKind,
};
pub use entities::{Declared, EntityDeclarations};
pub(crate) use entities::{EntitySource, declare, shown};
pub use lints::Lint;
pub(crate) use problem::Lines;
pub use problem::{Place, Problem, Problems, Severity};
pub(crate) use record::Reader;
pub use record::{KeyReference, Placed, RecordKeys};
pub use recording::{ATTEMPT, RecordedField, Recording, Recordings, Slot};
pub use service::ServiceSettings;
pub use snapshot::Snapshot;

use crate::cedar::{CedarFiles, Policies, World};
use crate::identity::Accepted;
use crate::identity::Tokens;
use files::{Files, Role};
use format::Palisade;
use palisade_core::canary;
use palisade_core::contract::{BundleDigest, Contract, Matched};
use palisade_core::routes::OperationIndex;
use parsed::Parsed;
use record::Read as _;
use service::ServicesRead;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

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
    /// What policies may ask of each operation's requests, by the operation's index in the contract.
    pub contexts: Vec<OperationContext>,
    /// How their values stand in the ledger.
    pub recordings: Recordings,
    /// What the contract does not hold of each service: who owns it, which workload it is.
    pub services: Vec<ServiceSettings>,
    /// The contract of each service as it was written, in the order of `services`.
    pub models: Vec<Arc<openapi::Model>>,
    pub entities: EntityDeclarations,
    pub policies: Policies,
    /// The key sets of issuers that came with it, by the names of the issuers.
    pub issuer_keys: BTreeMap<String, String>,
    /// What extends the generated Cedar schema, by path.
    pub fragments: BTreeMap<String, String>,
    /// The tests that came with it, by file.
    pub cases: Vec<CaseFile>,
}

/// What a check found out about a directory.
#[derive(Debug)]
pub struct Checked {
    /// There where the directory holds no error; warnings do not keep it away.
    pub bundle: Option<Bundle>,
    pub problems: Problems,
    /// What was not judged, and why.
    pub notes: Vec<&'static str>,
    /// How many files were read.
    pub files: usize,
}

/// How much a bundle holds, without the canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub services: usize,
    pub operations: usize,
    pub policies: usize,
}

impl Bundle {
    /// All operations, those of the canary without, each with what policies may ask of it.
    pub fn operations(&self) -> impl Iterator<Item = (Matched<'_>, &OperationContext)> {
        let all = (0..u32::MAX).map_while(|index| self.contract.operation(OperationIndex(index)));
        all.zip(&self.contexts).filter(|(matched, _)| *matched.service.name != *canary::SERVICE)
    }

    /// How callers of an operation may prove who they are.
    pub(crate) fn accepted(&self, matched: Matched<'_>) -> Option<&Accepted> {
        self.settings(&matched.service.name).map(|service| &service.accepted)
    }

    /// What the contract does not hold of a service. The canary's has nothing of it.
    pub(crate) fn settings(&self, service: &str) -> Option<&ServiceSettings> {
        // Services are in the order of their names.
        let place = self.services.binary_search_by(|settings| (*settings.name).cmp(service));
        place.ok().and_then(|place| self.services.get(place))
    }

    pub fn size(&self) -> Size {
        let services =
            self.contract.services().iter().filter(|service| service.name.as_ref() != canary::SERVICE);
        Size {
            services: self.services.len(),
            operations: services.map(|service| service.operations.len()).sum(),
            policies: self.policies.all().count(),
        }
    }

    /// The bundle, or all that is wrong with it. Warnings are not looked for.
    pub fn load(directory: &Path) -> Result<Bundle, Problems> {
        let Checked { bundle, problems, .. } = Bundle::read(directory, |_, _, _| ());
        bundle.ok_or(problems)
    }

    /// Reads a request that somebody describes as the bundle's tests do. Problems are placed in a file of this name.
    pub fn read_request(
        &self,
        name: &str,
        text: String,
    ) -> Result<(cases::Caller, cases::CaseRequest), Problems> {
        let Bundle { palisade, contract, entities, policies, .. } = self;
        let file = files::File { path: name.to_owned(), text, role: Role::Tests };
        cases::read_one(&file, cases::Known { palisade, contract, entities, policies })
    }

    /// Reads the files again, for those who carry them elsewhere, in the order of their paths. They must still be those
    /// that the bundle was made of.
    pub fn files(&self, directory: &Path) -> Result<Vec<BundleFile>, Problems> {
        let files = Files::whole(directory)?;
        if files.digest() != self.digest {
            let changed = "the bundle was changed while it was read: try again";
            return Err(Problem::new(Place::directory("."), changed).into());
        }
        Ok(files.into_files().map(|file| BundleFile { path: file.path, text: file.text }).collect())
    }

    /// All that can be said of a directory: what is wrong, and what is probably not meant.
    pub fn check(directory: &Path) -> Checked {
        Bundle::read(directory, lints::look)
    }

    /// Looks once more at a bundle without errors, while its documents are still there.
    fn read(directory: &Path, look: impl FnOnce(&Bundle, &Parsed<'_>, &mut Problems)) -> Checked {
        let mut problems = Problems::default();
        let files = Files::collect(directory, &mut problems);
        let documents = Parsed::of(&files, &mut problems);
        let sources =
            |role| files.with_role(role).map(|file| PolicySource { path: &file.path, text: &file.text });
        let cedar = CedarFiles::parse(sources(Role::Policies), sources(Role::SchemaFragments), &mut problems);
        let unreadable = problems.has_errors();
        problems.extend(files.without_role());
        let mut checked = Checked { bundle: None, problems, notes: Vec::new(), files: files.count() };
        if unreadable {
            // What would be judged now may only follow from what is missing.
            checked.notes.push("contracts, entities and policies are judged when every file can be read");
            return checked;
        }
        checked.bundle = read_bundle(&files, &documents, cedar, &mut checked);
        if let Some(bundle) = &mut checked.bundle {
            let fragments = files.with_role(Role::SchemaFragments);
            bundle.fragments = fragments.map(|file| (file.path.clone(), file.text.clone())).collect();
        }
        if let Some(bundle) = &checked.bundle {
            look(bundle, &documents, &mut checked.problems);
        }
        checked
    }
}

/// Reads and judges what every file says. Each part is judged unless what it is judged by is wrong itself.
fn read_bundle(
    files: &Files,
    documents: &Parsed<'_>,
    cedar: CedarFiles<'_>,
    checked: &mut Checked,
) -> Option<Bundle> {
    let digest = files.digest();
    let problems = &mut checked.problems;
    let all_files_have_roles = !problems.has_errors();
    let palisade = read_palisade(documents, problems);
    let mut wrong_services = Problems::default();
    let identity = palisade.as_ref().map(|palisade| &palisade.identity);
    let identity_headers: Vec<Box<str>> =
        identity.into_iter().flat_map(|identity| identity.credential_headers().map(Box::from)).collect();
    let ServicesRead { mut services, operations_hold } =
        service::read_all(documents, (&identity_headers, identity), &mut wrong_services);
    if let Some(palisade) = &palisade {
        let mask = &palisade.ledger.mask;
        masks::of_all(documents, mask, &identity_headers, (&mut services, operations_hold), problems);
    }
    let issuer_keys = identity.map(|identity| callers::keys(identity, files, documents, problems));
    let services_hold = !wrong_services.has_errors();
    problems.extend(wrong_services);
    let names = operations_hold.then(|| services.iter().map(|read| read.settings.name.as_str()).collect());
    let mut wrong_entities = Problems::default();
    let sources = entities::read_all(documents, &mut wrong_entities);
    let entities = entities::check(&sources, palisade.as_ref(), names, &mut wrong_entities);
    // A file that nobody reads may hold what is missing.
    let entities_hold = !wrong_entities.has_errors() && all_files_have_roles;
    problems.extend(wrong_entities);
    let cases = cases::read_all(documents, problems);
    let compiled = compiled::compile(&mut services, documents, problems);
    let contracts_hold = compiled.is_some();
    if let Some(palisade) = &palisade {
        let settings = services.iter().map(|read| &read.settings);
        shedding::limiter::check_named(settings, palisade.rate_limit_service.as_ref(), problems);
    }
    let mut settings = Vec::new();
    let mut contexts = Vec::new();
    let mut models = Vec::new();
    let mut contracts = Vec::new();
    for mut read in services {
        if let Some(palisade) = &palisade {
            for operation in &mut read.service.operations {
                operation.fails_open = palisade.failure.mode(operation.class) == format::FailMode::Open;
            }
        }
        settings.push(read.settings);
        contracts.push(read.service);
        contexts.extend(read.contexts);
        models.push(Arc::new(read.model));
    }
    let table = compiled.unwrap_or_default();
    let contract = match Contract::assemble(digest, identity_headers, contracts, table) {
        Ok(contract) if operations_hold => contract,
        Ok(_) => {
            cedar.check_names(problems);
            checked.notes.push(
                "policies were not validated, and names in tests not looked up: the contracts have errors",
            );
            return None;
        }
        Err(error) => {
            problems.push(Problem::new(Place::directory("services"), error.to_string()));
            return None;
        }
    };
    let world = World {
        contract: &contract,
        contexts: &contexts,
        entities: &sources,
        declared: &entities,
        entities_hold,
        palisade: palisade.as_ref(),
    };
    let policies = problems.keep(Policies::load(world, cedar));
    if let (Some(identity), Some(policies)) = (identity, &policies) {
        callers::check_attributes(identity, policies.user_attributes(), documents, problems);
    }
    let all_hold = entities_hold && services_hold && contracts_hold;
    let (Some(palisade), Some(policies), true) = (palisade, policies, all_hold) else {
        checked.notes.push("names in tests were not looked up: what they may name has errors");
        return None;
    };
    let recordings = Recordings::of(&contract, &contexts, &policies, &palisade).map_err(|error| {
        // The headers were looked at where they are selected.
        Problems::from(Problem::new(Place::directory("services"), error.to_string()))
    });
    let recordings = problems.keep(recordings)?;
    let known =
        cases::Known { palisade: &palisade, contract: &contract, entities: &entities, policies: &policies };
    let cases = cases::check_all(&cases, known, problems);
    if problems.has_errors() {
        return None;
    }
    let bundle = Bundle {
        digest,
        palisade,
        contract,
        contexts,
        recordings,
        services: settings,
        models,
        entities,
        policies,
        issuer_keys: issuer_keys.unwrap_or_default(),
        fragments: BTreeMap::new(),
        cases,
    };
    // Sets of keys that no token could be verified by would only be told of when a server takes the bundle.
    if let Err(errors) = Tokens::begin(&bundle.issuers(&BTreeMap::new(), &BTreeMap::new()), None) {
        let told = errors.into_iter();
        told.for_each(|error| problems.push(Problem::new(Place::file("palisade.yaml"), error.to_string())));
        return None;
    }
    Some(bundle)
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
