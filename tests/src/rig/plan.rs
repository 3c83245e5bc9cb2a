//! The command lines of the parts, and what they read: written once, for both targets.
//!
//! Invariant: every file and port of a rig is named here and nowhere else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{Target, Trace};
use crate::binaries;
use crate::corpus::profile::UpstreamProtocol;
use crate::pki::{Identity, SERVER_NAME};
use crate::process::Launch;
use crate::spy::Spy;

/// Changes a generated configuration.
pub(super) type Edit = Box<dyn FnOnce(&mut Value)>;

/// What the command lines are made of.
pub(super) struct Plan {
    pub(super) target: Target,
    /// What Envoy's configuration is made from.
    pub(super) bundle_dir: PathBuf,
    pub(super) server_bundle_dir: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) listen: SocketAddr,
    pub(super) envoy_admin: SocketAddr,
    pub(super) server_listen: SocketAddr,
    pub(super) server_admin: SocketAddr,
    /// The listener's certificate, and the authority of its callers.
    pub(super) tls: Option<(Identity, PathBuf)>,
    /// Envoy's workers.
    pub(super) concurrency: u32,
    pub(super) link: LinkFiles,
}

/// How Envoy reaches the server, with the files that it takes.
pub(super) enum LinkFiles {
    Tcp,
    Unix,
    Mutual { server: Identity, envoy: Identity, ca: PathBuf, listed: String },
}

impl Plan {
    fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    fn envoy_config(&self) -> PathBuf {
        self.out().join("envoy.yaml")
    }

    fn server_address(&self) -> String {
        match self.link {
            LinkFiles::Unix => format!("unix:{}", self.dir.join("server.sock").display()),
            LinkFiles::Tcp | LinkFiles::Mutual { .. } => self.server_listen.to_string(),
        }
    }

    /// `palisade build`, then the test's edit of what it wrote.
    #[track_caller]
    pub(super) fn build(
        &self,
        protocols: &BTreeMap<String, UpstreamProtocol>,
        spies: &BTreeMap<String, Spy>,
        edit: Option<Edit>,
    ) {
        let mut command = Command::new(binaries::palisade());
        command.arg("build").arg(&self.bundle_dir).args(["--target", self.target.built_as()]);
        command.arg("--out").arg(self.out());
        command.args(["--listen", &self.listen.to_string(), "--envoy-admin", &self.envoy_admin.to_string()]);
        command.args(["--server", &self.server_address()]);
        if let LinkFiles::Mutual { envoy, ca, .. } = &self.link {
            command.arg("--server-tls-cert").arg(&envoy.certificate).arg("--server-tls-key").arg(&envoy.key);
            command.arg("--server-ca").arg(ca).args(["--server-name", SERVER_NAME]);
        }
        command.arg("--filter").arg(binaries::filter());
        for (service, spy) in spies {
            let scheme = match protocols.get(service) {
                Some(UpstreamProtocol::H2c) => "h2c://",
                Some(UpstreamProtocol::Http1) | None => "",
            };
            command.args(["--upstream", &format!("{service}={scheme}{}", spy.addr())]);
        }
        if let Some((identity, ca)) = &self.tls {
            command.arg("--tls-cert").arg(&identity.certificate).arg("--tls-key").arg(&identity.key);
            command.arg("--client-ca").arg(ca);
        }
        let output = command.output().expect("run palisade build");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "palisade build failed with {}:\n{errors}", output.status);
        if let Some(edit) = edit {
            let text =
                std::fs::read_to_string(self.envoy_config()).expect("read the generated configuration");
            let mut config: Value =
                serde_saphyr::from_str(&text).expect("the generated configuration is YAML");
            edit(&mut config);
            // JSON is YAML, so the file's name stays true.
            std::fs::write(self.envoy_config(), config.to_string()).expect("write the edited configuration");
        }
    }

    pub(super) fn server_launch(&self, trace: Option<&Trace>) -> Launch {
        let launch = match trace {
            None => Launch::new("server", binaries::palisade()),
            Some(trace) => self.traced(trace),
        };
        let launch = launch
            .args(["serve", "--listen", &self.server_address(), "--admin", &self.server_admin.to_string()])
            .arg("--bundle")
            .arg(&self.server_bundle_dir)
            .arg("--state")
            .arg(self.dir.join("state"))
            .arg("--handoff-secret-file")
            .arg(self.dir.join("handoff-secret"))
            .arg("--api-keys")
            .arg(self.dir.join("api-keys.json"));
        match &self.link {
            LinkFiles::Tcp | LinkFiles::Unix => launch,
            LinkFiles::Mutual { server, ca, listed, .. } => launch
                .arg("--tls-cert")
                .arg(&server.certificate)
                .arg("--tls-key")
                .arg(&server.key)
                .arg("--client-ca")
                .arg(ca)
                .args(["--peer", listed]),
        }
    }

    /// strace forks, and a tie does not survive that: the server is tied anew, to strace, whose id the shell knows.
    fn traced(&self, trace: &Trace) -> Launch {
        let launch = Launch::new("server", binaries::strace()).arg("-f");
        let launch = match trace {
            Trace::ToFile(file) => {
                launch.args(["-yy", "-s", "8192", "-e", TRACED_CALLS, "-o"]).arg(self.dir.join(file))
            }
            Trace::SlowSyncs { delay_us } => launch
                .args(["--seccomp-bpf", "-e", "quiet=all", "-e", "trace=fdatasync", "-o", "/dev/null", "-e"])
                .arg(format!("inject=fdatasync:delay_enter={delay_us}")),
        };
        launch
            .args(["sh", "-c", "exec \"$0\" exec-tied --parent $PPID -- \"$0\" \"$@\""])
            .arg(binaries::palisade())
    }

    pub(super) fn envoy_launch(&self, secret: &str) -> Launch {
        let launch = Launch::new("envoy", binaries::envoy()).arg("-c").arg(self.envoy_config()).args([
            "--use-dynamic-base-id",
            "--concurrency",
            &self.concurrency.to_string(),
            "--log-level",
            "warning",
        ]);
        if secret.is_empty() { launch } else { launch.env("PALISADE_HANDOFF_SECRET", secret) }
    }
}

/// Every call by which bytes reach a disk or a socket.
const TRACED_CALLS: &str = "trace=write,writev,pwrite64,pwritev,sendto,sendmsg,fsync,fdatasync";
