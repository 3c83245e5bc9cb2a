//! What became of a call is found by the id that its caller was told, and no secret of the call is found anywhere.

use std::path::Path;
use std::process::{Command, Output};

use palisade::ledger::{Entry, Outcome as Ended};
use serde_json::Value;
use tests::binaries;
use tests::deadline::eventually;
use tests::raw_client::Reply;
use tests::rig::{BundleUnderTest, LEDGER_TIMEOUT, Rig, Target, random_hex};

/// Values that callers send and that nobody may keep; each is drawn anew, so that no chance can hide one.
struct Marks {
    query: String,
    key: String,
    body: String,
    authorization: String,
}

impl Marks {
    fn draw() -> Self {
        let [mut query, key, body, authorization] = [0; 4].map(|_| random_hex());
        query.truncate(32);
        Self { query, key, body, authorization }
    }
}

/// The requests of this module: each has a mark in its authorization, and reads in their query.
struct Caller<'a> {
    rig: &'a Rig,
    marks: Marks,
}

impl Caller<'_> {
    fn head(&self, method: &str, path: &str, key: &str) -> String {
        let (host, marks) = (self.rig.profile.value("host"), &self.marks);
        // The one parameter that takes any text is that of the operation that lists.
        let query = if method == "GET" { format!("?phone={}", marks.query) } else { String::new() };
        format!(
            "{method} {path}{query} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\nproxy-authorization: Bearer {}\r\n",
            marks.authorization
        )
    }

    fn own_key(&self) -> &str {
        self.rig.api_key(self.rig.profile.value("client"))
    }

    fn allowed_read(&self) -> Reply {
        let head = self.head("GET", self.rig.profile.value("read_path"), self.own_key());
        self.rig.send(format!("{head}\r\n")).expect_reply()
    }

    fn denied_delete(&self) -> Reply {
        let head = self.head("DELETE", self.rig.profile.value("delete_path"), self.own_key());
        self.rig.send(format!("{head}\r\n")).expect_reply()
    }

    fn unknown_key(&self) -> Reply {
        let head = self.head("GET", self.rig.profile.value("read_path"), &self.marks.key);
        self.rig.send(format!("{head}\r\n")).expect_reply()
    }

    /// A write whose body is a good beginning of JSON, with a mark in it, and no end.
    fn refused_write(&self) -> Reply {
        let head = self.head("POST", self.rig.profile.value("write_path"), self.own_key());
        let body = format!("{{\"item\":\"{}\"", self.marks.body);
        let length = body.len();
        let framing = format!("content-type: application/json\r\ncontent-length: {length}\r\n");
        self.rig.send(format!("{head}{framing}\r\n{body}")).expect_reply()
    }
}

/// The outcome that is joined by this id. The access log is best effort, but on a machine at rest it comes.
fn outcome(rig: &Rig, id: &str) -> Ended {
    eventually(&format!("the ledger has the outcome of {id}"), LEDGER_TIMEOUT, || {
        rig.ledger_entries().into_iter().find_map(|entry| match entry {
            Entry::Outcome(ended) if ended.call_id.as_deref() == Some(id) => Some(ended),
            Entry::Outcome(_)
            | Entry::Decision(_)
            | Entry::Refusal(_)
            | Entry::Admin(_)
            | Entry::Drift(_)
            | Entry::Judged(_)
            | Entry::Shed(_)
            | Entry::Load(_) => None,
        })
    })
}

fn why(rig: &Rig, id: &str) -> Output {
    let mut command = Command::new(binaries::palisade());
    command.args(["why", id, "--json", "--state"]).arg(rig.dir().join("state"));
    command.output().expect("run palisade why")
}

/// What `palisade why` prints of a call that it knows.
fn explained(rig: &Rig, id: &str) -> Value {
    let output = why(rig, id);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).expect("`why` prints JSON");
    assert_eq!(value["outcomes"].as_array().map(Vec::len), Some(1), "{value}");
    value
}

fn decision_id(reply: &Reply) -> String {
    reply.decision_id().unwrap_or_else(|| panic!("no decision id in {reply:?}"))
}

fn joined(target: Target) {
    let rig = Rig::start(target, BundleUnderTest::Demo);
    let caller = Caller { rig: &rig, marks: Marks::draw() };
    let path = rig.profile.value("read_path");

    // An allowed caller is not told the id: it stands in the ledger, and the service's answer goes out as it is.
    let allowed = caller.allowed_read();
    assert_eq!(allowed.status, 200, "{allowed:?}");
    let id = rig.decisions_when(1)[0].decision_id.clone();
    let ended = outcome(&rig, &id);
    assert_eq!((ended.status, ended.details.as_str(), &ended.filter_reason), (200, "via_upstream", &None));
    assert_eq!((ended.method.as_str(), ended.path.as_str()), ("GET", path));
    assert!(ended.duration_us > 0 && ended.request_bytes > 0, "{ended:?}");
    assert!(ended.response_bytes >= allowed.body.len() as u64, "{ended:?}");
    assert!(ended.upstream.is_some(), "{ended:?}");
    let shown = explained(&rig, &id);
    assert_eq!(shown["decision"]["entry"]["decision"], "allow", "{shown}");
    assert_eq!(shown["outcomes"][0]["status"], 200, "{shown}");

    let denied = caller.denied_delete();
    assert_eq!(denied.reason().as_deref(), Some("policy_denied"));
    let id = decision_id(&denied);
    let ended = outcome(&rig, &id);
    assert_eq!((ended.status, ended.details.as_str()), (403, "ext_authz_denied"), "{ended:?}");
    assert_eq!((&ended.filter_reason, &ended.upstream), (&None, &None), "{ended:?}");
    assert!(ended.flags.iter().any(|flag| flag == "UAEX") && ended.duration_us > 0, "{ended:?}");
    let shown = explained(&rig, &id);
    assert_eq!(shown["decision"]["entry"]["reason"], "policy_denied", "{shown}");

    let unknown = caller.unknown_key();
    assert_eq!(unknown.reason().as_deref(), Some("identity_invalid"));
    assert_eq!(outcome(&rig, &decision_id(&unknown)).status, 401);

    // The server never heard of it: the id came from the filter, through the proxy's filter state.
    let refused = caller.refused_write();
    assert_eq!(refused.reason().as_deref(), Some("json_syntax"));
    let id = decision_id(&refused);
    let ended = outcome(&rig, &id);
    assert_eq!((ended.status, ended.details.as_str()), (400, "palisade_json_syntax"), "{ended:?}");
    assert_eq!(ended.filter_reason.as_deref(), Some("json_syntax"), "{ended:?}");
    assert!(ended.duration_us > 0 && ended.request_bytes > 0 && ended.response_bytes > 0, "{ended:?}");
    let shown = explained(&rig, &id);
    assert!(shown["decision"].is_null(), "{shown}");
    assert_eq!(shown["outcomes"][0]["filter_reason"], "json_syntax", "{shown}");

    assert_nothing_is_kept(&rig, &caller);
}

/// The search is for bytes, in whatever the run left on disk but the files that hold the keys themselves.
fn assert_nothing_is_kept(rig: &Rig, caller: &Caller<'_>) {
    let Marks { query, key, body, authorization } = &caller.marks;
    let secrets = [query, key, body, authorization, caller.own_key(), rig.secret()];
    let mut files = Vec::new();
    walk(&rig.dir().join("state"), &mut files);
    assert!(files.len() >= 2, "the state has an epoch and a ledger");
    files.push((rig.server.log_path().display().to_string(), rig.server.log().into_bytes()));
    files.push((rig.envoy.log_path().display().to_string(), rig.envoy.log().into_bytes()));
    files.push(("the metrics".to_owned(), rig.server_metrics().into_bytes()));
    // The search finds what is there: the path of the same requests.
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(files.iter().any(|(_, bytes)| has(bytes, rig.profile.value("delete_path"))));
    for (file, bytes) in &files {
        for secret in secrets {
            assert!(!has(bytes, secret), "{file} holds `{secret}`");
        }
    }
}

fn walk(dir: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).expect("list the state") {
        let path = entry.expect("list the state").path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push((path.display().to_string(), std::fs::read(&path).expect("read a file of the state")));
        }
    }
}

#[test]
fn are_joined_by_the_call_id_on_envoy() {
    joined(Target::Envoy);
}

#[test]
fn are_joined_by_the_call_id_on_istio() {
    joined(Target::Istio);
}

#[test]
fn of_a_call_that_nobody_knows_nothing_is_made_up() {
    let rig = Rig::start(Target::Envoy, BundleUnderTest::Second);
    let check = |id: &str, expected: &str| {
        let output = why(&rig, id);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        assert!(said.contains(expected) && said.contains(id), "{said}");
    };
    check("01a1fe24-29e9-730f-993f-3604a20b64db", "no entry has decision id");
    check("o-17", "is not a decision id: expected a UUID");
}
