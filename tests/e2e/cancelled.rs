//! Callers that hang up while their call is being decided: what the server began it finishes and records, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use palisade::ledger::Entry;
use tests::deadline::eventually;
use tests::raw_client::{Outcome, RawConnection};
use tests::rig::{BundleUnderTest, Options, Rig, START_TIMEOUT, Target, Trace};

/// Long enough for every caller to hang up within it, and two of them end before the server's own deadline.
const SYNC_DELAY_US: u64 = 500_000;

/// Callers that wait until their call is under way.
const WAITING: usize = 100;

/// Callers that do not.
const HASTY: usize = 300;

const CHECKS_SENT: &str = "cluster.palisade-server.upstream_rq_total";

/// Sends each request over a connection of its own, which stays open.
fn send_all(rig: &Rig, name: &str, count: usize) -> (BTreeSet<String>, Vec<RawConnection>) {
    let send = |index| {
        let (path, request) = rig.write_to(&format!("{name}-{index}"));
        let mut connection = RawConnection::open(rig.addr()).expect("connect to the listener");
        connection.write(request.as_bytes()).expect("send to the listener");
        (path, connection)
    };
    (0..count).map(send).unzip()
}

/// What the server counts of the decisions that it made.
fn decided(rig: &Rig) -> usize {
    let metrics = rig.server_metrics();
    let counts = metrics.lines().filter(|line| line.starts_with("palisade_decisions_total{"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}

/// Paths of all recorded decisions with how often each was recorded; every one that was made is there.
fn recorded(rig: &Rig) -> BTreeMap<String, usize> {
    let decisions = eventually("all decisions that were made are recorded", START_TIMEOUT, || {
        let made = decided(rig);
        let entries = rig.ledger_entries();
        let decisions: Vec<_> = entries
            .into_iter()
            .filter_map(|entry| match entry {
                Entry::Decision(decision) => Some(decision),
                _ => None,
            })
            .collect();
        (decisions.len() == made).then_some(decisions)
    });
    let ids: BTreeSet<&str> = decisions.iter().map(|decision| decision.decision_id.as_str()).collect();
    assert_eq!(ids.len(), decisions.len(), "a decision was recorded twice");
    let mut paths = BTreeMap::new();
    for decision in decisions {
        *paths.entry(decision.path).or_default() += 1;
    }
    paths
}

/// What arrived at a service has an entry; asked in this order, because the entry is there first.
fn assert_seen_is_recorded(rig: &Rig) {
    let seen: Vec<String> = rig
        .requests_seen()
        .iter()
        .map(|(_, request)| String::from_utf8_lossy(&request.target).into_owned())
        .collect();
    let recorded = recorded(rig);
    for path in seen {
        assert_eq!(recorded.get(&path), Some(&1), "{path} arrived without an entry of its own");
    }
}

fn assert_served(rig: &Rig, id: &str) {
    eventually("a request is served", START_TIMEOUT, || {
        let outcome = rig.send(rig.write_to(id).1);
        matches!(outcome, Outcome::Reply(reply) if reply.status == 200).then_some(())
    });
    let ready = tests::rig::admin(rig.server_admin(), "/readyz").map(|reply| reply.status);
    assert_eq!(ready, Some(200));
}

/// What somebody gets who waits for each reply, while others do not.
fn outcomes_of_a_patient_caller(rig: &Rig, enough: &AtomicBool) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut connection = RawConnection::open(rig.addr()).expect("connect to the listener");
    for index in 0.. {
        let (_, request) = rig.write_to(&format!("patient-{index}"));
        outcomes.push(connection.exchange(request.as_bytes()));
        if enough.load(Ordering::SeqCst) {
            break;
        }
    }
    outcomes
}

fn ended_call(entry: &Entry) -> Option<&str> {
    match entry {
        Entry::Outcome(outcome) => outcome.call_id.as_deref(),
        Entry::Decision(_)
        | Entry::Refusal(_)
        | Entry::Admin(_)
        | Entry::Drift(_)
        | Entry::Judged(_)
        | Entry::Shed(_)
        | Entry::Load(_) => None,
    }
}

fn cancelled(target: Target) {
    let options = Options::default().trace_server(Trace::SlowSyncs { delay_us: SYNC_DELAY_US });
    let rig = Rig::start_with(target, BundleUnderTest::Second, options);

    // All calls are under way, then all callers go: the disk is slow enough for that.
    let before = rig.envoy_stat(CHECKS_SENT);
    let (paths, connections) = send_all(&rig, "waits", WAITING);
    eventually("all calls are under way", START_TIMEOUT, || {
        (rig.envoy_stat(CHECKS_SENT) >= before + WAITING as u64).then_some(())
    });
    drop(connections);
    let arrived = rig.requests_seen().len();
    assert!(arrived < WAITING / 2, "{arrived} of {WAITING} calls were served before anybody could hang up");
    eventually("what was begun is recorded although nobody waits for it", START_TIMEOUT, || {
        let recorded = recorded(&rig);
        paths.iter().all(|path| recorded.get(path) == Some(&1)).then_some(())
    });
    assert_seen_is_recorded(&rig);
    // No reply brought the proxy their ids; the handoffs that are still on the requests do.
    eventually("the outcomes of calls that nobody waited for are joined with them", START_TIMEOUT, || {
        let entries = rig.ledger_entries();
        let ended: BTreeSet<&str> = entries.iter().filter_map(ended_call).collect();
        let mut decided = entries.iter().filter_map(|entry| match entry {
            Entry::Decision(decision) if paths.contains(&decision.path) => Some(decision),
            _ => None,
        });
        decided.all(|decision| ended.contains(decision.decision_id.as_str())).then_some(())
    });
    assert_served(&rig, "after-waiting");

    // Hanging up at once cuts calls at every stage, and only those that hang up.
    let hasty_are_done = AtomicBool::new(false);
    let outcomes = std::thread::scope(|scope| {
        let patient = scope.spawn(|| outcomes_of_a_patient_caller(&rig, &hasty_are_done));
        for index in 0..HASTY {
            drop(send_all(&rig, &format!("hasty-{index}"), 1));
        }
        hasty_are_done.store(true, Ordering::SeqCst);
        patient.join().expect("the patient caller")
    });
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Outcome::Reply(reply) if reply.status == 200)),
        "{outcomes:?}"
    );
    assert_served(&rig, "after-haste");
    assert_seen_is_recorded(&rig);
    palisade::ledger::verify(&rig.ledger_dir()).expect("the ledger is whole");
}

#[test]
fn calls_are_recorded_once_on_envoy() {
    cancelled(Target::Envoy);
}

#[test]
fn calls_are_recorded_once_on_istio() {
    cancelled(Target::Istio);
}
