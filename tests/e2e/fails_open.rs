//! Operations that are declared open, while the server cannot be reached: they go on, nothing else does, and it is told.

use std::process::Command;
use std::time::{Duration, Instant};

use palisade::ledger::{Drift, Entry, Side};
use serde_json::Value;
use tests::binaries;
use tests::deadline::{eventually, poll};
use tests::raw_client::Reply;
use tests::rig::{BundleUnderTest, Options, Rig, START_TIMEOUT, Target};

use crate::handoff::copy_dir;

/// The proxy's timeout for a decision, with room for a busy machine.
const DECIDED_WITHIN: Duration = Duration::from_secs(6);

/// Counts come with the period of drift, after the pauses that a filter makes when nobody answers.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

struct Scene {
    rig: Rig,
    /// The bundle, for as long as the rig runs.
    _dir: tempfile::TempDir,
}

fn start(options: Options) -> Scene {
    let dir = tempfile::tempdir().expect("make a directory");
    copy_dir(&binaries::workspace_dir().join("policies"), dir.path());
    let settings = dir.path().join("palisade.yaml");
    let text = std::fs::read_to_string(&settings).expect("read the settings");
    std::fs::write(&settings, format!("{text}\nfailure: {{read: open}}\n")).expect("write the settings");
    let rig = Rig::start_with(Target::Envoy, BundleUnderTest::Demo, options.bundle_dir(dir.path()));
    Scene { rig, _dir: dir }
}

/// A read of nobody, which policies deny.
const DENIED_READ: &str = "GET /orders HTTP/1.1\r\nhost: orders\r\n\r\n";

/// Forged headers of ours beside a read.
const FORGED_READ: &str =
    "GET /orders HTTP/1.1\r\nhost: orders\r\nx-palisade-handoff: forged\r\nx-palisade-other: forged\r\n\r\n";

const MALFORMED_READ: &str = "GET /orders?limit=0 HTTP/1.1\r\nhost: orders\r\n\r\n";

impl Scene {
    fn send(&self, request: impl AsRef<[u8]>) -> Reply {
        self.rig.send(request).expect_reply()
    }

    fn delete_request(&self) -> String {
        let key = self.rig.api_key(self.rig.profile.value("client"));
        format!("DELETE /orders/o-1 HTTP/1.1\r\nhost: orders\r\nx-api-key: {key}\r\n\r\n")
    }

    #[track_caller]
    fn assert_decided(&self) {
        for request in [self.rig.read_request(), self.rig.write_request()] {
            assert_eq!(self.send(request).status, 200);
        }
        let denied = self.send(DENIED_READ);
        assert_eq!((denied.status, denied.reason().as_deref()), (403, Some("policy_denied")));
    }

    /// What goes on while nobody decides, and what does not; how many went on.
    #[track_caller]
    fn assert_open_for_reads_alone(&self) -> u64 {
        self.rig.reset_spies();
        let reads = [self.rig.read_request(), DENIED_READ.to_owned(), FORGED_READ.to_owned()];
        for read in &reads {
            let began = Instant::now();
            assert_eq!(self.send(read).status, 200, "{read}");
            assert!(began.elapsed() < DECIDED_WITHIN, "it took {:?}", began.elapsed());
        }
        let seen = self.rig.requests_seen();
        assert_eq!(seen.len(), reads.len());
        for (_, request) in seen {
            let of_ours = |name: &[u8]| name.to_ascii_lowercase().starts_with(b"x-palisade");
            assert!(!request.headers.iter().any(|(name, _)| of_ours(name)), "{request:?}");
        }
        self.rig.reset_spies();
        for change in [self.rig.write_request(), self.delete_request()] {
            let reply = self.send(&change);
            assert_eq!(reply.status, 403, "{change}");
        }
        let malformed = self.send(MALFORMED_READ);
        assert_eq!((malformed.status, malformed.reason().as_deref()), (400, Some("schema_number")));
        assert_eq!(self.rig.bytes_seen(), 0, "{:?}", self.rig.requests_seen());
        reads.len() as u64
    }

    /// Waits until the server decides again; how many reads went on until then.
    fn until_decided(&self) -> u64 {
        let mut undecided = 0;
        let decided = poll(START_TIMEOUT, || match self.send(DENIED_READ).status {
            200 => {
                undecided += 1;
                None
            }
            403 => Some(()),
            other => panic!("neither open nor decided: {other}"),
        });
        assert!(decided.is_some(), "the server does not decide again");
        undecided
    }

    fn undecided(&self) -> Vec<Drift> {
        let of_entry = |entry| match entry {
            Entry::Drift(drift) if drift.reason == "decision_missing" => Some(drift),
            _ => None,
        };
        self.rig.ledger_entries().into_iter().filter_map(of_entry).collect()
    }

    /// The ledger, the metric and the command say how many calls went on, and which operation's.
    #[track_caller]
    fn assert_told(&self, expected: u64) {
        let total = |drifts: &[Drift]| drifts.iter().map(|drift| drift.count).sum::<u64>();
        let told = eventually("what went on is in the ledger", TOLD_WITHIN, || {
            Some(self.undecided()).filter(|told| total(told) >= expected)
        });
        assert_eq!(total(&told), expected);
        for drift in &told {
            assert_eq!((drift.service.as_str(), drift.operation.as_str()), ("orders", "listOrders"));
            assert_eq!((drift.side, drift.status), (Side::Response, Some(200)));
            let decided = self.rig.decisions().iter().any(|decision| decision.decision_id == drift.call_id);
            println!("{} calls went on, such as {} (decided late: {decided})", drift.count, drift.call_id);
        }
        eventually("the metric counts them", TOLD_WITHIN, || {
            let metrics = self.rig.server_metrics();
            let name = "palisade_failed_open_total{reason=\"decision_missing\"} ";
            let counted = metrics.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
            counted.filter(|counted| *counted == expected)
        });
        let mut command = Command::new(binaries::palisade());
        command.args(["drift", "--json", "--from-ledger", "--state"]).arg(self.rig.dir().join("state"));
        let output = command.output().expect("run palisade drift");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let row = rows.into_iter().find(|row| row["reason"] == "decision_missing");
        let row = row.unwrap_or_else(|| panic!("no row: {text} {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(row["count"], expected, "{row}");
    }
}

#[test]
fn an_open_read_goes_on_while_the_server_is_gone_and_is_told_when_it_is_back() {
    let mut scene = start(Options::default());
    scene.assert_decided();
    scene.rig.server.kill();
    let mut undecided = scene.assert_open_for_reads_alone();
    scene.rig.server.restart();
    scene.rig.wait_until_server_is_ready();
    undecided += scene.until_decided();
    scene.rig.wait_until_guarded();
    eventually("writes are served again", START_TIMEOUT, || {
        (scene.send(scene.rig.write_request()).status == 200).then_some(())
    });
    undecided += scene.until_decided();
    scene.assert_told(undecided);
    scene.assert_decided();
}

#[test]
fn a_server_that_hangs_is_one_that_cannot_be_reached() {
    let mut scene = start(Options::default().concurrency(1));
    scene.assert_decided();
    scene.rig.server.pause();
    let mut undecided = scene.assert_open_for_reads_alone();
    scene.rig.server.resume();
    undecided += scene.until_decided();
    scene.rig.wait_until_guarded();
    undecided += scene.until_decided();
    scene.assert_told(undecided);
}

/// A proxy without its decision filters is broken, and no outage: it must not serve anything undecided.
#[test]
fn an_open_read_is_refused_where_nobody_asks_for_a_decision() {
    let mut scene = start(Options::default().unready().edit(|config| {
        let filters = config
            .pointer_mut("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters");
        let filters = filters.and_then(Value::as_array_mut).expect("HTTP filters");
        let before = filters.len();
        filters.retain(|filter| filter["name"] != palisade::build::EXT_AUTHZ_FILTER);
        assert_eq!(filters.len(), before - 2);
    }));
    scene.rig.wait_until_server_is_ready();
    scene.rig.wait_until_envoy_is_ready();
    let reply = scene.send(scene.rig.read_request());
    assert_eq!(reply.reason().as_deref(), Some("decision_missing"));
}
