//! What the policies that are asked say, and Cedar's conclusion from it.
//!
//! INVARIANT: one satisfied `forbid` denies, else one satisfied `permit` allows, else it is a denial by nobody; a policy
//! that cannot be evaluated is satisfied by nothing and named.

use cedar_policy::{AuthorizationError, Decision, Effect, EvaluationError, PolicyId, Response};
use std::fmt;

/// What is said of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// By the policies that count.
    pub counted: Conclusion,
    /// By all policies, where some are shadows.
    pub with_shadows: Option<Conclusion>,
    /// How many policies were evaluated.
    pub candidates: usize,
}

/// The same as the response of Cedar's authorizer over all policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    pub decision: Decision,
    /// Sorted.
    pub determining: Vec<PolicyId>,
    /// Sorted by policy.
    pub errors: Vec<Failure>,
}

/// A policy that could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub policy: PolicyId,
    pub error: EvaluationError,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error while evaluating policy `{}`: {}", self.policy, self.error)
    }
}

/// What has been said so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Said {
    permits: Vec<PolicyId>,
    forbids: Vec<PolicyId>,
    errors: Vec<Failure>,
}

impl Said {
    pub(crate) fn satisfied(&mut self, policy: &PolicyId, effect: Effect) {
        match effect {
            Effect::Permit => self.permits.push(policy.clone()),
            Effect::Forbid => self.forbids.push(policy.clone()),
        }
    }

    pub(crate) fn failed(&mut self, policy: &PolicyId, error: EvaluationError) {
        self.errors.push(Failure { policy: policy.clone(), error });
    }

    /// What both said.
    pub(crate) fn and(mut self, other: Said) -> Said {
        self.permits.extend(other.permits);
        self.forbids.extend(other.forbids);
        self.errors.extend(other.errors);
        self
    }

    pub(crate) fn conclude(self) -> Conclusion {
        let (decision, mut determining) = match (self.permits, self.forbids) {
            (permits, forbids) if forbids.is_empty() => {
                (if permits.is_empty() { Decision::Deny } else { Decision::Allow }, permits)
            }
            (_, forbids) => (Decision::Deny, forbids),
        };
        determining.sort();
        let mut errors = self.errors;
        errors.sort_by(|one, other| one.policy.cmp(&other.policy));
        Conclusion { decision, determining, errors }
    }
}

impl From<&Response> for Conclusion {
    fn from(response: &Response) -> Conclusion {
        let mut determining: Vec<PolicyId> = response.diagnostics().reason().cloned().collect();
        determining.sort();
        let failure = |error: &AuthorizationError| match error {
            AuthorizationError::PolicyEvaluationError(error) => {
                Failure { policy: error.policy_id().clone(), error: error.inner().clone() }
            }
        };
        let mut errors: Vec<Failure> = response.diagnostics().errors().map(failure).collect();
        errors.sort_by(|one, other| one.policy.cmp(&other.policy));
        Conclusion { decision: response.decision(), determining, errors }
    }
}
