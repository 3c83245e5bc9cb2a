//! An entry is on disk before its decision leaves: shown by what survives SIGKILL, and by the order of system calls.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use tests::deadline::eventually;
use tests::raw_client::{Outcome, RawConnection};
use tests::rig::{BundleUnderTest, LEDGER_TIMEOUT, Options, Rig, START_TIMEOUT, Target, Trace};

/// Behind Envoy, which takes its time to connect again; `kills.rs` makes very many without it.
const KILLS: usize = 6;

const WRITERS: usize = 4;
const ACKNOWLEDGED_BEFORE_A_KILL: usize = 40;

/// Writes until the server is gone; the paths whose writes were acknowledged.
fn write_until_refused(rig: &Rig, name: &str, acknowledged: &AtomicUsize) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    let Ok(mut connection) = RawConnection::open(rig.addr()) else { return paths };
    for count in 0.. {
        let (path, request) = rig.write_to(&format!("{name}-{count}"));
        match connection.exchange(request.as_bytes()) {
            Outcome::Reply(reply) if reply.status == 200 => {
                paths.insert(path);
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            _ => break,
        }
    }
    paths
}

#[test]
fn every_acknowledged_write_survives_sigkill() {
    let acknowledged = kill_again_and_again(KILLS);
    println!("{KILLS} kills, {acknowledged} acknowledged writes, none lost");
    assert!(acknowledged >= KILLS * ACKNOWLEDGED_BEFORE_A_KILL);
}

/// Kills one server so often while it is written to; how many writes were acknowledged, all of which are there.
fn kill_again_and_again(kills: usize) -> usize {
    let mut rig = Rig::start(Target::Envoy, BundleUnderTest::Second);
    let mut expected = BTreeSet::new();
    for round in 0..kills {
        let acknowledged = AtomicUsize::new(0);
        let acknowledged = &acknowledged;
        // The id is taken first: a process cannot be borrowed to be killed while the writers use the rig.
        let server = rig.server.killer();
        let shared = &rig;
        let paths: Vec<BTreeSet<String>> = std::thread::scope(|scope| {
            let writer = |index| {
                let name = format!("v-{round}-{index}");
                scope.spawn(move || write_until_refused(shared, &name, acknowledged))
            };
            let writers: Vec<_> = (0..WRITERS).map(writer).collect();
            eventually("enough writes are acknowledged", START_TIMEOUT, || {
                (acknowledged.load(Ordering::SeqCst) >= ACKNOWLEDGED_BEFORE_A_KILL).then_some(())
            });
            server.kill();
            writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
        });
        expected.extend(paths.into_iter().flatten());
        rig.server.restart();
        rig.wait_until_server_is_ready();
        rig.wait_until_guarded();
        let recorded: BTreeSet<String> = rig.decisions().into_iter().map(|decision| decision.path).collect();
        let lost: Vec<&String> = expected.difference(&recorded).collect();
        assert!(lost.is_empty(), "kill {round} lost {} of {} entries: {lost:?}", lost.len(), expected.len());
    }
    let verified = palisade::ledger::verify(&rig.ledger_dir()).expect("the ledger is whole after all kills");
    assert!(verified.entries >= expected.len() as u64);
    expected.len()
}

#[test]
fn a_write_is_synced_before_its_decision_is_sent() {
    const TRACE: &str = "server.strace";
    const WRITES: usize = 5;
    let rig = Rig::start_with(
        Target::Envoy,
        BundleUnderTest::Demo,
        Options::default().trace_server(Trace::ToFile(TRACE)),
    );
    let before = rig.decisions().len();
    for _ in 0..WRITES {
        let reply = rig.send(rig.write_request()).expect_reply();
        assert_eq!(reply.status, 200, "{:?}", reply.reason());
    }
    let decisions = rig.decisions_when(before + WRITES);
    for decision in decisions.iter().skip(before) {
        let id = &decision.decision_id;
        // strace writes its file a little after the call that it shows.
        eventually(&format!("the trace shows the reply with {id}"), LEDGER_TIMEOUT, || {
            let trace = std::fs::read_to_string(rig.dir().join(TRACE)).ok()?;
            order_of(&trace, id).reply.map(|_| ())
        });
        let trace = std::fs::read_to_string(rig.dir().join(TRACE)).expect("read the trace");
        let order = order_of(&trace, id);
        let (written, synced, reply) = (order.written, order.synced, order.reply);
        assert!(
            matches!((written, synced, reply), (Some(a), Some(b), Some(c)) if a < b && b < c),
            "decision {id}: written at {written:?}, synced at {synced:?}, replied at {reply:?}"
        );
    }
}

/// Lines of the trace at which the entry was written, a sync after that returned, and the decision left.
#[derive(Debug, Default)]
pub(crate) struct Order {
    pub(crate) written: Option<usize>,
    pub(crate) synced: Option<usize>,
    pub(crate) reply: Option<usize>,
}

pub(crate) fn order_of(trace: &str, id: &str) -> Order {
    let mut order = Order::default();
    for (number, line) in trace.lines().enumerate() {
        let to_socket = line.contains("<TCP") || line.contains("<UNIX") || line.contains("<socket:");
        if order.written.is_none() && line.contains(id) && !to_socket && line.contains("ledger") {
            order.written = Some(number);
        } else if order.written.is_some() && order.synced.is_none() && is_finished_sync(line) {
            order.synced = Some(number);
        } else if order.reply.is_none() && line.contains(id) && to_socket {
            order.reply = Some(number);
        }
    }
    order
}

/// `fdatasync(7</…>) = 0` in one line, or the second half of one that was interrupted by another thread's line.
fn is_finished_sync(line: &str) -> bool {
    (line.contains("sync(") || line.contains("sync resumed>")) && line.trim_end().ends_with("= 0")
}
