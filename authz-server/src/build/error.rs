//! Why a configuration could not be made, said so that it can be mended.

use super::kubernetes::KubernetesProblem;
use palisade_core::contract::ContractError;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why nothing was rendered or written.
#[derive(Debug)]
pub enum BuildError {
    /// The wiring does not fit the bundle or the target. All that is wrong, not the first.
    Wiring(Vec<WiringProblem>),
    Contract(ContractError),
    /// The bundle and the settings do not make objects of a cluster. All that is wrong, not the first.
    Kubernetes(Vec<KubernetesProblem>),
    /// A value could not be written as YAML.
    Yaml {
        file: String,
        detail: String,
    },
    Write {
        path: PathBuf,
        error: std::io::Error,
    },
    /// A directory that no build wrote.
    NotOurs {
        path: PathBuf,
        detail: String,
    },
    /// An edit asked for a part that the configuration does not have.
    PartMissing {
        part: &'static str,
    },
}

/// One thing that is wrong with a wiring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WiringProblem {
    AdminNotLocal {
        address: SocketAddr,
    },
    ServerInPlaintext,
    LimiterInPlaintext,
    UpstreamMissing {
        service: String,
    },
    UpstreamUnknown {
        service: String,
    },
    GrpcOverHttp1 {
        service: String,
        operation: String,
    },
    /// Istio has one ext_authz for a workload: it buffers for all operations or for none.
    StreamBesideBody {
        service: String,
        stream: String,
        body: String,
    },
    /// Istio has no way to hold a response until its body was judged.
    ResponseBodyEnforced {
        service: String,
        operation: String,
    },
    /// Istio has one fail mode for all operations of a workload.
    FailsOpen {
        class: &'static str,
        service: String,
        operation: String,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Wiring(problems) => one_a_line(f, problems),
            BuildError::Kubernetes(problems) => one_a_line(f, problems),
            BuildError::Contract(error) => write!(f, "the contract cannot be compiled: {error}"),
            BuildError::Yaml { file, detail } => write!(f, "`{file}` cannot be written as YAML: {detail}"),
            BuildError::Write { path, error } => write!(f, "cannot write `{}`: {error}", path.display()),
            BuildError::NotOurs { path, detail } => write!(
                f,
                "`{}` is not a directory of `palisade build`: {detail}; give an empty one, or one that it wrote",
                path.display()
            ),
            BuildError::PartMissing { part } => {
                write!(f, "the configuration has no {part} that could be changed")
            }
        }
    }
}

fn one_a_line(f: &mut fmt::Formatter<'_>, problems: &[impl fmt::Display]) -> fmt::Result {
    for (index, problem) in problems.iter().enumerate() {
        if index > 0 {
            f.write_str("\n")?;
        }
        write!(f, "{problem}")?;
    }
    Ok(())
}

impl std::error::Error for BuildError {}

impl From<ContractError> for BuildError {
    fn from(error: ContractError) -> Self {
        BuildError::Contract(error)
    }
}

impl fmt::Display for WiringProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WiringProblem::AdminNotLocal { address } => write!(
                f,
                "the admin address `{address}` is not loopback: whoever reaches it can stop the proxy and read its configuration; use `127.0.0.1:PORT`"
            ),
            WiringProblem::ServerInPlaintext => f.write_str(
                "the server is reached over a network without TLS: give `--server-tls-cert`, `--server-tls-key`, `--server-ca` and `--server-name`, or say `--server-plaintext` if somebody on the way may read and forge decisions",
            ),
            WiringProblem::LimiterInPlaintext => f.write_str(
                "the limiter is reached over a network without TLS: let `rate_limit_service` be on this machine, by `127.0.0.1:PORT` or `unix:PATH`, for instance a proxy that speaks TLS to it, or write `plaintext: true` beside its address if somebody on the way may learn who calls and let requests pass",
            ),
            WiringProblem::UpstreamMissing { service } => {
                write!(f, "service `{service}` has no address: add `--upstream {service}=HOST:PORT`")
            }
            WiringProblem::UpstreamUnknown { service } => {
                write!(f, "`--upstream {service}=…` names a service that the bundle does not have")
            }
            WiringProblem::GrpcOverHttp1 { service, operation } => write!(
                f,
                "operation `{operation}` of service `{service}` takes gRPC beside other content types, and gRPC needs HTTP/2: say `--upstream {service}=h2c://HOST:PORT` if the service speaks it for all of them"
            ),
            WiringProblem::StreamBesideBody { service, stream, body } => write!(
                f,
                "service `{service}` cannot run in Istio like this: operation `{stream}` is a stream, which ext_authz must not hold for a body, and operation `{body}` has body rules, for which it must; Istio has one ext_authz setting for a workload, so serve one of the two from a workload of its own"
            ),
            WiringProblem::ResponseBodyEnforced { service, operation } => write!(
                f,
                "`responses.body: enforce` of operation `{operation}` of service `{service}` cannot hold in Istio: what keeps a response back until its body was judged has no place in a WasmPlugin or TrafficExtension; say `report`, or `enforce` for `head` alone, or run the service behind an Envoy of your own (`--target envoy`)"
            ),
            WiringProblem::FailsOpen { class, service, operation } => write!(
                f,
                "`failure: {{{class}: open}}` cannot hold in Istio, as for operation `{operation}` of service `{service}`: its `failOpen` is of a provider, which decides for all operations of a workload, so that either none would go on while the server cannot be reached or all would; say `{class}: closed`, or run the services behind Envoys of your own (`--target envoy`)"
            ),
        }
    }
}
