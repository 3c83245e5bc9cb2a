//! A candidate bundle beside the one in force: callers notice nothing, and the report says exactly what would have been.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use palisade::bundle::Bundle;
use palisade::ledger::{AdminEvent, Decision, Entry};
use serde_json::Value;
use tempfile::TempDir;
use tests::binaries::{self, workspace_dir};
use tests::deadline::eventually;
use tests::rig::{BundleUnderTest, Options, Rig, Target, admin};

use crate::handoff::copy_dir;

/// Long beyond the second in which a change must show, for a machine that has other things to do.
const SHOWN: Duration = Duration::from_secs(20);

/// What the candidate has beside the policies of the demo: orders are not to be read one by one, everybody may list them.
const CHANGES: &str = r#"
@id("no-single-orders")
forbid (principal, action == Action::"orders.getOrder", resource);

@id("all-may-list")
permit (principal is Anonymous, action == Action::"orders.listOrders", resource);
"#;

const CHANGED: &str = "changes.cedar";

/// The demo bundle with more policies, in a directory of its own.
fn candidate() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().expect("make a directory");
    let bundle = home.path().join("candidate");
    copy_dir(&workspace_dir().join("policies"), &bundle);
    // Its own tests would notice the changes.
    fs::remove_dir_all(bundle.join("tests")).expect("remove the bundle's tests");
    fs::write(bundle.join(CHANGED), CHANGES).expect("write a file");
    (home, bundle)
}

fn digest(bundle: &Path) -> String {
    Bundle::load(bundle).unwrap_or_else(|problems| panic!("{problems}")).digest.to_string()
}

fn rig_with(candidate: Option<&Path>) -> Rig {
    let mut options = Options::default();
    if let Some(candidate) = candidate {
        options = options.server_args(&["--candidate", candidate.to_str().expect("a path in UTF-8")]);
    }
    Rig::start_with(Target::Envoy, BundleUnderTest::Demo, options)
}

/// Calls of one kind, and what is to become of each.
struct Sent {
    path: &'static str,
    client: Option<&'static str>,
    status: u16,
    /// What the report calls it, and the candidate's policy.
    differs: Option<(&'static str, &'static str)>,
    times: usize,
}

const SENT: [Sent; 6] = [
    Sent {
        path: "/orders/o-1",
        client: Some("web"),
        status: 200,
        differs: Some(("newly_denied", "no-single-orders")),
        times: 5,
    },
    Sent { path: "/orders?limit=2", client: Some("web"), status: 200, differs: None, times: 7 },
    Sent {
        path: "/orders?limit=3",
        client: None,
        status: 403,
        differs: Some(("newly_allowed", "all-may-list")),
        times: 3,
    },
    Sent { path: "/orders/o-2", client: None, status: 403, differs: None, times: 2 },
    Sent { path: "/orders?limit=70", client: Some("web"), status: 200, differs: None, times: 4 },
    // The filter alone refuses it.
    Sent { path: "/no-such-path", client: Some("web"), status: 404, differs: None, times: 2 },
];

/// Sends all of it, and gives what callers saw.
fn send_all(rig: &Rig) -> Vec<(u16, Option<String>)> {
    let mut seen = Vec::new();
    for Sent { path, client, status, times, .. } in &SENT {
        let key = client.map(|client| format!("x-api-key: {}\r\n", rig.api_key(client))).unwrap_or_default();
        for _ in 0..*times {
            let reply = rig.send(format!("GET {path} HTTP/1.1\r\nhost: orders\r\n{key}\r\n")).expect_reply();
            assert_eq!(reply.status, *status, "{path}: {reply:?}");
            seen.push((reply.status, reply.reason()));
        }
    }
    seen
}

/// Decisions that the server made of them.
fn decided() -> usize {
    SENT.iter().filter(|sent| sent.status != 404).map(|sent| sent.times).sum()
}

fn report(rig: &Rig, arguments: &[&str]) -> Output {
    let mut command = Command::new(binaries::palisade());
    command.args(["shadow", "report", "--utc", "--state"]).arg(rig.dir().join("state")).args(arguments);
    command.output().expect("run palisade")
}

fn objects(output: &Output) -> Vec<Value> {
    let lines = String::from_utf8(output.stdout.clone()).expect("JSON is UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Compares the report with what was sent so many times.
#[track_caller]
fn check_report(rig: &Rig, candidate: &str, rounds: usize) {
    let output = report(rig, &["--json", "--candidate", candidate.get(..16).expect("a digest is longer")]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let objects = objects(&output);
    let summary = &objects[0];
    assert_eq!(
        (summary["summary"].as_str(), summary["candidate"].as_str()),
        (Some("candidate"), Some(candidate))
    );
    assert_eq!(summary["compared"], decided() * rounds);
    assert_eq!(objects.len(), 3, "{objects:#?}");
    for sent in &SENT {
        let Some((change, policy)) = sent.differs else { continue };
        assert_eq!(summary[change], sent.times * rounds, "{summary}");
        let row = objects.iter().find(|row| row["difference"] == change).expect("a row");
        assert_eq!(
            (row["count"].as_u64(), &row["policies"][0]),
            (Some((sent.times * rounds) as u64), &Value::from(policy))
        );
        let caller = sent.client.unwrap_or("anonymous");
        assert_eq!(row["caller"], caller);
        let example = row["example"].as_str().expect("an example");
        let decisions = rig.decisions();
        let example =
            decisions.iter().find(|decision| decision.decision_id == example).expect("it is in the ledger");
        let candidate = example.candidate.as_ref().expect("it was compared");
        assert_eq!(candidate.otherwise.as_ref().expect("it differs").policies, [policy]);
    }
    assert_eq!(summary["reason_changed"], 0);
}

#[test]
fn callers_notice_nothing_and_the_report_counts_what_was_sent() {
    let (_home, directory) = candidate();
    let candidate = digest(&directory);
    let plain = {
        let rig = rig_with(None);
        let seen = send_all(&rig);
        assert!(rig.decisions_when(decided()).iter().all(|decision| decision.candidate.is_none()));
        // Shadow policies are told without a candidate, too.
        let output = report(&rig, &["--json"]);
        let objects = objects(&output);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(
            (objects[0]["summary"].as_str(), objects[0]["newly_denied"].as_u64()),
            (Some("shadow_policies"), Some(4))
        );
        assert_eq!(objects[1]["policies"][0], "pages-of-fifty");
        assert_eq!(report(&rig, &["--candidate", "ab"]).status.code(), Some(2), "no such candidate");
        seen
    };
    let mut rig = rig_with(Some(&directory));
    assert_eq!(
        admin(rig.server_admin(), "/bundle").and_then(|reply| reply.json()).unwrap()["candidate"],
        *candidate
    );
    assert_eq!(send_all(&rig), plain);
    rig.decisions_when(decided());
    check_report(&rig, &candidate, 1);
    let metric = |rig: &Rig, result: &str| {
        let name = format!("palisade_candidate_comparisons_total{{result=\"{result}\"}} ");
        let metrics = rig.server_metrics();
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<usize>().ok())
    };
    assert_eq!((metric(&rig, "newly_denied"), metric(&rig, "newly_allowed")), (Some(5), Some(3)));
    assert_eq!((metric(&rig, "agreed"), metric(&rig, "failed")), (Some(13), Some(0)));
    // Killed in between: what was compared before is still told, and nothing twice.
    rig.server.kill();
    rig.server.restart();
    rig.wait_until_server_is_ready();
    rig.wait_until_guarded();
    assert_eq!(send_all(&rig), plain);
    rig.decisions_when(2 * decided());
    check_report(&rig, &candidate, 2);
    let text = report(&rig, &[]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let first = format!(
        "42 decisions compared with candidate {}: 10 newly denied, 6 newly allowed, 0 denied for another reason",
        candidate.get(..12).expect("a digest is longer")
    );
    assert_eq!(text.lines().next(), Some(first.as_str()), "{text}");
    let denied = rig
        .decisions()
        .into_iter()
        .find(|decision| decision.candidate.as_ref().is_some_and(|candidate| candidate.otherwise.is_some()));
    let why = Command::new(binaries::palisade())
        .args(["why", &denied.expect("one that differs").decision_id, "--state"])
        .arg(rig.dir().join("state"))
        .output()
        .expect("run palisade");
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(
        why.contains(&format!("{candidate} would have denied it (policy_denied) by no-single-orders")),
        "{why}"
    );
    palisade::ledger::verify(&rig.ledger_dir()).expect("the ledger is whole");
}

/// What the administration port says of the candidate: its digest, and what is wrong.
fn told(rig: &Rig) -> (Value, Value) {
    let mut told = admin(rig.server_admin(), "/bundle").and_then(|reply| reply.json()).unwrap_or_default();
    (told["candidate"].take(), told["degraded"].take())
}

#[track_caller]
fn wait_until(rig: &Rig, what: &str, candidate: &Value, is_broken: bool) {
    eventually(what, SHOWN, || {
        let degraded = if is_broken { serde_json::json!({"candidate": "refused"}) } else { false.into() };
        (told(rig) == (candidate.clone(), degraded)).then_some(())
    });
    let ready = admin(rig.server_admin(), "/readyz").expect("an answer");
    assert_eq!(ready.status, 200, "{what}");
    assert_eq!(ready.json().expect("JSON")["degraded"]["candidate"] == "refused", is_broken, "{what}");
    let good =
        format!("palisade_candidate_last_load_successful{{source=\"candidate\"}} {}", u8::from(!is_broken));
    assert!(rig.server_metrics().contains(&good), "{what}: {good}");
}

fn events(rig: &Rig, event: &AdminEvent) -> Vec<String> {
    let entries = rig.ledger_entries().into_iter();
    let details = entries.filter_map(|entry| match entry {
        Entry::Admin(admin) if admin.event == *event => Some(admin.detail),
        _ => None,
    });
    details.collect()
}

fn last_decision(rig: &Rig, count: usize) -> Decision {
    rig.decisions_when(count).pop().expect("a decision")
}

#[test]
fn a_broken_candidate_is_told_and_keeps_nobody_from_anything() {
    let (home, directory) = candidate();
    let good = Value::from(digest(&directory));
    let changes = directory.join(CHANGED);
    fs::write(&changes, "permit (principal\n").expect("write a file");
    let rig = rig_with(Some(&directory));
    let read = || rig.send(rig.read_request()).expect_reply().status;
    wait_until(&rig, "broken at the start", &Value::Null, true);
    assert_eq!(read(), 200);
    assert_eq!(last_decision(&rig, 1).candidate, None);
    assert!(rig.server.log().contains(CHANGED), "{}", rig.server.log());
    let refused = events(&rig, &AdminEvent::CandidateRefused);
    assert!(refused.len() == 1 && refused[0].contains(CHANGED), "{refused:?}");

    let epoch =
        || admin(rig.server_admin(), "/bundle").and_then(|reply| reply.json()).unwrap()["epoch"].take();
    let before = epoch();
    fs::write(&changes, CHANGES).expect("write a file");
    wait_until(&rig, "mended", &good, false);
    assert_eq!(read(), 200);
    let compared = last_decision(&rig, 2).candidate.expect("it was compared");
    assert_eq!(Value::from(&*compared.bundle_digest), good);

    fs::write(&changes, "@id(\"x\") permit (principal in Group::\"nobody-knows\", action, resource);")
        .unwrap();
    wait_until(&rig, "broken by a change", &good, true);
    assert_eq!(read(), 200);
    let compared = last_decision(&rig, 3).candidate.expect("the last good one is asked on");
    assert_eq!(Value::from(&*compared.bundle_digest), good);

    fs::write(&changes, CHANGES.replace("all-may-list", "everybody-may-list")).expect("write a file");
    let other = Value::from(digest(&directory));
    wait_until(&rig, "mended, with something new", &other, false);
    fs::rename(&directory, home.path().join("aside")).expect("rename a directory");
    wait_until(&rig, "gone", &other, true);
    fs::rename(home.path().join("aside"), &directory).expect("rename a directory");
    wait_until(&rig, "back", &other, false);
    assert_eq!(epoch(), before, "what decisions are made by has not changed");
    let loaded = events(&rig, &AdminEvent::CandidateLoaded);
    assert_eq!(loaded.len(), 2, "{loaded:?}");
    // The report has the text of every candidate at hand.
    for digest in [&good, &other] {
        let kept = rig.dir().join("state/bundles").join(digest.as_str().expect("a digest"));
        assert!(kept.is_dir(), "{}", kept.display());
    }
}
