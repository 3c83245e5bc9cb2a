//! One request and its response as the filter sees them: callbacks in, steps for the shell out.
//!
//! No order of callbacks is assumed: each one finds a state that has `NotSeen`, and after a refusal nothing is released.
//! `response` is the way back.
//! INVARIANT: a step that lets bytes on is given only after everything before it was judged good.

use crate::call_id::{CallId, CallIdMint};
use crate::contract::Contract;
use crate::handoff::Secret;
use crate::load::{InWork, Load, Overload};
use crate::reason::Reason;
use crate::report::Side;
use crate::routes::OperationIndex;
use crate::rules::{BodyPlan, Watched};
use crate::trailers;
use crate::violation::Violation;
use judging::{Broken, Judged, judge_body, judge_head};
use response::Response;

mod judging;
mod refusal;
mod response;

pub use judging::{binding, find_operation, judge_unseen, judge_whole};
pub use refusal::Refusal;
pub use response::{ResponseBodyStep, ResponseStep, Source};

/// Filter state by which the proxy knows a call that may go on where the server cannot be reached, and what it says then.
/// Nobody outside the proxy can set it, and no service sees it. The host puts `wasm.` before the name.
pub const FAILS_OPEN_STATE: &str = "palisade_fails_open";
pub const FAILS_OPEN: &str = "1";

/// What all requests of one configuration are judged by.
#[derive(Debug)]
pub struct Engine {
    pub contract: Contract,
    pub secret: Secret,
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

/// What the VM as a whole has to bear, and who adds to it.
pub struct Pressure<'a> {
    pub load: &'a mut Load,
    pub now_us: u64,
    /// The caller's identity as the proxy verified it. Only asked for where it matters, because it costs as much as all else.
    pub caller: &'a mut dyn FnMut() -> Vec<u8>,
}

impl core::fmt::Debug for Pressure<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pressure")
            .field("load", &self.load)
            .field("now_us", &self.now_us)
            .finish_non_exhaustive()
    }
}

/// The state of one stream.
#[derive(Debug, Default)]
pub struct Exchange {
    state: State,
    /// How many bytes of the body waited when the host was last heard.
    held: usize,
    response: Response,
    observed: Vec<Observed>,
    /// Its place among what the service works on, until it is gone.
    in_work: Option<InWork>,
    would_shed: Vec<Overload>,
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
    fails_open: bool,
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
        self.request_head_under(engine, mint, now_ms, pairs, ends_here, None)
    }

    /// The same under the load of a VM.
    pub fn request_head_under(
        &mut self,
        engine: Option<&Engine>,
        mint: &mut CallIdMint,
        now_ms: u64,
        pairs: Option<&[u8]>,
        ends_here: bool,
        pressure: Option<Pressure<'_>>,
    ) -> HeadStep {
        // A stream has one head. Another one after a refusal, or after a body was judged, would begin it anew.
        let State::NotSeen = self.state else { return HeadStep::Refuse(self.refuse_unseen(mint, now_ms)) };
        let call_id = mint.mint(now_ms);
        match judge_head(engine, call_id, pairs, ends_here, now_ms, pressure) {
            Ok(Judged { step, operation, fails_open, body, watched, in_work, would_shed }) => {
                self.state = State::Passed { call: Call { id: call_id, operation, fails_open }, body };
                self.observe(watched);
                self.in_work = in_work;
                self.would_shed = would_shed;
                step
            }
            Err(Broken { violation: Violation { reason, place, .. }, operation, overload }) => {
                self.state = State::Refused;
                let side = Side::Request;
                HeadStep::Refuse(Refusal { reason, place, side, call_id, operation, overload })
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

    /// Whether the body flows on piece by piece.
    pub const fn is_stream(&self) -> bool {
        matches!(self.state, State::Passed { body: BodyPlan::Stream, .. })
    }

    /// Its place among what the service works on, if it has one.
    pub const fn in_work(&mut self) -> Option<&mut InWork> {
        self.in_work.as_mut()
    }

    /// Gives the place back, to `Load::gone`.
    pub const fn leave_work(&mut self) -> Option<InWork> {
        self.in_work.take()
    }

    /// What would have shed it, were it enforced.
    pub fn take_would_shed(&mut self) -> Vec<Overload> {
        core::mem::take(&mut self.would_shed)
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

    /// Whether a request that went on may do so undecided, which the proxy must know before it asks for a decision.
    pub const fn fails_open(&self) -> bool {
        matches!(self.state, State::Passed { call: Call { fails_open: true, .. }, .. })
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
        Refusal {
            reason,
            place,
            side: Side::Request,
            call_id: call.id,
            operation: Some(call.operation),
            overload: None,
        }
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
            overload: None,
        }
    }
}

#[cfg(test)]
mod tests;
