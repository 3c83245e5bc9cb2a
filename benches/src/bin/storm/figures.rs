//! What one run was worth: from single requests to the figures that are compared.
//!
//! INVARIANT: a second's goodput is the share of the requests due in it that were answered well in time, so that the
//! chance in a Poisson process's arrivals is no difference between arms.

use crate::load::{Asked, Fate, Plan};
use crate::plan::{Class, SERVICE_MS, Scenario, WORKERS, storms};
use crate::stats::percentile;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// From this share on a second counts as recovered.
const RECOVERED: f64 = 0.95;

/// So many seconds in a row must have recovered.
const RECOVERED_FOR: usize = 5;

/// The bound on recovery; goodput afterwards counts from then.
pub(crate) const RECOVERY_S: u32 = 2;

/// Requests due in one second, and those of them that were answered well in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Second {
    pub(crate) due: u32,
    pub(crate) good: u32,
}

impl Second {
    pub(crate) fn share(self) -> f64 {
        f64::from(self.good) / f64::from(self.due)
    }

    fn add(&mut self, fate: Fate) {
        self.due = self.due.saturating_add(1);
        if fate == Fate::Good {
            self.good = self.good.saturating_add(1);
        }
    }
}

/// One second after the other, from the start of the load.
pub(crate) fn seconds(asked: &[Asked], total_s: u32) -> Vec<Second> {
    let mut seconds = vec![Second::default(); total_s as usize];
    for one in asked {
        if let Some(second) = seconds.get_mut(one.at.as_secs() as usize) {
            second.add(one.fate);
        }
    }
    seconds
}

/// All seconds of a span as one.
pub(crate) fn sum(seconds: &[Second], from_s: u32, until_s: u32) -> Second {
    let length = until_s.saturating_sub(from_s) as usize;
    seconds.iter().skip(from_s as usize).take(length).fold(Second::default(), |sum, second| Second {
        due: sum.due.saturating_add(second.due),
        good: sum.good.saturating_add(second.good),
    })
}

/// Seconds from the end of the trigger to the first second from which five in a row are good again, measured by what was
/// good before. `None`: it did not recover.
pub(crate) fn recovery_s(seconds: &[Second], over_at_s: u32, before: f64) -> Option<u32> {
    let after = seconds.get(over_at_s as usize..)?;
    let good = |second: &Second| second.due > 0 && second.share() >= RECOVERED * before;
    let place = after.windows(RECOVERED_FOR).position(|window| window.iter().all(good))?;
    u32::try_from(place).ok()
}

/// What was measured outside of the load.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    /// Tries of callers' proxies, from the end of settling, and their part in the healthy phase.
    pub(crate) attempts: u64,
    pub(crate) attempts_before: u64,
    /// What the service's proxy refused in the healthy phase.
    pub(crate) refused_before: u64,
    pub(crate) executions: u64,
    pub(crate) duplicates: u64,
    pub(crate) abandoned: u64,
    /// What the service had not begun at the end.
    pub(crate) queued: u64,
}

/// One run of one arm. A figure that the scenario does not have is absent.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    pub(crate) goodput_before: f64,
    pub(crate) goodput_trigger: Option<f64>,
    pub(crate) goodput_after: Option<f64>,
    /// Afterwards, divided by before; afterwards begins when recovery must be over.
    pub(crate) after_ratio: Option<f64>,
    /// `null` in a scenario with a trigger: not within the run.
    pub(crate) recovery_s: Option<f64>,
    pub(crate) attempts_per_request: f64,
    pub(crate) executions_per_request: f64,
    pub(crate) duplicates_per_request: f64,
    pub(crate) abandoned_per_request: f64,
    pub(crate) queued_at_end: f64,
    /// Of the tries in the healthy phase.
    pub(crate) false_shed_share: f64,
    pub(crate) healthy_attempts: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// While the trigger lasts: the goodput of callers that do not storm, as a part of their fair share.
    pub(crate) others_of_fair_share: Option<f64>,
    /// While the trigger lasts: goodput of critical operations, as a part of that before.
    pub(crate) critical_ratio: Option<f64>,
    pub(crate) sheddable_ratio: Option<f64>,
    /// How much later than due a request was sent, at the 99th percentile: how busy the machine was.
    pub(crate) late_p99_ms: f64,
    /// What became of those who were not served well, by phase.
    pub(crate) failed_before: BTreeMap<String, u64>,
    pub(crate) failed_trigger: BTreeMap<String, u64>,
    pub(crate) failed_after: BTreeMap<String, u64>,
    pub(crate) seconds: Vec<Second>,
}

/// How many ended in which way other than well, of those due in a span.
fn failed(asked: &[Asked], from_s: u32, until_s: u32) -> BTreeMap<String, u64> {
    let span = Duration::from_secs(from_s.into())..Duration::from_secs(until_s.into());
    let mut counts = BTreeMap::<String, u64>::new();
    for one in asked.iter().filter(|one| span.contains(&one.at)) {
        let name = match one.fate {
            Fate::Good => continue,
            Fate::Answered(status) => status.as_u16().to_string(),
            Fate::TooLate => "too late".to_owned(),
            Fate::Lost => "lost".to_owned(),
        };
        let count = counts.entry(name).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

/// What each caller would have if all asked once and half of the workers were gone.
fn fair_share(rate: f64) -> f64 {
    let capacity = WORKERS as f64 / 2.0 * 1000.0 / SERVICE_MS as f64;
    (capacity / rate).min(1.0)
}

impl Figures {
    pub(crate) fn of(asked: &[Asked], plan: &Plan, counted: Counted) -> Figures {
        let phases = plan.phases;
        let seconds = seconds(asked, phases.total_s());
        let (settle, from, over) = (phases.settle_s, phases.trigger_at_s(), phases.over_at_s());
        let before = sum(&seconds, settle, from).share();
        let triggered = phases.trigger_s > 0;
        let trigger = triggered.then(|| sum(&seconds, from, over).share());
        let after = (phases.after_s > RECOVERY_S)
            .then(|| sum(&seconds, over.saturating_add(RECOVERY_S), phases.total_s()).share());
        let users = f64::from(sum(&seconds, settle, phases.total_s()).due);
        let group = |from_s: u32, until_s: u32, belongs: &dyn Fn(&Asked) -> bool| {
            let mut sum = Second::default();
            let span = Duration::from_secs(from_s.into())..Duration::from_secs(until_s.into());
            asked
                .iter()
                .filter(|one| span.contains(&one.at) && belongs(one))
                .for_each(|one| sum.add(one.fate));
            sum
        };
        let ratio = |class: Class| {
            let of_class = |one: &Asked| one.class == class;
            let now = group(from, over, &of_class);
            (triggered && now.due > 0).then(|| now.share() / group(settle, from, &of_class).share())
        };
        let fair = (plan.scenario == Scenario::Fairness).then(|| fair_share(plan.rate));
        let others = |one: &Asked| !storms(one.caller);
        let healthy = Duration::from_secs(settle.into())..Duration::from_secs(from.into());
        let mut latencies: Vec<u64> = asked
            .iter()
            .filter(|one| healthy.contains(&one.at) && one.fate == Fate::Good)
            .map(|one| one.took.as_micros() as u64)
            .collect();
        latencies.sort_unstable();
        let mut late: Vec<u64> = asked.iter().map(|one| one.late.as_micros() as u64).collect();
        late.sort_unstable();
        let each = |count: u64| count as f64 / users;
        Figures {
            goodput_before: before,
            goodput_trigger: trigger,
            goodput_after: after,
            after_ratio: after.filter(|_| triggered).map(|after| after / before),
            recovery_s: recovery_s(&seconds, over, before).filter(|_| triggered).map(f64::from),
            attempts_per_request: each(counted.attempts),
            executions_per_request: each(counted.executions),
            duplicates_per_request: each(counted.duplicates),
            abandoned_per_request: each(counted.abandoned),
            queued_at_end: counted.queued as f64,
            false_shed_share: counted.refused_before as f64 / (counted.attempts_before.max(1)) as f64,
            healthy_attempts: counted.attempts_before as f64,
            p50_ms: percentile(&latencies, 0.5) / 1e3,
            p99_ms: percentile(&latencies, 0.99) / 1e3,
            others_of_fair_share: fair.map(|fair| group(from, over, &others).share() / fair),
            critical_ratio: ratio(Class::Critical),
            sheddable_ratio: ratio(Class::Sheddable),
            late_p99_ms: percentile(&late, 0.99) / 1e3,
            failed_before: failed(asked, settle, from),
            failed_trigger: failed(asked, from, over),
            failed_after: failed(asked, over.saturating_add(RECOVERY_S), phases.total_s()),
            seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Counted, Figures, Second, fair_share, recovery_s, seconds, sum};
    use crate::load::{Asked, Fate, Plan};
    use crate::plan::{Class, Phases, Scenario, Trigger};
    use std::time::Duration;

    fn asked(at_s: f64, fate: Fate) -> Asked {
        Asked {
            at: Duration::from_secs_f64(at_s),
            caller: 1,
            class: Class::Default,
            fate,
            took: Duration::from_millis(40),
            late: Duration::ZERO,
        }
    }

    fn shares(good: &[u32]) -> Vec<Second> {
        good.iter().map(|good| Second { due: 100, good: *good }).collect()
    }

    #[test]
    fn recovery_is_the_first_second_from_which_five_in_a_row_are_good() {
        let found = |good: &[u32]| recovery_s(&shares(good), 1, 1.0);
        assert_eq!(found(&[0, 95, 96, 100, 100, 100]), Some(0));
        assert_eq!(found(&[0, 100, 94, 100, 100, 100, 100, 100]), Some(2));
        // Four good seconds at the end are no proof.
        assert_eq!(found(&[0, 0, 100, 100, 100, 100]), None);
        assert_eq!(found(&[0]), None);
        assert_eq!(recovery_s(&[], 1, 1.0), None);
        // What was never better before cannot be better after.
        assert_eq!(recovery_s(&shares(&[0, 90, 90, 90, 90, 90]), 1, 0.9), Some(0));
    }

    #[test]
    fn a_second_without_requests_has_not_recovered() {
        let mut quiet = shares(&[0, 100, 100, 100, 100, 100]);
        quiet[3] = Second::default();
        assert_eq!(recovery_s(&quiet, 1, 1.0), None);
    }

    #[test]
    fn requests_count_in_the_second_in_which_they_were_due() {
        let all = [
            asked(0.2, Fate::Good),
            asked(1.9, Fate::TooLate),
            asked(1.0, Fate::Good),
            asked(9.0, Fate::Good),
        ];
        let found = seconds(&all, 3);
        assert_eq!(found[0], Second { due: 1, good: 1 });
        assert_eq!(found[1], Second { due: 2, good: 1 });
        assert_eq!(found[2], Second::default());
        assert_eq!(sum(&found, 0, 2), Second { due: 3, good: 2 });
    }

    #[test]
    fn a_fair_share_is_what_the_half_of_the_pool_can_do() {
        assert!((fair_share(300.0) - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(fair_share(100.0), 1.0);
    }

    #[test]
    fn figures_are_made_within_their_phases() {
        let phases = Phases { settle_s: 1, before_s: 2, trigger_s: 2, after_s: 8 };
        let mut all = Vec::new();
        for tenth in 0..130 {
            let at = f64::from(tenth) / 10.0;
            // Everything fails in the trigger and for one second after it.
            let fate = if (3.0..6.0).contains(&at) { Fate::TooLate } else { Fate::Good };
            all.push(asked(at, fate));
        }
        let counted = Counted { attempts: 240, attempts_before: 20, refused_before: 1, ..Counted::default() };
        let plan =
            Plan { scenario: Scenario::Fairness, trigger: Trigger::Capacity, phases, rate: 300.0, seed: 1 };
        let figures = Figures::of(&all, &plan, counted);
        assert_eq!(figures.others_of_fair_share, Some(0.0));
        assert_eq!((figures.goodput_before, figures.goodput_trigger), (1.0, Some(0.0)));
        assert_eq!((figures.goodput_after, figures.after_ratio), (Some(1.0), Some(1.0)));
        assert_eq!(figures.recovery_s, Some(1.0));
        assert_eq!((figures.attempts_per_request, figures.false_shed_share), (2.0, 0.05));
        assert_eq!(figures.p50_ms, 40.0);
        assert_eq!(figures.failed_trigger.get("too late"), Some(&20));
        assert!(figures.failed_before.is_empty() && figures.failed_after.is_empty());
    }
}
