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
        Ok(Wiring {
            target: match self.target {
                TargetName::Envoy => Target::Envoy,
                TargetName::Istio => Target::Istio,
            },
            listen: self.listen,
            listener_tls: self.listener_tls.mutual()?,
            envoy_admin: self.envoy_admin,
            node_id: self.node_id,
            server: Server { address: self.server, link: self.server_link.link()? },
            filter: absolute(self.filter)?,
            upstreams,
            out: absolute(self.out)?,
        })
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
    Ok(MutualTls { certificate: absolute(certificate)?, key: absolute(key)?, peer_ca: absolute(peer_ca)? })
}

/// The proxy may be started elsewhere than this command.
fn absolute(path: PathBuf) -> Result<PathBuf, String> {
    path::absolute(&path).map_err(|error| format!("`{}` is not a path: {error}", path.display()))
}

fn parse_upstream(text: &str) -> Result<(String, Upstream), String> {
    let (service, upstream) = text.split_once('=').ok_or("expected SERVICE=ADDR")?;
    let upstream = upstream.parse().map_err(|error: crate::build::AddressError| error.to_string())?;
    Ok((service.to_owned(), upstream))
}

#[cfg(test)]
mod tests {
    use super::Args;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(more: &[&str]) -> Result<Args, String> {
        let fixed =
            ["build", "policies", "--target", "envoy", "--out", "o", "--server", "[::1]:9", "--filter", "f"];
        let arguments = fixed.iter().chain(more);
        Cli::try_parse_from(arguments).map(|cli| cli.args).map_err(|error| error.to_string())
    }

    #[test]
    fn half_of_tls_is_refused() {
        for more in [
            &["--tls-cert", "c"][..],
            &["--tls-key", "k", "--client-ca", "a"],
            &["--server-name", "authz"],
            &["--server-tls-cert", "c", "--server-tls-key", "k", "--server-ca", "a"],
        ] {
            assert!(parse(more).is_err(), "{more:?}");
        }
        let whole = parse(&["--tls-cert", "c", "--tls-key", "k", "--client-ca", "a"]).unwrap();
        assert!(whole.wiring().unwrap().listener_tls.unwrap().key.is_absolute());
    }

    #[test]
    fn a_service_has_one_upstream() {
        let twice =
            parse(&["--upstream", "orders=127.0.0.1:1", "--upstream", "orders=h2c://127.0.0.1:2"]).unwrap();
        assert_eq!(
            twice.wiring().unwrap_err(),
            "`--upstream` names the service `orders` twice, expected once"
        );
        assert!(parse(&["--upstream", "orders"]).is_err());
        assert!(parse(&["--upstream", "orders=nowhere"]).is_err());
    }
}
