//! How many requests may be in the service at once, by what windows saw.
//!
//! Latency alone cannot tell a queue from a service that became slower, so it never cuts the limit below twice what the
//! service carried in good times: there a slower service still has work for all its workers, and a queue is short. From
//! there a `probe` finds out which of the two it is. Callers that give up cut further: their answers came too late.
//! INVARIANT: between `LIMIT_MIN` and `LIMIT_MAX`, and never cut twice for the same answers.

use super::bases::Learning;
use super::clock::Moment;
use super::probe::{Found, Probe};
use super::tuning::{
    BASE_TOO_LONG, CALM_PART, CALM_TIMES, CUT_MIN, DRAIN_US, ESTIMATE_US, GIVEN_UP_CUT, LIMIT_MAX, LIMIT_MIN,
    LIMIT_MIN_LATENCY, LIMIT_START, LIMIT_USED, STRESS_CALM, STRESS_CUT, STRESS_GROW,
};
use super::window::Seen;

#[derive(Debug)]
pub(super) struct Limit {
    value: f64,
    /// How many bases an answer takes now without any queue; above one only by evidence.
    slowness: f64,
    /// The last window's median, in what an answer takes without any queue.
    stress: f64,
    /// The last window saw the limit used up under stress. One such window alone may be a bunch of arrivals.
    was_stressed: bool,
    quickest: f64,
    /// When the last window was closed.
    seen: Option<Moment>,
    /// Until the first window that had room or saw stress the limit doubles: a new worker gets its whole load at once.
    starting: bool,
    /// What was in the service in good times.
    calm_load: f64,
    probe: Probe,
    /// Requests that came before the last cut say nothing of what it did.
    changed: Moment,
    /// The limit before the last cut.
    before: f64,
    learning: Learning,
}

impl Default for Limit {
    fn default() -> Limit {
        Limit {
            value: LIMIT_START,
            slowness: 1.0,
            stress: 1.0,
            was_stressed: false,
            quickest: 0.0,
            seen: None,
            starting: true,
            calm_load: 0.0,
            probe: Probe::default(),
            changed: Moment::default(),
            before: 0.0,
            learning: Learning::Calm,
        }
    }
}

impl Limit {
    pub(super) fn value(&self) -> f64 {
        self.value
    }

    /// The limit for critical operations, which are not shed while what came before a cut leaves the service.
    pub(super) fn critical(&self, now: Moment) -> f64 {
        if now.since_us(self.changed) < DRAIN_US { self.value.max(self.before) } else { self.value }
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

    /// Whether the limit was cut at this moment.
    pub(super) fn was_cut(&self, now: Moment) -> bool {
        self.changed == now
    }

    /// In bases, what even the quickest answer takes now. `None`: nobody knows.
    pub(super) fn quickest(&self, now: Moment) -> Option<f64> {
        self.seen.filter(|seen| now.since_us(*seen) <= ESTIMATE_US).map(|_| self.quickest)
    }

    /// Says by how much bases are too long, if they are.
    pub(super) fn close(&mut self, now: Moment, seen: &Seen) -> Option<f64> {
        self.seen = Some(now);
        self.quickest = seen.quickest;
        if seen.median < self.slowness {
            // What was slow is so no longer.
            self.slowness = f64::midpoint(self.slowness, seen.median).max(1.0);
        }
        self.stress = seen.median / self.slowness;
        let used = seen.load_peak > self.value * LIMIT_USED;
        if seen.many_gave_up && self.stress > STRESS_CALM {
            self.cut(now, seen, GIVEN_UP_CUT.min(STRESS_GROW / self.stress), LIMIT_MIN);
        } else if seen.many_gave_up && seen.pressed {
            // Either callers are impatient, or this worker never saw the service in good times.
            self.cut(now, seen, GIVEN_UP_CUT, self.latency_floor());
        } else if self.stress > STRESS_GROW && seen.pressed {
            self.relieve(now, seen);
        } else if self.stress < STRESS_GROW && used {
            let more = if self.starting { self.value } else { self.value.sqrt() };
            self.value = (self.value + more).min(LIMIT_MAX);
        } else if self.stress < STRESS_CALM && self.value < LIMIT_START {
            // What is over leaves no trace.
            self.value += self.value.sqrt();
        }
        self.was_stressed = self.stress > STRESS_CUT && seen.pressed;
        if seen.many_gave_up || self.stress < STRESS_GROW {
            self.probe = Probe::default();
        }
        self.starting &= used && self.stress < STRESS_CALM && !seen.many_gave_up;
        self.learning = match () {
            () if used => Learning::Not,
            () if self.stress < STRESS_CALM => Learning::Calm,
            () => Learning::Slowly,
        };
        if self.stress < STRESS_CALM && self.slowness < STRESS_CALM {
            self.calm_load += (seen.load_mean - self.calm_load) * CALM_PART;
        }
        // In good times bases find their way themselves.
        (used && seen.median < BASE_TOO_LONG).then_some(f64::midpoint(1.0, seen.median))
    }

    /// Under stress: less, and where less is not right, a try of more.
    fn relieve(&mut self, now: Moment, seen: &Seen) {
        match self.probe.step(self.value, seen) {
            Found::Waits if self.stress > STRESS_CUT && self.was_stressed => {
                self.cut(now, seen, STRESS_GROW / self.stress, self.latency_floor());
            }
            Found::Waits | Found::Tries => {}
            Found::Try(value) => self.value = value.min(LIMIT_MAX),
            // More at once was answered as quickly: it is no queue, the service is slower than it was.
            Found::NoQueue { latency } => self.slowness = self.slowness.max(latency),
            Found::Queue { value } => {
                self.before = self.value;
                self.value = value;
                self.changed = now;
            }
        }
    }

    fn latency_floor(&self) -> f64 {
        (self.calm_load * CALM_TIMES).max(LIMIT_MIN_LATENCY)
    }

    /// Never up, and never below `floor`.
    fn cut(&mut self, now: Moment, seen: &Seen, to: f64, floor: f64) {
        // Right after a cut there may have been room for nobody who would have told what the load was.
        let from = if seen.load_peak > 0.0 { self.value.min(seen.load_peak) } else { self.value };
        let value = (from * to.max(CUT_MIN)).max(floor);
        if value < self.value * 0.95 {
            self.before = self.value;
            self.value = value;
            self.changed = now;
            self.probe = Probe::default();
        }
    }
}
