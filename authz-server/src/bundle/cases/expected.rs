//! What must come out, looked up: reason codes and policies that exist.

use super::checked::Checking;
use super::format::{ExpectRules, Expected, ShadowRules};
use super::{Expectation, ShadowExpectation};
use crate::bundle::problem::Problem;
use crate::bundle::record::Placed;
use crate::cedar::Mode;
use palisade_core::reason::Reason;

impl Checking<'_, '_> {
    pub(super) fn expectation(&mut self, rules: &ExpectRules) -> Option<Expectation> {
        let ExpectRules { decision, reason, policies, shadow } = rules;
        let allowed = *decision == Expected::Allow;
        let reason = match reason {
            None => None,
            Some(reason) if allowed => {
                let help = "remove it: an allowed request has policies, and no reason code";
                self.reader.wrong(reason.at, "`reason` beside `decision: allow`", help);
                return None;
            }
            Some(reason) => Some(self.reason(reason)?),
        };
        let policies = match policies {
            None => None,
            Some(policies) => Some(self.policy_ids(policies, false)?),
        };
        let shadow = match shadow {
            None => None,
            Some(shadow) => Some(self.shadow(shadow)?),
        };
        Some(Expectation { allowed, reason, policies, shadow })
    }

    fn shadow(&mut self, rules: &Placed<ShadowRules>) -> Option<ShadowExpectation> {
        if self.policies.values().all(|mode| *mode == Mode::Enforced) {
            let help = "remove it: nothing would be different from `decision`";
            self.reader.wrong(rules.at, "the bundle has no shadow policies", help);
            return None;
        }
        let ShadowRules { decision, policies } = &rules.value;
        let policies = match policies {
            None => None,
            Some(policies) => Some(self.policy_ids(policies, true)?),
        };
        Some(ShadowExpectation { allowed: *decision == Expected::Allow, policies })
    }

    fn policy_ids(&mut self, policies: &[Placed<String>], shadows: bool) -> Option<Vec<String>> {
        let known: Vec<_> = policies.iter().filter_map(|policy| self.policy(policy, shadows)).collect();
        let mut ids: Vec<String> = (known.len() == policies.len()).then_some(known)?;
        ids.sort();
        ids.dedup();
        Some(ids)
    }

    fn reason(&mut self, reason: &Placed<String>) -> Option<Reason> {
        let found = Reason::from_code(&reason.value);
        if found.is_none() {
            let message = format!("`{}` is not a reason code", reason.value);
            let problem = Problem::new(self.reader.place(reason.at), message)
                .suggest(&reason.value, Reason::ALL.iter().map(|reason| reason.code()))
                .help("the codes are those of the replies; the README lists them");
            self.reader.push(problem);
        }
        found
    }

    fn policy(&mut self, policy: &Placed<String>, shadows: bool) -> Option<String> {
        match self.policies.get(policy.value.as_str()) {
            Some(Mode::Shadow) if !shadows => {
                let message = format!("policy `{}` is a shadow and determines nothing", policy.value);
                let help = "name it under `shadow`, which says what would be decided if it counted";
                self.reader.wrong(policy.at, message, help);
                None
            }
            Some(_) => Some(policy.value.clone()),
            None => {
                let message = format!("there is no policy `{}`", policy.value);
                let problem = Problem::new(self.reader.place(policy.at), message)
                    .suggest(&policy.value, self.policies.keys().copied())
                    .help("policies are named by their `@id`");
                self.reader.push(problem);
                None
            }
        }
    }
}
