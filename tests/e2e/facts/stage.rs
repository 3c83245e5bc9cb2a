//! A stage: one Envoy with as many listeners as a topic has arrangements, two spies and the stand-in server.
//!
//! INVARIANT: every listener is what `palisade::build` renders, with the edit that its arrangement is about; the probe
//! stands in the place of our filter. Nothing of a configuration is written from nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade::build::{
    self, Address, EXT_AUTHZ_FILTER, MutualTls, PALISADE_FILTER, Rendered, Server, ServerLink, Upstream,
    UpstreamProtocol, Wiring,
};
use palisade::bundle::Bundle;
use serde_json::{Value, json};
use tests::binaries;
use tests::deadline::{eventually, poll};
use tests::pki::Pki;
use tests::ports::free_addr;
use tests::process::{Launch, Process};
use tests::raw_client::{self, Outcome, Reply};
use tests::rig::{START_TIMEOUT, Target, admin};
use tests::spy::Spy;

use super::ask::Ask;
use super::authz::Authz;

/// How long something may take that must happen.
pub(super) const SOON: Duration = Duration::from_secs(10);

/// How long a hang is watched. What would come does so within a few milliseconds.
pub(super) const HANG: Duration = Duration::from_millis(1000);

/// Filter state and metadata of ext_authz stand under this path.
pub(super) const DECISION: &str = "metadata/filter_metadata/envoy.filters.http.ext_authz/decision";

/// A running stage. Envoy ends first.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) envoy: Process,
    pub(super) authz: Authz,
    /// Behind host `orders`, over HTTP/1.1.
    pub(super) spy: Spy,
    /// Behind host `payments`, over HTTP/2.
    pub(super) grpc_spy: Spy,
    pub(super) target: Target,
    pub(super) dir: PathBuf,
    listeners: BTreeMap<&'static str, SocketAddr>,
    admin: SocketAddr,
}

/// A stage before its Envoy starts.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) rendered: Rendered,
    pub(super) concurrency: usize,
    /// Added to Envoy's environment.
    pub(super) env: Vec<(&'static str, &'static str)>,
    pub(super) pki: Option<Pki>,
    dir: PathBuf,
    listeners: Vec<(&'static str, SocketAddr, Value)>,
    wiring: Wiring,
}

/// One listener in the making.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) value: Value,
    /// The probe as a filter with its configuration in place, to put more of them into the chain.
    probe: Value,
}

impl Scene {
    fn new(name: &str, target: Target, tls: bool) -> (Self, Authz, [Spy; 2]) {
        let dir = directory(name, target);
        let spies = [Spy::start(), Spy::start()];
        let authz = Authz::start(free_addr());
        let pki = tls.then(|| Pki::new(&dir.join("pki")));
        let upstream = |spy: &Spy, protocol| Upstream { address: Address::Socket(spy.addr()), protocol };
        let wiring = Wiring {
            target: match target {
                Target::Envoy => build::Target::Envoy,
                Target::Istio => build::Target::Sidecar,
            },
            listen: free_addr(),
            listener_tls: pki.as_ref().map(|pki| {
                let server = pki.server();
                MutualTls { certificate: server.certificate, key: server.key, peer_ca: pki.ca_file() }
            }),
            envoy_admin: free_addr(),
            node_id: "facts".to_owned(),
            server: Server { address: Address::Socket(authz.addr()), link: ServerLink::Local },
            filter: binaries::probe().to_owned(),
            upstreams: BTreeMap::from([
                ("orders".to_owned(), upstream(&spies[0], UpstreamProtocol::ByContract)),
                ("payments".to_owned(), upstream(&spies[1], UpstreamProtocol::Http2)),
            ]),
            out: dir.clone(),
        };
        let bundle = match Bundle::load(&binaries::workspace_dir().join("policies")) {
            Ok(bundle) => bundle,
            Err(problems) => panic!("{problems}"),
        };
        let mut rendered = build::render(&bundle, &wiring).expect("render the demo bundle");
        // The filter's own configuration is a contract, the probe's are a few lines.
        if let Some(plugin) = plugin(&mut rendered) {
            configure(plugin, "");
        }
        let scene =
            Self { rendered, concurrency: 1, env: Vec::new(), pki, dir, listeners: Vec::new(), wiring };
        (scene, authz, spies)
    }

    /// Adds a listener: the rendered one on a port of its own, and changed by the edit.
    pub(super) fn listener(&mut self, name: &'static str, edit: impl FnOnce(&mut Listener)) -> SocketAddr {
        let addr = free_addr();
        let mut rendered = self.rendered.clone();
        let probe = plugin(&mut rendered).cloned().expect("the rendered filter");
        let value = rendered.bootstrap.pointer("/static_resources/listeners/0").cloned();
        let mut listener = Listener { value: value.expect("the rendered listener"), probe };
        listener.value["name"] = name.into();
        listener.value["address"]["socket_address"]["port_value"] = addr.port().into();
        edit(&mut listener);
        self.listeners.push((name, addr, listener.value));
        addr
    }

    /// The plugin as rendered: by extension discovery in Istio's shape. Edits before `listener` are seen by it.
    pub(super) fn plugin(&mut self) -> &mut Value {
        plugin(&mut self.rendered).expect("the rendered filter")
    }

    /// Gives the plugin its configuration.
    pub(super) fn configure(&mut self, text: &str) {
        configure(self.plugin(), text);
    }

    pub(super) fn cluster(&mut self, name: &str) -> &mut Value {
        let clusters = self.clusters().iter_mut();
        clusters.into_iter().find(|cluster| cluster["name"] == name).expect("a rendered cluster")
    }

    /// A cluster like another one, at another address.
    pub(super) fn cluster_like(&mut self, name: &str, like: &str, addr: SocketAddr) {
        let mut cluster = self.cluster(like).clone();
        cluster["name"] = name.into();
        cluster["load_assignment"]["cluster_name"] = name.into();
        let place = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";
        *cluster.pointer_mut(place).expect("an endpoint") = addr.port().into();
        self.clusters().push(cluster);
    }

    fn clusters(&mut self) -> &mut Vec<Value> {
        self.rendered.bootstrap["static_resources"]["clusters"].as_array_mut().expect("rendered clusters")
    }

    fn launch(&self) -> Launch {
        let launch = Launch::new("envoy", binaries::envoy())
            .arg("-c")
            .arg(self.dir.join(build::BOOTSTRAP_FILE))
            .args(["--use-dynamic-base-id", "--log-level", "warning", "--concurrency"])
            .arg(self.concurrency.to_string());
        self.env.iter().fold(launch, |launch, (name, value)| launch.env(name, value))
    }
}

impl Listener {
    pub(super) fn manager(&mut self) -> &mut Value {
        self.value.pointer_mut("/filter_chains/0/filters/0/typed_config").expect("a connection manager")
    }

    pub(super) fn filters(&mut self) -> &mut Vec<Value> {
        self.manager()["http_filters"].as_array_mut().expect("HTTP filters")
    }

    pub(super) fn filter(&mut self, name: &str) -> &mut Value {
        let found = self.filters().iter_mut().find(|filter| filter["name"] == name);
        &mut found.expect("a rendered filter")["typed_config"]
    }

    pub(super) fn ext_authz(&mut self) -> &mut Value {
        self.filter(EXT_AUTHZ_FILTER)
    }

    pub(super) fn remove(&mut self, name: &str) {
        let before = self.filters().len();
        self.filters().retain(|filter| filter["name"] != name);
        assert_ne!(self.filters().len(), before, "there is no filter `{name}` to remove");
    }

    /// Takes away everything between the probe and the router.
    pub(super) fn only_router(&mut self) {
        let last = self.filters().len() - 1;
        self.filters().drain(1..last);
    }

    pub(super) fn without_gate(&mut self) {
        let removed =
            self.ext_authz().as_object_mut().and_then(|settings| settings.shift_remove("with_request_body"));
        assert!(removed.is_some(), "the rendered ext_authz has a gate");
    }

    /// The gate with another limit.
    pub(super) fn gate(&mut self, max_request_bytes: u64) {
        self.ext_authz()["with_request_body"]["max_request_bytes"] = max_request_bytes.into();
    }

    /// Puts a filter before the router.
    pub(super) fn before_router(&mut self, filter: Value) {
        let last = self.filters().len() - 1;
        self.filters().insert(last, filter);
    }

    /// Puts the probe into the listener itself, where extension discovery has brought it, so that it can be changed.
    pub(super) fn own_probe(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut plugin = self.probe.clone();
        edit(&mut plugin);
        self.filters()[0] = json!({ "name": PALISADE_FILTER, "typed_config": plugin });
    }

    /// Another probe, with its own name in the log and its own header for scripts.
    pub(super) fn second_probe(&self, label: &str, script_header: &str) -> Value {
        let mut plugin = self.probe.clone();
        configure(&mut plugin, &format!("label {label}\nscript-header {script_header}"));
        // Another plugin in the same VM: its code is compiled once.
        plugin["config"]["name"] = label.into();
        plugin["config"]["root_id"] = label.into();
        json!({ "name": label, "typed_config": plugin })
    }

    /// The virtual host of a service.
    pub(super) fn host(&mut self, name: &str) -> &mut Value {
        let hosts = self.manager()["route_config"]["virtual_hosts"].as_array_mut().expect("virtual hosts");
        hosts.iter_mut().find(|host| host["name"] == name).expect("a rendered virtual host")
    }

    /// The route of a service that takes every path.
    pub(super) fn route(&mut self, host: &str) -> &mut Value {
        let routes = self.host(host)["routes"].as_array_mut().expect("routes");
        routes.last_mut().expect("a rendered route")
    }

    /// Allows what HTTP calls an upgrade.
    pub(super) fn allow_upgrades(&mut self) {
        self.manager()["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
        self.manager()["http2_protocol_options"]["allow_connect"] = true.into();
    }
}

impl Stage {
    pub(super) fn start(name: &str, target: Target, prepare: impl FnOnce(&mut Scene)) -> Self {
        let stage = Self::start_unready(name, target, false, prepare);
        stage.ready()
    }

    /// A stage whose listeners ask for certificates of the authority that `prepare` finds.
    pub(super) fn start_tls(name: &str, target: Target, prepare: impl FnOnce(&mut Scene)) -> (Self, Pki) {
        let mut pki = None;
        let stage = Self::start_unready(name, target, true, |scene| {
            prepare(scene);
            pki = scene.pki.take();
        });
        (stage.ready(), pki.expect("a stage with TLS has an authority"))
    }

    /// A stage that may never become ready.
    pub(super) fn start_unready(
        name: &str,
        target: Target,
        tls: bool,
        prepare: impl FnOnce(&mut Scene),
    ) -> Self {
        let (mut scene, authz, [spy, grpc_spy]) = Scene::new(name, target, tls);
        prepare(&mut scene);
        if scene.listeners.is_empty() {
            scene.listener("main", |_| {});
        }
        let listeners: Vec<Value> = scene.listeners.iter().map(|(_, _, value)| value.clone()).collect();
        scene.rendered.bootstrap["static_resources"]["listeners"] = listeners.into();
        scene.rendered.write(&scene.dir).expect("write the configuration");
        let envoy = Process::start(scene.launch(), &scene.dir);
        let listeners = scene.listeners.iter().map(|(name, addr, _)| (*name, *addr)).collect();
        Self {
            envoy,
            authz,
            spy,
            grpc_spy,
            target,
            dir: scene.dir,
            listeners,
            admin: scene.wiring.envoy_admin,
        }
    }

    fn ready(mut self) -> Self {
        let admin_addr = self.admin;
        let live = || admin(admin_addr, "/ready").is_some_and(|reply| reply.status == 200);
        let state = poll(START_TIMEOUT, || match self.envoy.has_exited() {
            Some(status) => Some(Err(status)),
            None => live().then_some(Ok(())),
        });
        assert!(matches!(state, Some(Ok(()))), "Envoy is not ready: {state:?}\n{}", self.envoy.log());
        self
    }

    /// Whether Envoy says that it serves.
    pub(super) fn is_live(&self) -> bool {
        admin(self.admin, "/ready").is_some_and(|reply| reply.status == 200)
    }

    pub(super) fn addr(&self, listener: &str) -> SocketAddr {
        self.listeners[listener]
    }

    /// Sends a whole request over a new connection.
    pub(super) fn send(&self, listener: &str, request: impl AsRef<[u8]>) -> Outcome {
        raw_client::send(self.addr(listener), request)
    }

    /// Sends a request without a body.
    #[track_caller]
    pub(super) fn ask(&self, listener: &str, ask: &Ask) -> Reply {
        self.send(listener, ask.head("")).expect_reply()
    }

    /// What the probes logged of a request, in order.
    pub(super) fn events(&self, tag: &str) -> Vec<String> {
        let log = self.envoy.log();
        let mark = format!("] {tag} ");
        log.lines()
            .filter_map(|line| {
                let (before, event) = line.split_once(&mark)?;
                let label = before.rsplit('[').next()?;
                Some(if label == "probe" { event.to_owned() } else { format!("{label} {event}") })
            })
            .collect()
    }

    /// What the probes logged outside of requests, whole lines.
    pub(super) fn lines(&self, part: &str) -> Vec<String> {
        self.envoy.log().lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }

    /// Waits for an event that begins so, and gives the rest of it.
    #[track_caller]
    pub(super) fn event(&self, tag: &str, start: &str) -> String {
        match self.event_within(tag, start, SOON) {
            Some(event) => event,
            None => panic!("no event `{start}` of {tag}: {:#?}", self.events(tag)),
        }
    }

    pub(super) fn event_within(&self, tag: &str, start: &str, timeout: Duration) -> Option<String> {
        poll(timeout, || {
            self.events(tag).iter().find_map(|event| Some(event.strip_prefix(start)?.to_owned()))
        })
    }

    /// Whether any byte of a request with this tag is at the service that is reached over HTTP/1.1.
    pub(super) fn is_seen(&self, tag: &str) -> bool {
        seen(&self.spy, tag)
    }

    #[track_caller]
    pub(super) fn wait_until_seen(&self, tag: &str) {
        eventually(&format!("{tag} is at the service"), SOON, || self.is_seen(tag).then_some(()));
    }

    /// An accepted twin arrives at the service, and the refused request is still not there.
    #[track_caller]
    pub(super) fn assert_unseen(&self, listener: &str, tag: &str) {
        let twin = Ask::get();
        assert_eq!(self.ask(listener, &twin).status, 200, "the accepted twin of {tag}");
        self.wait_until_seen(&twin.tag);
        assert!(!self.is_seen(tag), "bytes of {tag} are at the service: {:#?}", self.events(tag));
    }

    /// One number of Envoy's statistics.
    pub(super) fn stat(&self, name: &str) -> u64 {
        let page = admin(self.admin, "/stats").map(|reply| reply.body).unwrap_or_default();
        let page = String::from_utf8_lossy(&page).into_owned();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }

    /// Writes the file that extension discovery reads, as Envoy's file watch expects it: renamed into place.
    pub(super) fn discover(&self, extension: &Value) {
        let unfinished = self.dir.join("ecds.unfinished");
        fs::write(&unfinished, extension.to_string()).expect("write an extension");
        fs::rename(&unfinished, self.dir.join(build::EXTENSION_FILE)).expect("put an extension in place");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // What is left is removed by the next run.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn seen(spy: &Spy, tag: &str) -> bool {
    let seen = spy.seen();
    seen.connections.iter().any(|connection| tests::http1::find(&connection.bytes, tag.as_bytes()).is_some())
}

/// The plugin, wherever the target has put it.
fn plugin(rendered: &mut Rendered) -> Option<&mut Value> {
    if rendered.extension.is_some() {
        return rendered.extension.as_mut()?.pointer_mut("/resources/0/typed_config");
    }
    let filters = rendered.http_filters_mut().ok()?;
    filters.iter_mut().find(|filter| filter["name"] == PALISADE_FILTER)?.get_mut("typed_config")
}

/// Gives a plugin its lines.
pub(super) fn configure(plugin: &mut Value, text: &str) {
    let value = json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": text });
    plugin["config"]["configuration"] = value;
}

/// A directory of its own below cargo's for tests. Stages that many tests share are never dropped, so what earlier runs
/// left is removed here.
fn directory(name: &str, target: Target) -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("facts");
    fs::create_dir_all(&base).expect("make a directory for stages");
    for entry in fs::read_dir(&base).expect("read the directory of stages").flatten() {
        let alive = |pid: &str| Path::new("/proc").join(pid).exists();
        if entry.file_name().to_str().is_some_and(|pid| !alive(pid)) {
            // Another test may be faster.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let dir = base.join(std::process::id().to_string()).join(format!("{name}-{}", target.name()));
    fs::create_dir_all(&dir).expect("make a directory for a stage");
    dir
}
