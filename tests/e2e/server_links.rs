//! Each way by which Envoy may reach the server: a Unix socket, mTLS with a list of peers; and plaintext over a network
//! only where somebody asked for it by name.

use std::path::Path;
use std::process::Command;

use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use serde_json::Value;
use tests::binaries::{self, workspace_dir};
use tests::deadline::{eventually, poll};
use tests::ports::free_addr;
use tests::process::{Launch, Process};
use tests::raw_client::Outcome;
use tests::rig::{BundleUnderTest, Link, Options, Rig, START_TIMEOUT, Target};

/// Whom the server lists in every test with mTLS.
const LISTED: &str = "spiffe://shop.example/ns/edge/sa/gateway";

fn start(target: Target, link: Link) -> Rig {
    Rig::start_with(target, BundleUnderTest::Demo, Options::default().link(link))
}

fn mutual(envoy: &str) -> Link {
    Link::Mutual { envoy: envoy.to_owned(), listed: LISTED.to_owned() }
}

/// Decisions come over this link, both kinds, and are recorded.
fn assert_decides(rig: &Rig) {
    let before = rig.decisions().len();
    for request in [rig.read_request(), rig.write_request()] {
        let reply = rig.send(&request).expect_reply();
        assert_eq!(reply.status, 200, "{:?}", reply.reason());
    }
    let (path, host) = (rig.profile.value("read_path"), rig.profile.value("host"));
    let reply = rig.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).expect_reply();
    assert_eq!(reply.reason().as_deref(), Some("policy_denied"));
    rig.decisions_when(before + 3);
}

/// Nothing is decided, so nothing passes.
fn assert_refuses_unseen(rig: &Rig) {
    rig.reset_spies();
    for request in [rig.read_request(), rig.write_request()] {
        let reply = rig.send(&request).expect_reply();
        assert_eq!((reply.status, reply.reason()), (403, None), "{reply:?}");
    }
    assert_eq!(rig.bytes_seen(), 0, "{:?}", rig.requests_seen());
    assert_eq!(rig.decisions(), [], "the server decided for a peer that it must not talk to");
}

/// Server and Envoy run, and Envoy has tried.
fn start_unready(target: Target, link: Link) -> Rig {
    let options = Options::default().link(link).unready();
    let mut rig = Rig::start_with(target, BundleUnderTest::Demo, options);
    rig.wait_until_server_is_ready();
    rig.wait_until_envoy_is_ready();
    rig
}

#[test]
fn a_unix_socket_carries_decisions_and_is_taken_over_after_a_kill() {
    let mut rig = start(Target::Envoy, Link::Unix);
    assert_decides(&rig);
    rig.server.kill();
    rig.reset_spies();
    assert_eq!(rig.send(rig.write_request()).expect_reply().status, 403);
    assert_eq!(rig.bytes_seen(), 0);
    // The file of the socket is still there: a server that starts finds that nobody answers on it.
    rig.server.restart();
    rig.wait_until_server_is_ready();
    eventually("the server decides again", START_TIMEOUT, || {
        let outcome = rig.send(rig.read_request());
        matches!(outcome, Outcome::Reply(reply) if reply.status == 200).then_some(())
    });
    assert_decides(&rig);
}

#[test]
fn a_listed_peer_is_answered_on_envoy() {
    assert_decides(&start(Target::Envoy, mutual(LISTED)));
}

#[test]
fn a_listed_peer_is_answered_on_istio() {
    assert_decides(&start(Target::Istio, mutual(LISTED)));
}

#[test]
fn a_peer_that_is_not_listed_gets_no_decision_and_is_named() {
    let stranger = "spiffe://shop.example/ns/edge/sa/gateway2";
    let rig = start_unready(Target::Envoy, mutual(stranger));
    assert_refuses_unseen(&rig);
    let log = rig.server.log();
    assert!(log.contains("a peer that is not listed was turned away"), "{log}");
    assert!(log.contains(stranger), "the log does not say who it was: {log}");
}

#[test]
fn a_server_that_cannot_prove_its_name_is_not_asked() {
    // Envoy expects another name of the server than its certificate has.
    let options = Options::default().link(mutual(LISTED)).unready().edit(|config| {
        let changed = replace_text(config, tests::pki::SERVER_NAME, "authz.shop.example");
        assert!(changed > 0, "the configuration names the server");
    });
    let mut rig = Rig::start_with(Target::Envoy, BundleUnderTest::Demo, options);
    rig.wait_until_server_is_ready();
    rig.wait_until_envoy_is_ready();
    assert_refuses_unseen(&rig);
}

/// Replaces a text wherever it is a whole value; how often it was.
fn replace_text(value: &mut Value, from: &str, to: &str) -> usize {
    match value {
        Value::String(text) if text == from => {
            *text = to.to_owned();
            1
        }
        Value::Object(fields) => fields.values_mut().map(|field| replace_text(field, from, to)).sum(),
        Value::Array(items) => items.iter_mut().map(|item| replace_text(item, from, to)).sum(),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// A `palisade serve` on every address of this machine, on a port that the kernel chooses.
fn open_server(dir: &Path) -> Launch {
    std::fs::write(dir.join("handoff-secret"), tests::rig::random_hex()).expect("write the secret");
    Launch::new("server", binaries::palisade())
        .args(["serve", "--listen", "0.0.0.0:0", "--admin", &free_addr().to_string(), "--bundle"])
        .arg(workspace_dir().join("policies"))
        .arg("--state")
        .arg(dir.join("state"))
        .arg("--handoff-secret-file")
        .arg(dir.join("handoff-secret"))
}

#[test]
fn plaintext_for_everyone_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().expect("make a directory");
    let launch = open_server(dir.path());
    let output = Command::new(&launch.program).args(&launch.args).output().expect("run palisade serve");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty(), "{output:?}");
    for part in ["`0.0.0.0:0` is not loopback", "`--client-ca`", "`--plaintext-for-anyone-on-this-network`"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn plaintext_for_everyone_is_had_by_asking_for_it_by_name() {
    let dir = tempfile::tempdir().expect("make a directory");
    let launch = open_server(dir.path()).args(["--plaintext-for-anyone-on-this-network"]);
    let mut server = Process::start(launch, dir.path());
    let serving = poll(START_TIMEOUT, || {
        assert_eq!(server.has_exited(), None, "{}", server.log());
        server.log().lines().find_map(|line| serde_json::from_str::<Value>(line).ok())
    });
    let listen = serving.expect("the server says where it serves")["listen"].clone();
    let port = listen.as_str().and_then(|listen| listen.rsplit(':').next()).expect("an address with a port");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let response = runtime.block_on(async {
        let mut client = AuthorizationClient::connect(format!("http://127.0.0.1:{port}")).await;
        let client = client.as_mut().expect("connect over loopback");
        client.check(CheckRequest::default()).await.expect("an answer to a Check").into_inner()
    });
    // It answers, and what it answers to somebody without a handoff is no.
    assert!(matches!(response.http_response, Some(HttpResponse::DeniedResponse(_))), "{response:?}");
}
