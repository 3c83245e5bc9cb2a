//! How many requests may be in the service at once, by what windows saw.
//!
//! Latency alone cannot tell a queue from a service that became slower. The cut that it leads to can: with a queue, less
//! load means shorter latency and the same throughput; without one, latency stays and throughput falls. Then what was
//! measured is the service's own latency now, and the cut is taken back.
//! INVARIANT: between `LIMIT_MIN` and `LIMIT_MAX`, and never cut twice for the same answers.

use super::bases::Learning;
use super::clock::Moment;
use super::tuning::{
    CUT_MIN, ESTIMATE_US, GIVEN_UP_CUT, LIMIT_MAX, LIMIT_MIN, LIMIT_START, LIMIT_USED, STRESS_CALM,
    STRESS_CUT, STRESS_GROW, THROUGHPUT_KEPT,
};
use super::window::Seen;

#[derive(Debug)]
pub(super) struct Limit {
    value: f64,
    /// How many bases an answer takes now without any queue; above one only by evidence.
    slowness: f64,
    /// The last window's median, in what an answer takes without any queue.
    stress: f64,
    quickest: f64,
    /// When the last window was closed.
    seen: Option<Moment>,
    /// Until the first sign of stress the limit doubles: a new worker gets its whole load at once.
    starting: bool,
    /// What the last cut was made for, until its effect is seen.
    cut: Option<Cut>,
    /// Requests that came before the last cut say nothing of what it did.
    changed: Moment,
    learning: Learning,
}

#[derive(Debug)]
struct Cut {
    load: f64,
    median: f64,
}

impl Default for Limit {
    fn default() -> Limit {
        Limit {
            value: LIMIT_START,
            slowness: 1.0,
            stress: 1.0,
            quickest: 0.0,
            seen: None,
            starting: true,
            cut: None,
            changed: Moment::default(),
            learning: Learning::Calm,
        }
    }
}

impl Limit {
    pub(super) fn value(&self) -> f64 {
        self.value
    }

    pub(super) fn stress(&self) -> f64 {
        self.stress
    }

    /// How many bases an answer takes now with the queue that there is.
    pub(super) fn delay(&self) -> f64 {
        self.stress * self.slowness
    }

    pub(super) fn slowness(&self) -> f64 {
        self.slowness
    }

    pub(super) fn learning(&self) -> Learning {
        self.learning
    }

    /// Whether an answer to a request of then tells what the limit of now does.
    pub(super) fn concerns(&self, admitted: Moment) -> bool {
        admitted >= self.changed
    }

    /// In bases, what even the quickest answer takes now. `None`: nobody knows.
    pub(super) fn quickest(&self, now: Moment) -> Option<f64> {
        self.seen.filter(|seen| now.since_us(*seen) <= ESTIMATE_US).map(|_| self.quickest)
    }

    /// Says by how much bases are too long, if they are.
    pub(super) fn close(&mut self, now: Moment, seen: &Seen) -> Option<f64> {
        self.seen = Some(now);
        self.quickest = seen.quickest;
        self.regard_cut(seen);
        self.slowness = if seen.median < self.slowness {
            (self.slowness * 0.5 + seen.median * 0.5).max(1.0)
        } else {
            self.slowness
        };
        self.stress = seen.median / self.slowness;
        let used = seen.load_peak > self.value * LIMIT_USED;
        if seen.many_gave_up {
            self.cut(now, seen, GIVEN_UP_CUT.min(STRESS_GROW / self.stress));
        } else if self.stress > STRESS_CUT && used {
            self.cut(now, seen, STRESS_GROW / self.stress);
        } else if self.stress < STRESS_GROW && used {
            let more = if self.starting { self.value } else { self.value.sqrt() };
            self.value = (self.value + more).min(LIMIT_MAX);
        }
        self.starting &= self.stress < STRESS_GROW && !seen.many_gave_up;
        self.learning = match () {
            () if used => Learning::Not,
            () if self.stress < STRESS_CALM => Learning::Calm,
            () => Learning::Slowly,
        };
        (seen.median < 0.9).then_some((1.0 + seen.median) / 2.0)
    }

    fn cut(&mut self, now: Moment, seen: &Seen, to: f64) {
        self.cut = Some(Cut { load: seen.load_mean, median: seen.median });
        let from = self.value.min(seen.load_peak);
        self.value = (from * to.max(CUT_MIN)).max(LIMIT_MIN);
        self.changed = now;
    }

    /// What the last cut did, by the first window after it.
    fn regard_cut(&mut self, seen: &Seen) {
        let Some(Cut { load, median }) = self.cut.take() else { return };
        let kept = (seen.load_mean / seen.median) / (load / median);
        if seen.load_mean < load && kept < THROUGHPUT_KEPT {
            self.slowness = self.slowness.max(seen.median);
            // As many as were answered at once before, by Little's law, and as many again.
            self.value = self.value.max(2.0 * load * seen.median / median);
        }
    }
}
