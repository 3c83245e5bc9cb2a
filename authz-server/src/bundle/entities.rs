//! Who callers can be, and what they belong to: the declarations of `entities/*.yaml`.

use super::files::Role;
use super::format::{EntitiesFile, Member, Palisade};
use super::parsed::Parsed;
use super::problem::{Place, Problem, Problems};
use super::record::{Named, Read as _, Reader};
use crate::identity::SpiffeId;
use std::collections::BTreeMap;

/// All declarations of all files, each with the place it stands at.
#[derive(Debug, Default)]
pub struct EntityDeclarations {
    pub groups: BTreeMap<String, Declared>,
    pub clients: BTreeMap<String, Declared>,
    pub workloads: BTreeMap<String, Declared>,
}

#[derive(Debug)]
pub struct Declared {
    /// With the place where each is named.
    pub groups: Vec<(String, Place)>,
    pub place: Place,
}

pub(super) fn read_all(documents: &Parsed<'_>, problems: &mut Problems) -> EntityDeclarations {
    let mut all = EntityDeclarations::default();
    for document in documents.with_role(Role::Entities) {
        let mut reader = Reader::new(document.file);
        if let Some(EntitiesFile { groups, clients, workloads }) =
            EntitiesFile::read(&document.root, &mut reader)
        {
            add(&mut all.groups, groups, "group", &mut reader);
            add(&mut all.clients, clients, "client", &mut reader);
            add(&mut all.workloads, workloads, "workload", &mut reader);
        }
        problems.extend(reader.problems);
    }
    all
}

fn add(all: &mut BTreeMap<String, Declared>, new: Named<Member>, what: &str, reader: &mut Reader<'_>) {
    for (name, Member { groups }) in new.0 {
        let place = reader.place(name.at);
        if let Some(known) = all.get(&name.text) {
            let message = format!("{what} `{}` is declared in `{}` already", name.text, known.place);
            reader.push(Problem::new(place, message));
            continue;
        }
        let groups = groups.into_iter().map(|group| (group.value, reader.place(group.at))).collect();
        all.insert(name.text, Declared { groups, place });
    }
}

impl EntityDeclarations {
    /// Every group that is named must be declared, and every workload be one that can be proven.
    pub(super) fn check(&self, palisade: Option<&Palisade>, problems: &mut Problems) {
        let all = [("group", &self.groups), ("client", &self.clients), ("workload", &self.workloads)];
        for (what, declared) in all {
            for (name, declaration) in declared {
                for (group, place) in
                    declaration.groups.iter().filter(|(group, _)| !self.groups.contains_key(group))
                {
                    let message = format!("{what} `{name}` is in group `{group}`, which is declared nowhere");
                    let problem = Problem::new(place.clone(), message).help("declare it under `groups`");
                    problems.push(problem.suggest(group, self.groups.keys().map(String::as_str)));
                }
            }
        }
        // Without trust domains nobody can say which workloads can be proven.
        let Some(palisade) = palisade else { return };
        for (id, declaration) in &self.workloads {
            if let Err(error) = SpiffeId::parse(id, &palisade.trust_domains) {
                problems.push(Problem::new(declaration.place.clone(), format!("workload `{id}`: {error}")));
            }
        }
    }
}
