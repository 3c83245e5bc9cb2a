//! Policies as they are written: one file after the other, each policy with its exact place, its name and its scope.
//!
//! INVARIANT: a policy's place and text come from the parser's own span, never from a search, so that two policies with
//! the same text have two places.

use super::annotations;
use super::places::problem_at;
use crate::bundle::{Lines, Place, PolicySource, Problem, Problems};
use cedar_policy::{Policy, PolicyId, PolicySet};
use palisade_core::contract::Matched;
use std::collections::HashMap;
use std::ops::Range;
use std::str::FromStr as _;

/// What a policy does where it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    Permit,
    Forbid,
}

/// Whether a policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    Enforced,
    /// `@mode("shadow")`: evaluated and recorded until its day, never part of the answer.
    Shadow,
}

/// An entity by type and id: `Group::"storefront"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityName {
    pub kind: String,
    pub id: String,
}

/// What a policy demands of its principal or its resource before any condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EntityScope {
    Any,
    Is(String),
    In(EntityName),
    IsIn(String, EntityName),
    Eq(EntityName),
}

/// What a policy demands of its action before any condition; the names are those of operations, services and classes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ActionScope {
    Any,
    /// In one of these, or one of these itself.
    In(Vec<String>),
    Eq(String),
}

/// One policy, as tools and messages speak of it.
#[derive(Debug, Clone)]
pub struct PolicySummary {
    pub id: String,
    /// Its first annotation, or its first word.
    pub place: Place,
    /// As it was written, from its first annotation to its semicolon.
    pub text: String,
    pub effect: Effect,
    pub mode: Mode,
    /// The day in UTC from which a shadow is not asked any more: how it is written, and when it begins.
    pub until: Option<(String, u64)>,
    pub reason: Option<String>,
    pub owner: Option<String>,
    pub runbook: Option<String>,
    /// What callers may be told.
    pub advice: Option<String>,
    pub principal: EntityScope,
    pub action: ActionScope,
    pub resource: EntityScope,
    /// Whether it has a `when` or an `unless`.
    pub has_condition: bool,
}

impl PolicySummary {
    /// From when on a shadow is not asked any more. One without a day lasts.
    pub fn ends_ms(&self) -> u64 {
        self.until.as_ref().map_or(u64::MAX, |(_, ends_ms)| *ends_ms)
    }

    /// Whether its scope may let it apply to an operation, whoever the caller is and whatever its conditions say. What a
    /// service is in, it does not know.
    pub fn covers(&self, matched: Matched<'_>) -> bool {
        self.action.covers(matched) && self.resource.covers_service(&matched.service.name)
    }
}

impl ActionScope {
    pub fn covers(&self, matched: Matched<'_>) -> bool {
        let is_operation = |name: &str| {
            let rest = name.strip_prefix(matched.service.name.as_ref());
            rest.and_then(|rest| rest.strip_prefix('.')) == Some(matched.operation.name.as_ref())
        };
        match self {
            ActionScope::Any => true,
            ActionScope::Eq(name) => is_operation(name),
            ActionScope::In(names) => names.iter().any(|name| {
                is_operation(name)
                    || name == matched.service.name.as_ref()
                    || name == matched.operation.class.as_str()
            }),
        }
    }
}

impl EntityScope {
    fn covers_service(&self, service: &str) -> bool {
        match self {
            EntityScope::Any => true,
            EntityScope::Is(kind) => kind == super::names::SERVICE,
            EntityScope::Eq(name) => name.kind == super::names::SERVICE && name.id == service,
            EntityScope::In(name) | EntityScope::IsIn(_, name) => {
                name.kind != super::names::SERVICE || name.id == service
            }
        }
    }
}

/// A file whose policies could be parsed.
#[derive(Debug)]
pub(crate) struct PolicyFile<'f> {
    source: PolicySource<'f>,
    policies: Vec<Policy>,
}

/// Parses all files. Each that cannot be parsed is reported with its first mistake.
pub(crate) fn parse<'f>(
    sources: impl IntoIterator<Item = PolicySource<'f>>,
    problems: &mut Problems,
) -> Vec<PolicyFile<'f>> {
    let mut files = Vec::new();
    for source in sources {
        match PolicySet::from_str(source.text) {
            Ok(set) => {
                // A slot in a policy makes it a template, which nothing here fills.
                for template in set.templates() {
                    let span = template.as_ref().loc().map(|loc| loc.start()..loc.end());
                    let place = Place::of_range(source.path, source.text, span.unwrap_or_default());
                    let problem = Problem::new(place, "a policy has a slot that nothing fills");
                    problems.push(problem.help("write it without `?principal` and `?resource`"));
                }
                let mut policies: Vec<Policy> = set.policies().cloned().collect();
                policies.sort_by_key(|policy| span(policy).start);
                files.push(PolicyFile { source, policies });
            }
            Err(errors) => {
                if let Some(error) = errors.iter().next() {
                    problems.push(problem_at(source, error, error.to_string()));
                }
            }
        }
    }
    files
}

/// Where a policy stands in its file, by the parser.
fn span(policy: &Policy) -> Range<usize> {
    policy.as_ref().loc().map(|loc| loc.start()..loc.end()).unwrap_or_default()
}

/// A policy that has a name.
#[derive(Debug)]
pub(super) struct Named<'f> {
    pub(super) source: PolicySource<'f>,
    /// Under its own id.
    pub(super) policy: Policy,
    pub(super) summary: PolicySummary,
}

/// Reads the annotations of all policies, and gives each its name.
pub(super) fn name_all<'f>(files: Vec<PolicyFile<'f>>, problems: &mut Problems) -> Vec<Named<'f>> {
    let mut named: Vec<Named<'f>> = Vec::new();
    let mut homes: HashMap<String, Place> = HashMap::new();
    for PolicyFile { source, policies } in files {
        let lines = Lines::of(source.path, source.text);
        for policy in policies {
            let Some(summary) = annotations::summary(&lines, source, &policy, span(&policy), problems) else {
                continue;
            };
            if let Some(home) = homes.get(&summary.id) {
                let message = format!("policy `{}` is declared twice", summary.id);
                let help = format!("the other one is at {home}; decisions name policies by their `@id`");
                problems.push(Problem::new(summary.place.clone(), message).help(help));
                continue;
            }
            homes.insert(summary.id.clone(), summary.place.clone());
            let policy = policy.new_id(PolicyId::new(&summary.id));
            named.push(Named { source, policy, summary });
        }
    }
    named
}
