//! One expression of a policy: as Cedar's JSON form, as text, and ready to be evaluated by Cedar.
//!
//! INVARIANT: text and evaluation come from the same JSON by Cedar's own printer and parser.

use crate::path::operation;
use crate::shown;
use cedar_policy::{Expression, Policy};
use serde_json::{Value as Json, json};
use std::str::FromStr as _;

#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub(crate) json: Json,
    pub(crate) text: String,
    pub(crate) parsed: Expression,
}

impl Expr {
    pub(crate) fn of(json: Json) -> Option<Expr> {
        let text = written(&json)?;
        let parsed = Expression::from_str(&text).ok()?;
        Some(Expr { json, text, parsed })
    }

    pub(crate) fn shown(&self) -> String {
        shown::bounded(&self.text, shown::CLAUSE_CHARS_MAX)
    }
}

/// Cedar prints policies only, so that one is made around the expression.
fn written(json: &Json) -> Option<String> {
    const BEFORE: &str = "permit(principal, action, resource) when { ";
    let any = json!({"op": "All"});
    let around = json!({
        "effect": "permit", "principal": any, "action": any, "resource": any,
        "conditions": [{"kind": "when", "body": json}],
    });
    let text = Policy::from_json(None, around).ok()?.to_string();
    Some(text.strip_prefix(BEFORE)?.strip_suffix(" };")?.to_owned())
}

/// The operands of a chain of `&&` or `||`, in the order of the text. Anything else is its own only part.
pub(crate) fn operands<'j>(json: &'j Json, operator: &str) -> Vec<&'j Json> {
    let mut found = Vec::new();
    split(json, operator, &mut found);
    found
}

fn split<'j>(json: &'j Json, operator: &str, found: &mut Vec<&'j Json>) {
    if let Some((name, arguments)) = operation(json)
        && name == operator
        && let Some((left, right)) = sides(arguments)
    {
        split(left, operator, found);
        split(right, operator, found);
    } else {
        found.push(json);
    }
}

pub(crate) fn sides(arguments: &Json) -> Option<(&Json, &Json)> {
    Some((arguments.get("left")?, arguments.get("right")?))
}

/// What a scope demands, as an expression. `Ok(None)`: nothing. `Err`: it is of a form that this does not know.
pub(crate) fn of_scope(variable: &str, scope: &Json) -> Result<Option<Json>, ()> {
    let var = json!({"Var": variable});
    let reference = |entity: &Json| json!({"Value": {"__entity": entity}});
    let entity = || scope.get("entity").map(reference);
    let expression = match scope.get("op").and_then(Json::as_str) {
        Some("All") => return Ok(None),
        Some("==") => entity().map(|entity| json!({"==": {"left": var, "right": entity}})),
        Some("in") => {
            let several = scope.get("entities").and_then(Json::as_array);
            let several = several.map(|all| json!({"Set": all.iter().map(reference).collect::<Vec<_>>()}));
            entity().or(several).map(|right| json!({"in": {"left": var, "right": right}}))
        }
        Some("is") => scope.get("entity_type").and_then(|kind| {
            let mut arguments = json!({"left": var, "entity_type": kind});
            if let Some(within) = scope.get("in") {
                let within = reference(within.get("entity")?);
                arguments.as_object_mut()?.insert("in".to_owned(), within);
            }
            Some(json!({"is": arguments}))
        }),
        _ => None,
    };
    expression.map(Some).ok_or(())
}
