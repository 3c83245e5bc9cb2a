//! What was seen in the last tenth of a second or so.
//!
//! INVARIANT: O(1) for each answer and a fixed number of steps for each window, whatever it saw.

use super::clock::Moment;
use super::tuning::{GIVEN_UP_MAX, GIVEN_UP_MIN, WINDOW_SAMPLES_MIN, WINDOW_STALE_US, WINDOW_US};

/// Eight to an octave, from a quarter to 64 times the base.
const BUCKETS: usize = 64;
const BUCKETS_PER_OCTAVE_BITS: u32 = 3;
/// The bits of 0.25 in single precision, down to the last bit that counts.
const FIRST: u32 = 0.25_f32.to_bits() >> (23 - BUCKETS_PER_OCTAVE_BITS);

#[derive(Debug)]
pub(super) struct Window {
    began: Moment,
    ratios: [u32; BUCKETS],
    samples: u32,
    /// Callers that gave up, after a time in which they should have been answered.
    given_up: u32,
    /// Answers of all kinds, to requests of any time.
    finished: u32,
    load_sum: f64,
    load_peak: f64,
    asks: u32,
    pressed: bool,
    /// What came before a cut has to leave the service first.
    drains: bool,
}

/// What a window came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// The median of latencies, in bases of their operations.
    pub(super) median: f64,
    /// The quickest answer, in the same measure.
    pub(super) quickest: f64,
    pub(super) many_gave_up: bool,
    pub(super) load_mean: f64,
    pub(super) load_peak: f64,
    /// Somebody was shed because of the limit.
    pub(super) pressed: bool,
    pub(super) finished: f64,
    pub(super) lasted_us: f64,
}

/// Whether a window is at its end.
#[derive(Debug)]
pub(super) enum Due {
    NotYet,
    Seen(Seen),
    /// It lasted too long to say anything.
    Stale,
}

impl Default for Window {
    fn default() -> Window {
        Window::new(Moment::default(), false)
    }
}

impl Window {
    /// The next one; `drains` after a cut.
    pub(super) fn new(began: Moment, drains: bool) -> Window {
        Window {
            began,
            ratios: [0; BUCKETS],
            samples: 0,
            given_up: 0,
            finished: 0,
            load_sum: 0.0,
            load_peak: 0.0,
            asks: 0,
            pressed: false,
            drains,
        }
    }

    pub(super) fn asked(&mut self, now: Moment, load: f64) {
        if self.drains {
            self.drains = false;
            self.began = now;
            self.finished = 0;
        }
        self.asks = self.asks.saturating_add(1);
        self.load_sum += load;
        self.load_peak = self.load_peak.max(load);
    }

    pub(super) fn pressed(&mut self) {
        self.pressed = true;
    }

    pub(super) fn is_pressed(&self) -> bool {
        self.pressed
    }

    pub(super) fn finished(&mut self) {
        self.finished = self.finished.saturating_add(1);
    }

    pub(super) fn answered(&mut self, ratio: f64) {
        self.samples = self.samples.saturating_add(1);
        if let Some(count) = self.ratios.get_mut(bucket(ratio)) {
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn given_up(&mut self, ratio: f64) {
        self.given_up = self.given_up.saturating_add(1);
        self.answered(ratio);
    }

    /// `latency_us`: how long answers take now. Of slow ones few come in a time, and those of one such time belong together.
    pub(super) fn due(&self, now: Moment, latency_us: u64) -> Due {
        let lasted_us = now.since_us(self.began);
        if lasted_us < WINDOW_US {
            return Due::NotYet;
        }
        if self.samples < WINDOW_SAMPLES_MIN {
            return if lasted_us > WINDOW_STALE_US.max(latency_us) { Due::Stale } else { Due::NotYet };
        }
        Due::Seen(Seen {
            median: self.nth(self.samples / 2).map_or(1.0, middle),
            quickest: self.nth(0).map_or(0.0, edge),
            many_gave_up: self.given_up >= GIVEN_UP_MIN
                && f64::from(self.given_up) > GIVEN_UP_MAX * f64::from(self.samples),
            load_mean: self.load_sum / f64::from(self.asks.max(1)),
            load_peak: self.load_peak,
            pressed: self.pressed,
            finished: f64::from(self.finished),
            lasted_us: lasted_us as f64,
        })
    }

    /// The place of the sample with this rank.
    fn nth(&self, rank: u32) -> Option<usize> {
        let mut below = 0_u32;
        self.ratios.iter().position(|count| {
            below = below.saturating_add(*count);
            below > rank
        })
    }
}

/// The place of a ratio: exponent and first bits of its mantissa, which are nearly a logarithm.
fn bucket(ratio: f64) -> usize {
    let bits = (ratio as f32).to_bits() >> (23 - BUCKETS_PER_OCTAVE_BITS);
    (bits.saturating_sub(FIRST) as usize).min(BUCKETS.saturating_sub(1))
}

/// The least ratio of a place; in the first one stands all that is quicker.
fn edge(at: usize) -> f64 {
    if at == 0 {
        return 0.0;
    }
    f64::from(f32::from_bits(FIRST.saturating_add(at as u32) << (23 - BUCKETS_PER_OCTAVE_BITS)))
}

fn middle(at: usize) -> f64 {
    f64::midpoint(edge(at), edge(at.saturating_add(1)))
}
