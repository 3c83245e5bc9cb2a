//! The audit trail at scale: how long questions take over many entries, what the index costs, and how far it lags.
//!
//! Run by `just audit-scale`. The ledgers are written by the real writer into a temporary directory, `--dir` names
//! another place for it. A figure that breaks its bound fails the run; what the bounds are stands beside them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench whose inputs do not hold must not print numbers; nothing here is on a request path"
)]

use clap::Parser;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use palisade::audit::{CountBy, Filter, Found, Indexer, Pattern, Trail, Verdict, Zone};
use palisade::ledger::{Conclusion, Decision, Entry, Epoch, Ledger, Outcome, Proof};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest that a filtered question may take.
const QUESTION_MAX: Duration = Duration::from_secs(1);

/// The longest that an entry may be durable and not yet in the index.
const LAG_MAX: Duration = Duration::from_secs(2);

/// The rate at which the lag is measured.
const ENTRIES_PER_S: u64 = 2_000;

const IN_FLIGHT: usize = 4_096;
const ROUNDS: usize = 5;

/// 2026-11-20T00:00:00Z, when the first call was made.
const BEGIN_MS: u64 = 1_795_132_800_000;

/// Between two calls.
const STEP_MS: u64 = 60;

#[derive(Debug, Parser)]
struct Options {
    /// Sizes of the ledgers, in entries
    #[arg(long, value_delimiter = ',', default_values_t = [200_000, 2_000_000])]
    entries: Vec<u64>,
    /// How long the lag is measured
    #[arg(long, value_name = "S", default_value_t = 20)]
    lag_s: u64,
    /// Where the ledgers are written
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Cargo hands this on
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let _ = options.bench;
    let directory = match &options.dir {
        Some(directory) => tempfile::tempdir_in(directory).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut sound = true;
    let mut tables = Vec::new();
    let mut largest = None;
    for entries in &options.entries {
        let state = directory.path().join(entries.to_string());
        write(&runtime, &state, *entries);
        build_index(&state, *entries);
        tables.push(ask_all(&state, *entries));
        largest = Some((state, *entries));
    }
    sound &= print_questions(&options.entries, &tables);
    let (state, entries) = largest.unwrap();
    sound &= lag(&runtime, &state, entries, options.lag_s);
    if !sound {
        println!("\na bound was broken");
        std::process::exit(1);
    }
    println!("\nall within their bounds");
}

/// The calls of a day in a shop: 40 workloads and clients, 24 operations of 6 services.
fn call(number: u64) -> [Entry; 2] {
    let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number >> 3);
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let at_ms = BEGIN_MS + number * STEP_MS + draw(STEP_MS);
    // A few call much more often than the others.
    let caller = draw(40).min(draw(40)).min(draw(40));
    let (service, operation) = (draw(6), draw(4));
    let denied = draw(1_000) < 8;
    let odd = draw(20_000) == 0;
    let slow = draw(2_000) == 0;
    let failed = draw(3_000) == 0;
    let id = format!(
        "{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}",
        at_ms >> 16,
        at_ms & 0xffff,
        number & 0xfff,
        draw(0x1000),
        draw(1 << 48)
    );
    let name = ["orders", "payments", "catalog", "loans", "users", "mail"][service as usize];
    let class = ["read", "read", "write", "delete"][operation as usize];
    let path = format!("/{name}/{}", draw(100_000));
    let decision = Decision {
        decision_id: id.clone(),
        at_ms,
        service: name.to_owned(),
        operation: ["list", "show", "change", "remove"][operation as usize].to_owned(),
        class: class.to_owned(),
        method: ["GET", "GET", "PUT", "DELETE"][operation as usize].to_owned(),
        host: format!("{name}.shop.example"),
        path: path.clone(),
        query_present: draw(4) == 0,
        request_id: Some(id.clone()),
        principal: if odd {
            "spiffe://shop.example/ns/tests/sa/intruder".to_owned()
        } else {
            principal(caller)
        },
        proof: Proof::Mtls,
        workload: None,
        decision: if denied { Conclusion::Deny } else { Conclusion::Allow },
        reason: if denied { "policy_denied".to_owned() } else { "policy_allowed".to_owned() },
        policies: vec![format!("{name}-{class}")],
        errors: Vec::new(),
        bundle_digest: "28".repeat(32),
        epoch: Epoch { server: "45".repeat(16), counter: 3 },
        handoff: "current".to_owned(),
        latency_us: 60 + draw(200),
        shadow: None,
        candidate: None,
        verdict: None,
        attempt: None,
        request_digest: None,
        asked: None,
        credential: None,
    };
    let outcome = Outcome {
        call_id: Some(id),
        at_ms: at_ms + 5,
        status: if denied {
            403
        } else if failed {
            503
        } else {
            200
        },
        details: if denied { "ext_authz_denied".to_owned() } else { "via_upstream".to_owned() },
        flags: Vec::new(),
        duration_us: if slow { 80_000 + draw(900_000) } else { 900 + draw(9_000) },
        request_bytes: draw(4_000),
        response_bytes: draw(40_000),
        upstream: Some(name.to_owned()),
        upstream_host: Some("10.0.0.7:8080".to_owned()),
        method: decision.method.clone(),
        host: decision.host.clone(),
        path,
        filter_reason: None,
    };
    [Entry::Decision(decision), Entry::Outcome(outcome)]
}

fn principal(number: u64) -> String {
    match number {
        0..=9 => format!("client-{number}"),
        _ => format!("spiffe://shop.example/ns/prod/sa/service-{number}"),
    }
}

fn write(runtime: &tokio::runtime::Runtime, state: &Path, entries: u64) {
    let begin = Instant::now();
    fs::create_dir_all(state).unwrap();
    runtime.block_on(async {
        let (ledger, _) = Ledger::open(&state.join("ledger")).unwrap();
        let mut waiting = FuturesUnordered::new();
        for entry in (0..entries / 2).flat_map(call) {
            waiting.push(ledger.append(&entry));
            while waiting.len() >= IN_FLIGHT {
                waiting.next().await.unwrap().unwrap();
            }
        }
        while let Some(receipt) = waiting.next().await {
            receipt.unwrap();
        }
        assert_eq!(ledger.entries(), entries);
        ledger.close().await.unwrap();
    });
    println!(
        "{entries} entries written in {:.1} s, {} bytes each",
        begin.elapsed().as_secs_f64(),
        size(&state.join("ledger")) / entries
    );
}

fn build_index(state: &Path, entries: u64) {
    let (begin, cpu_before) = (Instant::now(), cpu_of_thread(None));
    let mut trail = Trail::open(state, false, &mut |_| {}).unwrap();
    assert_eq!(trail.entries().unwrap(), entries);
    trail.catch_up(&mut |_| {}).unwrap();
    drop(trail);
    let cpu = cpu_of_thread(None) - cpu_before;
    println!(
        "index of {entries} entries built in {:.1} s: {:.1} µs of processor time and {:.1} bytes for an entry, {} MiB resident",
        begin.elapsed().as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / entries as f64,
        size(&state.join("index")) as f64 / entries as f64,
        resident_mib(),
    );
}

/// A question, and how long each of several answers took.
struct Asked {
    name: &'static str,
    found: u64,
    took: Vec<Duration>,
}

fn ask_all(state: &Path, entries: u64) -> Vec<Asked> {
    let end_ms = BEGIN_MS + entries / 2 * STEP_MS;
    let who = |text: &str| Filter { who: Some(Pattern::part(text)), ..Filter::default() };
    let operation = |text: &str| Some(Pattern::whole(text));
    let status = |text: &str| Some(text.parse().unwrap());
    let denied = Filter { decision: Some(Verdict::Deny), ..Filter::default() };
    let early = (Some(BEGIN_MS), Some(BEGIN_MS + 3_600_000));
    let lists: Vec<(&'static str, Filter)> = vec![
        ("newest", Filter::default()),
        ("--who client-0 (frequent)", who("=client-0")),
        ("--who intruder (rare)", who("intruder")),
        ("--who nobody (none)", who("nobody")),
        ("--decision deny", denied.clone()),
        (
            "--reason policy_denied --who client-3",
            Filter { reason: operation("policy_denied"), ..who("client-3") },
        ),
        ("--operation orders.remove", Filter { operation: operation("orders.remove"), ..Filter::default() }),
        ("--policy mail-*", Filter { policy: operation("mail-*"), ..Filter::default() }),
        ("--since, the last hour", Filter { since_ms: Some(end_ms - 3_600_000), ..Filter::default() }),
        (
            "--since --until, the first hour",
            Filter { since_ms: early.0, until_ms: early.1, ..Filter::default() },
        ),
        ("the first hour --who intruder", Filter { since_ms: early.0, until_ms: early.1, ..who("intruder") }),
        ("--slow 50ms", Filter { slow_us: Some(50_000), ..Filter::default() }),
        ("--slow 10m (none)", Filter { slow_us: Some(600_000_000), ..Filter::default() }),
        ("--status 5xx", Filter { status: status("5xx"), ..Filter::default() }),
        ("--status none (none)", Filter { status: status("none"), ..Filter::default() }),
        ("--slow 900ms --who intruder", Filter { slow_us: Some(900_000), ..who("intruder") }),
    ];
    let mut asked = Vec::new();
    for (name, filter) in lists {
        asked.push(timed(name, || {
            let mut trail = Trail::open(state, false, &mut |_| {}).unwrap();
            trail.list(&filter, Some(50), &mut |_| {}, &mut |_| Ok(())).unwrap()
        }));
    }
    let counts = [
        ("--count-by who", Filter::default(), CountBy::Who),
        (
            "--count-by reason --since, half of it",
            Filter { since_ms: Some((BEGIN_MS + end_ms) / 2), ..Filter::default() },
            CountBy::Reason,
        ),
        ("--count-by status", Filter::default(), CountBy::Status),
        ("--count-by hour --decision deny", denied, CountBy::Hour),
        (
            "--count-by operation --slow 50ms",
            Filter { slow_us: Some(50_000), ..Filter::default() },
            CountBy::Operation,
        ),
    ];
    for (name, filter, by) in counts {
        asked.push(timed(name, || {
            let mut trail = Trail::open(state, false, &mut |_| {}).unwrap();
            trail.count(&filter, by, &Zone::utc(), &mut |_| {}).unwrap().values().sum()
        }));
    }
    for (name, length) in [("why, a whole id", 36), ("why, 18 characters", 18)] {
        let [decision, _] = call(entries / 5);
        let Entry::Decision(decision) = decision else { continue };
        let id = decision.decision_id.get(..length).unwrap().parse().unwrap();
        asked.push(timed(name, || {
            let mut trail = Trail::open(state, false, &mut |_| {}).unwrap();
            match trail.find(&id, &mut |_| {}).unwrap() {
                Found::One(_) => 1,
                Found::Many(calls) => calls.len() as u64,
                Found::Nothing => 0,
            }
        }));
    }
    asked
}

fn timed(name: &'static str, mut question: impl FnMut() -> u64) -> Asked {
    let mut asked = Asked { name, found: 0, took: Vec::new() };
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        asked.found = question();
        asked.took.push(begin.elapsed());
    }
    asked.took.sort();
    asked
}

/// Whether no question took too long.
fn print_questions(sizes: &[u64], tables: &[Vec<Asked>]) -> bool {
    println!(
        "\nQuestions, opening the trail included; median and longest of {ROUNDS}, bound {} ms",
        QUESTION_MAX.as_millis()
    );
    print!("{:<42}", "");
    sizes.iter().for_each(|size| print!("{:>34}", format!("{size} entries")));
    println!();
    let mut sound = true;
    for row in 0..tables[0].len() {
        print!("{:<42}", tables[0][row].name);
        for table in tables {
            let Asked { found, took, .. } = &table[row];
            let longest = took[took.len() - 1];
            let mark = if longest > QUESTION_MAX { "!" } else { " " };
            sound &= longest <= QUESTION_MAX;
            let text = format!("{:.1} / {:.1} ms{mark}", ms(took[took.len() / 2]), ms(longest));
            print!("{:>10} found{text:>18}", found);
        }
        println!();
    }
    sound
}

/// Whether the index stays near the end while entries come.
fn lag(runtime: &tokio::runtime::Runtime, state: &Path, entries: u64, seconds: u64) -> bool {
    let (ledger, _) = Ledger::open(&state.join("ledger")).unwrap();
    let alone = at_rate(runtime, &ledger, entries / 2, seconds / 2, |_| {});
    let indexer = Indexer::start(state, &ledger, |_| {});
    runtime.block_on(async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while indexer.done() < ledger.entries() {
            tick.tick().await;
        }
    });
    let cpu_before = cpu_of_thread(Some("index"));
    let before = ledger.entries();
    let mut pending: VecDeque<(u64, Instant)> = VecDeque::new();
    let mut lags: Vec<Duration> = Vec::new();
    let beside = at_rate(runtime, &ledger, entries / 2 + 1_000_000, seconds, |now| {
        pending.push_back((ledger.entries(), now));
        let done = indexer.done();
        while pending.front().is_some_and(|(entries, _)| *entries <= done) {
            lags.extend(pending.pop_front().map(|(_, at)| now.duration_since(at)));
        }
    });
    let cpu = cpu_of_thread(Some("index")) - cpu_before;
    let indexed = ledger.entries() - before;
    lags.sort();
    let longest = lags[lags.len() - 1];
    println!("\nWith {indexed} entries in {seconds} s upon {entries}:");
    println!(
        "lag of the index: median {:.0} ms, longest {:.0} ms, bound {} ms",
        ms(lags[lags.len() / 2]),
        ms(longest),
        LAG_MAX.as_millis()
    );
    println!(
        "processor time of the index's thread: {:.1} µs for an entry",
        cpu.as_secs_f64() * 1e6 / indexed as f64
    );
    println!(
        "a durable append: median {:.2} ms, 99th percentile {:.2} ms; without the index {:.2} and {:.2} ms",
        ms(beside.0),
        ms(beside.1),
        ms(alone.0),
        ms(alone.1)
    );
    drop(indexer);
    runtime.block_on(ledger.close()).unwrap();
    longest <= LAG_MAX
}

/// Appends at the rate; the median and the 99th percentile of how long one took.
fn at_rate(
    runtime: &tokio::runtime::Runtime,
    ledger: &Ledger,
    first: u64,
    seconds: u64,
    mut look: impl FnMut(Instant),
) -> (Duration, Duration) {
    const TICKS_PER_S: u64 = 100;
    runtime.block_on(async {
        let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / TICKS_PER_S));
        let mut waiting = FuturesUnordered::new();
        let mut took = Vec::new();
        let mut calls = (first..).flat_map(call);
        for _ in 0..seconds * TICKS_PER_S {
            tick.tick().await;
            for entry in calls.by_ref().take((ENTRIES_PER_S / TICKS_PER_S) as usize) {
                let begin = Instant::now();
                let appended = ledger.append(&entry);
                waiting.push(async move {
                    appended.await.unwrap();
                    begin.elapsed()
                });
            }
            while waiting.len() >= ENTRIES_PER_S as usize / 10 {
                took.extend(waiting.next().await);
            }
            while let Some(Some(one)) = futures_util::FutureExt::now_or_never(waiting.next()) {
                took.push(one);
            }
            look(Instant::now());
        }
        while let Some(one) = waiting.next().await {
            took.push(one);
        }
        took.sort();
        (took[took.len() / 2], took[took.len() * 99 / 100])
    })
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// Processor time of the thread of this name, or of this one.
fn cpu_of_thread(name: Option<&str>) -> Duration {
    let used = |path: PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    };
    let Some(name) = name else { return used("/proc/thread-self".into()).unwrap() };
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
    let named = |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name);
    threads.filter(named).filter_map(used).sum()
}

fn resident_mib() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}
