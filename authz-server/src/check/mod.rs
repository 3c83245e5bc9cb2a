//! The decision on one call: head → handoff → operation → identity → Cedar. Pure but for a stopwatch: values and `now` in,
//! conclusion out.
//!
//! INVARIANT: every way out that is not Cedar's clean allow is a denial with a reason, and every way out has a record.

mod body;
mod context;
mod judge;
mod record;
#[cfg(test)]
pub(crate) mod tests;
mod trust;

pub use body::Body;
pub use judge::{Asked, Judge, Judgement, Shadow};
pub(crate) use record::{shown, told};
pub use trust::{HandoffState, Trust};

use crate::bundle::Bundle;
use crate::bundle::format::FailMode;
use crate::digests::Digests;
use crate::identity::{self, ApiKeys, Credentials, Established};
use crate::ledger;
use crate::secrets::HandoffSecrets;
use crate::state::{Epoch, PreviousBundle};
use crate::telemetry::traces::Stages;
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
#[derive(Debug)]
pub struct Decider {
    pub bundle: Arc<Bundle>,
    pub secrets: HandoffSecrets,
    pub api_keys: Option<Arc<ApiKeys>>,
    pub epoch: Epoch,
    /// Bundles that were in force before, and are honoured in handoffs for a while.
    pub previous: Vec<PreviousBundle>,
    /// What stands in entries instead of requests and masked values.
    pub digests: Digests,
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
    /// When the record counts as stored.
    pub durability: ledger::Durability,
    /// What becomes of the call where we cannot decide or record in time: never open for a call that is not vouched for,
    /// or whose credentials do not hold.
    pub fail_mode: FailMode,
    /// Why the call is allowed by its fail mode, where it is.
    pub failed_open: Option<Reason>,
    /// How long it took to know the caller and to ask the policies; of no influence on anything.
    pub stages: Option<Stages>,
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
        let trust = self.trust(&head, matched.as_ref().ok().copied(), now_ms);
        record::describe_trust(&mut record, &trust);
        let call_id = trust.call_id().unwrap_or(fallback);
        let begun = Instant::now();
        let caller = self.identify(call);
        let identified = Instant::now();
        if let Ok(caller) = &caller {
            record::describe_caller(&mut record, caller);
        }
        let is_sound = trust.state().is_genuine() && caller.is_ok();
        let judgement = match (&trust, undecided) {
            (Trust::Refused { reason, detail, .. }, _) => Judgement::because(*reason, detail.clone()),
            (Trust::Genuine { .. }, Some((reason, detail))) if is_sound => {
                Judgement::because(reason, detail.to_owned())
            }
            (Trust::Genuine { flags, .. }, _) => {
                let body = call.body.as_judged(flags.has(Flags::BODY_JUDGED));
                self.bundle.judge(Request { head: &head, pairs: call.pairs, body }, matched, caller)
            }
        };
        let stages = Stages { identity: (begun, identified), evaluation: (identified, Instant::now()) };
        let concluded =
            record::conclude(judgement, call_id, trust.state(), record, (recording, &self.digests));
        let fail_mode = if is_sound { recording.fail_mode } else { FailMode::Closed };
        Concluded { fail_mode, stages: Some(stages), ..concluded }
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
}

fn header<'a>(pairs: &[(&'a [u8], &'a [u8])], name: &[u8]) -> Option<&'a [u8]> {
    pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
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
