//! What calls are counted by. Pure.
//!
//! INVARIANT: a call without policies is counted under none, and with several under each, so that counts by policy may add
//! up to more calls than there are.

use super::call::Shape;

/// What calls are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CountBy {
    Who,
    Service,
    Operation,
    Decision,
    Reason,
    Policy,
    Status,
    Hour,
    Day,
}

impl CountBy {
    pub fn name(self) -> &'static str {
        match self {
            CountBy::Who => "who",
            CountBy::Service => "service",
            CountBy::Operation => "operation",
            CountBy::Decision => "decision",
            CountBy::Reason => "reason",
            CountBy::Policy => "policy",
            CountBy::Status => "status",
            CountBy::Hour => "hour",
            CountBy::Day => "day",
        }
    }

    /// Pieces of time stay in their order; all else begins with the most frequent.
    pub fn is_time(self) -> bool {
        matches!(self, CountBy::Hour | CountBy::Day)
    }
}

/// Under which keys a call of this shape counts; empty where nothing is known.
pub(super) fn keys_of(by: CountBy, shape: Option<&Shape>) -> Vec<String> {
    let Some(shape) = shape else { return vec![String::new()] };
    match by {
        CountBy::Who => vec![shape.who.clone()],
        CountBy::Service => vec![shape.service.clone()],
        CountBy::Operation => vec![shape.operation_in_full()],
        CountBy::Decision => vec![shape.verdict.name().to_owned()],
        CountBy::Reason => vec![shape.reason.clone()],
        CountBy::Policy if shape.policies.is_empty() => vec![String::new()],
        CountBy::Policy => shape.policies.clone(),
        CountBy::Status | CountBy::Hour | CountBy::Day => Vec::new(),
    }
}
