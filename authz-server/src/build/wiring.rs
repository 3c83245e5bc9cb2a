//! The wiring of one place: addresses, files and peers, which a bundle does not know.
//!
//! INVARIANT: what crosses a network is either protected by TLS on both sides, or its plaintext was asked for by name.

use super::error::WiringProblem;
use super::routes::is_grpc_only;
use palisade_core::canary;
use palisade_core::contract::Contract;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// For which kind of proxy the configuration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An Envoy of our own.
    Envoy,
    /// What istiod gives to a sidecar's inbound listener, as a file, to be proven without a cluster.
    Sidecar,
}

/// All that a configuration needs beside the bundle.
#[derive(Debug, Clone)]
pub struct Wiring {
    pub target: Target,
    /// Where callers come in.
    pub listen: SocketAddr,
    /// Callers show a certificate. `None`: plain HTTP, and no caller has a workload identity.
    pub listener_tls: Option<MutualTls>,
    /// Envoy's admin interface. It can stop the proxy, so it stays on this machine.
    pub envoy_admin: SocketAddr,
    /// Names this proxy to the server.
    pub node_id: String,
    pub server: Server,
    /// The filter module, as the proxy finds it.
    pub filter: PathBuf,
    /// One for each service of the bundle.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Where the proxy finds the files that are written; only Istio's shape has one file name another.
    pub out: PathBuf,
}

/// Certificate and key to show, and the authorities by which the peer is judged. Paths, as the proxy finds them.
#[derive(Debug, Clone)]
pub struct MutualTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub peer_ca: PathBuf,
}

/// The authorization server as the proxy reaches it.
#[derive(Debug, Clone)]
pub struct Server {
    pub address: Address,
    pub link: ServerLink,
}

/// How the way to the server is protected.
#[derive(Debug, Clone)]
pub enum ServerLink {
    /// Plaintext that does not leave the machine: loopback or a Unix socket, anything else is refused.
    Local,
    /// Plaintext over a network: whoever is on the way reads every decision and can forge them.
    Plaintext,
    /// TLS on both sides. `server_name` is a SPIFFE id or a DNS name in the server's certificate.
    Mutual { tls: MutualTls, server_name: String },
}

/// One service behind the proxy.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub address: Address,
    pub protocol: UpstreamProtocol,
}

/// What the proxy speaks to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/2 where the contract takes gRPC and nothing else, otherwise HTTP/1.1.
    ByContract,
    /// HTTP/2 without TLS.
    Http2,
}

/// Where a peer listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Socket(SocketAddr),
    Name { host: String, port: u16 },
    Unix(PathBuf),
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError {
    found: String,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an address: expected `HOST:PORT`, `unix:PATH` or an absolute path", self.found)
    }
}

impl std::error::Error for AddressError {}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let error = || AddressError { found: text.to_owned() };
        let path = text.strip_prefix("unix:").or_else(|| text.starts_with('/').then_some(text));
        if let Some(path) = path {
            return if path.is_empty() { Err(error()) } else { Ok(Address::Unix(path.into())) };
        }
        if let Ok(socket) = text.parse() {
            return Ok(Address::Socket(socket));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        match port.parse() {
            Ok(port) if port > 0 && !host.is_empty() && host.bytes().all(named) => {
                Ok(Address::Name { host: host.to_owned(), port })
            }
            _ => Err(error()),
        }
    }
}

impl Address {
    /// Whether bytes to it stay on this machine. A name is resolved later, so it never counts.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Address::Socket(socket) => socket.ip().is_loopback(),
            Address::Name { .. } => false,
            Address::Unix(_) => true,
        }
    }
}

impl FromStr for Upstream {
    type Err = AddressError;

    /// An address, with `h2c://` before it where the service speaks HTTP/2 without TLS.
    fn from_str(text: &str) -> Result<Upstream, AddressError> {
        let (protocol, address) = match text.strip_prefix("h2c://") {
            Some(address) => (UpstreamProtocol::Http2, address),
            None => (UpstreamProtocol::ByContract, text),
        };
        Ok(Upstream { address: address.parse()?, protocol })
    }
}

impl Wiring {
    /// What does not fit the contract, or must not be wired like this.
    pub(super) fn check(&self, contract: &Contract) -> Vec<WiringProblem> {
        let mut problems = Vec::new();
        if !self.envoy_admin.ip().is_loopback() {
            problems.push(WiringProblem::AdminNotLocal { address: self.envoy_admin });
        }
        if matches!(self.server.link, ServerLink::Local) && !self.server.address.is_local() {
            problems.push(WiringProblem::ServerInPlaintext);
        }
        let services: Vec<_> =
            contract.services().iter().filter(|service| service.name.as_ref() != canary::SERVICE).collect();
        for service in &services {
            match self.upstreams.get(service.name.as_ref()) {
                None => problems.push(WiringProblem::UpstreamMissing { service: service.name.to_string() }),
                Some(upstream) if upstream.protocol == UpstreamProtocol::Http2 => {}
                Some(_) => problems.extend(
                    service
                        .operations
                        .iter()
                        .find(|operation| operation.takes_grpc() && !is_grpc_only(service))
                        .map(|operation| WiringProblem::GrpcOverHttp1 {
                            service: service.name.to_string(),
                            operation: operation.name.to_string(),
                        }),
                ),
            }
        }
        let known = |name: &str| services.iter().any(|service| service.name.as_ref() == name);
        problems.extend(
            self.upstreams
                .keys()
                .filter(|name| !known(name))
                .map(|name| WiringProblem::UpstreamUnknown { service: name.clone() }),
        );
        problems
    }
}
