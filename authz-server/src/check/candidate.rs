//! A candidate bundle: what it would make of a call that the bundle in force has decided on.
//!
//! It is asked about what a filter let through, in its own words: its own operations, contexts, identities and policies.
//! What the filter refuses by the contract in force never comes here, and what a filter would refuse by the candidate's
//! contract is not asked either, but for whether the operation is there.
//!
//! INVARIANT: nothing here reaches the answer. It is asked after the decision is made, whatever it does ends here, and
//! what takes too long or fails is left alone for a while.

use super::callers::{Given, Unproven, identify, sources};
use super::context;
use super::judge::{Judgement, Request, concluded};
use super::{Body, Call, Decider, Decision};
use crate::bundle::{Bundle, ContextPart, OperationContext};
use crate::cedar::Question;
use crate::identity::{Established, Sources, Tokens};
use crate::ledger;
use crate::value::Value;
use palisade_core::canary;
use palisade_core::contract::{BundleDigest, Matched};
use palisade_core::exchange::find_operation;
use palisade_core::head::RequestHead;
use palisade_core::reason::Reason;
use palisade_core::routes::OperationIndex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Far beyond what policies take. What takes longer would be felt by callers, who wait for the record.
const SLOW: Duration = Duration::from_millis(20);

/// After a slow evaluation the candidate rests for so many times what it took, so that it takes one hundredth at most.
const REST_PER_SLOW: u64 = 100;

/// After a panic, which writes to the log each time.
const REST_AFTER_PANIC_MS: u64 = 10_000;

/// A bundle that is evaluated beside another one. Immutable but for its rest.
#[derive(Debug)]
pub struct Candidate {
    pub bundle: Arc<Bundle>,
    digest: Arc<str>,
    /// By which its callers are established, or why they cannot be.
    sources: Result<Sources, String>,
    /// Callers are who they are to the bundle in force.
    shares_callers: bool,
    /// Heads are read in the same way.
    shares_heads: bool,
    /// By the candidate's operation: the one of the bundle in force that has the same values of a request.
    shares_values: Vec<Option<OperationIndex>>,
    resting_until_ms: AtomicU64,
}

/// What came of asking a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    Agreed,
    NewlyDenied,
    NewlyAllowed,
    /// Denied by both, for another reason.
    ReasonChanged,
    /// It asks for something of the request that nobody has: a body that the contract in force does not hand over.
    NotComparable,
    Failed,
    /// It was slow or failed a moment ago, and is not asked.
    Resting,
}

impl Comparison {
    pub const ALL: [Comparison; 7] = [
        Comparison::Agreed,
        Comparison::NewlyDenied,
        Comparison::NewlyAllowed,
        Comparison::ReasonChanged,
        Comparison::NotComparable,
        Comparison::Failed,
        Comparison::Resting,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Comparison::Agreed => "agreed",
            Comparison::NewlyDenied => "newly_denied",
            Comparison::NewlyAllowed => "newly_allowed",
            Comparison::ReasonChanged => "reason_changed",
            Comparison::NotComparable => "not_comparable",
            Comparison::Failed => "failed",
            Comparison::Resting => "resting",
        }
    }

    fn of(active: Decision, candidate: Decision) -> Comparison {
        match (active, candidate) {
            (active, candidate) if active == candidate => Comparison::Agreed,
            (Decision::Allow, _) => Comparison::NewlyDenied,
            (Decision::Deny { .. }, Decision::Allow) => Comparison::NewlyAllowed,
            (Decision::Deny { .. }, Decision::Deny { .. }) => Comparison::ReasonChanged,
        }
    }
}

/// A call as the bundle in force understood it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided<'a> {
    pub(super) call: Call<'a>,
    pub(super) head: &'a RequestHead<'a>,
    pub(super) matched: Matched<'a>,
    pub(super) caller: &'a Result<Established, Unproven>,
    /// As far as the filter judged it.
    pub(super) body: Body<'a>,
}

/// What the candidate came to.
struct Conclusion {
    decision: Decision,
    policies: Vec<String>,
    errors: Vec<String>,
}

impl Conclusion {
    fn because(reason: Reason, error: String) -> Conclusion {
        Conclusion { decision: Decision::Deny { reason }, policies: Vec::new(), errors: vec![error] }
    }

    fn record(self) -> ledger::Otherwise {
        let (decision, reason) = super::told(self.decision);
        ledger::Otherwise { decision, reason, policies: self.policies, errors: self.errors }
    }
}

impl Candidate {
    /// Finds out once what need not be done twice for each call.
    ///
    /// `given` is what the server has about callers beside its bundle, `known` what it has learnt of issuers by now.
    pub fn beside(active: &Bundle, bundle: Arc<Bundle>, (given, known): (&Given, &Sources)) -> Candidate {
        Candidate {
            sources: sources(&bundle, given, Some(known)),
            digest: bundle.digest.to_string().into(),
            shares_callers: identities(active) == identities(&bundle),
            shares_heads: active.contract.identity_headers() == bundle.contract.identity_headers(),
            shares_values: shared_values(active, &bundle),
            resting_until_ms: AtomicU64::new(0),
            bundle,
        }
    }

    /// What it verifies tokens by. Somebody must keep its keys fresh.
    pub(crate) fn tokens(&self) -> Option<&Arc<Tokens>> {
        self.sources.as_ref().ok()?.tokens.as_ref()
    }

    pub fn digest(&self) -> BundleDigest {
        self.bundle.digest
    }

    /// Asks the candidate, and says how that compares. Whatever it does ends here.
    pub(super) fn compare(
        &self,
        decider: &Decider,
        decided: &Decided<'_>,
        judgement: &Judgement,
        now_ms: u64,
    ) -> (Option<Comparison>, Option<ledger::Candidate>) {
        // The canary answers to no bundle.
        if decided.matched.service.name.as_ref() == canary::SERVICE {
            return (None, None);
        }
        let conclusion = match self.guard(now_ms, || self.ask(decider, decided, judgement, now_ms)) {
            Ok(Some(conclusion)) => conclusion,
            Ok(None) => return (Some(Comparison::NotComparable), None),
            Err(comparison) => return (Some(comparison), None),
        };
        let comparison = Comparison::of(judgement.decision, conclusion.decision);
        let otherwise = (comparison != Comparison::Agreed).then(|| conclusion.record());
        (Some(comparison), Some(ledger::Candidate { bundle_digest: self.digest.clone(), otherwise }))
    }

    /// Lets nothing out but a value, and nothing in while it rests.
    pub(super) fn guard<T>(&self, now_ms: u64, ask: impl FnOnce() -> T) -> Result<T, Comparison> {
        if now_ms < self.resting_until_ms.load(Ordering::Relaxed) {
            return Err(Comparison::Resting);
        }
        let began = Instant::now();
        // What is asked changes nothing, so that nothing can be left half changed.
        let asked = catch_unwind(AssertUnwindSafe(ask));
        let took = began.elapsed();
        let rest_ms = match &asked {
            Err(_panic) => REST_AFTER_PANIC_MS,
            Ok(_) if took > SLOW => {
                u64::try_from(took.as_millis()).unwrap_or(u64::MAX).saturating_mul(REST_PER_SLOW)
            }
            Ok(_) => 0,
        };
        if rest_ms > 0 {
            self.resting_until_ms.store(now_ms.saturating_add(rest_ms), Ordering::Relaxed);
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(candidate = %self.digest, took_ms, rest_ms, failed = asked.is_err(), "the candidate rests");
        }
        asked.map_err(|_panic| Comparison::Failed)
    }

    /// `None`: what it asks for is not at hand.
    fn ask(
        &self,
        decider: &Decider,
        decided: &Decided<'_>,
        judgement: &Judgement,
        now_ms: u64,
    ) -> Option<Conclusion> {
        let Decided { call, caller, .. } = decided;
        let own_head;
        let head = if self.shares_heads {
            decided.head
        } else {
            match RequestHead::parse(call.pairs.iter().copied(), self.bundle.contract.identity_headers()) {
                Ok(head) => {
                    own_head = head;
                    &own_head
                }
                Err(reason) => {
                    return Some(Conclusion::because(reason, "the head cannot be read".to_owned()));
                }
            }
        };
        let matched = match find_operation(&self.bundle.contract, head) {
            Ok(matched) => matched,
            Err(reason) => {
                let detail = "the candidate's contracts do not have the operation".to_owned();
                return Some(Conclusion::because(reason, detail));
            }
        };
        let shares =
            self.shares_callers && decider.bundle.accepted(decided.matched) == self.bundle.accepted(matched);
        let caller = match (shares, &self.sources) {
            (true, _) => Cow::Borrowed(*caller),
            (false, Ok(sources)) => Cow::Owned(identify(&self.bundle, sources, *call, Some(matched), now_ms)),
            (false, Err(_)) => return None,
        };
        let caller = match caller.as_ref() {
            Ok(caller) => caller,
            // Nobody waits for an answer about an answer that nobody gets.
            Err(unproven) if unproven.awaits.is_some() => return None,
            Err(unproven) => return Some(Conclusion::because(unproven.reason, unproven.detail.clone())),
        };
        let asks = usize::try_from(matched.index.0).ok().and_then(|index| self.bundle.contexts.get(index));
        let Some(asks) = asks else {
            return Some(Conclusion::because(Reason::Internal, "the operation has no context".to_owned()));
        };
        let known = (decided, judgement.values.as_deref());
        let values = match self.values(known, decider, (matched, asks, head))? {
            Ok(values) => values,
            Err(context::Unreadable { reason, detail }) => return Some(Conclusion::because(reason, detail)),
        };
        let question = Question {
            caller,
            matched,
            path: head.target.path(),
            host: head.authority.host(),
            asks,
            values: &values,
            // Whoever masks it: what the candidate says stands in an entry of the bundle in force.
            conceals: decider.bundle.recordings.operation(Some(decided.matched.index)).conceals
                || self.bundle.recordings.operation(Some(matched.index)).conceals,
            // What its own shadows would make of it is asked when it is in force.
            shadows_at_ms: None,
        };
        // Only then is a question made of the same things.
        let is_same = self.shares_heads
            && shares
            && matches!(values, Cow::Borrowed(_))
            && matched.operation.method == decided.matched.operation.method;
        let answer = match judgement.posed.as_ref().filter(|_| is_same) {
            Some(posed) => self.bundle.policies.answer_again(question, posed),
            None => self.bundle.policies.answer(question).0,
        };
        let (decision, policies, errors) = concluded(answer);
        Some(Conclusion { decision, policies, errors })
    }

    /// What its policies are asked about. What was read already is not read again.
    fn values<'j>(
        &self,
        (decided, known): (&Decided<'_>, Option<&'j [Option<Value>]>),
        decider: &Decider,
        (matched, asks, head): (Matched<'_>, &OperationContext, &RequestHead<'_>),
    ) -> Option<Result<Cow<'j, [Option<Value>]>, context::Unreadable>> {
        let place = usize::try_from(matched.index.0).ok();
        let shared = place.and_then(|place| self.shares_values.get(place).copied().flatten());
        if shared == Some(decided.matched.index)
            && let Some(values) = known
        {
            return Some(Ok(Cow::Borrowed(values)));
        }
        // The proxy hands a body over where policies of the bundle in force may ask for it.
        let asks_for_body = |asks: &OperationContext| asks.part(ContextPart::Body).next().is_some();
        let theirs = usize::try_from(decided.matched.index.0).ok();
        let theirs = theirs.and_then(|index| decider.bundle.contexts.get(index));
        if asks_for_body(asks) && !theirs.is_some_and(asks_for_body) {
            return None;
        }
        let request = Request { head, pairs: decided.call.pairs, body: decided.body, now_ms: 0 };
        Some(context::read(asks, matched, request).map(Cow::Owned))
    }
}

/// How callers prove who they are, as it prints: with the places where it is written. Two that differ in nothing else
/// are taken to differ, which is slower and not wrong.
fn identities(bundle: &Bundle) -> String {
    format!("{:?} {:?}", bundle.palisade.identity, bundle.palisade.trust_domains)
}

/// Operations that have one name, that stand under one path, and whose policies may ask for the same.
fn shared_values(active: &Bundle, candidate: &Bundle) -> Vec<Option<OperationIndex>> {
    let name = |matched: Matched<'_>| (matched.service.name.to_string(), matched.operation.name.to_string());
    let known: HashMap<_, _> =
        active.operations().map(|(matched, asks)| (name(matched), (matched, asks))).collect();
    let shared = candidate.operations().map(|(matched, asks)| {
        let (theirs, their_asks) = known.get(&name(matched))?;
        let is_same =
            theirs.operation.template == matched.operation.template && their_asks.fields == asks.fields;
        is_same.then_some(theirs.index)
    });
    shared.collect()
}
