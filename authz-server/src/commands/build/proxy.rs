//! The flags of one Envoy, its own or in the shape of a sidecar.

use super::join;
use crate::build::{Address, MutualTls, Server, ServerLink, Target, Upstream, Wiring};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{self, Path, PathBuf};

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10_000);
const ENVOY_ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9_901);
const NODE_ID: &str = "palisade";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "For `envoy` and `sidecar`")]
pub(super) struct ProxyArgs {
    /// Where callers come in [default: 127.0.0.1:10000]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,

    /// Envoy's admin interface; loopback only [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR")]
    envoy_admin: Option<SocketAddr>,

    /// Names this proxy to the server [default: palisade]
    #[arg(long, value_name = "NAME")]
    node_id: Option<String>,

    /// The authorization server: HOST:PORT, or unix:PATH
    #[arg(long, value_name = "ADDR")]
    server: Option<Address>,

    /// The filter module, as the proxy finds it
    #[arg(long, value_name = "PATH")]
    filter: Option<PathBuf>,

    /// A service's address, HOST:PORT or unix:PATH; with `h2c://` before it where it speaks HTTP/2 without TLS
    #[arg(long, value_name = "SERVICE=ADDR", value_parser = parse_upstream)]
    upstream: Vec<(String, Upstream)>,

    #[command(flatten)]
    listener_tls: ListenerTls,

    #[command(flatten)]
    server_link: ServerLinkArgs,
}

#[derive(Debug, clap::Args)]
struct ListenerTls {
    /// The listener's certificate chain; callers then must show one, too
    #[arg(long, value_name = "FILE", requires = "tls_key", requires = "client_ca")]
    tls_cert: Option<PathBuf>,

    /// The key to it
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// The authorities that callers' certificates come from
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct ServerLinkArgs {
    /// The certificate that the proxy shows to the server
    #[arg(
        long,
        value_name = "FILE",
        requires = "server_tls_key",
        requires = "server_ca",
        requires = "server_name"
    )]
    server_tls_cert: Option<PathBuf>,

    /// The key to it
    #[arg(long, value_name = "FILE", requires = "server_tls_cert")]
    server_tls_key: Option<PathBuf>,

    /// The authority that the server's certificate comes from
    #[arg(long, value_name = "FILE", requires = "server_tls_cert")]
    server_ca: Option<PathBuf>,

    /// The server's SPIFFE id or DNS name in its certificate
    #[arg(long, value_name = "NAME", requires = "server_tls_cert")]
    server_name: Option<String>,

    /// Reach the server over a network without TLS: whoever is on the way can read and forge decisions
    #[arg(long, conflicts_with = "server_tls_cert")]
    server_plaintext: bool,
}

impl ProxyArgs {
    /// The flags that were given, for a target that has no use for them.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let tls = &self.listener_tls;
        let link = &self.server_link;
        let flags = [
            ("--listen", self.listen.is_some()),
            ("--envoy-admin", self.envoy_admin.is_some()),
            ("--node-id", self.node_id.is_some()),
            ("--server", self.server.is_some()),
            ("--filter", self.filter.is_some()),
            ("--upstream", !self.upstream.is_empty()),
            ("--tls-cert", tls.tls_cert.is_some()),
            ("--server-tls-cert", link.server_tls_cert.is_some()),
            ("--server-plaintext", link.server_plaintext),
        ];
        flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect()
    }

    pub(super) fn wiring(self, target: Target, out: &Path) -> Result<Wiring, String> {
        let mut problems = Vec::new();
        let mut upstreams = BTreeMap::new();
        for (service, upstream) in self.upstream {
            if upstreams.insert(service.clone(), upstream).is_some() {
                problems.push(format!("`--upstream` names the service `{service}` twice, expected once"));
            }
        }
        if self.server.is_none() {
            problems.push("`--server` is missing: where the proxy finds the authorization server".to_owned());
        }
        if self.filter.is_none() {
            problems.push("`--filter` is missing: where the proxy finds the filter module".to_owned());
        }
        match (self.server, self.filter) {
            (Some(address), Some(filter)) if problems.is_empty() => Ok(Wiring {
                target,
                listen: self.listen.unwrap_or(LISTEN),
                listener_tls: self.listener_tls.mutual()?,
                envoy_admin: self.envoy_admin.unwrap_or(ENVOY_ADMIN),
                node_id: self.node_id.unwrap_or_else(|| NODE_ID.to_owned()),
                server: Server { address, link: self.server_link.link()? },
                filter: absolute(&filter)?,
                upstreams,
                out: absolute(out)?,
            }),
            _ => Err(join(&problems)),
        }
    }
}

impl ListenerTls {
    /// All three or none: clap has seen to that.
    fn mutual(self) -> Result<Option<MutualTls>, String> {
        match (self.tls_cert, self.tls_key, self.client_ca) {
            (Some(certificate), Some(key), Some(peer_ca)) => mutual_tls(certificate, key, peer_ca).map(Some),
            _ => Ok(None),
        }
    }
}

impl ServerLinkArgs {
    fn link(self) -> Result<ServerLink, String> {
        let ServerLinkArgs { server_tls_cert, server_tls_key, server_ca, server_name, server_plaintext } =
            self;
        match (server_tls_cert, server_tls_key, server_ca, server_name) {
            (Some(certificate), Some(key), Some(peer_ca), Some(server_name)) => {
                Ok(ServerLink::Mutual { tls: mutual_tls(certificate, key, peer_ca)?, server_name })
            }
            // Without all four it is plaintext, which is refused unless it is local or was asked for.
            _ if server_plaintext => Ok(ServerLink::Plaintext),
            _ => Ok(ServerLink::Local),
        }
    }
}

fn mutual_tls(certificate: PathBuf, key: PathBuf, peer_ca: PathBuf) -> Result<MutualTls, String> {
    Ok(MutualTls { certificate: absolute(&certificate)?, key: absolute(&key)?, peer_ca: absolute(&peer_ca)? })
}

/// The proxy may be started elsewhere than this command.
fn absolute(path: &Path) -> Result<PathBuf, String> {
    path::absolute(path).map_err(|error| format!("`{}` is not a path: {error}", path.display()))
}

fn parse_upstream(text: &str) -> Result<(String, Upstream), String> {
    let (service, upstream) = text.split_once('=').ok_or("expected SERVICE=ADDR")?;
    let upstream = upstream.parse().map_err(|error: crate::build::AddressError| error.to_string())?;
    Ok((service.to_owned(), upstream))
}
