//! Decisions as they are recorded, one line each, and what the filter refused by itself.
//!
//! A refusal stands in the ledger twice, by the filter's own report and by the access log, in either order: the first
//! one is shown.
//!
//! INVARIANT: a line shows what the ledger holds and nothing else; what a caller sent cannot break out of its line.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval};

use super::follower::Notice;
use super::progress::Progress;
use crate::ledger::{Conclusion, Decision, Entry, Follow, Outcome, ReadError, Refusal, Verdict};

/// How often the ledger is looked at. A person reads along, nothing waits for it.
const POLL: Duration = Duration::from_millis(150);

/// Refusals that are remembered to be shown once. Report and access log are seconds apart.
const REMEMBERED_MAX: usize = 4096;

/// What is shown of a ledger entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    at_ms: u64,
    conclusion: Shown,
    caller: String,
    operation: String,
    /// The reason of a refusal, or the policies that allowed.
    why: String,
    id: String,
    /// Where it was measured.
    took_us: Option<u64>,
}

/// Who concluded what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Allow,
    Deny,
    /// The filter refused, so the server was never asked.
    Reject,
    /// The same, because the call was one too many.
    Shed,
}

/// The refusals that were shown lately, by their ids.
#[derive(Debug, Default)]
struct Remembered {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Remembered {
    /// Whether the line is to be shown.
    fn is_news(&mut self, line: &Line) -> bool {
        if !matches!(line.conclusion, Shown::Reject | Shown::Shed) || line.id.is_empty() {
            return true;
        }
        if !self.ids.insert(line.id.clone()) {
            return false;
        }
        self.order.push_back(line.id.clone());
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

/// Shows what `follow` gives and what happens beside, as it comes; returns only when it cannot be read. `own` is the
/// request id of what this run asks for itself, which is nobody's call.
pub(super) async fn show(
    mut follow: Follow,
    notices: &mut Receiver<Notice>,
    own: &str,
    progress: &mut Progress,
) -> ReadError {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut remembered = Remembered::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(Notice { text, object }) = notices.recv() => {
                progress.result(&text, &object);
                continue;
            }
        }
        loop {
            let entries = match follow.poll() {
                Ok(entries) => entries,
                Err(error) => return error,
            };
            if entries.is_empty() {
                break;
            }
            let others = entries.into_iter().filter(|recorded| !is_own(&recorded.entry, own));
            let lines = others.filter_map(|recorded| Line::of(&recorded.entry));
            for line in lines.filter(|line| remembered.is_news(line)) {
                progress.result(&format!("{line}\n"), &line.object());
            }
        }
    }
}

fn is_own(entry: &Entry, own: &str) -> bool {
    matches!(entry, Entry::Decision(decision) if decision.request_id.as_deref() == Some(own))
}

/// The tail of the ledger in `directory`, beginning with what is recorded after this call.
pub fn from_here(directory: &Path) -> Result<Follow, ReadError> {
    Follow::from_end(directory)
}

impl Line {
    /// What there is to show of an entry; nothing of the server's own affairs, and a decision only once.
    fn of(entry: &Entry) -> Option<Line> {
        match entry {
            Entry::Decision(decision) => Some(Line::of_decision(decision)),
            Entry::Refusal(refusal) => Some(Line::of_refusal(refusal)),
            Entry::Outcome(outcome) => Line::of_outcome(outcome),
            Entry::Admin(_) | Entry::Drift(_) | Entry::Judged(_) | Entry::Shed(_) | Entry::Load(_) => None,
        }
    }

    fn of_decision(decision: &Decision) -> Line {
        let Decision { service, operation, method, path, reason, policies, .. } = decision;
        let (conclusion, why) = match decision.decision {
            Conclusion::Allow => (Shown::Allow, policies.join(" ")),
            Conclusion::Deny => (Shown::Deny, reason.clone()),
        };
        let operation = match operation.is_empty() {
            true => format!("{method} {path}"),
            false => format!("{service}.{operation}"),
        };
        Line {
            at_ms: decision.at_ms,
            conclusion,
            caller: if decision.principal.is_empty() { "-".to_owned() } else { decision.principal.clone() },
            operation,
            why,
            id: decision.decision_id.clone(),
            took_us: Some(decision.latency_us),
        }
    }

    fn of_refusal(refusal: &Refusal) -> Line {
        let Refusal { service, operation, method, host, path, .. } = refusal;
        let operation = match operation.is_empty() {
            true => format!("{method} {host}{path}"),
            false => format!("{service}.{operation}"),
        };
        Line {
            at_ms: refusal.at_ms,
            conclusion: match refusal.verdict {
                Verdict::Reject => Shown::Reject,
                Verdict::Shed => Shown::Shed,
            },
            caller: refusal.peer.clone().unwrap_or_else(|| "-".to_owned()),
            operation,
            why: refusal.reason.clone(),
            id: refusal.call_id.clone(),
            took_us: None,
        }
    }

    /// Of a refusal, as the access log tells it.
    fn of_outcome(outcome: &Outcome) -> Option<Line> {
        let Outcome { method, host, path, .. } = outcome;
        Some(Line {
            at_ms: outcome.at_ms,
            conclusion: Shown::Reject,
            caller: "-".to_owned(),
            operation: format!("{method} {host}{path}"),
            why: outcome.filter_reason.clone()?,
            id: outcome.call_id.clone().unwrap_or_default(),
            took_us: Some(outcome.duration_us),
        })
    }

    fn object(&self) -> Value {
        json!({"event": "decision", "at_ms": self.at_ms, "decision": self.conclusion.name(),
            "caller": self.caller, "operation": self.operation, "why": self.why,
            "decision_id": self.id, "took_us": self.took_us})
    }
}

impl Shown {
    fn name(self) -> &'static str {
        match self {
            Shown::Allow => "allow",
            Shown::Deny => "deny",
            Shown::Reject => "reject",
            Shown::Shed => "shed",
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (of_day_s, millis) = (self.at_ms / 1000 % 86_400, self.at_ms % 1000);
        let (hours, minutes, seconds) = (of_day_s / 3600, of_day_s / 60 % 60, of_day_s % 60);
        let took = self.took_us.map(|us| format!("{}.{} ms", us / 1000, us % 1000 / 100));
        write!(
            f,
            "{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z  {:<6}  {:<16}  {:<32}  {:<24}  {}  {}",
            self.conclusion.name().to_uppercase(),
            visible(&self.caller),
            visible(&self.operation),
            visible(&self.why),
            visible(&self.id),
            took.as_deref().unwrap_or("-"),
        )
    }
}

/// Text without anything that could move the cursor or begin a line.
fn visible(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '�' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Epoch, Proof};

    fn decision() -> Decision {
        Decision {
            decision_id: "0198".to_owned(),
            at_ms: 3 * 86_400_000 + 45_296_789,
            service: "orders".to_owned(),
            operation: "deleteOrder".to_owned(),
            class: "delete".to_owned(),
            method: "DELETE".to_owned(),
            host: "orders".to_owned(),
            path: "/orders/o-1".to_owned(),
            query_present: false,
            request_id: None,
            principal: "Client::\"web\"".to_owned(),
            proof: Proof::ApiKey,
            workload: None,
            decision: Conclusion::Deny,
            reason: "policy_denied".to_owned(),
            policies: Vec::new(),
            errors: Vec::new(),
            bundle_digest: String::new(),
            epoch: Epoch { server: "s".to_owned(), counter: 1 },
            handoff: "current".to_owned(),
            latency_us: 1294,
            shadow: None,
            candidate: None,
            verdict: None,
            attempt: None,
            request_digest: None,
            asked: None,
            credential: None,
        }
    }

    #[test]
    fn a_decision_is_one_line_with_its_time_of_day() {
        let text = Line::of_decision(&decision()).to_string();
        assert!(text.starts_with("12:34:56.789Z  DENY    Client::\"web\" "), "{text}");
        assert!(text.contains("  orders.deleteOrder ") && text.contains("  policy_denied "), "{text}");
        assert!(text.ends_with("  0198  1.2 ms"), "{text}");
    }

    #[test]
    fn an_allow_names_the_policies_that_allowed() {
        let allow = Decision {
            decision: Conclusion::Allow,
            policies: vec!["a".to_owned(), "b".to_owned()],
            ..decision()
        };
        assert!(Line::of_decision(&allow).to_string().contains("ALLOW "));
        assert_eq!(Line::of_decision(&allow).why, "a b");
    }

    #[test]
    fn what_the_filter_refused_is_shown_and_the_outcome_of_a_decision_is_not() {
        let outcome = Outcome {
            call_id: Some("0199".to_owned()),
            at_ms: 0,
            status: 400,
            details: "palisade_json_syntax".to_owned(),
            flags: Vec::new(),
            duration_us: 900,
            request_bytes: 0,
            response_bytes: 0,
            upstream: None,
            upstream_host: None,
            method: "POST".to_owned(),
            host: "orders".to_owned(),
            path: "/orders".to_owned(),
            filter_reason: Some("json_syntax".to_owned()),
        };
        let line = Line::of(&Entry::Outcome(outcome.clone())).unwrap();
        assert_eq!(line.object()["decision"], "reject");
        assert_eq!((line.operation.as_str(), line.why.as_str()), ("POST orders/orders", "json_syntax"));
        assert_eq!(Line::of(&Entry::Outcome(Outcome { filter_reason: None, ..outcome })), None);
    }

    #[test]
    fn a_refusal_is_shown_once_whichever_entry_is_first() {
        let report = |id: &str, verdict| {
            Line::of_refusal(&Refusal {
                call_id: id.to_owned(),
                at_ms: 0,
                verdict,
                reason: "json_syntax".to_owned(),
                place: None,
                service: "orders".to_owned(),
                operation: "createOrder".to_owned(),
                method: "POST".to_owned(),
                host: "orders".to_owned(),
                path: "/orders".to_owned(),
                peer: None,
                attempt: None,
                retry: false,
                bundle_digest: String::new(),
                vm: "6b".to_owned(),
                sequence: 0,
            })
        };
        let (rejected, shed) = (report("1", Verdict::Reject), report("2", Verdict::Shed));
        assert!(shed.to_string().contains("  SHED    -  ") && shed.to_string().ends_with("  2  -"), "{shed}");
        assert_eq!(
            (rejected.object()["decision"].as_str(), &rejected.object()["took_us"]),
            (Some("reject"), &Value::Null)
        );
        let logged = Line { took_us: Some(900), ..rejected.clone() };
        for (first, second) in [(&rejected, &logged), (&logged, &rejected)] {
            let mut remembered = Remembered::default();
            assert!(remembered.is_news(first) && !remembered.is_news(second) && remembered.is_news(&shed));
        }
        let mut remembered = Remembered::default();
        for number in 0..2 * REMEMBERED_MAX {
            assert!(remembered.is_news(&report(&number.to_string(), Verdict::Reject)));
        }
        assert_eq!((remembered.ids.len(), remembered.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        let decided = Line::of_decision(&decision());
        assert!(remembered.is_news(&decided) && remembered.is_news(&decided), "these stand there once");
    }

    #[test]
    fn what_a_caller_sent_cannot_break_out_of_its_line() {
        let hostile =
            Decision { operation: String::new(), path: "/a\n12:00 ALLOW\x1b[2K".to_owned(), ..decision() };
        let text = Line::of_decision(&hostile).to_string();
        assert!(!text.contains('\n') && !text.contains('\x1b'), "{text}");
    }
}
