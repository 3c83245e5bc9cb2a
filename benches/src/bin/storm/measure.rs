//! One run of one arm, from its start to its figures; and all of them, in turn.
//!
//! INVARIANT: arms are interleaved, and in one run all of them get the same arrivals. A run ends by itself: its load is
//! bounded by its phases, and each request by the user's deadline.

use crate::counters::{self, Counters};
use crate::failure::Failure;
use crate::figures::{Counted, Figures};
use crate::load::{self, Plan};
use crate::plan::{Arm, DEADLINE, Guard, Phases, Scenario, Trigger};
use crate::rig::Rig;
use crate::setup::Setup;
use crate::update::{self, Change};
use palisade::dev::progress::Progress;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How often it is looked whether a configuration was taken.
const LOOKED_EVERY: Duration = Duration::from_millis(100);

/// What is measured, how often.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) scenario: Scenario,
    pub(crate) triggers: Vec<Trigger>,
    pub(crate) arms: Vec<&'static Arm>,
    pub(crate) phases: Phases,
    pub(crate) runs: u32,
    pub(crate) rate: f64,
    pub(crate) seed: u64,
}

/// One run of one arm under one trigger.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) arm: &'static Arm,
    pub(crate) trigger: Trigger,
    pub(crate) figures: Figures,
}

/// Longer than the last request of a run may take: then something hangs that must not.
const GRACE: Duration = Duration::from_secs(20);

pub(crate) async fn all(
    program: &Program,
    setup: &Setup,
    progress: &mut Progress,
) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for trigger in &program.triggers {
        for run in 0..program.runs {
            for arm in &program.arms {
                let plan = Plan {
                    scenario: program.scenario,
                    trigger: *trigger,
                    phases: program.phases,
                    rate: program.rate,
                    seed: program.seed.wrapping_add(run.into()),
                };
                let of = program.runs;
                let step = progress.step(&format!(
                    "{} / {}: `{}`, run {} of {of}",
                    plan.scenario.as_str(),
                    trigger.as_str(),
                    arm.name,
                    run + 1
                ));
                let figures = one(arm, plan, setup).await?;
                step.done(&in_short(&figures));
                runs.push(Run { arm, trigger: *trigger, figures });
            }
        }
    }
    Ok(runs)
}

fn in_short(figures: &Figures) -> String {
    let share = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), |share| format!("{share:.3}"));
    let recovery = figures.recovery_s.map_or_else(|| "no".to_owned(), |seconds| format!("{seconds:.0} s"));
    let failed = [&figures.failed_before, &figures.failed_trigger, &figures.failed_after].map(|failed| {
        let each: Vec<_> = failed.iter().map(|(how, count)| format!("{count}×{how}")).collect();
        if each.is_empty() { "none".to_owned() } else { each.join(" ") }
    });
    format!(
        "goodput {:.3} → {} → {}, recovered: {recovery}, {:.2} tries a request, {:.2} duplicates; late p99 {:.0} ms; failed: {}",
        figures.goodput_before,
        share(figures.goodput_trigger),
        share(figures.goodput_after),
        figures.attempts_per_request,
        figures.duplicates_per_request,
        figures.late_p99_ms,
        failed.join(" → "),
    )
}

async fn one(arm: &Arm, plan: Plan, setup: &Setup) -> Result<Figures, Failure> {
    let mut rig = Rig::start(arm, plan.scenario, plan.seed, setup).await?;
    let began = Instant::now();
    let asking = tokio::spawn(load::run(plan, Arc::clone(&rig.links), began));
    let at = |seconds: u32| began + Duration::from_secs(seconds.into());
    let phases = plan.phases;

    sleep_until(at(phases.settle_s)).await;
    let settled = read(&rig).await?;
    let work_before = rig.backend.work();
    sleep_until(at(phases.trigger_at_s())).await;
    let healthy = read(&rig).await?.since(settled);
    rig.backend.turn(plan.trigger.mood());
    if plan.scenario == Scenario::Update && matches!(arm.guard, Guard::Palisade { .. }) {
        exchange(&rig, phases, began).await?;
    }
    sleep_until(at(phases.over_at_s())).await;
    rig.backend.turn(Trigger::None.mood());
    let end = at(phases.total_s()) + DEADLINE + GRACE;
    let asked = tokio::time::timeout_at(end, asking)
        .await
        .map_err(|_| rig.explain(&Failure::new("a request has no end")))?
        .map_err(Failure::because("the load failed"))??;
    let whole = read(&rig).await?.since(settled);
    rig.check().await?;
    let work = rig.backend.work();
    let counted = Counted {
        attempts: whole.attempts,
        attempts_before: healthy.attempts,
        refused_before: healthy.failures,
        executions: work.executions.saturating_sub(work_before.executions),
        duplicates: work.duplicates.saturating_sub(work_before.duplicates),
        abandoned: work.abandoned.saturating_sub(work_before.abandoned),
        queued: rig.backend.queued() as u64,
    };
    rig.stop().await;
    Ok(Figures::of(&asked, &plan, counted))
}

async fn read(rig: &Rig) -> Result<Counters, Failure> {
    Counters::read(rig.callers_admin, rig.service_admin).await.map_err(|failure| rig.explain(&failure))
}

/// A new configuration at a third of the trigger, a new VM at two thirds.
async fn exchange(rig: &Rig, phases: Phases, began: Instant) -> Result<(), Failure> {
    let third = Duration::from_secs(phases.trigger_s.into()) / 3;
    let begins = began + Duration::from_secs(phases.trigger_at_s().into());
    sleep_until(begins + third).await;
    update::exchange(&rig.generated(), Change::Configuration)?;
    sleep_until(begins + third * 2).await;
    update::exchange(&rig.generated(), Change::Vm)?;
    // What is not taken would be no update, and the figures those of another question.
    let deadline = begins + third * 3;
    loop {
        match counters::taken(rig.service_admin).await? {
            update::TAKEN => return Ok(()),
            _ if Instant::now() < deadline => {
                sleep_until((Instant::now() + LOOKED_EVERY).min(deadline)).await
            }
            taken => {
                let failure = Failure::new(format!(
                    "the proxy took {taken} configurations of the filter: expected {}",
                    update::TAKEN
                ));
                return Err(rig.explain(&failure));
            }
        }
    }
}
