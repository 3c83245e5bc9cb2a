//! Corpora: files of raw requests, each with the expected reply and with what the service may see.
//!
//! `format` reads the files, `template` their text, `profile` gives each bundle's names, `check` runs one case.

pub mod check;
pub mod format;
pub mod profile;
pub mod template;

use std::path::{Path, PathBuf};

use crate::binaries;
use crate::rig::Rig;
use format::Case;

/// Every case of every file below `tests/corpus`, in the order of the file names.
pub fn load_all() -> Vec<Case> {
    let dir = binaries::workspace_dir().join("tests/corpus");
    let mut files = Vec::new();
    collect(&dir, &mut files);
    files.sort();
    files.iter().flat_map(|file| load(file)).collect()
}

/// Runs every case that the rig's bundle has the features for, and fails with all differences together.
#[track_caller]
pub fn run(cases: &[Case], rig: &Rig) {
    let meant: Vec<&Case> = cases.iter().filter(|case| rig.profile.has(&case.needs)).collect();
    let failures: Vec<String> = meant.iter().filter_map(|case| check::check(case, rig).err()).collect();
    let (bundle, target) = (&rig.profile.bundle, rig.target.name());
    assert!(
        failures.is_empty(),
        "{} of {} cases failed with {bundle} on {target}:\n{}",
        failures.len(),
        meant.len(),
        failures.join("\n")
    );
}

fn load(file: &Path) -> Vec<Case> {
    let shown = file.strip_prefix(binaries::workspace_dir()).unwrap_or(file).display().to_string();
    let text = std::fs::read_to_string(file).expect("read a corpus file");
    match format::parse(&shown, &text) {
        Ok(cases) => cases,
        Err(error) => panic!("{error}"),
    }
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("list the corpus directory") {
        let path = entry.expect("list the corpus directory").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::format::{Expectation, Message, Refuser};
    use super::profile::Profile;
    use super::*;
    use crate::rig::BundleUnderTest;
    use palisade_core::reason::Reason;
    use std::collections::{BTreeMap, BTreeSet};

    const BUNDLES: [BundleUnderTest; 2] = [BundleUnderTest::Demo, BundleUnderTest::Second];

    #[test]
    fn every_case_can_be_written_for_some_bundle_and_lacks_no_name() {
        let profiles: Vec<Profile> = BUNDLES.into_iter().map(Profile::load).collect();
        let mut errors = Vec::new();
        for case in load_all() {
            let meant: Vec<&Profile> = profiles.iter().filter(|profile| profile.has(&case.needs)).collect();
            if meant.is_empty() {
                errors.push(format!("{}:{}: no bundle has {:?}", case.file, case.line, case.needs));
            }
            let resolved =
                meant.iter().map(|profile| check::resolve(&case, &profile.resolve(&BTreeMap::new())));
            errors.extend(resolved.filter_map(Result::err));
        }
        assert!(errors.is_empty(), "{}", errors.join("\n"));
    }

    #[test]
    fn the_corpora_are_as_large_as_promised() {
        let cases = load_all();
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len(), "a name is used in two files");
        assert!(cases.len() >= 400, "only {} cases", cases.len());
        let over_http2 =
            cases.iter().filter(|case| matches!(case.subject.message, Message::Http2(_))).count();
        assert!(over_http2 >= 100, "only {over_http2} cases over HTTP/2");
        let accepted = cases.iter().filter(|case| case.subject.expected == Expectation::Accepted).count();
        assert!(accepted >= 50, "only {accepted} cases that pass though they look odd");
    }

    #[test]
    fn every_refusal_has_a_twin_that_passes_and_differs() {
        for case in load_all() {
            let at = format!("{}:{}: `{}`", case.file, case.line, case.name);
            if case.subject.expected != Expectation::Accepted {
                let twin = case.twin.as_ref().unwrap_or_else(|| panic!("{at} has no twin"));
                assert_eq!(twin.expected, Expectation::Accepted, "{at}");
                assert_ne!(twin.message, case.subject.message, "{at}");
            }
        }
    }

    /// Reasons about the head that no request brings about through this Envoy, and why they exist nonetheless.
    const OUT_OF_REACH: [(Reason, &str); 5] = [
        (Reason::PathMissing, "Envoy answers a request without a path itself, in every version of HTTP"),
        (
            Reason::PathNotAbsolute,
            "Envoy makes a path of an absolute form and refuses everything else itself",
        ),
        (Reason::PathFragment, "Envoy refuses a fragment itself, unless its operator turned that off"),
        (Reason::HeaderMapInvalid, "it is about the host's own serialisation"),
        (Reason::ContentLengthInvalid, "Envoy has to read the length itself, and refuses what is not one"),
    ];

    /// A rule is there for those who come past it: each reason about the head has a case, or is said to be out of reach.
    #[test]
    fn every_reason_about_the_head_is_reached_or_said_to_be_out_of_reach() {
        let cases = load_all();
        let exchanges = cases.iter().map(|case| &case.subject);
        let expectations = exchanges.flat_map(|exchange| {
            std::iter::once(&exchange.expected)
                .chain(exchange.expected_of.iter().map(|(_, expected)| expected))
        });
        let reached: BTreeSet<Reason> = expectations
            .filter_map(|expected| match expected {
                // A reason that Envoy may take the place of is not reached for sure.
                Expectation::Refused(refusal) if refusal.by != Refuser::EnvoyOrFilter => refusal.reason,
                Expectation::Refused(_) | Expectation::Accepted => None,
            })
            .collect();
        let about_the_head = Reason::ALL.iter().take_while(|reason| **reason != Reason::BodyMissing);
        let mut wrong = Vec::new();
        for reason in about_the_head {
            let excuse = OUT_OF_REACH.iter().find(|(known, _)| known == reason);
            match (reached.contains(reason), excuse) {
                (false, None) => wrong.push(format!("no case reaches `{}`", reason.code())),
                (true, Some((_, why))) => {
                    wrong.push(format!("`{}` is reached, though: {why}", reason.code()));
                }
                _ => {}
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
