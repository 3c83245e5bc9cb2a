//! The way back: whether a response belongs to this request's decision, and whether it is what its contract says.
//!
//! INVARIANT: what comes from the service without this request's decision goes out only where the operation fails open, and
//! the proxy asked for one and got none. A decision that is another's never does.

use super::{Call, Engine, Exchange, Observed, Refusal, State};
use crate::call_id::CallId;
use crate::contract::{Enforcement, ResponseRules};
use crate::headers::HeaderMap;
use crate::limits::BODY_BYTES_MAX;
use crate::reason::Reason;
use crate::report::Side;
use crate::responses::{self, BodyRuleAt, ResponseHead, ResponsePlan, Sampler};
use crate::violation::Violation;

/// What the shell does with the response's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseStep {
    Pass,
    /// No decision of this request came with it: ask the proxy who answered, and give that to `response_source`.
    AskSource {
        suspicion: Reason,
    },
    /// The server could not be reached, and the operation fails open. Let it out, and join its outcome by this id.
    PassUndecided {
        call_id: CallId,
    },
    /// Keep it back until its body was judged.
    Hold,
    Refuse(Refusal),
}

/// What the proxy knows of a response that came without this request's decision.
#[derive(Debug, Clone, Copy, Default)]
pub struct Source<'a> {
    /// Its word on who answered.
    pub details: Option<&'a [u8]>,
    /// It asked the server, whatever came of it. Without that a decision is not late: nobody is there to make one.
    pub asked: bool,
    pub status: Option<&'a [u8]>,
}

/// What the shell does with a piece of the response's body, or at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseBodyStep {
    Pass,
    /// Give what came to `copy_response`, and let it go on.
    Copy,
    Hold,
    /// Read everything that is held, and give it to `judge_response`.
    Judge,
    Refuse(Refusal),
}

/// How much of the response is still to be judged.
#[derive(Debug, Default)]
pub(super) enum Response {
    #[default]
    Nothing,
    Copying {
        rule: BodyRuleAt,
        status: u16,
        copy: Vec<u8>,
    },
    Holding {
        rule: BodyRuleAt,
    },
}

impl Exchange {
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

    /// Only what comes from the service needs this request's decision: a refusal by the proxy or the server may go out
    /// without.
    pub fn response_source(&mut self, suspicion: Reason, source: Source<'_>) -> ResponseStep {
        let State::Passed { call, .. } = self.state else { return ResponseStep::Pass };
        match source.details {
            Some(details) if !is_from_service(details) => ResponseStep::Pass,
            _ if suspicion == Reason::DecisionMissing && call.fails_open && source.asked => {
                let status = source.status.and_then(|status| core::str::from_utf8(status).ok()?.parse().ok());
                self.observed.push(Observed { side: Side::Response, violation: suspicion.into(), status });
                ResponseStep::PassUndecided { call_id: call.id }
            }
            _ => ResponseStep::Refuse(self.refuse(suspicion, call)),
        }
    }

    /// Whether this response is looked at: each one where something is enforced, and a sample where it is reported.
    pub fn looks_at_response(&self, engine: &Engine, sampler: &mut Sampler) -> bool {
        let Some((_, rules)) = self.response_rules(engine) else { return false };
        if rules.is_off() {
            return false;
        }
        let operation = self.call().map_or(0, |(_, operation)| operation.0 as usize);
        rules.enforces() || sampler.takes(operation, rules.sample)
    }

    /// Judges the head of a response that is looked at. `pairs` is its map in the host's own layout, `details` the proxy's
    /// word on who answered: what the proxy or the server say themselves is no contract's matter.
    pub fn judge_response_head(
        &mut self,
        engine: &Engine,
        pairs: Option<&[u8]>,
        details: Option<&[u8]>,
        ends_here: bool,
    ) -> ResponseStep {
        // Where the proxy does not say, it is the service's: what is enforced is enforced.
        if details.is_some_and(|details| !is_from_service(details)) {
            return ResponseStep::Pass;
        }
        let Some((call, rules)) = self.response_rules(engine) else { return ResponseStep::Pass };
        let mut observed = Vec::new();
        let judged = parse(pairs).and_then(|pairs| {
            let head = ResponseHead::parse(pairs.iter(), ends_here)?;
            let status = head.status;
            let broken = |enforcement, violation: Violation| match enforcement {
                Enforcement::Enforce => Err(violation),
                Enforcement::Report | Enforcement::Off => {
                    observed.push(Observed { side: Side::Response, violation, status: Some(status) });
                    Ok(())
                }
            };
            let schemas = engine.contract.schemas();
            responses::check_head(rules, schemas, &head, pairs.iter(), broken).map(|plan| (plan, status))
        });
        let is_enforced = rules.enforces();
        self.observed.append(&mut observed.into_iter().map(of_response).collect());
        match judged {
            Ok((ResponsePlan::Pass, _)) => ResponseStep::Pass,
            Ok((ResponsePlan::Copy(rule), status)) => {
                self.response = Response::Copying { rule, status, copy: Vec::new() };
                ResponseStep::Pass
            }
            Ok((ResponsePlan::Hold(rule), _)) => {
                self.response = Response::Holding { rule };
                ResponseStep::Hold
            }
            Err(violation) if is_enforced => ResponseStep::Refuse(self.refuse_response(violation, call)),
            // Only what cannot be read as a map ends a judgement that is not enforced.
            Err(violation) => {
                self.observed.push(of_response(Observed { side: Side::Response, violation, status: None }));
                ResponseStep::Pass
            }
        }
    }

    /// `size` is what has come if the response goes on while it is judged, and all that waits if it is held; `room` is
    /// what the VM may hold beside what it does.
    pub fn response_body(
        &mut self,
        engine: Option<&Engine>,
        size: usize,
        room: usize,
        ends_here: bool,
    ) -> ResponseBodyStep {
        let rules = engine.and_then(|engine| self.response_rules(engine));
        let bytes_max = rules.map_or(0, |(_, rules)| rules.bytes_max.min(BODY_BYTES_MAX)) as usize;
        match &self.response {
            Response::Nothing => ResponseBodyStep::Pass,
            Response::Copying { copy, status, .. } => {
                let whole = copy.len().saturating_add(size);
                if whole > bytes_max || whole > room {
                    let violation = too_much(whole, bytes_max).into();
                    let status = Some(*status);
                    self.observed.push(of_response(Observed { side: Side::Response, violation, status }));
                    self.response = Response::Nothing;
                    return ResponseBodyStep::Pass;
                }
                ResponseBodyStep::Copy
            }
            Response::Holding { .. } if size > bytes_max || size > room => {
                let reason = too_much(size, bytes_max);
                match self.state {
                    State::Passed { call, .. } => {
                        ResponseBodyStep::Refuse(self.refuse_response(reason.into(), call))
                    }
                    State::NotSeen | State::Refused => ResponseBodyStep::Hold,
                }
            }
            Response::Holding { .. } => {
                if ends_here {
                    ResponseBodyStep::Judge
                } else {
                    ResponseBodyStep::Hold
                }
            }
        }
    }

    /// How many bytes of the response are kept here.
    pub const fn copied(&self) -> usize {
        match &self.response {
            Response::Copying { copy, .. } => copy.len(),
            Response::Nothing | Response::Holding { .. } => 0,
        }
    }

    /// Keeps a copy of what goes on. `None`: the host did not hand it over.
    pub fn copy_response(&mut self, piece: Option<&[u8]>) {
        match (&mut self.response, piece) {
            (Response::Copying { copy, .. }, Some(piece)) => copy.extend_from_slice(piece),
            (Response::Copying { .. }, None) => self.response = Response::Nothing,
            (Response::Nothing | Response::Holding { .. }, _) => {}
        }
    }

    /// Trailers end a body whose last piece did not say so.
    pub const fn response_trailers(&self) -> ResponseBodyStep {
        match self.response {
            Response::Nothing | Response::Copying { .. } => ResponseBodyStep::Pass,
            Response::Holding { .. } => ResponseBodyStep::Judge,
        }
    }

    /// Judges the copy of a response that went out.
    pub fn judge_copy(&mut self, engine: &Engine) {
        let Response::Copying { rule, status, copy } = core::mem::take(&mut self.response) else { return };
        // One that ended with its head, whatever it announced, has no body to be judged.
        if copy.is_empty() {
            return;
        }
        let Some((_, rules)) = self.response_rules(engine) else { return };
        let mut observed = Vec::new();
        let told = |violation: Violation| {
            observed.push(of_response(Observed { side: Side::Response, violation, status: Some(status) }));
            Ok(())
        };
        let _all_told = responses::check_body(rules, rule, engine.contract.schemas(), &copy, told);
        self.observed.append(&mut observed);
    }

    /// Judges a response that is held. `None`: the host did not hand it over.
    pub fn judge_response(&mut self, engine: Option<&Engine>, body: Option<&[u8]>) -> ResponseBodyStep {
        let Response::Holding { rule } = core::mem::take(&mut self.response) else {
            return ResponseBodyStep::Pass;
        };
        let State::Passed { call, .. } = self.state else { return ResponseBodyStep::Hold };
        let judged = engine.ok_or(Reason::NotConfigured.into()).and_then(|engine| {
            let (_, rules) = self.response_rules(engine).ok_or(Reason::Internal)?;
            let body = body.ok_or(Reason::BodyIncomplete)?;
            responses::check_body(rules, rule, engine.contract.schemas(), body, Err)
        });
        match judged {
            Ok(()) => ResponseBodyStep::Pass,
            Err(violation) => ResponseBodyStep::Refuse(self.refuse_response(violation, call)),
        }
    }

    fn response_rules<'e>(&self, engine: &'e Engine) -> Option<(Call, &'e ResponseRules)> {
        let State::Passed { call, .. } = self.state else { return None };
        Some((call, &engine.contract.operation(call.operation)?.operation.responses))
    }

    fn refuse_response(&mut self, violation: Violation, call: Call) -> Refusal {
        self.response = Response::Nothing;
        Refusal { side: Side::Response, ..self.refuse_at(violation.of_response(), call) }
    }
}

/// Why so many bytes are not kept, of which `bytes_max` may be judged.
const fn too_much(bytes: usize, bytes_max: usize) -> Reason {
    if bytes > bytes_max { Reason::ResponseTooLarge } else { Reason::ProxyFull }
}

fn of_response(observed: Observed) -> Observed {
    Observed { violation: observed.violation.of_response(), ..observed }
}

fn parse(pairs: Option<&[u8]>) -> Result<HeaderMap<'_>, Violation> {
    Ok(HeaderMap::parse(pairs.ok_or(Reason::HeaderMapInvalid)?)?)
}

fn is_from_service(details: &[u8]) -> bool {
    details.is_empty() || details == b"via_upstream"
}

#[cfg(test)]
mod tests;
