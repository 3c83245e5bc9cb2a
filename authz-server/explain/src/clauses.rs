//! A policy taken apart: its scope, each conjunct of `when`, each disjunct of `unless`, and what became of each.
//!
//! INVARIANT: a policy applies exactly when all of its clauses are met; each is evaluated by Cedar, on its own.

use crate::errors;
use crate::expression::{Expr, of_scope, operands};
use crate::path::{self, Path, Root, operation};
use crate::shown;
use crate::world::{Truth, World};
use cedar_policy::{EntityUid, EvalResult, EvaluationError, Policy};
use serde::Serialize;
use serde_json::Value as Json;

/// How many clauses of a policy are looked at.
const CLAUSES_MAX: usize = 32;

/// How many values stand below a clause, and how many pieces.
const VALUES_MAX: usize = 4;
const PIECES_MAX: usize = 8;

/// Where a clause stands in its policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Principal,
    Action,
    Resource,
    When,
    Unless,
}

/// What a clause says to whether its policy applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It lets the policy apply: it holds, or as a part of `unless` it does not.
    Met,
    Missed,
    Error,
    /// It could not be evaluated, and was not: a clause before it is missed.
    NotReached,
}

/// What an expression was when it was evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownValue {
    pub name: String,
    pub value: String,
}

/// An operand of a clause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Piece {
    pub text: String,
    /// `None`: it cannot be evaluated.
    pub holds: Option<bool>,
}

/// One condition that a policy makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clause {
    pub part: Part,
    pub text: String,
    pub outcome: Outcome,
    /// Why it could not be evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<ShownValue>,
    /// Its operands, where it has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<Piece>,
}

/// A clause with its expression.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) clause: Clause,
    pub(crate) expression: Expr,
    pub(crate) failed: Option<Failure>,
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Option<EvaluationError>,
}

/// All clauses of a policy in their order, and how many more there are.
#[derive(Debug)]
pub(crate) struct Anatomy {
    pub(crate) clauses: Vec<Examined>,
    pub(crate) further: usize,
}

impl Part {
    /// What the expression must be for the policy to apply.
    pub(crate) const fn wants(self) -> bool {
        match self {
            Part::Principal | Part::Action | Part::Resource | Part::When => true,
            Part::Unless => false,
        }
    }
}

/// `None`: the policy is of a form that cannot be taken apart.
pub(crate) fn examine(world: &World<'_>, policy: &Policy) -> Option<Anatomy> {
    let written = policy.to_json().ok()?;
    let parts = parts(&written)?;
    let further = parts.len().saturating_sub(CLAUSES_MAX);
    let mut clauses: Vec<Examined> = Vec::new();
    for (part, json) in parts.into_iter().take(CLAUSES_MAX) {
        let reached = clauses.iter().all(|before| before.clause.outcome == Outcome::Met);
        clauses.push(one(world, part, Expr::of(json)?, reached));
    }
    Some(Anatomy { clauses, further })
}

fn parts(policy: &Json) -> Option<Vec<(Part, Json)>> {
    let mut parts = Vec::new();
    let scope = [(Part::Principal, "principal"), (Part::Action, "action"), (Part::Resource, "resource")];
    for (part, variable) in scope {
        if let Some(expression) = of_scope(variable, policy.get(variable)?).ok()? {
            parts.push((part, expression));
        }
    }
    for condition in policy.get("conditions")?.as_array()? {
        let body = condition.get("body")?;
        let (part, operator) = match condition.get("kind")?.as_str()? {
            "when" => (Part::When, "&&"),
            "unless" => (Part::Unless, "||"),
            _ => return None,
        };
        parts.extend(operands(body, operator).into_iter().map(|operand| (part, operand.clone())));
    }
    Some(parts)
}

fn one(world: &World<'_>, part: Part, expression: Expr, reached: bool) -> Examined {
    let mut failed = None;
    let mut error = None;
    let outcome = match (world.truth(&expression), reached) {
        (Truth::True, _) if part.wants() => Outcome::Met,
        (Truth::False, _) if !part.wants() => Outcome::Met,
        (Truth::True | Truth::False, _) => Outcome::Missed,
        (Truth::Error(_), false) => Outcome::NotReached,
        (Truth::Error(found), true) => {
            error = Some(errors::why(world, &expression, found.as_deref()));
            failed = Some(Failure { error: found.map(|found| *found) });
            Outcome::Error
        }
    };
    let values = match outcome {
        Outcome::NotReached => Vec::new(),
        Outcome::Met | Outcome::Missed | Outcome::Error => values(world, part, &expression.json),
    };
    let pieces = pieces(world, part, &expression.json);
    let clause = Clause { part, text: expression.shown(), outcome, error, values, pieces };
    Examined { clause, expression, failed }
}

/// The operands of what is not a chain already taken apart.
fn pieces(world: &World<'_>, part: Part, json: &Json) -> Vec<Piece> {
    let inner = match operation(json) {
        Some(("!", arguments)) => arguments.get("arg").unwrap_or(json),
        _ => json,
    };
    let operator = match (operation(inner).map(|(name, _)| name), part) {
        (Some("||"), _) => "||",
        (Some("&&"), _) => "&&",
        _ => return Vec::new(),
    };
    // What a mere value is, is told as a value.
    let all = operands(inner, operator).into_iter().filter(|operand| Path::of(operand).is_none());
    let all = all.take(PIECES_MAX);
    all.filter_map(|operand| {
        let expression = Expr::of(operand.clone())?;
        let holds = match world.truth(&expression) {
            Truth::True => Some(true),
            Truth::False => Some(false),
            Truth::Error(_) => None,
        };
        Some(Piece { text: expression.shown(), holds })
    })
    .collect()
}

fn values(world: &World<'_>, part: Part, json: &Json) -> Vec<ShownValue> {
    if part == Part::Action {
        return vec![ShownValue { name: "action".to_owned(), value: shown::entity(&world.action) }];
    }
    path::all(json).into_iter().filter_map(|path| shown_value(world, &path)).take(VALUES_MAX).collect()
}

fn shown_value(world: &World<'_>, path: &Path) -> Option<ShownValue> {
    let name = errors::text(path);
    if path.is_hidden(world.hidden) {
        return Some(ShownValue { name, value: "masked".to_owned() });
    }
    let expression = Expr::of(path.expression())?;
    let value = match (world.evaluate(&expression), path.root) {
        (Ok(EvalResult::EntityUid(uid)), Root::Principal) => membership(world, &uid, "in no group"),
        (Ok(EvalResult::EntityUid(uid)), Root::Resource) => membership(world, &uid, "in no tier"),
        (Ok(EvalResult::Record(_)), _) => return None,
        (Ok(value), _) => shown::value(&value),
        (Err(_), _) => "absent".to_owned(),
    };
    Some(ShownValue { name, value })
}

/// An entity and what it belongs to.
fn membership(world: &World<'_>, uid: &EntityUid, nowhere: &str) -> String {
    let name = shown::entity(uid);
    let Some(ancestors) = world.entities.ancestors(uid) else {
        return format!("{name}, which is not declared");
    };
    let mut groups: Vec<String> = ancestors.map(shown::entity).collect();
    groups.sort();
    if groups.is_empty() {
        format!("{name}, {nowhere}")
    } else {
        format!("{name}, in {}", shown::listed(&groups))
    }
}
