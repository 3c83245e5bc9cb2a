//! What is written above a policy: its name, and what people should know of it.
//!
//! INVARIANT: every annotation means something; one that nobody reads would be believed by whoever wrote it.

use super::policies::{ActionScope, Effect, EntityName, EntityScope, Mode, PolicySummary};
use crate::audit::day_ms;
use crate::bundle::{Lines, PolicySource, Problem, Problems};
use cedar_policy::{ActionConstraint, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};
use std::ops::Range;

const ID: &str = "id";
const ADVICE: &str = "advice";
const MODE: &str = "mode";
const UNTIL: &str = "until";
const KNOWN: [&str; 7] = [ID, "reason", "owner", "runbook", MODE, UNTIL, ADVICE];

/// The only mode that needs a word.
const SHADOW: &str = "shadow";

/// Reads one policy's annotations and scope. `None`: what is wrong was reported.
pub(super) fn summary(
    lines: &Lines<'_>,
    source: PolicySource<'_>,
    policy: &Policy,
    span: Range<usize>,
    problems: &mut Problems,
) -> Option<PolicySummary> {
    let place = |range: Range<usize>| lines.place(range);
    let mut sound = true;
    let mut wrong = |problem: Problem| {
        sound = false;
        problems.push(problem);
    };
    for (name, annotation) in policy.as_ref().annotations() {
        let (name, value): (&str, &str) = (name.as_ref(), annotation.as_ref());
        let at = annotation.loc.as_ref().map_or(span.clone(), |loc| loc.start()..loc.end());
        // The word itself, so that what is suggested can be put in its place.
        let word = |word: &str| {
            let found = source.text.get(at.clone()).and_then(|text| text.find(word));
            found.map_or(at.clone(), |from| at.start + from..at.start + from + word.len())
        };
        if !KNOWN.contains(&name) {
            let known: Vec<_> = KNOWN.iter().map(|name| format!("`@{name}`")).collect();
            let problem = Problem::new(place(word(name)), format!("unknown annotation `@{name}`"));
            wrong(problem.suggest(name, KNOWN).help(format!("the annotations are {}", known.join(", "))));
        } else if value.trim().is_empty() {
            wrong(
                Problem::new(place(at), format!("`@{name}` is empty"))
                    .help(format!("write `@{name}(\"…\")`, or leave it away")),
            );
        } else if name == MODE && value != SHADOW {
            let problem = Problem::new(place(word(value)), format!("unknown mode `{value}`"));
            wrong(
                problem
                    .suggest(value, [SHADOW])
                    .help("expected `@mode(\"shadow\")`; a policy that counts has no mode"),
            );
        } else if name == UNTIL && policy.annotation(MODE).is_none() {
            wrong(Problem::new(place(at), "`@until` without `@mode(\"shadow\")` ends nothing").help(
                "a policy that counts does so until it is removed: leave `@until` away, or make it a shadow",
            ));
        } else if name == UNTIL && day_ms(value).is_none() {
            let problem = Problem::new(place(word(value)), format!("`{value}` is no day"));
            wrong(problem.help(
                "expected a day such as `@until(\"2027-01-31\")`: the shadow ends when it begins in UTC",
            ));
        } else if name == ADVICE && policy.effect() == cedar_policy::Effect::Permit {
            wrong(Problem::new(place(at), "`@advice` on a permit is told to nobody").help(
                "write it on the forbid that denies; where no policy permits, callers are told no more",
            ));
        } else if name == ADVICE && !is_tellable(value) {
            let help = "callers read it: one line of at most 300 characters, without control characters";
            wrong(Problem::new(place(at), "`@advice` cannot be told to callers as it is").help(help));
        } else if name == ID && value.chars().any(char::is_control) {
            wrong(Problem::new(place(at), "an `@id` is one line without control characters"));
        }
    }
    let text = |name: &str| policy.annotation(name).map(ToOwned::to_owned);
    let Some(id) = text(ID) else {
        let problem = Problem::new(place(span), "a policy has no `@id`");
        wrong(problem.help("put `@id(\"a-name\")` before it: decisions name the policies that made them"));
        return None;
    };
    sound.then(|| PolicySummary {
        id,
        place: place(span.start..span.start),
        text: source.text.get(span.clone()).unwrap_or_default().to_owned(),
        effect: match policy.effect() {
            cedar_policy::Effect::Permit => Effect::Permit,
            cedar_policy::Effect::Forbid => Effect::Forbid,
        },
        mode: if policy.annotation(MODE).is_some() { Mode::Shadow } else { Mode::Enforced },
        until: text(UNTIL).and_then(|day| day_ms(&day).map(|ends_ms| (day, ends_ms))),
        reason: text("reason"),
        owner: text("owner"),
        runbook: text("runbook"),
        advice: text(ADVICE),
        principal: principal(policy.principal_constraint()),
        action: action(policy.action_constraint()),
        resource: resource(policy.resource_constraint()),
        has_condition: policy.has_non_scope_constraint(),
    })
}

/// How long an advice may be.
const ADVICE_CHARS_MAX: usize = 300;

fn is_tellable(advice: &str) -> bool {
    advice.chars().nth(ADVICE_CHARS_MAX).is_none() && !advice.chars().any(char::is_control)
}

pub(super) fn entity(uid: &EntityUid) -> EntityName {
    EntityName { kind: uid.type_name().to_string(), id: uid.id().unescaped().to_owned() }
}

fn principal(constraint: PrincipalConstraint) -> EntityScope {
    match constraint {
        PrincipalConstraint::Any => EntityScope::Any,
        PrincipalConstraint::In(uid) => EntityScope::In(entity(&uid)),
        PrincipalConstraint::Eq(uid) => EntityScope::Eq(entity(&uid)),
        PrincipalConstraint::Is(kind) => EntityScope::Is(kind.to_string()),
        PrincipalConstraint::IsIn(kind, uid) => EntityScope::IsIn(kind.to_string(), entity(&uid)),
    }
}

fn resource(constraint: ResourceConstraint) -> EntityScope {
    match constraint {
        ResourceConstraint::Any => EntityScope::Any,
        ResourceConstraint::In(uid) => EntityScope::In(entity(&uid)),
        ResourceConstraint::Eq(uid) => EntityScope::Eq(entity(&uid)),
        ResourceConstraint::Is(kind) => EntityScope::Is(kind.to_string()),
        ResourceConstraint::IsIn(kind, uid) => EntityScope::IsIn(kind.to_string(), entity(&uid)),
    }
}

fn action(constraint: ActionConstraint) -> ActionScope {
    match constraint {
        ActionConstraint::Any => ActionScope::Any,
        ActionConstraint::In(uids) => ActionScope::In(uids.iter().map(|uid| entity(uid).id).collect()),
        ActionConstraint::Eq(uid) => ActionScope::Eq(entity(&uid).id),
    }
}
