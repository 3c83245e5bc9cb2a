//! What becomes of calls that the server itself cannot decide or record in time: refused, or by the fail mode of their class
//! allowed, and counted into the ledger either way.
//!
//! INVARIANT: what is allowed here was vouched for by the filter, and its credentials hold; a denial for any other reason
//! than ours stays one.

use super::{Answered, FAILED_OPEN, Kind, Service, Source, now_ms, refused, undecided};
use crate::bundle::format::FailMode;
use crate::check::{Call, Concluded, Decider, Decision};
use crate::ledger::{Conclusion, Entry};
use crate::serve::counted::Counted;
use palisade_core::call_id::CallId;
use palisade_core::reason::Reason;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Service {
    /// What becomes of a call that cannot be decided for a reason of our own: its class says.
    pub(super) fn undecided(
        &self,
        decider: &Decider,
        source: &impl Source,
        fallback: CallId,
        (reason, detail): (Reason, &str),
    ) -> Concluded {
        let describe = |call: Call<'_>| decider.undecided(call, now_ms(), fallback, (reason, detail));
        // What cannot even be described without a panic is recorded as nothing but a call.
        let described = catch_unwind(AssertUnwindSafe(|| source.with_call(describe)));
        let mut concluded = described.unwrap_or_else(|_panic| describe(Call::NONE));
        // A denial for another reason, such as a missing handoff, stands.
        if concluded.decision == (Decision::Deny { reason }) && concluded.fail_mode == FailMode::Open {
            concluded.decision = Decision::Allow;
            concluded.failed_open = Some(reason);
            concluded.record.decision = Conclusion::Allow;
            concluded.record.reason = FAILED_OPEN.to_owned();
        }
        concluded
    }

    /// Too many calls are under way: the answer is given at once.
    pub(super) fn refuse_for_load(
        &self,
        decider: &Decider,
        source: &impl Source,
        fallback: CallId,
    ) -> Answered {
        self.metrics.refused_for_load();
        let (reason, at_ms) = (Reason::Overloaded, now_ms());
        let epoch = decider.epoch.to_string();
        let mut kind = Kind { allowed: false, reason, service: String::new(), operation: String::new() };
        if !decider.bundle.palisade.failure.any_open() {
            if self.tallies.is_single(at_ms) {
                let too_many = (reason, "too many calls were under way");
                let concluded = self.undecided(decider, source, fallback, too_many);
                let call_id = concluded.call_id;
                self.metrics.storms.decided(&concluded);
                if self.ledger.append_soon(&Entry::Decision(concluded.record)).is_ok() {
                    return refused(reason, call_id, epoch);
                }
            }
            self.tallies.count(kind, at_ms);
            return refused(reason, fallback, epoch);
        }
        // A policy's denial holds whatever the load, so that nothing is let through undecided that can be decided.
        let decided =
            catch_unwind(AssertUnwindSafe(|| source.with_call(|call| decider.decide(call, at_ms, fallback))));
        let Ok(decided) = decided else {
            self.tallies.count(kind, at_ms);
            return refused(reason, fallback, epoch);
        };
        self.metrics.storms.decided(&decided);
        let Concluded { decision, call_id, mut record, fail_mode, .. } = decided;
        kind.allowed = decision == Decision::Allow && fail_mode == FailMode::Open;
        (kind.service, kind.operation) = (record.service.clone(), record.operation.clone());
        if kind.allowed {
            record.reason = FAILED_OPEN.to_owned();
        } else if decision == Decision::Allow {
            record.decision = Conclusion::Deny;
            record.reason = reason.code().to_owned();
        }
        let allowed = kind.allowed;
        let counted = Counted::of(&decider.bundle, &record);
        let is_stored = self.ledger.append_soon(&Entry::Decision(record)).is_ok();
        if !is_stored {
            self.tallies.count(kind, at_ms);
        }
        match decision {
            Decision::Allow if allowed => {
                self.metrics.failed_open(reason);
                Answered { decision, call_id, epoch, advice: None, failed_open: Some(reason), counted }
            }
            Decision::Deny { reason } if is_stored => refused(reason, call_id, epoch),
            Decision::Allow | Decision::Deny { .. } => refused(reason, call_id, epoch),
        }
    }

    /// A call is refused although its entry, if it has one, may say otherwise: counted, and entered as that.
    pub(crate) fn refused_after_all(&self) {
        self.metrics.not_recorded();
        let reason = Reason::Internal;
        let kind = Kind { allowed: false, reason, service: String::new(), operation: String::new() };
        self.tallies.count(kind, now_ms());
    }

    /// Enters what was answered without an entry, again and again.
    pub(crate) async fn enter_tallies_regularly(&self) {
        undecided::enter_regularly(&self.tallies, &self.ledger).await;
    }

    /// The same once more, before the ledger is closed.
    pub(crate) async fn enter_tallies(&self) {
        self.tallies.enter(&self.ledger).await;
    }
}
