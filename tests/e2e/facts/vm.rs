//! What a filter has inside Envoy: randomness, environment, calls of its own, shared data; and on which threads.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::json;
use tests::deadline::eventually;
use tests::rig::Target;

use super::stage::{SOON, Scene, Stage};

/// Two workers, so that there are VMs to tell apart.
static ENVOY: LazyLock<Stage> = LazyLock::new(|| Stage::start("vm", Target::Envoy, prepare));
static ISTIO: LazyLock<Stage> = LazyLock::new(|| Stage::start("vm", Target::Istio, prepare));

fn stages() -> [&'static Stage; 2] {
    [&ENVOY, &ISTIO]
}

fn prepare(scene: &mut Scene) {
    scene.concurrency = 2;
    scene.env.push(("PALISADE_HANDOFF_SECRET", "from-the-host"));
    scene.configure("log-env PALISADE_HANDOFF_SECRET\nlog-env GREETING\nlog-env PATH\ncas nobody-set-it\ntick-ms 50\ncall palisade-server");
    scene.plugin()["config"]["vm_config"]["environment_variables"]["key_values"] =
        json!({ "GREETING": "from-the-configuration" });
}

/// The thread that wrote a line of Envoy's log.
fn thread(line: &str) -> &str {
    line.split(['[', ']']).nth(3).unwrap_or_default()
}

#[test]
fn randomness_is_real_and_different_in_each_vm() {
    for stage in stages() {
        let starts = stage.lines("[vm] - start");
        let drawn: BTreeSet<_> = starts.iter().filter_map(|line| line.split("random=").nth(1)).collect();
        assert!(starts.len() >= 3, "a VM for each worker and one for the main thread: {starts:#?}");
        assert_eq!(drawn.len(), starts.len(), "{starts:#?}");
        assert!(starts.iter().all(|line| line.contains("drawn=true")), "{starts:#?}");
        assert!(!drawn.contains("00000000000000000000000000000000"));
    }
}

#[test]
fn each_worker_has_a_vm_and_the_main_thread_has_one() {
    for stage in stages() {
        let main = stage.envoy.pid().to_string();
        let threads: BTreeSet<_> =
            stage.lines("[probe] - configure").iter().map(|line| thread(line).to_owned()).collect();
        assert!(threads.len() == 3 && threads.contains(&main), "{threads:?}, the main thread is {main}");
    }
}

#[test]
fn variables_of_the_host_and_of_the_configuration_reach_the_vm_and_no_others() {
    for stage in stages() {
        for expected in
            ["env PALISADE_HANDOFF_SECRET=from-the-host", "env GREETING=from-the-configuration", "env PATH="]
        {
            let lines = stage.lines(expected);
            assert!(!lines.is_empty(), "`{expected}`");
            assert!(lines.iter().all(|line| line.ends_with(expected)), "{lines:?}");
        }
    }
}

#[test]
fn compare_and_swap_on_an_absent_key_succeeds_whatever_number_is_given() {
    for stage in stages() {
        let swaps = stage.lines("cas key=nobody-set-it");
        let status = |line: &String| line.split("status=").nth(1).unwrap_or_default().to_owned();
        let statuses: Vec<_> = swaps.iter().map(status).collect();
        // Shared data is one for all VMs: the first to ask succeeds with a number that nobody gave out, the others
        // are told of a mismatch.
        assert_eq!(statuses.first().map(String::as_str), Some("0"), "{swaps:#?}");
        assert!(statuses.len() > 2 && statuses[1..].iter().all(|status| status == "8"), "{swaps:#?}");
    }
}

#[test]
fn the_root_of_the_main_thread_ticks_too() {
    for stage in stages() {
        let main = stage.envoy.pid().to_string();
        eventually("all three threads have ticked", SOON, || {
            let threads: BTreeSet<_> =
                stage.lines("[probe] - tick").iter().map(|line| thread(line).to_owned()).collect();
            (threads.len() == 3 && threads.contains(&main)).then_some(())
        });
    }
}

#[test]
fn a_grpc_call_on_a_tick_reaches_a_cluster_and_its_answer_arrives_or_14_when_it_is_down() {
    for target in Target::ALL {
        let mut stage =
            Stage::start("vm-calls", target, |scene| scene.configure("tick-ms 50\ncall palisade-server"));
        let answered = |stage: &Stage, status: &str| {
            eventually(&format!("an answer with {status}"), SOON, || {
                stage.lines("[probe] - answer").into_iter().find(|line| line.contains(status))
            })
        };
        answered(&stage, "status=0 ");
        stage.authz.stop();
        answered(&stage, "status=14 ");
    }
}
