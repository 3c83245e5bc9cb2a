//! The one rule that a request or a response broke, and where.
//!
//! INVARIANT: a place is built of the contract's names, of a document's keys and of numbers of items, and never of values.

use crate::contract::{Part, Rule};
use crate::json::Fault;
use crate::reason::Reason;
use crate::schema::{Broken, Cause};

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub reason: Reason,
    /// Such as `query/limit` or `body/items/3/price`; empty where the reason says all.
    pub place: Box<str>,
    /// What the rule belongs to, if it is one that a contract makes.
    pub rule: Option<Rule>,
}

impl From<Reason> for Violation {
    fn from(reason: Reason) -> Violation {
        Violation { reason, place: Box::default(), rule: None }
    }
}

impl Violation {
    /// At a parameter, or at a header of a response.
    pub fn at(part: Part, name: &str, reason: Reason) -> Violation {
        let place = [part.as_str(), "/", name].concat().into();
        Violation { reason, place, rule: Some(rule_of(part)) }
    }

    /// Inside of the value of a parameter. That a document is one that everybody reads alike is no rule of a contract.
    pub fn within(part: Part, name: &str, broken: &Broken) -> Violation {
        let place = [part.as_str(), "/", name, &broken.pointer].concat().into();
        let rule = match broken.cause {
            Cause::Schema(_) => Some(rule_of(part)),
            Cause::Json(_) | Cause::Exceeds(_) => None,
        };
        Violation { reason: reason_of(broken.cause), place, rule }
    }

    /// Inside of a body. That it is a document that everybody reads alike is no rule of a contract.
    pub fn in_body(broken: &Broken) -> Violation {
        let rule = match broken.cause {
            Cause::Schema(_) => Some(Rule::Body),
            Cause::Json(_) | Cause::Exceeds(_) => None,
        };
        Violation {
            reason: reason_of(broken.cause),
            place: ["body", broken.pointer.as_str()].concat().into(),
            rule,
        }
    }

    /// The same rule, broken by a response.
    #[must_use]
    pub fn of_response(mut self) -> Violation {
        let between = if self.place.is_empty() { "" } else { "/" };
        self.place = ["response", between, &self.place].concat().into();
        self.rule = None;
        self
    }
}

const fn rule_of(part: Part) -> Rule {
    match part {
        Part::Path => Rule::Path,
        Part::Query => Rule::Query,
        Part::Header => Rule::Header,
        Part::Cookie => Rule::Cookie,
    }
}

fn reason_of(cause: Cause) -> Reason {
    match cause {
        Cause::Json(Fault::Number) => Reason::JsonNumber,
        Cause::Json(fault) => fault.reason(),
        // Every code of a keyword is one of a reason; a test compares them.
        Cause::Schema(keyword) => Reason::from_code(keyword.code()).unwrap_or(Reason::Internal),
        Cause::Exceeds(_) => Reason::SchemaEffort,
    }
}

#[cfg(test)]
mod tests {
    use crate::reason::Reason;
    use crate::schema::Keyword;
    use crate::testing::universal_test;

    universal_test! {
        fn each_keyword_has_a_reason() {
            for keyword in Keyword::ALL {
                assert!(Reason::from_code(keyword.code()).is_some(), "{}", keyword.code());
            }
        }
    }
}
