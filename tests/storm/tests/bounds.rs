//! The bounds, over scenes and seeds. `PALISADE_STORM_SEEDS=20` plays more of them, and healthy half hours.
//!
//! INVARIANT: what is asserted is a bound, never a trace; what fails names its scene and its seed.

use palisade_core::contract::Priority;
use palisade_storm::bounds::*;
use palisade_storm::figures::{Figures, Played};
use palisade_storm::policy::*;
use palisade_storm::scene::{Arm, Callers, Scene, Trigger, Upset};
use palisade_storm::world::play;

const SLOW: Trigger = Trigger::Slow(4.0);
const ERRORS: Trigger = Trigger::Errors(0.9);
const SURGE: Trigger = Trigger::Surge(3.0);
const CAPACITY: Trigger = Trigger::Capacity(0.5);
const TRIGGERS: [Trigger; 4] = [SLOW, ERRORS, SURGE, CAPACITY];

/// The real filter measures its base itself; the other one is told the truth.
const RIVALS: [Arm; 2] = [Arm::AdaptiveMeasuring(3), Arm::AdaptiveIdeal];

const SEEDS_IN_CI: u64 = 2;

fn seeds() -> u64 {
    std::env::var("PALISADE_STORM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS_IN_CI)
}

fn told(scene: &Scene) -> String {
    let callers: Vec<_> = scene.callers.iter().map(|callers| (callers.count, callers.policy.name)).collect();
    format!(
        "seed {}: {}, {}, {:?}, depth {}, {callers:?}, {} workers, vms {:?}",
        scene.seed,
        scene.arm.name(),
        scene.trigger.name(),
        scene.upset,
        scene.depth,
        scene.workers,
        scene.vms,
    )
}

/// Plays a scene with all seeds, and checks each run.
fn each(scene: &Scene, check: impl Fn(&Scene, &Played)) {
    for seed in 0..seeds() {
        let scene = Scene { seed, ..scene.clone() };
        check(&scene, &play(&scene));
    }
}

/// Means over all seeds, of at least some.
struct Means {
    attempts: f64,
    during: f64,
    after: f64,
}

fn means(scene: &Scene) -> Means {
    let runs: Vec<_> =
        (0..seeds().max(4)).map(|seed| play(&Scene { seed, ..scene.clone() }).figures()).collect();
    let mean = |of: fn(&Figures) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
    Means { attempts: mean(|run| run.attempts), during: mean(|run| run.during), after: mean(|run| run.after) }
}

#[track_caller]
fn recovers(scene: &Scene, played: &Played) {
    let figures = played.figures();
    let recovery_s = figures.recovery_s.unwrap_or(f64::INFINITY);
    assert!(recovery_s <= RECOVERY_S_MAX, "{}: recovered after {recovery_s} s, {figures:?}", told(scene));
    assert!(figures.after >= AFTER_MIN * figures.before, "{}: {figures:?}", told(scene));
}

#[test]
fn without_anything_the_service_does_not_come_back() {
    for trigger in TRIGGERS {
        each(&Scene::new(Arm::Nothing, trigger, 0), |scene, played| {
            let figures = played.figures();
            assert!(figures.after <= COLLAPSED_MAX, "{}: {figures:?}", told(scene));
        });
    }
}

#[test]
fn storms_of_all_callers_end() {
    for trigger in TRIGGERS {
        for policy in [ENVOY, ENVOY_BUDGET, GRPC, QUOTA, PATIENT, STUBBORN, SILENT, RUDE] {
            each(&Scene::new(Arm::Ours, trigger, 0).called_by(20, policy), recovers);
        }
    }
}

#[test]
fn storms_of_few_and_many_sidecars_end() {
    for trigger in TRIGGERS {
        for count in [1, 2, 200] {
            each(&Scene::new(Arm::Ours, trigger, 0).called_by(count, ENVOY), recovers);
        }
    }
}

#[test]
fn who_obeys_makes_hardly_more_than_one_attempt() {
    for trigger in TRIGGERS {
        for policy in [ENVOY, ENVOY_BUDGET, GRPC] {
            each(&Scene::new(Arm::Ours, trigger, 0).called_by(20, policy), |scene, played| {
                let figures = played.figures();
                assert!(figures.attempts <= ATTEMPTS_OBEYED_MAX, "{}: {figures:?}", told(scene));
            });
        }
    }
}

#[test]
fn who_does_not_obey_makes_no_more_attempts_than_with_the_rival() {
    for trigger in TRIGGERS {
        for policy in [QUOTA, STUBBORN, SILENT, RUDE] {
            let scene = |arm| Scene::new(arm, trigger, 0).called_by(20, policy);
            let (ours, rival) = (means(&scene(Arm::Ours)).attempts, means(&scene(RIVALS[0])).attempts);
            let shown = told(&scene(Arm::Ours));
            assert!(ours <= rival * ATTEMPTS_RIVAL_TIMES, "{shown}: {ours}, the rival {rival}");
        }
    }
}

#[test]
fn goodput_is_never_below_the_rivals() {
    for trigger in TRIGGERS {
        for policy in [ENVOY, STUBBORN, SILENT] {
            let scene = |arm| Scene::new(arm, trigger, 0).called_by(20, policy);
            let (shown, ours) = (told(&scene(Arm::Ours)), means(&scene(Arm::Ours)));
            for rival in RIVALS.map(|arm| means(&scene(arm))) {
                let (after, during) = ((ours.after, rival.after), (ours.during, rival.during));
                assert!(after.0 >= after.1 - BELOW_RIVAL_MAX, "{shown}: after it {after:?}");
                // While a service fails, more tries are more luck: a budget for retries gives that up, so that a
                // chain of services does not multiply them.
                if trigger != ERRORS {
                    assert!(during.0 >= during.1 - BELOW_RIVAL_MAX, "{shown}: during it {during:?}");
                }
            }
        }
    }
}

#[test]
fn others_keep_their_share_while_a_quarter_of_callers_storms() {
    for (count, policy) in [(20, RUDE), (20, SILENT), (200, RUDE)] {
        let mut scene = Scene::new(Arm::Ours, CAPACITY, 0);
        let [callers] = scene.callers[..] else { panic!("one kind of callers") };
        scene.callers = vec![
            Callers { count: count * 3 / 4, part: 0.75, ..callers },
            Callers { count: count / 4, part: 0.25, policy, ..callers },
        ];
        let fair = scene.capacity_per_s() / 2.0 / scene.requests_per_s;
        each(&scene, |scene, played| {
            let others = played.good_during(|user| user.kind == 0);
            assert!(others >= SHARE_MIN * fair, "{}: others {others} of {fair}", told(scene));
            recovers(scene, played);
        });
    }
}

#[test]
fn critical_operations_go_on_while_sheddable_ones_pay() {
    for (trigger, priorities) in
        [(CAPACITY, [0.65, 0.2, 0.15]), (SURGE, [0.8, 0.1, 0.1]), (SLOW, [0.8, 0.1, 0.1])]
    {
        let mut scene = Scene::new(Arm::Ours, trigger, 0);
        scene.callers[0].priorities = priorities;
        each(&scene, |scene, played| {
            let of = |priority| played.good_during(|user| user.priority == priority);
            let critical = of(Priority::Critical);
            assert!(critical >= CRITICAL_MIN, "{}: critical {critical}", told(scene));
            assert!(of(Priority::Sheddable) < of(Priority::Default), "{}: who pays", told(scene));
            recovers(scene, played);
        });
    }
}

#[test]
fn a_healthy_service_is_left_alone() {
    for workers in [4, 16, 64] {
        for spread in [0.3, 1.0] {
            let mut scene = Scene::new(Arm::Ours, Trigger::None, 0);
            scene.workers = workers;
            scene.requests_per_s = f64::from(workers) * 37.5;
            scene.spread = spread;
            scene.before_s = if seeds() > SEEDS_IN_CI { 1_800 } else { 60 };
            scene.during_s = 0;
            let runs: Vec<_> = (0..seeds())
                .map(|seed| play(&Scene { seed, ..scene.clone() }).figures().false_sheds)
                .collect();
            let mean = runs.iter().sum::<f64>() / runs.len() as f64;
            assert!(mean <= FALSE_SHEDS_MAX, "{} and the next: {runs:?}", told(&scene));
        }
    }
}

#[test]
fn retries_do_not_multiply_along_a_chain() {
    let errors = [0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.9].map(Trigger::Errors);
    let triggers = [SLOW, CAPACITY].into_iter().chain(errors);
    for depth in [2, 4] {
        for trigger in triggers.clone() {
            let scene = Scene { depth, requests_per_s: 400.0, ..Scene::new(Arm::Ours, trigger, 0) };
            each(&scene, |scene, played| {
                let figures = played.figures();
                assert!(figures.reached <= AMPLIFICATION_MAX, "{}: {figures:?}", told(scene));
                assert!(figures.executions <= AMPLIFICATION_MAX, "{}: {figures:?}", told(scene));
                recovers(scene, played);
            });
        }
    }
}

#[test]
fn a_few_failures_are_healed_by_retries() {
    for depth in [1, 4] {
        let scene = Scene { depth, requests_per_s: 400.0, ..Scene::new(Arm::Ours, Trigger::Errors(0.05), 0) };
        each(&scene, |scene, played| {
            let figures = played.figures();
            assert!(figures.during >= HEALED_MIN, "{}: {figures:?}", told(scene));
        });
    }
}

#[test]
fn upsets_in_the_middle_of_a_storm_change_no_bound() {
    let hour_ms = 3_600_000;
    let upsets = [
        Upset::None,
        Upset::Restart,
        Upset::Renamed,
        Upset::ClockMs(hour_ms),
        Upset::ClockMs(-hour_ms),
        Upset::ClockMs(300),
        Upset::ClockMs(-300),
    ];
    for upset in upsets {
        for vms in [vec![1.0], vec![0.9, 0.1]] {
            for trigger in TRIGGERS {
                let scene = Scene { upset, vms: vms.clone(), ..Scene::new(Arm::Ours, trigger, 0) };
                each(&scene, |scene, played| {
                    recovers(scene, played);
                    let attempts = played.figures().attempts;
                    assert!(attempts <= ATTEMPTS_OBEYED_MAX, "{}: {attempts} attempts", told(scene));
                });
            }
        }
    }
}

#[test]
fn minutes_of_overload_do_not_wear_it_out() {
    for trigger in [SLOW, SURGE, CAPACITY] {
        for policy in [ENVOY, SILENT] {
            let scene = |arm| Scene { during_s: 120, ..Scene::new(arm, trigger, 0).called_by(20, policy) };
            let played = play(&scene(Arm::Ours));
            recovers(&scene(Arm::Ours), &played);
            let (ours, rival) = (played.figures(), play(&scene(RIVALS[0])).figures());
            let shown = told(&scene(Arm::Ours));
            assert!(ours.during >= rival.during - BELOW_RIVAL_MAX, "{shown}: {ours:?}, the rival {rival:?}");
        }
    }
}

#[test]
fn a_service_that_became_slower_without_a_queue_is_served_again() {
    for (workers, requests_per_s) in [(64, 600.0), (256, 600.0)] {
        let scene = Scene { workers, requests_per_s, during_s: 30, ..Scene::new(Arm::Ours, SLOW, 0) };
        each(&scene, |scene, played| {
            let (on_us, off_us) = played.trigger_us;
            let late = played.good(on_us + 10_000_000, off_us, |_| true);
            assert!(late >= AFTER_MIN, "{}: {late} from ten seconds on", told(scene));
        });
    }
}
