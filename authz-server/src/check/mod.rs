//! The decision on one call: head → handoff → operation → identity → Cedar. Pure but for a stopwatch: values and `now` in,
//! conclusion out.
//!
//! INVARIANT: every way out that is not Cedar's clean allow is a denial with a reason, and every way out has a record.

mod body;
mod callers;
mod candidate;
mod context;
mod explained;
mod judge;
mod record;
#[cfg(test)]
pub(crate) mod tests;
mod trust;
mod unfiltered;

pub use body::Body;
pub use callers::{Given, sources};
pub use candidate::{Candidate, Comparison};
pub use explained::Told;
pub use judge::{Asked, Judge, Judgement, Shadow};
pub(crate) use record::{claim_json, shown, told};
pub use trust::{HandoffState, Trust};

use crate::bundle::Bundle;
use crate::bundle::format::FailMode;
use crate::digests::Digests;
use crate::identity::{Pending, Sources};
use crate::ledger;
use crate::secrets::HandoffSecrets;
use crate::state::{Epoch, PreviousBundle};
use crate::telemetry::traces::Stages;
use candidate::Decided;
use judge::Request;
use palisade_core::call_id::CallId;
use palisade_core::contract::Matched;
use palisade_core::exchange::find_operation;
use palisade_core::handoff::{Flags, HEADER};
use palisade_core::head::RequestHead;
use palisade_core::reason::Reason;
use std::sync::Arc;
use std::time::Instant;

/// What calls are decided by. Immutable; a change is a new one.
#[derive(Debug, Clone)]
pub struct Decider {
    pub bundle: Arc<Bundle>,
    pub secrets: HandoffSecrets,
    /// By what callers are established: made of bundle and `given`.
    pub identity: Sources,
    /// What the server was given about callers.
    pub given: Given,
    pub epoch: Epoch,
    /// Bundles that were in force before, and are honoured in handoffs for a while.
    pub previous: Vec<PreviousBundle>,
    /// What stands in entries instead of requests and masked values.
    pub digests: Digests,
    /// What is asked beside the bundle, without any part in the answer.
    pub candidate: Option<Arc<Candidate>>,
}

/// A call as the proxy asks about it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Method, path, host and scheme as pseudo-headers, then all headers.
    pub pairs: &'a [(&'a [u8], &'a [u8])],
    /// The peer's identity as the proxy verified it. Empty without mTLS.
    pub peer: &'a str,
    /// The peer's certificate as the proxy passes it on: PEM with escapes.
    pub peer_certificate: &'a str,
    /// What the proxy hands over of the body.
    pub body: Body<'a>,
}

/// The server's conclusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Deny { reason: Reason },
}

/// A decision with its id and its record, which must be durable before anybody hears of it.
#[derive(Debug)]
pub struct Concluded {
    pub decision: Decision,
    pub call_id: CallId,
    pub handoff: HandoffState,
    pub record: ledger::Decision,
    /// What the shadow policies would have made of it.
    pub shadow: Option<Shadow>,
    /// How the candidate compares, where there is one and it is asked about such calls.
    pub comparison: Option<Comparison>,
    /// What must be asked for before the caller can be established: ask, and decide once more.
    pub awaits: Option<Pending>,
    /// When the record counts as stored.
    pub durability: ledger::Durability,
    /// What the caller is told beside the reason: the `@advice` of the forbid that denies.
    pub advice: Option<Arc<str>>,
    /// What becomes of the call where we cannot decide or record in time: never open for a call that is not vouched for,
    /// or whose credentials do not hold.
    pub fail_mode: FailMode,
    /// Why the call is allowed by its fail mode, where it is.
    pub failed_open: Option<Reason>,
    /// How long it took to know the caller and to ask the policies; of no influence on anything.
    pub stages: Option<Stages>,
    /// Something says that it is not a first attempt; of no influence on anything.
    pub is_retry: bool,
}

impl Call<'_> {
    /// What is left of a call that cannot be read.
    pub const NONE: Call<'static> = Call { pairs: &[], peer: "", peer_certificate: "", body: Body::None };
}

impl Decider {
    /// Decides. `fallback` becomes the call's id where no genuine handoff brings one.
    pub fn decide(&self, call: Call<'_>, now_ms: u64, fallback: CallId) -> Concluded {
        self.conclude(call, now_ms, fallback, None)
    }

    /// Denies a call that came to the policies, for a reason of our own. What refuses it before them does so here, too.
    pub fn undecided(
        &self,
        call: Call<'_>,
        now_ms: u64,
        fallback: CallId,
        because: (Reason, &str),
    ) -> Concluded {
        self.conclude(call, now_ms, fallback, Some(because))
    }

    fn conclude(
        &self,
        call: Call<'_>,
        now_ms: u64,
        fallback: CallId,
        undecided: Option<(Reason, &str)>,
    ) -> Concluded {
        let head = RequestHead::parse(call.pairs.iter().copied(), self.bundle.contract.identity_headers());
        let mut record = self.blank_record(call, now_ms);
        let head = match head {
            Ok(head) => head,
            Err(reason) => {
                record::describe_unread(&mut record, call);
                let error = "the server cannot read what the proxy passed on".to_owned();
                let judgement = Judgement::because(reason, error);
                let how = (self.bundle.recordings.operation(None), &self.digests);
                return record::conclude(judgement, fallback, HandoffState::Missing, record, how);
            }
        };
        let matched = find_operation(&self.bundle.contract, &head);
        let index = matched.as_ref().ok().map(|matched| matched.index);
        let recording = self.bundle.recordings.operation(index);
        self.describe_head(&mut record, &head, call, recording);
        if let Ok(matched) = &matched {
            record::describe_operation(&mut record, *matched);
        }
        let trust = self.trust(&head, call, matched.as_ref().ok().copied(), now_ms);
        record::describe_trust(&mut record, &trust);
        let call_id = trust.call_id().unwrap_or(fallback);
        let found = matched.as_ref().ok().copied();
        // Before a call is one of a filter of ours, nobody can make us verify anything.
        let judged = match &trust {
            Trust::Refused { reason, detail, .. } => {
                Err(Box::new(Judgement::because(*reason, detail.clone())))
            }
            Trust::Genuine { flags, .. } => Ok(call.body.as_judged(flags.has(Flags::BODY_JUDGED))),
            Trust::NotRequired => self.judge_alone(&head, call, found, now_ms),
        };
        let (mut awaits, mut comparison, mut stages) = (None, None, None);
        let mut fail_mode = FailMode::Closed;
        let judgement = match judged {
            Err(judgement) => *judgement,
            Ok(body) => {
                let begun = Instant::now();
                let caller = self.identify(call, found, now_ms);
                let identified = Instant::now();
                match &caller {
                    Ok(caller) => record::describe_caller(&mut record, caller, &self.bundle, &self.digests),
                    Err(unproven) => awaits.clone_from(&unproven.awaits),
                }
                if trust.state().is_genuine() && caller.is_ok() {
                    fail_mode = recording.fail_mode;
                }
                let judgement = match undecided {
                    Some((reason, detail)) if caller.is_ok() => Judgement::because(reason, detail.to_owned()),
                    _ => {
                        let request = Request { head: &head, pairs: call.pairs, body, now_ms };
                        let compared = self.candidate.as_ref().zip(found).filter(|_| awaits.is_none());
                        let compared =
                            compared.map(|(candidate, matched)| (candidate, matched, caller.clone()));
                        let judgement = self.bundle.judge(request, matched, caller);
                        if let Some((candidate, matched, caller)) = compared {
                            let decided = Decided { call, head: &head, matched, caller: &caller, body };
                            (comparison, record.candidate) =
                                candidate.compare(self, &decided, &judgement, now_ms);
                        }
                        judgement
                    }
                };
                stages =
                    Some(Stages { identity: (begun, identified), evaluation: (identified, Instant::now()) });
                judgement
            }
        };
        let how = (recording, &self.digests);
        let concluded = record::conclude(judgement, call_id, trust.state(), record, how);
        let advice = self.advice(&concluded);
        let is_retry = head.attempt.is_retry();
        Concluded { awaits, comparison, advice, fail_mode, stages, is_retry, ..concluded }
    }

    /// A gRPC caller reads a status message, which is fixed, and no body.
    fn advice(&self, concluded: &Concluded) -> Option<Arc<str>> {
        let is_grpc = concluded.record.verdict.is_some_and(|passed| passed.grpc);
        match concluded.decision {
            Decision::Deny { reason: Reason::PolicyDenied } if !is_grpc => {
                self.bundle.policies.advice(&concluded.record.policies)
            }
            Decision::Deny { .. } | Decision::Allow => None,
        }
    }
}

impl Trust {
    fn call_id(&self) -> Option<CallId> {
        match self {
            Trust::Genuine { call_id, .. } => Some(*call_id),
            Trust::Refused { call_id, .. } => *call_id,
            Trust::NotRequired => None,
        }
    }
}

impl Decider {
    /// What the handoff is worth.
    fn trust(
        &self,
        head: &RequestHead<'_>,
        call: Call<'_>,
        matched: Option<Matched<'_>>,
        now_ms: u64,
    ) -> Trust {
        let Some(text) = head.own_header(HEADER) else { return self.without_handoff(call) };
        let known = trust::KnownBundles {
            current: self.bundle.digest,
            previous: &self.previous,
            accepted_ms: self.bundle.palisade.handoff.previous_bundle_accepted_s.value.saturating_mul(1000),
        };
        trust::verify(text, &self.secrets, palisade_core::exchange::binding(head), matched, known, now_ms)
    }
}
