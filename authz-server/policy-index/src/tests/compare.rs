//! One request asked both ways, and the figures of many.
//!
//! INVARIANT: what the index says is compared whole: decision, determining policies, and every error with its policy.

use crate::{Answer, Caller, Conclusion, Index, Person};
use cedar_policy::{Authorizer, Decision, Entities, EntityUid, PolicyId, PolicySet, Request};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Policies and entities, in the index and beside it.
pub(super) struct Both {
    pub(super) index: Index,
    counted: PolicySet,
    all: PolicySet,
}

/// How many requests came out how.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) requests: u64,
    pub(super) allowed: u64,
    pub(super) denied: u64,
    pub(super) failed: u64,
    brought: u64,
    shadowed: u64,
    policies: u64,
    candidates: u64,
}

impl Both {
    pub(super) fn new(policies: PolicySet, shadows: &HashSet<PolicyId>, entities: &Arc<Entities>) -> Both {
        let mut counted = policies.clone();
        for id in shadows {
            let removed = match policies.policy(id) {
                Some(policy) if policy.is_static() => counted.remove_static(id.clone()),
                _ => counted.unlink(id.clone()),
            };
            removed.unwrap();
        }
        let lasting = shadows.iter().map(|id| (id.clone(), u64::MAX)).collect();
        let index = Index::new(policies.clone(), &lasting, Arc::clone(entities)).unwrap();
        Both { index, counted, all: policies }
    }

    /// A caller that the store has, or nobody has.
    pub(super) fn declared(&self, request: &Request, figures: &mut Figures) -> Result<(), String> {
        let answer = self.index.answer(request, Caller::Declared, Some(0)).unwrap();
        self.compare(request, &answer, self.index.entities(), figures)
    }

    /// A caller that comes with the request. `whole` is the store with the person in it.
    pub(super) fn brought(
        &self,
        request: &Request,
        (person, named): (&Person, &[EntityUid]),
        whole: &Entities,
        figures: &mut Figures,
    ) -> Result<(), String> {
        figures.brought += 1;
        let answer = self.index.answer(request, Caller::Brought { person, named }, Some(0)).unwrap();
        self.compare(request, &answer, whole, figures)
    }

    fn compare(
        &self,
        request: &Request,
        answer: &Answer,
        entities: &Entities,
        figures: &mut Figures,
    ) -> Result<(), String> {
        let plain = |set| Conclusion::from(&Authorizer::new().is_authorized(request, set, entities));
        let counted = plain(&self.counted);
        figures.count(answer, &counted, self.all.num_of_policies());
        if answer.counted != counted {
            return Err(format!("{request}\nindex: {:?}\nCedar: {counted:?}", answer.counted));
        }
        let shadowed =
            (self.counted.num_of_policies() != self.all.num_of_policies()).then(|| plain(&self.all));
        figures.shadowed += u64::from(shadowed.is_some());
        if answer.with_shadows != shadowed {
            return Err(format!("{request}\nindex: {:?}\nCedar: {shadowed:?}", answer.with_shadows));
        }
        Ok(())
    }
}

impl Figures {
    fn count(&mut self, answer: &Answer, counted: &Conclusion, policies: usize) {
        self.requests += 1;
        self.policies += policies as u64;
        self.candidates += answer.candidates as u64;
        let kind = match (counted.errors.is_empty(), counted.decision) {
            (false, _) => &mut self.failed,
            (true, Decision::Allow) => &mut self.allowed,
            (true, Decision::Deny) => &mut self.denied,
        };
        *kind += 1;
    }

    pub(super) fn share(&self, part: u64) -> f64 {
        part as f64 / self.requests.max(1) as f64
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part| 100.0 * self.share(part);
        write!(
            f,
            "{} requests: allow {:.1} %, deny {:.1} %, error {:.1} %; brought {:.1} %, with shadows {:.1} %; \
             mean policies {:.1}, mean candidates {:.2}",
            self.requests,
            percent(self.allowed),
            percent(self.denied),
            percent(self.failed),
            percent(self.brought),
            percent(self.shadowed),
            self.share(self.policies),
            self.share(self.candidates),
        )
    }
}
