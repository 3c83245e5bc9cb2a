//! What is compared, and under which weather: arms, triggers and scenarios.
//!
//! INVARIANT: all arms of a scenario meet the same callers, the same arrivals and the same service; they differ in what
//! stands between them alone.

use crate::backend::Mood;
use std::time::Duration;

/// The service's pool. With what a request takes, 400 requests a second.
pub(crate) const WORKERS: usize = 16;
pub(crate) const SERVICE_MS: u64 = 40;

/// Callers, each with a certificate and a proxy's cluster of its own: its own connections and its own retry budget.
pub(crate) const CALLERS: usize = 20;

/// Three quarters of what the service can do.
pub(crate) const RATE: f64 = 300.0;

/// The user goes away then, and takes nothing for an answer any more.
pub(crate) const DEADLINE: Duration = Duration::from_millis(2_000);

/// What a proxy waits for one try.
pub(crate) const TRY_TIMEOUT: Duration = Duration::from_millis(500);

/// The first try and two more, as a mesh does by default.
pub(crate) const TRIES: u32 = 3;

/// What stands in front of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    Nothing,
    /// Envoy's `adaptive_concurrency`, and the status of its refusals.
    Adaptive {
        status: u16,
    },
    /// Envoy's `admission_control`.
    Admission,
    /// Envoy's `local_ratelimit` at what the service can do.
    RateLimit,
    /// Our filter and server, the whole product.
    Palisade {
        sheds: bool,
    },
}

/// One arrangement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arm {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) guard: Guard,
    /// Callers' proxies have a retry budget instead of no limit.
    pub(crate) budget: bool,
    /// Also without `--full`.
    pub(crate) usual: bool,
}

pub(crate) const NOTHING: &str = "nothing";
pub(crate) const ADAPTIVE: &str = "adaptive";
pub(crate) const OURS: &str = "ours";
pub(crate) const FILTER: &str = "filter";

pub(crate) const ARMS: [Arm; 9] = {
    const fn arm(name: &'static str, what: &'static str, guard: Guard) -> Arm {
        Arm { name, what, guard, budget: false, usual: false }
    }
    const fn usual(mut arm: Arm) -> Arm {
        arm.usual = true;
        arm
    }
    const fn with_budget(mut arm: Arm) -> Arm {
        arm.budget = true;
        arm
    }
    use Guard::{Adaptive, Admission, Nothing, Palisade, RateLimit};
    [
        usual(arm(NOTHING, "no control at all", Nothing)),
        usual(with_budget(arm("budget", "callers' proxies have a retry budget: 20 %, at least 3", Nothing))),
        usual(arm(
            ADAPTIVE,
            "adaptive_concurrency with a minimum limit, refuses with 503",
            Adaptive { status: 503 },
        )),
        arm("adaptive 429", "the same, refuses with 429, which is not retried", Adaptive { status: 429 }),
        arm("admission", "admission_control", Admission),
        arm("rate limit", "local_ratelimit at the service's capacity", RateLimit),
        arm(FILTER, "Palisade, which sheds nothing", Palisade { sheds: false }),
        usual(arm(OURS, "Palisade, shedding", Palisade { sheds: true })),
        with_budget(arm(
            "ours+budget",
            "Palisade, shedding, and callers' retry budgets",
            Palisade { sheds: true },
        )),
    ]
};

/// What goes wrong, for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Trigger {
    #[value(skip)]
    None,
    /// A request takes four times as long.
    Slow,
    /// Nine of ten requests fail, after the same work.
    Errors,
    /// Three times as many requests.
    Surge,
    /// Half of the workers are gone.
    Capacity,
}

impl Trigger {
    pub(crate) const ALL: [Trigger; 4] = [Trigger::Slow, Trigger::Errors, Trigger::Surge, Trigger::Capacity];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Trigger::None => "none",
            Trigger::Slow => "slow",
            Trigger::Errors => "errors",
            Trigger::Surge => "surge",
            Trigger::Capacity => "capacity",
        }
    }

    /// How the service works while it lasts.
    pub(crate) fn mood(self) -> Mood {
        let well = Mood { workers: WORKERS, service: Duration::from_millis(SERVICE_MS), errors: 0.0 };
        match self {
            Trigger::None | Trigger::Surge => well,
            Trigger::Slow => Mood { service: well.service * 4, ..well },
            Trigger::Errors => Mood { errors: 0.9, ..well },
            Trigger::Capacity => Mood { workers: WORKERS / 2, ..well },
        }
    }

    /// How many times as many requests come.
    pub(crate) const fn factor(self) -> f64 {
        match self {
            Trigger::Surge => 3.0,
            Trigger::None | Trigger::Slow | Trigger::Errors | Trigger::Capacity => 1.0,
        }
    }
}

/// Who asks again, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// The proxy does, by its policy, and says so.
    Polite,
    /// The application does, at once and whatever the answer was, as often as that.
    Rude { tries: u32 },
}

/// What a rude application waits before it asks again.
pub(crate) const RUDE_PAUSE: Duration = Duration::from_millis(5);

/// Which question an experiment answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Does the service recover when the trigger ends?
    Storm,
    /// The same with applications that ask again by themselves, three times, and tell nobody.
    Rude,
    /// A quarter of the callers ask up to twenty times while half of the workers are gone: what is left for the others?
    Fairness,
    /// Half of the workers are gone: do critical operations go on?
    Priorities,
    /// All is well: is anything shed, and what does it cost?
    Healthy,
    /// The proxy has two workers, and one of them gets nine of ten requests.
    Skew,
    /// The filter gets a new configuration and then a new VM in the middle of the storm.
    Update,
}

impl Scenario {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Scenario::Storm => "storm",
            Scenario::Rude => "rude",
            Scenario::Fairness => "fairness",
            Scenario::Priorities => "priorities",
            Scenario::Healthy => "healthy",
            Scenario::Skew => "skew",
            Scenario::Update => "update",
        }
    }

    /// The trigger that the question is about, whatever was asked for.
    pub(crate) const fn trigger(self, asked: Trigger) -> Trigger {
        match self {
            Scenario::Storm | Scenario::Rude | Scenario::Skew | Scenario::Update => asked,
            Scenario::Fairness | Scenario::Priorities => Trigger::Capacity,
            Scenario::Healthy => Trigger::None,
        }
    }

    pub(crate) const fn manners(self, caller: usize) -> Manners {
        match self {
            Scenario::Rude => Manners::Rude { tries: TRIES },
            Scenario::Fairness if storms(caller) => Manners::Rude { tries: 20 },
            _ => Manners::Polite,
        }
    }

    /// How much of the load each caller is.
    pub(crate) fn weights(self) -> Vec<f64> {
        let weight = |caller: usize| match self {
            // Connections go to the two workers in turn.
            Scenario::Skew if caller.is_multiple_of(2) => 9.0,
            _ => 1.0,
        };
        (0..CALLERS).map(weight).collect()
    }

    /// Operations, and how many of the requests are for them.
    pub(crate) const fn operations(self) -> &'static [(Class, f64)] {
        match self {
            Scenario::Priorities => &[(Class::Critical, 0.4), (Class::Sheddable, 0.6)],
            _ => &[(Class::Default, 1.0)],
        }
    }

    /// The proxy's workers.
    pub(crate) const fn concurrency(self) -> u32 {
        match self {
            Scenario::Skew => 2,
            _ => 1,
        }
    }
}

/// Whether a caller is of the quarter that storms.
pub(crate) const fn storms(caller: usize) -> bool {
    caller.is_multiple_of(4)
}

/// What the contract says of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Critical,
    Default,
    Sheddable,
}

impl Class {
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Class::Critical => "/critical",
            Class::Default => "/work",
            Class::Sheddable => "/sheddable",
        }
    }
}

/// How long each part of a run is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Phases {
    /// Until everything has settled; nothing of it is counted.
    pub(crate) settle_s: u32,
    pub(crate) before_s: u32,
    pub(crate) trigger_s: u32,
    pub(crate) after_s: u32,
}

impl Phases {
    pub(crate) const fn usual() -> Phases {
        Phases { settle_s: 4, before_s: 8, trigger_s: 8, after_s: 20 }
    }

    pub(crate) const fn quick() -> Phases {
        Phases { settle_s: 3, before_s: 4, trigger_s: 4, after_s: 8 }
    }

    pub(crate) const fn healthy(seconds: u32) -> Phases {
        Phases { settle_s: 4, before_s: seconds, trigger_s: 0, after_s: 0 }
    }

    pub(crate) const fn trigger_at_s(self) -> u32 {
        self.settle_s.saturating_add(self.before_s)
    }

    pub(crate) const fn over_at_s(self) -> u32 {
        self.trigger_at_s().saturating_add(self.trigger_s)
    }

    pub(crate) const fn total_s(self) -> u32 {
        self.over_at_s().saturating_add(self.after_s)
    }
}

#[cfg(test)]
mod tests {
    use super::{ARMS, CALLERS, DEADLINE, RATE, SERVICE_MS, Scenario, TRIES, TRY_TIMEOUT, WORKERS, storms};

    #[test]
    fn the_load_is_three_quarters_and_its_retries_are_too_much() {
        let capacity = WORKERS as f64 * 1000.0 / SERVICE_MS as f64;
        assert!((RATE / capacity - 0.75).abs() < 1e-9);
        // Without this a storm would end by itself.
        assert!(RATE * f64::from(TRIES) > 1.5 * capacity);
        assert!(TRY_TIMEOUT * TRIES < DEADLINE);
    }

    #[test]
    fn the_quarter_that_storms_is_a_quarter_and_the_skew_is_nine_to_one() {
        assert_eq!((0..CALLERS).filter(|caller| storms(*caller)).count() * 4, CALLERS);
        let weights = Scenario::Skew.weights();
        let even: f64 = weights.iter().step_by(2).sum();
        assert_eq!(even / weights.iter().sum::<f64>(), 0.9);
    }

    #[test]
    fn names_are_unique_and_four_arms_are_usual() {
        let names: std::collections::BTreeSet<_> = ARMS.iter().map(|arm| arm.name).collect();
        assert_eq!((names.len(), ARMS.iter().filter(|arm| arm.usual).count()), (ARMS.len(), 4));
    }
}
