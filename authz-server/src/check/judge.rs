//! The part of a decision that needs neither proxy nor credentials: what is asked, and may the caller do it.
//!
//! INVARIANT: `palisade test` and the server decide by this code, so that a test says what the server will do.

use super::Decision;
use super::body::Body;
use super::callers::Unproven;
use super::context::{self, Unreadable};
use crate::bundle::{Bundle, OperationContext};
use crate::cedar::{Answer, Posed, Question};
use crate::identity::Established;
use crate::ledger;
use crate::value::Value;
use palisade_core::canary;
use palisade_core::contract::Matched;
use palisade_core::exchange::{find_operation, judge_whole};
use palisade_core::head::RequestHead;
use palisade_core::reason::Reason;
use palisade_core::routes::OperationIndex;
use palisade_core::violation::Violation;

/// A request that somebody describes, with the caller that it would be proven to come from.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub method: &'a str,
    /// With or without a port.
    pub host: &'a str,
    /// Path and query, as they would be sent.
    pub target: &'a str,
    /// Names in lower case. A body needs its `content-type`; `content-length` is not needed.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: Option<&'a [u8]>,
    pub caller: &'a Established,
}

/// Who came to a conclusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// The request breaks a rule that needs no caller: the server would not be asked.
    Filter,
    Server,
}

/// A conclusion, with everything that it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub by: Judge,
    /// `None` where no contract claims the request.
    pub operation: Option<OperationIndex>,
    pub decision: Decision,
    /// The ids of the policies that determined the decision. None on a denial: none permits.
    pub policies: Vec<String>,
    /// What went wrong while policies were evaluated; an allow has none.
    pub errors: Vec<String>,
    /// What would have been decided if the shadow policies counted. `None` where the bundle has none, or where the
    /// decision was made before policies were asked.
    pub shadow: Option<Shadow>,
    /// What the policies were asked: the request's value for each field of the operation's context. `None` where the
    /// decision was made before.
    pub values: Option<Vec<Option<Value>>>,
    /// The question that was made of them.
    pub posed: Option<Posed>,
}

/// A decision that was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    pub decision: Decision,
    pub policies: Vec<String>,
    pub errors: Vec<String>,
}

impl Shadow {
    /// Whether the caller would have had another answer.
    fn disagrees(&self, decision: Decision) -> bool {
        self.decision != decision
    }

    fn record(&self) -> ledger::Shadow {
        let Shadow { decision, policies, errors } = self.clone();
        let decision = match decision {
            Decision::Allow => ledger::Conclusion::Allow,
            Decision::Deny { .. } => ledger::Conclusion::Deny,
        };
        ledger::Shadow { decision, policies, errors }
    }
}

impl Judgement {
    fn denied(by: Judge, operation: Option<OperationIndex>, reason: Reason) -> Judgement {
        Judgement {
            by,
            operation,
            decision: Decision::Deny { reason },
            policies: Vec::new(),
            errors: Vec::new(),
            shadow: None,
            values: None,
            posed: None,
        }
    }

    /// What the shadows would have decided, where that is something else.
    pub(crate) fn disagreement(&self) -> Option<ledger::Shadow> {
        self.shadow.as_ref().filter(|shadow| shadow.disagrees(self.decision)).map(Shadow::record)
    }

    pub(super) fn because(reason: Reason, error: String) -> Judgement {
        Judgement { errors: vec![error], ..Judgement::denied(Judge::Server, None, reason) }
    }
}

/// Rules in shadow refuse nothing yet, and tools tell what a bundle does as it is.
const WHILE_SHADOWS_HOLD_MS: u64 = 0;

impl Bundle {
    /// Decides on a request as filter and server together would, given who the caller is. Pure.
    pub fn decide(&self, asked: &Asked<'_>) -> Judgement {
        let pseudo = [
            (":method", asked.method),
            (":path", asked.target),
            (":authority", asked.host),
            (":scheme", "http"),
        ];
        let pairs: Vec<(&[u8], &[u8])> = pseudo
            .iter()
            .chain(asked.headers)
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        let head = match RequestHead::parse(pairs.iter().copied(), self.contract.identity_headers()) {
            Ok(head) => head,
            Err(reason) => return Judgement::denied(Judge::Filter, None, reason),
        };
        let matched = find_operation(&self.contract, &head);
        let judged = matched.map_err(Violation::from).and_then(|matched| {
            let contract = &self.contract;
            judge_whole(contract, matched, &head, pairs.iter().copied(), asked.body, WHILE_SHADOWS_HOLD_MS)
        });
        if let Err(Violation { reason, place, .. }) = judged {
            let operation = matched.ok().map(|matched| matched.index);
            let errors = if place.is_empty() { Vec::new() } else { vec![format!("at `{place}`")] };
            return Judgement { errors, ..Judgement::denied(Judge::Filter, operation, reason) };
        }
        self.judge(
            Request {
                head: &head,
                pairs: &pairs,
                body: asked.body.map_or(Body::None, Body::Whole),
                now_ms: WHILE_SHADOWS_HOLD_MS,
            },
            matched,
            Ok(asked.caller.clone()),
        )
    }

    /// Everything after the handoff: what is asked, by whom, and may they.
    pub(super) fn judge(
        &self,
        request: Request<'_>,
        matched: Result<Matched<'_>, Reason>,
        caller: Result<Established, Unproven>,
    ) -> Judgement {
        let matched = match matched {
            Ok(matched) => matched,
            Err(reason) => return Judgement::denied(Judge::Server, None, reason),
        };
        let operation = Some(matched.index);
        if matched.service.name.as_ref() == canary::SERVICE {
            return Judgement::denied(Judge::Server, operation, Reason::Canary);
        }
        let caller = match caller {
            Ok(caller) => caller,
            Err(Unproven { reason, detail, .. }) => {
                return Judgement { operation, ..Judgement::because(reason, detail) };
            }
        };
        let head = request.head;
        let context = usize::try_from(matched.index.0).ok().and_then(|index| self.contexts.get(index));
        let Some(asks) = context else {
            let error = "the bundle has no context for the operation".to_owned();
            return Judgement { operation, ..Judgement::because(Reason::Internal, error) };
        };
        let values = match context::read(asks, matched, request) {
            Ok(values) => values,
            Err(Unreadable { reason, detail }) => {
                return Judgement { operation, ..Judgement::because(reason, detail) };
            }
        };
        let at = (head.authority.host(), head.target.path());
        self.ask(&caller, matched, at, (asks, values), request.now_ms)
    }

    /// What the policies say of one request, with the shadows of that time. A decision that is made again is made by
    /// this, too.
    pub(crate) fn ask(
        &self,
        caller: &Established,
        matched: Matched<'_>,
        (host, path): (&str, &str),
        (asks, values): (&OperationContext, Vec<Option<Value>>),
        at_ms: u64,
    ) -> Judgement {
        let operation = Some(matched.index);
        let conceals = self.recordings.operation(operation).conceals;
        let shadows_at_ms = Some(at_ms);
        let question =
            Question { caller, matched, path, host, asks, values: &values, conceals, shadows_at_ms };
        let (answer, shadow, posed) = self.policies.answer(question);
        let shadow = shadow.map(|answer| {
            let (decision, policies, errors) = concluded(answer);
            Shadow { decision, policies, errors }
        });
        let (decision, policies, errors) = concluded(answer);
        let (by, values) = (Judge::Server, Some(values));
        Judgement { by, operation, decision, policies, errors, shadow, values, posed }
    }
}

/// A request whose head was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) head: &'a RequestHead<'a>,
    pub(super) pairs: &'a [(&'a [u8], &'a [u8])],
    pub(super) body: Body<'a>,
    pub(super) now_ms: u64,
}

pub(super) fn concluded(answer: Answer) -> (Decision, Vec<String>, Vec<String>) {
    match answer {
        Answer::Allow { policies } => (Decision::Allow, policies, Vec::new()),
        Answer::Deny { policies } => (Decision::Deny { reason: Reason::PolicyDenied }, policies, Vec::new()),
        Answer::Error { policies, errors } => {
            (Decision::Deny { reason: Reason::PolicyError }, policies, errors)
        }
    }
}

#[cfg(test)]
mod tests;
