//! The question that policies were asked, for whoever explains their answer; and what callers may be told of it.
//!
//! INVARIANT: an explanation is of the same request, policies and entities as the answer; shadows are no part of it.

use super::policies::{Effect, Mode, Named};
use super::{Policies, Question};
use crate::identity::Identity;
use palisade_explain::{Explanation, explain};
use std::collections::HashMap;
use std::sync::Arc;

pub(super) fn advice(named: &[Named<'_>]) -> HashMap<String, Arc<str>> {
    let policies = named.iter().map(|named| &named.summary);
    let telling = policies.filter(|policy| policy.effect == Effect::Forbid && policy.mode == Mode::Enforced);
    telling.filter_map(|policy| Some((policy.id.clone(), policy.advice.as_deref()?.into()))).collect()
}

impl Policies {
    /// What the caller is told of a denial by these policies: the first advice by their order.
    pub fn advice(&self, denying: &[String]) -> Option<Arc<str>> {
        denying.iter().find_map(|id| self.advice.get(id)).cloned()
    }

    /// Why the answer to a question is what it is.
    pub fn explain(&self, question: Question<'_>) -> Result<Explanation, String> {
        let hidden: Vec<Vec<String>> = question
            .asks
            .fields
            .iter()
            .filter(|field| field.mask.is_some())
            .map(|field| {
                let part = field.part.name().to_owned();
                std::iter::once(part).chain(field.keys.iter().cloned()).collect()
            })
            .collect();
        let request = self.request(question).map_err(|error| {
            // Cedar's own words may hold the whole context.
            if hidden.is_empty() { error } else { super::evaluate::UNASKED.to_owned() }
        })?;
        let with_person = match &question.caller.identity {
            Identity::User(user) => Some(self.with_person(user)?),
            Identity::Workload(_) | Identity::Client(_) | Identity::Anonymous => None,
        };
        let explanation = explain(palisade_explain::Question {
            policies: self.index.counted(),
            entities: with_person.as_ref().unwrap_or(self.index.entities()),
            schema: Some(&self.schema),
            request: &request,
            anonymous: matches!(question.caller.identity, Identity::Anonymous),
            hidden: &hidden,
        });
        let mut explanation = explanation.ok_or("the request is not a whole one")?;
        for explained in explanation.policies.iter_mut().chain(&mut explanation.near_misses) {
            let known = self.all.iter().find(|policy| policy.id == explained.id);
            explained.place = known.map(|policy| policy.place.to_string());
        }
        Ok(explanation)
    }
}
