//! `palisade dev`, the tokens of its run, and the hidden command under which its children are tied to it.

mod token;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use crate::dev::drill::Without;
use crate::dev::{self, Options, tied};

/// Run the whole proxy on this machine: services, server and Envoy, as in production.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// The bundle to run [default: `policies` here, else the demo's]
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,

    /// Where the proxy listens; port 0 is a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10000")]
    listen: SocketAddr,

    /// Put Palisade in front of a service that runs already; ADDR is HOST:PORT, a port on this machine or unix:PATH,
    /// with `h2c://` before it where the service speaks HTTP/2 without TLS
    #[arg(long, value_name = "SERVICE=ADDR", value_parser = parse_upstream)]
    upstream: Vec<(String, String)>,

    /// The shape of Envoy's configuration: our own, or the one that Istio would give
    #[arg(long, value_enum, default_value_t = Target::Envoy)]
    target: Target,

    /// Keep the ledger and everything else of this run here [default: a directory that is removed at the end]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Make the example requests, compare the replies, and end
    #[arg(long)]
    tour: bool,

    /// Print one JSON object a line instead of text
    #[arg(long)]
    json: bool,

    /// The filter module [default: `PALISADE_FILTER`, else built from the checkout]
    #[arg(long, value_name = "PATH")]
    filter: Option<PathBuf>,

    /// The Envoy binary, 1.39.0 or newer [default: `PALISADE_ENVOY`, else the search path, else downloaded]
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,

    /// A drill: leave out one part and see what `dev` says
    #[arg(long, value_enum, value_name = "PART")]
    drill_without: Option<Without>,
}

/// What concerns a run that is under way.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Token(token::Args),
}

/// What the generated configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    Envoy,
    Istio,
}

impl Target {
    /// What `palisade build` calls it: one Envoy stands for all sidecars here.
    fn built_as(self) -> &'static str {
        match self {
            Target::Envoy => "envoy",
            Target::Istio => "sidecar",
        }
    }
}

pub fn run(args: Args) -> ExitCode {
    if let Some(Command::Token(args)) = args.command {
        return token::run(args);
    }
    let mut upstreams = BTreeMap::new();
    for (service, address) in args.upstream {
        if upstreams.insert(service.clone(), address).is_some() {
            eprintln!("palisade dev: `--upstream` names the service `{service}` twice, expected once");
            return ExitCode::FAILURE;
        }
    }
    dev::run(&Options {
        bundle: args.bundle,
        listen: args.listen,
        upstreams,
        target: args.target.built_as(),
        state: args.state,
        tour: args.tour,
        json: args.json,
        filter: args.filter,
        envoy: args.envoy,
        without: args.drill_without,
    })
}

/// Become a program that ends when its parent does.
#[derive(Debug, clap::Args)]
pub struct ExecTiedArgs {
    /// The process whose end is the program's end
    #[arg(long, value_name = "PID")]
    parent: u32,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

/// Returns only if the program could not be started.
pub fn run_exec_tied(args: &ExecTiedArgs) -> ExitCode {
    if let Some((program, arguments)) = args.command.split_first() {
        eprintln!("palisade exec-tied: {}", tied::exec(args.parent, program, arguments));
    }
    ExitCode::FAILURE
}

/// Reads what `palisade build` takes and, for those who develop, a port alone; a name is looked up here and now.
fn parse_upstream(text: &str) -> Result<(String, String), String> {
    let expected =
        "expected SERVICE=HOST:PORT, SERVICE=PORT or SERVICE=unix:PATH, with `h2c://` before it for HTTP/2";
    let (service, address) = text.split_once('=').ok_or(expected)?;
    if service.is_empty() || address.is_empty() {
        return Err(expected.to_owned());
    }
    let (protocol, address) = match address.strip_prefix("h2c://") {
        Some(address) => ("h2c://", address),
        None => ("", address),
    };
    let address = if address.starts_with("unix:") {
        address.to_owned()
    } else if let Ok(port) = address.parse::<u16>() {
        format!("127.0.0.1:{port}")
    } else {
        let mut found = address.to_socket_addrs().map_err(|error| format!("{error}; {expected}"))?;
        found.next().ok_or_else(|| format!("the host of `{address}` has no address"))?.to_string()
    };
    Ok((service.to_owned(), format!("{protocol}{address}")))
}

#[cfg(test)]
mod tests {
    use super::{Args, parse_upstream};
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn an_upstream_is_a_service_and_an_address() {
        let address =
            |text: &str| parse_upstream(text).map(|(service, address)| format!("{service} {address}"));
        assert_eq!(address("orders=127.0.0.1:3000").unwrap(), "orders 127.0.0.1:3000");
        assert_eq!(address("orders=3000").unwrap(), "orders 127.0.0.1:3000");
        assert_eq!(address("orders=[::1]:3000").unwrap(), "orders [::1]:3000");
        assert_eq!(address("orders=h2c://3000").unwrap(), "orders h2c://127.0.0.1:3000");
        assert_eq!(address("orders=unix:/run/orders").unwrap(), "orders unix:/run/orders");
        for wrong in ["orders", "=3000", "orders=", "orders=70000", "orders=127.0.0.1"] {
            assert!(address(wrong).unwrap_err().contains("expected SERVICE="), "{wrong}");
        }
    }

    #[test]
    fn flags_are_read_and_unknown_ones_are_refused() {
        let cli =
            Cli::try_parse_from(["dev", "--tour", "--drill-without", "gate", "--target", "istio"]).unwrap();
        assert!(cli.args.tour);
        assert!(Cli::try_parse_from(["dev", "--drill-without", "everything"]).is_err());
        assert!(Cli::try_parse_from(["dev", "--listen", "nowhere"]).is_err());
        assert!(Cli::try_parse_from(["dev", "token", "--subject", "alice"]).is_ok());
        assert!(Cli::try_parse_from(["dev", "--tour", "token", "--subject", "alice"]).is_err());
    }
}
