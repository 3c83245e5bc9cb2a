//! One arm that runs: its server, its Envoy, and how they end.
//!
//! INVARIANT: a stack is up only when a request of its own kind was answered well; its processes are children that are
//! known by id, tied to this one, and reaped.

use crate::arms::{Arm, Kind, Server};
use crate::bootstrap::{self, Addresses};
use crate::cpu::CpuTime;
use crate::failure::Failure;
use crate::load::{Connections, STRIDE};
use crate::requests::{Ask, ask, ask_with_token};
use crate::rivals;
use crate::setup::Setup;
use palisade::build::{BOOTSTRAP_FILE, SECRET_VARIABLE};
use palisade::dev::children::{Family, tail_of};
use palisade::dev::home::{Credentials, Home};
use palisade::dev::{ports, tied};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// How long an arm may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How often a stack that starts is asked; the time to readiness is known to this.
const ASKED_EVERY: Duration = Duration::from_millis(2);

/// More than one arm is asked in a round, so that none comes again before its server ends.
const UNKNOWN_TOKENS: usize = 16 * STRIDE;

/// The client of the demo bundle that may read and place orders.
const CLIENT: &str = "web";

#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) listen: SocketAddr,
    pub(crate) envoy_pid: u32,
    server_pid: Option<u32>,
    api_key: String,
    /// Requests with tokens, where the arm has some.
    asks: Arc<[Ask]>,
    /// From the start of Envoy's process to the first good reply.
    pub(crate) ready: Duration,
    family: Family,
    logs: Vec<PathBuf>,
    home: Home,
}

/// Processor time of both sides, at one moment.
#[derive(Debug)]
pub(crate) struct Used {
    envoy: CpuTime,
    server: Option<CpuTime>,
}

impl Stack {
    pub(crate) async fn start(arm: &Arm, setup: &Setup) -> Result<Stack, Failure> {
        let state = setup.state_in.as_ref().map(|parent| {
            parent.join(format!("bench-{}-{}", std::process::id(), arm.name.replace(' ', "-")))
        });
        let home =
            Home::create(state.as_deref()).map_err(Failure::because("the state directory cannot be made"))?;
        let clients = BTreeSet::from([CLIENT.to_owned()]);
        let credentials = Credentials::generate(&home, &clients)
            .map_err(Failure::because("the credentials cannot be written"))?;
        let [listen, envoy_admin, server, admin] =
            ports::free().map_err(Failure::because("there is no free port"))?;
        let addresses = Addresses { listen, envoy_admin, server, admin };
        bootstrap::write(arm, setup, addresses, &home.generated())?;
        let api_key = match arm.server {
            Server::Cedar => rivals::CALLER.to_owned(),
            Server::None | Server::Allow | Server::Echo | Server::Palisade => {
                credentials.keys.get(CLIENT).cloned().unwrap_or_default()
            }
        };
        let mut stack = Stack {
            listen,
            envoy_pid: 0,
            server_pid: None,
            api_key,
            asks: with_tokens(arm, setup),
            ready: Duration::ZERO,
            family: Family::default(),
            logs: Vec::new(),
            home,
        };
        if let Some(command) = server_command(arm, setup, addresses, &stack.home) {
            stack.server_pid = Some(stack.child("server", command)?);
            stack.wait(arm, async || tokio::net::TcpStream::connect(server).await.is_ok()).await?;
        }
        let mut envoy = tied::command(&setup.bench, &setup.envoy);
        envoy.arg("--config-path").arg(stack.home.generated().join(BOOTSTRAP_FILE));
        envoy.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]);
        envoy.env(SECRET_VARIABLE, &credentials.handoff_secret);
        let began = Instant::now();
        stack.envoy_pid = stack.child("envoy", envoy)?;
        let first: Arc<[Ask]> = [stack.ask(arm)].into();
        let served = async || match Connections::open(listen, 1).await {
            Ok(mut connection) => connection.send(first.clone(), 1).await.is_ok_and(|seen| seen.wrong == 0),
            Err(_not_yet) => false,
        };
        stack.wait(arm, served).await?;
        stack.ready = began.elapsed();
        Ok(stack)
    }

    /// What is sent to this arm.
    pub(crate) fn ask(&self, arm: &Arm) -> Ask {
        match (arm.kind, self.asks.first()) {
            (Kind::ReadKnown | Kind::ReadUnknown, Some(ask)) => ask.clone(),
            _ => ask(arm.kind, &self.api_key),
        }
    }

    /// What saturates it: one request again and again, or many in turn.
    pub(crate) fn asks(&self, arm: &Arm) -> Arc<[Ask]> {
        if self.asks.is_empty() { [self.ask(arm)].into() } else { self.asks.clone() }
    }

    pub(crate) fn api_key(&self) -> &str {
        &self.api_key
    }

    pub(crate) fn used(&self) -> Result<Used, Failure> {
        let server = self.server_pid.map(CpuTime::of).transpose()?;
        Ok(Used { envoy: CpuTime::of(self.envoy_pid)?, server })
    }

    /// Ends all processes, and forgets the ledger.
    pub(crate) async fn stop(self) {
        let Stack { family, home, .. } = self;
        family.stop().await;
        if !home.is_temporary() {
            // What was measured is of no use to anybody, and the next start wants an empty ledger.
            let _gone = std::fs::remove_dir_all(home.root());
        }
    }

    /// The last lines of the logs.
    pub(crate) fn log_lines(&self) -> Vec<String> {
        self.logs.iter().flat_map(|log| tail_of(log)).collect()
    }

    /// A failure, with what the parts of this arm said last.
    pub(crate) fn explain(&self, failure: &Failure) -> Failure {
        Failure::new([vec![failure.to_string()], self.log_lines()].concat().join("\n    "))
    }

    fn child(&mut self, name: &'static str, command: Command) -> Result<u32, Failure> {
        let log = self.home.log(name);
        let pid = self.family.start(name, command, &log);
        self.logs.push(log);
        pid.map_err(Failure::because("a process cannot be started"))
    }

    /// Asks again and again until it holds, a child ends, or the time is over.
    async fn wait(&mut self, arm: &Arm, mut holds: impl AsyncFnMut() -> bool) -> Result<(), Failure> {
        let asking = async {
            let mut ticks = tokio::time::interval(ASKED_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !holds().await {
                ticks.tick().await;
            }
        };
        let outcome = tokio::select! {
            asked = tokio::time::timeout(READY_WITHIN, asking) => {
                asked.map_err(|_| Failure::new(format!("`{}` gave no good reply within 30 s", arm.name)))
            }
            ended = self.family.any_ended() => Err(Failure::new(ended.to_string())),
        };
        outcome.map_err(|failure| self.explain(&failure))
    }
}

impl Used {
    /// Since `earlier`, in microseconds: Envoy's, and the server's where there is one.
    pub(crate) fn since(&self, earlier: &Used) -> (f64, Option<f64>) {
        let micros = |now: &CpuTime, then: &CpuTime| now.since(then).as_secs_f64() * 1e6;
        let server = self.server.as_ref().zip(earlier.server.as_ref()).map(|(now, then)| micros(now, then));
        (micros(&self.envoy, &earlier.envoy), server)
    }
}

/// So many tokens that none comes twice, or one.
fn with_tokens(arm: &Arm, setup: &Setup) -> Arc<[Ask]> {
    let count = match arm.kind {
        Kind::ReadKnown => 1,
        Kind::ReadUnknown => UNKNOWN_TOKENS,
        _ => 0,
    };
    let ask = |place| ask_with_token(&setup.issuer.token(&format!("person-{place}")));
    (0..count).map(ask).collect()
}

fn server_command(arm: &Arm, setup: &Setup, addresses: Addresses, home: &Home) -> Option<Command> {
    let mut command = tied::command(&setup.bench, &setup.bench);
    let rival = match arm.server {
        Server::None => return None,
        Server::Allow => "allow",
        Server::Echo => "echo",
        Server::Cedar => "cedar",
        Server::Palisade => {
            command.args(["serve", "--log-format", "json", "--bundle"]).arg(setup.directory(arm.contract));
            if arm.candidate {
                command.arg("--candidate").arg(setup.directory(arm.contract));
            }
            command.arg("--state").arg(home.root());
            command.arg("--listen").arg(addresses.server.to_string());
            command.arg("--admin").arg(addresses.admin.to_string());
            command.arg("--handoff-secret-file").arg(home.secret_file());
            command.arg("--api-keys").arg(home.api_keys_file());
            return Some(command);
        }
    };
    command.args(["rival", rival, "--listen"]).arg(addresses.server.to_string());
    Some(command)
}
