//! A disk without room: what cannot be recorded is refused, nothing that was acknowledged is lost, and room mends it.
//!
//! The room is a limit on the size of files (`ulimit -f`), which needs no right to mount anything and lets the kernel do
//! what it does on a full disk: it stores as much of the last write as there is room for, and fails.

use std::collections::BTreeSet;

use palisade::ledger::{AdminEvent, Entry};
use tests::deadline::eventually;
use tests::raw_client::{Outcome, Reply};
use tests::rig::{BundleUnderTest, Rig, START_TIMEOUT, Target, admin};

/// Room for a few dozen entries.
const ROOM_BYTES: u64 = 32 * 1024;

/// POSIX counts the limit in blocks of this size.
const BLOCK_BYTES: u64 = 512;

/// Many times what fits.
const WRITES_MAX: usize = 1000;

fn write(rig: &Rig, index: usize) -> (String, Reply) {
    let (path, request) = rig.write_to(&format!("disk-{index}"));
    (path, rig.send(request).expect_reply())
}

/// Starts the server again with so much room, or with all that there is.
fn restart_server(rig: &mut Rig, room_bytes: Option<u64>) {
    rig.server.relaunch_with(|launch| {
        let limit =
            room_bytes.map_or_else(|| "unlimited".to_owned(), |bytes| (bytes / BLOCK_BYTES).to_string());
        let script = format!("ulimit -f {limit} && exec \"$0\" \"$@\"");
        if launch.program.ends_with("sh") {
            launch.args[1] = script.into();
        } else {
            let program = std::mem::replace(&mut launch.program, "/bin/sh".into());
            launch.args.splice(0..0, ["-c".into(), script.into(), program.into()]);
        }
    });
    rig.server.restart();
}

fn readiness(rig: &Rig) -> Option<u16> {
    admin(rig.server_admin(), "/readyz").map(|reply| reply.status)
}

fn eventually_served(rig: &mut Rig) {
    rig.wait_until_server_is_ready();
    eventually("requests are served", START_TIMEOUT, || {
        let outcome = rig.send(rig.read_request());
        matches!(outcome, Outcome::Reply(reply) if reply.status == 200).then_some(())
    });
}

fn assert_unavailable(reply: &Reply) {
    assert_eq!((reply.status, reply.reason().as_deref()), (503, Some("ledger_unavailable")), "{reply:?}");
}

fn full_disk(target: Target) {
    let mut rig = Rig::start(target, BundleUnderTest::Second);
    let segment = std::fs::read_dir(rig.ledger_dir()).expect("list the ledger");
    let used: u64 = segment.map(|file| file.expect("a file").metadata().expect("its length").len()).sum();
    let room = used + ROOM_BYTES;
    restart_server(&mut rig, Some(room));
    eventually_served(&mut rig);

    rig.reset_spies();
    let mut acknowledged = BTreeSet::new();
    let refused = (0..WRITES_MAX).find_map(|index| match write(&rig, index) {
        (path, reply) if reply.status == 200 => {
            acknowledged.insert(path);
            None
        }
        (path, reply) => Some((path, reply)),
    });
    let (first_refused, reply) = refused.expect("the room is used up");
    assert_unavailable(&reply);
    assert!(acknowledged.len() > 10, "there was room for {} writes only", acknowledged.len());

    // From here on nothing passes, reads and denials too: none of them could be recorded.
    assert_unavailable(&write(&rig, WRITES_MAX).1);
    assert_unavailable(&rig.send(rig.read_request()).expect_reply());
    assert_eq!(readiness(&rig), Some(503));
    let seen: BTreeSet<String> = rig
        .requests_seen()
        .iter()
        .map(|(_, request)| String::from_utf8_lossy(&request.target).into_owned())
        .collect();
    assert_eq!(seen, acknowledged, "the services saw what was acknowledged and nothing else");
    assert!(rig.server_metrics().contains("palisade_decisions_not_recorded_total"));
    assert!(rig.server.log().contains("a decision could not be stored"));

    let torn_bytes = palisade::ledger::verify(&rig.ledger_dir()).expect("the ledger has an end").torn_bytes;

    // Where not even the end of the ledger can be stored again, the server does not start.
    restart_server(&mut rig, Some(room - ROOM_BYTES / 2));
    let ended = eventually("the server gives up", START_TIMEOUT, || rig.server.has_exited());
    assert_eq!(ended.code(), Some(1), "{ended}");
    assert!(rig.server.log().contains("palisade serve: could not write"), "{}", rig.server.log());

    restart_server(&mut rig, None);
    eventually_served(&mut rig);
    let entries = rig.ledger_entries();
    let recovered = entries
        .iter()
        .any(|entry| matches!(entry, Entry::Admin(admin) if admin.event == AdminEvent::LedgerRecovered));
    assert_eq!(
        recovered,
        torn_bytes > 0,
        "{torn_bytes} bytes of an entry were cut off, and the ledger says so"
    );
    let recorded: BTreeSet<String> = rig.decisions().into_iter().map(|decision| decision.path).collect();
    let lost: Vec<&String> = acknowledged.difference(&recorded).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    // The first refused one may stand there or not: where it shared a write with what was cut off behind it, it is whole.
    // What counts is that the service never saw it.
    let unexplained: Vec<&String> = recorded
        .iter()
        .filter(|path| path.contains("disk-") && !acknowledged.contains(*path) && **path != first_refused)
        .collect();
    assert!(unexplained.is_empty(), "recorded although the ledger had stopped: {unexplained:?}");
    palisade::ledger::verify(&rig.ledger_dir()).expect("the ledger is whole");
    assert_eq!(write(&rig, WRITES_MAX + 1).1.status, 200);
}

#[test]
fn refuses_until_there_is_room_on_envoy() {
    full_disk(Target::Envoy);
}

#[test]
fn refuses_until_there_is_room_on_istio() {
    full_disk(Target::Istio);
}
