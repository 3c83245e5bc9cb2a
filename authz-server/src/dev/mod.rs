//! `palisade dev`: the whole arrangement on one machine, made of the same commands as in production.
//!
//! It provisions what is missing, generates the configuration with `palisade build`, runs `palisade serve` and
//! Envoy as children, proves with a canary that every part is at work, and only then says `ready`.
//!
//! INVARIANT: `ready` is said only after a good canary, and whatever way this ends, no process is left behind.

pub mod canary;
pub mod children;
pub mod command;
pub mod demo;
pub mod drill;
pub mod error;
pub mod home;
pub mod http;
pub mod outline;
pub mod ports;
pub mod progress;
pub mod provision;
pub mod tail;
pub mod tied;
pub mod tour;
pub mod workspace;

use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use canary::Canary;
use children::{ChildError, Family, tail_of};
use drill::Without;
use error::DevError;
use home::{Credentials, Home};
use http::Request;
use outline::Outline;
use progress::{Progress, Stop};
use tour::Scene;

/// How long the server may take to load its bundle and open its ledger.
const SERVER_READY: Duration = Duration::from_secs(30);

/// How long Envoy may take to compile the filter and open its listener.
const LISTENER_READY: Duration = Duration::from_secs(30);

/// How long the canary may take to be good once the listener accepts.
const CANARY_GOOD: Duration = Duration::from_secs(5);

/// One look at the server's readiness.
const READINESS_EXCHANGE: Duration = Duration::from_secs(2);

/// Two workers show that nothing depends on there being one, and leave the machine to its user.
const ENVOY_CONCURRENCY: &str = "2";

/// The exit code of a program that was interrupted, by the convention of shells.
const INTERRUPTED: u8 = 130;

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub struct Options {
    pub bundle: Option<PathBuf>,
    pub listen: SocketAddr,
    pub upstreams: BTreeMap<String, SocketAddr>,
    pub target: &'static str,
    pub state: Option<PathBuf>,
    pub tour: bool,
    pub json: bool,
    pub filter: Option<PathBuf>,
    pub envoy: Option<PathBuf>,
    pub without: Option<Without>,
}

/// Runs until it is told to end, the tour is over, or something fails.
pub fn run(options: &Options) -> ExitCode {
    let (raise, stop) = Stop::channel();
    let progress = if options.json { Progress::json() } else { Progress::human() };
    let mut progress = progress.with_stop(stop.clone());
    let runtime = match runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            progress.failed(&format!("the runtime could not be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // The future runs on this thread, which ends last: the children are tied to it.
    let outcome = runtime.block_on(async {
        listen_for_signals(raise)?;
        drive(options, &mut progress, &stop).await
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress.failed(&error.to_string());
            if error.is_stop() { ExitCode::from(INTERRUPTED) } else { ExitCode::FAILURE }
        }
    }
}

/// The first signal asks for an orderly end; the second ends at once, and the kernel ends the children.
fn listen_for_signals(raise: watch::Sender<bool>) -> Result<(), DevError> {
    let listen = |kind| signal(kind).map_err(DevError::io("signals cannot be received"));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if raise.send_replace(true) {
                process::exit(i32::from(INTERRUPTED));
            }
        }
    });
    Ok(())
}

async fn drive(options: &Options, progress: &mut Progress, stop: &Stop) -> Result<(), DevError> {
    let bundle = bundle_directory(options.bundle.as_deref())?;
    let outline = Outline::read(&bundle)?;
    if let Some(service) = options.upstreams.keys().find(|service| !outline.services.contains(*service)) {
        let services = outline.services.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(DevError::UnknownUpstream { service: service.clone(), services });
    }
    // Looked at before the long steps, so that nobody waits for a complaint about a port.
    ports::claim(options.listen)?;

    let filter = match &options.filter {
        Some(path) => provision::filter_at(path)?,
        None => provision::filter(progress)?,
    };
    let envoy = match &options.envoy {
        Some(path) => provision::envoy_at(progress, path)?,
        None => provision::envoy(progress)?,
    };

    let state = options.state.as_deref();
    let mut home = Home::create(state).map_err(DevError::io("the state directory cannot be set up"))?;
    let mut family = Family::default();
    let setting = Setting { options, bundle, outline, filter, envoy };
    let outcome = setting.live(&mut family, &home, progress, stop).await;

    let step = progress.step("stop");
    family.stop().await;
    step.done("");
    let failed = outcome.as_ref().is_err_and(|error| !error.is_stop());
    if home.is_temporary() && failed && !matches!(outcome, Err(DevError::Differences(_))) {
        home.keep();
        progress.note(&format!("logs and generated configuration are kept in `{}`", home.root().display()));
    }
    outcome
}

fn bundle_directory(given: Option<&Path>) -> Result<PathBuf, DevError> {
    let here = Path::new("policies");
    match given {
        Some(given) => Ok(given.to_path_buf()),
        None if here.join("palisade.yaml").is_file() => Ok(here.to_path_buf()),
        None => workspace::find().map(|root| root.join("policies")).ok_or(DevError::NoBundle),
    }
}

/// What is settled before anything runs.
struct Setting<'a> {
    options: &'a Options,
    bundle: PathBuf,
    outline: Outline,
    filter: PathBuf,
    envoy: PathBuf,
}

/// Where everything listens.
struct Addresses {
    listen: SocketAddr,
    server: SocketAddr,
    admin: SocketAddr,
    envoy_admin: SocketAddr,
    services: BTreeMap<String, SocketAddr>,
}

struct Pids {
    server: u32,
    envoy: u32,
}

impl Setting<'_> {
    /// Starts everything, says `ready`, and stays until the end is asked for or something fails.
    async fn live(
        &self,
        family: &mut Family,
        home: &Home,
        progress: &mut Progress,
        stop: &Stop,
    ) -> Result<(), DevError> {
        let credentials = Credentials::generate(home, &self.outline.clients)
            .map_err(DevError::io("the run's credentials cannot be written"))?;
        let (services, _running) = self.start_services(progress).await?;
        let listen = ports::claim(self.options.listen)?;
        let [server, admin, envoy_admin] = ports::free().map_err(DevError::io("no free port"))?;
        let addresses = Addresses { listen, server, admin, envoy_admin, services };

        let palisade = env::current_exe().map_err(DevError::io("this program cannot be found again"))?;
        self.build(&palisade, home, &addresses, progress)?;
        let server = self.start_server(&palisade, family, home, &addresses, progress, stop).await?;
        let envoy =
            self.start_envoy(&palisade, family, home, &addresses, &credentials, progress, stop).await?;

        let scenes = self.scenes(&credentials);
        let ready = self.ready_object(home, &addresses, &credentials, &Pids { server, envoy }, &scenes);
        progress.result(&self.ready_text(home, &addresses, &scenes), &ready);

        if self.options.tour {
            return tokio::select! {
                outcome = tour(&scenes, addresses.listen, progress) => outcome,
                error = family.any_ended() => Err(error.into()),
                () = stop.wait() => Err(DevError::Stopped),
            };
        }
        tokio::select! {
            error = family.any_ended() => Err(error.into()),
            () = stop.wait() => Ok(()),
        }
    }

    /// Settles who answers for each service: the given upstream, else the demo's service, else a stand-in.
    async fn start_services(
        &self,
        progress: &mut Progress,
    ) -> Result<(BTreeMap<String, SocketAddr>, Vec<demo::Service>), DevError> {
        let mut addresses = self.options.upstreams.clone();
        let mut running = Vec::new();
        for name in &self.outline.services {
            if addresses.contains_key(name) {
                continue;
            }
            let service =
                if self.outline.is_demo { demo::start(name).await } else { demo::start_stand_in(name).await };
            let service = service.map_err(DevError::io(format!("the service `{name}` cannot be started")))?;
            if !(self.outline.is_demo && demo::has(name)) {
                progress.note(&format!(
                    "a stand-in answers for `{name}`; run yours with `--upstream {name}=ADDR`"
                ));
            }
            addresses.insert(name.clone(), service.address);
            running.push(service);
        }
        Ok((addresses, running))
    }

    /// Generates Envoy's configuration with the command that generates it in production.
    fn build(
        &self,
        palisade: &Path,
        home: &Home,
        addresses: &Addresses,
        progress: &mut Progress,
    ) -> Result<(), DevError> {
        let mut step = progress.step("generate the configuration");
        let mut command = Command::new(palisade);
        command.arg("build").arg(&self.bundle).args(["--target", self.options.target]);
        command.arg("--out").arg(home.generated()).arg("--filter").arg(&self.filter);
        command.arg("--listen").arg(addresses.listen.to_string());
        command.arg("--envoy-admin").arg(addresses.envoy_admin.to_string());
        command.arg("--server").arg(addresses.server.to_string());
        for (service, address) in &addresses.services {
            command.arg("--upstream").arg(format!("{service}={address}"));
        }
        command::run(&mut step, command).map_err(DevError::Build)?;
        if let Some(without) = self.options.without {
            drill::rewrite(&envoy_configuration(home), without)?;
        }
        step.done(&format!("from `{}`", self.bundle.display()));
        Ok(())
    }

    async fn start_server(
        &self,
        palisade: &Path,
        family: &mut Family,
        home: &Home,
        addresses: &Addresses,
        progress: &mut Progress,
        stop: &Stop,
    ) -> Result<u32, DevError> {
        let step = progress.step("start the server");
        let mut command = tied::command(palisade, palisade);
        command.arg("serve").arg("--bundle").arg(&self.bundle).arg("--state").arg(home.root());
        command.arg("--listen").arg(addresses.server.to_string());
        command.arg("--admin").arg(addresses.admin.to_string());
        command.arg("--handoff-secret-file").arg(home.secret_file());
        if self.outline.api_key_header.is_some() {
            command.arg("--api-keys").arg(home.api_keys_file());
        }
        let pid = family.start("server", command, &home.log("server"))?;

        let readiness = Request::get("localhost", "/readyz");
        let ready = async || {
            let reply = http::exchange(addresses.admin, &readiness, READINESS_EXCHANGE).await;
            reply.is_ok_and(|reply| reply.status == 200)
        };
        family.wait_for(stop, "the server's readiness", SERVER_READY, ready).await?;
        step.done(&format!("admin on http://{}", addresses.admin));
        Ok(pid)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of the run that nothing else needs together"
    )]
    async fn start_envoy(
        &self,
        palisade: &Path,
        family: &mut Family,
        home: &Home,
        addresses: &Addresses,
        credentials: &Credentials,
        progress: &mut Progress,
        stop: &Stop,
    ) -> Result<u32, DevError> {
        let step = progress.step("start Envoy");
        let log = home.log("envoy");
        let mut command = tied::command(palisade, &self.envoy);
        command.arg("--config-path").arg(envoy_configuration(home));
        command.args(["--disable-hot-restart", "--concurrency", ENVOY_CONCURRENCY]);
        command.env_remove("PALISADE_HANDOFF_SECRET");
        if self.options.without != Some(Without::Secret) {
            command.env("PALISADE_HANDOFF_SECRET", &credentials.handoff_secret);
        }
        let pid = family.start("envoy", command, &log)?;

        // Envoy stays, or goes, without a listener when the filter refuses its configuration.
        let listener = http::reachable(addresses.listen);
        let mut refused = None;
        let accepts = async || {
            refused = canary::blame(&tail_of(&log));
            refused.is_some() || tokio::net::TcpStream::connect(listener).await.is_ok()
        };
        let accepting = family.wait_for(stop, "envoy's listener", LISTENER_READY, accepts).await;
        if let Some(canary) = refused.or_else(|| canary::blame(&tail_of(&log))) {
            return Err(DevError::Canary(canary));
        }
        match accepting {
            Err(ChildError::Overdue { .. }) => return Err(DevError::ListenerSilent { tail: tail_of(&log) }),
            accepting => accepting?,
        }
        step.done(&format!("listens on http://{}", addresses.listen));

        let step = progress.step("send the canary");
        let mut seen = None;
        let good = async || {
            seen = canary::probe(addresses.listen).await.ok();
            seen == Some(Canary::Good)
        };
        match family.wait_for(stop, "a good canary", CANARY_GOOD, good).await {
            Err(ChildError::Overdue { .. }) => {
                return Err(
                    seen.map_or_else(|| DevError::ListenerSilent { tail: tail_of(&log) }, DevError::Canary)
                );
            }
            outcome => outcome?,
        }
        step.done(&Canary::Good.to_string());
        Ok(pid)
    }

    fn scenes(&self, credentials: &Credentials) -> Vec<Scene> {
        match &self.outline.api_key_header {
            Some(header) if self.outline.is_demo => tour::of_demo(header, &credentials.keys, |service| {
                self.options.upstreams.contains_key(service)
            }),
            Some(_) | None => tour::of_any_bundle(),
        }
    }

    fn ready_object(
        &self,
        home: &Home,
        addresses: &Addresses,
        credentials: &Credentials,
        pids: &Pids,
        scenes: &[Scene],
    ) -> Value {
        let examples: Vec<_> = scenes.iter().map(|scene| scene.object(addresses.listen)).collect();
        json!({
            "event": "ready",
            "listen": addresses.listen,
            "admin": addresses.admin,
            "envoy_admin": addresses.envoy_admin,
            "server": addresses.server,
            "services": addresses.services,
            "credentials": credentials.keys,
            "api_key_header": self.outline.api_key_header,
            "handoff_secret_file": home.secret_file(),
            "state": home.root(),
            "logs": {"server": home.log("server"), "envoy": home.log("envoy")},
            "pids": {"envoy": pids.envoy, "server": pids.server, "dev": process::id()},
            "examples": examples,
        })
    }

    fn ready_text(&self, home: &Home, addresses: &Addresses, scenes: &[Scene]) -> String {
        let mut text = format!(
            "ready\n  listens on   http://{}\n  server       http://{}/readyz  /metrics\n  envoy        http://{}\n",
            addresses.listen, addresses.admin, addresses.envoy_admin
        );
        for (name, address) in &addresses.services {
            text.push_str(&format!("  {name:<11}  behind it on {address}\n"));
        }
        text.push_str(&format!("  credentials  {}\n", home.credentials_file().display()));
        let fate = if home.is_temporary() { " (removed at the end; keep one with --state DIR)" } else { "" };
        text.push_str(&format!("  state        {}{fate}\n", home.root().display()));
        if !self.options.tour {
            for scene in scenes {
                text.push_str(&format!(
                    "\n# {}: {}\n{}\n",
                    scene.expected(),
                    scene.shows,
                    scene.curl(addresses.listen)
                ));
            }
            text.push_str("\nCtrl-C ends all of it.\n");
        }
        text
    }
}

fn envoy_configuration(home: &Home) -> PathBuf {
    home.generated().join("envoy.yaml")
}

/// Plays every scene; an error counts those that went another way than expected.
async fn tour(scenes: &[Scene], listen: SocketAddr, progress: &mut Progress) -> Result<(), DevError> {
    let mut played = Vec::with_capacity(scenes.len());
    for scene in scenes {
        let scene = tour::play(scene, listen).await;
        if progress.is_json() {
            progress.result("", &scene.object());
        }
        played.push(scene);
    }
    let differences = played.iter().filter(|played| !played.is_as_expected()).count();
    let text = format!(
        "\n{}\n{} of {} as expected\n",
        tour::table(&played),
        played.len() - differences,
        played.len()
    );
    progress
        .result(&text, &json!({"event": "tour_result", "scenes": played.len(), "differences": differences}));
    match differences {
        0 => Ok(()),
        differences => Err(DevError::Differences(differences)),
    }
}
