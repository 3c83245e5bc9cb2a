//! The bounds, read from a checked-in file before anything is measured, and whether they were held.
//!
//! INVARIANT: a bound whose figure was not measured in a run of its scenario was missed, not skipped.

use crate::failure::Failure;
use crate::plan::Scenario;
use crate::summary::{Figure, Summary};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

const FILE: &str = "benches/storm/thresholds.json";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Thresholds {
    thresholds: Vec<Threshold>,
}

/// One bound on the median of a figure.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
struct Threshold {
    scenario: String,
    /// Only this trigger; absent: every one.
    trigger: Option<String>,
    arm: String,
    figure: Figure,
    bound: Bound,
    /// Also held by runs that are as short as `--quick`.
    quick: bool,
    because: String,
}

#[derive(Debug, Clone)]
enum Bound {
    Most(f64),
    Least(f64),
    /// At most another arm's figure in the same run, and so much more.
    MostOf {
        arm: String,
        plus: f64,
    },
    LeastOf {
        arm: String,
        minus: f64,
    },
}

/// A bound as it stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    scenario: String,
    trigger: Option<String>,
    arm: String,
    figure: Figure,
    at_most: Option<f64>,
    at_least: Option<f64>,
    at_most_arm: Option<MostArm>,
    at_least_arm: Option<LeastArm>,
    #[serde(default)]
    quick: bool,
    because: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MostArm {
    arm: String,
    plus: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeastArm {
    arm: String,
    minus: f64,
}

impl TryFrom<Written> for Threshold {
    type Error = String;

    fn try_from(written: Written) -> Result<Threshold, String> {
        let Written { scenario, trigger, arm, figure, quick, because, .. } = written;
        let bounds = [
            written.at_most.map(Bound::Most),
            written.at_least.map(Bound::Least),
            written.at_most_arm.map(|MostArm { arm, plus }| Bound::MostOf { arm, plus }),
            written.at_least_arm.map(|LeastArm { arm, minus }| Bound::LeastOf { arm, minus }),
        ];
        let mut bounds = bounds.into_iter().flatten();
        match (bounds.next(), bounds.next()) {
            (Some(bound), None) => Ok(Threshold { scenario, trigger, arm, figure, bound, quick, because }),
            (None, _) | (Some(_), Some(_)) => Err(format!(
                "a bound on `{arm}` in `{scenario}`: expected one of `at_most`, `at_least`, `at_most_arm` and `at_least_arm`"
            )),
        }
    }
}

/// What became of a bound.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    pub(crate) arm: String,
    pub(crate) figure: Figure,
    /// The bound in words.
    pub(crate) bound: String,
    /// `None`: not measured, or not within the run.
    pub(crate) found: Option<f64>,
    pub(crate) held: bool,
    pub(crate) because: String,
}

impl Thresholds {
    pub(crate) fn read(root: &Path) -> Result<Thresholds, Failure> {
        let text = fs::read_to_string(root.join(FILE)).map_err(Failure::because(format!("no `{FILE}`")))?;
        serde_json::from_str(&text).map_err(Failure::because(format!("`{FILE}` is refused")))
    }

    /// Those of the summary's scenario whose arms were measured.
    pub(crate) fn judge(&self, summary: &Summary, quick: bool) -> Vec<Verdict> {
        let meant = |threshold: &&Threshold| {
            let of_trigger =
                threshold.trigger.as_deref().is_none_or(|trigger| trigger == summary.trigger.as_str());
            threshold.is_of(summary.scenario)
                && of_trigger
                && (threshold.quick || !quick)
                && threshold.arms().all(|arm| summary.row(arm).is_some())
        };
        self.thresholds.iter().filter(meant).map(|threshold| threshold.judge(summary)).collect()
    }
}

impl Threshold {
    fn is_of(&self, scenario: Scenario) -> bool {
        self.scenario == scenario.as_str()
    }

    fn arms(&self) -> impl Iterator<Item = &str> {
        let other = match &self.bound {
            Bound::Most(_) | Bound::Least(_) => None,
            Bound::MostOf { arm, .. } | Bound::LeastOf { arm, .. } => Some(arm.as_str()),
        };
        std::iter::once(self.arm.as_str()).chain(other)
    }

    fn judge(&self, summary: &Summary) -> Verdict {
        let median = |arm: &str| Some(summary.row(arm)?.spread(self.figure)?.median);
        let found = median(&self.arm);
        let (bound, held) = match &self.bound {
            Bound::Most(most) => (format!("at most {most}"), found.map(|found| found <= *most)),
            Bound::Least(least) => (format!("at least {least}"), found.map(|found| found >= *least)),
            Bound::MostOf { arm, plus } => {
                let other = median(arm);
                let held = found.zip(other).map(|(found, other)| found <= other + plus);
                (format!("at most that of `{arm}` ({}) + {plus}", number(other)), held)
            }
            Bound::LeastOf { arm, minus } => {
                let other = median(arm);
                let held = found.zip(other).map(|(found, other)| found >= other - minus);
                (format!("at least that of `{arm}` ({}) − {minus}", number(other)), held)
            }
        };
        Verdict {
            arm: self.arm.clone(),
            figure: self.figure,
            bound,
            found: found.filter(|found| found.is_finite()),
            held: held.unwrap_or(false),
            because: self.because.clone(),
        }
    }
}

fn number(found: Option<f64>) -> String {
    found.map_or_else(|| "not measured".to_owned(), |found| format!("{found:.3}"))
}

#[cfg(test)]
mod tests {
    use super::{Bound, FILE, Threshold, Thresholds};
    use crate::plan::{ARMS, Scenario, Trigger};
    use crate::stats::Spread;
    use crate::summary::{Figure, Row, Summary};
    use clap::ValueEnum as _;
    use std::path::Path;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    #[test]
    fn the_checked_in_bounds_speak_of_arms_scenarios_and_triggers_that_exist() {
        let thresholds = Thresholds::read(root()).unwrap().thresholds;
        assert!(!thresholds.is_empty(), "{FILE}");
        for threshold in thresholds {
            assert!(
                Scenario::value_variants().iter().any(|scenario| threshold.is_of(*scenario)),
                "{threshold:?}"
            );
            for arm in threshold.arms() {
                assert!(ARMS.iter().any(|known| known.name == arm), "{threshold:?}");
            }
            let known = |trigger: &str| Trigger::ALL.iter().any(|known| known.as_str() == trigger);
            assert!(threshold.trigger.as_deref().is_none_or(known), "{threshold:?}");
            assert!(threshold.because.len() > 20, "{threshold:?}");
        }
    }

    fn judged(bound: Bound, ours: f64) -> bool {
        let row = |place: usize, median: f64| Row {
            arm: &ARMS[place],
            runs: 1,
            spreads: vec![(Figure::RecoveryS, Spread { median, min: median, max: median })],
        };
        let rows = vec![row(0, ours), row(1, 1.0)];
        let summary = Summary { scenario: Scenario::Storm, trigger: Trigger::Slow, rows };
        let threshold = Threshold {
            scenario: "storm".to_owned(),
            trigger: None,
            arm: ARMS[0].name.to_owned(),
            figure: Figure::RecoveryS,
            bound,
            quick: false,
            because: String::new(),
        };
        let thresholds = Thresholds { thresholds: vec![threshold] };
        assert!(thresholds.judge(&summary, true).is_empty(), "not one for short runs");
        thresholds.judge(&summary, false)[0].held
    }

    #[test]
    fn a_bound_says_one_thing() {
        let read = |bound: &str| {
            let text = format!(
                r#"{{"scenario": "storm", "arm": "ours", "figure": "p99_ms", {bound} "because": "of this"}}"#
            );
            serde_json::from_str::<Threshold>(&text).map_err(|error| error.to_string())
        };
        assert!(read(r#""at_most": 1,"#).is_ok());
        assert!(read("").unwrap_err().contains("expected one of `at_most`"));
        assert!(read(r#""at_most": 1, "at_least": 0,"#).unwrap_err().contains("expected one of"));
        assert!(read(r#""at_mots": 1,"#).unwrap_err().contains("unknown field"));
    }

    #[test]
    fn a_bound_is_held_up_to_its_edge_and_never_by_what_did_not_come() {
        let other = ARMS[1].name.to_owned();
        assert!(judged(Bound::Most(2.0), 2.0));
        assert!(!judged(Bound::Most(2.0), f64::INFINITY));
        assert!(judged(Bound::Least(2.0), 2.0));
        assert!(!judged(Bound::Least(2.0), 1.9));
        assert!(judged(Bound::MostOf { arm: other.clone(), plus: 0.5 }, 1.5));
        assert!(!judged(Bound::MostOf { arm: other.clone(), plus: 0.5 }, 1.6));
        assert!(judged(Bound::LeastOf { arm: other.clone(), minus: 0.5 }, 0.5));
        assert!(!judged(Bound::LeastOf { arm: other, minus: 0.5 }, 0.4));
        assert!(!judged(Bound::Most(2.0), f64::NAN));
    }
}
