//! What else may stand before a service, each modelled after the public description of Envoy's filter of that name.
//!
//! INVARIANT: a rival gets what it needs to be at its best: ideal figures where ours must learn.

use crate::dice::Dice;
use std::collections::VecDeque;

/// The gradient controller: one for all workers.
#[derive(Debug)]
pub struct AdaptiveConcurrency {
    limit: f64,
    floor: f64,
    in_flight: u32,
    /// What an answer takes without any queue. `None`: it is being measured, with the limit at its floor.
    base_us: Option<f64>,
    /// Given, and never measured.
    is_ideal: bool,
    limit_before: f64,
    samples_us: Vec<f64>,
    window_us: u64,
    measured_us: u64,
    windows_at_floor: u32,
}

const GRADIENT_WINDOW_US: u64 = 100_000;
const GRADIENT_BUFFER: f64 = 1.25;
const GRADIENT_LIMIT_MAX: f64 = 1_000.0;
const MEASURE_EVERY_US: u64 = 60_000_000;
const MEASURE_SAMPLES: usize = 50;

impl AdaptiveConcurrency {
    /// With a base of the best kind: the true one, from outside.
    pub fn ideal(base_us: f64) -> AdaptiveConcurrency {
        AdaptiveConcurrency { base_us: Some(base_us), is_ideal: true, limit: 50.0, ..Self::measuring(3.0) }
    }

    /// Measures its base with the limit at the floor, every minute and when it is stuck there.
    pub fn measuring(floor: f64) -> AdaptiveConcurrency {
        AdaptiveConcurrency {
            limit: floor,
            floor,
            in_flight: 0,
            base_us: None,
            is_ideal: false,
            limit_before: 50.0,
            samples_us: Vec::new(),
            window_us: 0,
            measured_us: 0,
            windows_at_floor: 0,
        }
    }

    pub fn admit(&mut self, now_us: u64) -> bool {
        self.turn(now_us);
        let admitted = f64::from(self.in_flight) < self.limit.floor();
        self.in_flight += u32::from(admitted);
        admitted
    }

    /// `took_us`: `None` for callers that gave up, which are no sample.
    pub fn ended(&mut self, now_us: u64, took_us: Option<f64>) {
        self.in_flight -= 1;
        self.samples_us.extend(took_us);
        if self.base_us.is_none() && self.samples_us.len() >= MEASURE_SAMPLES {
            self.base_us = Some(self.median());
            self.limit = self.limit_before;
            self.measured_us = now_us;
            self.begin_window(now_us);
        }
        self.turn(now_us);
    }

    fn turn(&mut self, now_us: u64) {
        if self.base_us.is_some() && !self.is_ideal && now_us >= self.measured_us + MEASURE_EVERY_US {
            self.measure(now_us);
        }
        let Some(base_us) = self.base_us else { return };
        if now_us < self.window_us + GRADIENT_WINDOW_US || self.samples_us.is_empty() {
            return;
        }
        let gradient = (base_us * GRADIENT_BUFFER / self.median()).clamp(0.5, 2.0);
        let limit = self.limit * gradient;
        self.limit = (limit + limit.sqrt()).clamp(self.floor, GRADIENT_LIMIT_MAX);
        self.windows_at_floor = if self.limit <= self.floor + 1.0 { self.windows_at_floor + 1 } else { 0 };
        self.begin_window(now_us);
        if self.windows_at_floor >= 5 && !self.is_ideal {
            self.measure(now_us);
        }
    }

    fn measure(&mut self, now_us: u64) {
        self.base_us = None;
        self.limit_before = self.limit;
        self.limit = self.floor;
        self.windows_at_floor = 0;
        self.begin_window(now_us);
    }

    fn begin_window(&mut self, now_us: u64) {
        self.samples_us.clear();
        self.window_us = now_us;
    }

    fn median(&mut self) -> f64 {
        let middle = self.samples_us.len() / 2;
        *self.samples_us.select_nth_unstable_by(middle, f64::total_cmp).1
    }
}

/// Refuses at random by the part of requests that went well in the last 30 seconds; one for each worker.
#[derive(Debug, Default)]
pub struct AdmissionControl {
    /// Second, asked, good.
    seconds: VecDeque<(u64, f64, f64)>,
}

const ADMISSION_WINDOW_S: u64 = 30;
const ADMISSION_GOOD: f64 = 0.95;
const ADMISSION_REFUSED_MAX: f64 = 0.8;

impl AdmissionControl {
    pub fn admit(&mut self, now_us: u64, dice: &mut Dice) -> bool {
        self.turn(now_us);
        let asked: f64 = self.seconds.iter().map(|(_, asked, _)| asked).sum();
        let good: f64 = self.seconds.iter().map(|(_, _, good)| good).sum();
        let refuse = ((asked - good / ADMISSION_GOOD) / (asked + 1.0)).clamp(0.0, ADMISSION_REFUSED_MAX);
        !dice.chance(refuse)
    }

    pub fn ended(&mut self, now_us: u64, is_good: bool) {
        self.turn(now_us);
        if let Some((_, asked, good)) = self.seconds.back_mut() {
            *asked += 1.0;
            *good += f64::from(u8::from(is_good));
        }
    }

    fn turn(&mut self, now_us: u64) {
        let second = now_us / 1_000_000;
        if self.seconds.back().is_none_or(|(last, ..)| *last < second) {
            self.seconds.push_back((second, 0.0, 0.0));
        }
        self.seconds.retain(|(at, ..)| at + ADMISSION_WINDOW_S > second);
    }
}

/// A bucket that all workers share, filled at the service's capacity.
#[derive(Debug)]
pub struct LocalRateLimit {
    per_us: f64,
    tokens: f64,
    filled_us: u64,
}

impl LocalRateLimit {
    pub fn at(per_second: f64) -> LocalRateLimit {
        LocalRateLimit { per_us: per_second / 1e6, tokens: per_second, filled_us: 0 }
    }

    pub fn admit(&mut self, now_us: u64) -> bool {
        let most = self.per_us * 1e6;
        self.tokens = (self.tokens + (now_us - self.filled_us) as f64 * self.per_us).min(most);
        self.filled_us = now_us;
        let admitted = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(admitted));
        admitted
    }
}
