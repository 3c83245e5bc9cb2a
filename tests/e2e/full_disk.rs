//! A disk without room: what cannot be recorded is refused, nothing that was acknowledged is lost, and room mends it,
//! without a restart and with one.
//!
//! The room is a limit on the size of files, set on the running server: it needs no right to mount anything, and lets the
//! kernel do what it does on a full disk.

use std::collections::BTreeSet;

use palisade::ledger::{Admin, AdminEvent, Entry};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tests::deadline::eventually;
use tests::raw_client::{Outcome, Reply};
use tests::rig::{BundleUnderTest, Rig, START_TIMEOUT, Target, admin};

const WRITES: usize = 20;

fn write(rig: &Rig, name: &str) -> (String, Reply) {
    let (path, request) = rig.write_to(name);
    (path, rig.send(request).expect_reply())
}

/// How large the server's files may become from now on. `None` is without a limit.
fn limit_files(rig: &Rig, bytes: Option<u64>) {
    let pid = i32::try_from(rig.server.pid()).ok().and_then(Pid::from_raw).expect("the id of a child");
    let new = Rlimit { current: bytes, maximum: None };
    prlimit(Some(pid), Resource::Fsize, new).expect("set a limit of a child");
}

/// Starts the server again with room for so many blocks of 512 bytes in a file, or with all that there is.
fn restart_server(rig: &mut Rig, room_blocks: Option<u64>) {
    rig.server.relaunch_with(|launch| {
        let limit = room_blocks.map_or_else(|| "unlimited".to_owned(), |blocks| blocks.to_string());
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

/// Writes that pass; each is acknowledged.
fn write_some(rig: &Rig, name: &str, acknowledged: &mut BTreeSet<String>) {
    for index in 0..WRITES {
        let (path, reply) = write(rig, &format!("{name}-{index}"));
        assert_eq!(reply.status, 200, "{reply:?}");
        acknowledged.insert(path);
    }
}

/// Nothing passes, reads and denials too: none of them could be recorded.
fn assert_nothing_passes(rig: &Rig, name: &str) -> String {
    let (first, reply) = write(rig, name);
    assert_unavailable(&reply);
    for index in 0..WRITES {
        assert_unavailable(&write(rig, &format!("{name}-{index}")).1);
    }
    assert_unavailable(&rig.send(rig.read_request()).expect_reply());
    assert_eq!(readiness(rig), Some(503));
    first
}

fn full_disk(target: Target) {
    let mut rig = Rig::start(target, BundleUnderTest::Second);
    rig.reset_spies();
    let mut acknowledged = BTreeSet::new();
    write_some(&rig, "disk-before", &mut acknowledged);

    limit_files(&rig, Some(0));
    let first_refused = assert_nothing_passes(&rig, "disk-full");
    let seen: BTreeSet<String> = rig
        .requests_seen()
        .iter()
        .map(|(_, request)| String::from_utf8_lossy(&request.target).into_owned())
        .collect();
    assert_eq!(seen, acknowledged, "the services saw what was acknowledged and nothing else");
    assert!(rig.server_metrics().contains("palisade_ledger_stores 0"), "{}", rig.server_metrics());

    // Room mends it, and nobody has to restart anything.
    limit_files(&rig, None);
    eventually_served(&mut rig);
    write_some(&rig, "disk-again", &mut acknowledged);
    let given_up =
        |entry: &Entry| matches!(entry, Entry::Admin(Admin { event: AdminEvent::SegmentReplaced, .. }));
    assert_eq!(rig.ledger_entries().iter().filter(|entry| given_up(entry)).count(), 1);

    // A server that is killed while it refuses does not start without room, and loses nothing either.
    limit_files(&rig, Some(0));
    assert_nothing_passes(&rig, "disk-full-again");
    restart_server(&mut rig, Some(0));
    let ended = eventually("the server gives up", START_TIMEOUT, || rig.server.has_exited());
    assert_eq!(ended.code(), Some(1), "{ended}");
    restart_server(&mut rig, None);
    eventually_served(&mut rig);

    let recorded: BTreeSet<String> = rig.decisions().into_iter().map(|decision| decision.path).collect();
    let lost: Vec<&String> = acknowledged.difference(&recorded).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    // What was refused first may stand there: it was in the batch that failed, and that is stored once there is room. What
    // counts is that the service never saw it.
    let unexplained: Vec<&String> = recorded
        .iter()
        .filter(|path| path.contains("disk-") && !acknowledged.contains(*path) && **path != first_refused)
        .filter(|path| !path.ends_with("disk-full-again"))
        .collect();
    assert!(unexplained.is_empty(), "recorded although the ledger had stopped: {unexplained:?}");
    palisade::ledger::verify(&rig.ledger_dir()).expect("the ledger is whole");
    assert_eq!(write(&rig, "disk-after").1.status, 200);
}

#[test]
fn refuses_until_there_is_room_on_envoy() {
    full_disk(Target::Envoy);
}

#[test]
fn refuses_until_there_is_room_on_istio() {
    full_disk(Target::Istio);
}
