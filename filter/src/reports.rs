//! The reports of this VM on their way to the server. One queue for all configurations that the VM has or will have.
//!
//! A request only ever adds to the queue. Calls begin in a root's callbacks, because an answer comes to the context that
//! began the call, and a request would be gone.
//! INVARIANT: a batch leaves the queue only for an answer of status 0 that names the server.

use crate::host::{self, HostError};
use palisade_core::call_id::CallId;
use palisade_core::contract::BundleDigest;
use palisade_core::exchange::Refusal;
use palisade_core::handoff::Secret;
use palisade_core::limits::{REPORT_TEXT_BYTES_MAX, REPORT_TIMEOUT_MS};
use palisade_core::load::Overload;
use palisade_core::reason::Reason;
use palisade_core::report::{
    ATTEMPT_HEADER, CLUSTER_VARIABLE, DriftKey, LoadLevel, METHOD, Outbox, Passed, Report, SERVICE, ServerId,
    ShedKey, Side, Subject, Verdict, VmId, read_reply, write_message,
};
use palisade_core::routes::OperationIndex;
use palisade_core::shed::Level;
use proxy_wasm::types::LogLevel;
use std::borrow::Cow;
use std::cell::RefCell;

/// Whom a caller without a certificate calls from, with its port.
const SOURCE: &str = "source\0address";

/// The peer as the proxy verified it: parts of a property path, with zero bytes between them.
const PEER: &str = "connection\0uri_san_peer_certificate";

thread_local! {
    static REPORTS: RefCell<State> = const { RefCell::new(State::NotBegun) };
}

#[derive(Debug)]
enum State {
    NotBegun,
    /// The VM's environment names no cluster.
    Silent,
    Reporting(Box<Reports>),
}

#[derive(Debug)]
struct Reports {
    cluster: String,
    outbox: Outbox,
    /// The call that is under way.
    call: Option<u32>,
}

/// Finds out whether and where this VM reports: at its first configuration, and never again.
pub(crate) fn begin() -> Result<(), String> {
    let begun = with(|state| match state {
        State::NotBegun => {
            *state = first()?;
            Ok(())
        }
        State::Silent | State::Reporting(_) => Ok(()),
    });
    begun.unwrap_or(Ok(()))
}

fn first() -> Result<State, String> {
    let Some(cluster) = std::env::var(CLUSTER_VARIABLE).ok().filter(|cluster| !cluster.is_empty()) else {
        host::log(
            LogLevel::Warn,
            &format!(
                "palisade: refusals are not reported to the server: pass its cluster on as `{CLUSTER_VARIABLE}` in `environment_variables`"
            ),
        );
        return Ok(State::Silent);
    };
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| format!("the host gives no randomness: {error}"))?;
    let vm = VmId(id);
    host::log(LogLevel::Info, &format!("palisade: refusals are reported as VM {vm}"));
    Ok(State::Reporting(Box::new(Reports { cluster, outbox: Outbox::new(vm), call: None })))
}

/// Takes note of a refusal of what `subject` says. True: the next look should come soon.
pub(crate) fn add(bundle: BundleDigest, refusal: Refusal, subject: impl FnOnce() -> Subject) -> bool {
    if let (Some(overload), Some(operation)) = (&refusal.overload, refusal.operation) {
        return shed(bundle, (refusal.call_id, operation), overload, false, subject);
    }
    let hurry = reporting(|reports| {
        reports.outbox.add(bundle, refusal.reason, || Report {
            call_id: refusal.call_id,
            at_ms: host::now_ms(),
            verdict: Verdict::Reject,
            reason: Cow::Borrowed(refusal.reason.code()),
            operation: refusal.operation,
            subject: subject(),
            peer: peer(),
            place: palisade_core::report::shown(refusal.place.as_bytes(), REPORT_TEXT_BYTES_MAX),
            retry: false,
        })
    });
    hurry.unwrap_or(false)
}

/// Takes note of a request that is one too many, or would be.
pub(crate) fn shed(
    bundle: BundleDigest,
    (call_id, operation): (CallId, OperationIndex),
    overload: &Overload,
    is_shadow: bool,
    subject: impl FnOnce() -> Subject,
) -> bool {
    let hurry = reporting(|reports| {
        let key = ShedKey {
            operation,
            reason: overload.reason,
            peer: &peer(),
            retry: overload.is_retry,
            shadow: is_shadow,
            limit: overload.limit.as_deref().unwrap_or_default(),
        };
        reports.outbox.shed(bundle, key, call_id, host::now_ms(), subject)
    });
    hurry.unwrap_or(false)
}

/// Counts what became of a request to a service that sheds.
pub(crate) fn passed(bundle: BundleDigest, operation: OperationIndex, passed: Passed) {
    reporting(|reports| reports.outbox.passed(bundle, operation, passed));
}

/// How the shedder of a service stands.
pub(crate) fn level(bundle: BundleDigest, operation: OperationIndex, level: Level) {
    let (limit, load) = (level.limit, level.in_flight.saturating_add(level.ghosts));
    let retry_tokens = level.retry_tokens as u32;
    let level = LoadLevel { operation, limit, load, retry_tokens };
    reporting(|reports| reports.outbox.level(bundle, level));
}

/// A rule that was broken without a refusal: one in shadow, or one that a response broke.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drifted<'a> {
    pub(crate) operation: OperationIndex,
    pub(crate) side: Side,
    pub(crate) reason: Reason,
    /// As in a refusal.
    pub(crate) place: &'a str,
    /// Of a response.
    pub(crate) status: Option<u16>,
    pub(crate) call_id: CallId,
}

/// Counts it for the call's peer. Told in its time; no look is needed for it.
pub(crate) fn drifted(bundle: BundleDigest, drift: Drifted<'_>) {
    reporting(|reports| {
        let Drifted { operation, side, reason, place, status, call_id } = drift;
        let key = DriftKey { operation, side, reason, place, status, peer: &peer() };
        reports.outbox.drifted(bundle, key, call_id, host::now_ms());
    });
}

/// Counts a request or response whose content was judged, whatever came of it: drift is told as a part of these.
pub(crate) fn judged(bundle: BundleDigest, operation: OperationIndex, side: Side) {
    reporting(|reports| reports.outbox.judged(bundle, operation, side));
}

/// Who calls, for shares and limits: the verified peer, and without one the address that it calls from.
pub(crate) fn caller() -> Vec<u8> {
    let peer = property(PEER);
    if peer.is_empty() { palisade_core::load::caller_at(&property(SOURCE)) } else { peer }
}

fn peer() -> String {
    palisade_core::report::shown(&property(PEER), REPORT_TEXT_BYTES_MAX)
}

/// The request of a head that cannot be read as a map, by the proxy's own properties. They are gone with the head.
pub(crate) fn subject_of_head() -> Subject {
    let attempt = format!("request\0headers\0{ATTEMPT_HEADER}");
    let [method, host, path, attempt] =
        ["request\0method", "request\0host", "request\0path", attempt.as_str()].map(property);
    Subject::new(&method, &host, &path, &attempt)
}

fn property(path: &str) -> Vec<u8> {
    host::property(path).unwrap_or(None).unwrap_or_default()
}

/// Looks whether there is something to tell.
pub(crate) fn tick(secret: &Secret) {
    reporting(|reports| reports.send(secret));
}

/// The answer to a call.
pub(crate) fn answered(secret: Option<&Secret>, call: u32, status: u32, size: usize) {
    reporting(|reports| {
        // That of a call which was given up says nothing about the one that followed.
        if reports.call != Some(call) {
            return;
        }
        reports.call = None;
        match server_of_answer(status, size) {
            Some(server) => reports.acknowledged(server),
            None => reports.failed(&format!("status {status}")),
        }
        if let (true, Some(secret)) = (reports.outbox.fills_a_batch(), secret) {
            reports.send(secret);
        }
    });
}

fn server_of_answer(status: u32, size: usize) -> Option<ServerId> {
    let answer = if status == 0 { host::grpc_answer(size).ok()?? } else { return None };
    read_reply(&answer)
}

impl Reports {
    fn send(&mut self, secret: &Secret) {
        let Some(batch) = self.outbox.next_batch(secret, host::now_ms()) else { return };
        match host::begin_call(&self.cluster, SERVICE, METHOD, &write_message(&batch), REPORT_TIMEOUT_MS) {
            Ok(call) => self.call = Some(call),
            Err(HostError { status }) => {
                self.call = None;
                self.failed(&format!(
                    "the proxy cannot reach cluster `{}`, host status {status}",
                    self.cluster
                ));
            }
        }
    }

    /// Told when it ends, as it was when it began.
    fn acknowledged(&mut self, server: ServerId) {
        if self.outbox.failures() > 0 {
            host::log(LogLevel::Info, "palisade: the server takes reports again");
        }
        self.outbox.acknowledged(server);
    }

    fn failed(&mut self, why: &str) {
        self.outbox.failed(host::now_ms());
        if self.outbox.failures() == 1 {
            let waiting = self.outbox.waiting();
            host::log(
                LogLevel::Warn,
                &format!("palisade: the server did not take reports ({why}): {waiting} wait until it does"),
            );
        }
    }
}

fn reporting<T>(run: impl FnOnce(&mut Reports) -> T) -> Option<T> {
    with(|state| match state {
        State::Reporting(reports) => Some(run(reports)),
        State::NotBegun | State::Silent => None,
    })
    .flatten()
}

/// The host calls nothing of ours while it serves a call of ours, so that nobody else has the state.
fn with<T>(run: impl FnOnce(&mut State) -> T) -> Option<T> {
    REPORTS.try_with(|state| state.try_borrow_mut().ok().map(|mut state| run(&mut state))).ok().flatten()
}
