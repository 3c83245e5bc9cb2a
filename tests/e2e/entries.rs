//! What the real server writes down: when, what not, and that it is enough to decide again.

use std::path::Path;
use std::process::{Command, Output};

use palisade::ledger::Decision;
use serde_json::Value;
use tests::binaries::{palisade, workspace_dir};
use tests::deadline::eventually;
use tests::raw_client::Outcome;
use tests::rig::{BundleUnderTest, LEDGER_TIMEOUT, Options, Rig, Target, Trace};

use crate::durability::order_of;
use crate::handoff::copy_dir;

const TRACE: &str = "server.strace";

/// A copy of the demo bundle in which what stands once in a file stands otherwise.
fn demo_with(file: &str, old: &str, new: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("make a directory");
    copy_dir(&workspace_dir().join("policies"), dir.path());
    edit(&dir.path().join(file), old, new);
    dir
}

fn edit(path: &Path, old: &str, new: &str) {
    let text = std::fs::read_to_string(path).expect("read a file of the bundle");
    assert_eq!(text.matches(old).count(), 1, "`{old}` stands once in {}", path.display());
    std::fs::write(path, text.replace(old, new)).expect("write a file of the bundle");
}

fn get(rig: &Rig, target: &str) -> Outcome {
    let key = rig.api_key("web");
    rig.send(format!(
        "GET {target} HTTP/1.1\r\nhost: orders\r\nx-api-key: {key}\r\nx-customer: c-4711\r\n\r\n"
    ))
}

#[test]
fn a_buffered_read_does_not_wait_for_the_disk_and_its_denial_does() {
    const READS: usize = 5;
    let bundle = demo_with("palisade.yaml", "    read: durable\n", "    read: buffered\n");
    let options = Options::default().bundle_dir(bundle.path()).trace_server(Trace::ToFile(TRACE));
    let rig = Rig::start_with(Target::Envoy, BundleUnderTest::Demo, options);
    let trace_of = |decision: &Decision| {
        eventually(&format!("the trace shows {}", decision.decision_id), LEDGER_TIMEOUT, || {
            let trace = std::fs::read_to_string(rig.dir().join(TRACE)).ok()?;
            let order = order_of(&trace, &decision.decision_id);
            Some((order.written?, order.synced?, order.reply?))
        })
    };
    let mut before_the_disk = 0;
    for _ in 0..READS {
        let known = rig.decisions().len();
        let reply = get(&rig, "/orders").expect_reply();
        assert_eq!(reply.status, 200, "{:?}", reply.reason());
        // Soon after, it is there.
        let decisions = rig.decisions_when(known + 1);
        let (_, synced, reply) = trace_of(&decisions[known]);
        before_the_disk += usize::from(reply < synced);
    }
    // Somebody else's entry may have been written at that very moment.
    assert!(before_the_disk + 1 >= READS, "{before_the_disk} of {READS} were answered before the sync");
    for _ in 0..READS {
        let known = rig.decisions().len();
        let reply = get(&rig, "/orders?limit=101").expect_reply();
        assert_eq!(reply.reason().as_deref(), Some("policy_denied"));
        assert_eq!(reply.json().unwrap()["advice"], "ask for at most 100 orders at once");
        let denied = &rig.decisions_when(known + 1)[known];
        assert_eq!((denied.class.as_str(), denied.reason.as_str()), ("read", "policy_denied"));
        let (written, synced, reply) = trace_of(denied);
        assert!(
            written < synced && synced < reply,
            "{written}, {synced}, {reply}: a denial is on disk first"
        );
    }
}

fn replay(state: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(palisade());
    command.args(["ledger", "replay"]).arg(state).args(more);
    command.output().expect("run palisade")
}

fn found(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{output:?}"))
}

#[test]
fn recorded_decisions_are_made_again_and_a_changed_policy_is_found() {
    let rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    let known = rig.decisions().len();
    let refund = r#"{"amount_cents":500,"note":"for Ada Lovelace"}"#;
    let refund = format!(
        "POST /payments/p-1/refund HTTP/1.1\r\nhost: payments\r\nx-api-key: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{refund}",
        rig.api_key("support-tool"),
        refund.len(),
    );
    for (outcome, status) in [
        (get(&rig, "/orders?limit=100&phone=%2B4930123456"), 200),
        (get(&rig, "/orders?limit=101"), 403),
        (get(&rig, "/orders?limit=60"), 200),
        (rig.send(rig.write_request()), 200),
        (rig.send(&refund), 200),
        (rig.send("GET /orders HTTP/1.1\r\nhost: orders\r\n\r\n"), 403),
    ] {
        assert_eq!(outcome.expect_reply().status, status);
    }
    let decisions = rig.decisions_when(known + 6).split_off(known);
    let asked = |index: usize| decisions[index].asked.as_ref().expect("the policies were asked");
    assert_eq!(asked(1).query.get("limit"), Some(&101.into()));
    assert_eq!(asked(4).body.get("/amount_cents"), Some(&500.into()));
    assert_eq!(asked(4).masked.get("body./note"), Some(&None));
    assert!(asked(0).masked["header.x-customer"].is_some(), "a digest");
    assert_eq!(asked(0).masked["header.x-customer"], asked(1).masked["header.x-customer"]);
    assert!(decisions[3].verdict.expect("a verdict").body_judged);
    assert!(decisions[2].shadow.is_some(), "a shadow disagrees");
    let state = rig.dir().join("state");
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(rig.ledger_dir()).expect("list the ledger") {
        bytes.extend(std::fs::read(file.expect("a file").path()).unwrap_or_default());
    }
    let stands = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(stands("policy_denied") && !stands("Lovelace") && !stands("4930123456") && !stands("c-4711"));
    assert!(!stands(rig.api_key("web")));

    // Beside the running server.
    let output = replay(&state, &["--json"]);
    let counts = &found(&output)["counts"];
    assert!(output.status.success(), "{output:?}");
    assert!(counts["same"].as_u64() >= Some(6), "{counts}");
    assert_eq!((&counts["different"], &counts["masked"]), (&0.into(), &0.into()), "{counts}");
    assert!(counts["not_asked"].as_u64() >= Some(1), "the canaries: {counts}");
    let shown = replay(&state, &[]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("made again with the same conclusion"));

    let copy = rig.dir().join("bundles");
    copy_dir(&state.join("bundles"), &copy);
    let policies = copy.join(&decisions[1].bundle_digest).join("guardrails.cedar");
    edit(&policies, "context.query.limit > 100", "context.query.limit > 1000");
    let output = replay(&state, &["--json", "--bundles", copy.to_str().expect("a path in UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    let found = found(&output);
    assert_eq!(found["counts"]["different"], 1, "{found}");
    assert_eq!(found["different"][0]["decision_id"], decisions[1].decision_id.as_str());
    assert_eq!(
        found["different"][0]["again"],
        "allowed (policy_allowed) by storefront-orders; with shadows denied by pages-of-fifty"
    );
}
