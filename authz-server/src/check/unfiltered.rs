//! Calls of a proxy that cannot run the filter, where the bundle says `handoff.mode: optional`: the server judges alone what
//! it is shown.
//!
//! INVARIANT: a handoff that was sent must hold all the same, and no policy is told of a body that did not come whole.

use super::judge::Judgement;
use super::trust::Trust;
use super::{Body, Call, Decider};
use crate::bundle::format::HandoffMode;
use palisade_core::contract::Matched;
use palisade_core::exchange::{judge_unseen, judge_whole};
use palisade_core::handoff::HEADER;
use palisade_core::head::RequestHead;
use palisade_core::violation::Violation;

impl Decider {
    /// Says once of each bundle in force what it does without.
    pub(crate) fn tell_what_is_lost(&self) {
        if self.bundle.palisade.handoff.mode.value == HandoffMode::Optional {
            tracing::warn!(
                bundle = %self.bundle.digest,
                "calls may come without the filter (`handoff.mode: optional`): for those nothing proves that the proxy holds \
                 a body until it was judged, responses are not judged, no load is shed, and refusals are not reported"
            );
        }
    }

    /// What a call without one handoff is worth.
    pub(super) fn without_handoff(&self, call: Call<'_>) -> Trust {
        let optional = self.bundle.palisade.handoff.mode.value == HandoffMode::Optional;
        let none = call.pairs.iter().all(|(name, _)| !name.eq_ignore_ascii_case(HEADER.as_bytes()));
        if optional && none { Trust::NotRequired } else { Trust::missing() }
    }

    /// Judges head and body as the filter would, as far as they can be seen, and says what policies may read of the body.
    pub(super) fn judge_alone<'a>(
        &self,
        head: &RequestHead<'_>,
        call: Call<'a>,
        matched: Option<Matched<'_>>,
        now_ms: u64,
    ) -> Result<Body<'a>, Box<Judgement>> {
        // An operation that nobody knows is refused by whoever judges next.
        let Some(matched) = matched else { return Ok(call.body) };
        let (contract, pairs) = (&self.bundle.contract, call.pairs.iter().copied());
        let (judged, body) = match call.body {
            Body::Whole(bytes) => {
                (judge_whole(contract, matched, head, pairs, Some(bytes), now_ms), call.body)
            }
            Body::None | Body::Unproven(_) => {
                // Whether there is a body that did not come, nobody can say: a proxy shows one only if it was told to.
                let ended = matched.operation.body.is_none() && call.body == Body::None;
                let unseen = Body::Unproven(
                    "the call did not come through the filter, and its body not whole with the Check",
                );
                let body = if ended { Body::None } else { unseen };
                (judge_unseen(contract, matched, head, pairs, ended, now_ms), body)
            }
        };
        match judged {
            Ok(_watched) => Ok(body),
            Err(Violation { reason, place, .. }) => {
                let detail = if place.is_empty() {
                    "judged without the filter".to_owned()
                } else {
                    format!("judged without the filter, at `{place}`")
                };
                Err(Box::new(Judgement::because(reason, detail)))
            }
        }
    }
}
