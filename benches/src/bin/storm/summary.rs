//! All runs of each arm under one trigger, as medians with their ranges.
//!
//! INVARIANT: a figure that any run does not have is absent, or, for recovery, infinite: a median over those runs alone
//! that went well would flatter.

use crate::figures::Figures;
use crate::measure::{Program, Run};
use crate::plan::{Arm, Scenario, Trigger};
use crate::stats::Spread;
use serde::Serialize;

/// What can be compared and bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    GoodputBefore,
    GoodputTrigger,
    GoodputAfter,
    AfterRatio,
    RecoveryS,
    AttemptsPerRequest,
    ExecutionsPerRequest,
    DuplicatesPerRequest,
    AbandonedPerRequest,
    QueuedAtEnd,
    FalseShedShare,
    HealthyAttempts,
    P50Ms,
    P99Ms,
    OthersOfFairShare,
    CriticalRatio,
    SheddableRatio,
    LateP99Ms,
}

impl Figure {
    pub(crate) const ALL: [Figure; 18] = {
        use Figure::{
            AbandonedPerRequest, AfterRatio, AttemptsPerRequest, CriticalRatio, DuplicatesPerRequest,
            ExecutionsPerRequest, FalseShedShare, GoodputAfter, GoodputBefore, GoodputTrigger,
            HealthyAttempts, LateP99Ms, OthersOfFairShare, P50Ms, P99Ms, QueuedAtEnd, RecoveryS,
            SheddableRatio,
        };
        [
            GoodputBefore,
            GoodputTrigger,
            GoodputAfter,
            AfterRatio,
            RecoveryS,
            AttemptsPerRequest,
            ExecutionsPerRequest,
            DuplicatesPerRequest,
            AbandonedPerRequest,
            QueuedAtEnd,
            FalseShedShare,
            HealthyAttempts,
            P50Ms,
            P99Ms,
            OthersOfFairShare,
            CriticalRatio,
            SheddableRatio,
            LateP99Ms,
        ]
    };

    /// As a head of a column, and with how many decimals.
    pub(crate) const fn shown(self) -> (&'static str, usize) {
        match self {
            Figure::GoodputBefore => ("before", 3),
            Figure::GoodputTrigger => ("trigger", 3),
            Figure::GoodputAfter => ("after", 3),
            Figure::AfterRatio => ("after÷before", 3),
            Figure::RecoveryS => ("recovery s", 0),
            Figure::AttemptsPerRequest => ("tries", 2),
            Figure::ExecutionsPerRequest => ("executions", 2),
            Figure::DuplicatesPerRequest => ("duplicates", 3),
            Figure::AbandonedPerRequest => ("abandoned", 3),
            Figure::QueuedAtEnd => ("queue at end", 0),
            Figure::FalseShedShare => ("false sheds", 5),
            Figure::HealthyAttempts => ("of tries", 0),
            Figure::P50Ms => ("p50 ms", 1),
            Figure::P99Ms => ("p99 ms", 1),
            Figure::OthersOfFairShare => ("others÷fair", 3),
            Figure::CriticalRatio => ("critical", 3),
            Figure::SheddableRatio => ("sheddable", 3),
            Figure::LateP99Ms => ("late p99 ms", 1),
        }
    }

    /// `None`: this run has no such figure.
    fn of(self, figures: &Figures, trigger: Trigger) -> Option<f64> {
        match self {
            Figure::GoodputBefore => Some(figures.goodput_before),
            Figure::GoodputTrigger => figures.goodput_trigger,
            Figure::GoodputAfter => figures.goodput_after,
            Figure::AfterRatio => figures.after_ratio,
            Figure::RecoveryS if trigger == Trigger::None => None,
            Figure::RecoveryS => Some(figures.recovery_s.unwrap_or(f64::INFINITY)),
            Figure::AttemptsPerRequest => Some(figures.attempts_per_request),
            Figure::ExecutionsPerRequest => Some(figures.executions_per_request),
            Figure::DuplicatesPerRequest => Some(figures.duplicates_per_request),
            Figure::AbandonedPerRequest => Some(figures.abandoned_per_request),
            Figure::QueuedAtEnd => Some(figures.queued_at_end),
            Figure::FalseShedShare => Some(figures.false_shed_share),
            Figure::HealthyAttempts => Some(figures.healthy_attempts),
            Figure::P50Ms => Some(figures.p50_ms),
            Figure::P99Ms => Some(figures.p99_ms),
            Figure::OthersOfFairShare => figures.others_of_fair_share,
            Figure::CriticalRatio => figures.critical_ratio,
            Figure::SheddableRatio => figures.sheddable_ratio,
            Figure::LateP99Ms => Some(figures.late_p99_ms),
        }
    }
}

/// One arm's figures.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) arm: &'static Arm,
    pub(crate) runs: usize,
    pub(crate) spreads: Vec<(Figure, Spread)>,
}

impl Row {
    pub(crate) fn spread(&self, figure: Figure) -> Option<Spread> {
        self.spreads.iter().find(|(found, _)| *found == figure).map(|(_, spread)| *spread)
    }
}

#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) scenario: Scenario,
    pub(crate) trigger: Trigger,
    pub(crate) rows: Vec<Row>,
}

impl Summary {
    pub(crate) fn of<'run>(
        program: &Program,
        trigger: Trigger,
        runs: impl Iterator<Item = &'run Run>,
    ) -> Summary {
        let runs: Vec<_> = runs.collect();
        let row = |arm: &&'static Arm| {
            let of_arm: Vec<_> = runs.iter().filter(|run| run.arm == *arm).collect();
            let spread = |figure: &Figure| {
                let values: Option<Vec<f64>> =
                    of_arm.iter().map(|run| figure.of(&run.figures, trigger)).collect();
                Some((*figure, spread(values?)?))
            };
            Row { arm, runs: of_arm.len(), spreads: Figure::ALL.iter().filter_map(spread).collect() }
        };
        Summary { scenario: program.scenario, trigger, rows: program.arms.iter().map(row).collect() }
    }

    pub(crate) fn row(&self, arm: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.arm.name == arm)
    }
}

/// Like any other spread, but what never came is later than everything.
fn spread(mut values: Vec<f64>) -> Option<Spread> {
    if values.iter().all(|value| value.is_finite()) {
        return Spread::of(values);
    }
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    // Of two in the middle the later one: half of infinity is no time.
    Some(Spread { median: *values.get(values.len() / 2)?, min, max })
}

#[cfg(test)]
mod tests {
    use super::{Figure, spread};

    #[test]
    fn what_never_came_is_later_than_everything() {
        let found = spread(vec![f64::INFINITY, 1.0, 2.0]).unwrap();
        assert_eq!((found.median, found.min, found.max), (2.0, 1.0, f64::INFINITY));
        let mostly = spread(vec![f64::INFINITY, 1.0, f64::INFINITY]).unwrap();
        assert_eq!(mostly.median, f64::INFINITY);
    }

    #[test]
    fn each_figure_is_listed_once() {
        let names: std::collections::BTreeSet<_> =
            Figure::ALL.iter().map(|figure| figure.shown().0).collect();
        assert_eq!(names.len(), Figure::ALL.len());
    }
}
