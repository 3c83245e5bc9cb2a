//! Why a clause could not be evaluated, and how its policy is mended.
//!
//! INVARIANT: no value of the request is quoted; Cedar's own words, which may quote some, are only used where the clause
//! reads nothing that is hidden.

use crate::expression::Expr;
use crate::path::{self, Path};
use crate::shown;
use crate::world::World;
use cedar_policy::{EvalResult, EvaluationError};

/// An attribute that is read and is not there.
struct Missing {
    holder: Path,
    key: String,
    /// The entity that should have it, where it is one.
    entity: Option<(String, bool)>,
}

pub(crate) fn why(world: &World<'_>, expression: &Expr, error: Option<&EvaluationError>) -> String {
    match error {
        None => "it is neither true nor false".to_owned(),
        Some(
            EvaluationError::EntityDoesNotExist(_)
            | EvaluationError::EntityAttrDoesNotExist(_)
            | EvaluationError::RecordAttrDoesNotExist(_),
        ) => match missing(world, expression) {
            Some(Missing { entity: Some((name, false)), key, .. }) => {
                format!("{name} is not declared, so that it has no attribute `{key}`")
            }
            Some(Missing { entity: Some((name, true)), key, .. }) => {
                format!("{name} has no attribute `{key}`")
            }
            Some(Missing { holder, key, entity: None }) => {
                format!("`{}` has no `{key}`", text(&holder))
            }
            None => "it reads an attribute that does not exist".to_owned(),
        },
        Some(EvaluationError::IntegerOverflow(_)) => "its arithmetic leaves the range of a Long".to_owned(),
        Some(EvaluationError::TypeError(_)) => "it meets a value of another type than it needs".to_owned(),
        Some(error) if !reads_hidden(world, expression) => shown::bounded(&error.to_string(), 160),
        Some(_) => "its evaluation fails; values are not told where some are masked".to_owned(),
    }
}

/// What somebody should write instead.
pub(crate) fn mend(world: &World<'_>, expression: &Expr, error: Option<&EvaluationError>) -> String {
    match error {
        Some(EvaluationError::IntegerOverflow(_)) => {
            let number = path::all(&expression.json).first().map(text);
            let number = number.unwrap_or_else(|| "its numbers".to_owned());
            format!(
                "bound `{number}` before the arithmetic, as by `{number} <= 1000000 && …`, or by a `maximum` in the \
                 contract"
            )
        }
        None | Some(EvaluationError::TypeError(_)) => {
            "write a condition that is of the types that the schema declares".to_owned()
        }
        Some(_) => match missing(world, expression) {
            Some(Missing { holder, key, entity }) => {
                let guard = format!("put `{} has {} &&` before it", text(&holder), written_key(&key));
                match entity {
                    Some((name, false)) => format!("declare {name} in `entities/*.yaml`, or {guard}"),
                    Some((_, true)) | None => guard,
                }
            }
            None => "guard what it reads with `has`".to_owned(),
        },
    }
}

fn reads_hidden(world: &World<'_>, expression: &Expr) -> bool {
    path::all(&expression.json).iter().any(|path| path.is_hidden(world.hidden))
}

/// The first step of any path that leads nowhere.
fn missing(world: &World<'_>, expression: &Expr) -> Option<Missing> {
    for path in path::all(&expression.json) {
        let mut holder = Path { root: path.root, keys: Vec::new() };
        for key in &path.keys {
            let next = holder.clone().to(key);
            if Expr::of(next.expression()).is_some_and(|next| world.evaluate(&next).is_err()) {
                let held = Expr::of(holder.expression()).and_then(|holder| world.evaluate(&holder).ok());
                let entity = match held {
                    Some(EvalResult::EntityUid(uid)) => Some((shown::entity(&uid), world.is_declared(&uid))),
                    _ => None,
                };
                return Some(Missing { holder, key: key.clone(), entity });
            }
            holder = next;
        }
    }
    None
}

pub(crate) fn text(path: &Path) -> String {
    Expr::of(path.expression()).map_or_else(|| path.root.word().to_owned(), |path| path.shown())
}

/// A key behind `has`.
fn written_key(key: &str) -> String {
    let plain = key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if plain { key.to_owned() } else { format!("\"{}\"", key.escape_debug()) }
}
