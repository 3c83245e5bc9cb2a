//! What was seen in the last tenth of a second or so.
//!
//! INVARIANT: O(1) for each answer and a fixed number of steps for each window, whatever it saw.

use super::clock::Moment;
use super::tuning::{GIVEN_UP_MAX, WINDOW_SAMPLES_MIN, WINDOW_STALE_US, WINDOW_US};

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
    load_sum: f64,
    load_peak: f64,
    asks: u32,
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
        Window::from(Moment::default())
    }
}

impl From<Moment> for Window {
    fn from(began: Moment) -> Window {
        Window {
            began,
            ratios: [0; BUCKETS],
            samples: 0,
            given_up: 0,
            load_sum: 0.0,
            load_peak: 0.0,
            asks: 0,
        }
    }
}

impl Window {
    pub(super) fn asked(&mut self, load: f64) {
        self.asks = self.asks.saturating_add(1);
        self.load_sum += load;
        self.load_peak = self.load_peak.max(load);
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

    pub(super) fn due(&self, now: Moment) -> Due {
        let lasted_us = now.since_us(self.began);
        if lasted_us < WINDOW_US {
            return Due::NotYet;
        }
        if self.samples < WINDOW_SAMPLES_MIN {
            return if lasted_us > WINDOW_STALE_US { Due::Stale } else { Due::NotYet };
        }
        Due::Seen(Seen {
            median: self.nth(self.samples / 2),
            quickest: self.nth(0),
            many_gave_up: f64::from(self.given_up) > GIVEN_UP_MAX * f64::from(self.samples),
            load_mean: self.load_sum / f64::from(self.asks.max(1)),
            load_peak: self.load_peak,
        })
    }

    fn nth(&self, rank: u32) -> f64 {
        let mut below = 0_u32;
        for (at, count) in self.ratios.iter().enumerate() {
            below = below.saturating_add(*count);
            if below > rank {
                return value(at);
            }
        }
        1.0
    }
}

/// The place of a ratio: exponent and first bits of its mantissa, which are nearly a logarithm.
fn bucket(ratio: f64) -> usize {
    let bits = (ratio as f32).to_bits() >> (23 - BUCKETS_PER_OCTAVE_BITS);
    (bits.saturating_sub(FIRST) as usize).min(BUCKETS.saturating_sub(1))
}

/// The middle of a bucket.
fn value(at: usize) -> f64 {
    let edge =
        |at: u32| f64::from(f32::from_bits(FIRST.saturating_add(at) << (23 - BUCKETS_PER_OCTAVE_BITS)));
    let at = at as u32;
    (edge(at) + edge(at.saturating_add(1))) / 2.0
}
