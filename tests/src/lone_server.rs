//! The real server without an Envoy in front of it, asked directly: for faults below it that need many starts.
//!
//! A Check that no filter vouched for is denied, and the denial is recorded before it is told. So every answer with a
//! decision id that is not a refusal for want of the ledger is an acknowledged entry.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use serde_json::Value;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::binaries;
use crate::deadline::poll;
use crate::ports::free_addr;
use crate::process::{Launch, Process};
use crate::rig::{START_TIMEOUT, admin, random_hex};

/// Longer than the server's own deadline.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the server said to a Check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Denied and recorded, under this id.
    Recorded(String),
    /// Refused because it could not be recorded.
    Unavailable,
    /// There was no answer: the server is gone.
    Nothing,
}

impl Said {
    /// The id of what was recorded.
    pub fn recorded(self) -> Option<String> {
        match self {
            Said::Recorded(id) => Some(id),
            Said::Unavailable | Said::Nothing => None,
        }
    }
}

#[derive(Debug)]
pub struct LoneServer {
    pub process: Process,
    listen: SocketAddr,
    admin: SocketAddr,
    state: PathBuf,
    runtime: Runtime,
    client: Option<AuthorizationClient<Channel>>,
}

impl LoneServer {
    /// Starts a server on the state in `dir`, under strace with these arguments if there are any. It need not come up.
    pub fn start(dir: &Path, strace: &[String]) -> LoneServer {
        let secret = dir.join("handoff-secret");
        if !secret.is_file() {
            std::fs::write(&secret, random_hex()).expect("write the secret");
        }
        let (listen, admin) = (free_addr(), free_addr());
        let launch = if strace.is_empty() {
            Launch::new("server", binaries::palisade())
        } else {
            // strace forks, and a tie does not survive that: the server is tied anew, to strace.
            Launch::new("server", binaries::strace())
                .args(["-f", "--seccomp-bpf", "-e", "quiet=all", "-o", "/dev/null"])
                .args(strace)
                .args(["sh", "-c", "exec \"$0\" exec-tied --parent $PPID -- \"$0\" \"$@\""])
                .arg(binaries::palisade())
        };
        let state = dir.join("state");
        let launch = launch
            .args(["serve", "--listen", &listen.to_string(), "--admin", &admin.to_string(), "--bundle"])
            .arg(binaries::workspace_dir().join("policies"))
            .arg("--state")
            .arg(&state)
            .arg("--handoff-secret-file")
            .arg(&secret);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        LoneServer { process: Process::start(launch, dir), listen, admin, state, runtime, client: None }
    }

    /// Waits until it is ready, or has ended.
    pub fn wait(&mut self) -> Option<ExitStatus> {
        let admin_addr = self.admin;
        let process = &mut self.process;
        let state = poll(START_TIMEOUT, || match process.has_exited() {
            Some(status) => Some(Some(status)),
            None => admin(admin_addr, "/readyz").is_some_and(|reply| reply.status == 200).then_some(None),
        });
        state.unwrap_or_else(|| panic!("the server neither came up nor ended:\n{}", self.process.log()))
    }

    /// SIGTERM, and waits for the end. Hangs up first: a server drains for as long as somebody is connected.
    pub fn stop(&mut self) {
        self.client = None;
        self.runtime = runtime();
        self.process.terminate(START_TIMEOUT);
    }

    /// Where proxies ask.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where it is administered.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub fn ledger_dir(&self) -> PathBuf {
        self.state.join("ledger")
    }

    pub fn metrics(&self) -> String {
        let reply = admin(self.admin, "/metrics");
        reply.map(|reply| String::from_utf8_lossy(&reply.body).into_owned()).unwrap_or_default()
    }

    pub fn is_ready(&self) -> bool {
        admin(self.admin, "/readyz").is_some_and(|reply| reply.status == 200)
    }

    pub fn check(&mut self) -> Said {
        let (listen, client) = (self.listen, &mut self.client);
        let answer = self.runtime.block_on(async {
            if client.is_none() {
                *client = AuthorizationClient::connect(format!("http://{listen}")).await.ok();
            }
            let call = client.as_mut()?.check(CheckRequest::default());
            tokio::time::timeout(ANSWER_TIMEOUT, call).await.ok()?.ok()
        });
        let Some(answer) = answer else {
            self.client = None;
            return Said::Nothing;
        };
        said(answer.into_inner())
    }
}

/// What an answer means to whoever asked without a handoff.
pub fn said(answer: CheckResponse) -> Said {
    let Some(HttpResponse::DeniedResponse(denied)) = answer.http_response else {
        panic!("a Check without a handoff was not denied")
    };
    let body: Value = serde_json::from_str(&denied.body).expect("a denial says why in JSON");
    match body["reason"].as_str() {
        Some("ledger_unavailable") => Said::Unavailable,
        _ => Said::Recorded(body["decision_id"].as_str().expect("a decision has an id").to_owned()),
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
