//! The real binary on a disk that fails: every relevant system call in turn, once and for good.
//!
//! `PALISADE_FAULTS` makes it more: so many places for each call and error.

use std::collections::BTreeSet;

use palisade::ledger::{Entries, Entry, verify};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tests::deadline::eventually;
use tests::lone_server::{LoneServer, Said};
use tests::rig::START_TIMEOUT;

/// What a disk is asked for, what it may say, and whether each entry asks for it or only a start and a rotation.
const FAULTS: [(&str, &str, bool); 8] = [
    ("pwrite64", "EIO", true),
    ("pwrite64", "ENOSPC", true),
    ("fdatasync", "EIO", true),
    ("fdatasync", "ENOSPC", true),
    ("fsync", "EIO", false),
    ("rename", "EIO", false),
    ("unlink", "EIO", false),
    ("mkdir", "ENOSPC", false),
];

/// How many places of each are tried; the calls of a start come first.
const PLACES: usize = 4;
/// They are so far apart.
const STRIDE: usize = 5;

const CHECKS: usize = 25;

fn places() -> usize {
    match std::env::var("PALISADE_FAULTS") {
        Ok(text) => text.parse().expect("`PALISADE_FAULTS` is a number of places"),
        Err(_) => PLACES,
    }
}

fn recorded(server: &LoneServer) -> BTreeSet<String> {
    let entries = Entries::open(&server.ledger_dir()).expect("open the ledger");
    let ids = entries.filter_map(|recorded| match recorded.expect("read the ledger").entry {
        Entry::Decision(decision) => Some(decision.decision_id),
        Entry::Outcome(_)
        | Entry::Refusal(_)
        | Entry::Admin(_)
        | Entry::Drift(_)
        | Entry::Judged(_)
        | Entry::Shed(_)
        | Entry::Load(_) => None,
    });
    ids.collect()
}

/// Starts again on the same state without a fault: everything that was acknowledged is there, and all of it is sound.
fn check_survived(dir: &std::path::Path, acknowledged: &BTreeSet<String>, what: &str) {
    // A server under strace ends a moment after strace, and holds its lock for as long.
    let mut server = eventually(&format!("{what}: it starts again"), START_TIMEOUT, || {
        let mut server = LoneServer::start(dir, &[]);
        let ended = server.wait();
        let log = server.process.log();
        let too_early =
            log.lines().last().is_some_and(|line| line.contains("is being written by another server"));
        assert!(ended.is_none() || too_early, "{what}: it does not start again:\n{log}");
        ended.is_none().then_some(server)
    });
    assert!(matches!(server.check(), Said::Recorded(_)), "{what}");
    let recorded = recorded(&server);
    let lost: Vec<&String> = acknowledged.difference(&recorded).collect();
    assert!(lost.is_empty(), "{what}: acknowledged and lost: {lost:?}");
    server.stop();
    let verified = verify(&server.ledger_dir()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(verified.unsigned(), 0, "{what}");
}

/// One call fails once. The server refuses to start and says why, or goes on, and loses nothing.
fn fail_once(call: &str, errno: &str, at: usize) -> (usize, bool) {
    let what = format!("{errno} at call {at} of {call}");
    let dir = tempfile::tempdir().expect("make a directory");
    let inject = format!("inject={call}:error={errno}:when={at}");
    let trace = format!("trace={call}");
    let mut server = LoneServer::start(dir.path(), &["-e".to_owned(), trace, "-e".to_owned(), inject]);
    let mut acknowledged = BTreeSet::new();
    let started = match server.wait() {
        Some(status) => {
            assert_eq!(status.code(), Some(1), "{what}");
            assert!(server.process.log().contains("palisade serve: "), "{what}: {}", server.process.log());
            false
        }
        None => {
            for _ in 0..CHECKS {
                if let Said::Recorded(id) = server.check() {
                    acknowledged.insert(id);
                }
            }
            server.process.kill();
            true
        }
    };
    check_survived(dir.path(), &acknowledged, &what);
    (acknowledged.len(), started)
}

#[test]
fn a_call_that_fails_once_loses_nothing_acknowledged() {
    let places = places();
    let (mut faults, mut acknowledged, mut started) = (0, 0, 0);
    for (call, errno, by_entry) in FAULTS {
        for place in 0..if by_entry { places } else { places / PLACES } {
            let (ids, up) = fail_once(call, errno, 1 + place * STRIDE);
            faults += 1;
            acknowledged += ids;
            started += usize::from(up);
        }
    }
    println!(
        "{faults} faults, {started} of them survived running, {acknowledged} entries acknowledged, none lost"
    );
    assert!(faults >= 4 * PLACES + 4);
    assert!(acknowledged >= started * (CHECKS / 2), "a fault that is over refuses hardly anybody");
}

#[test]
fn a_disk_that_fails_for_good_refuses_by_name_and_loses_nothing() {
    for (call, errno) in [("fdatasync", "EIO"), ("pwrite64", "ENOSPC")] {
        let what = format!("{errno} from {call} for good");
        let dir = tempfile::tempdir().expect("make a directory");
        // A start has about twenty of each.
        let inject = format!("inject={call}:error={errno}:when=40+");
        let trace = format!("trace={call}");
        let mut server = LoneServer::start(dir.path(), &["-e".to_owned(), trace, "-e".to_owned(), inject]);
        assert_eq!(server.wait(), None, "{what}: {}", server.process.log());
        let mut acknowledged = BTreeSet::new();
        let mut refused = 0;
        while refused < CHECKS {
            match server.check() {
                Said::Recorded(id) => {
                    assert!(acknowledged.len() < 1000, "{what}: nothing ever fails");
                    assert!(acknowledged.insert(id));
                }
                Said::Unavailable => refused += 1,
                Said::Nothing => panic!("{what}: the server is gone:\n{}", server.process.log()),
            }
        }
        assert!(!server.is_ready(), "{what}");
        let log = server.process.log();
        let told = log.matches("the ledger cannot store anything and refuses decisions").count();
        assert_eq!(told, 1, "{what}: it is said once per change of state:\n{log}");
        assert!(!log.contains("a decision could not be stored"), "{log}");
        server.process.kill();
        check_survived(dir.path(), &acknowledged, &what);
    }
}

/// How large the files of a running process may become. `None` is without a limit.
fn limit_files(pid: u32, bytes: Option<u64>) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("the id of a child");
    let new = Rlimit { current: bytes, maximum: None };
    prlimit(Some(pid), Resource::Fsize, new).expect("set a limit of a child");
}

#[test]
fn a_full_disk_is_told_once_and_room_mends_it_without_a_restart() {
    let dir = tempfile::tempdir().expect("make a directory");
    let mut server = LoneServer::start(dir.path(), &[]);
    assert_eq!(server.wait(), None);
    let mut acknowledged = BTreeSet::new();
    let mut record = |server: &mut LoneServer| match server.check() {
        Said::Recorded(id) => acknowledged.insert(id),
        said => panic!("{said:?}"),
    };
    for _ in 0..CHECKS {
        record(&mut server);
    }
    for _ in 0..2 {
        limit_files(server.process.pid(), Some(0));
        for _ in 0..CHECKS {
            assert_eq!(server.check(), Said::Unavailable);
        }
        assert!(!server.is_ready());
        limit_files(server.process.pid(), None);
        eventually("it is ready again", START_TIMEOUT, || server.is_ready().then_some(()));
        for _ in 0..CHECKS {
            record(&mut server);
        }
    }
    let log = server.process.log();
    // What it said while no file could grow is lost with the rest, so that only the ends of it are there.
    assert_eq!(log.matches("the ledger stores again").count(), 2, "{log}");
    let metrics = server.metrics();
    assert!(metrics.contains("palisade_ledger_segments_given_up_total 2"), "{metrics}");
    server.stop();
    check_survived(dir.path(), &acknowledged, "a full disk");
}
