//! Persons in `palisade dev`: what it prints is good as it stands, tokens of anybody can be had, and no issuer is asked.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::binaries::{self, workspace_dir};
use tests::raw_client::{self, Reply};
use tests::rig::Target;
use tests::spy::Spy;

use super::{ALLOWED, Scene, Told, bearer, read_orders, refused};
use crate::drills::Dev;

/// A run that is ready, and what it said then.
struct Run {
    dev: Dev,
    ready: Value,
}

impl Run {
    fn of_bundle(bundle: &Path, target: Target) -> Self {
        let mut dev = Dev::of_bundle(bundle, target);
        let ready = dev.wait_for("ready", |event| event["event"] == "ready");
        Self { dev, ready }
    }

    fn listen(&self) -> SocketAddr {
        self.ready["listen"].as_str().and_then(|text| text.parse().ok()).expect("an address")
    }

    /// Does what a line that it printed does, which is one of curl's.
    fn follow(&self, example: &str) -> Told {
        let examples = self.ready["examples"].as_array().expect("examples");
        let found = examples.iter().find(|found| found["name"] == example).expect("the example");
        let line = found["curl"].as_str().expect("a line");
        let output = sh(&line.replacen("curl", "printf '%s\\n'", 1));
        let words: Vec<&str> = output.lines().collect();
        let after = |flag: &str| {
            let pairs = words.windows(2).filter(move |pair| pair[0] == flag);
            pairs.map(|pair| pair[1]).collect::<Vec<_>>()
        };
        let body = after("--data-raw").first().copied().unwrap_or_default();
        let method = if body.is_empty() { "GET" } else { "POST" };
        let url = words.last().expect("a URL").strip_prefix(&format!("http://{}", self.listen()));
        let mut headers = after("-H").join("\r\n");
        if !body.is_empty() {
            headers.push_str(&format!("\r\ncontent-length: {}", body.len()));
        }
        let request =
            format!("{method} {} HTTP/1.1\r\n{headers}\r\n\r\n{body}", url.expect("the listener's URL"));
        told(&raw_client::send(self.listen(), request).expect_reply())
    }

    /// The line that makes a token, as it was printed, with more of what it says.
    fn token(&self, more: &str) -> String {
        let line = self.ready["issuers"]["staff"].as_str().expect("a line for the issuer");
        sh(&format!("{line} {more}")).trim().to_owned()
    }

    fn read(&self, token: &str) -> Told {
        told(&raw_client::send(self.listen(), read_orders(&bearer(token))).expect_reply())
    }
}

fn told(reply: &Reply) -> Told {
    (reply.status, reply.reason())
}

/// What a line prints, by a shell that finds the program of these tests.
fn sh(line: &str) -> String {
    let programs = binaries::palisade();
    let mut path = programs.parent().expect("a directory of programs").as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let output = Command::new("sh").args(["-c", line]).env("PATH", path).output().expect("run a shell");
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn what_dev_prints_for_a_person_is_good_as_it_stands() {
    let run = Run::of_bundle(&workspace_dir().join("policies"), Target::Envoy);
    assert_eq!(run.follow("person"), ALLOWED);
    assert_eq!(run.follow("person-refund"), ALLOWED);
    assert_eq!(run.follow("person-denial"), refused(403, "policy_denied"));
    assert_eq!(run.follow("forged-token"), refused(401, "identity_invalid"));
    assert_eq!(run.follow("expired-token"), refused(401, "identity_invalid"));

    assert_eq!(run.read(&run.token("--groups support,support-leads")), ALLOWED);
    assert_eq!(run.read(&run.token("")), refused(403, "policy_denied"), "she is in no group");
    let tom = run.token("--groups support --claim sub=tom --expires 10m");
    assert_eq!(run.read(&tom), ALLOWED);
    let for_others = run.token("--groups support --claim aud=elsewhere");
    assert_eq!(run.read(&for_others), refused(401, "identity_invalid"));
    let mut run = run;
    run.dev.wait_for("the decision", |event| event["caller"] == "staff/tom");

    let state = Path::new(run.ready["state"].as_str().expect("a directory"));
    for file in ["dev/issuers.json", "dev/issuer-keys/staff.json"] {
        let mode = fs::metadata(state.join(file)).expect("the keys").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

/// Whatever the bundle says of keys, the run's own count.
#[test]
fn no_issuer_is_asked_for_its_keys() {
    let login = Spy::start();
    let scene = Scene::new("");
    let keys = format!("keys: {{url: \"http://{}/keys\"}}", login.addr());
    scene.edit("palisade.yaml", "keys: {file: keys/staff.json}", &keys);
    scene.edit("palisade.yaml", "algorithms: [EdDSA]", "algorithms: [RS256, PS256]");
    fs::remove_dir_all(scene.bundle.join("keys")).expect("remove the keys");
    let run = Run::of_bundle(&scene.bundle, Target::Istio);
    assert_eq!(run.read(&run.token("--groups support")), ALLOWED);
    assert_eq!(run.follow("person-refund"), ALLOWED);
    assert_eq!(run.follow("forged-token"), refused(401, "identity_invalid"));
    assert_eq!(login.requests().len(), 0, "nobody was asked");
}
