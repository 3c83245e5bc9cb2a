//! Why a request is decided as it is: who decided, and where policies did, what each of them made of it.
//!
//! INVARIANT: the decision is made by the code that makes all of them, and what is told of it is of the same question.

use super::judge::{Asked, Judge, Judgement};
use crate::bundle::Bundle;
use crate::cedar::Question;
use crate::identity::Established;
use crate::value::Value;
use palisade_core::authority::Authority;
use palisade_core::contract::Matched;
use palisade_explain::Explanation;

/// A decision with its explanation.
#[derive(Debug)]
pub struct Told {
    pub judgement: Judgement,
    /// `None`: policies were not asked, and the reason says all.
    pub explanation: Option<Explanation>,
}

impl Bundle {
    /// Decides like `decide`, and says why.
    pub fn explain(&self, asked: &Asked<'_>) -> Result<Told, String> {
        let judgement = self.decide(asked);
        let matched = judgement.operation.and_then(|index| self.contract.operation(index));
        let (Some(values), Some(matched), Judge::Server) = (&judgement.values, matched, judgement.by) else {
            return Ok(Told { judgement, explanation: None });
        };
        let host = Authority::parse(asked.host.as_bytes()).map_err(|_| "its host is none".to_owned())?;
        let path = asked.target.split_once('?').map_or(asked.target, |(path, _)| path);
        let explanation = self.explain_values(asked.caller, matched, (host.host(), path), values)?;
        Ok(Told { judgement, explanation: Some(explanation) })
    }

    /// Why policies say what they say of one request.
    pub(crate) fn explain_values(
        &self,
        caller: &Established,
        matched: Matched<'_>,
        (host, path): (&str, &str),
        values: &[Option<Value>],
    ) -> Result<Explanation, String> {
        let asks = usize::try_from(matched.index.0).ok().and_then(|index| self.contexts.get(index));
        let asks = asks.ok_or("the operation has no context")?;
        let conceals = self.recordings.operation(Some(matched.index)).conceals;
        self.policies.explain(Question {
            caller,
            matched,
            path,
            host,
            asks,
            values,
            conceals,
            shadows_at_ms: None,
        })
    }
}
