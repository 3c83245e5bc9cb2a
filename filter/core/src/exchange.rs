//! One request and its response as the filter sees them: callbacks in, steps for the shell out.
//!
//! No order of callbacks is assumed: each one finds a state that has `NotSeen`, and after a refusal nothing is released.
//! INVARIANT: a step that lets bytes on is given only after everything before it was judged good.

use crate::call_id::{CallId, CallIdMint};
use crate::contract::{Contract, Matched, Unmatched};
use crate::handoff::{Binding, Flags, Handoff, Secret};
use crate::head::RequestHead;
use crate::headers::HeaderMap;
use crate::json;
use crate::reason::Reason;
use crate::routes::OperationIndex;
use crate::rules::{self, BodyPlan};

/// What all requests of one configuration are judged by.
#[derive(Debug)]
pub struct Engine {
    pub contract: Contract,
    pub secret: Secret,
}

/// A conclusion against the request, with all that the reply needs, and the operation for the report on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub call_id: CallId,
    /// `None` where the request was refused before it had one.
    pub operation: Option<OperationIndex>,
}

/// What the shell does after the request's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadStep {
    /// Remove the client's copies, set the handoff, go on.
    Pass {
        remove: Vec<String>,
        handoff: String,
    },
    Refuse(Refusal),
}

/// What the shell does with a piece of the request's body or with its trailers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyStep {
    /// Release what is there.
    Pass,
    /// Keep all of it and wait for more.
    Hold,
    /// Read everything that is held, and give it to `judge`.
    Judge,
    Refuse(Refusal),
}

/// What the shell does with the response's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseStep {
    Pass,
    /// No decision of this request came with it: ask the proxy who answered, and give that to `response_source`.
    AskSource {
        suspicion: Reason,
    },
    Refuse(Refusal),
}

/// The state of one stream.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    state: State,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    NotSeen,
    Passed {
        call: Call,
        body: BodyPlan,
    },
    Refused,
}

/// A call that has an operation.
#[derive(Debug, Clone, Copy)]
struct Call {
    id: CallId,
    operation: OperationIndex,
}

/// A rule that was broken, by a request of this operation if it has one.
struct Broken {
    reason: Reason,
    operation: Option<OperationIndex>,
}

impl From<Reason> for Broken {
    fn from(reason: Reason) -> Broken {
        Broken { reason, operation: None }
    }
}

impl Exchange {
    /// `pairs` is the header map in the host's own layout. `None`: the host did not hand it over.
    pub fn request_head(
        &mut self,
        engine: Option<&Engine>,
        mint: &mut CallIdMint,
        now_ms: u64,
        pairs: Option<&[u8]>,
        ends_here: bool,
    ) -> HeadStep {
        // A stream has one head. Another one after a refusal, or after a body was judged, would begin it anew.
        let State::NotSeen = self.state else { return HeadStep::Refuse(self.refuse_unseen(mint, now_ms)) };
        let call_id = mint.mint(now_ms);
        match judge_head(engine, call_id, pairs, ends_here) {
            Ok((step, operation, body)) => {
                self.state = State::Passed { call: Call { id: call_id, operation }, body };
                step
            }
            Err(Broken { reason, operation }) => {
                self.state = State::Refused;
                HeadStep::Refuse(Refusal { reason, call_id, operation })
            }
        }
    }

    /// `held` counts all bytes that wait at this filter, the new ones among them.
    pub fn request_body(
        &mut self,
        held: usize,
        ends_here: bool,
        mint: &mut CallIdMint,
        now_ms: u64,
    ) -> BodyStep {
        match self.state {
            // A body without a head was never judged by anybody.
            State::NotSeen => BodyStep::Refuse(self.refuse_unseen(mint, now_ms)),
            State::Refused => BodyStep::Hold,
            State::Passed { body: BodyPlan::Stream, .. } => BodyStep::Pass,
            State::Passed { body: BodyPlan::Absent, .. } if held == 0 => BodyStep::Pass,
            State::Passed { body: BodyPlan::Absent, call } => {
                BodyStep::Refuse(self.refuse(Reason::BodyNotDeclared, call))
            }
            State::Passed { body: BodyPlan::Judge { bytes_max, .. }, call } => {
                if held as u64 > u64::from(bytes_max) {
                    return BodyStep::Refuse(self.refuse(Reason::BodyTooLarge, call));
                }
                if ends_here { BodyStep::Judge } else { BodyStep::Hold }
            }
        }
    }

    /// Trailers end a body whose last piece did not say so.
    pub fn request_trailers(&mut self, mint: &mut CallIdMint, now_ms: u64) -> BodyStep {
        match self.state {
            State::NotSeen => BodyStep::Refuse(self.refuse_unseen(mint, now_ms)),
            State::Refused => BodyStep::Hold,
            State::Passed { body: BodyPlan::Stream | BodyPlan::Absent, .. } => BodyStep::Pass,
            State::Passed { body: BodyPlan::Judge { .. }, .. } => BodyStep::Judge,
        }
    }

    /// Judges a whole body. `None`: the host did not hand it over.
    pub fn judge(
        &mut self,
        body: Option<&[u8]>,
        held: Option<usize>,
        mint: &mut CallIdMint,
        now_ms: u64,
    ) -> BodyStep {
        let State::Passed { body: plan @ BodyPlan::Judge { .. }, call } = self.state else {
            return BodyStep::Refuse(self.refuse_unseen(mint, now_ms));
        };
        match judge_body(body, held, plan) {
            Ok(()) => {
                // Judged and released: what comes now was never part of it.
                self.state = State::Passed { call, body: BodyPlan::Absent };
                BodyStep::Pass
            }
            Err(reason) => BodyStep::Refuse(self.refuse(reason, call)),
        }
    }

    /// The host refused an effect that a step asked for: the request cannot go on as it was judged.
    pub fn host_failed(&mut self, mint: &mut CallIdMint, now_ms: u64) -> Refusal {
        match self.state {
            State::Passed { call, .. } => self.refuse(Reason::Internal, call),
            State::NotSeen | State::Refused => self.refuse_unseen(mint, now_ms),
        }
    }

    /// Whether the response must carry a decision: our own replies, and those from before the chain, do not.
    pub const fn expects_decision(&self) -> bool {
        matches!(self.state, State::Passed { .. })
    }

    /// `decision_id` comes from ext_authz's dynamic metadata.
    pub fn response_head(&self, decision_id: Option<&[u8]>) -> ResponseStep {
        let State::Passed { call: Call { id: call_id, .. }, .. } = self.state else {
            return ResponseStep::Pass;
        };
        match decision_id {
            None => ResponseStep::AskSource { suspicion: Reason::DecisionMissing },
            Some(decision_id) if decision_id == call_id.encode(&mut [0; 36]).as_bytes() => ResponseStep::Pass,
            // A call whose handoff did not hold is denied under an id of the server's own.
            Some(_) => ResponseStep::AskSource { suspicion: Reason::DecisionMismatch },
        }
    }

    /// `details` is the proxy's word on who answered. Only what comes from the service needs this request's decision:
    /// a refusal by the proxy or the server may go out without.
    pub fn response_source(&mut self, suspicion: Reason, details: Option<&[u8]>) -> ResponseStep {
        let State::Passed { call, .. } = self.state else { return ResponseStep::Pass };
        match details {
            Some(details) if !details.is_empty() && details != b"via_upstream" => ResponseStep::Pass,
            _ => ResponseStep::Refuse(self.refuse(suspicion, call)),
        }
    }

    fn refuse(&mut self, reason: Reason, call: Call) -> Refusal {
        self.state = State::Refused;
        Refusal { reason, call_id: call.id, operation: Some(call.operation) }
    }

    /// For a callback that has nothing that it could rest on.
    fn refuse_unseen(&mut self, mint: &mut CallIdMint, now_ms: u64) -> Refusal {
        self.state = State::Refused;
        Refusal { reason: Reason::Internal, call_id: mint.mint(now_ms), operation: None }
    }
}

fn judge_head(
    engine: Option<&Engine>,
    call_id: CallId,
    pairs: Option<&[u8]>,
    ends_here: bool,
) -> Result<(HeadStep, OperationIndex, BodyPlan), Broken> {
    let Engine { contract, secret } = engine.ok_or(Reason::NotConfigured)?;
    let pairs = HeaderMap::parse(pairs.ok_or(Reason::HeaderMapInvalid)?)?;
    let head = RequestHead::parse(pairs.iter(), contract.identity_headers())?;
    let matched = find_operation(contract, &head)?;
    let operation = matched.index;
    let body = rules::check_head(matched, &head, ends_here)
        .map_err(|reason| Broken { reason, operation: Some(operation) })?;
    let handoff = Handoff { bundle: contract.digest(), operation, flags: flags(&head, body), call_id };
    let handoff = handoff.encode(secret, binding(&head));
    let remove = head.ours.iter().map(|(name, _)| (*name).to_owned()).collect();
    Ok((HeadStep::Pass { remove, handoff }, operation, body))
}

/// The operation of a request, or the reason why there is none. The server asks the same question.
pub fn find_operation<'c>(contract: &'c Contract, head: &RequestHead<'_>) -> Result<Matched<'c>, Reason> {
    let found = contract.find(head.authority.host(), head.method, head.target.segments());
    found.map_err(|unmatched| match unmatched {
        Unmatched::Host => Reason::HostUnknown,
        Unmatched::Path => Reason::OperationUnknown,
        Unmatched::Method => Reason::MethodNotDeclared,
    })
}

/// What the filter says to a request that is there as a whole. For tools, which have no stream to judge it in.
pub fn judge_whole(matched: Matched<'_>, head: &RequestHead<'_>, body: Option<&[u8]>) -> Result<(), Reason> {
    match (rules::check_head(matched, head, body.is_none())?, body) {
        (plan @ BodyPlan::Judge { .. }, Some(body)) => judge_body(Some(body), None, plan),
        (BodyPlan::Absent, Some([_, ..])) => Err(Reason::BodyNotDeclared),
        (BodyPlan::Absent | BodyPlan::Judge { .. } | BodyPlan::Stream, _) => Ok(()),
    }
}

/// What the proof of a handoff is bound to. The server must bind the same parts.
pub const fn binding<'a>(head: &RequestHead<'a>) -> Binding<'a> {
    Binding { method: head.method.as_str(), authority: head.authority.raw(), target: head.target.raw() }
}

fn flags(head: &RequestHead<'_>, body: BodyPlan) -> Flags {
    let judged = match body {
        BodyPlan::Judge { .. } => Flags::BODY_JUDGED,
        BodyPlan::Absent | BodyPlan::Stream => Flags::default(),
    };
    let grpc = if head.is_grpc() { Flags::GRPC } else { Flags::default() };
    let upgrade = if head.upgrade.is_some() { Flags::UPGRADE } else { Flags::default() };
    judged.with(grpc).with(upgrade)
}

fn judge_body(body: Option<&[u8]>, held: Option<usize>, plan: BodyPlan) -> Result<(), Reason> {
    let BodyPlan::Judge { bytes_max, json, required } = plan else { return Err(Reason::Internal) };
    let body = body.ok_or(Reason::BodyIncomplete)?;
    if held.is_some_and(|held| held != body.len()) {
        return Err(Reason::BodyIncomplete);
    }
    if body.len() as u64 > u64::from(bytes_max) {
        return Err(Reason::BodyTooLarge);
    }
    match body {
        [] if required => Err(Reason::BodyMissing),
        [] => Ok(()),
        body if json => json::check(body),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
