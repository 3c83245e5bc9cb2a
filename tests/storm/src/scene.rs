//! What is played: a chain of services, their callers, what goes wrong, and what stands before each service.

use crate::policy::{ENVOY, Policy};

/// What stands before each service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    Nothing,
    AdmissionControl,
    LocalRateLimit,
    /// With the true latency of the service as its base.
    AdaptiveIdeal,
    /// Measures its base itself, with at least so many at once.
    AdaptiveMeasuring(u32),
    Ours,
}

impl Arm {
    pub fn name(self) -> String {
        match self {
            Arm::Nothing => "nothing".into(),
            Arm::AdmissionControl => "admission_control".into(),
            Arm::LocalRateLimit => "local_ratelimit".into(),
            Arm::AdaptiveIdeal => "adaptive_concurrency, ideal".into(),
            Arm::AdaptiveMeasuring(floor) => format!("adaptive_concurrency, min {floor}"),
            Arm::Ours => "ours".into(),
        }
    }
}

/// What goes wrong, at the last service of the chain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trigger {
    None,
    /// Each request takes so many times longer.
    Slow(f64),
    /// This part of requests fails, after the usual work.
    Errors(f64),
    /// So many times the requests.
    Surge(f64),
    /// This part of the workers is left.
    Capacity(f64),
}

impl Trigger {
    pub fn name(self) -> String {
        match self {
            Trigger::None => "none".into(),
            Trigger::Slow(times) => format!("slow x{times}"),
            Trigger::Errors(part) => format!("{:.0} % errors", part * 100.0),
            Trigger::Surge(times) => format!("surge x{times}"),
            Trigger::Capacity(part) => format!("capacity x{part}"),
        }
    }
}

/// What happens to the proxy itself in the middle of the trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upset {
    None,
    /// All workers' VMs begin anew, and know nothing of what is in the service.
    Restart,
    /// The clock jumps so many milliseconds, and back after two seconds.
    ClockMs(i64),
    /// A new configuration names every operation anew.
    Renamed,
}

/// Callers of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Callers {
    pub count: usize,
    pub policy: Policy,
    /// Of all requests.
    pub part: f64,
    /// Of sheddable, default and critical operations.
    pub priorities: [f64; 3],
}

#[derive(Debug, Clone)]
pub struct Scene {
    pub seed: u64,
    pub arm: Arm,
    pub trigger: Trigger,
    pub upset: Upset,
    /// Services in a chain, each called by the one before it.
    pub depth: usize,
    /// How services in the chain call the next one.
    pub inner: Policy,
    pub callers: Vec<Callers>,
    pub requests_per_s: f64,
    /// Of each service; the mean latency without a queue is `work_ms`.
    pub workers: u32,
    pub work_ms: f64,
    /// The part of the work that is drawn anew each time, with a long tail.
    pub spread: f64,
    /// Operations: how often, and how many times the mean they take.
    pub operations: Vec<(f64, f64)>,
    /// Workers of each proxy, by the part of callers whose connections they have.
    pub vms: Vec<f64>,
    /// Health, trigger, and after it.
    pub before_s: u64,
    pub during_s: u64,
    pub after_s: u64,
}

impl Scene {
    /// Sixteen workers of 20 ms, 75 % busy, called by twenty Envoys.
    pub fn new(arm: Arm, trigger: Trigger, seed: u64) -> Scene {
        Scene {
            seed,
            arm,
            trigger,
            upset: Upset::None,
            depth: 1,
            inner: ENVOY,
            callers: vec![Callers { count: 20, policy: ENVOY, part: 1.0, priorities: [0.0, 1.0, 0.0] }],
            requests_per_s: 600.0,
            workers: 16,
            work_ms: 20.0,
            spread: 0.3,
            operations: vec![(0.8, 0.75), (0.2, 2.0)],
            vms: vec![1.0],
            before_s: 10,
            during_s: 10,
            after_s: 12,
        }
    }

    pub fn called_by(mut self, count: usize, policy: Policy) -> Scene {
        for callers in &mut self.callers {
            *callers = Callers { count, policy, ..*callers };
        }
        self
    }

    pub fn capacity_per_s(&self) -> f64 {
        f64::from(self.workers) * 1_000.0 / self.work_ms
    }

    pub fn trigger_us(&self) -> (u64, u64) {
        (self.before_s * 1_000_000, (self.before_s + self.during_s) * 1_000_000)
    }

    pub fn end_us(&self) -> u64 {
        (self.before_s + self.during_s + self.after_s) * 1_000_000
    }
}
