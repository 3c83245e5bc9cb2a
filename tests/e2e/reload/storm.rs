//! Reloads under load: no request fails, no decision mixes two bundles, and memory does not grow.
//!
//! Two bundles carry a mark each, in the operation's name (contract), the policy's id (policies) and the caller's group
//! (entities). A decision that took any of them from the other bundle would be denied, or show it in its entry.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use palisade::ledger::{Conclusion, Decision};
use serde_json::Value;
use tempfile::TempDir;
use tests::binaries::workspace_dir;
use tests::deadline::eventually;
use tests::raw_client::{Outcome, RawConnection};
use tests::rig::{BundleUnderTest, Options, Rig, Target};
use tokio::runtime::Runtime;
use tokio::time::{MissedTickBehavior, interval};

use super::{digest, read, text};
use crate::handoff::{Forger, copy_dir, reason_of};

/// `PALISADE_RELOADS` makes it more.
const RELOADS: usize = 60;

/// How fast reloads come, at most: half as much again as what is demanded of the full size.
const RELOAD_EVERY: Duration = Duration::from_millis(66);

/// Requests a second: most to the server itself, the rest through Envoy.
const DIRECT_PER_SECOND: u32 = 450;
const THROUGH_ENVOY_PER_SECOND: u32 = 50;

/// Connections that share the requests.
const DIRECT: u32 = 6;
const THROUGH_ENVOY: u32 = 2;

/// What the server may gain between a tenth of the reloads and their end: allocators take their time to reach a level.
const GROWTH_KB_MAX: u64 = 16 * 1024;

fn reloads() -> Option<usize> {
    std::env::var("PALISADE_RELOADS").ok().map(|text| text.parse().expect("`PALISADE_RELOADS` is a number"))
}

/// A mount as a ConfigMap has it, with both bundles in it.
struct Mount {
    dir: TempDir,
}

impl Mount {
    fn make() -> Self {
        let mount = Self { dir: tempfile::tempdir().expect("make a directory") };
        for mark in ["A", "B"] {
            let folder = mount.folder(mark);
            copy_dir(&workspace_dir().join("policies"), &folder);
            mark_files(&folder, mark);
        }
        mount.point_to("A");
        for entry in fs::read_dir(mount.folder("A")).expect("list a directory") {
            let name = entry.expect("list a directory").file_name();
            symlink(Path::new("..data").join(&name), mount.path().join(&name)).expect("make a link");
        }
        mount
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn folder(&self, mark: &str) -> PathBuf {
        self.path().join(format!("..{mark}"))
    }

    fn point_to(&self, mark: &str) {
        symlink(format!("..{mark}"), self.path().join("..data_tmp")).expect("make a link");
        fs::rename(self.path().join("..data_tmp"), self.path().join("..data")).expect("swap the link");
    }
}

fn mark_files(folder: &Path, mark: &str) {
    for entry in fs::read_dir(folder).expect("list a directory") {
        let path = entry.expect("list a directory").path();
        if path.is_dir() {
            mark_files(&path, mark);
            continue;
        }
        let marked = |word: &str| format!("{word}{mark}");
        let text = read(&path);
        let text =
            text.replace("storefront", &marked("storefront")).replace("listOrders", &marked("listOrders"));
        fs::write(&path, text).expect("write a file");
    }
}

/// What the callers saw.
#[derive(Debug, Default)]
struct Seen {
    over: AtomicBool,
    direct: AtomicU64,
    through_envoy: AtomicU64,
}

impl Seen {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

/// One connection to the server, as a proxy holds it, whose filter has the first bundle.
async fn ask_directly(address: String, mut filter: Forger, secret: String, seen: Arc<Seen>) {
    let mut client = AuthorizationClient::connect(address).await.expect("connect to the server");
    let mut ticks = interval(Duration::from_secs(1) / (DIRECT_PER_SECOND / DIRECT));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while !seen.is_over() {
        ticks.tick().await;
        let handoff = filter.genuine();
        let signed = filter.sign(handoff, &secret);
        let response = client.check(filter.request(Some(signed))).await.expect("an answer to a Check");
        assert_eq!(reason_of(response.into_inner()), "", "a request failed");
        seen.direct.fetch_add(1, Ordering::SeqCst);
    }
}

/// One connection through Envoy and its filter.
fn ask_through_envoy(rig: &Rig, seen: &Seen) {
    let mut connection = RawConnection::open(rig.addr()).expect("connect to Envoy");
    let request = rig.read_request();
    let every = Duration::from_secs(1) / (THROUGH_ENVOY_PER_SECOND / THROUGH_ENVOY);
    let began = Instant::now();
    for count in 0.. {
        let due = every * count;
        eventually("the next request is due", 2 * every + Duration::from_secs(60), || {
            (seen.is_over() || began.elapsed() >= due).then_some(())
        });
        if seen.is_over() {
            return;
        }
        match connection.exchange(request.as_bytes()) {
            Outcome::Reply(reply) => assert_eq!(reply.status, 200, "a request failed: {:?}", reply.reason()),
            other => panic!("a request failed: {other:?}"),
        }
        seen.through_envoy.fetch_add(1, Ordering::SeqCst);
    }
}

fn memory_kb(rig: &Rig) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", rig.server.pid())).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Orders that many reloads, of one bundle and the other in turn. Memory after a tenth, in the middle, at the end.
fn reload_again_and_again(rig: &Rig, mount: &Mount, count: usize) -> [u64; 3] {
    let digests = [digest(&mount.folder("A")), digest(&mount.folder("B"))];
    let mut memory = Vec::new();
    let began = Instant::now();
    for index in 1..=count {
        let (mark, expected) = if index % 2 == 0 { ("A", &digests[0]) } else { ("B", &digests[1]) };
        mount.point_to(mark);
        let reply = super::order(rig);
        let attempt = reply.json().unwrap_or(Value::Null);
        // Where the watch was quicker than the order, nothing is left to load.
        let result = text(&attempt, "result");
        assert!(reply.status == 200 && ["loaded", "unchanged"].contains(&result.as_str()), "{attempt}");
        assert_eq!(text(&attempt, "digest"), *expected, "{attempt}");
        if [count.div_ceil(10), count.div_ceil(2), count].contains(&index) {
            memory.push(memory_kb(rig));
            println!("{index} reloads in {:.1} s: {} kB", began.elapsed().as_secs_f64(), memory_kb(rig));
        }
        let due = RELOAD_EVERY * u32::try_from(index).expect("a moderate number");
        eventually("the next reload is due", Duration::from_secs(60), || {
            (began.elapsed() >= due).then_some(())
        });
    }
    memory.try_into().expect("three moments")
}

/// The mark of a decision, which all of its parts must carry.
fn mark(decision: &Decision, digests: &[(String, &'static str)]) -> &'static str {
    let found = digests.iter().find(|(digest, _)| *digest == decision.bundle_digest);
    let (_, mark) = found.unwrap_or_else(|| panic!("a digest of neither bundle: {decision:?}"));
    assert_eq!(decision.operation, format!("listOrders{mark}"), "{decision:?}");
    assert_eq!(decision.policies, [format!("storefront{mark}-orders")], "{decision:?}");
    assert_eq!(
        (decision.decision, decision.reason.as_str()),
        (Conclusion::Allow, "policy_allowed"),
        "{decision:?}"
    );
    mark
}

#[test]
fn reloads_under_load_fail_no_request_and_mix_no_bundles() {
    let full_size = reloads();
    let count = full_size.unwrap_or(RELOADS);
    let mount = Mount::make();
    let rig =
        Rig::start_with(Target::Envoy, BundleUnderTest::Demo, Options::default().bundle_dir(mount.path()));
    let seen = Arc::new(Seen::default());
    let runtime = Runtime::new().expect("a runtime");
    let askers: Vec<_> = (0..DIRECT)
        .map(|_| {
            let filter = Forger::of(&rig, &mount.folder("A"));
            let address = format!("http://{}", rig.server_addr());
            runtime.spawn(ask_directly(address, filter, rig.secret().to_owned(), Arc::clone(&seen)))
        })
        .collect();
    let began = Instant::now();
    let memory = std::thread::scope(|scope| {
        let callers: Vec<_> =
            (0..THROUGH_ENVOY).map(|_| scope.spawn(|| ask_through_envoy(&rig, &seen))).collect();
        // Callers end with the storm, however it ends: a failure in it must not leave them waiting.
        let stormed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            reload_again_and_again(&rig, &mount, count)
        }));
        seen.over.store(true, Ordering::SeqCst);
        for caller in callers {
            caller.join().expect("no request through Envoy failed");
        }
        stormed.expect("every reload was answered as expected")
    });
    for asker in askers {
        runtime.block_on(asker).expect("no request to the server failed");
    }
    let elapsed = began.elapsed().as_secs_f64();
    let (direct, through_envoy) =
        (seen.direct.load(Ordering::SeqCst), seen.through_envoy.load(Ordering::SeqCst));
    assert_nothing_is_mixed(&rig, &mount, direct + through_envoy, count);
    #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
    let (reload_rate, rate) = (count as f64 / elapsed, (direct + through_envoy) as f64 / elapsed);
    println!(
        "{count} reloads at {reload_rate:.1}/s, {direct} requests to the server and {through_envoy} through Envoy at {rate:.0}/s, none failed, none mixed"
    );
    let [early, middle, end] = memory;
    println!("memory: {early} kB after a tenth, {middle} kB in the middle, {end} kB at the end");
    if full_size.is_some() {
        assert!(reload_rate >= 10.0, "{reload_rate:.1} reloads a second");
        assert!(rate >= 500.0 * 0.98, "{rate:.0} requests a second");
        assert!(end <= early + GROWTH_KB_MAX, "{early} kB became {end} kB");
    }
}

fn assert_nothing_is_mixed(rig: &Rig, mount: &Mount, requests: u64, reloads: usize) {
    let digests = ["A", "B"].map(|mark| (digest(&mount.folder(mark)), mark));
    let decisions = rig.decisions();
    assert_eq!(decisions.len() as u64, requests, "each request is one decision");
    let mut marks = [0_u64; 2];
    let mut by_epoch = std::collections::BTreeMap::new();
    for decision in &decisions {
        let mark = mark(decision, &digests);
        marks[usize::from(mark == "B")] += 1;
        assert_eq!(*by_epoch.entry(decision.epoch.counter).or_insert(mark), mark, "{decision:?}");
    }
    assert!(marks.iter().all(|count| *count > 0), "both decided: {marks:?}");
    let last = by_epoch.keys().last().copied().unwrap_or_default();
    assert!(last as usize > reloads / 2, "there were {last} epochs for {reloads} reloads");
    palisade::ledger::verify(&rig.ledger_dir()).expect("the ledger is whole");
}
