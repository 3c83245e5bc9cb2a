//! Callers that prove themselves by more than a certificate: persons with tokens, clients with keys, workloads that another
//! proxy speaks for.
//!
//! Invariant: each refusal stands beside a call that differs in one thing and is let through, and leaves the services
//! untouched.

mod dev;
mod forwarded;
mod found;
mod introspection;
mod issuers;
mod keys;
mod tokens;
mod unfiltered;
mod workloads;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use palisade::ledger::Decision;
use palisade::mint::Mint;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::binaries::workspace_dir;
use tests::raw_client::Reply;
use tests::rig::{BundleUnderTest, Options, Rig, Target};
use tests::spy::Spy;

use crate::handoff::copy_dir;

const ISSUER: &str = "https://login.shop.example";

const WEB: &str = "spiffe://shop.example/ns/shop/sa/web";

/// Long beyond the second in which a change must show, for a machine that has other things to do.
const SHOWN: Duration = Duration::from_secs(20);

/// What the demo lacks: rights of persons, of persons through one workload, and by scopes.
const POLICIES: &str = r#"
@id("staff-reads-orders")
permit (principal is User in Group::"staff", action in Action::"read", resource == Service::"orders");

@id("cashiers-by-web")
permit (principal is User in Group::"cashiers", action == Action::"payments.getPayment", resource)
when { context has workload && context.workload == "spiffe://shop.example/ns/shop/sa/web" };

@id("keys-for-payments")
permit (principal is Client, action == Action::"payments.getPayment", resource)
when { context has scopes && context.scopes.contains("payments:read") };
"#;

const GROUPS: &str = "groups: {staff: {}, cashiers: {}}\n";

/// The demo bundle with more of callers, in a directory of its own.
struct Scene {
    home: TempDir,
    bundle: PathBuf,
}

impl Scene {
    /// `identity` stands in `palisade.yaml` below the demo's own keys of that section.
    fn new(identity: &str) -> Self {
        let home = tempfile::tempdir().expect("make a directory");
        let bundle = home.path().join("bundle");
        copy_dir(&workspace_dir().join("policies"), &bundle);
        // Its own tests would notice the changes.
        fs::remove_dir_all(bundle.join("tests")).expect("remove the bundle's tests");
        let scene = Self { home, bundle };
        scene.edit("palisade.yaml", "identity:\n", &format!("identity:\n{identity}"));
        scene.write("persons.cedar", POLICIES);
        scene.write("entities/groups.yaml", GROUPS);
        scene
    }

    /// With persons of one issuer, whose public keys come with the bundle.
    fn with_mint(mint: &Mint) -> Self {
        let scene = Self::of_corp("file: keys/corp.json");
        scene.write("keys/corp.json", &Mint::set([mint]).to_string());
        scene
    }

    /// With persons of one issuer more, whose public keys are there.
    fn of_corp(keys: &str) -> Self {
        let scene = Self::new("");
        scene.edit("palisade.yaml", "  jwt:\n", &format!("  jwt:\n{}", corp(keys)));
        scene
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.bundle.join(path);
        fs::create_dir_all(path.parent().expect("it is in the bundle")).expect("make a directory");
        fs::write(path, text).expect("write a file");
    }

    #[track_caller]
    fn edit(&self, path: &str, what: &str, by: &str) {
        let path = self.bundle.join(path);
        let text = fs::read_to_string(&path).expect("read a file");
        assert!(text.contains(what), "`{what}` is in {}", path.display());
        fs::write(path, text.replacen(what, by, 1)).expect("write a file");
    }

    #[track_caller]
    fn start(&self, options: Options) -> Rig {
        self.start_as(Target::Envoy, options)
    }

    #[track_caller]
    fn start_as(&self, target: Target, options: Options) -> Rig {
        Rig::start_with(target, BundleUnderTest::Demo, options.bundle_dir(&self.bundle))
    }
}

/// The issuer `corp`, with its keys there.
fn corp(keys: &str) -> String {
    format!(
        "    corp:
      issuer: {ISSUER}
      audiences: [shop]
      algorithms: [EdDSA]
      keys: {{{keys}}}
      claims: {{groups: groups}}
"
    )
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_secs()
}

/// What a token of `corp` says.
fn claims(subject: &str, groups: &[&str]) -> Value {
    let now_s = now_s();
    json!({"iss": ISSUER, "aud": "shop", "sub": subject, "iat": now_s, "exp": now_s + 600, "groups": groups})
}

fn token(mint: &Mint, claims: &Value) -> String {
    mint.token(claims).expect("sign a token")
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

fn get(host: &str, path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n")
}

fn read_orders(headers: &str) -> String {
    get("orders", "/orders", headers)
}

fn read_payment(headers: &str) -> String {
    get("payments", "/payments/p-1", headers)
}

type Told = (u16, Option<String>);

const ALLOWED: Told = (200, None);

fn refused(status: u16, reason: &str) -> Told {
    (status, Some(reason.to_owned()))
}

/// Status and reason; what was refused left the services untouched.
#[track_caller]
fn told(rig: &Rig, send: impl FnOnce() -> Reply) -> Told {
    rig.reset_spies();
    let reply = send();
    assert_eq!(reply.status == 200, rig.bytes_seen() > 0, "{reply:?}");
    (reply.status, reply.reason())
}

#[track_caller]
fn ask(rig: &Rig, request: &str) -> Told {
    told(rig, || rig.send(request).expect_reply())
}

/// The newest decision of so many.
#[track_caller]
fn decision(rig: &Rig, count: usize) -> Decision {
    rig.decisions_when(count).pop().expect("a decision")
}

/// Lets a spy answer as a server of keys or of introspection.
fn answer(spy: &Spy, status: u16, body: &str) {
    let head = format!("HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n");
    spy.answer_with(Some(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()));
}

const NOWHERE: [PathBuf; 0] = [];

/// Where a secret stands in what the server keeps or says.
fn found_in(rig: &Rig, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if rig.server.log().contains(text) {
        found.push(rig.server.log_path().to_owned());
    }
    search(&rig.dir().join("state"), text, &mut found);
    found
}

fn search(dir: &Path, text: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("list a directory") {
        let path = entry.expect("list a directory").path();
        if path.is_dir() {
            search(&path, text, found);
        } else if String::from_utf8_lossy(&fs::read(&path).expect("read a file")).contains(text) {
            found.push(path);
        }
    }
}
