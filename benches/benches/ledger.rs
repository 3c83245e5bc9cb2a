//! What the ledger costs: beside bare group commit on the same disk, and in processor time.
//!
//! Run by `just bench-ledger` or `cargo bench -p benches --bench ledger -- [durable|buffered] [DIR]`; the ledger is kept
//! in `DIR`, else in the system's temporary directory. All arms take turns within each round, so that a neighbour's work falls on all alike, and
//! each ratio is made within a round.
//!
//! Bare group commit is the least that makes entries durable: callers add their bytes to a buffer, one thread takes the
//! buffer, writes it to room that was prepared, syncs, and answers. It has no frames, checksums, hashes, JSON, segments
//! or tree.
#![expect(
    clippy::unwrap_used,
    reason = "a bench whose disk does not work must not print numbers; nothing here is on a request path"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use palisade::ledger::{Asked, Conclusion, Decision, Durability, Entry, Epoch, Ledger, Passed, Proof};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;

const ROUNDS: usize = 7;
const SLICE: Duration = Duration::from_millis(700);
const WAITERS: [usize; 4] = [1, 8, 64, 256];

/// What `durable` must reach of bare group commit, and what a buffered entry may cost.
const RATIO_MIN: f64 = 0.8;
const BUFFERED_US_MAX: f64 = 5.0;

/// Steady rates at which buffered entries come.
const RATES: [u32; 2] = [2_000, 10_000];

fn main() {
    // Cargo hands on options such as `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_part = |word: &&String| ["durable", "buffered"].contains(&word.as_str());
    let part = words.iter().find(is_part).map(String::as_str);
    let parent = words.iter().find(|word| !is_part(word)).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = parent.join(format!("palisade-ledger-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(&dir, part));
    std::fs::remove_dir_all(&dir).unwrap();
}

async fn run(dir: &Path, part: Option<&str>) {
    let entry = Arc::new(entry());
    let bytes = entry.encode().unwrap().bytes().len() + 18;
    println!("an entry has {bytes} bytes; {ROUNDS} rounds, medians (min–max)\n");
    if part != Some("buffered") {
        durable(dir, &entry, bytes).await;
    }
    if part != Some("durable") {
        println!("{:>24}{:>26}{:>30}", "", "entries/s", "CPU µs an entry");
        let mut dearest: f64 = 0.0;
        for rate in RATES {
            dearest = dearest.max(buffered(dir, &entry, rate).await);
        }
        println!("\nthe highest median is {dearest:.2} µs; the bound is {BUFFERED_US_MAX}");
    }
}

async fn durable(dir: &Path, entry: &Arc<Entry>, bytes: usize) {
    println!("{:>8}{:>26}{:>26}{:>20}", "waiters", "bare entries/s", "durable entries/s", "durable ÷ bare");
    let mut worst = f64::INFINITY;
    for waiters in WAITERS {
        let ratio = durable_beside_bare(dir, entry, bytes, waiters).await;
        worst = worst.min(ratio);
    }
    println!("\nthe lowest median ratio is {worst:.2}; the bound is {RATIO_MIN}\n");
}

/// The median of the rounds' ratios.
async fn durable_beside_bare(dir: &Path, entry: &Arc<Entry>, bytes: usize, waiters: usize) -> f64 {
    let (mut bares, mut durables, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let place = dir.join(format!("{waiters}-{round}"));
        std::fs::create_dir_all(&place).unwrap();
        let bare = Bare::start(&place.join("bare"));
        let payload = Arc::new(vec![b'x'; bytes]);
        let (ledger, _) = Ledger::open(&place.join("ledger")).unwrap();
        // Each grows into its work first.
        let mut slices = [0.0, 0.0];
        for (turn, slice) in [SLICE / 4, SLICE, SLICE].into_iter().enumerate() {
            let (to, payload) = (Arc::clone(&bare), Arc::clone(&payload));
            let bare_s = rate_of(waiters, slice, move || {
                let (bare, payload) = (Arc::clone(&to), Arc::clone(&payload));
                async move { bare.append(&payload).await }
            });
            let bare_s = bare_s.await;
            let (to, entry) = (ledger.clone(), Arc::clone(entry));
            let durable_s = rate_of(waiters, slice, move || {
                let append = to.append(&entry);
                async move {
                    append.await.unwrap();
                }
            });
            let durable_s = durable_s.await;
            if turn > 0 {
                slices = [slices[0] + bare_s / 2.0, slices[1] + durable_s / 2.0];
            }
        }
        ledger.close().await.unwrap();
        bare.stop();
        std::fs::remove_dir_all(&place).unwrap();
        bares.push(slices[0]);
        durables.push(slices[1]);
        ratios.push(slices[1] / slices[0]);
    }
    let (ratio, shown) = spread(ratios, 2);
    println!("{waiters:>8}{:>26}{:>26}{shown:>20}", spread(bares, 0).1, spread(durables, 0).1);
    ratio
}

/// How many times a second `waiters` tasks together do this, one after the other each.
async fn rate_of<F>(waiters: usize, slice: Duration, call: impl Fn() -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = ()> + Send,
{
    let began = Instant::now();
    let tasks: Vec<_> = (0..waiters)
        .map(|_| {
            let call = call.clone();
            tokio::spawn(async move {
                let mut done = 0_u64;
                while began.elapsed() < slice {
                    call().await;
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    done as f64 / began.elapsed().as_secs_f64()
}

/// Buffered entries at a steady rate: what the process spends on each, without what the pacing itself costs.
async fn buffered(dir: &Path, entry: &Entry, rate: u32) -> f64 {
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    // One ledger for all rounds: its segments grow to their full size, as those of a server that stays up do.
    let place = dir.join(format!("buffered-{rate}"));
    let (ledger, _) = Ledger::open(&place).unwrap();
    for _ in 0..ROUNDS {
        let pace = async |work: bool| {
            let (began, cpu) = (Instant::now(), cpu());
            let mut sent = 0_u64;
            // Twenty times a second's two-hundredth.
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            while began.elapsed() < SLICE * 2 {
                ticks.tick().await;
                let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
                while sent < due {
                    if work {
                        ledger.append_as(entry, Durability::Buffered).await.unwrap();
                    }
                    sent += 1;
                }
            }
            (sent, (self::cpu() - cpu).as_secs_f64() * 1e6, began.elapsed().as_secs_f64())
        };
        let (_, idle_us, _) = pace(false).await;
        let (sent, busy_us, seconds) = pace(true).await;
        rates.push(sent as f64 / seconds);
        costs.push((busy_us - idle_us) / sent as f64);
    }
    ledger.close().await.unwrap();
    std::fs::remove_dir_all(&place).unwrap();
    let (cost, shown) = spread(costs, 2);
    println!("{:>24}{:>26}{shown:>30}", format!("buffered, {rate}/s"), spread(rates, 0).1);
    cost
}

/// The processor time of this process, all threads.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

fn spread(mut values: Vec<f64>, digits: usize) -> (f64, String) {
    values.sort_by(f64::total_cmp);
    let median = values.get(values.len() / 2).copied().unwrap();
    let (min, max) = (values.first().copied().unwrap(), values.last().copied().unwrap());
    (median, format!("{median:.digits$} ({min:.digits$}–{max:.digits$})"))
}

/// A minimal loop: batch, write, fdatasync.
struct Bare {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    callers: Vec<oneshot::Sender<()>>,
    stopped: bool,
}

impl Bare {
    const ROOM_BYTES: u64 = 64 * 1024 * 1024;

    fn start(path: &Path) -> Arc<Bare> {
        let file = File::create_new(path).unwrap();
        let zeros = vec![0; 1024 * 1024];
        for at in (0..Bare::ROOM_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at).unwrap();
        }
        file.sync_all().unwrap();
        let bare = Arc::new(Bare { waiting: Mutex::default(), wake: Condvar::new() });
        let writer = Arc::clone(&bare);
        std::thread::spawn(move || writer.write(&file));
        bare
    }

    fn write(&self, file: &File) {
        let mut end = 0;
        let (mut bytes, mut callers) = (Vec::new(), Vec::new());
        loop {
            let waiting = self.waiting.lock().unwrap();
            let mut waiting = self
                .wake
                .wait_while(waiting, |waiting| waiting.callers.is_empty() && !waiting.stopped)
                .unwrap();
            if waiting.stopped {
                return;
            }
            std::mem::swap(&mut bytes, &mut waiting.bytes);
            std::mem::swap(&mut callers, &mut waiting.callers);
            drop(waiting);
            if end + bytes.len() as u64 > Bare::ROOM_BYTES {
                end = 0;
            }
            file.write_all_at(&bytes, end).unwrap();
            file.sync_data().unwrap();
            end += bytes.len() as u64;
            bytes.clear();
            for caller in callers.drain(..) {
                let _answered = caller.send(());
            }
        }
    }

    async fn append(&self, bytes: &[u8]) {
        let (caller, answer) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock().unwrap();
            waiting.bytes.extend_from_slice(bytes);
            waiting.callers.push(caller);
            waiting.callers.len() == 1
        };
        if is_first {
            self.wake.notify_one();
        }
        answer.await.unwrap();
    }

    fn stop(&self) {
        self.waiting.lock().unwrap().stopped = true;
        self.wake.notify_one();
    }
}

/// A decision as the server records it.
fn entry() -> Entry {
    Entry::Decision(Decision {
        decision_id: "01a1fe3c-22e2-72bf-b97b-1a6e0801f315".to_owned(),
        at_ms: 1_763_700_000_000,
        service: "orders".to_owned(),
        operation: "createOrder".to_owned(),
        class: "write".to_owned(),
        method: "POST".to_owned(),
        host: "orders".to_owned(),
        path: "/orders".to_owned(),
        query_present: false,
        request_id: Some("6f9a0c8e-3b1d-4a52-9c59-c1a1e1c00f2b".to_owned()),
        principal: r#"Client::"web""#.to_owned(),
        proof: Proof::ApiKey,
        workload: Some("spiffe://shop.example/ns/shop/sa/web".to_owned()),
        decision: Conclusion::Allow,
        reason: "allowed".to_owned(),
        policies: vec!["orders-create".to_owned()],
        errors: Vec::new(),
        bundle_digest: "ab".repeat(32),
        epoch: Epoch { server: "459a84d3410465ea72d48d4b80e9fc4c".to_owned(), counter: 7 },
        handoff: "current".to_owned(),
        latency_us: 83,
        shadow: None,
        candidate: None,
        credential: None,
        verdict: Some(Passed { body_judged: true, grpc: false, upgrade: false }),
        attempt: Some(1),
        request_digest: Some("cd".repeat(16)),
        asked: Some(Asked {
            path: BTreeMap::from([("orderId".into(), "o-4711".into())]),
            body: BTreeMap::from([("/amount".into(), 1_250.into()), ("/currency".into(), "EUR".into())]),
            ..Asked::default()
        }),
    })
}
