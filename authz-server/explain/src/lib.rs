//! Why policies answered as they did, and what would have made them answer otherwise.
//!
//! `rank` picks the permits that nearly matched → `clauses` takes a policy apart and has Cedar evaluate each part →
//! `derive` proposes changes → `world` applies them and asks Cedar again → `explain` puts it together → `text` tells it.
//! INVARIANT: nothing here decides or evaluates; every mark and every "would be allowed" follows from an evaluation by
//! Cedar.

mod change;
mod clauses;
mod derive;
mod errors;
mod explain;
mod expression;
mod path;
mod rank;
mod shown;
#[cfg(test)]
mod tests;
mod text;
mod world;

pub use clauses::{Clause, Outcome, Part, Piece, ShownValue};
pub use explain::{
    Explained, Explanation, FURTHER_CHANGES_MAX, Mend, NEAR_MISSES_MAX, Suggestion, Verdict, explain,
};

use cedar_policy::{Entities, PolicySet, Request, Schema};

/// One request to policies, as Cedar was asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Those that count. Each is named by its id.
    pub policies: &'a PolicySet,
    /// With the principal, where it is known at all: one that a credential brought along must be among them.
    pub entities: &'a Entities,
    /// What a changed request and a changed entity must conform to.
    pub schema: Option<&'a Schema>,
    pub request: &'a Request,
    /// Whether no credential was sent.
    pub anonymous: bool,
    /// The places in the context whose values are not told, each from the context down: `body`, `card`, `number`.
    pub hidden: &'a [Vec<String>],
}
