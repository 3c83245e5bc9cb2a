//! Who callers can be, and what they belong to: the declarations of `entities/*.yaml`.

use super::files::{Files, Role};
use super::format::{EntitiesFile, Member, Palisade, parse_yaml};
use super::problem::{Place, Problem, Problems};
use crate::identity::SpiffeId;
use std::collections::BTreeMap;

/// All declarations of all files, each with the file it stands in.
#[derive(Debug, Default)]
pub struct EntityDeclarations {
    pub groups: BTreeMap<String, Declared>,
    pub clients: BTreeMap<String, Declared>,
    pub workloads: BTreeMap<String, Declared>,
}

#[derive(Debug)]
pub struct Declared {
    pub groups: Vec<String>,
    pub file: String,
}

pub(super) fn read_all(files: &Files, problems: &mut Problems) -> EntityDeclarations {
    let mut all = EntityDeclarations::default();
    for file in files.with_role(Role::Entities) {
        let Some(EntitiesFile { groups, clients, workloads }) = problems.keep(parse_yaml(file)) else {
            continue;
        };
        add(&mut all.groups, groups, "group", &file.path, problems);
        add(&mut all.clients, clients, "client", &file.path, problems);
        add(&mut all.workloads, workloads, "workload", &file.path, problems);
    }
    all
}

fn add(
    all: &mut BTreeMap<String, Declared>,
    new: BTreeMap<String, Member>,
    what: &str,
    file: &str,
    problems: &mut Problems,
) {
    for (name, Member { groups }) in new {
        if let Some(known) = all.get(&name) {
            problems.push(Problem::new(
                Place::file(file),
                format!("{what} `{name}` is declared in `{}` already", known.file),
            ));
            continue;
        }
        all.insert(name, Declared { groups, file: file.to_owned() });
    }
}

impl EntityDeclarations {
    /// Every group that is named must be declared, and every workload be one that can be proven.
    pub(super) fn check(&self, palisade: &Palisade, problems: &mut Problems) {
        let all = [("group", &self.groups), ("client", &self.clients), ("workload", &self.workloads)];
        for (what, declared) in all {
            for (name, declaration) in declared {
                for group in declaration.groups.iter().filter(|group| !self.groups.contains_key(*group)) {
                    let message = format!("{what} `{name}` is in group `{group}`, which is declared nowhere");
                    problems.push(
                        Problem::new(Place::file(&declaration.file), message)
                            .help("declare it under `groups`"),
                    );
                }
            }
        }
        for (id, declaration) in &self.workloads {
            if let Err(error) = SpiffeId::parse(id, &palisade.trust_domains) {
                problems
                    .push(Problem::new(Place::file(&declaration.file), format!("workload `{id}`: {error}")));
            }
        }
    }
}
