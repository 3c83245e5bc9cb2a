//! Sets the stage: services, configuration, server, Envoy, each started only when the one before it is ready.
//!
//! INVARIANT: configuration and processes come from the commands of production, `palisade build` and
//! `palisade serve`; nothing here knows what is in them.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::canary::{self, Canary};
use super::children::{ChildError, Family, tail_of};
use super::drill::Without;
use super::error::DevError;
use super::follower::Follower;
use super::generated::{Generated, GeneratedError};
use super::generator::Generator;
use super::home::{Credentials, Home};
use super::http::{self, Request};
use super::issuers::Issuers;
use super::outline::Outline;
use super::progress::{Progress, Stop};
use super::{Options, Sources, command, demo, ports, tied};

/// How long the server may take to load its bundle and open its ledger.
const SERVER_READY: Duration = Duration::from_secs(30);

/// How long Envoy may take to compile the filter and open its listener.
const LISTENER_READY: Duration = Duration::from_secs(30);

/// How long the canary may take to be good or beyond doubt once the listener accepts.
const CANARY_SETTLED: Duration = Duration::from_secs(5);

/// One look at the server's readiness.
const READINESS_EXCHANGE: Duration = Duration::from_secs(2);

/// Two workers show that nothing depends on there being one, and leave the machine to its user.
const ENVOY_CONCURRENCY: &str = "2";

/// For how long connections of a listener that a change has replaced go on; they are told to close at once.
const ENVOY_DRAIN_S: &str = "2";

/// The variable from which the filter takes its secret.
const SECRET_VARIABLE: &str = "PALISADE_HANDOFF_SECRET";

/// Where everything listens.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    pub(super) listen: SocketAddr,
    pub(super) server: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) envoy_admin: SocketAddr,
    /// As `palisade build` takes them.
    pub(super) services: BTreeMap<String, String>,
}

/// A run that is being set up.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    options: &'a Options,
    sources: &'a Sources,
    home: &'a Home,
    family: &'a mut Family,
    progress: &'a mut Progress,
    stop: &'a Stop,
    generator: Generator<'a>,
    addresses: Addresses,
    services: BTreeMap<String, demo::Service>,
    generated: Option<Generated>,
}

impl<'a> Stage<'a> {
    /// Starts the services that nobody else runs, and settles all addresses.
    pub(super) async fn set(
        options: &'a Options,
        sources: &'a Sources,
        home: &'a Home,
        family: &'a mut Family,
        progress: &'a mut Progress,
        stop: &'a Stop,
    ) -> Result<Stage<'a>, DevError> {
        let palisade = env::current_exe().map_err(DevError::io("this program cannot be found again"))?;
        let mut services = options.upstreams.clone();
        let mut running = BTreeMap::new();
        for name in &sources.outline.services {
            if services.contains_key(name) {
                continue;
            }
            let service = start_service(name, &sources.outline).await?;
            if !(sources.outline.is_demo && demo::has(name)) {
                progress.note(&format!(
                    "a stand-in answers for `{name}`; run yours with `--upstream {name}=ADDR`"
                ));
            }
            services.insert(name.clone(), sources.outline.upstream(name, service.address));
            running.insert(name.clone(), service);
        }
        let listen = ports::claim(options.listen)?;
        let [server, admin, envoy_admin] = ports::free().map_err(DevError::io("there is no free port"))?;
        let addresses = Addresses { listen, server, admin, envoy_admin, services };
        let generator = Generator { palisade, options, home, filter: &sources.filter };
        let generated = None;
        Ok(Stage {
            options,
            sources,
            home,
            family,
            progress,
            stop,
            generator,
            addresses,
            services: running,
            generated,
        })
    }

    pub(super) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    pub(super) fn progress(&mut self) -> &mut Progress {
        self.progress
    }

    /// What is needed while the play goes on.
    pub(super) fn into_parts(
        self,
        credentials: Credentials,
        issuers: Issuers,
    ) -> Result<(&'a mut Family, &'a mut Progress, Follower<'a>), DevError> {
        let Stage { family, progress, generator, addresses, services, generated, home, sources, .. } = self;
        let generated = generated.ok_or(GeneratedError::Part("parts yet"))?;
        let (given, seen) = (sources.outline.digest, sources.outline.digest);
        let follower =
            Follower { generator, home, addresses, services, credentials, issuers, generated, given, seen };
        Ok((family, progress, follower))
    }

    /// Generates Envoy's configuration with the command that generates it in production.
    pub(super) fn generate_configuration(&mut self) -> Result<(), DevError> {
        let bundle = &self.sources.bundle;
        let mut step = self.progress.step("generate the configuration");
        let build = self.generator.command(bundle, &self.addresses);
        command::run(&mut step, build).map_err(DevError::Build)?;
        let generated = self.generator.read()?;
        generated.write(&self.home.watched(), &self.sources.outline.digest.to_string())?;
        self.generated = Some(generated);
        step.done(&format!("from `{}`", bundle.display()));
        Ok(())
    }

    /// Starts the server and waits until it is ready; returns its pid.
    pub(super) async fn start_server(&mut self, issuers: &Issuers) -> Result<u32, DevError> {
        let Addresses { server, admin, .. } = &self.addresses;
        let step = self.progress.step("start the server");
        let palisade = &self.generator.palisade;
        let mut serve = tied::command(palisade, palisade);
        serve.arg("serve").arg("--bundle").arg(&self.sources.bundle).arg("--state").arg(self.home.root());
        serve.arg("--listen").arg(server.to_string()).arg("--admin").arg(admin.to_string());
        serve.arg("--handoff-secret-file").arg(self.home.secret_file());
        // Also where the bundle allows no keys: it may do so tomorrow.
        serve.arg("--api-keys").arg(self.home.api_keys_file());
        for issuer in issuers.names() {
            let mut keys = OsString::from(format!("{issuer}="));
            keys.push(self.home.issuer_keys(issuer));
            serve.arg("--issuer-keys").arg(keys);
        }
        let pid = self.family.start("server", serve, &self.home.log("server"))?;

        let readiness = Request::get("localhost", "/readyz");
        let ready = async || {
            let reply = http::exchange(*admin, &readiness, READINESS_EXCHANGE).await;
            reply.is_ok_and(|reply| reply.status == 200)
        };
        self.family.wait_for(self.stop, "the server's readiness", SERVER_READY, ready).await?;
        step.done(&format!("admin on http://{admin}"));
        Ok(pid)
    }

    /// Starts Envoy and waits until its listener accepts; returns its pid.
    pub(super) async fn start_envoy(&mut self, secret: &str) -> Result<u32, DevError> {
        let step = self.progress.step("start Envoy");
        let log = self.home.log("envoy");
        let mut envoy = tied::command(&self.generator.palisade, &self.sources.envoy);
        envoy.arg("--config-path").arg(self.home.envoy_configuration());
        envoy.args(["--disable-hot-restart", "--concurrency", ENVOY_CONCURRENCY]);
        envoy.args(["--drain-strategy", "immediate", "--drain-time-s", ENVOY_DRAIN_S]);
        match self.options.without {
            Some(Without::Secret) => envoy.env_remove(SECRET_VARIABLE),
            Some(Without::Filter | Without::Gate) | None => envoy.env(SECRET_VARIABLE, secret),
        };
        let pid = self.family.start("envoy", envoy, &log)?;

        // Whether Envoy stays or goes when the filter refuses its configuration, there is no listener then.
        let listener = http::reachable(self.addresses.listen);
        let mut refused = None;
        let accepts = async || {
            refused = canary::blame(&tail_of(&log));
            refused.is_some() || TcpStream::connect(listener).await.is_ok()
        };
        let accepting = self.family.wait_for(self.stop, "envoy's listener", LISTENER_READY, accepts).await;
        if let Some(canary) = refused.or_else(|| canary::blame(&tail_of(&log))) {
            return Err(DevError::Canary(canary));
        }
        if matches!(accepting, Err(ChildError::Overdue { .. })) {
            return Err(DevError::ListenerSilent { tail: tail_of(&log) });
        }
        accepting?;
        step.done(&format!("listens on http://{}", self.addresses.listen));
        Ok(pid)
    }

    /// Sends the canary until it is good, for a bounded time.
    pub(super) async fn prove_with_canary(&mut self) -> Result<(), DevError> {
        let listen = self.addresses.listen;
        let step = self.progress.step("send the canary");
        let mut seen = None;
        let settled = async || {
            seen = canary::probe(listen).await.ok().or(seen.take());
            seen.as_ref().is_some_and(Canary::is_final)
        };
        match self.family.wait_for(self.stop, "a good canary", CANARY_SETTLED, settled).await {
            Ok(()) | Err(ChildError::Overdue { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match seen {
            Some(Canary::Good) => {
                step.done(&Canary::Good.to_string());
                Ok(())
            }
            Some(missing @ Canary::Missing { .. }) => Err(DevError::Canary(missing)),
            None => Err(DevError::ListenerSilent { tail: tail_of(&self.home.log("envoy")) }),
        }
    }
}

/// The demo's service of that name, or a stand-in.
pub(super) async fn start_service(name: &str, outline: &Outline) -> Result<demo::Service, DevError> {
    let is_demo = outline.is_demo && demo::has(name);
    let service = if is_demo { demo::start(name).await } else { demo::start_stand_in(name).await };
    service.map_err(DevError::io(format!("the service `{name}` cannot be started")))
}
