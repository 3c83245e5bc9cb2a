//! Runs cases and compares: what differs, and what it rests on.
//!
//! INVARIANT: the order of the results is that of the files and of the cases in them, however many threads ran them.

use super::proxy::{Answer, Proxy};
use crate::bundle::Place;
use crate::bundle::cases::{Caller, Case, CaseFile};
use crate::cedar::Effect;
use crate::check::{Decision, Judge};
use palisade_core::reason::Reason;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;

/// For how many failures it is asked who else may make the request; the answers cost decisions.
const FAILURES_EXPLAINED_MAX: usize = 20;

/// How many callers are asked about, and how many of those that may are named.
const NEAR_ASKED_MAX: usize = 100;
const NEAR_NAMED_MAX: usize = 3;

/// A thread is not worth its start for fewer.
const CASES_PER_THREAD_MIN: usize = 64;

/// All results.
#[derive(Debug)]
pub struct Run<'p> {
    /// Those of which at least one case ran.
    pub files: Vec<FileRun<'p>>,
}

/// The results of one file.
#[derive(Debug)]
pub struct FileRun<'p> {
    pub path: &'p str,
    pub cases: Vec<CaseRun<'p>>,
}

/// The result of one case.
#[derive(Debug)]
pub struct CaseRun<'p> {
    pub case: &'p Case,
    pub answer: Answer,
    pub failure: Option<Failure>,
}

/// Why a case did not pass.
#[derive(Debug)]
pub struct Failure {
    /// Never empty.
    pub differences: Vec<Difference>,
    /// What the answer rests on, most telling first.
    pub hints: Vec<Hint>,
}

/// One thing that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub what: &'static str,
    pub expected: String,
    pub got: String,
}

/// Something that explains an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The filter or the server refuses such requests, whoever calls.
    Refused { by: Judge, explains: &'static str },
    /// A policy that determined the answer, or was expected to.
    Policy { id: String, place: Place, reason: Option<String>, part: Part },
    /// Nothing permits the operation to this caller.
    NotPermitted { operation: String, caller: String },
    /// Somebody else may make the same request.
    AllowedTo { caller: String, policies: Vec<String> },
    /// What went wrong while policies were evaluated.
    Error(String),
}

/// What a policy has to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Determined(Effect),
    /// A shadow that would have determined it.
    WouldHave(Effect),
    /// It was expected to.
    None,
}

impl Run<'_> {
    pub fn cases(&self) -> impl Iterator<Item = &CaseRun<'_>> {
        self.files.iter().flat_map(|file| &file.cases)
    }

    pub fn count(&self) -> usize {
        self.files.iter().map(|file| file.cases.len()).sum()
    }

    pub fn failed(&self) -> usize {
        self.files.iter().map(FileRun::failed).sum()
    }
}

impl FileRun<'_> {
    pub fn failed(&self) -> usize {
        self.cases.iter().filter(|case| case.failure.is_some()).count()
    }
}

/// Runs the cases whose name or file holds `filter`.
pub fn run<'p>(proxy: &'p Proxy, filter: Option<&str>) -> Run<'p> {
    let chosen = |file: &CaseFile, case: &Case| {
        filter.is_none_or(|filter| file.path.contains(filter) || case.name.contains(filter))
    };
    let files = &proxy.bundle().cases;
    let cases: Vec<(&CaseFile, &Case)> = files
        .iter()
        .flat_map(|file| file.cases.iter().map(move |case| (file, case)))
        .filter(|(file, case)| chosen(file, case))
        .collect();
    let mut run = Run { files: Vec::new() };
    for ((file, case), answer) in cases.iter().zip(answers(proxy, &cases)) {
        let differences = differences(case, &answer);
        let failure = (!differences.is_empty()).then(|| {
            let hints = hints(proxy, case, &answer);
            Failure { differences, hints }
        });
        let ran = CaseRun { case, answer, failure };
        match run.files.last_mut() {
            Some(last) if last.path == file.path => last.cases.push(ran),
            _ => run.files.push(FileRun { path: &file.path, cases: vec![ran] }),
        }
    }
    explain_denials(proxy, &mut run);
    run
}

fn answers(proxy: &Proxy, cases: &[(&CaseFile, &Case)]) -> Vec<Answer> {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = cases.len().div_ceil(threads).max(CASES_PER_THREAD_MIN);
    let answer = |(_, case): &(&CaseFile, &Case)| proxy.answer(&case.caller, &case.request);
    std::thread::scope(|scope| {
        let threads: Vec<_> = cases
            .chunks(share)
            .map(|chunk| (chunk, scope.spawn(move || chunk.iter().map(answer).collect::<Vec<_>>())))
            .collect();
        let joined = threads.into_iter().flat_map(|(chunk, thread)| {
            // A thread ends early only by a panic, which is then met again, and told, by this one.
            thread.join().unwrap_or_else(|_| chunk.iter().map(answer).collect())
        });
        joined.collect()
    })
}

fn differences(case: &Case, answer: &Answer) -> Vec<Difference> {
    let expect = &case.expect;
    let mut found = Vec::new();
    let mut compare = |what, expected: String, got: String| {
        if expected != got {
            found.push(Difference { what, expected, got });
        }
    };
    compare("decision", word(expect.allowed).to_owned(), word(answer.reason().is_none()).to_owned());
    if let Some(reason) = expect.reason {
        compare("reason", reason.code().to_owned(), answer.reason().map_or("none", Reason::code).to_owned());
    }
    if let Some(policies) = &expect.policies {
        compare("policies", listed(policies), listed(&answer.policies));
    }
    if let Some(shadow) = &expect.shadow {
        let got = answer.shadow.as_ref();
        let decision = got.map_or("not asked", |shadow| word(shadow.decision == Decision::Allow));
        compare("shadow decision", word(shadow.allowed).to_owned(), decision.to_owned());
        if let Some(policies) = &shadow.policies {
            let got = got.map(|shadow| shadow.policies.as_slice()).unwrap_or_default();
            compare("shadow policies", listed(policies), listed(got));
        }
    }
    found
}

pub(super) const fn word(allowed: bool) -> &'static str {
    if allowed { "allow" } else { "deny" }
}

fn listed(ids: &[String]) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

/// What can be told without asking again.
fn hints(proxy: &Proxy, case: &Case, answer: &Answer) -> Vec<Hint> {
    let mut hints = Vec::new();
    match answer.reason() {
        Some(Reason::PolicyDenied) if answer.policies.is_empty() => hints.push(Hint::NotPermitted {
            operation: answer.operation.clone().unwrap_or_default(),
            caller: case.caller.to_string(),
        }),
        Some(reason) if reason != Reason::PolicyDenied => {
            hints.push(Hint::Refused { by: answer.by, explains: reason.explains() });
        }
        Some(_) | None => {}
    }
    hints.extend(answer.errors.iter().cloned().map(Hint::Error));
    // Shadows explain only a difference that is theirs.
    let shadow = case.expect.shadow.as_ref().zip(answer.shadow.as_ref());
    let would_have = shadow.map(|(_, got)| got.policies.as_slice()).unwrap_or_default();
    let expected_shadow = shadow.and_then(|(expected, _)| expected.policies.as_ref());
    let expected = case.expect.policies.iter().chain(expected_shadow).flatten();
    let expected: BTreeSet<&String> = expected.collect();
    for policy in proxy.bundle().policies.all() {
        let part = if answer.policies.contains(&policy.id) {
            Part::Determined(policy.effect)
        } else if would_have.contains(&policy.id) {
            Part::WouldHave(policy.effect)
        } else if expected.contains(&policy.id) {
            Part::None
        } else {
            continue;
        };
        let (id, place, reason) = (policy.id.clone(), policy.place.clone(), policy.reason.clone());
        hints.push(Hint::Policy { id, place, reason, part });
    }
    hints
}

/// Names others who may make a request that nobody permits to its caller: most likely one of them was meant.
fn explain_denials(proxy: &Proxy, run: &mut Run<'_>) {
    let entities = &proxy.bundle().entities;
    let clients = entities.clients.keys().map(|name| Caller::Client {
        name: name.clone(),
        scopes: None,
        through: None,
    });
    let workloads = entities.workloads.keys().map(|id| Caller::Workload(id.clone()));
    let callers: Vec<Caller> = clients.chain(workloads).take(NEAR_ASKED_MAX).collect();
    let failed = run.files.iter_mut().flat_map(|file| &mut file.cases);
    let failed = failed.filter_map(|ran| Some((ran.case, ran.failure.as_mut()?)));
    for (case, failure) in failed.take(FAILURES_EXPLAINED_MAX) {
        if !failure.hints.iter().any(|hint| matches!(hint, Hint::NotPermitted { .. })) {
            continue;
        }
        let near = callers.iter().filter(|caller| **caller != case.caller).filter_map(|caller| {
            let answer = proxy.answer(caller, &case.request);
            answer
                .reason()
                .is_none()
                .then(|| Hint::AllowedTo { caller: caller.to_string(), policies: answer.policies })
        });
        failure.hints.extend(near.take(NEAR_NAMED_MAX));
    }
}
