//! The shedder's own time, which only goes forwards, in small steps.
//!
//! INVARIANT: whatever the host's clock does, a span is never negative, and never longer than what was lived through.

use super::tuning::PAUSE_US_MAX;

/// A moment of the shedder's own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) const fn since_us(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[derive(Debug, Default)]
pub(super) struct Clock {
    host_us: Option<u64>,
    now: Moment,
    /// When the last pause ended that was longer than is believed.
    paused: Moment,
}

impl Clock {
    pub(super) fn at(&mut self, now_us: u64) -> Moment {
        // Backwards, no time has passed; from there on it goes on as ever.
        let passed_us = now_us.saturating_sub(self.host_us.unwrap_or(now_us));
        self.host_us = Some(now_us);
        self.now = Moment(self.now.0.saturating_add(passed_us.min(PAUSE_US_MAX)));
        if passed_us > PAUSE_US_MAX {
            self.paused = self.now;
        }
        self.now
    }

    /// The time from then to now. `None`: a pause lay between, and nobody knows how long it was.
    pub(super) fn measured_us(&self, then: Moment) -> Option<u64> {
        (then >= self.paused).then(|| self.now.since_us(then))
    }
}
