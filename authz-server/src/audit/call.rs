//! A call, as far as the ledger tells: the decision on it, and how it ended. Pure.
//!
//! The two are joined by the call id. A call that ended without a decision stands in the ledger by its outcome alone;
//! if its decision is entered later, both are one call, in the place of the decision. Of several outcomes the first
//! one counts.
//!
//! INVARIANT: a decision is never left out for want of an outcome, nor an outcome for want of a decision.

use serde_json::{Value, json};

use super::when;
use crate::ledger::{Conclusion, Decision, Outcome, Recorded};

/// Who concluded what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Verdict {
    /// The server permitted the call
    Allow,
    /// The server refused the call
    Deny,
    /// The filter refused the call before the server was asked
    Reject,
    /// The call ended without a decision
    None,
}

impl Verdict {
    pub const ALL: [Verdict; 4] = [Verdict::Allow, Verdict::Deny, Verdict::Reject, Verdict::None];

    pub fn name(self) -> &'static str {
        match self {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
            Verdict::Reject => "reject",
            Verdict::None => "none",
        }
    }

    /// The index stores it; 0 is none of them.
    pub(super) fn code(self) -> i64 {
        match self {
            Verdict::Allow => 1,
            Verdict::Deny => 2,
            Verdict::Reject => 3,
            Verdict::None => 4,
        }
    }

    pub(super) fn of_code(code: i64) -> Option<Verdict> {
        Verdict::ALL.into_iter().find(|verdict| verdict.code() == code)
    }

    /// Whether it stands for a decision of the server.
    pub(super) fn is_decided(self) -> bool {
        matches!(self, Verdict::Allow | Verdict::Deny)
    }
}

/// What many calls have in common, and what most questions are about. Texts are empty where nothing is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) who: String,
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) verdict: Verdict,
    pub(super) reason: String,
    pub(super) policies: Vec<String>,
    /// What the shadow policies would have made of it, where that is something else.
    pub(super) shadow: Option<Verdict>,
}

/// How much of Envoy's response code details counts as the reason of a call that nobody decided on.
const DETAILS_CHARS_MAX: usize = 64;

impl Shape {
    pub(super) fn of_decision(decision: &Decision) -> Shape {
        let verdict = |conclusion| match conclusion {
            Conclusion::Allow => Verdict::Allow,
            Conclusion::Deny => Verdict::Deny,
        };
        Shape {
            who: decision.principal.clone(),
            service: decision.service.clone(),
            operation: decision.operation.clone(),
            verdict: verdict(decision.decision),
            reason: decision.reason.clone(),
            policies: decision.policies.clone(),
            shadow: decision.shadow.as_ref().map(|shadow| verdict(shadow.decision)),
        }
    }

    /// Of a call that has no decision.
    pub(super) fn of_outcome(outcome: &Outcome) -> Shape {
        let (verdict, reason) = match &outcome.filter_reason {
            Some(reason) => (Verdict::Reject, reason.clone()),
            None => {
                // What follows a brace differs from call to call.
                let details = outcome.details.split('{').next().unwrap_or_default();
                (Verdict::None, details.chars().take(DETAILS_CHARS_MAX).collect())
            }
        };
        let (who, service, operation) = Default::default();
        Shape { who, service, operation, verdict, reason, policies: Vec::new(), shadow: None }
    }

    pub(super) fn operation_in_full(&self) -> String {
        match self.operation.is_empty() {
            true => String::new(),
            false => format!("{}.{}", self.service, self.operation),
        }
    }
}

/// What stands in the ledger about one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Decided { decision: Recorded<Decision>, outcome: Option<Recorded<Outcome>> },
    Undecided { outcome: Recorded<Outcome> },
}

impl Call {
    /// The place of its first entry that counts: the decision's, else the outcome's.
    pub fn position(&self) -> u64 {
        match self {
            Call::Decided { decision, .. } => decision.index,
            Call::Undecided { outcome } => outcome.index,
        }
    }

    pub fn at_ms(&self) -> u64 {
        match self {
            Call::Decided { decision, .. } => decision.entry.at_ms,
            Call::Undecided { outcome } => outcome.entry.at_ms,
        }
    }

    pub fn id(&self) -> Option<&str> {
        match self {
            Call::Decided { decision, .. } => Some(&decision.entry.decision_id),
            Call::Undecided { outcome } => outcome.entry.call_id.as_deref(),
        }
    }

    pub fn decision(&self) -> Option<&Recorded<Decision>> {
        match self {
            Call::Decided { decision, .. } => Some(decision),
            Call::Undecided { .. } => None,
        }
    }

    pub fn outcome(&self) -> Option<&Recorded<Outcome>> {
        match self {
            Call::Decided { outcome, .. } => outcome.as_ref(),
            Call::Undecided { outcome } => Some(outcome),
        }
    }

    pub(super) fn shape(&self) -> Shape {
        match self {
            Call::Decided { decision, .. } => Shape::of_decision(&decision.entry),
            Call::Undecided { outcome } => Shape::of_outcome(&outcome.entry),
        }
    }

    /// Method and path, and the host before it.
    pub(super) fn request(&self) -> (&str, &str, &str) {
        match self {
            Call::Decided { decision, .. } => {
                let decision = &decision.entry;
                (&decision.method, &decision.host, &decision.path)
            }
            Call::Undecided { outcome } => {
                let outcome = &outcome.entry;
                (&outcome.method, &outcome.host, &outcome.path)
            }
        }
    }

    /// The call as one JSON object, with the names that the README promises.
    pub fn object(&self) -> Value {
        let shape = self.shape();
        let (method, host, path) = self.request();
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mut object = json!({
            "id": self.id(),
            "at": when::utc(self.at_ms()),
            "at_ms": self.at_ms(),
            "position": self.position(),
            "decision": shape.verdict.name(),
            "reason": shape.reason,
            "who": known(&shape.who),
            "service": known(&shape.service),
            "operation": known(&shape.operation),
            "method": method,
            "host": host,
            "path": path,
            "policies": shape.policies,
        });
        let decided = self.decision().map(|decision| {
            let decision = &decision.entry;
            json!({
                "proof": decision.proof,
                "workload": decision.workload,
                "class": known(&decision.class),
                "request_id": decision.request_id,
                "errors": decision.errors,
                "handoff": decision.handoff,
                "bundle": decision.bundle_digest,
                "epoch": decision.epoch,
                "latency_us": decision.latency_us,
                "shadow": decision.shadow,
            })
        });
        let outcome = self.outcome().map(|outcome| {
            let Recorded { index, entry, .. } = outcome;
            json!({
                "position": index,
                "at_ms": entry.at_ms,
                "status": entry.status,
                "duration_us": entry.duration_us,
                "flags": entry.flags,
                "details": entry.details,
                "request_bytes": entry.request_bytes,
                "response_bytes": entry.response_bytes,
                "upstream": entry.upstream,
            })
        });
        if let Value::Object(fields) = &mut object {
            fields.extend(
                decided
                    .and_then(|value| match value {
                        Value::Object(fields) => Some(fields),
                        _ => None,
                    })
                    .into_iter()
                    .flatten(),
            );
            fields.insert("outcome".to_owned(), outcome.unwrap_or(Value::Null));
        }
        object
    }
}
