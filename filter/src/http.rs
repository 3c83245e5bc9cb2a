//! One stream: each callback reads what the core needs, calls it, and applies its step.

use crate::held::Lease;
use crate::host;
use crate::load;
use crate::reports::{self, Drifted};
use crate::root::Shared;
use palisade_core::call_id::CallIdMint;
use palisade_core::contract::BundleDigest;
use palisade_core::exchange::{
    BodyStep, Engine, Exchange, FAILS_OPEN, FAILS_OPEN_STATE, HeadStep, Observed, Pressure, Refusal,
    ResponseBodyStep, ResponseStep, Source,
};
use palisade_core::handoff;
use palisade_core::headers;
use palisade_core::load::{Load, answer_of};
use palisade_core::reason::Reason;
use palisade_core::reply;
use palisade_core::report::{Kept, Passed, Side, Subject};
use palisade_core::shed::Answer;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::rc::Rc;

/// Where ext_authz leaves the decision's id: parts of a property path, with zero bytes between them.
const DECISION_ID: &str = "metadata\0filter_metadata\0envoy.filters.http.ext_authz\0decision_id";

/// What ext_authz leaves of each Check, answered or not, where it is told to keep track.
const CHECKED: &str = "filter_state\0envoy.filters.http.ext_authz";

/// Envoy's word on who answered.
const RESPONSE_SOURCE: &str = "response\0code_details";

/// Filter state under which access logs find the id of a request that never got a decision.
const CALL_ID_STATE: &str = "palisade_call_id";

pub(crate) struct Http {
    shared: Option<Shared>,
    exchange: Exchange,
    /// For the report on a refusal that comes after the head.
    kept: Kept,
    /// What is held of the request, and of the response.
    request: Lease,
    response: Lease,
}

impl Http {
    pub(crate) fn new(shared: Option<Shared>) -> Self {
        Http {
            shared,
            exchange: Exchange::default(),
            kept: Kept::default(),
            request: Lease::default(),
            response: Lease::default(),
        }
    }

    fn engine(&self) -> Option<Rc<Engine>> {
        self.shared.as_ref().map(|shared| shared.engine.clone())
    }

    /// Counts what was broken without a refusal.
    fn count_observed(&mut self) {
        let observed = self.exchange.take_observed();
        let (Some(shared), Some((call_id, operation))) = (&self.shared, self.exchange.call()) else { return };
        for Observed { side, violation, status } in &observed {
            let (reason, place) = (violation.reason, &*violation.place);
            let drifted = Drifted { operation, side: *side, reason, place, status: *status, call_id };
            reports::drifted(shared.engine.contract.digest(), drifted);
        }
    }

    /// Counts this one among those that could have drifted.
    fn count_judged(&self, side: Side) {
        if let (Some(shared), Some((_, operation))) = (&self.shared, self.exchange.call()) {
            reports::judged(shared.engine.contract.digest(), operation, side);
        }
    }

    /// Runs one step of the core with this VM's mint.
    fn step<T>(&mut self, run: impl FnOnce(&mut Exchange, &mut CallIdMint) -> T) -> T {
        match self.shared.as_ref().map(|shared| shared.mint.try_borrow_mut()) {
            Some(Ok(mut mint)) => run(&mut self.exchange, &mut mint),
            // A request without configuration is refused, and a mint is never borrowed across a callback.
            _ => run(&mut self.exchange, &mut CallIdMint::new([0; 16])),
        }
    }

    fn apply_body_step(&mut self, step: BodyStep, held: Option<usize>) -> Action {
        let step = if step == BodyStep::Judge { self.judge(held) } else { step };
        self.count_observed();
        match step {
            BodyStep::Pass => {
                self.request.set(0);
                if let Some(in_work) = self.exchange.in_work() {
                    load::with(|load| load.sent(host::now_us(), in_work));
                }
                Action::Continue
            }
            BodyStep::Hold | BodyStep::Judge => {
                // Trailers bring no bytes.
                if let Some(held) = held {
                    self.request.set(held);
                }
                Action::Pause
            }
            BodyStep::Refuse(refusal) => {
                self.request.set(0);
                self.refuse(refusal, Kept::subject)
            }
        }
    }

    fn judge(&mut self, held: Option<usize>) -> BodyStep {
        let body = match held {
            Some(0) => Some(Vec::new()),
            Some(held) => host::request_body(held).unwrap_or(None),
            // At trailers the host does not say how much there is. Nothing held is an empty body.
            None => host::request_body(usize::MAX).map(Option::unwrap_or_default).ok(),
        };
        let now_ms = host::now_ms();
        let engine = self.engine();
        self.step(|exchange, mint| exchange.judge(engine.as_deref(), body.as_deref(), held, mint, now_ms))
    }

    /// Sends the reply, and takes note for the report. Whatever the host says to it, nothing is released.
    fn refuse(&mut self, refusal: Refusal, subject: impl FnOnce(&Kept) -> Subject) -> Action {
        if let Some(in_work) = self.exchange.leave_work() {
            load::with(|load| load.refused(in_work));
        }
        let Refusal { reason, call_id, .. } = &refusal;
        let mut buffer = [0; 36];
        // Only the access log misses it if the host refuses; the reply carries it all the same.
        let _joined = host::set_property(CALL_ID_STATE, call_id.encode(&mut buffer));
        let headers = refusal.headers();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let headers = headers::encode(&headers);
        let body = reply::body(*reason, *call_id);
        let _sent = host::send_local_reply(
            refusal.status(),
            refusal.grpc_status() as u8,
            reason.details(),
            &headers,
            &body,
        );
        let bundle = self.shared.as_ref().map(|shared| shared.engine.contract.digest());
        let kept = &self.kept;
        if reports::add(bundle.unwrap_or(BundleDigest([0; 32])), refusal, || subject(kept))
            && let Some(shared) = &self.shared
        {
            shared.tick_soon();
        }
        Action::Pause
    }
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        let now_us = host::now_us();
        let now_ms = now_us / 1_000;
        let pairs = host::request_headers().ok();
        let engine = self.engine();
        let sheds = self.shared.as_ref().is_some_and(|shared| shared.sheds);
        let mut judge = |load: Option<&mut Load>| {
            let caller = &mut reports::caller;
            let pressure = load.map(|load| Pressure { load, now_us, caller });
            self.step(|exchange, mint| {
                let (engine, pairs) = (engine.as_deref(), pairs.as_deref());
                exchange.request_head_under(engine, mint, now_ms, pairs, end_of_stream, pressure)
            })
        };
        let step = if sheds { load::with(|load| judge(Some(load))) } else { None };
        let step = step.unwrap_or_else(|| judge(None));
        match step {
            HeadStep::Refuse(refusal) => self.refuse(refusal, |_| subject_of(pairs.as_deref())),
            HeadStep::Pass { remove, handoff } => match set_handoff(&remove, &handoff) {
                Ok(()) => {
                    if self.exchange.fails_open() {
                        // Whatever the host says to it: unset, the call is closed.
                        let _set = host::set_property(FAILS_OPEN_STATE, FAILS_OPEN);
                    }
                    self.kept = pairs.as_deref().map(Kept::of_headers).unwrap_or_default();
                    self.note_admission(now_us, end_of_stream);
                    if engine.is_some_and(|engine| self.exchange.is_watched(&engine, now_ms)) {
                        self.count_judged(Side::Request);
                        self.count_observed();
                    }
                    Action::Continue
                }
                Err(_) => {
                    let refusal = self.step(|exchange, mint| exchange.host_failed(mint, now_ms));
                    self.refuse(refusal, |_| subject_of(pairs.as_deref()))
                }
            },
        }
    }

    fn on_http_request_body(&mut self, held: usize, end_of_stream: bool) -> Action {
        let now_ms = host::now_ms();
        let room = self.request.room();
        let step = self.step(|exchange, mint| exchange.request_body(held, room, end_of_stream, mint, now_ms));
        self.apply_body_step(step, Some(held))
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        let now_ms = host::now_ms();
        let pairs = host::request_trailers().ok();
        let engine = self.engine();
        let step = self.step(|exchange, mint| {
            exchange.request_trailers(engine.as_deref(), pairs.as_deref(), mint, now_ms)
        });
        self.apply_body_step(step, None)
    }

    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        if !self.exchange.expects_decision() {
            return Action::Continue;
        }
        self.note_answer();
        let decision_id = host::property(DECISION_ID).unwrap_or(None);
        let mut step = self.exchange.response_head(decision_id.as_deref());
        if let ResponseStep::AskSource { suspicion } = step {
            step = self.ask_source(suspicion);
        }
        if let ResponseStep::PassUndecided { call_id } = step {
            // Only the access log misses it if the host refuses; the count has an example all the same.
            let _joined = host::set_property(CALL_ID_STATE, call_id.encode(&mut [0; 36]));
            self.count_observed();
            step = ResponseStep::Pass;
        }
        if step == ResponseStep::Pass {
            step = self.judge_response_head(end_of_stream);
        }
        match step {
            ResponseStep::Pass | ResponseStep::PassUndecided { .. } => Action::Continue,
            ResponseStep::AskSource { .. } | ResponseStep::Hold => Action::Pause,
            ResponseStep::Refuse(refusal) => self.refuse(refusal, Kept::subject),
        }
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        let engine = self.engine();
        let room = self.response.room();
        let step = self.exchange.response_body(engine.as_deref(), size, room, end_of_stream);
        if step == ResponseBodyStep::Copy {
            // An empty piece is no failure.
            let piece = host::response_body(size).map(Option::unwrap_or_default).ok();
            self.exchange.copy_response(piece.as_deref());
            if end_of_stream {
                self.judge_copy(engine.as_deref());
            }
        }
        self.apply_response_step(step, size)
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        let engine = self.engine();
        self.judge_copy(engine.as_deref());
        let step = self.exchange.response_trailers();
        self.apply_response_step(step, usize::MAX)
    }
}

impl Http {
    /// Asks the proxy about a response that no decision came with.
    fn ask_source(&mut self, suspicion: Reason) -> ResponseStep {
        let details = host::property(RESPONSE_SOURCE).unwrap_or(None);
        let opens = self.exchange.fails_open();
        let asked = opens && host::property(CHECKED).unwrap_or(None).is_some();
        let status = if opens { host::response_header(":status").unwrap_or(None) } else { None };
        let source = Source { details: details.as_deref(), asked, status: status.as_deref() };
        self.exchange.response_source(suspicion, source)
    }

    /// Counts a request that goes on, and tells what would have shed it.
    fn note_admission(&mut self, now_us: u64, ends_here: bool) {
        let Some(shared) = self.shared.as_ref().filter(|shared| shared.sheds) else { return };
        let Some(call) = self.exchange.call() else { return };
        let bundle = shared.engine.contract.digest();
        for overload in self.exchange.take_would_shed() {
            if reports::shed(bundle, call, &overload, true, || self.kept.subject()) {
                shared.tick_soon();
            }
        }
        // The service hears a stream from its first byte on.
        let streams = self.exchange.is_stream();
        let Some(in_work) = self.exchange.in_work() else { return };
        reports::passed(bundle, call.1, if in_work.is_retry() { Passed::Retry } else { Passed::First });
        if ends_here || streams {
            load::with(|load| load.sent(now_us, in_work));
        }
    }

    /// Tells the load of this VM that the service, or the proxy in its place, has answered.
    fn note_answer(&mut self) {
        let Some(in_work) = self.exchange.in_work() else { return };
        if !in_work.is_watched() {
            load::with(|load| load.answered_unseen(in_work));
            return;
        }
        let [status, grpc_status] =
            [":status", "grpc-status"].map(|name| host::response_header(name).unwrap_or(None));
        let source = host::property(RESPONSE_SOURCE).unwrap_or(None);
        let answer = answer_of(source.as_deref(), status.as_deref(), grpc_status.as_deref());
        let spent = load::with(|load| {
            load.answered(host::now_us(), in_work, answer);
            load.tells_no_retry(in_work)
        });
        if answer != Answer::Failed {
            return;
        }
        if let (Some(shared), Some((_, operation))) = (&self.shared, self.exchange.call()) {
            reports::passed(shared.engine.contract.digest(), operation, Passed::Failed);
        }
        if spent == Some(true) {
            // Should the host not take it, a caller retries what will be shed.
            let _told = host::set_response_header(reply::RATE_LIMITED, "true");
            if grpc_status.is_some() {
                let _told = host::set_response_header(reply::GRPC_PUSHBACK, "-1");
            }
        }
    }

    fn judge_response_head(&mut self, ends_here: bool) -> ResponseStep {
        let Some(shared) = self.shared.clone() else { return ResponseStep::Pass };
        let engine = &shared.engine;
        let looks = match shared.sampler.try_borrow_mut() {
            Ok(mut sampler) => self.exchange.looks_at_response(engine, &mut sampler),
            // Never borrowed across a callback; if it were, what is enforced stays enforced.
            Err(_) => true,
        };
        if !looks {
            return ResponseStep::Pass;
        }
        let source = host::property(RESPONSE_SOURCE).unwrap_or(None);
        let pairs = host::response_headers().ok();
        let step = self.exchange.judge_response_head(engine, pairs.as_deref(), source.as_deref(), ends_here);
        self.count_judged(Side::Response);
        self.count_observed();
        step
    }

    fn judge_copy(&mut self, engine: Option<&Engine>) {
        if let Some(engine) = engine {
            self.exchange.judge_copy(engine);
            self.count_observed();
        }
    }

    /// `size`: how much of the response waits, if it does.
    fn apply_response_step(&mut self, step: ResponseBodyStep, size: usize) -> Action {
        let step = match step {
            ResponseBodyStep::Judge => {
                // Nothing held is an empty body. At trailers the host does not say how much there is.
                let body = host::response_body(size).map(Option::unwrap_or_default).ok();
                let engine = self.engine();
                self.exchange.judge_response(engine.as_deref(), body.as_deref())
            }
            step => step,
        };
        self.count_observed();
        match step {
            ResponseBodyStep::Pass | ResponseBodyStep::Copy => {
                self.response.set(self.exchange.copied());
                Action::Continue
            }
            ResponseBodyStep::Hold | ResponseBodyStep::Judge => {
                self.response.set(size);
                Action::Pause
            }
            ResponseBodyStep::Refuse(refusal) => {
                self.response.set(0);
                self.refuse(refusal, Kept::subject)
            }
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        if let Some(in_work) = self.exchange.leave_work() {
            load::gone(in_work);
        }
    }
}

fn subject_of(pairs: Option<&[u8]>) -> Subject {
    pairs.and_then(Subject::of_headers).unwrap_or_else(reports::subject_of_head)
}

fn set_handoff(remove: &[String], value: &str) -> Result<(), host::HostError> {
    // `set` replaces all copies of the handoff; only the client's other headers in our name space need removal.
    for name in remove.iter().filter(|name| *name != handoff::HEADER) {
        host::remove_request_header(name)?;
    }
    host::set_request_header(handoff::HEADER, value)
}
