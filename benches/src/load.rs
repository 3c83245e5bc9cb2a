//! The load: whole requests written, whole replies read, every reply checked.
//!
//! INVARIANT: a load is bounded in time or in count, and a reply that is not the expected one is counted, never timed as
//! a success.

mod closed;
mod open;
mod reply;

pub(crate) use closed::{Connections, STRIDE};
pub(crate) use open::open_loop;

use std::time::Duration;

/// No reply of any arm takes this long; one that does is a failure of the bench.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a load saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// One for each good reply, in nanoseconds.
    pub(crate) latencies_ns: Vec<u64>,
    pub(crate) lasted: Duration,
    /// Replies with another status than expected, and the first of them.
    pub(crate) wrong: u64,
    pub(crate) first_wrong: Option<String>,
}

impl Seen {
    pub(crate) fn add(&mut self, other: Seen) {
        self.latencies_ns.extend(other.latencies_ns);
        self.wrong = self.wrong.saturating_add(other.wrong);
        self.first_wrong = self.first_wrong.take().or(other.first_wrong);
    }

    fn reply(&mut self, outcome: Result<(), String>, took: Duration) {
        match outcome {
            Ok(()) => self.latencies_ns.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)),
            Err(wrong) => {
                self.wrong = self.wrong.saturating_add(1);
                self.first_wrong.get_or_insert(wrong);
            }
        }
    }
}
