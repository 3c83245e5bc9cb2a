//! One stream: each callback reads what the core needs, calls it, and applies its step.

use crate::host;
use crate::reports;
use crate::root::Shared;
use palisade_core::call_id::CallIdMint;
use palisade_core::contract::BundleDigest;
use palisade_core::exchange::{BodyStep, Exchange, HeadStep, Refusal, ResponseStep};
use palisade_core::handoff;
use palisade_core::headers;
use palisade_core::reply;
use palisade_core::report::{Kept, Subject};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

/// Where ext_authz leaves the decision's id: parts of a property path, with zero bytes between them.
const DECISION_ID: &str = "metadata\0filter_metadata\0envoy.filters.http.ext_authz\0decision_id";

/// Envoy's word on who answered.
const RESPONSE_SOURCE: &str = "response\0code_details";

/// Filter state under which access logs find the id of a request that never got a decision.
const CALL_ID_STATE: &str = "palisade_call_id";

pub(crate) struct Http {
    shared: Option<Shared>,
    exchange: Exchange,
    /// For the report on a refusal that comes after the head.
    kept: Kept,
}

impl Http {
    pub(crate) fn new(shared: Option<Shared>) -> Self {
        Http { shared, exchange: Exchange::default(), kept: Kept::default() }
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
        match step {
            BodyStep::Pass => Action::Continue,
            BodyStep::Hold | BodyStep::Judge => Action::Pause,
            BodyStep::Refuse(refusal) => self.refuse(refusal, || self.kept.subject()),
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
        let engine = self.shared.as_ref().map(|shared| shared.engine.clone());
        self.step(|exchange, mint| exchange.judge(engine.as_deref(), body.as_deref(), held, mint, now_ms))
    }

    /// Sends the reply, and takes note for the report. Whatever the host says to it, nothing is released.
    fn refuse(&self, refusal: Refusal, subject: impl FnOnce() -> Subject) -> Action {
        let Refusal { reason, call_id, .. } = &refusal;
        let mut buffer = [0; 36];
        // Only the access log misses it if the host refuses; the reply carries it all the same.
        let _joined = host::set_property(CALL_ID_STATE, call_id.encode(&mut buffer));
        let headers = headers::encode(&[("content-type", reply::CONTENT_TYPE)]);
        let body = reply::body(*reason, *call_id);
        let _sent = host::send_local_reply(
            refusal.status(),
            refusal.grpc_status() as u8,
            reason.details(),
            &headers,
            &body,
        );
        let bundle = self.shared.as_ref().map(|shared| shared.engine.contract.digest());
        if reports::add(bundle.unwrap_or(BundleDigest([0; 32])), refusal, subject)
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
        let now_ms = host::now_ms();
        let pairs = host::request_headers().ok();
        let engine = self.shared.as_ref().map(|shared| shared.engine.clone());
        let step = self.step(|exchange, mint| {
            exchange.request_head(engine.as_deref(), mint, now_ms, pairs.as_deref(), end_of_stream)
        });
        match step {
            HeadStep::Refuse(refusal) => self.refuse(refusal, || subject_of(pairs.as_deref())),
            HeadStep::Pass { remove, handoff } => match set_handoff(&remove, &handoff) {
                Ok(()) => {
                    self.kept = pairs.as_deref().map(Kept::of_headers).unwrap_or_default();
                    Action::Continue
                }
                Err(_) => {
                    let refusal = self.step(|exchange, mint| exchange.host_failed(mint, now_ms));
                    self.refuse(refusal, || subject_of(pairs.as_deref()))
                }
            },
        }
    }

    fn on_http_request_body(&mut self, held: usize, end_of_stream: bool) -> Action {
        let now_ms = host::now_ms();
        let step = self.step(|exchange, mint| exchange.request_body(held, end_of_stream, mint, now_ms));
        self.apply_body_step(step, Some(held))
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        let now_ms = host::now_ms();
        let step = self.step(|exchange, mint| exchange.request_trailers(mint, now_ms));
        self.apply_body_step(step, None)
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        if !self.exchange.expects_decision() {
            return Action::Continue;
        }
        let decision_id = host::property(DECISION_ID).unwrap_or(None);
        let mut step = self.exchange.response_head(decision_id.as_deref());
        if let ResponseStep::AskSource { suspicion } = step {
            let source = host::property(RESPONSE_SOURCE).unwrap_or(None);
            step = self.exchange.response_source(suspicion, source.as_deref());
        }
        match step {
            ResponseStep::Pass => Action::Continue,
            ResponseStep::AskSource { .. } => Action::Pause,
            ResponseStep::Refuse(refusal) => self.refuse(refusal, || self.kept.subject()),
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
