//! Key sets that come with a bundle: `keys/*.json`.
//!
//! INVARIANT: every file is named by an issuer, and holds keys that its tokens could be verified by.

use super::Identity;
use crate::bundle::files::{File, Files, Role};
use crate::bundle::parsed::Parsed;
use crate::bundle::problem::{Place, Problem, Problems};
use std::collections::{BTreeMap, BTreeSet};

/// The text of each issuer's key set, by its name.
pub(in crate::bundle) fn keys(
    identity: &Identity,
    files: &Files,
    documents: &Parsed<'_>,
    problems: &mut Problems,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let palisade: Option<&File> = documents.with_role(Role::Palisade).next().map(|document| document.file);
    for (name, issuer) in &identity.jwt.0 {
        let Some(written) = &issuer.keys.value.file else { continue };
        match files.with_role(Role::Keys).find(|file| file.path == written.value) {
            Some(file) => {
                used.insert(&file.path);
                found.insert(name.text.clone(), file.text.clone());
            }
            None => {
                let place = palisade.map(|file| Place::of_range(&file.path, &file.text, written.at.range()));
                let message = format!("the bundle has no file `{}`", written.value);
                let known = files.with_role(Role::Keys).map(|file| file.path.as_str());
                let problem = Problem::new(place.unwrap_or_else(|| Place::file("palisade.yaml")), message);
                let help = "key sets stand in `keys/<name>.json`, inside of the bundle";
                problems.push(problem.suggest(&written.value, known).help(help));
            }
        }
    }
    for file in files.with_role(Role::Keys).filter(|file| !used.contains(file.path.as_str())) {
        let problem = Problem::new(Place::file(&file.path), "no issuer has these keys");
        let help = "name the file under `identity.jwt` in `palisade.yaml`, or remove it";
        problems.push(problem.help(help));
    }
    found
}
