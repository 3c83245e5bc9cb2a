//! One request and its response as the filter sees them: callbacks in, steps for the shell out.
//!
//! No order of callbacks is assumed: each one finds a state that has `NotSeen`, and after a refusal nothing is released.
//! `response` is the way back.
//! INVARIANT: a step that lets bytes on is given only after everything before it was judged good.

use crate::call_id::{CallId, CallIdMint};
use crate::contract::{Contract, Matched, Unmatched};
use crate::handoff::{Binding, Flags, Handoff, Secret};
use crate::head::RequestHead;
use crate::headers::HeaderMap;
use crate::reason::{GrpcStatus, Reason};
use crate::report::Side;
use crate::routes::OperationIndex;
use crate::rules::{self, BodyPlan, Watched};
use crate::trailers;
use crate::violation::Violation;
use response::Response;

mod response;

pub use response::{ResponseBodyStep, ResponseStep};

/// What all requests of one configuration are judged by.
#[derive(Debug)]
pub struct Engine {
    pub contract: Contract,
    pub secret: Secret,
}

/// A conclusion against the request, with all that the reply needs, and the operation for the report on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// Where the rule was broken, such as `body/items/3/price`. For the report; no caller is told.
    pub place: Box<str>,
    pub side: Side,
    pub call_id: CallId,
    /// `None` where the request was refused before it had one.
    pub operation: Option<OperationIndex>,
}

impl Refusal {
    /// The status of the reply to an HTTP caller.
    pub const fn status(&self) -> u16 {
        match self.side {
            Side::Request => self.reason.status(),
            // Whatever rule it was: the service broke it, not the caller.
            Side::Response => 502,
        }
    }

    /// The status of the reply to a gRPC caller.
    pub const fn grpc_status(&self) -> GrpcStatus {
        match self.side {
            Side::Request => self.reason.grpc_status(),
            Side::Response => GrpcStatus::Internal,
        }
    }
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyStep {
    /// Release what is there.
    Pass,
    /// Keep all of it and wait for more.
    Hold,
    /// Read everything that is held, and give it to `judge`.
    Judge,
    Refuse(Refusal),
}

/// A rule that was broken without an end of the exchange, for whoever counts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub side: Side,
    pub violation: Violation,
    /// Of a response.
    pub status: Option<u16>,
}

/// The state of one stream.
#[derive(Debug, Default)]
pub struct Exchange {
    state: State,
    /// How many bytes of the body waited when the host was last heard.
    held: usize,
    response: Response,
    observed: Vec<Observed>,
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

/// A head that was judged good.
struct Judged {
    step: HeadStep,
    operation: OperationIndex,
    body: BodyPlan,
    watched: Vec<Violation>,
}

/// A rule that was broken, by a request of this operation if it has one.
struct Broken {
    violation: Violation,
    operation: Option<OperationIndex>,
}

impl From<Reason> for Broken {
    fn from(reason: Reason) -> Broken {
        Broken { violation: reason.into(), operation: None }
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
        match judge_head(engine, call_id, pairs, ends_here, now_ms) {
            Ok(Judged { step, operation, body, watched }) => {
                self.state = State::Passed { call: Call { id: call_id, operation }, body };
                self.observe(watched);
                step
            }
            Err(Broken { violation: Violation { reason, place, .. }, operation }) => {
                self.state = State::Refused;
                HeadStep::Refuse(Refusal { reason, place, side: Side::Request, call_id, operation })
            }
        }
    }

    /// `held` counts all bytes of this body that wait at this filter, the new ones among them; `room` is how many the
    /// whole VM may hold, less what other bodies have.
    pub fn request_body(
        &mut self,
        held: usize,
        room: usize,
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
                // What waited here and does no longer went on without a judgement: the gate is missing.
                if held < self.held {
                    return BodyStep::Refuse(self.refuse(Reason::BodyIncomplete, call));
                }
                self.held = held;
                if held as u64 > u64::from(bytes_max) {
                    return BodyStep::Refuse(self.refuse(Reason::BodyTooLarge, call));
                }
                if held > room {
                    return BodyStep::Refuse(self.refuse(Reason::ProxyFull, call));
                }
                if ends_here { BodyStep::Judge } else { BodyStep::Hold }
            }
        }
    }

    /// Trailers end a body whose last piece did not say so. `pairs` is their map in the host's own layout.
    pub fn request_trailers(
        &mut self,
        engine: Option<&Engine>,
        pairs: Option<&[u8]>,
        mint: &mut CallIdMint,
        now_ms: u64,
    ) -> BodyStep {
        let (call, body) = match self.state {
            State::NotSeen => return BodyStep::Refuse(self.refuse_unseen(mint, now_ms)),
            State::Refused => return BodyStep::Hold,
            State::Passed { call, body } => (call, body),
        };
        let judged = engine.ok_or(Reason::NotConfigured).and_then(|engine| {
            trailers::check(pairs.ok_or(Reason::HeaderMapInvalid)?, engine.contract.identity_headers())
        });
        match (judged, body) {
            (Err(reason), _) => BodyStep::Refuse(self.refuse(reason, call)),
            (Ok(()), BodyPlan::Stream | BodyPlan::Absent) => BodyStep::Pass,
            (Ok(()), BodyPlan::Judge { .. }) => BodyStep::Judge,
        }
    }

    /// Judges a whole body. `None`: the host did not hand it over, or does not say how much it held.
    pub fn judge(
        &mut self,
        engine: Option<&Engine>,
        body: Option<&[u8]>,
        held: Option<usize>,
        mint: &mut CallIdMint,
        now_ms: u64,
    ) -> BodyStep {
        let State::Passed { body: plan @ BodyPlan::Judge { .. }, call } = self.state else {
            return BodyStep::Refuse(self.refuse_unseen(mint, now_ms));
        };
        let held = held.unwrap_or(self.held);
        let judged =
            match engine.and_then(|engine| Some((engine, engine.contract.operation(call.operation)?))) {
                Some((engine, matched)) => {
                    let mut watched = Watched::new(matched.operation, now_ms);
                    let judged = judge_body(&engine.contract, matched, body, held, plan, &mut watched);
                    self.observe(watched.found);
                    judged
                }
                None => Err(Reason::Internal.into()),
            };
        match judged {
            Ok(()) => {
                // Judged and released: what comes now was never part of it.
                self.state = State::Passed { call, body: BodyPlan::Absent };
                BodyStep::Pass
            }
            Err(violation) => BodyStep::Refuse(self.refuse_at(violation, call)),
        }
    }

    fn observe(&mut self, found: Vec<Violation>) {
        let observed =
            found.into_iter().map(|violation| Observed { side: Side::Request, violation, status: None });
        self.observed.extend(observed);
    }

    /// What was broken and only counted, since this was asked before.
    pub fn take_observed(&mut self) -> Vec<Observed> {
        core::mem::take(&mut self.observed)
    }

    /// Whether rules of this request are only watched, so that it counts among those that were.
    pub fn is_watched(&self, engine: &Engine, now_ms: u64) -> bool {
        let operation = self.call().and_then(|(_, operation)| engine.contract.operation(operation));
        operation
            .is_some_and(|matched| matched.operation.shadows.iter().any(|(_, until_ms)| now_ms < until_ms))
    }

    /// The call of a request that went on.
    pub const fn call(&self) -> Option<(CallId, OperationIndex)> {
        match self.state {
            State::Passed { call, .. } => Some((call.id, call.operation)),
            State::NotSeen | State::Refused => None,
        }
    }

    /// The host refused an effect that a step asked for: the request cannot go on as it was judged.
    pub fn host_failed(&mut self, mint: &mut CallIdMint, now_ms: u64) -> Refusal {
        match self.state {
            State::Passed { call, .. } => self.refuse(Reason::Internal, call),
            State::NotSeen | State::Refused => self.refuse_unseen(mint, now_ms),
        }
    }

    fn refuse(&mut self, reason: Reason, call: Call) -> Refusal {
        self.refuse_at(reason.into(), call)
    }

    fn refuse_at(&mut self, violation: Violation, call: Call) -> Refusal {
        self.state = State::Refused;
        let Violation { reason, place, .. } = violation;
        Refusal { reason, place, side: Side::Request, call_id: call.id, operation: Some(call.operation) }
    }

    /// For a callback that has nothing that it could rest on.
    fn refuse_unseen(&mut self, mint: &mut CallIdMint, now_ms: u64) -> Refusal {
        self.state = State::Refused;
        Refusal {
            reason: Reason::Internal,
            place: Box::default(),
            side: Side::Request,
            call_id: mint.mint(now_ms),
            operation: None,
        }
    }
}

fn judge_head(
    engine: Option<&Engine>,
    call_id: CallId,
    pairs: Option<&[u8]>,
    ends_here: bool,
    now_ms: u64,
) -> Result<Judged, Broken> {
    let Engine { contract, secret } = engine.ok_or(Reason::NotConfigured)?;
    let pairs = HeaderMap::parse(pairs.ok_or(Reason::HeaderMapInvalid)?)?;
    let head = RequestHead::parse(pairs.iter(), contract.identity_headers())?;
    let matched = find_operation(contract, &head)?;
    let operation = matched.index;
    let mut watched = Watched::new(matched.operation, now_ms);
    let body = rules::check_head(matched, &head, pairs.iter(), contract.schemas(), ends_here, &mut watched)
        .map_err(|violation| Broken { violation, operation: Some(operation) })?;
    let handoff = Handoff { bundle: contract.digest(), operation, flags: flags(&head, body), call_id };
    let handoff = handoff.encode(secret, binding(&head));
    let remove = head.ours.iter().map(|(name, _)| (*name).to_owned()).collect();
    Ok(Judged { step: HeadStep::Pass { remove, handoff }, operation, body, watched: watched.found })
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

/// What the filter says to a request that is there as a whole, and what it only counts. For tools, which have no stream
/// to judge it in.
pub fn judge_whole<'p>(
    contract: &Contract,
    matched: Matched<'_>,
    head: &RequestHead<'_>,
    pairs: impl Iterator<Item = (&'p [u8], &'p [u8])> + Clone,
    body: Option<&[u8]>,
    now_ms: u64,
) -> Result<Vec<Violation>, Violation> {
    let mut watched = Watched::new(matched.operation, now_ms);
    let plan = rules::check_head(matched, head, pairs, contract.schemas(), body.is_none(), &mut watched)?;
    match (plan, body) {
        (BodyPlan::Judge { .. }, Some(body)) => {
            judge_body(contract, matched, Some(body), body.len(), plan, &mut watched)?;
        }
        (BodyPlan::Absent, Some([_, ..])) => return Err(Reason::BodyNotDeclared.into()),
        (BodyPlan::Absent | BodyPlan::Judge { .. } | BodyPlan::Stream, _) => {}
    }
    Ok(watched.found)
}

/// The same of a request whose body nobody sees. `ended`: there is none for sure.
pub fn judge_unseen<'p>(
    contract: &Contract,
    matched: Matched<'_>,
    head: &RequestHead<'_>,
    pairs: impl Iterator<Item = (&'p [u8], &'p [u8])> + Clone,
    ended: bool,
    now_ms: u64,
) -> Result<Vec<Violation>, Violation> {
    let mut watched = Watched::new(matched.operation, now_ms);
    rules::check_head(matched, head, pairs, contract.schemas(), ended, &mut watched)?;
    Ok(watched.found)
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

fn judge_body(
    contract: &Contract,
    matched: Matched<'_>,
    body: Option<&[u8]>,
    held: usize,
    plan: BodyPlan,
    watched: &mut Watched<'_>,
) -> Result<(), Violation> {
    let BodyPlan::Judge { bytes_max, media, required } = plan else { return Err(Reason::Internal.into()) };
    let body = body.ok_or(Reason::BodyIncomplete)?;
    if held != body.len() {
        return Err(Reason::BodyIncomplete.into());
    }
    if body.len() as u64 > u64::from(bytes_max) {
        return Err(Reason::BodyTooLarge.into());
    }
    match (body, &matched.operation.body) {
        (_, None) => Err(Reason::Internal.into()),
        ([], Some(_)) if required => Err(Reason::BodyMissing.into()),
        ([], Some(_)) => Ok(()),
        (body, Some(rule)) => rules::check_body(rule, media, contract.schemas(), body, watched),
    }
}

#[cfg(test)]
mod tests;
