//! One arm that runs: the service, the server where there is one, and the proxies on both sides.
//!
//! INVARIANT: a rig is up only when a request of each caller was answered well; its processes are children that are known
//! by id, tied to this one, and reaped.

use crate::backend::Backend;
use crate::client_side;
use crate::failure::Failure;
use crate::load::Links;
use crate::plan::{Arm, CALLERS, Guard, Scenario, Trigger};
use crate::server_side;
use crate::setup::Setup;
use palisade::build::{BOOTSTRAP_FILE, SECRET_VARIABLE};
use palisade::dev::children::{Family, tail_of, until};
use palisade::dev::home::{Credentials, Home};
use palisade::dev::{ports, tied};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// How long an arm may take until it answers every caller, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) backend: Backend,
    pub(crate) links: Arc<Links>,
    /// Admin interfaces of the proxies: the callers', and the service's.
    pub(crate) callers_admin: SocketAddr,
    pub(crate) service_admin: SocketAddr,
    family: Family,
    logs: Vec<PathBuf>,
    home: Home,
}

impl Rig {
    pub(crate) async fn start(
        arm: &Arm,
        scenario: Scenario,
        seed: u64,
        setup: &Setup,
    ) -> Result<Rig, Failure> {
        let home = Home::create(None).map_err(Failure::because("the state directory cannot be made"))?;
        let credentials = Credentials::generate(&home, &BTreeSet::new())
            .map_err(Failure::because("the credentials cannot be written"))?;
        let [listen, inbound, callers_admin, service_admin, server, server_admin] =
            ports::free().map_err(Failure::because("there is no free port"))?;
        let backend = Backend::start(Trigger::None.mood(), seed).await?;
        let places =
            server_side::Places { listen: inbound, admin: service_admin, server, backend: backend.address() };
        let bundle = setup.bundle(arm)?;
        let generated = home.generated();
        server_side::write(
            arm,
            scenario,
            places,
            &bundle.bundle,
            &setup.identities,
            &setup.filter,
            &generated,
        )?;
        let callers = client_side::Places { listen, admin: callers_admin, service: inbound };
        let callers = client_side::bootstrap(arm, scenario, callers, &setup.identities);
        let callers_file = generated.join("callers.json");
        std::fs::write(&callers_file, callers.to_string())
            .map_err(Failure::because("the callers' configuration cannot be written"))?;

        let mut rig = Rig {
            backend,
            links: Arc::new(Links::new(listen)),
            callers_admin,
            service_admin,
            family: Family::default(),
            logs: Vec::new(),
            home,
        };
        if matches!(arm.guard, Guard::Palisade { .. }) {
            let mut command = tied::command(&setup.this, &setup.this);
            command.args(["serve", "--log-format", "json", "--bundle"]).arg(&bundle.directory);
            command.arg("--state").arg(rig.home.root());
            command.arg("--listen").arg(server.to_string()).arg("--admin").arg(server_admin.to_string());
            command.arg("--handoff-secret-file").arg(rig.home.secret_file());
            command.arg("--api-keys").arg(rig.home.api_keys_file());
            rig.child("server", command)?;
            let listens = async || tokio::net::TcpStream::connect(server).await.is_ok();
            rig.wait(arm, "the server does not listen", listens).await?;
        }
        let mut service = envoy(setup, scenario.concurrency());
        service.arg("--config-path").arg(generated.join(BOOTSTRAP_FILE));
        service.env(SECRET_VARIABLE, &credentials.handoff_secret);
        rig.child("service-proxy", service)?;
        let mut callers = envoy(setup, 1);
        callers.arg("--config-path").arg(callers_file);
        rig.child("callers-proxy", callers)?;
        rig.greet(arm).await?;
        Ok(rig)
    }

    /// Where the configuration of the service's proxy lies.
    pub(crate) fn generated(&self) -> PathBuf {
        self.home.generated()
    }

    /// One good answer for each caller, in their order, so that their connections come in this order, too.
    async fn greet(&mut self, arm: &Arm) -> Result<(), Failure> {
        for caller in 0..CALLERS {
            let links = Arc::clone(&self.links);
            let answered = async || links.greet(caller).await;
            self.wait(arm, "a caller gets no good answer", answered).await?;
        }
        Ok(())
    }

    /// Fails when a part has ended by itself, with what it said last.
    pub(crate) async fn check(&mut self) -> Result<(), Failure> {
        tokio::select! {
            biased;
            ended = self.family.any_ended() => Err(self.explain(&Failure::new(ended.to_string()))),
            () = std::future::ready(()) => Ok(()),
        }
    }

    /// Ends all processes, and forgets what they wrote.
    pub(crate) async fn stop(self) {
        self.family.stop().await;
    }

    fn child(&mut self, name: &'static str, command: Command) -> Result<u32, Failure> {
        let log = self.home.log(name);
        let pid = self.family.start(name, command, &log);
        self.logs.push(log);
        pid.map_err(Failure::because("a process cannot be started"))
    }

    async fn wait(
        &mut self,
        arm: &Arm,
        otherwise: &str,
        holds: impl AsyncFnMut() -> bool,
    ) -> Result<(), Failure> {
        let outcome = tokio::select! {
            held = until(READY_WITHIN, holds) => match held {
                true => Ok(()),
                false => Err(Failure::new(format!(
                    "`{}` is not ready within {} s: {otherwise}",
                    arm.name,
                    READY_WITHIN.as_secs()
                ))),
            },
            ended = self.family.any_ended() => Err(Failure::new(ended.to_string())),
        };
        outcome.map_err(|failure| self.explain(&failure))
    }

    /// A failure, with what the parts said last.
    pub(crate) fn explain(&self, failure: &Failure) -> Failure {
        let lines = self.logs.iter().flat_map(|log| tail_of(log)).collect();
        Failure::new([vec![failure.to_string()], lines].concat().join("\n    "))
    }
}

fn envoy(setup: &Setup, concurrency: u32) -> Command {
    let mut envoy = tied::command(&setup.this, &setup.envoy);
    envoy.args(["--disable-hot-restart", "--log-level", "warning", "--concurrency"]);
    envoy.arg(concurrency.to_string());
    envoy
}
