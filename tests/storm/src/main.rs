//! Prints tables of simulated arms and triggers: `cargo run -p palisade-storm -- [SEEDS]`.
//!
//! INVARIANT: every row names its arm, and every figure is a median with its range over all seeds.

use palisade_core::contract::Priority;
use palisade_storm::figures::{Figures, Played};
use palisade_storm::policy::{ENVOY, ENVOY_BUDGET, Policy, RUDE, SILENT};
use palisade_storm::scene::{Arm, Callers, Scene, Trigger};
use palisade_storm::world::play;

const TRIGGERS: [Trigger; 4] =
    [Trigger::Slow(4.0), Trigger::Errors(0.9), Trigger::Surge(3.0), Trigger::Capacity(0.5)];

const ARMS: [(Arm, Policy); 8] = [
    (Arm::Nothing, ENVOY),
    (Arm::Nothing, ENVOY_BUDGET),
    (Arm::AdmissionControl, ENVOY),
    (Arm::LocalRateLimit, ENVOY),
    (Arm::AdaptiveMeasuring(3), ENVOY),
    (Arm::AdaptiveIdeal, ENVOY),
    (Arm::Ours, ENVOY),
    (Arm::Ours, ENVOY_BUDGET),
];

const GUARDS: [Arm; 3] = [Arm::AdaptiveMeasuring(3), Arm::AdaptiveIdeal, Arm::Ours];

type Column<'a> = (&'a str, &'a dyn Fn(&Played, &Figures) -> f64);

fn main() {
    let seeds = std::env::args().nth(1).and_then(|seeds| seeds.parse().ok()).unwrap_or(5);
    println!("Simulated, not measured: medians and ranges of {seeds} seeds.");
    let columns: [Column; 7] = [
        ("good before", &|_, figures| figures.before),
        ("good during", &|_, figures| figures.during),
        ("good after", &|_, figures| figures.after),
        ("recovery, s", &|_, figures| figures.recovery_s.unwrap_or(f64::INFINITY)),
        ("attempts a request", &|_, figures| figures.attempts),
        ("executions during", &|_, figures| figures.executions),
        ("done again", &|_, figures| figures.duplicates),
    ];
    for trigger in TRIGGERS {
        let scenes = ARMS.map(|(arm, policy)| Scene::new(arm, trigger, 0).called_by(20, policy));
        table(&trigger.name(), &scenes, seeds, &columns);
    }
    let silent = TRIGGERS.map(|trigger| GUARDS.map(|arm| Scene::new(arm, trigger, 0).called_by(20, SILENT)));
    for (trigger, scenes) in TRIGGERS.iter().zip(&silent) {
        let title =
            format!("{}, callers that heed nothing and do not say what they try again", trigger.name());
        table(&title, scenes, seeds, &columns);
    }
    table(
        "a quarter of 20 callers tries 20 times in 5 ms, half the capacity: the fair share is 0.667",
        &GUARDS.map(storming),
        seeds,
        &[
            ("others", &|played, _| played.good_during(|user| user.kind == 0)),
            ("who storms", &|played, _| played.good_during(|user| user.kind == 1)),
        ],
    );
    table(
        "65 % sheddable, 20 % default, 15 % critical requests, half the capacity",
        &GUARDS.map(classes),
        seeds,
        &[
            ("sheddable", &|played, _| played.good_during(|user| user.priority == Priority::Sheddable)),
            ("default", &|played, _| played.good_during(|user| user.priority == Priority::Default)),
            ("critical", &|played, _| played.good_during(|user| user.priority == Priority::Critical)),
        ],
    );
    for errors in [0.2, 0.5, 0.9] {
        let scenes = [Arm::Nothing, Arm::AdaptiveMeasuring(3), Arm::Ours].map(|arm| {
            let scene = Scene::new(arm, Trigger::Errors(errors), 0);
            Scene { depth: 4, requests_per_s: 400.0, ..scene }
        });
        let title = format!("four services in a chain, {:.0} % errors at the last", errors * 100.0);
        let columns: [Column; 3] = [
            ("good during", &|_, figures| figures.during),
            ("good after", &|_, figures| figures.after),
            ("tries at the last service", &|_, figures| figures.reached),
        ];
        table(&title, &scenes, seeds, &columns);
    }
    for workers in [1, 2, 4, 16, 64] {
        let scenes = GUARDS.map(|arm| healthy(arm, workers));
        let title = format!("a healthy service of {workers} workers, 75 % busy, exponential times of work");
        table(&title, &scenes, seeds, &[("tries refused, %", &|_, figures| figures.false_sheds * 100.0)]);
    }
}

fn storming(arm: Arm) -> Scene {
    let mut scene = Scene::new(arm, Trigger::Capacity(0.5), 0);
    let others = scene.callers.iter().map(|callers| Callers { count: 15, part: 0.75, ..*callers });
    let rude = scene.callers.iter().map(|callers| Callers { count: 5, part: 0.25, policy: RUDE, ..*callers });
    scene.callers = others.chain(rude).collect();
    scene
}

fn classes(arm: Arm) -> Scene {
    let mut scene = Scene::new(arm, Trigger::Capacity(0.5), 0);
    for callers in &mut scene.callers {
        callers.priorities = [0.65, 0.2, 0.15];
    }
    scene
}

fn healthy(arm: Arm, workers: u32) -> Scene {
    Scene {
        workers,
        requests_per_s: f64::from(workers) * 37.5,
        spread: 1.0,
        before_s: 120,
        during_s: 0,
        ..Scene::new(arm, Trigger::None, 0)
    }
}

/// One row for each scene.
fn table(title: &str, scenes: &[Scene], seeds: u64, columns: &[Column]) {
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    println!("\n### {title}\n\n| | {} |\n|---|{}", names.join(" | "), "---|".repeat(columns.len()));
    for scene in scenes {
        let runs: Vec<_> = (0..seeds).map(|seed| play(&Scene { seed, ..scene.clone() })).collect();
        let cells: Vec<_> = columns.iter().map(|(_, of)| cell(&runs, of)).collect();
        let policies: Vec<_> = scene.callers.iter().map(|callers| callers.policy.name).collect();
        println!("| {}; {} | {} |", scene.arm.name(), policies.join(" and "), cells.join(" | "));
    }
}

fn cell(runs: &[Played], of: &dyn Fn(&Played, &Figures) -> f64) -> String {
    let mut values: Vec<f64> = runs.iter().map(|run| of(run, &run.figures())).collect();
    values.sort_by(f64::total_cmp);
    let shown = |value: Option<&f64>| match value {
        Some(value) if value.is_finite() => format!("{value:.2}"),
        Some(_) => "never".into(),
        None => "none".into(),
    };
    let (median, least, most) =
        (shown(values.get(values.len() / 2)), shown(values.first()), shown(values.last()));
    if least == most { median } else { format!("{median} ({least}–{most})") }
}
