//! Where decisions and refusals are observed, and what becomes of a spike: a metric, a line in the log, an entry.
//!
//! INVARIANT: nothing here waits, and nothing here changes a decision.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use palisade_core::reason::Reason;

use super::{Detector, Kind, Observed, SEVERAL, Seen};
use crate::ledger::{Admin, AdminEvent, Conclusion, Decision, Entry, Ledger, Refusal, Spike, Verdict};
use crate::telemetry::Metrics;

/// Stands for a caller whom nobody proved.
const UNKNOWN: &str = "-";

/// The detector of a server.
#[derive(Debug)]
pub struct SpikeWatch {
    begun: Instant,
    detector: Mutex<Detector>,
}

impl Default for SpikeWatch {
    fn default() -> SpikeWatch {
        SpikeWatch { begun: Instant::now(), detector: Mutex::default() }
    }
}

impl SpikeWatch {
    /// Observes a decision; what begins with it.
    #[must_use]
    pub fn decided(&self, decision: &Decision) -> Option<Spike> {
        let caller = if decision.principal.is_empty() { UNKNOWN } else { &decision.principal };
        self.observe(kinds(decision), caller, &decision.service, &decision.operation)
    }

    /// Observes what the filter reports; what begins with it.
    #[must_use]
    pub fn refused(&self, refusal: &Refusal) -> Option<Spike> {
        let Refusal { verdict, service, operation, peer, .. } = refusal;
        match verdict {
            Verdict::Reject => {
                self.observe(&[Kind::BadRequest], peer.as_deref().unwrap_or(UNKNOWN), service, operation)
            }
            // It says more about the load than about the request.
            Verdict::Shed => None,
        }
    }

    fn observe(&self, kinds: &[Kind], caller: &str, service: &str, operation: &str) -> Option<Spike> {
        if kinds.is_empty() {
            return None;
        }
        let now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Counts that were held while something panicked are still counts.
        let mut detector = self.detector.lock().unwrap_or_else(PoisonError::into_inner);
        match detector.observe(Observed { kinds, caller, service, operation }, now_ms) {
            Seen::Begins(spike) => Some(spike),
            Seen::Usual | Seen::Told => None,
        }
    }
}

/// What a decision is, the narrowest first.
fn kinds(decision: &Decision) -> &'static [Kind] {
    let is_malformed = |code: &str| {
        [Reason::ParameterMissing, Reason::ParameterMalformed].iter().any(|reason| reason.code() == code)
    };
    match decision.decision {
        Conclusion::Allow => &[],
        // It is denied always, and asked for by whoever looks whether it is.
        Conclusion::Deny if decision.reason == Reason::Canary.code() => &[],
        Conclusion::Deny if is_malformed(&decision.reason) => &[Kind::BadRequest, Kind::Denial],
        Conclusion::Deny if matches!(decision.class.as_str(), "write" | "delete") => {
            &[Kind::UnauthorisedWrite, Kind::Denial]
        }
        Conclusion::Deny => &[Kind::Denial],
    }
}

/// Tells of a spike in every way that there is.
pub(crate) fn tell(spike: Spike, at_ms: u64, ledger: &Ledger, metrics: &Metrics) {
    let Spike { kind, caller, service, operation, count, usual, window_s } = &spike;
    metrics.spike(kind);
    tracing::warn!(kind, caller, service, operation, count, usual, window_s, "far more than usual");
    let detail = detail(&spike);
    let entry = Entry::Admin(Admin { at_ms, event: AdminEvent::Spike(spike), detail });
    if let Err(error) = ledger.append_soon(&entry)
        && !error.is_told_by_the_ledger()
    {
        tracing::warn!(%error, "a spike could not be stored");
    }
}

fn detail(spike: &Spike) -> String {
    let Spike { kind, caller, service, operation, count, usual, window_s } = spike;
    let who = if caller == SEVERAL { "all callers together".to_owned() } else { format!("`{caller}`") };
    let what = Kind::ALL.into_iter().find(|known| known.name() == kind);
    let what = match what {
        Some(Kind::BadRequest) => "bad requests",
        Some(Kind::UnauthorisedWrite) => "denied writes",
        Some(Kind::Denial) | None => "denials",
    };
    let place = match (service.as_str(), operation.as_str()) {
        (SEVERAL, _) => String::new(),
        (_, "") => ", at no operation of a contract".to_owned(),
        (service, operation) => format!(", at {service}.{operation}"),
    };
    format!("{who}: {count} {what} within {window_s} s, usually {usual}{place}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::sample;

    #[test]
    fn denials_count_by_what_they_are_and_the_rest_not_at_all() {
        let denied = |class: &str, reason: &str| Decision {
            class: class.to_owned(),
            reason: reason.to_owned(),
            ..sample::denied("id", 0)
        };
        assert_eq!(kinds(&sample::decision("id", 0)), []);
        assert_eq!(kinds(&denied("read", "canary")), []);
        assert_eq!(kinds(&denied("read", "policy_denied")), [Kind::Denial]);
        assert_eq!(kinds(&denied("", "identity_invalid")), [Kind::Denial]);
        for class in ["write", "delete"] {
            assert_eq!(kinds(&denied(class, "policy_denied")), [Kind::UnauthorisedWrite, Kind::Denial]);
        }
        let malformed = denied("write", "parameter_malformed");
        assert_eq!(kinds(&malformed), [Kind::BadRequest, Kind::Denial]);
    }

    #[test]
    fn one_flood_is_told_once_and_not_as_a_wider_one_too() {
        let watch = SpikeWatch::default();
        let decision = sample::denied("id", 0);
        let told: Vec<Spike> = (0..2_000).filter_map(|_| watch.decided(&decision)).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].kind.as_str(), told[0].caller.as_str()), ("unauthorised_write", "web"));
        assert_eq!(detail(&told[0]), "`web`: 20 denied writes within 10 s, usually 0, at orders.deleteOrder");
    }

    #[test]
    fn reports_of_the_filter_count_unless_they_are_about_load() {
        let watch = SpikeWatch::default();
        let refusal = Refusal { peer: None, ..sample::refusal("id", 0) };
        let shed = Refusal { verdict: Verdict::Shed, ..refusal.clone() };
        assert!((0..1_000).all(|_| watch.refused(&shed).is_none()));
        let told: Vec<Spike> = (0..100).filter_map(|_| watch.refused(&refusal)).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].kind.as_str(), told[0].caller.as_str()), ("bad_request", UNKNOWN));
        let nowhere = Spike { service: String::new(), operation: String::new(), ..told[0].clone() };
        assert_eq!(
            detail(&nowhere),
            "`-`: 20 bad requests within 10 s, usually 0, at no operation of a contract"
        );
        let all =
            Spike { caller: SEVERAL.into(), service: SEVERAL.into(), operation: SEVERAL.into(), ..nowhere };
        assert_eq!(detail(&all), "all callers together: 20 bad requests within 10 s, usually 0");
    }
}
