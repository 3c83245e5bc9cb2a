//! Places and drift, from a filter's queue to the tools; and that drift is stored once, whatever happens to the server.
//!
//! The queue is the filter's own, and the server the real one; only the proxy between them is left out.

use std::path::Path;
use std::process::{Command, Output};

use palisade::bundle::Bundle;
use palisade::ledger::{Drift, Entries, Entry};
use palisade_core::call_id::{CallId, CallIdMint};
use palisade_core::contract::BundleDigest;
use palisade_core::handoff::Secret;
use palisade_core::limits::{DRIFT_PERIOD_MS, REPORT_PAUSE_MS_MAX};
use palisade_core::reason::Reason;
use palisade_core::report::{DriftKey, Outbox, Report, Side, Subject, Verdict, VmId};
use palisade_core::routes::OperationIndex;
use serde_json::{Value, json};
use tests::binaries;
use tests::deadline::eventually;
use tests::lone_server::LoneServer;
use tests::reporter::submit;

use super::SOON;
use super::trust::now_ms;

const PEER: &str = "spiffe://shop.example/ns/shop/sa/web";

/// A server, and the queue of one VM that reports to it.
struct Stage {
    dir: tempfile::TempDir,
    server: LoneServer,
    secret: Secret,
    outbox: Outbox,
    bundle: BundleDigest,
    operation: OperationIndex,
    mint: CallIdMint,
}

impl Stage {
    fn new() -> Stage {
        let dir = tempfile::tempdir().expect("make a directory");
        let mut server = LoneServer::start(dir.path(), &[]);
        assert_eq!(server.wait(), None, "it serves");
        let secret = std::fs::read_to_string(dir.path().join("handoff-secret")).expect("read the secret");
        let secret = Secret::parse(secret.trim()).expect("a secret");
        let bundle = match Bundle::load(&binaries::workspace_dir().join("policies")) {
            Ok(bundle) => bundle,
            Err(problems) => panic!("{problems}"),
        };
        let is_list = |index: &u32| {
            let found = bundle.contract.operation(OperationIndex(*index)).expect("an operation of this name");
            &*found.operation.name == "listOrders"
        };
        let operation = OperationIndex((0..).find(is_list).expect("an operation of this name"));
        let (outbox, mint) = (Outbox::new(VmId([0x6b; 16])), CallIdMint::new([5; 16]));
        Stage { dir, server, secret, outbox, bundle: bundle.digest, operation, mint }
    }

    fn state(&self) -> std::path::PathBuf {
        self.dir.path().join("state")
    }

    fn key<'a>(&self, place: &'a str) -> DriftKey<'a> {
        DriftKey {
            operation: self.operation,
            side: Side::Response,
            reason: Reason::JsonSyntax,
            place,
            status: Some(200),
            peer: PEER,
        }
    }

    /// One response that was judged, and drifted.
    fn drift(&mut self, place: &str, call_id: CallId, at_ms: u64) {
        self.outbox.judged(self.bundle, self.operation, Side::Response);
        self.outbox.drifted(self.bundle, self.key(place), call_id, at_ms);
    }

    fn refuse(&mut self, place: &str) -> String {
        let (call_id, operation) = (self.mint.mint(now_ms()), self.operation);
        self.outbox.add(self.bundle, Reason::JsonSyntax, || Report {
            call_id,
            at_ms: now_ms(),
            verdict: Verdict::Reject,
            retry: false,
            reason: Reason::JsonSyntax.code().into(),
            operation: Some(operation),
            subject: Subject::new(b"GET", b"orders", b"/orders", b""),
            peer: PEER.to_owned(),
            place: place.to_owned(),
        });
        call_id.to_string()
    }

    /// Sends all that waits at this time.
    fn send(&mut self, at_ms: u64) {
        while let Some(batch) = self.outbox.next_batch(&self.secret, at_ms) {
            self.outbox.acknowledged(submit(self.server.listen(), &batch).expect("it is acknowledged"));
        }
    }

    fn drifts(&self) -> Vec<Drift> {
        let entries = Entries::open(&self.server.ledger_dir()).expect("read the ledger");
        let drift = |entry| match entry {
            Entry::Drift(drift) => Some(drift),
            Entry::Decision(_)
            | Entry::Refusal(_)
            | Entry::Outcome(_)
            | Entry::Admin(_)
            | Entry::Judged(_) => None,
        };
        entries.filter_map(|recorded| drift(recorded.expect("an entry").entry)).collect()
    }

    fn metric(&self, name: &str) -> u64 {
        let metrics = self.server.metrics();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

fn palisade(arguments: &[&str], state: &Path) -> Output {
    let mut command = Command::new(binaries::palisade());
    command.args(arguments).arg("--utc").arg("--state").arg(state);
    command.output().expect("run palisade")
}

fn text(arguments: &[&str], state: &Path) -> String {
    let output = palisade(arguments, state);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn objects(arguments: &[&str], state: &Path) -> Vec<Value> {
    let text = text(&[arguments, &["--json"]].concat(), state);
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

#[test]
fn places_and_drift_are_stored_counted_and_found_again() {
    const PLACE: &str = "response/body/items/*/price";
    let mut stage = Stage::new();
    let decided = stage.server.check().recorded().expect("a decision");
    let refused = stage.refuse("body/items/3/price");
    let (begin_ms, example) = (now_ms(), CallId::parse(&decided).expect("a call id"));
    for item in 0..5 {
        stage.drift(&format!("response/body/items/{item}/price"), example, begin_ms + item);
    }
    for _ in 0..95 {
        stage.outbox.judged(stage.bundle, stage.operation, Side::Response);
    }
    stage.send(begin_ms);
    stage.drift("response/body/items/7/price", example, begin_ms + DRIFT_PERIOD_MS);
    stage.send(begin_ms + DRIFT_PERIOD_MS);
    let drifts = stage.drifts();
    let counts: Vec<_> = drifts.iter().map(|drift| (drift.place.as_str(), drift.count)).collect();
    assert_eq!(counts, [(PLACE, 5), (PLACE, 1)], "items of an array are one place");

    let labels = r#"service="orders",operation="listOrders",side="response""#;
    assert_eq!(stage.metric(&format!("palisade_drift_total{{{labels},reason=\"json_syntax\"}}")), 6);
    assert_eq!(stage.metric(&format!("palisade_drift_judged_total{{{labels}}}")), 101);
    assert_eq!(stage.metric("palisade_drift_reports_total{side=\"response\"}"), 2);
    assert_eq!(stage.server.process.log().matches("contract drift").count(), 1, "once, and then seldom");

    let state = stage.state();
    let rows = objects(&["drift"], &state);
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = &rows[0];
    let found = (&row["operation"], &row["place"], &row["count"], &row["judged"], &row["callers"]);
    let callers = json!([{"caller": PEER, "count": 6}]);
    assert_eq!(found, (&json!("listOrders"), &json!(PLACE), &json!(6), &json!(101), &callers), "{row}");
    assert_eq!((&row["example"], &row["statuses"]), (&json!(decided), &json!([200])), "{row}");
    let table = text(&["drift", "--since", "1h"], &state);
    assert!(table.starts_with("orders.listOrders, responses: 6 among 101 that were judged\n"), "{table}");
    assert!(table.contains("5.9 %") && table.contains(PLACE) && table.contains(&decided), "{table}");
    let nothing = palisade(&["drift", "--service", "payments"], &state);
    assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");

    let why = text(&["why", &decided], &state);
    assert!(why.contains("drift  json_syntax: the response broke the contract"), "{why}");
    assert!(why.contains("(of the response, in the body, at /items/*/price)"), "{why}");
    let why = text(&["why", &refused], &state);
    assert!(why.contains("where  body/items/3/price (in the body, at /items/3/price)"), "{why}");
    let calls = objects(&["audit", "--place", "body/items"], &state);
    assert_eq!(
        (calls.len(), &calls[0]["id"], &calls[0]["place"]),
        (1, &json!(refused), &json!("body/items/3/price"))
    );
    assert!(text(&["audit"], &state).contains("json_syntax at body/items/3/price"));
    assert_eq!(palisade(&["audit", "--place", "query"], &state).status.code(), Some(1));
    let events = objects(&["audit", "--events=drift"], &state);
    assert_eq!((events.len(), &events[0]["drift"]["count"]), (2, &json!(5)));
}

#[test]
fn drift_is_stored_once_whatever_happens_to_the_server() {
    const ROUNDS: u64 = 12;
    let mut stage = Stage::new();
    let (mut at_ms, mut drifted, mut kills, mut unheard) = (now_ms(), 0, 0, 0);
    for round in 0..ROUNDS {
        for number in 0..20 * (round + 1) {
            let (place, call_id) = (format!("response/body/key{}", number % 30), stage.mint.mint(at_ms));
            stage.drift(&place, call_id, at_ms);
            drifted += 1;
        }
        at_ms += DRIFT_PERIOD_MS;
        let batch = stage.outbox.next_batch(&stage.secret, at_ms).expect("something drifted");
        match round % 3 {
            // Nobody is there to take it.
            0 => {
                stage.server.process.kill();
                assert!(submit(stage.server.listen(), &batch).is_err());
                stage.outbox.failed(at_ms);
            }
            // It is stored, and nobody hears so before the server is killed.
            1 => {
                submit(stage.server.listen(), &batch).expect("it is acknowledged");
                stage.server.process.kill();
                stage.outbox.failed(at_ms);
                unheard += 1;
            }
            _ => {
                let server = submit(stage.server.listen(), &batch).expect("it is acknowledged");
                stage.outbox.acknowledged(server);
                continue;
            }
        }
        kills += 1;
        stage.server.process.restart();
        assert_eq!(stage.server.wait(), None);
        at_ms += REPORT_PAUSE_MS_MAX;
        let (listen, secret, outbox) = (stage.server.listen(), &stage.secret, &mut stage.outbox);
        let server = eventually("the server takes it again", SOON, || {
            let batch = outbox.next_batch(secret, at_ms)?;
            let taken = submit(listen, &batch).ok();
            if taken.is_none() {
                outbox.failed(at_ms);
                at_ms += REPORT_PAUSE_MS_MAX;
            }
            taken
        });
        stage.outbox.acknowledged(server);
    }
    at_ms += DRIFT_PERIOD_MS;
    stage.send(at_ms);
    let drifts = stage.drifts();
    let stored: u64 = drifts.iter().map(|drift| drift.count).sum();
    println!("{drifted} times in {} rows, {kills} kills, {unheard} acknowledgements unheard", drifts.len());
    assert_eq!(stored, drifted, "each once");
    let mut numbers: Vec<_> = drifts.iter().map(|drift| drift.sequence).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), drifts.len(), "no number twice");
    assert!(kills >= 8 && unheard >= 4, "below the floor");
}
