//! The explanation of one answer, put together.
//!
//! INVARIANT: a `Suggestion` is only made of a change after which Cedar was asked the whole question again.

use crate::Question;
use crate::change::Change;
use crate::clauses::{Anatomy, Clause, Outcome, Part, examine};
use crate::derive;
use crate::errors;
use crate::rank;
use crate::shown;
use crate::world::{Conclusion, World};
use cedar_policy::{Effect, Policy, PolicyId, PolicySet};
use serde::Serialize;

/// How many permits are shown that nearly matched.
pub const NEAR_MISSES_MAX: usize = 3;

/// How many ways out are told of one policy.
pub const FURTHER_CHANGES_MAX: usize = 2;

/// How many permits changes are looked for, and how many policies that determined the answer are shown.
const CHANGED_MAX: usize = 6;
const DETERMINING_MAX: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Allowed,
    /// A forbid applies.
    Forbidden,
    /// No permit applies.
    NotPermitted,
    /// A policy could not be evaluated.
    PolicyError,
}

/// Why the answer is what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub verdict: Verdict,
    /// What is to be known of the caller or the operation before any policy.
    pub notes: Vec<String>,
    /// Those that determined the answer.
    pub policies: Vec<Explained>,
    /// Ways out of several forbids at once.
    pub suggestions: Vec<Suggestion>,
    /// What would be answered if the policies that err were not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<String>,
    /// The permits that nearly matched, nearest first.
    pub near_misses: Vec<Explained>,
    /// How many more permits there are for the action.
    pub further_permits: usize,
}

/// One policy, and what became of each of its clauses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    pub id: String,
    pub effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// Where it stands, for whoever knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    pub clauses: Vec<Clause>,
    /// How many clauses were not looked at.
    pub further_clauses: usize,
    pub suggestions: Vec<Suggestion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<Mend>,
}

/// A change, and what Cedar answers with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// What follows an "if".
    pub change: String,
    pub allowed: bool,
    /// What would still deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
}

/// What is wrong with a policy that errs, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mend {
    pub clause: String,
    pub why: String,
    pub how: String,
}

/// Explains. `None`: the request was made for partial evaluation.
pub fn explain(question: Question<'_>) -> Option<Explanation> {
    let world = World::of(question)?;
    let conclusion = world.conclude(world.policies);
    let (verdict, ids) = match &conclusion {
        Conclusion::Allowed(ids) => (Verdict::Allowed, ids.as_slice()),
        Conclusion::Forbidden(ids) => (Verdict::Forbidden, ids.as_slice()),
        Conclusion::NotPermitted => (Verdict::NotPermitted, [].as_slice()),
        Conclusion::Erred(ids) => (Verdict::PolicyError, ids.as_slice()),
    };
    let mut explanation = Explanation {
        verdict,
        notes: Vec::new(),
        policies: Vec::new(),
        suggestions: Vec::new(),
        otherwise: None,
        near_misses: Vec::new(),
        further_permits: 0,
    };
    let mut ways: Vec<Vec<Change>> = Vec::new();
    for policy in ids.iter().take(DETERMINING_MAX).filter_map(|id| world.policies.policy(&PolicyId::new(id)))
    {
        let Some(anatomy) = examine(&world, policy) else { continue };
        let mut explained = Explained::of(policy, &anatomy);
        match verdict {
            Verdict::Allowed | Verdict::NotPermitted => {}
            Verdict::Forbidden => ways.push(ways_out(&world, &anatomy)),
            Verdict::PolicyError => explained.mend = mend(&world, &anatomy),
        }
        explanation.policies.push(explained);
    }
    let mut outs = Vec::new();
    match verdict {
        Verdict::Allowed => return Some(explanation),
        Verdict::Forbidden => {
            outs = derive::all(ways);
            leave_forbids(&world, &outs, &mut explanation);
        }
        Verdict::PolicyError => explanation.otherwise = without(&world, ids),
        Verdict::NotPermitted => {}
    }
    note_caller(&world, &mut explanation.notes);
    let permits: Vec<Policy> = world.policies.policies().cloned().collect();
    let is_unpermitted = match verdict {
        Verdict::NotPermitted => true,
        Verdict::Forbidden => !any_permit(&world, &permits),
        Verdict::Allowed | Verdict::PolicyError => false,
    };
    if is_unpermitted {
        near_misses(&world, &permits, &outs, &mut explanation);
    }
    Some(explanation)
}

impl Explained {
    fn of(policy: &Policy, anatomy: &Anatomy) -> Explained {
        let text = |name: &str| policy.annotation(name).map(|text| shown::bounded(text, 400));
        let effect = match policy.effect() {
            Effect::Permit => "permit",
            Effect::Forbid => "forbid",
        };
        Explained {
            id: policy.id().to_string(),
            effect,
            reason: text("reason"),
            owner: text("owner"),
            runbook: text("runbook"),
            place: None,
            clauses: anatomy.clauses.iter().map(|examined| examined.clause.clone()).collect(),
            further_clauses: anatomy.further,
            suggestions: Vec::new(),
            mend: None,
        }
    }

    /// How far it is from matching.
    fn distance(&self) -> usize {
        let weight = |clause: &Clause| match (clause.outcome, clause.part) {
            (Outcome::Met | Outcome::NotReached, _) => 0,
            (Outcome::Missed | Outcome::Error, Part::Action) => 16,
            (Outcome::Missed | Outcome::Error, Part::Resource) => 4,
            // A permit for the caller's own group is the likelier one to be meant.
            (Outcome::Missed | Outcome::Error, Part::Principal) => 3,
            (Outcome::Missed | Outcome::Error, Part::When | Part::Unless) => 2,
        };
        self.clauses.iter().map(weight).sum()
    }

    fn is_attainable(&self) -> bool {
        self.suggestions.iter().any(|suggestion| suggestion.allowed)
    }
}

fn note_caller(world: &World<'_>, notes: &mut Vec<String>) {
    if world.anonymous {
        notes.push("no credential was sent, so that nobody is known to have called".to_owned());
    } else if !world.is_declared(&world.principal) {
        let who = shown::entity(&world.principal);
        notes.push(format!("{who} is declared nowhere: it is in no group and has no attributes"));
    }
}

fn any_permit(world: &World<'_>, policies: &[Policy]) -> bool {
    let permits = policies.iter().filter(|policy| policy.effect() == Effect::Permit).cloned();
    PolicySet::from_policies(permits)
        .is_ok_and(|permits| matches!(world.conclude(&permits), Conclusion::Allowed(_)))
}

fn near_misses(world: &World<'_>, policies: &[Policy], outs: &[Change], explanation: &mut Explanation) {
    let rank::Nearest { permits, further, covers_action } = rank::nearest(world, policies);
    if !covers_action {
        let action = shown::entity(&world.action);
        let note = format!("no permit is for {action}: nobody may do it until one is written");
        explanation.notes.push(note);
    }
    let examined = permits.into_iter().filter_map(|policy| {
        let anatomy = examine(world, policy)?;
        Some((Explained::of(policy, &anatomy), anatomy, policy))
    });
    let mut all: Vec<(Explained, Anatomy, &Policy)> = examined.collect();
    all.sort_by_cached_key(|(explained, ..)| (explained.distance(), explained.id.clone()));
    let mut found = Vec::new();
    let mut attainable: usize = 0;
    for (index, (mut explained, anatomy, policy)) in all.into_iter().enumerate() {
        let mut size = None;
        // Each asks all policies again.
        if index < CHANGED_MAX && attainable < NEAR_MISSES_MAX {
            (explained.suggestions, size) = ways_in(world, &anatomy, policy.id(), outs);
        }
        attainable = attainable.saturating_add(usize::from(explained.is_attainable()));
        let key = (!explained.is_attainable(), explained.distance(), size, explained.id.clone());
        found.push((key, explained));
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    let total = found.len().saturating_add(further);
    let nearest = found.first().map(|(_, explained)| (explained.is_attainable(), explained.distance()));
    let (attainable, distance) = nearest.unwrap_or_default();
    // Beside one that could be granted, what is further away is noise.
    let wide = if attainable { distance } else { distance.saturating_add(2) };
    let near = found.into_iter().map(|(_, explained)| explained);
    let near = near.filter(|explained| explained.is_attainable() || explained.distance() <= wide);
    let most = match (covers_action, explanation.verdict) {
        (true, Verdict::Forbidden) => 1,
        (true, _) => NEAR_MISSES_MAX,
        // What else the caller may do is worth a look, and no more.
        (false, Verdict::Forbidden) => 0,
        (false, _) => usize::from(attainable),
    };
    explanation.near_misses = near.take(most).collect();
    if explanation.near_misses.iter().any(Explained::is_attainable) {
        // It tells the whole way, past the forbids.
        explanation.suggestions.clear();
    }
    explanation.further_permits =
        if covers_action { total.saturating_sub(explanation.near_misses.len()) } else { 0 };
}

/// What would make a permit apply, as far as Cedar then agrees, and how small the smallest such change is.
fn ways_in(
    world: &World<'_>,
    anatomy: &Anatomy,
    id: &PolicyId,
    outs: &[Change],
) -> (Vec<Suggestion>, Option<impl Ord + use<>>) {
    let unmet = anatomy.clauses.iter().filter(|examined| examined.clause.outcome != Outcome::Met);
    let of_each: Vec<Vec<Change>> = unmet
        .map(|examined| derive::changes(world, &examined.expression.json, examined.clause.part.wants()))
        .collect();
    // Another caller brings attributes of its own.
    let others = of_each.iter().flatten().filter(|change| change.is_other_request()).cloned();
    let others: Vec<Change> = others.collect();
    let mut changes = derive::all(of_each);
    let past_forbids = derive::all([changes.clone(), outs.to_vec()]);
    changes.extend(past_forbids.into_iter().filter(|_| !outs.is_empty()));
    changes.extend(others);
    let mut found: Vec<(Change, Suggestion)> = Vec::new();
    let mut blocked = None;
    for change in changes {
        let taken = found.iter().any(|(known, _)| {
            known.kinds == change.kinds || change.is_other_request() || change.words.len() > known.words.len()
        });
        if taken || found.len() >= FURTHER_CHANGES_MAX {
            continue;
        }
        let Some(conclusion) = tried(world, &change, |world| world.applies(id) == Some(true)) else {
            continue;
        };
        let suggestion = suggested(world, &change, &conclusion);
        if suggestion.allowed {
            found.push((change, suggestion));
        } else if blocked.is_none() {
            blocked = Some(suggestion);
        }
    }
    let size = found.first().map(|(change, _)| change.size());
    let allowed: Vec<Suggestion> = found.into_iter().map(|(_, suggestion)| suggestion).collect();
    (if allowed.is_empty() { blocked.into_iter().collect() } else { allowed }, size)
}

/// What would make a forbid not apply.
fn ways_out(world: &World<'_>, anatomy: &Anatomy) -> Vec<Change> {
    // What an operation is and where it goes is what the request is; a guard is not avoided by asking for another.
    let clauses = anatomy.clauses.iter().filter(|examined| match examined.clause.part {
        Part::Principal | Part::When | Part::Unless => true,
        Part::Action | Part::Resource => false,
    });
    let changes = clauses.flat_map(|examined| {
        derive::changes(world, &examined.expression.json, !examined.clause.part.wants())
    });
    let mut changes: Vec<Change> = changes.filter(|change| !change.is_other_request()).collect();
    changes.sort_by_cached_key(Change::size);
    changes
}

fn leave_forbids(world: &World<'_>, outs: &[Change], explanation: &mut Explanation) {
    let ids: Vec<PolicyId> = explanation.policies.iter().map(|policy| PolicyId::new(&policy.id)).collect();
    let mut found: Vec<(Change, Suggestion)> = Vec::new();
    for change in outs {
        if found.len() >= FURTHER_CHANGES_MAX || found.iter().any(|(known, _)| known.kinds == change.kinds) {
            continue;
        }
        let leaves = |world: &World<'_>| ids.iter().all(|id| world.applies(id) == Some(false));
        let Some(conclusion) = tried(world, change, leaves) else { continue };
        let suggestion = suggested(world, change, &conclusion);
        found.push((change.clone(), suggestion));
    }
    let some_allow = found.iter().any(|(_, suggestion)| suggestion.allowed);
    let mut suggestions = found.into_iter().map(|(_, suggestion)| suggestion);
    explanation.suggestions = if some_allow {
        suggestions.filter(|suggestion| suggestion.allowed).collect()
    } else {
        suggestions.next().into_iter().collect()
    };
}

/// What Cedar answers after a change. `None`: it cannot be made, or does not do what it is for.
fn tried(world: &World<'_>, change: &Change, works: impl Fn(&World<'_>) -> bool) -> Option<Conclusion> {
    let changed = world.with(&change.edits)?;
    if !works(&changed) {
        return None;
    }
    let conclusion = changed.conclude(world.policies);
    for also in &change.also {
        let changed = world.with(also)?;
        let same = match (&conclusion, changed.conclude(world.policies)) {
            (Conclusion::Allowed(_), Conclusion::Allowed(_)) => true,
            (known, other) => *known == other,
        };
        if !works(&changed) || !same {
            return None;
        }
    }
    Some(conclusion)
}

fn suggested(world: &World<'_>, change: &Change, conclusion: &Conclusion) -> Suggestion {
    let named = |ids: &[String]| {
        let names: Vec<String> = ids.iter().map(|id| format!("`{id}`")).collect();
        shown::listed(&names)
    };
    let obstacle = match conclusion {
        Conclusion::Allowed(_) => None,
        Conclusion::NotPermitted => Some("no policy permits it".to_owned()),
        Conclusion::Forbidden(ids) => Some(format!("forbid {} still applies", named(ids))),
        Conclusion::Erred(ids) => Some(format!("policy {} could not be evaluated", named(ids))),
    };
    let mut change = change.sentence();
    if !world.anonymous && !world.is_declared(&world.principal) && change.contains("principal.") {
        change = format!("the principal were declared, and {change}");
    }
    Suggestion { change, allowed: obstacle.is_none(), obstacle }
}

fn mend(world: &World<'_>, anatomy: &Anatomy) -> Option<Mend> {
    let erring = anatomy.clauses.iter().find(|examined| examined.clause.outcome == Outcome::Error)?;
    let error = erring.failed.as_ref().and_then(|failure| failure.error.as_ref());
    Some(Mend {
        clause: erring.clause.text.clone(),
        why: errors::why(world, &erring.expression, error),
        how: errors::mend(world, &erring.expression, error),
    })
}

/// What would be answered without the policies that err.
fn without(world: &World<'_>, erring: &[String]) -> Option<String> {
    let sound = world.policies.policies().filter(|policy| !erring.contains(&policy.id().to_string()));
    let sound = PolicySet::from_policies(sound.cloned()).ok()?;
    let named = |ids: &[String]| {
        let names: Vec<String> = ids.iter().map(|id| format!("`{id}`")).collect();
        shown::listed(&names)
    };
    Some(match world.conclude(&sound) {
        Conclusion::Allowed(ids) => format!("without it the answer would be: allowed, by {}", named(&ids)),
        Conclusion::Forbidden(ids) => {
            format!("without it the answer would be: denied, by forbid {}", named(&ids))
        }
        Conclusion::NotPermitted => "without it the answer would be: denied, no policy permits it".to_owned(),
        Conclusion::Erred(_) => return None,
    })
}
