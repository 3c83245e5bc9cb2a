//! A server that is killed while it reloads, and a disk that is full when a bundle is to be kept.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use palisade::ledger::{AdminEvent, Entry};
use palisade::state::Bundles;
use palisade_core::contract::BundleDigest;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{Live, digest, order, read, save, text};

/// `PALISADE_RELOAD_KILLS` makes it more.
const KILLS: usize = 8;

fn kills() -> usize {
    match std::env::var("PALISADE_RELOAD_KILLS") {
        Ok(text) => text.parse().expect("`PALISADE_RELOAD_KILLS` is a number of kills"),
        Err(_) => KILLS,
    }
}

/// Epoch counters of all decisions, in the order of the ledger.
fn epochs(live: &Live) -> Vec<u64> {
    live.rig.decisions().iter().map(|decision| decision.epoch.counter).collect()
}

#[test]
fn a_kill_during_reloads_loses_no_bundle_and_no_epoch() {
    let mut live = Live::start();
    let path = live.at("bundle/guardrails.cedar");
    let base = read(&path);
    for round in 0..kills() {
        let killer = live.rig.server.killer();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (path, base, over) = (&path, &base, &over);
            let writer = scope.spawn(move || {
                let mut count = 0;
                while !over.load(Ordering::SeqCst) {
                    save(path, &format!("{base}// {round}.{count}\n"));
                    count += 1;
                }
            });
            // Each round meets the reloads at another place.
            for _ in 0..=round {
                let request =
                    "POST /reload HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _answered = tests::raw_client::send(live.rig.server_admin(), request);
                let _decided = live.rig.send(live.rig.read_request());
            }
            killer.kill();
            over.store(true, Ordering::SeqCst);
            writer.join().expect("the writer");
        });
        live.rig.server.restart();
        live.rig.wait_until_server_is_ready();
        live.rig.wait_until_guarded();
        live.wait_until_in_force();
        assert_eq!(live.rig.send(live.rig.read_request()).expect_reply().status, 200);
    }
    let epochs = epochs(&live);
    assert!(epochs.is_sorted(), "an epoch went back: {epochs:?}");
    let server = text(&live.told()["epoch"], "server");
    let bundles = Bundles::of(&live.rig.dir().join("state"));
    let mut by_epoch = std::collections::BTreeMap::new();
    for decision in live.rig.decisions() {
        assert_eq!(decision.epoch.server, server);
        let digest = by_epoch.entry(decision.epoch.counter).or_insert_with(|| decision.bundle_digest.clone());
        assert_eq!(*digest, decision.bundle_digest, "an epoch stands for one bundle");
    }
    for digest in by_epoch.values() {
        bundles
            .find(BundleDigest::parse(digest).expect("a digest"))
            .expect("every bundle that decided is kept");
    }
    assert!(by_epoch.len() > kills(), "there were reloads between the kills: {}", by_epoch.len());
    assert_loaded_before_use(&live);
    palisade::ledger::verify(&live.rig.ledger_dir()).expect("the ledger is whole");
}

/// The ledger says that a bundle was loaded, or that the server started with it, before any decision was made by it.
fn assert_loaded_before_use(live: &Live) {
    let mut told = String::new();
    for entry in live.rig.ledger_entries() {
        match entry {
            Entry::Admin(admin) if matches!(admin.event, AdminEvent::Start | AdminEvent::BundleLoaded) => {
                told.push_str(&admin.detail);
            }
            Entry::Decision(decision) => {
                assert!(told.contains(&decision.bundle_digest), "{} was not told of", decision.bundle_digest);
            }
            Entry::Admin(_)
            | Entry::Refusal(_)
            | Entry::Outcome(_)
            | Entry::Drift(_)
            | Entry::Judged(_)
            | Entry::Shed(_)
            | Entry::Load(_) => {}
        }
    }
}

/// POSIX counts the limit in blocks of this size.
const BLOCK_BYTES: u64 = 512;

/// A bundle that cannot be kept cannot be used: a decision made by it could never be evaluated again. Room mends it,
/// without a restart and without another save.
///
/// The room is a limit on the size of files, as in `full_disk`; the new bundle has a file that does not fit.
#[test]
fn a_bundle_that_does_not_fit_on_the_disk_is_not_taken() {
    let mut live = Live::start();
    let room = 256 * 1024;
    live.rig.server.relaunch_with(|launch| {
        let program = std::mem::replace(&mut launch.program, "/bin/sh".into());
        let script = format!("ulimit -S -f {} && exec \"$0\" \"$@\"", room / BLOCK_BYTES);
        launch.args.splice(0..0, ["-c".into(), script.into(), program.into()]);
    });
    live.rig.server.restart();
    live.rig.wait_until_server_is_ready();
    live.rig.wait_until_guarded();

    let before = live.digest_in_force();
    let large =
        "// A comment as long as the room.\n".repeat(usize::try_from(room).expect("a small number") / 34 + 1);
    save(&live.at("bundle/large.cedar"), &large);
    let expected = digest(&live.bundle_dir());
    let attempt = live.wait_until_refused("the bundle cannot be kept");
    assert_eq!((text(&attempt, "result").as_str(), live.digest_in_force()), ("not_taken", before));
    assert_eq!(order(&live.rig).status, 507);
    assert_eq!(live.rig.send(live.rig.read_request()).expect_reply().status, 200);
    let kept = fs::read_dir(live.rig.dir().join("state/bundles")).expect("list the bundles");
    let names: Vec<_> = kept.map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(names.iter().all(|name| name != expected.as_str() && name != ".unfinished"), "{names:?}");

    make_room(live.rig.server.pid());
    live.wait_until_in_force();
    assert_eq!(live.digest_in_force(), expected);
    assert_eq!(live.rig.send(live.rig.read_request()).expect_reply().status, 200);
    // Once when it was noticed and once more for the order, and not with every try in between.
    let refused = live.entries(AdminEvent::BundleRefused);
    assert_eq!(refused.len(), 2, "{refused:?}");
}

/// Lifts the limit of a process that runs.
fn make_room(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("the id of a child");
    let unlimited = Rlimit { current: None, maximum: None };
    prlimit(Some(pid), Resource::Fsize, unlimited).expect("lift the limit");
}
