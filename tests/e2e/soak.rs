//! Hours in small: mixed calls at a steady rate, through Envoy and to the server itself, and memory stays where it was.
//!
//! Every call is one entry, the ledger verifies when the soak is over, and the audit index has kept up.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use palisade::ledger::{Entries, Entry};
use tests::deadline::eventually;
use tests::raw_client::{Outcome, RawConnection};
use tests::rig::{BundleUnderTest, Rig, Target};
use tokio::runtime::Runtime;
use tokio::time::{MissedTickBehavior, interval};

use crate::handoff::{Forger, reason_of};

/// Seconds; `PALISADE_SOAK_S` makes it more.
const SOAK_S: u64 = 8;

/// Calls a second.
const DIRECT_PER_SECOND: u32 = 600;
const THROUGH_ENVOY_PER_SECOND: u32 = 60;
const DIRECT: u32 = 4;

/// What is looked at: so many moments, and what a process may gain between the first quarter's highest and the last
/// quarter's highest. Allocators take their time to reach a level, and the full size asks for more than a level.
const MOMENTS: u64 = 40;
const GROWTH_KB_MAX: u64 = 8 * 1024;

#[derive(Debug, Default)]
struct Made {
    over: AtomicBool,
    direct: AtomicU64,
    through_envoy: AtomicU64,
}

impl Made {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

/// Allowed calls, and one in four that is denied because its handoff is not genuine.
async fn ask_directly(address: String, mut filter: Forger, secret: String, made: Arc<Made>) {
    let mut client = AuthorizationClient::connect(address).await.expect("connect to the server");
    let mut ticks = interval(Duration::from_secs(1) / (DIRECT_PER_SECOND / DIRECT));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for count in 0_u64.. {
        ticks.tick().await;
        if made.is_over() {
            return;
        }
        let handoff = filter.genuine();
        let signed = (count % 4 != 0).then(|| filter.sign(handoff, &secret));
        let expected = if signed.is_some() { "" } else { "handoff_missing" };
        let response = client.check(filter.request(signed)).await.expect("an answer to a Check");
        assert_eq!(reason_of(response.into_inner()), expected, "call {count}");
        made.direct.fetch_add(1, Ordering::SeqCst);
    }
}

/// Allowed reads, denied ones, and what the filter refuses, in turn.
fn ask_through_envoy(rig: &Rig, made: &Made) {
    let read = rig.read_request();
    let unknown = read.replacen("GET /", "GET /nothing-here/", 1);
    let anonymous: String =
        read.split_inclusive("\r\n").filter(|line| !line.starts_with("x-api-key")).collect();
    let kinds = [(read.as_str(), 200), (anonymous.as_str(), 403), (unknown.as_str(), 404)];
    let mut connection = RawConnection::open(rig.addr()).expect("connect to Envoy");
    let every = Duration::from_secs(1) / THROUGH_ENVOY_PER_SECOND;
    let began = Instant::now();
    for (count, (request, status)) in (0_u32..).zip(kinds.iter().cycle()) {
        let due = every * count;
        eventually("the next call is due", 2 * every + Duration::from_secs(60), || {
            (made.is_over() || began.elapsed() >= due).then_some(())
        });
        if made.is_over() {
            return;
        }
        match connection.exchange(request.as_bytes()) {
            Outcome::Reply(reply) => assert_eq!(reply.status, *status, "{request}: {:?}", reply.reason()),
            other => panic!("call {count}: {other:?}"),
        }
        made.through_envoy.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn memory_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The memory of server and Envoy at each moment.
fn watch(rig: &Rig, seconds: u64) -> [Vec<u64>; 2] {
    let began = Instant::now();
    let mut memory = [Vec::new(), Vec::new()];
    for moment in 1..=MOMENTS {
        let due = Duration::from_millis(seconds * 1000 * moment / MOMENTS);
        eventually("the next moment", due + Duration::from_secs(60), || {
            (began.elapsed() >= due).then_some(())
        });
        for (memory, pid) in memory.iter_mut().zip([rig.server.pid(), rig.envoy.pid()]) {
            memory.push(memory_kb(pid));
        }
        if moment % 8 == 0 {
            let [server, envoy] = memory.each_ref().map(|memory| memory.last().copied().unwrap_or_default());
            println!("{:>5} s: server {server} kB, Envoy {envoy} kB", began.elapsed().as_secs());
        }
    }
    memory
}

/// The highest of a quarter of the moments.
fn highest(memory: &[u64], quarter: usize) -> u64 {
    let length = memory.len() / 4;
    memory.iter().skip(quarter * length).take(length).max().copied().unwrap_or_default()
}

#[test]
fn a_soak_leaves_memory_flat_and_every_call_recorded() {
    let full_size = std::env::var("PALISADE_SOAK_S").ok();
    let seconds = full_size.as_ref().map_or(SOAK_S, |text| text.parse().expect("a number of seconds"));
    let rig = Rig::start(Target::Envoy, BundleUnderTest::Second);
    let made = Arc::new(Made::default());
    let runtime = Runtime::new().expect("a runtime");
    let askers: Vec<_> = (0..DIRECT)
        .map(|_| {
            let address = format!("http://{}", rig.server_addr());
            let (filter, secret) = (Forger::new(&rig), rig.secret().to_owned());
            runtime.spawn(ask_directly(address, filter, secret, Arc::clone(&made)))
        })
        .collect();
    let memory = std::thread::scope(|scope| {
        let caller = scope.spawn(|| ask_through_envoy(&rig, &made));
        // Callers end with the soak, however it ends.
        let watched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| watch(&rig, seconds)));
        made.over.store(true, Ordering::SeqCst);
        caller.join().expect("every call through Envoy was answered as expected");
        watched.expect("both processes ran")
    });
    for asker in askers {
        runtime.block_on(asker).expect("every call to the server was answered as expected");
    }
    let (direct, through) = (made.direct.load(Ordering::SeqCst), made.through_envoy.load(Ordering::SeqCst));
    println!("{seconds} s: {direct} calls to the server and {through} through Envoy");
    assert!(direct >= seconds * u64::from(DIRECT_PER_SECOND) / 2, "the machine was too slow for a soak");
    assert_everything_is_recorded(&rig, direct, through);
    for (name, memory) in ["server", "Envoy"].into_iter().zip(&memory) {
        let (first, last) = (highest(memory, 0), highest(memory, 3));
        println!("memory of {name}: {first} kB in the first quarter at most, {last} kB in the last");
        if full_size.is_some() {
            assert!(last <= first + GROWTH_KB_MAX, "{name} grew from {first} kB to {last} kB");
        }
    }
}

/// Each call is one decision, but for those of the filter's own refusals.
fn assert_everything_is_recorded(rig: &Rig, direct: u64, through: u64) {
    let expected = direct + through - through / 3;
    let found = {
        let entries = Entries::open(&rig.ledger_dir()).expect("open the ledger");
        let entries = entries.map(|recorded| recorded.expect("read the ledger").entry);
        // The rig's own questions, before anything began, were about the canary.
        let counts =
            |entry: &Entry| matches!(entry, Entry::Decision(decision) if decision.reason != "canary");
        entries.filter(counts).count() as u64
    };
    assert!(found == expected, "{found} decisions of {expected}");
    let verified = palisade::ledger::verify(&rig.ledger_dir()).expect("the ledger is whole");
    println!("{found} decisions among the ledger's entries: {verified:?}");
}
