//! How callers try again.
//!
//! INVARIANT: a policy decides by what is in the reply and by its own state; it never sees the service.

use crate::dice::Dice;

/// What a caller gets for one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Good,
    /// The service's own failure; marked, it says that callers must not try again.
    Failed {
        marked: bool,
    },
    /// What stands before the service let nothing through.
    Refused(Refusal),
    /// Nothing came in the time of one try.
    Late,
}

/// A reply of what stands before the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// 503 and not 429.
    pub unavailable: bool,
    /// `x-envoy-ratelimited`.
    pub ratelimited: bool,
    pub again: Again,
}

/// `Retry-After` and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    NotSaid,
    AfterMs(u32),
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    pub name: &'static str,
    pub tries_max: u32,
    pub try_ms: u64,
    pub overall_ms: u64,
    /// Between tries: drawn from zero to a bound that doubles from the first up to the second.
    pub backoff_ms: (f64, f64),
    pub heeds: Heeds,
    pub throttle: Throttle,
    /// The request says which attempt it is.
    pub tells_attempt: bool,
    pub tells_timeout: bool,
}

/// Which replies end or delay a caller's tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heeds {
    /// An Envoy with `retry_on: 5xx`: 429 is final, and so is what is marked.
    Envoy,
    /// A client that waits as it is told, and asks again.
    RetryAfter,
    /// Everything that is not good is tried again.
    Nothing,
}

/// What a caller's own proxy or library allows, over all of its requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Throttle {
    None,
    /// gRPC: a failure takes a token and a success gives a tenth; at half of ten tokens it ends.
    Grpc,
    /// As in AWS' libraries: 500 tokens, 5 for a retry, 10 after a timeout, back with the next success.
    Quota,
    /// Envoy's retry budget: a fifth of what is active, and always three.
    Budget,
}

pub const ENVOY: Policy = Policy {
    name: "envoy, 3 retries",
    tries_max: 4,
    try_ms: 500,
    overall_ms: 2_500,
    backoff_ms: (25.0, 250.0),
    heeds: Heeds::Envoy,
    throttle: Throttle::None,
    tells_attempt: true,
    tells_timeout: false,
};

pub const ENVOY_BUDGET: Policy = Policy { name: "envoy, budget", throttle: Throttle::Budget, ..ENVOY };

pub const GRPC: Policy = Policy {
    name: "gRPC",
    backoff_ms: (50.0, 1_000.0),
    heeds: Heeds::RetryAfter,
    throttle: Throttle::Grpc,
    tells_timeout: true,
    ..ENVOY
};

pub const QUOTA: Policy =
    Policy { name: "quota", tries_max: 3, heeds: Heeds::Nothing, throttle: Throttle::Quota, ..ENVOY };

pub const PATIENT: Policy =
    Policy { name: "patient", overall_ms: 5_000, heeds: Heeds::RetryAfter, tells_attempt: false, ..ENVOY };

/// Tries again whatever it is told, and says so.
pub const STUBBORN: Policy = Policy { name: "stubborn", heeds: Heeds::Nothing, ..ENVOY };

/// The same, and does not say so.
pub const SILENT: Policy = Policy { name: "silent", tells_attempt: false, ..STUBBORN };

/// 20 tries in 5 ms where it is refused at once.
pub const RUDE: Policy =
    Policy { name: "rude", tries_max: 20, backoff_ms: (0.0, 0.0), tells_attempt: false, ..STUBBORN };

/// The state of one caller's proxy or library.
#[derive(Debug, Clone)]
pub struct Client {
    pub policy: Policy,
    tokens: f64,
    active: u32,
    retrying: u32,
}

impl Client {
    pub fn new(policy: Policy) -> Client {
        let tokens = match policy.throttle {
            Throttle::Quota => 500.0,
            Throttle::None | Throttle::Grpc | Throttle::Budget => 10.0,
        };
        Client { policy, tokens, active: 0, retrying: 0 }
    }

    pub fn began(&mut self) {
        self.active += 1;
    }

    /// `retried`: its last try was not the first.
    pub fn ended(&mut self, retried: bool, outcome: Outcome) {
        self.active -= 1;
        self.retrying -= u32::from(retried);
        if outcome == Outcome::Good {
            match self.policy.throttle {
                Throttle::Grpc => self.tokens = (self.tokens + 0.1).min(10.0),
                Throttle::Quota => {
                    self.tokens = (self.tokens + if retried { 5.0 } else { 1.0 }).min(500.0);
                }
                Throttle::None | Throttle::Budget => {}
            }
        }
    }

    /// After how many milliseconds to try again, after so many tries. `None`: not at all.
    pub fn again_ms(&mut self, tries: u32, outcome: Outcome, dice: &mut Dice) -> Option<f64> {
        let fails = !matches!(outcome, Outcome::Good);
        if self.policy.throttle == Throttle::Grpc && fails {
            self.tokens = (self.tokens - 1.0).max(0.0);
        }
        let after_ms = self.wants(tries, outcome, dice)?;
        if tries >= self.policy.tries_max || !self.allows(outcome) {
            return None;
        }
        self.retrying += u32::from(tries == 1);
        Some(after_ms)
    }

    fn wants(&self, tries: u32, outcome: Outcome, dice: &mut Dice) -> Option<f64> {
        let (first, most) = self.policy.backoff_ms;
        let backoff_ms = (first * f64::from(1_u32 << (tries - 1).min(10))).min(most) * dice.unit();
        match (self.policy.heeds, outcome) {
            (_, Outcome::Good) => None,
            (Heeds::Nothing, _) | (_, Outcome::Late) => Some(backoff_ms),
            (_, Outcome::Failed { marked }) => (!marked).then_some(backoff_ms),
            (Heeds::Envoy, Outcome::Refused(refusal)) => {
                (refusal.unavailable && !refusal.ratelimited).then_some(backoff_ms)
            }
            (Heeds::RetryAfter, Outcome::Refused(refusal)) => match refusal.again {
                Again::NotSaid => refusal.unavailable.then_some(backoff_ms),
                Again::AfterMs(ms) => Some(f64::from(ms)),
                Again::Never => None,
            },
        }
    }

    fn allows(&mut self, outcome: Outcome) -> bool {
        match self.policy.throttle {
            Throttle::None => true,
            Throttle::Grpc => self.tokens > 5.0,
            Throttle::Quota => {
                let cost = if outcome == Outcome::Late { 10.0 } else { 5.0 };
                let allowed = self.tokens >= cost;
                self.tokens -= if allowed { cost } else { 0.0 };
                allowed
            }
            Throttle::Budget => f64::from(self.retrying) < (f64::from(self.active) * 0.2).max(3.0),
        }
    }
}
