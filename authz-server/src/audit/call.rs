//! A call, as far as the ledger tells: what was concluded on it, and how it ended. Pure.
//!
//! Entries are joined by the call id. The call stands in the place of its decision; without one in the place of the
//! filter's own report of a refusal; without either in that of its outcome. What is entered later and says more takes
//! the place over. Of several outcomes the first one counts, and so it does of a report that was repeated.
//!
//! INVARIANT: an entry is never left out for want of another one.

use serde_json::{Value, json};

use super::when;
use crate::ledger::{self, Conclusion, Decision, Outcome, Recorded, Refusal};

/// Who concluded what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Verdict {
    /// The server permitted the call
    Allow,
    /// The server refused the call
    Deny,
    /// The filter refused the call, because it breaks a rule
    Reject,
    /// The filter refused the call, because it was one too many
    Shed,
    /// The call ended without a decision
    None,
}

impl Verdict {
    pub const ALL: [Verdict; 5] =
        [Verdict::Allow, Verdict::Deny, Verdict::Reject, Verdict::Shed, Verdict::None];

    pub fn name(self) -> &'static str {
        match self {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
            Verdict::Reject => "reject",
            Verdict::Shed => "shed",
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
            Verdict::Shed => 5,
        }
    }

    pub(super) fn of_code(code: i64) -> Option<Verdict> {
        Verdict::ALL.into_iter().find(|verdict| verdict.code() == code)
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
    /// The digest of the candidate that was asked as well; empty where none was.
    pub(super) candidate: String,
    /// What that candidate would have made of it, where that is something else.
    pub(super) otherwise: Option<Verdict>,
}

/// How much of Envoy's response code details counts as the reason of a call that nobody decided on.
const DETAILS_CHARS_MAX: usize = 64;

impl Shape {
    pub(super) fn of_decision(decision: &Decision) -> Shape {
        let verdict = |conclusion| match conclusion {
            Conclusion::Allow => Verdict::Allow,
            Conclusion::Deny => Verdict::Deny,
        };
        let candidate = decision.candidate.as_ref();
        let otherwise = candidate.and_then(|candidate| candidate.otherwise.as_ref());
        Shape {
            who: decision.principal.clone(),
            service: decision.service.clone(),
            operation: decision.operation.clone(),
            verdict: verdict(decision.decision),
            reason: decision.reason.clone(),
            policies: decision.policies.clone(),
            shadow: decision.shadow.as_ref().map(|shadow| verdict(shadow.decision)),
            candidate: candidate.map(|candidate| candidate.bundle_digest.to_string()).unwrap_or_default(),
            otherwise: otherwise.map(|otherwise| verdict(otherwise.decision)),
        }
    }

    pub(super) fn of_refusal(refusal: &Refusal) -> Shape {
        Shape {
            who: refusal.peer.clone().unwrap_or_default(),
            service: refusal.service.clone(),
            operation: refusal.operation.clone(),
            verdict: match refusal.verdict {
                ledger::Verdict::Reject => Verdict::Reject,
                ledger::Verdict::Shed => Verdict::Shed,
            },
            reason: refusal.reason.clone(),
            policies: Vec::new(),
            shadow: None,
            candidate: String::new(),
            otherwise: None,
        }
    }

    /// Of a call of which nothing else is known.
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
        let (policies, candidate) = Default::default();
        Shape { who, service, operation, verdict, reason, policies, shadow: None, candidate, otherwise: None }
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
    Decided {
        decision: Box<Recorded<Decision>>,
        outcome: Option<Recorded<Outcome>>,
    },
    /// The filter reported that it refused the call.
    Refused {
        refusal: Box<Recorded<Refusal>>,
        outcome: Option<Recorded<Outcome>>,
    },
    Undecided {
        outcome: Recorded<Outcome>,
    },
}

impl Call {
    /// The place of the entry that stands for it.
    pub fn position(&self) -> u64 {
        match self {
            Call::Decided { decision, .. } => decision.index,
            Call::Refused { refusal, .. } => refusal.index,
            Call::Undecided { outcome } => outcome.index,
        }
    }

    pub fn at_ms(&self) -> u64 {
        match self {
            Call::Decided { decision, .. } => decision.entry.at_ms,
            Call::Refused { refusal, .. } => refusal.entry.at_ms,
            Call::Undecided { outcome } => outcome.entry.at_ms,
        }
    }

    pub fn id(&self) -> Option<&str> {
        match self {
            Call::Decided { decision, .. } => Some(&decision.entry.decision_id),
            Call::Refused { refusal, .. } => Some(&refusal.entry.call_id),
            Call::Undecided { outcome } => outcome.entry.call_id.as_deref(),
        }
    }

    pub fn decision(&self) -> Option<&Recorded<Decision>> {
        match self {
            Call::Decided { decision, .. } => Some(decision),
            Call::Refused { .. } | Call::Undecided { .. } => None,
        }
    }

    pub fn refusal(&self) -> Option<&Recorded<Refusal>> {
        match self {
            Call::Refused { refusal, .. } => Some(refusal),
            Call::Decided { .. } | Call::Undecided { .. } => None,
        }
    }

    pub fn outcome(&self) -> Option<&Recorded<Outcome>> {
        match self {
            Call::Decided { outcome, .. } | Call::Refused { outcome, .. } => outcome.as_ref(),
            Call::Undecided { outcome } => Some(outcome),
        }
    }

    pub(super) fn shape(&self) -> Shape {
        match self {
            Call::Decided { decision, .. } => Shape::of_decision(&decision.entry),
            Call::Refused { refusal, .. } => Shape::of_refusal(&refusal.entry),
            Call::Undecided { outcome } => Shape::of_outcome(&outcome.entry),
        }
    }

    /// Where the rule was broken, if the filter said so.
    pub(super) fn place(&self) -> Option<&str> {
        self.refusal()?.entry.place.as_deref()
    }

    /// Method, host and path.
    pub(super) fn request(&self) -> (&str, &str, &str) {
        match self {
            Call::Decided { decision, .. } => {
                let decision = &decision.entry;
                (&decision.method, &decision.host, &decision.path)
            }
            Call::Refused { refusal, .. } => {
                let refusal = &refusal.entry;
                (&refusal.method, &refusal.host, &refusal.path)
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
        let own = match self {
            Call::Decided { decision, .. } => of_decision(&decision.entry),
            Call::Refused { refusal, .. } => of_refusal(&refusal.entry),
            Call::Undecided { .. } => Value::Null,
        };
        if let Value::Object(fields) = &mut object {
            if let Value::Object(own) = own {
                fields.extend(own);
            }
            fields.insert("outcome".to_owned(), self.outcome().map_or(Value::Null, of_outcome));
        }
        object
    }
}

fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn of_decision(decision: &Decision) -> Value {
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
        "candidate": decision.candidate,
        "verdict": decision.verdict,
        "attempt": decision.attempt,
        "request_digest": decision.request_digest,
        "asked": decision.asked,
        "credential": decision.credential,
    })
}

fn of_refusal(refusal: &Refusal) -> Value {
    json!({
        "place": refusal.place,
        "bundle": refusal.bundle_digest,
        "attempt": refusal.attempt,
        "retry": refusal.retry,
        "vm": refusal.vm,
        "sequence": refusal.sequence,
    })
}

fn of_outcome(outcome: &Recorded<Outcome>) -> Value {
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
        "upstream_host": entry.upstream_host,
    })
}
