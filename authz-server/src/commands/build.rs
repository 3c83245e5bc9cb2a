//! `palisade build`: writes what Envoy reads.

use crate::build::{Address, MutualTls, Rendered, Server, ServerLink, Target, Upstream, Wiring, render};
use crate::bundle::Bundle;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{self, PathBuf};
use std::process::ExitCode;

/// Write the configuration of a proxy, from a bundle and where things are.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bundle's directory
    #[arg(value_name = "DIR")]
    bundle: PathBuf,

    /// For an Envoy of its own, or the shape that Istio gives to a sidecar
    #[arg(long, value_enum)]
    target: TargetName,

    /// Where to write; made if it is not there
    #[arg(long, value_name = "OUT")]
    out: PathBuf,

    /// Where callers come in
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10000")]
    listen: SocketAddr,

    /// Envoy's admin interface; loopback only
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9901")]
    envoy_admin: SocketAddr,

    /// Names this proxy to the server
    #[arg(long, value_name = "NAME", default_value = "palisade")]
    node_id: String,

    /// The authorization server: HOST:PORT, or unix:PATH
    #[arg(long, value_name = "ADDR")]
    server: Address,

    /// The filter module, as the proxy finds it
    #[arg(long, value_name = "PATH")]
    filter: PathBuf,

    /// A service's address, HOST:PORT or unix:PATH; with `h2c://` before it where it speaks HTTP/2 without TLS
    #[arg(long, value_name = "SERVICE=ADDR", value_parser = parse_upstream)]
    upstream: Vec<(String, Upstream)>,

    #[command(flatten)]
    listener_tls: ListenerTls,

    #[command(flatten)]
    server_link: ServerLinkArgs,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum TargetName {
    Envoy,
    Istio,
}

pub fn run(args: Args) -> ExitCode {
    let as_json = args.json;
    match build(args) {
        Ok((rendered, written)) => {
            report(&rendered, &written, as_json);
            ExitCode::SUCCESS
        }
        Err(message) if as_json => {
            println!("{}", json!({ "error": message }));
            ExitCode::FAILURE
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn build(args: Args) -> Result<(Rendered, Vec<PathBuf>), String> {
    let bundle = Bundle::load(&args.bundle).map_err(|problems| problems.to_string())?;
    let wiring = args.wiring()?;
    let rendered = render(&bundle, &wiring).map_err(|error| error.to_string())?;
    let written = rendered.write(&wiring.out).map_err(|error| error.to_string())?;
    Ok((rendered, written))
}

fn report(rendered: &Rendered, written: &[PathBuf], as_json: bool) {
    let digest = rendered.digest.to_string();
    if as_json {
        let files: Vec<_> = written.iter().map(|path| path.display().to_string()).collect();
        println!("{}", json!({ "bundle": digest, "files": files }));
        return;
    }
    println!("bundle {digest}");
    for path in written {
        println!("wrote {}", path.display());
    }
}

impl Args {
    fn wiring(self) -> Result<Wiring, String> {
        let mut upstreams = BTreeMap::new();
        for (service, upstream) in self.upstream {
            if upstreams.insert(service.clone(), upstream).is_some() {
                return Err(format!("`--upstream` names the service `{service}` twice, expected once"));
            }
        }
        let absolute = |path: PathBuf| {
            path::absolute(&path).map_err(|error| format!("`{}` is not a path: {error}", path.display()))
        };
        Ok(Wiring {
            target: match self.target {
                TargetName::Envoy => Target::Envoy,
                TargetName::Istio => Target::Istio,
            },
            listen: self.listen,
            listener_tls: self.listener_tls.mutual(),
            envoy_admin: self.envoy_admin,
            node_id: self.node_id,
            server: Server { address: self.server, link: self.server_link.link() },
            filter: absolute(self.filter)?,
            upstreams,
            out: absolute(self.out)?,
        })
    }
}

impl ListenerTls {
    /// All three or none: clap has seen to that.
    fn mutual(self) -> Option<MutualTls> {
        Some(MutualTls { certificate: self.tls_cert?, key: self.tls_key?, peer_ca: self.client_ca? })
    }
}

impl ServerLinkArgs {
    fn link(self) -> ServerLink {
        let ServerLinkArgs { server_tls_cert, server_tls_key, server_ca, server_name, server_plaintext } =
            self;
        match (server_tls_cert, server_tls_key, server_ca, server_name) {
            (Some(certificate), Some(key), Some(peer_ca), Some(server_name)) => {
                ServerLink::Mutual { tls: MutualTls { certificate, key, peer_ca }, server_name }
            }
            // Without all four it is plaintext, which is refused unless it is local or was asked for.
            _ if server_plaintext => ServerLink::Plaintext,
            _ => ServerLink::Local,
        }
    }
}

fn parse_upstream(text: &str) -> Result<(String, Upstream), String> {
    let (service, upstream) = text.split_once('=').ok_or("expected SERVICE=ADDR")?;
    let upstream = upstream.parse().map_err(|error: crate::build::AddressError| error.to_string())?;
    Ok((service.to_owned(), upstream))
}
