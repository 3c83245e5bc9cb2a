//! Calls are found again by what a person would ask: on a real proxy, while the server runs, after it was killed, and
//! when whoever reads along has seen enough.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use palisade::ledger::{
    Asked, Conclusion, Decision, Entry, Epoch, Ledger, Outcome, Passed, Proof, Refusal, Shadow, Verdict,
};
use serde_json::Value;
use tests::binaries;
use tests::deadline::{eventually, poll};
use tests::rig::{BundleUnderTest, LEDGER_TIMEOUT, Rig, Target};

/// How long a command may take on a busy machine.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

fn palisade(arguments: &[&str], state: &Path) -> Command {
    let mut command = Command::new(binaries::palisade());
    command.args(arguments).arg("--state").arg(state).env("TZ", "UTC");
    command
}

fn run(arguments: &[&str], state: &Path) -> Output {
    palisade(arguments, state).output().expect("run palisade")
}

/// The calls of an answer, each as its object.
fn found(arguments: &[&str], state: &Path) -> Vec<Value> {
    let output = run(&[arguments, &["--json"]].concat(), state);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let calls: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    assert_eq!(output.status.code(), Some(if calls.is_empty() { 1 } else { 0 }), "{arguments:?}: {said}");
    calls
}

fn beginning(id: &str, characters: usize) -> &str {
    id.get(..characters).expect("an id is longer")
}

fn texts(calls: &[Value], field: &str) -> Vec<String> {
    calls.iter().map(|call| call[field].as_str().unwrap_or("-").to_owned()).collect()
}

/// The demo's rig after a permitted read, a denied delete and a write that the filter refused; outcomes included.
fn rig_with_three_calls() -> (Rig, [String; 3]) {
    let rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    let (host, key) = (rig.profile.value("host"), rig.api_key(rig.profile.value("client")));
    let send = |head: &str, rest: &str| {
        rig.send(format!("{head} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\n{rest}")).expect_reply()
    };
    assert_eq!(send(&format!("GET {}", rig.profile.value("read_path")), "\r\n").status, 200);
    let denied = send(&format!("DELETE {}", rig.profile.value("delete_path")), "\r\n");
    let body = "content-type: application/json\r\ncontent-length: 2\r\n\r\n{\"";
    let refused = send(&format!("POST {}", rig.profile.value("write_path")), body);
    let read = rig.decisions_when(2)[0].decision_id.clone();
    let id = |reply: &tests::raw_client::Reply| reply.decision_id().expect("a refusal names its id");
    let ids = [read, id(&denied), id(&refused)];
    let state = rig.dir().join("state");
    eventually("the outcomes of all three are known", LEDGER_TIMEOUT, || {
        let calls = found(&["audit", "--limit", "all"], &state);
        let has_ended =
            |id: &String| calls.iter().any(|call| call["id"] == **id && !call["outcome"].is_null());
        ids.iter().all(has_ended).then_some(())
    });
    (rig, ids)
}

#[test]
fn every_call_is_found_by_who_what_and_why() {
    let (rig, [read, denied, refused]) = rig_with_three_calls();
    let state = rig.dir().join("state");
    let client = rig.profile.value("client");
    let ids = |arguments: &[&str]| texts(&found(&[&["audit"], arguments].concat(), &state), "id");
    assert_eq!(ids(&["--who", client, "--decision", "allow"]), [read.as_str()]);
    assert_eq!(ids(&["--who", client, "--status", "403"]), [denied.as_str()]);
    assert_eq!(ids(&["--reason", "policy_denied"]), [denied.as_str()]);
    assert_eq!(ids(&["--reason", "json_*", "--since", "10m"]), [refused.as_str()]);
    assert_eq!(ids(&["--decision", "reject"]), [refused.as_str()]);
    assert_eq!(ids(&["--id", beginning(&denied, 23)]), [denied.as_str()]);
    assert_eq!(ids(&["--who", client, "--limit", "1"]), [denied.as_str()], "the newest");
    assert_eq!(ids(&["--until", "yesterday"]), Vec::<String>::new());
    assert_eq!(ids(&["--slow", "1h"]), Vec::<String>::new());
    let denial = &found(&["audit", "--id", &denied], &state)[0];
    assert_eq!((&denial["outcome"]["status"], &denial["who"]), (&Value::from(403), &Value::from(client)));
    let counts =
        found(&["audit", "--count-by", "who", "--decision", "deny", "--reason", "policy_denied"], &state);
    assert_eq!(counts, [serde_json::json!({"who": client, "calls": 1})]);

    // The table names what the JSON does, and nothing in it is coloured where nobody looks.
    let output = run(&["audit", "--who", client], &state);
    let table = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("time (UTC)") && lines.len() == 3, "{table}");
    assert!(lines[1].contains(" allow ") && lines[1].ends_with(&read), "{table}");
    assert!(lines[2].contains(" deny ") && lines[2].contains("policy_denied"), "{table}");
    assert!(!table.contains('\x1b') && output.stderr.is_empty(), "{table}");
}

#[test]
fn a_question_that_finds_nothing_says_what_was_perhaps_meant() {
    let (rig, _) = rig_with_three_calls();
    let state = rig.dir().join("state");
    let client = rig.profile.value("client");
    let check = |arguments: &[&str], code: i32, expected: &str| {
        let output = run(&[&["audit"], arguments].concat(), &state);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(expected) && output.stdout.is_empty(), "{arguments:?}: {said}");
    };
    let mistyped: String = format!("{client}x");
    check(&["--who", &mistyped], 1, &format!("no caller `{mistyped}`; did you mean `{client}`?"));
    check(&["--reason", "policy_dennied"], 1, "no reason `policy_dennied`; did you mean `policy_denied`?");
    check(&["--who", client, "--slow", "1h"], 1, "no call is all of that");
    check(&["--since", "soon"], 2, "`--since`: `soon` is no time: expected");
    check(&["--since", "1h", "--until", "2h"], 2, "`--until` is not after `--since`");
    check(&["--status", "teapot"], 2, "`teapot` is no status");
    check(&["--limit", "0"], 2, "`0` is no limit");
    check(&["--id", "abc"], 2, "`abc` is too short");
    check(&["--count-by", "who", "--follow"], 2, "cannot be used with");
    let nowhere = run(&["audit"], &rig.dir().join("nowhere"));
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("there is no ledger in"));
}

#[test]
fn why_shows_the_policies_of_the_very_bundle_and_of_no_other() {
    let (rig, [read, denied, refused]) = rig_with_three_calls();
    let state = rig.dir().join("state");
    let told = |id: &str| {
        let output = run(&["why", id], &state);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let allowed = told(&read);
    for part in
        ["ALLOWED (policy_allowed)", "proven by an API key", "│  permit", "outcome  200", "entries  decision"]
    {
        assert!(allowed.contains(part), "`{part}` in {allowed}");
    }
    let refusal = told(&denied);
    assert!(refusal.contains("DENIED (policy_denied)") && refusal.contains("outcome  403"), "{refusal}");
    let rejected = told(&refused);
    assert!(rejected.contains("REJECTED (json_syntax)") && rejected.contains("by  the filter"), "{rejected}");

    // An id may be cut off as long as it names one call.
    assert_eq!(told(beginning(&read, 18)), allowed);
    let several = run(&["why", beginning(&read, 8)], &state);
    let said = String::from_utf8_lossy(&several.stderr).into_owned();
    assert_eq!(several.status.code(), Some(1), "{said}");
    assert!(said.contains("several decision ids begin with") && said.contains(&read), "{said}");

    // Another bundle with the same policies under the digest's name is not that bundle.
    let value: Value = serde_json::from_slice(&run(&["why", &read, "--json"], &state).stdout).expect("JSON");
    assert!(value["policies"][0]["text"].as_str().is_some_and(|text| text.contains("permit")), "{value}");
    let kept = Path::new(value["bundle"]["path"].as_str().expect("it is kept")).to_owned();
    let file = kept.join("palisade.yaml");
    let text = std::fs::read_to_string(&file).expect("read the bundle");
    std::fs::write(&file, format!("{text}\n# later\n")).expect("change the bundle");
    let changed = told(&read);
    assert!(!changed.contains("│") && changed.contains("its text is not at hand"), "{changed}");
    std::fs::remove_dir_all(&kept).expect("remove the bundle");
    let gone = told(&read);
    assert!(!gone.contains("│") && gone.contains("it is not kept here"), "{gone}");
}

/// A command that runs on, and the lines that it prints.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn start(arguments: &[&str], state: &Path) -> Self {
        let mut command = palisade(arguments, state);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("run palisade audit --follow");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    fn next(&self) -> Value {
        let line = self.lines.recv_timeout(COMMAND_TIMEOUT).expect("a line comes");
        serde_json::from_str(&line).expect("a JSON line")
    }

    fn has_nothing_for(&self, time: Duration) -> bool {
        matches!(self.lines.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn calls_are_followed_as_they_are_made() {
    let (rig, [_, denied, _]) = rig_with_three_calls();
    let client = rig.profile.value("client");
    let arguments = ["audit", "--follow", "--json", "--who", client, "--limit", "1"];
    let following = Following::start(&arguments, &rig.dir().join("state"));
    assert_eq!(following.next()["id"], denied.as_str(), "it begins with the newest call before");
    for _ in 0..3 {
        assert_eq!(rig.send(rig.read_request()).expect_reply().status, 200);
        let call = following.next();
        assert_eq!((&call["decision"], &call["outcome"]["status"]), (&"allow".into(), &200.into()), "{call}");
    }
    rig.wait_until_guarded();
    assert!(following.has_nothing_for(Duration::from_millis(500)), "the canary is somebody else's call");
}

#[test]
fn a_server_that_is_killed_again_and_again_leaves_an_index_that_tells_the_truth() {
    const KILLS: usize = 6;
    let mut rig = Rig::start(Target::Envoy, BundleUnderTest::Second);
    let state = rig.dir().join("state");
    let mut writes = 0;
    for round in 0..KILLS {
        for number in 0..30 {
            let (_, request) = rig.write_to(&format!("v-{round}-{number}"));
            writes += usize::from(rig.send(request).expect_reply().status == 200);
        }
        // In the middle of whatever its thread is doing; in some rounds a command has just thrown the index away.
        if round % 2 == 1 {
            let _ = std::fs::remove_dir_all(state.join("index"));
        }
        rig.server.kill();
        let kept = run(&["audit", "--json", "--limit", "all"], &state);
        let whole = run(&["audit", "--json", "--limit", "all", "--from-ledger"], &state);
        assert_eq!(kept.stdout.len(), whole.stdout.len(), "round {round}");
        assert!(kept.stdout == whole.stdout, "round {round}");
        rig.server.restart();
        rig.wait_until_server_is_ready();
        rig.wait_until_guarded();
    }
    let found = found(
        &["audit", "--limit", "all", "--service", rig.profile.value("service"), "--decision", "allow"],
        &state,
    );
    assert!(writes >= KILLS * 20 && found.len() >= writes, "{writes} writes, {} found", found.len());
}

/// A ledger that the real writer wrote, with so many calls and their outcomes.
fn written_ledger(calls: u64) -> tempfile::TempDir {
    const BEGIN_MS: u64 = 1_795_255_200_000;
    let state = tempfile::tempdir().expect("a state directory");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (ledger, _) = Ledger::open(&state.path().join("ledger")).expect("open the ledger");
    let mut waiting = Vec::new();
    for number in 0..calls {
        let at_ms = BEGIN_MS + number;
        let id =
            format!("{:08x}-{:04x}-7{:03x}-8000-{number:012x}", at_ms >> 16, at_ms & 0xffff, number & 0xfff);
        for entry in [Entry::Decision(decision(&id, at_ms)), Entry::Outcome(outcome(&id, at_ms))] {
            waiting.push(ledger.append(&entry));
        }
        if waiting.len() >= 1000 {
            for appended in waiting.drain(..) {
                runtime.block_on(appended).expect("append");
            }
        }
    }
    for appended in waiting {
        runtime.block_on(appended).expect("append");
    }
    runtime.block_on(ledger.close()).expect("close the ledger");
    state
}

fn decision(id: &str, at_ms: u64) -> Decision {
    Decision {
        decision_id: id.to_owned(),
        at_ms,
        service: "orders".to_owned(),
        operation: "getOrder".to_owned(),
        class: "read".to_owned(),
        method: "GET".to_owned(),
        host: "orders".to_owned(),
        path: "/orders/o-1".to_owned(),
        query_present: false,
        request_id: None,
        principal: "web".to_owned(),
        proof: Proof::ApiKey,
        workload: None,
        decision: Conclusion::Allow,
        reason: "policy_allowed".to_owned(),
        policies: vec!["storefront-reads".to_owned()],
        errors: Vec::new(),
        bundle_digest: "28".repeat(32),
        epoch: Epoch { server: "45".repeat(16), counter: 1 },
        handoff: "current".to_owned(),
        latency_us: 83,
        shadow: None,
        candidate: None,
        verdict: None,
        attempt: None,
        request_digest: None,
        asked: None,
        credential: None,
    }
}

fn outcome(id: &str, at_ms: u64) -> Outcome {
    Outcome {
        call_id: Some(id.to_owned()),
        at_ms,
        status: 200,
        details: "via_upstream".to_owned(),
        flags: Vec::new(),
        duration_us: 1_370,
        request_bytes: 120,
        response_bytes: 300,
        upstream: Some("orders".to_owned()),
        upstream_host: Some("10.0.0.7:8080".to_owned()),
        method: "GET".to_owned(),
        host: "orders".to_owned(),
        path: "/orders/o-1".to_owned(),
        filter_reason: None,
    }
}

/// A ledger with these entries.
fn ledger_of(entries: &[Entry]) -> tempfile::TempDir {
    let state = tempfile::tempdir().expect("a state directory");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (ledger, _) = Ledger::open(&state.path().join("ledger")).expect("open the ledger");
    for entry in entries {
        runtime.block_on(ledger.append(entry)).expect("append");
    }
    runtime.block_on(ledger.close()).expect("close the ledger");
    state
}

fn refusal(id: &str, verdict: Verdict) -> Refusal {
    Refusal {
        call_id: id.to_owned(),
        at_ms: 1_795_255_200_000,
        verdict,
        reason: "json_syntax".to_owned(),
        place: None,
        service: "orders".to_owned(),
        operation: "createOrder".to_owned(),
        method: "POST".to_owned(),
        host: "orders".to_owned(),
        path: "/orders".to_owned(),
        peer: Some("spiffe://shop.example/ns/shop/sa/web".to_owned()),
        attempt: Some(3),
        retry: false,
        bundle_digest: "28".repeat(32),
        vm: "6b".repeat(8),
        sequence: 7,
    }
}

#[test]
fn why_tells_what_policies_were_asked_and_what_was_masked() {
    let id = "01a1fe3c-22e2-72bf-b97b-1a6e0801f315";
    let asked = Asked {
        query: [("limit".into(), Value::from(10))].into(),
        body: [("/item".into(), Value::from("mug\u{1b}[2J"))].into(),
        masked: [("query.token".into(), Some("9a0b".to_owned())), ("body./card".into(), None)].into(),
        not_replayable: vec!["query.token".into()],
        ..Asked::default()
    };
    let shadow = Shadow { decision: Conclusion::Deny, policies: vec!["pages".to_owned()], errors: vec![] };
    let full = Decision {
        verdict: Some(Passed { body_judged: true, grpc: false, upgrade: false }),
        attempt: Some(2),
        request_digest: Some("5e".repeat(32)),
        asked: Some(asked),
        shadow: Some(shadow),
        ..decision(id, 1_795_255_200_000)
    };
    let other = "01a1fe3c-22e2-72bf-b97b-1a6e0801f316";
    let state = ledger_of(&[
        Entry::Decision(full.clone()),
        Entry::Outcome(outcome(id, 1_795_255_200_002)),
        Entry::Decision(decision(other, 1_795_255_200_000)),
    ]);
    let told = String::from_utf8(run(&["why", id], state.path()).stdout).expect("text");
    for part in [
        "  filter  passed with its body judged\n",
        " attempt  2\n",
        &format!("  digest  {}\n", "5e".repeat(32)),
        "   asked  query.limit = 10\n",
        "body./item = \"mug\\u001b[2J\"\n",
        "body./card is masked: nothing of it was kept\n",
        "query.token is masked: only its digest 9a0b was kept\n",
        "  replay  not possible from this entry: policies read query.token, which is masked\n",
        "  shadow  with the shadow policies it would have been denied\n",
        "    took  1.3 ms: 83 µs in the server until it was given to the ledger",
        " entries  decision 0, outcome 1\n",
    ] {
        assert!(told.contains(part), "`{part}` in {told}");
    }
    let value: Value =
        serde_json::from_slice(&run(&["why", id, "--json"], state.path()).stdout).expect("JSON");
    assert_eq!(value["decision"]["entry"], serde_json::to_value(&full).expect("JSON"), "as it is");
    let plain = String::from_utf8(run(&["why", other], state.path()).stdout).expect("text");
    for absent in ["asked", "attempt", "digest", "replay", "shadow", "filter"] {
        assert!(!plain.contains(&format!(" {absent}  ")), "`{absent}` in {plain}");
    }
}

#[test]
fn what_the_filter_reported_is_one_call_with_what_the_access_log_says() {
    let [rejected, shed, decided] = [1, 2, 3].map(|n| format!("01a1fe3c-22e2-72bf-b97b-00000000000{n}"));
    let at_ms = 1_795_255_200_000;
    let state = ledger_of(&[
        Entry::Outcome(Outcome { status: 400, ..outcome(&rejected, at_ms + 3) }),
        Entry::Refusal(refusal(&rejected, Verdict::Reject)),
        Entry::Refusal(refusal(&shed, Verdict::Shed)),
        Entry::Decision(decision(&decided, at_ms)),
        Entry::Refusal(refusal(&decided, Verdict::Reject)),
        Entry::Refusal(refusal(&rejected, Verdict::Reject)),
    ]);
    for more in [&[][..], &["--from-ledger"]] {
        let ids =
            |arguments: &[&str]| texts(&found(&[&["audit"], arguments, more].concat(), state.path()), "id");
        assert_eq!(ids(&[]), [rejected.as_str(), &shed, &decided]);
        assert_eq!(ids(&["--decision", "reject"]), [rejected.as_str()]);
        assert_eq!(ids(&["--decision", "shed", "--who", "*/sa/web"]), [shed.as_str()]);
        assert_eq!(ids(&["--operation", "orders.createOrder", "--status", "400"]), [rejected.as_str()]);
    }
    let told = |id: &str| String::from_utf8(run(&["why", id], state.path()).stdout).expect("text");
    for part in [
        "REJECTED (json_syntax)",
        "by  the filter, before the server was asked",
        "who  spiffe://shop.example/ns/shop/sa/web (proven by the certificate of its connection)",
        "what  orders.createOrder\n",
        "attempt  3\n",
        "report  number 7 of filter VM 6b6b6b6b6b6b6b6b\n",
        "outcome  400",
        "entries  refusal 1, outcome 0, refusal 5\n",
    ] {
        assert!(told(&rejected).contains(part), "`{part}` in {}", told(&rejected));
    }
    assert!(told(&shed).contains("SHED (json_syntax)"), "{}", told(&shed));
    let both = told(&decided);
    assert!(
        both.contains("ALLOWED") && both.contains("reported that it refused the call all the same"),
        "{both}"
    );
    let value: Value =
        serde_json::from_slice(&run(&["why", &shed, "--json"], state.path()).stdout).expect("JSON");
    assert_eq!(value["refusal"]["entry"]["verdict"], "shed");
    assert_eq!(
        (&value["decision"], &value["call"]["who"]),
        (&Value::Null, &value["refusal"]["entry"]["peer"])
    );
}

#[test]
fn events_tell_what_happened_to_the_server() {
    let rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    let state = rig.dir().join("state");
    let starts = found(&["audit", "--events=start"], &state);
    assert_eq!(texts(&starts, "event"), ["start"]);
    let names = texts(&found(&["audit", "--events", "--since", "1h"], &state), "event");
    assert!(names.contains(&"key_created".to_owned()) && names.contains(&"start".to_owned()), "{names:?}");
    let output = run(&["audit", "--events=stop"], &state);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains("no such event; the ledger has: ") && said.contains("start"), "{said}");
    let table = String::from_utf8(run(&["audit", "--events"], &state).stdout).expect("text");
    assert!(table.starts_with("time (UTC)               event"), "{table}");
    assert_eq!(run(&["audit", "--events", "--who", "web"], &state).status.code(), Some(2));
}

#[test]
fn a_command_that_is_killed_while_it_builds_the_index_leaves_one_that_can_be_gone_on_with() {
    let state = written_ledger(15_000);
    let file = state.path().join("index").join("calls.sqlite");
    let mut sizes = Vec::new();
    for _ in 0..8 {
        let before = std::fs::metadata(&file).map_or(0, |file| file.len());
        let mut command = palisade(&["audit"], state.path());
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("run palisade audit");
        // Killed as soon as it has written anything more, or when it is done.
        let grown = poll(COMMAND_TIMEOUT, || {
            let size = std::fs::metadata(&file).map_or(0, |file| file.len());
            (size > before || child.try_wait().expect("ask the child").is_some()).then_some(size)
        });
        child.kill().expect("kill the command");
        child.wait().expect("wait for the command");
        sizes.extend(grown);
    }
    let kept = run(&["audit", "--json", "--limit", "all"], state.path());
    let whole = run(&["audit", "--json", "--limit", "all", "--from-ledger"], state.path());
    assert!(kept.stdout == whole.stdout, "after kills at {sizes:?} bytes");
    assert_eq!(kept.stdout.iter().filter(|byte| **byte == b'\n').count(), 15_000);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let state = written_ledger(2_000);
    for arguments in [
        &["audit", "--limit", "all", "--json"][..],
        &["audit", "--limit", "all"],
        &["audit", "--follow", "--limit", "2000", "--json"],
    ] {
        let mut command = palisade(arguments, state.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run palisade");
        let mut first = String::new();
        BufReader::with_capacity(64, child.stdout.take().expect("a pipe"))
            .read_line(&mut first)
            .expect("a line");
        assert!(!first.is_empty());
        let ended = poll(COMMAND_TIMEOUT, || child.try_wait().expect("ask the child"));
        assert_eq!(ended.and_then(|status| status.code()), Some(0), "{arguments:?}");
        let output = child.wait_with_output().expect("read what it said");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
