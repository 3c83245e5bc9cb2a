//! Configurations that are refused, and VMs that trap.

use std::sync::LazyLock;
use std::time::Instant;

use serde_json::{Value, json};
use tests::deadline::{eventually, poll};
use tests::raw_client::Outcome;
use tests::rig::{START_TIMEOUT, Target};

use super::ask::{Ask, Wire, chunk};
use super::stage::{HANG, Listener, SOON, Scene, Stage, configure};

static TRAPS: LazyLock<Stage> = LazyLock::new(|| Stage::start("traps", Target::Envoy, prepare));

/// As rendered, by extension discovery; the fence has a VM that nobody takes down.
static ISTIO: LazyLock<Stage> = LazyLock::new(|| {
    Stage::start("traps", Target::Istio, |scene| {
        scene.listener("rendered", |_| {});
        scene.listener("rendered held", |listener| own_vm(listener, "held", "held", "FAIL_RELOAD"));
        scene.listener("fence", |listener| own_vm(listener, "fence", "fence", "FAIL_RELOAD"));
    })
});

fn prepare(scene: &mut Scene) {
    // Each policy has a VM of its own; the twins share one.
    for (name, vm, policy) in [
        ("closed", "closed", "FAIL_CLOSED"),
        ("open", "open", "FAIL_OPEN"),
        ("reload", "reload", "FAIL_RELOAD"),
        ("reload held", "reload held", "FAIL_RELOAD"),
        ("twin one", "shared", "FAIL_CLOSED"),
        ("twin two", "shared", "FAIL_CLOSED"),
    ] {
        scene.listener(name, |listener| own_vm(listener, name, vm, policy));
    }
    scene.listener("fence", |_| {});
}

fn own_vm(listener: &mut Listener, name: &str, vm: &str, policy: &str) {
    listener.own_probe(|plugin| {
        assert_eq!(plugin["config"]["failure_policy"], "FAIL_RELOAD", "as rendered");
        plugin["config"]["failure_policy"] = policy.into();
        plugin["config"]["vm_config"]["vm_id"] = vm.into();
        plugin["config"]["name"] = name.into();
        plugin["config"]["root_id"] = name.into();
    });
}

fn trap(stage: &Stage, listener: &str) {
    let ask = Ask::get().script("head trap");
    assert_eq!(stage.ask(listener, &ask).status, 503);
    assert!(!stage.is_seen(&ask.tag), "a request that trapped is at the service");
}

#[test]
fn a_trap_with_fail_closed_answers_503_from_then_on() {
    assert_eq!(TRAPS.ask("closed", &Ask::get()).status, 200);
    trap(&TRAPS, "closed");
    // A reload would be over by then.
    let served = poll(3 * HANG, || {
        let ask = Ask::get();
        let status = TRAPS.ask("closed", &ask).status;
        (status != 503 || TRAPS.is_seen(&ask.tag)).then_some(status)
    });
    assert_eq!(served, None);
}

#[test]
fn a_trap_with_fail_open_lets_everything_pass_from_then_on() {
    let refused = || Ask::get().script("head reply 422 -1 no");
    assert_eq!(TRAPS.ask("open", &refused()).status, 422);
    trap(&TRAPS, "open");
    assert_eq!(TRAPS.ask("open", &refused()).status, 200, "nobody refuses it any more");
}

#[test]
fn a_trap_with_fail_reload_serves_again_soon_and_forgets_the_statics() {
    for (stage, listener) in [(&*TRAPS, "reload"), (&*ISTIO, "rendered")] {
        let (first, second) = (Ask::get(), Ask::get());
        assert_eq!(stage.ask(listener, &first).status, 200);
        assert_eq!(stage.ask(listener, &second).status, 200);
        assert!(stage.event(&second.tag, "head ").ends_with("seen=2"));
        trap(stage, listener);
        let start = Instant::now();
        let tag = eventually("it serves again", SOON, || {
            let ask = Ask::get();
            (stage.ask(listener, &ask).status == 200).then_some(ask.tag)
        });
        assert!(start.elapsed() < 3 * HANG, "it took {:?}", start.elapsed());
        assert!(stage.event(&tag, "head ").ends_with("seen=1"), "{:?}", stage.events(&tag));
    }
}

#[test]
fn bodies_held_by_a_vm_that_traps_get_503_and_nothing_of_them_leaks() {
    for (stage, listener) in [(&*TRAPS, "reload held"), (&*ISTIO, "rendered held")] {
        let mut held = Vec::new();
        for _ in 0..3 {
            let ask = Ask::post().script("end read");
            let mut wire = Wire::open(stage.addr(listener));
            wire.write(ask.chunked() + &chunk("first"));
            stage.event(&ask.tag, "body ");
            held.push((ask, wire));
        }
        trap(stage, listener);
        for (ask, mut wire) in held {
            // Some are refused before their end was sent, none goes on.
            wire.write(chunk("last") + &chunk(""));
            assert!(wire.read_until("HTTP/1.1 503", SOON), "{:?}", wire.text());
            stage.assert_unseen("fence", &ask.tag);
        }
    }
}

#[test]
fn a_trap_takes_down_every_plugin_that_shares_the_vm() {
    assert_eq!(TRAPS.ask("twin two", &Ask::get()).status, 200);
    trap(&TRAPS, "twin one");
    assert_eq!(TRAPS.ask("twin two", &Ask::get()).status, 503);
    assert_eq!(TRAPS.ask("fence", &Ask::get()).status, 200, "a VM of its own is spared");
}

#[test]
fn a_first_configuration_that_is_refused_lets_no_request_through() {
    for target in Target::ALL {
        let mut stage =
            Stage::start_unready("refused-first", target, false, |scene| scene.configure("refuse"));
        eventually("the filter has refused", START_TIMEOUT, || {
            (!stage.lines("[probe] - configure accepted=false").is_empty()).then_some(())
        });
        match target {
            // The configuration is part of the bootstrap: Envoy does not start.
            Target::Envoy => {
                let status = eventually("Envoy has given up", START_TIMEOUT, || stage.envoy.has_exited());
                assert!(!status.success());
            }
            // Extension discovery: the listener comes up without the filter, and every request ends there.
            Target::Istio => {
                let ask = Ask::get();
                let reply = eventually("the listener answers", START_TIMEOUT, || {
                    match stage.send("main", ask.head("")) {
                        Outcome::Reply(reply) => Some(reply),
                        Outcome::Closed | Outcome::TimedOut => None,
                    }
                });
                assert_eq!(reply.status, 500);
                assert!(!stage.is_seen(&ask.tag) && stage.authz.checks(&ask.tag).is_empty());
                assert!(stage.is_live(), "and Envoy says that it is ready");
            }
        }
    }
}

/// The discovery response again, with another configuration of the probe.
fn update(stage: &Stage, extension: &Value, version: &str, text: &str) {
    let mut extension = extension.clone();
    extension["version_info"] = version.into();
    configure(extension.pointer_mut("/resources/0/typed_config").expect("the plugin"), text);
    stage.discover(&extension);
}

#[test]
fn a_later_update_that_is_refused_keeps_the_old_configuration() {
    let mut extension = Value::Null;
    let stage = Stage::start("updates", Target::Istio, |scene| {
        scene.configure("label one");
        extension = json!(scene.rendered.extension);
    });
    let label = |stage: &Stage| {
        let ask = Ask::get();
        assert_eq!(stage.ask("main", &ask).status, 200);
        stage.events(&ask.tag).first().cloned().unwrap_or_default()
    };
    assert!(label(&stage).starts_with("one "), "{}", label(&stage));
    update(&stage, &extension, "2", "label two\nrefuse");
    eventually("the filter has refused", SOON, || {
        (!stage.lines("[two] - configure accepted=false").is_empty()).then_some(())
    });
    let still = poll(HANG, || (!label(&stage).starts_with("one ")).then(|| label(&stage)));
    assert_eq!(still, None, "the old configuration stays");
    update(&stage, &extension, "3", "label three");
    eventually("the good update is in force", SOON, || label(&stage).starts_with("three ").then_some(()));
}

#[test]
fn an_update_leaves_requests_in_flight_and_statics_as_they_were() {
    let mut extension = Value::Null;
    let stage = Stage::start("in-flight", Target::Istio, |scene| {
        scene.configure("label one");
        extension = json!(scene.rendered.extension);
    });
    let held = Ask::post().script("end read");
    let mut wire = Wire::open(stage.addr("main"));
    wire.write(held.chunked() + &chunk("first"));
    stage.event(&held.tag, "one body ");
    update(&stage, &extension, "2", "label two");
    let before = stage.lines(" seen=").len();
    let tag = eventually("the update is in force", SOON, || {
        let ask = Ask::get();
        stage.ask("main", &ask);
        stage.events(&ask.tag).iter().any(|event| event.starts_with("two ")).then_some(ask.tag)
    });
    let seen = stage.event(&tag, "two head ");
    let seen: usize = seen.split("seen=").nth(1).and_then(|count| count.parse().ok()).expect("a count");
    assert!(seen > before, "the VM counts on: {seen}");
    wire.write(chunk("last") + &chunk(""));
    assert!(wire.read_until("HTTP/1.1 200", SOON), "{}", wire.text());
    assert_eq!(stage.event(&held.tag, "one end:read "), "status=0 value=9 bytes");
}
