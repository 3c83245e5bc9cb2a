//! The entry of a decision: what came in, what it was taken for, and what was concluded.
//!
//! INVARIANT: values of headers go in as request id, as attempt, or under a `HeaderName`, and each past its mask. What
//! the bundle masks is nowhere in an entry.

use super::context::attempt;
use super::judge::Judgement;
use super::{Call, Concluded, Decider, Decision, HandoffState, Trust};
use crate::bundle::format::{FailMode, Mask};
use crate::bundle::{Bundle, Recording};
use crate::digests::Digests;
use crate::identity::{Established, Identity, Proof};
use crate::ledger;
use palisade_core::call_id::CallId;
use palisade_core::contract::Matched;
use palisade_core::handoff::Flags;
use palisade_core::head::RequestHead;

mod asked;
mod credential;

pub(crate) use credential::json as claim_json;

impl Decider {
    pub(super) fn blank_record(&self, call: Call<'_>, now_ms: u64) -> ledger::Decision {
        let raw = |name: &[u8]| first(call.pairs, name);
        let body = match call.body {
            super::Body::Whole(bytes) => Some(bytes),
            super::Body::None | super::Body::Unproven(_) => None,
        };
        let parts = [raw(b":method"), raw(b":authority"), raw(b":path")];
        ledger::Decision {
            decision_id: String::new(),
            at_ms: now_ms,
            service: String::new(),
            operation: String::new(),
            class: String::new(),
            method: String::new(),
            host: String::new(),
            path: String::new(),
            query_present: false,
            request_id: None,
            principal: String::new(),
            proof: ledger::Proof::None,
            workload: Some(call.peer).filter(|peer| !peer.is_empty()).map(|peer| shown(peer.as_bytes())),
            decision: ledger::Conclusion::Deny,
            reason: String::new(),
            policies: Vec::new(),
            errors: Vec::new(),
            bundle_digest: self.bundle.digest.to_string(),
            epoch: ledger::Epoch { server: self.epoch.server.clone(), counter: self.epoch.counter },
            handoff: String::new(),
            latency_us: 0,
            shadow: None,
            candidate: None,
            verdict: None,
            attempt: None,
            request_digest: Some(self.digests.request(parts, body)),
            asked: None,
            credential: None,
        }
    }

    /// What callers and proxies say of a call beside what is asked.
    pub(super) fn describe_head(
        &self,
        record: &mut ledger::Decision,
        head: &RequestHead<'_>,
        call: Call<'_>,
        recording: &Recording,
    ) {
        record.method = head.method.as_str().to_owned();
        record.host = head.authority.raw().to_owned();
        record.path = head.target.path().to_owned();
        record.query_present = head.target.query().is_some();
        record.request_id = head.request_id.and_then(|id| match recording.request_id {
            None => Some(shown(id.as_bytes())),
            Some(Mask::Digest) => Some(self.digests.value(&id)),
            Some(Mask::Drop) => None,
        });
        record.attempt = match recording.attempt {
            None => attempt(call.pairs),
            Some(Mask::Digest | Mask::Drop) => None,
        };
    }
}

/// What is asked, where nobody could read it: as it came, as far as it can be shown.
pub(super) fn describe_unread(record: &mut ledger::Decision, call: Call<'_>) {
    let text = |name: &[u8]| shown(first(call.pairs, name));
    record.method = text(b":method");
    record.host = text(b":authority");
    let target = text(b":path");
    (record.path, record.query_present) = match target.split_once('?') {
        Some((path, _)) => (path.to_owned(), true),
        None => (target, false),
    };
}

pub(super) fn describe_operation(record: &mut ledger::Decision, matched: Matched<'_>) {
    record.service = matched.service.name.to_string();
    record.operation = matched.operation.name.to_string();
    record.class = matched.operation.class.as_str().to_owned();
}

pub(super) fn describe_trust(record: &mut ledger::Decision, trust: &Trust) {
    if let Trust::Genuine { flags, .. } = trust {
        record.verdict = Some(ledger::Passed {
            body_judged: flags.has(Flags::BODY_JUDGED),
            grpc: flags.has(Flags::GRPC),
            upgrade: flags.has(Flags::UPGRADE),
        });
    }
}

pub(super) fn describe_caller(
    record: &mut ledger::Decision,
    caller: &Established,
    bundle: &Bundle,
    digests: &Digests,
) {
    record.credential = credential::record(caller, bundle, digests);
    record.principal = match &caller.identity {
        Identity::Workload(id) => id.as_str().to_owned(),
        Identity::Client(name) => name.clone(),
        Identity::User(user) => user.name(),
        Identity::Anonymous => "anonymous".to_owned(),
    };
    record.proof = match caller.proof {
        Proof::Mtls => ledger::Proof::Mtls,
        Proof::ApiKey => ledger::Proof::ApiKey,
        Proof::Jwt => ledger::Proof::Jwt,
        Proof::Introspection => ledger::Proof::Introspection,
        Proof::None => ledger::Proof::None,
    };
    // Whole, because it was proven, and a decision that is made again needs all of it.
    if let Some(workload) = &caller.through {
        record.workload = Some(workload.as_str().to_owned());
    }
}

pub(super) fn conclude(
    judgement: Judgement,
    call_id: CallId,
    handoff: HandoffState,
    mut record: ledger::Decision,
    (recording, digests): (&Recording, &Digests),
) -> Concluded {
    record.decision_id = call_id.to_string();
    record.handoff = handoff.code().to_owned();
    record.shadow = judgement.disagreement();
    let Judgement { decision, policies, errors, shadow, values, .. } = judgement;
    record.asked = values.map(|values| asked::record(values, recording, digests));
    (record.decision, record.reason) = told(decision);
    record.policies = policies;
    record.errors = errors;
    // A denial is what somebody will ask for; it is never at risk.
    let durability = match decision {
        Decision::Allow => recording.durability,
        Decision::Deny { .. } => ledger::Durability::Durable,
    };
    Concluded {
        decision,
        call_id,
        handoff,
        record,
        shadow,
        comparison: None,
        awaits: None,
        durability,
        advice: None,
        fail_mode: FailMode::Closed,
        failed_open: None,
        stages: None,
        is_retry: false,
    }
}

/// A decision as entries name it.
pub(crate) fn told(decision: Decision) -> (ledger::Conclusion, String) {
    match decision {
        Decision::Allow => (ledger::Conclusion::Allow, "policy_allowed".to_owned()),
        Decision::Deny { reason } => (ledger::Conclusion::Deny, reason.code().to_owned()),
    }
}

/// The value of a pseudo-header, or nothing.
fn first<'a>(pairs: &[(&'a [u8], &'a [u8])], name: &[u8]) -> &'a [u8] {
    debug_assert!(name.starts_with(b":"), "other headers have ways of their own into an entry");
    pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).unwrap_or_default()
}

/// How much of a text that nobody checked goes into a record.
const SHOWN_BYTES_MAX: usize = 512;

/// A text that nobody checked, as it goes into a record: bounded, and without what a terminal would obey.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let bytes = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).replace(char::is_control, "\u{fffd}")
}
