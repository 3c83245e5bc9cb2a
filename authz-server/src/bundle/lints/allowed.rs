//! `lints.allow` in `palisade.yaml`: what somebody looked at and wants as it is, with the reason.
//!
//! INVARIANT: an entry that allows nothing is a finding itself, and cannot be allowed.

use super::Lint;
use super::places::Places;
use crate::bundle::problem::{Problem, Problems};
use crate::bundle::record::{Placed, Reader, record};

record! {
    /// `lints`: what `palisade check` shall not warn of.
    #[derive(Default)]
    pub struct LintSettings {
        /// What is meant as it is.
        optional allow: Vec<Allowance>,
    }
}

record! {
    /// An entry of `lints.allow`.
    pub struct Allowance {
        /// The name of the lint, as the warning shows it.
        required lint: Placed<Lint>,
        /// Which policies, operations, services, groups or callers. Absent: all of them.
        optional of: Vec<Placed<String>>,
        /// Why this is meant.
        required reason: Placed<String>,
    }
}

impl LintSettings {
    /// Whether a finding of this lint about this subject is meant.
    pub(in crate::bundle) fn allows(&self, lint: Lint, subject: &str) -> bool {
        self.allow.iter().any(|allowance| {
            let names = &allowance.of;
            allowance.lint.value == lint
                && (names.is_empty() || names.iter().any(|name| name.value == subject))
        })
    }

    pub(in crate::bundle) fn check(&self, reader: &mut Reader<'_>) {
        for allowance in self.allow.iter().filter(|allowance| allowance.reason.value.trim().is_empty()) {
            reader.wrong(
                allowance.reason.at,
                "the reason is empty",
                "say why it is meant, for whoever reads this next",
            );
        }
    }
}

/// Takes away what is allowed, and adds what is allowed for nothing.
pub(super) fn without_allowed(found: Vec<Problem>, settings: &LintSettings, places: &Places<'_>) -> Problems {
    // For each entry, which of its names were found; an entry without names has one place for all.
    let mut met: Vec<Vec<bool>> =
        settings.allow.iter().map(|allowance| vec![false; allowance.of.len().max(1)]).collect();
    let mut left = Problems::default();
    for problem in found {
        let mut allowed = false;
        for (allowance, met) in settings.allow.iter().zip(&mut met) {
            if problem.lint != Some(allowance.lint.value) {
                continue;
            }
            let named = allowance.of.iter().position(|name| Some(&name.value) == problem.subject.as_ref());
            let hit = if allowance.of.is_empty() { Some(0) } else { named };
            if let Some(met) = hit.and_then(|hit| met.get_mut(hit)) {
                *met = true;
                allowed = true;
            }
        }
        if !allowed {
            left.push(problem);
        }
    }
    for (allowance, met) in settings.allow.iter().zip(met) {
        for (index, _) in met.iter().enumerate().filter(|(_, met)| !**met) {
            let lint = allowance.lint.value.word();
            let (at, message) = match allowance.of.get(index) {
                Some(name) => (name.at, format!("`{lint}` is not found at `{}`", name.value)),
                None => (allowance.lint.at, format!("`{lint}` is found nowhere")),
            };
            let problem = Problem::lint(places.in_palisade(at), Lint::AllowedForNothing, message);
            left.push(problem.help("remove it, so that it does not hide what is found there later"));
        }
    }
    left
}
