//! A retry storm as filters report it: counted once, named once, and found again by the tools.
//!
//! The queue is the filter's own, and the server the real one; only the proxy between them is left out. Time is real: what
//! the server finds, it finds within seconds.

use std::time::Duration;

use palisade::ledger::{AdminEvent, Entries, Entry, Storm};
use palisade_core::limits::{LOAD_PERIOD_MS, SHED_PERIOD_MS, SHEDS_TOLD_PER_S_MAX};
use palisade_core::reason::Reason;
use palisade_core::report::{LoadLevel, Passed, ShedKey, Subject};
use serde_json::json;
use tests::deadline::eventually;

use super::drift::{PEER, Stage, objects, palisade, text};
use super::trust::now_ms;

const OTHER: &str = "spiffe://shop.example/ns/shop/sa/batch";

/// Three seconds that a storm must hold, on a machine that has other things to do.
const BEGUN: Duration = Duration::from_secs(30);

/// Ten seconds of calm.
const ENDED: Duration = Duration::from_secs(40);

impl Stage {
    /// So many requests that are shed at this time.
    fn shed(&mut self, peer: &str, (retry, shadow): (bool, bool), count: u64, at_ms: u64) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let call_id = self.mint.mint(at_ms);
            let (operation, reason) = (self.operation, Reason::ShedRetry);
            let key = ShedKey { operation, reason, peer, retry, shadow, limit: "" };
            let subject = || Subject::new(b"GET", b"orders", b"/orders", b"2");
            self.outbox.shed(self.bundle, key, call_id, at_ms, subject);
            ids.push(call_id.to_string());
        }
        ids
    }

    /// What the ledger has of storms: those that began, and those that ended.
    fn storms(&self) -> (Vec<Storm>, Vec<Storm>) {
        let (mut begun, mut ended) = (Vec::new(), Vec::new());
        for recorded in Entries::open(&self.server.ledger_dir()).expect("read the ledger") {
            let Entry::Admin(admin) = recorded.expect("an entry").entry else { continue };
            match admin.event {
                AdminEvent::StormBegan(storm) => begun.push(storm),
                AdminEvent::StormEnded(storm) => ended.push(storm),
                _ => {}
            }
        }
        (begun, ended)
    }

    fn view(&self) -> serde_json::Value {
        let output = std::process::Command::new(tests::binaries::palisade())
            .args(["storm", "--once", "--admin", &self.server.admin().to_string()])
            .output()
            .expect("run palisade");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("one JSON object where nobody looks")
    }
}

#[test]
fn sheds_are_counted_truly_and_those_that_are_told_are_found() {
    let mut stage = Stage::new();
    let at_ms = now_ms();
    let told = u64::from(SHEDS_TOLD_PER_S_MAX);
    let ids = stage.shed(PEER, (true, false), 1_000, at_ms);
    stage.shed(OTHER, (false, false), 50, at_ms);
    stage.shed(OTHER, (false, true), 7, at_ms);
    for passed in [Passed::First, Passed::First, Passed::Retry, Passed::Failed] {
        stage.outbox.passed(stage.bundle, stage.operation, passed);
    }
    let level = LoadLevel { operation: stage.operation, limit: 50, load: 49, retry_tokens: 3 };
    stage.outbox.level(stage.bundle, level);
    stage.send(at_ms);
    stage.send(at_ms + SHED_PERIOD_MS.max(LOAD_PERIOD_MS));
    assert_eq!(stage.outbox.waiting(), 0);

    let labels = r#"service="orders",operation="listOrders""#;
    let shed = |mode| {
        stage.metric(&format!("palisade_shed_total{{{labels},reason=\"shed_retry\",mode=\"{mode}\"}}"))
    };
    assert_eq!((shed("enforce"), shed("shadow")), (1_050, 7));
    let attempts =
        |attempt| stage.metric(&format!("palisade_attempts_total{{{labels},attempt=\"{attempt}\"}}"));
    // They are looked at once a second.
    eventually("attempts are counted", BEGUN, || {
        ((attempts("first"), attempts("retry")) == (50, 1_000)).then_some(())
    });
    let admitted =
        |attempt| stage.metric(&format!("palisade_shedder_admitted_total{{{labels},attempt=\"{attempt}\"}}"));
    assert_eq!((admitted("first"), admitted("retry")), (2, 1));
    assert_eq!(stage.metric(&format!("palisade_shedder_failed_total{{{labels}}}")), 1);
    assert_eq!(stage.metric("palisade_shedder_limit{service=\"orders\"}"), 50);
    assert_eq!(stage.metric("palisade_shedder_workers{service=\"orders\"}"), 1);

    let state = stage.state();
    let calls = objects(&["audit", "--decision", "shed", "--limit", "all"], &state);
    let found: Vec<_> = calls.iter().map(|call| call["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(found.len() as u64, told);
    assert!(found.iter().all(|id| ids.contains(id)));
    let why = text(&["why", &found[0]], &state);
    assert!(why.contains("SHED (shed_retry)") && why.contains(PEER), "{why}");
    assert_eq!(palisade(&["audit", "--decision", "reject"], &state).status.code(), Some(1));
    let rows = objects(&["audit", "--events=shed"], &state);
    let mut counts: Vec<_> =
        rows.iter().map(|row| (row["shed"]["peer"].clone(), row["shed"]["count"].clone())).collect();
    counts.sort_by_key(|(_, count)| count.as_u64());
    assert_eq!(
        counts,
        [(json!(OTHER), json!(7)), (json!(OTHER), json!(50)), (json!(PEER), json!(1_000 - told))]
    );
    assert_eq!(palisade(&["audit", "--events=load"], &state).status.code(), Some(1), "it happened to nobody");
    let view = stage.view();
    let service = &view["services"][0];
    assert_eq!(
        (&service["service"], &service["limit"], &service["load"]),
        (&json!("orders"), &json!(50), &json!(49))
    );
}

#[test]
fn a_storm_names_its_caller_once() {
    let mut stage = Stage::new();
    let view = eventually("a storm is under way", BEGUN, || {
        let at_ms = now_ms();
        stage.shed(PEER, (true, false), 30, at_ms);
        stage.shed(PEER, (false, false), 3, at_ms);
        stage.shed(OTHER, (false, false), 30, at_ms);
        stage.send(at_ms);
        let view = stage.view();
        (view["storms"] != json!([])).then_some(view)
    });
    let storms = view["storms"].as_array().expect("storms");
    assert_eq!(storms.len(), 1, "{view}");
    let names = |storm: &serde_json::Value| {
        (storm["caller"].clone(), storm["service"].clone(), storm["operation"].clone())
    };
    assert_eq!(names(&storms[0]), (json!(PEER), json!("orders"), json!("listOrders")));
    assert_eq!(view["callers"][0]["caller"], PEER, "the one with the most retries is first: {view}");
    assert_eq!(stage.metric("palisade_storms_under_way"), 1);

    let (begun, ended) = eventually("the storm is over", ENDED, || {
        let at_ms = now_ms();
        stage.shed(OTHER, (false, false), 3, at_ms);
        stage.send(at_ms);
        let (begun, ended) = stage.storms();
        (!ended.is_empty()).then_some((begun, ended))
    });
    let callers = |storms: &[Storm]| storms.iter().map(|storm| storm.caller.clone()).collect::<Vec<_>>();
    assert_eq!((callers(&begun), callers(&ended)), (vec![PEER.to_owned()], vec![PEER.to_owned()]));
    assert!(ended[0].retries >= begun[0].retries && ended[0].amplification_percent >= 150, "{ended:?}");
    assert_eq!(ended[0].since_ms, begun[0].since_ms);
    let log = stage.server.process.log();
    assert_eq!(log.matches("a retry storm: one caller").count(), 1, "{log}");
    assert_eq!(log.matches("a retry storm is over").count(), 1, "{log}");
    assert_eq!((stage.metric("palisade_storms_total"), stage.metric("palisade_storms_under_way")), (1, 0));
    let events = objects(&["audit", "--events=storm*"], &stage.state());
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().expect("a name")).collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&"storm_began") && names.contains(&"storm_ended"), "{names:?}");
    let table = text(&["audit", "--events=storm*"], &stage.state());
    assert!(table.contains(&format!("`{PEER}`")) && table.contains("first attempts"), "{table}");
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let address = tests::ports::free_addr().to_string();
    let output = std::process::Command::new(tests::binaries::palisade())
        .args(["storm", "--admin", &address])
        .output()
        .expect("run palisade");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("palisade serve --admin"), "{output:?}");
}
