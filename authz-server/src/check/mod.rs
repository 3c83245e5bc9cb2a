//! The decision on one call: head → handoff → operation → identity → Cedar. Pure: values and `now` in, conclusion out.
//!
//! INVARIANT: every way out that is not Cedar's clean allow is a denial with a reason, and every way out has a record.

mod body;
mod context;
mod judge;
#[cfg(test)]
mod tests;
mod trust;

pub use body::Body;
pub use judge::{Asked, Judge, Judgement, Shadow};
pub use trust::{HandoffState, Trust};

use crate::bundle::Bundle;
use crate::identity::{self, ApiKeys, Credentials, Established, Identity};
use crate::ledger;
use crate::secrets::HandoffSecrets;
use crate::state::{Epoch, PreviousBundle};
use judge::Request;
use palisade_core::call_id::CallId;
use palisade_core::contract::Matched;
use palisade_core::exchange::find_operation;
use palisade_core::handoff::HEADER;
use palisade_core::head::RequestHead;
use palisade_core::reason::Reason;
use std::sync::Arc;

/// What calls are decided by. Immutable; a change is a new one.
#[derive(Debug)]
pub struct Decider {
    pub bundle: Arc<Bundle>,
    pub secrets: HandoffSecrets,
    pub api_keys: Option<Arc<ApiKeys>>,
    pub epoch: Epoch,
    /// Bundles that were in force before, and are honoured in handoffs for a while.
    pub previous: Vec<PreviousBundle>,
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
}

impl Decider {
    /// Decides. `fallback` becomes the call's id where no genuine handoff brings one.
    pub fn decide(&self, call: Call<'_>, now_ms: u64, fallback: CallId) -> Concluded {
        let head = RequestHead::parse(call.pairs.iter().copied(), self.bundle.contract.identity_headers());
        let mut record = self.blank_record(call, now_ms);
        let head = match head {
            Ok(head) => head,
            Err(reason) => {
                let error = "the server cannot read what the proxy passed on".to_owned();
                return conclude(Judgement::because(reason, error), fallback, HandoffState::Missing, record);
            }
        };
        describe_head(&mut record, &head);
        let matched = find_operation(&self.bundle.contract, &head);
        if let Ok(matched) = &matched {
            describe_operation(&mut record, *matched);
        }
        let trust = self.trust(&head, matched.as_ref().ok().copied(), now_ms);
        let call_id = trust.call_id().unwrap_or(fallback);
        let caller = self.identify(call);
        if let Ok(caller) = &caller {
            describe_caller(&mut record, caller);
        }
        let judgement = match &trust {
            Trust::Refused { reason, detail, .. } => Judgement::because(*reason, detail.clone()),
            Trust::Genuine { body_judged, .. } => self.bundle.judge(
                Request { head: &head, pairs: call.pairs, body: call.body.as_judged(*body_judged) },
                matched,
                caller,
            ),
        };
        conclude(judgement, call_id, trust.state(), record)
    }

    fn identify(&self, call: Call<'_>) -> Result<Established, String> {
        let settings = self.bundle.palisade.identity.api_keys.as_ref();
        let api_key = settings.and_then(|settings| header(call.pairs, settings.header.value.as_bytes()));
        let api_key = match api_key.map(std::str::from_utf8) {
            Some(Ok(key)) => Some(key),
            Some(Err(_)) => return Err("the API key is not UTF-8".to_owned()),
            None => None,
        };
        let credentials = Credentials { peer: call.peer, peer_certificate: call.peer_certificate, api_key };
        identity::establish(credentials, &self.bundle.palisade.trust_domains, self.api_keys.as_deref())
            .map_err(|error| error.to_string())
    }

    fn blank_record(&self, call: Call<'_>, now_ms: u64) -> ledger::Decision {
        let raw = |name: &[u8]| header(call.pairs, name).map(shown).unwrap_or_default();
        let target = raw(b":path");
        let (path, query_present) = match target.split_once('?') {
            Some((path, _)) => (path.to_owned(), true),
            None => (target, false),
        };
        ledger::Decision {
            decision_id: String::new(),
            at_ms: now_ms,
            service: String::new(),
            operation: String::new(),
            class: String::new(),
            method: raw(b":method"),
            host: raw(b":authority"),
            path,
            query_present,
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
            verdict: None,
            attempt: None,
            request_digest: None,
            asked: None,
        }
    }
}

fn conclude(
    judgement: Judgement,
    call_id: CallId,
    handoff: HandoffState,
    mut record: ledger::Decision,
) -> Concluded {
    record.decision_id = call_id.to_string();
    record.handoff = handoff.code().to_owned();
    let Judgement { by: _, operation: _, decision, policies, errors, shadow } = judgement;
    (record.decision, record.reason) = match decision {
        Decision::Allow => (ledger::Conclusion::Allow, "policy_allowed".to_owned()),
        Decision::Deny { reason } => (ledger::Conclusion::Deny, reason.code().to_owned()),
    };
    record.policies = policies;
    record.errors = errors;
    record.shadow = shadow.as_ref().filter(|shadow| shadow.disagrees(decision)).map(Shadow::record);
    Concluded { decision, call_id, handoff, record, shadow }
}

fn describe_head(record: &mut ledger::Decision, head: &RequestHead<'_>) {
    record.method = head.method.as_str().to_owned();
    record.host = head.authority.raw().to_owned();
    record.path = head.target.path().to_owned();
    record.query_present = head.target.query().is_some();
    record.request_id = head.request_id.map(|id| shown(id.as_bytes()));
}

fn describe_operation(record: &mut ledger::Decision, matched: Matched<'_>) {
    record.service = matched.service.name.to_string();
    record.operation = matched.operation.name.to_string();
    record.class = matched.operation.class.as_str().to_owned();
}

fn describe_caller(record: &mut ledger::Decision, caller: &Established) {
    (record.principal, record.proof) = match &caller.identity {
        Identity::Workload(id) => (id.as_str().to_owned(), ledger::Proof::Mtls),
        Identity::Client(name) => (name.clone(), ledger::Proof::ApiKey),
        Identity::Anonymous => ("anonymous".to_owned(), ledger::Proof::None),
    };
}

fn header<'a>(pairs: &[(&'a [u8], &'a [u8])], name: &[u8]) -> Option<&'a [u8]> {
    pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// How much of a text that nobody checked goes into a record.
const SHOWN_BYTES_MAX: usize = 512;

/// A text that nobody checked, as it goes into a record: bounded, and without what a terminal would obey.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let bytes = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).replace(char::is_control, "\u{fffd}")
}

impl Trust {
    fn call_id(&self) -> Option<CallId> {
        match self {
            Trust::Genuine { call_id, .. } => Some(*call_id),
            Trust::Refused { call_id, .. } => *call_id,
        }
    }
}

impl Decider {
    /// What the handoff is worth.
    fn trust(&self, head: &RequestHead<'_>, matched: Option<Matched<'_>>, now_ms: u64) -> Trust {
        let Some(text) = head.own_header(HEADER) else { return Trust::missing() };
        let known = trust::KnownBundles {
            current: self.bundle.digest,
            previous: &self.previous,
            accepted_ms: self.bundle.palisade.handoff.previous_bundle_accepted_s.value.saturating_mul(1000),
        };
        trust::verify(text, &self.secrets, palisade_core::exchange::binding(head), matched, known, now_ms)
    }
}
