//! Responses against the contract: refused where that is enforced, counted where it is reported, and never after a write
//! unless somebody said so.

use super::Everything;
use crate::handoff::copy_dir;
use serde_json::Value;
use tests::binaries;
use tests::deadline::eventually;
use tests::raw_client::Reply;
use tests::rig::{BundleUnderTest, Options, Rig, Target};

const GOOD_BODY: &str = r#"{"id":1,"items":[{"price":2}]}"#;
const GOOD_HEADERS: &str = "content-type: application/json\r\netag: \"abc\"\r\n";

/// How long drift may take to get into the ledger: filters tell of it every ten seconds.
const DRIFT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn get(all: &Everything, path: &str, answer: &[u8]) -> Reply {
    all.rig.spies["orders"].answer_with(Some(answer));
    all.send("GET", path, "", "")
}

#[test]
fn an_enforced_head_is_refused_with_a_reason_and_a_reported_one_goes_out() {
    for target in Target::ALL {
        let all = Everything::start(target);
        let check = |answer: &[u8], reason: Option<&str>| {
            let strict = get(&all, "/answers/strict", answer);
            let shown = String::from_utf8_lossy(answer);
            assert_eq!(strict.reason().as_deref(), reason, "{shown}");
            if reason.is_some() {
                assert_eq!(strict.status, 502, "{shown}");
            }
            for open in ["/answers/reported", "/answers/quiet"] {
                assert_eq!(get(&all, open, answer).reason(), None, "{open} {shown}");
            }
        };
        check(&answer("200 OK", GOOD_HEADERS, GOOD_BODY), None);
        check(&answer("404 Not Found", "", ""), None);
        check(
            &answer(
                "200 OK",
                &format!("{GOOD_HEADERS}last-modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n"),
                GOOD_BODY,
            ),
            None,
        );
        check(&answer("500 Internal Server Error", "", ""), Some("response_not_declared"));
        check(&answer("200 OK", "content-type: application/json\r\n", GOOD_BODY), Some("parameter_missing"));
        check(
            &answer("200 OK", "content-type: application/json\r\netag: abc\r\n", GOOD_BODY),
            Some("schema_pattern"),
        );
        check(
            &answer("200 OK", "content-type: text/html\r\netag: \"abc\"\r\n", "<p>"),
            Some("response_content_type"),
        );
        check(&answer("200 OK", "etag: \"abc\"\r\n", "x"), Some("response_content_type"));
        check(
            &answer("200 OK", &format!("{GOOD_HEADERS}x-debug: 1\r\n"), GOOD_BODY),
            Some("response_forbidden"),
        );
        check(
            &answer("404 Not Found", "content-type: application/json\r\n", "{}"),
            Some("response_content_type"),
        );
    }
}

/// What the server has counted of one operation's responses.
fn drift(rig: &Rig, operation: &str) -> Vec<(String, String)> {
    let output = std::process::Command::new(binaries::palisade())
        .args(["drift", "--json", "--operation", operation, "--state"])
        .arg(rig.dir().join("state"))
        .output()
        .expect("run palisade drift");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let text = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    rows.map(|row| (text(&row, "reason"), text(&row, "place"))).collect()
}

#[test]
fn what_is_reported_is_counted_by_rule_and_place() {
    let all = Everything::start(Target::Envoy);
    for (status, headers, body) in [
        ("200 OK", GOOD_HEADERS, r#"{"id":1,"items":[{"price":1},{"price":-1}]}"#),
        ("200 OK", GOOD_HEADERS, r#"{"id":1,"secret":"x"}"#),
        ("200 OK", GOOD_HEADERS, r#"{"id":1,"password_hash":"x"}"#),
        ("503 Service Unavailable", "", ""),
        ("200 OK", &format!("{GOOD_HEADERS}content-encoding: gzip\r\n"), "xx"),
    ] {
        let reply = get(&all, "/answers/reported", &answer(status, headers, body));
        assert_eq!(reply.reason(), None);
    }
    let expected = [
        ("response_encoded", ""),
        ("response_forbidden", "response/body/**/password_hash"),
        ("response_not_declared", "response/status/*"),
        ("schema_number", "response/body/items/*/price"),
        ("schema_undeclared", "response/body/password_hash"),
        ("schema_write_only", "response/body/secret"),
    ];
    eventually("drift of responses", DRIFT_TIMEOUT, || {
        let found = drift(&all.rig, "reportedAnswer");
        let is_there = |(reason, place): &(&str, &str)| {
            found.iter().any(|(known, at)| known == reason && at.starts_with(place))
        };
        expected.iter().all(is_there).then_some(())
    });
}

#[test]
fn an_enforced_body_is_held_and_refused_whole() {
    let dir = tempfile::tempdir().expect("make a directory");
    let bundle = binaries::workspace_dir().join("tests/bundles/everything");
    copy_dir(&bundle, dir.path());
    let service = dir.path().join("services/orders/service.yaml");
    let text = std::fs::read_to_string(&service).expect("read the settings");
    let text = text.replace(
        "      head: enforce\n",
        "      head: enforce\n      body: enforce\n      body_bytes_max: 1000\n",
    );
    std::fs::write(&service, text).expect("write the settings");
    let options = Options::default().bundle_dir(dir.path());
    let all = Everything { rig: Rig::start_with(Target::Envoy, BundleUnderTest::Demo, options) };
    let good = get(&all, "/answers/strict", &answer("200 OK", GOOD_HEADERS, GOOD_BODY));
    assert_eq!((good.status, String::from_utf8_lossy(&good.body).as_ref()), (200, GOOD_BODY));
    let large = format!(r#"{{"id":1,"items":[{}]}}"#, vec!["{}"; 400].join(","));
    for (body, reason) in [
        (r#"{"id":"1"}"#, "schema_type"),
        (r#"{"id":1"#, "json_syntax"),
        (r#"{"id":1,"secret":"x"}"#, "schema_write_only"),
        (r#"{"id":1,"password_hash":"x"}"#, "response_forbidden"),
        (large.as_str(), "response_too_large"),
    ] {
        let refused = get(&all, "/answers/strict", &answer("200 OK", GOOD_HEADERS, body));
        assert_eq!((refused.status, refused.reason().as_deref()), (502, Some(reason)), "{body}");
        assert!(!String::from_utf8_lossy(&refused.body).contains("secret"), "nothing of it goes out");
    }
    let encoded = format!("{GOOD_HEADERS}content-encoding: gzip\r\n");
    let refused = get(&all, "/answers/strict", &answer("200 OK", &encoded, GOOD_BODY));
    assert_eq!(refused.reason().as_deref(), Some("response_encoded"));
    // In pieces, and at the end trailers.
    let pieces: String = GOOD_BODY.chars().map(|letter| format!("1\r\n{letter}\r\n")).collect();
    let chunked = format!(
        "HTTP/1.1 200 OK\r\n{GOOD_HEADERS}transfer-encoding: chunked\r\n\r\n{pieces}0\r\nx-after: 1\r\n\r\n"
    );
    let good = get(&all, "/answers/strict", chunked.as_bytes());
    assert_eq!((good.status, String::from_utf8_lossy(&good.body).as_ref()), (200, GOOD_BODY));
    // What is not from the service is no contract's matter.
    let denied = all.send("GET", "/answers/strict", "x-api-key: wrong\r\n", "");
    assert_ne!(denied.status, 502);

    // Istio has nothing that could hold it.
    let output = std::process::Command::new(binaries::palisade())
        .arg("build")
        .arg(dir.path())
        .args(["--target", "sidecar", "--server", "127.0.0.1:3", "--out"])
        .arg(dir.path().join("out"))
        .arg("--filter")
        .arg(binaries::filter())
        .args(["--upstream", "orders=127.0.0.1:1", "--upstream", "payments=127.0.0.1:2"])
        .output()
        .expect("run palisade build");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("cannot hold in Istio"), "{said}");
}
