//! What the rules say of a request: its head, then what load says of it, and its body. The server and the tools ask the same.
//!
//! INVARIANT: load is asked after the rules, so that only what could be served counts, and before the handoff is made.

use super::{Engine, HeadStep, Pressure};
use crate::call_id::CallId;
use crate::contract::{Contract, Matched, Unmatched};
use crate::handoff::{Binding, Flags, Handoff};
use crate::head::RequestHead;
use crate::headers::HeaderMap;
use crate::load::{InWork, Overload, Weight};
use crate::reason::Reason;
use crate::routes::OperationIndex;
use crate::rules::{self, BodyPlan, Watched};
use crate::violation::Violation;

/// A head that was judged good.
pub(super) struct Judged {
    pub(super) step: HeadStep,
    pub(super) operation: OperationIndex,
    pub(super) fails_open: bool,
    pub(super) body: BodyPlan,
    pub(super) watched: Vec<Violation>,
    pub(super) in_work: Option<InWork>,
    pub(super) would_shed: Vec<Overload>,
}

/// A rule that was broken, by a request of this operation if it has one.
pub(super) struct Broken {
    pub(super) violation: Violation,
    pub(super) operation: Option<OperationIndex>,
    pub(super) overload: Option<Box<Overload>>,
}

impl From<Reason> for Broken {
    fn from(reason: Reason) -> Broken {
        Broken { violation: reason.into(), operation: None, overload: None }
    }
}

pub(super) fn judge_head(
    engine: Option<&Engine>,
    call_id: CallId,
    pairs: Option<&[u8]>,
    ends_here: bool,
    now_ms: u64,
    pressure: Option<Pressure<'_>>,
) -> Result<Judged, Broken> {
    let Engine { contract, secret } = engine.ok_or(Reason::NotConfigured)?;
    let pairs = HeaderMap::parse(pairs.ok_or(Reason::HeaderMapInvalid)?)?;
    let head = RequestHead::parse(pairs.iter(), contract.identity_headers())?;
    let matched = find_operation(contract, &head)?;
    let operation = matched.index;
    let mut watched = Watched::new(matched.operation, now_ms);
    let body = rules::check_head(matched, &head, pairs.iter(), contract.schemas(), ends_here, &mut watched)
        .map_err(|violation| Broken { violation, operation: Some(operation), overload: None })?;
    let (in_work, would_shed) = weigh(pressure, matched, &head, &pairs)?;
    let handoff = Handoff { bundle: contract.digest(), operation, flags: flags(&head, body), call_id };
    let handoff = handoff.encode(secret, binding(&head));
    let remove = head.ours.iter().map(|(name, _)| (*name).to_owned()).collect();
    let step = HeadStep::Pass { remove, handoff };
    let fails_open = matched.operation.fails_open;
    Ok(Judged { step, operation, fails_open, body, watched: watched.found, in_work, would_shed })
}

/// A request that is good may still be one too many.
fn weigh(
    pressure: Option<Pressure<'_>>,
    matched: Matched<'_>,
    head: &RequestHead<'_>,
    pairs: &HeaderMap<'_>,
) -> Result<(Option<InWork>, Vec<Overload>), Broken> {
    let Some(Pressure { load, now_us, caller }) = pressure else { return Ok((None, Vec::new())) };
    let weight = Weight { attempt: head.attempt, is_grpc: head.is_grpc() };
    let header =
        |name: &str| pairs.iter().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value);
    let weighed = load.weigh(now_us, matched, weight, caller, header);
    match weighed.shed {
        None => Ok((weighed.in_work, weighed.would_shed)),
        Some(overload) => Err(Broken {
            violation: overload.reason.into(),
            operation: Some(matched.index),
            overload: Some(overload),
        }),
    }
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

pub(super) fn judge_body(
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
