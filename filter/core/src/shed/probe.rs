//! Whether long latencies are a queue: a little more is let in, and with a queue nothing more comes out.
//!
//! INVARIANT: a conclusion compares two rates of many answers each, at two limits that were both used up.

use super::tuning::{PROBE_ANSWERS, PROBE_GAIN, PROBE_LATENCY, PROBE_RAISE, PROBE_WAIT_MAX, PROBE_WAIT_US};
use super::window::Seen;

#[derive(Debug)]
pub(super) struct Probe {
    now: Measured,
    /// What was measured at the limit before it was raised.
    before: Option<(f64, Measured)>,
    wait_us: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    answers: f64,
    us: f64,
    /// Medians of latency, by the answers of their windows.
    latency_sum: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Found {
    /// Nothing yet, and nothing is being tried.
    Waits,
    /// Nothing yet: the raised limit is being tried.
    Tries,
    /// Go on with this limit.
    Try(f64),
    /// The raised limit paid, and an answer took so many bases.
    NoQueue { latency: f64 },
    /// It did not, go back.
    Queue { value: f64 },
}

impl Default for Probe {
    fn default() -> Probe {
        Probe { now: Measured::default(), before: None, wait_us: PROBE_WAIT_US }
    }
}

impl Probe {
    pub(super) fn step(&mut self, limit: f64, seen: &Seen) -> Found {
        self.now.add(seen);
        let enough = self.now.answers >= PROBE_ANSWERS;
        match self.before {
            None if enough && self.now.us >= self.wait_us => {
                self.before = Some((limit, self.now));
                self.now = Measured::default();
                Found::Try(limit * PROBE_RAISE)
            }
            None => Found::Waits,
            Some(_) if !enough => Found::Tries,
            Some((value, before)) => {
                let paid = self.now.rate() >= before.rate() * PROBE_GAIN
                    && self.now.latency() <= before.latency() * PROBE_LATENCY;
                let latency = self.now.latency();
                let wait_us = (self.wait_us * 2.0).min(PROBE_WAIT_MAX);
                *self = Probe { wait_us, ..Probe::default() };
                if paid { Found::NoQueue { latency } } else { Found::Queue { value } }
            }
        }
    }
}

impl Measured {
    fn add(&mut self, seen: &Seen) {
        self.answers += seen.finished;
        self.us += seen.lasted_us;
        self.latency_sum += seen.median * seen.finished;
    }

    fn rate(&self) -> f64 {
        self.answers / self.us.max(1.0)
    }

    fn latency(&self) -> f64 {
        self.latency_sum / self.answers.max(1.0)
    }
}
