//! Decisions as they are recorded, one line each.
//!
//! INVARIANT: a line shows what the ledger holds and nothing else; what a caller sent cannot break out of its line.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// What is shown of a ledger entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub at: SystemTime,
    pub allowed: bool,
    pub caller: String,
    pub operation: String,
    /// The reason of a denial, or the policies that allowed.
    pub reason: String,
    pub decision_id: String,
    pub took: Option<Duration>,
}

impl Line {
    pub fn object(&self) -> Value {
        json!({"event": "decision", "at_unix_ms": unix_ms(self.at),
            "decision": if self.allowed { "allow" } else { "deny" },
            "caller": self.caller, "operation": self.operation, "reason": self.reason,
            "decision_id": self.decision_id,
            "took_us": self.took.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX))})
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_day_ms = unix_ms(self.at) % 86_400_000;
        let (hours, minutes) = (of_day_ms / 3_600_000, of_day_ms / 60_000 % 60);
        let (seconds, millis) = (of_day_ms / 1000 % 60, of_day_ms % 1000);
        let took = self.took.map_or(String::new(), |took| format!("{:.1} ms", took.as_secs_f64() * 1000.0));
        write!(
            f,
            "{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z  {}  {:<16}  {:<24}  {:<28}  {}  {took}",
            if self.allowed { "ALLOW" } else { "DENY " },
            visible(&self.caller),
            visible(&self.operation),
            visible(&self.reason),
            visible(&self.decision_id),
        )
    }
}

fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Text without anything that could move the cursor or begin a line.
fn visible(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '�' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            at: UNIX_EPOCH + Duration::from_millis(3 * 86_400_000 + 45_296_789),
            allowed: false,
            caller: "web".to_owned(),
            operation: "orders.deleteOrder".to_owned(),
            reason: "policy_denied".to_owned(),
            decision_id: "0198".to_owned(),
            took: Some(Duration::from_micros(1234)),
        }
    }

    #[test]
    fn a_decision_is_one_line_with_its_time_of_day() {
        let text = line().to_string();
        assert!(text.starts_with("12:34:56.789Z  DENY   web "), "{text}");
        assert!(text.ends_with("0198  1.2 ms"), "{text}");
    }

    #[test]
    fn what_a_caller_sent_cannot_break_out_of_its_line() {
        let text = Line { operation: "a\n12:00 ALLOW\x1b[2K".to_owned(), ..line() }.to_string();
        assert!(!text.contains('\n') && !text.contains('\x1b'), "{text}");
    }

    #[test]
    fn programs_get_the_same_as_an_object() {
        let object = line().object();
        assert_eq!(object["decision"], "deny");
        assert_eq!(object["took_us"], 1234);
    }
}
