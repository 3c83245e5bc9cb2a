//! The rig: spies, the server and an Envoy with the configuration that `palisade build` wrote, joined as in production.
//!
//! Invariant: no Envoy configuration is written by hand. A test that needs a broken one edits the generated one, so that
//! what is tested is what is shipped.

mod plan;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade::ledger::{Decision, Entries, Entry};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::binaries;
use crate::corpus::profile::Profile;
use crate::corpus::template::Values;
use crate::deadline::{eventually, poll};
use crate::pki::{Identity, Pki, SERVER_NAME};
use crate::ports::free_addr;
use crate::process::Process;
use crate::raw_client::{self, Outcome, Reply};
use crate::spy::{SeenRequest, Spy};
use plan::{Edit, LinkFiles, Plan};

/// How long a part may take to start on a busy machine.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the ledger may take to show what was decided.
pub const LEDGER_TIMEOUT: Duration = Duration::from_secs(5);

const CANARY_HOST: &str = "canary.palisade.internal";
const CANARY_PATH: &str = "/.palisade/canary";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Envoy,
    Istio,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleUnderTest {
    Demo,
    Second,
}

impl Target {
    pub const ALL: [Self; 2] = [Self::Envoy, Self::Istio];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Istio => "istio",
        }
    }

    /// What `palisade build` calls the configuration of one Envoy that is like it.
    pub const fn built_as(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Istio => "sidecar",
        }
    }
}

/// How Envoy reaches the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Link {
    /// Plaintext over loopback.
    #[default]
    Tcp,
    Unix,
    /// TLS on both sides: Envoy shows the certificate of `envoy`, the server lets in `listed`.
    Mutual {
        envoy: String,
        listed: String,
    },
}

/// What strace does to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// Writes down every call by which bytes leave it, in this file of the rig's directory.
    ToFile(&'static str),
    /// Lets every sync of a file take that long.
    SlowSyncs { delay_us: u64 },
}

/// What differs from the ordinary rig.
#[derive(Default)]
pub struct Options {
    /// The listener asks for client certificates of the rig's authority.
    tls: bool,
    edit: Option<Edit>,
    /// The services and clients, where they are not those of the bundle under test.
    profile: Option<Profile>,
    /// Envoy's workers, each with a VM of its own; two where nothing is said.
    concurrency: Option<u32>,
    /// The bundle's directory, where it is not the one in the workspace.
    bundle_dir: Option<PathBuf>,
    /// The server's own bundle, where it is not the one that Envoy's configuration is made from.
    server_bundle_dir: Option<PathBuf>,
    link: Link,
    /// What Envoy's environment says, where it is not what the server was given; empty means no variable.
    envoy_secret: Option<String>,
    /// Runs the server under strace.
    trace: Option<Trace>,
    /// More of the server's command line.
    server_args: Vec<String>,
    /// The rig is expected not to become ready; the test looks by itself.
    unready: bool,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("tls", &self.tls)
            .field("unready", &self.unready)
            .finish_non_exhaustive()
    }
}

impl Options {
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Changes the generated Envoy configuration before Envoy reads it.
    #[must_use]
    pub fn edit(mut self, edit: impl FnOnce(&mut Value) + 'static) -> Self {
        self.edit = Some(Box::new(edit));
        self
    }

    /// The services, clients and bundle of a test that brings its own.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// How many workers Envoy has: each has a VM of its own.
    #[must_use]
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = Some(workers);
        self
    }

    #[must_use]
    pub fn bundle_dir(mut self, dir: &Path) -> Self {
        self.bundle_dir = Some(dir.to_owned());
        self
    }

    #[must_use]
    pub fn envoy_secret(mut self, secret: &str) -> Self {
        self.envoy_secret = Some(secret.to_owned());
        self
    }

    #[must_use]
    pub fn server_bundle_dir(mut self, dir: &Path) -> Self {
        self.server_bundle_dir = Some(dir.to_owned());
        self
    }

    #[must_use]
    pub fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    #[must_use]
    pub fn trace_server(mut self, trace: Trace) -> Self {
        self.trace = Some(trace);
        self
    }

    #[must_use]
    pub fn server_args(mut self, args: &[&str]) -> Self {
        self.server_args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self
    }

    #[must_use]
    pub fn unready(mut self) -> Self {
        self.unready = true;
        self
    }
}

/// Everything that one test runs. Fields drop in this order: Envoy first, the directory last.
#[derive(Debug)]
pub struct Rig {
    pub envoy: Process,
    pub server: Process,
    pub spies: BTreeMap<String, Spy>,
    pub profile: Profile,
    pub target: Target,
    listen: SocketAddr,
    envoy_admin: SocketAddr,
    server_listen: SocketAddr,
    server_admin: SocketAddr,
    secret: String,
    keys: BTreeMap<String, String>,
    values: Values,
    pki: Option<Pki>,
    dir: TempDir,
}

impl Rig {
    /// The ordinary rig, ready to serve.
    #[track_caller]
    pub fn start(target: Target, bundle: BundleUnderTest) -> Self {
        Self::start_with(target, bundle, Options::default())
    }

    #[track_caller]
    pub fn start_with(target: Target, bundle: BundleUnderTest, options: Options) -> Self {
        let profile = options.profile.unwrap_or_else(|| Profile::load(bundle));
        let dir =
            tempfile::Builder::new().prefix("palisade-rig-").tempdir().expect("make the rig's directory");
        let keys: BTreeMap<String, String> =
            profile.clients.iter().map(|client| (client.clone(), random_hex())).collect();
        let secret = random_hex();
        write_keys(&dir.path().join("api-keys.json"), &keys);
        std::fs::write(dir.path().join("handoff-secret"), format!("{secret}\n")).expect("write the secret");
        let spies = profile.services.keys().map(|service| (service.clone(), Spy::start())).collect();
        let bundle_dir =
            options.bundle_dir.unwrap_or_else(|| binaries::workspace_dir().join(&profile.bundle));
        let server_bundle_dir = options.server_bundle_dir.unwrap_or_else(|| bundle_dir.clone());
        let mut plan = Plan {
            target,
            bundle_dir,
            server_bundle_dir,
            dir: dir.path().to_owned(),
            listen: free_addr(),
            envoy_admin: free_addr(),
            server_listen: free_addr(),
            server_admin: free_addr(),
            tls: None,
            concurrency: options.concurrency.unwrap_or(2),
            link: link_files(options.link, dir.path()),
        };
        let pki = options.tls.then(|| Pki::new(&dir.path().join("pki")));
        plan.tls = pki.as_ref().map(|pki| (pki.server(), pki.ca_file()));
        plan.build(&profile.services, &spies, options.edit);
        let server = plan.server_launch(options.trace.as_ref()).args(&options.server_args);
        let server = Process::start(server, dir.path());
        let envoy_secret = options.envoy_secret.unwrap_or_else(|| secret.clone());
        let envoy = Process::start(plan.envoy_launch(&envoy_secret), dir.path());
        let values = profile.resolve(&keys);
        let mut rig = Self {
            envoy,
            server,
            spies,
            profile,
            target,
            listen: plan.listen,
            envoy_admin: plan.envoy_admin,
            server_listen: plan.server_listen,
            server_admin: plan.server_admin,
            secret,
            keys,
            values,
            pki,
            dir,
        };
        if !options.unready {
            rig.wait_until_server_is_ready();
            rig.wait_until_envoy_is_ready();
            rig.wait_until_guarded();
        }
        rig
    }

    pub fn wait_until_server_is_ready(&mut self) {
        let admin = self.server_admin;
        self.server.wait_until_ready(START_TIMEOUT, || status_of(admin, "/readyz") == Some(200));
    }

    pub fn wait_until_envoy_is_ready(&mut self) {
        let admin = self.envoy_admin;
        self.envoy.wait_until_ready(START_TIMEOUT, || status_of(admin, "/ready") == Some(200));
    }

    /// Waits until the canary, a request that must be denied by the server, is denied by the server.
    #[track_caller]
    pub fn wait_until_guarded(&self) {
        let request = format!("GET {CANARY_PATH} HTTP/1.1\r\nhost: {CANARY_HOST}\r\n\r\n");
        let mut last = Outcome::Closed;
        let guarded = poll(START_TIMEOUT, || {
            last = self.send(&request);
            matches!(&last, Outcome::Reply(reply) if reply.reason().as_deref() == Some("canary"))
                .then_some(())
        });
        assert!(guarded.is_some(), "the canary was not denied as it must be, the last outcome was {last:?}");
    }

    /// The listener that callers use.
    pub fn addr(&self) -> SocketAddr {
        self.listen
    }

    pub fn envoy_admin(&self) -> SocketAddr {
        self.envoy_admin
    }

    /// The server's gRPC port.
    pub fn server_addr(&self) -> SocketAddr {
        self.server_listen
    }

    pub fn server_admin(&self) -> SocketAddr {
        self.server_admin
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The handoff secret that filter and server share.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// What the placeholders of a corpus stand for here.
    pub fn values(&self) -> &Values {
        &self.values
    }

    pub fn api_key(&self, client: &str) -> &str {
        &self.keys[client]
    }

    /// The authority of a rig that was started with TLS.
    pub fn pki(&self) -> &Pki {
        self.pki.as_ref().expect("the rig was started with TLS")
    }

    /// Sends one request in one piece; where the rig has TLS, as a workload that nobody gave any right.
    pub fn send(&self, request: impl AsRef<[u8]>) -> Outcome {
        match &self.pki {
            None => raw_client::send(self.listen, request),
            Some(pki) => {
                let nobody = format!("spiffe://{}/ns/none/sa/nobody", self.profile.value("trust_domain"));
                self.send_as(Some(&pki.client("nobody", &[&nobody])), request)
            }
        }
    }

    /// Sends one request over TLS with this identity.
    pub fn send_as(&self, identity: Option<&Identity>, request: impl AsRef<[u8]>) -> Outcome {
        let config = self.pki().client_config(identity);
        raw_client::send_tls(self.listen, &config, SERVER_NAME, request)
    }

    /// A read that the profile's client may make.
    pub fn read_request(&self) -> String {
        let (path, host) = (self.profile.value("read_path"), self.profile.value("host"));
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {}\r\n\r\n", self.client_key())
    }

    /// A write that the profile's client may make.
    pub fn write_request(&self) -> String {
        let (path, host) = (self.profile.value("write_path"), self.profile.value("host"));
        let body = self.profile.value("write_body");
        let mut request =
            format!("POST {path} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {}\r\n", self.client_key());
        let length = body.len();
        write!(request, "content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
            .expect("write to a string");
        request
    }

    /// A write that the profile's client may make, to a path of its own, so that it is found wherever it gets to.
    pub fn write_to(&self, item: &str) -> (String, String) {
        let path = format!("{}{item}", self.profile.value("item_path_prefix"));
        let (host, body) = (self.profile.value("host"), self.profile.value("write_body"));
        let (key, length) = (self.client_key(), body.len());
        let head = format!("PUT {path} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\n");
        let framing = format!("content-type: application/json\r\ncontent-length: {length}\r\n");
        (path, format!("{head}{framing}\r\n{body}"))
    }

    fn client_key(&self) -> &str {
        self.api_key(self.profile.value("client"))
    }

    /// The spy behind the profile's own service.
    pub fn spy(&self) -> &Spy {
        &self.spies[self.profile.value("service")]
    }

    /// Bytes over all spies.
    pub fn bytes_seen(&self) -> usize {
        self.spies.values().map(Spy::bytes_seen).sum()
    }

    /// All requests, each with the service that saw it.
    pub fn requests_seen(&self) -> Vec<(&str, SeenRequest)> {
        let mut seen = Vec::new();
        for (service, spy) in &self.spies {
            seen.extend(spy.requests().into_iter().map(|request| (service.as_str(), request)));
        }
        seen
    }

    pub fn reset_spies(&self) {
        for spy in self.spies.values() {
            spy.reset();
        }
    }

    pub fn ledger_dir(&self) -> PathBuf {
        self.dir.path().join("state").join("ledger")
    }

    /// Everything in the ledger, in its order. Works beside the running server.
    #[track_caller]
    pub fn ledger_entries(&self) -> Vec<Entry> {
        let entries = Entries::open(&self.ledger_dir()).expect("open the ledger");
        entries.map(|recorded| recorded.expect("read the ledger").entry).collect()
    }

    /// The decisions in the ledger but for those on canaries, which are the rig's own.
    #[track_caller]
    pub fn decisions(&self) -> Vec<Decision> {
        let decision = |entry| match entry {
            Entry::Decision(decision) if decision.host != CANARY_HOST => Some(decision),
            Entry::Decision(_)
            | Entry::Outcome(_)
            | Entry::Refusal(_)
            | Entry::Admin(_)
            | Entry::Drift(_)
            | Entry::Judged(_)
            | Entry::Shed(_)
            | Entry::Load(_) => None,
        };
        self.ledger_entries().into_iter().filter_map(decision).collect()
    }

    /// Waits until there are at least `count` decisions, and gives all.
    #[track_caller]
    pub fn decisions_when(&self, count: usize) -> Vec<Decision> {
        eventually(&format!("the ledger shows {count} decisions"), LEDGER_TIMEOUT, || {
            let decisions = self.decisions();
            (decisions.len() >= count).then_some(decisions)
        })
    }

    /// One number of Envoy's statistics; 0 where Envoy does not know it (yet).
    pub fn envoy_stat(&self, name: &str) -> u64 {
        let page = body_of(self.envoy_admin, "/stats");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }

    /// The server's metrics, as text.
    pub fn server_metrics(&self) -> String {
        body_of(self.server_admin, "/metrics")
    }
}

/// The link has an authority of its own: whom callers trust says nothing about whom the server trusts.
fn link_files(link: Link, dir: &Path) -> LinkFiles {
    match link {
        Link::Tcp => LinkFiles::Tcp,
        Link::Unix => LinkFiles::Unix,
        Link::Mutual { envoy, listed } => {
            let pki = Pki::new(&dir.join("link-pki"));
            let (server, envoy) = (pki.server(), pki.client("envoy", &[&envoy]));
            LinkFiles::Mutual { server, envoy, ca: pki.ca_file(), listed }
        }
    }
}

fn write_keys(path: &Path, keys: &BTreeMap<String, String>) {
    let digest = |key: &str| hex(&Sha256::digest(key.as_bytes()));
    let entries: Vec<Value> = keys
        .iter()
        .map(|(client, key)| serde_json::json!({"client": client, "sha256": digest(key)}))
        .collect();
    let file = serde_json::json!({"version": 1, "keys": entries});
    std::fs::write(path, file.to_string()).expect("write the API keys");
}

/// 32 random bytes as 64 hexadecimal digits.
pub fn random_hex() -> String {
    let mut bytes = [0; 32];
    let mut source = std::fs::File::open("/dev/urandom").expect("open the kernel's randomness");
    std::io::Read::read_exact(&mut source, &mut bytes).expect("read the kernel's randomness");
    hex(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("write to a string");
        text
    })
}

/// Asks an admin port; `None` while nobody answers there.
pub fn admin(addr: SocketAddr, path: &str) -> Option<Reply> {
    match raw_client::send(addr, format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")) {
        Outcome::Reply(reply) => Some(reply),
        Outcome::Closed | Outcome::TimedOut => None,
    }
}

fn status_of(addr: SocketAddr, path: &str) -> Option<u16> {
    admin(addr, path).map(|reply| reply.status)
}

fn body_of(addr: SocketAddr, path: &str) -> String {
    admin(addr, path).map(|reply| String::from_utf8_lossy(&reply.body).into_owned()).unwrap_or_default()
}
