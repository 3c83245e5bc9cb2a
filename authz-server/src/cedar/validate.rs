//! Strict validation of all policies, fast enough for thousands of them over a thousand operations.
//!
//! Cedar validates each policy for each action of the schema; here each is validated for the operations that it needs
//! (see `needs`), against a schema of these and a few others, on all processors.
//! INVARIANT: a policy has an error here exactly where it has one against the whole schema; a test compares the two.

use super::needs::{Needed, Needs};
use super::places::problem_at;
use super::policies::Named;
use super::schema::Writer;
use crate::bundle::{Lint, Place, Problem, Problems, Severity};
use cedar_policy::{PolicySet, Schema, ValidationMode, ValidationWarning, Validator};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Operations of one small schema. More, and each policy is validated for more than it needs; fewer, and more schemas
/// are made.
const OPERATIONS_MAX: usize = 8;

/// Threads beyond this gain nothing: what is left then is reading files.
const THREADS_MAX: usize = 8;

/// Policies that are validated against the same small schema.
struct Batch<'p, 'f> {
    needs: Needs,
    policies: Vec<&'p Named<'f>>,
}

/// Validates all policies. Errors go to `problems`; what can never apply, or looks like something else, to `warnings`.
pub(super) fn validate(
    named: &[Named<'_>],
    needed: &mut Needed<'_>,
    writer: &Writer<'_>,
    problems: &mut Problems,
    warnings: &mut Problems,
) {
    let batches = batches(named, needed, writer);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let next = AtomicUsize::new(0);
    let found = std::thread::scope(|scope| {
        let work = || {
            let mut found = Found::default();
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                found.batch(batch, writer);
            }
            found
        };
        let others: Vec<_> = (1..threads.min(batches.len())).map(|_| scope.spawn(work)).collect();
        let mut all = vec![work()];
        all.extend(others.into_iter().map(|other| other.join().unwrap_or_else(|_| Found::broken())));
        all
    });
    // The same mistake is one for each operation and each kind of caller, and may have been named already.
    let mut told: HashSet<Place> = problems.iter().map(|problem| Place::clone(&problem.place)).collect();
    let mut errors = Problems::default();
    for Found { errors: more, warnings: mine } in found {
        errors.extend(more);
        warnings.extend(mine);
    }
    for error in errors.sorted() {
        if told.insert(Place::clone(&error.place)) {
            problems.push(error.clone());
        }
    }
}

/// Puts policies together that need nearly the same.
fn batches<'p, 'f>(
    named: &'p [Named<'f>],
    needed: &mut Needed<'_>,
    writer: &Writer<'_>,
) -> Vec<Batch<'p, 'f>> {
    let mut all: Vec<(Needs, &Named<'_>)> =
        named.iter().map(|policy| (needed.of(policy, writer), policy)).collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut batches: Vec<Batch<'_, '_>> = Vec::new();
    for (needs, policy) in all {
        let fits = batches.last_mut().filter(|batch| {
            let more = needs.operations.difference(&batch.needs.operations).count();
            more == 0 || batch.needs.operations.len() + more <= OPERATIONS_MAX
        });
        match fits {
            Some(batch) => {
                batch.needs.operations.extend(needs.operations);
                batch.needs.mentioned.extend(needs.mentioned);
                batch.policies.push(policy);
            }
            None => batches.push(Batch { needs, policies: vec![policy] }),
        }
    }
    batches
}

#[derive(Default)]
struct Found {
    errors: Problems,
    warnings: Problems,
}

impl Found {
    /// A thread that was lost has not validated what it should have.
    fn broken() -> Found {
        let problem = Problem::new(Place::file("*.cedar"), "the policies could not be validated");
        Found { errors: problem.into(), warnings: Problems::default() }
    }

    fn batch(&mut self, batch: &Batch<'_, '_>, writer: &Writer<'_>) {
        let text = writer.of_operations(&batch.needs.operations, &batch.needs.mentioned);
        let schema = match Schema::from_cedarschema_str(&text) {
            Ok((schema, _warnings)) => schema,
            Err(error) => {
                let message = format!("the generated Cedar schema does not hold: {error}");
                return self.errors.push(Problem::new(Place::directory("services"), message));
            }
        };
        let homes: HashMap<&str, &Named<'_>> =
            batch.policies.iter().map(|policy| (policy.summary.id.as_str(), *policy)).collect();
        let set = match PolicySet::from_policies(batch.policies.iter().map(|policy| policy.policy.clone())) {
            Ok(set) => set,
            Err(error) => return self.errors.push(Problem::new(Place::file("*.cedar"), error.to_string())),
        };
        let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
        for error in result.validation_errors() {
            let id: &str = error.policy_id().as_ref();
            let Some(home) = homes.get(id) else {
                self.errors.push(Problem::new(Place::file("*.cedar"), error.to_string()));
                continue;
            };
            let problem = problem_at(home.source, error, message(home, &error.to_string()));
            self.errors.push(problem);
        }
        for warning in result.validation_warnings() {
            let id: &str = warning.policy_id().as_ref();
            let Some(home) = homes.get(id) else { continue };
            let message = message(home, &warning.to_string());
            let problem = problem_at(home.source, warning, message);
            let (severity, lint) = (Severity::Warning, Some(lint(warning)));
            self.warnings.push(Problem { severity, lint, ..problem }.subject(id));
        }
    }
}

/// The name under which a warning can be allowed.
fn lint(warning: &ValidationWarning) -> Lint {
    match warning {
        ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_) => {
            Lint::PolicyNeverApplies
        }
        // Letters that look like others, and whatever Cedar learns to warn of.
        _ => Lint::MisleadingText,
    }
}

fn message(home: &Named<'_>, text: &str) -> String {
    let id = &home.summary.id;
    // Cedar begins with the policy, too.
    let text = text.strip_prefix(&format!("for policy `{id}`, ")).unwrap_or(text);
    format!("policy `{id}`: {text}")
}
