//! `palisade serve`.

use super::failed;
use crate::audit::OUTCOME_GRACE;
use crate::identity::{Endpoint, KeysUrl, MAX_AGE_S_DEFAULT, REFRESH_S_DEFAULT, SpiffeId};
use crate::reload::IssuerKeys;
use crate::serve::{self, ListenAddress, Peers, ServerTls, Settings};
use crate::telemetry::{self, LogFormat};
use rustix::process::Signal;
use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bundle's directory
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    /// A second bundle: evaluated beside the first, without any part in an answer; `palisade shadow report` tells where it
    /// differs
    #[arg(long, value_name = "DIR")]
    candidate: Option<PathBuf>,
    /// Where Envoy finds the server: `ADDRESS:PORT`, or `unix:/PATH`
    #[arg(long, value_name = "ADDR")]
    listen: ListenAddress,
    /// Where liveness, readiness, metrics and the bundle's digest are told, in plain HTTP
    #[arg(long, value_name = "ADDR")]
    admin: SocketAddr,
    /// Where the server keeps its epoch and the ledger
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// One or two lines of 64 hexadecimal digits: the secret shared with the filters, and the one before
    #[arg(long, value_name = "FILE")]
    handoff_secret_file: PathBuf,
    /// The issued API keys, as hashes
    #[arg(long, value_name = "FILE")]
    api_keys: Option<PathBuf>,
    /// Where the keys of an issuer are, instead of where the bundle says: a file, which is watched, or a URL; may be given
    /// many times
    #[arg(long, value_name = "NAME=FILE_OR_URL", value_parser = issuer_keys)]
    issuer_keys: Vec<(String, IssuerKeys)>,
    /// What the server proves itself by to those that it asks about opaque tokens: a file of two lines, id and secret
    #[arg(long, value_name = "NAME=FILE", value_parser = introspection_secret)]
    introspection_secret: Vec<(String, PathBuf)>,
    /// The server's certificate chain; with it, callers need one too
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "client_ca", "peer"])]
    tls_cert: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Who issues the callers' certificates
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
    /// A SPIFFE id that may call; may be given many times
    #[arg(long, value_name = "SPIFFE_ID", requires = "tls_cert")]
    peer: Vec<String>,
    /// Accept plaintext on an address that is not loopback: whoever reaches it can ask for decisions, read what callers
    /// send, and forge the workload that a call is from
    #[arg(long, conflicts_with = "tls_cert")]
    plaintext_for_anyone_on_this_network: bool,
    /// Threads that answer calls, each on its own. Absent: one for each processor that this process may use
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Send OpenTelemetry traces to this collector by OTLP over gRPC, `http://HOST:PORT`; only of callers that are traced
    #[arg(long, value_name = "URL", value_parser = otlp_endpoint)]
    otlp_endpoint: Option<String>,
    #[arg(long, value_enum, default_value_t = LogFormat::Pretty)]
    log_format: LogFormat,
    /// How long the end of a call is waited for before it counts as lost. Shorter than what a call may take it makes gaps of
    /// calls that still run, so that it is for tests alone.
    #[arg(long, value_name = "MS", hide = true, default_value_t = OUTCOME_GRACE.as_millis() as u64)]
    outcome_grace_ms: u64,
}

pub fn run(args: Args) -> ExitCode {
    telemetry::start_logging(args.log_format);
    let settings = match settings(args) {
        Ok(settings) => settings,
        Err(error) => return failed("serve", &error),
    };
    // Calls are answered by threads of their own. What is left for this one, reloads and administration, is seldom; two
    // threads, so that no probe waits behind a reload that computes.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed("serve", &error),
    };
    match runtime.block_on(serve_until_signal(settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("serve", &error),
    }
}

async fn serve_until_signal(settings: Settings) -> Result<(), serve::ServeError> {
    let stop = async {
        let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            // Without signals there is no graceful end; the server still serves.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    // A limit on the size of files is then an error of the write, which refuses calls and says why, and not a death.
    let _past_the_size_limit = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
    let up = |serving: &serve::Serving| {
        let line = serde_json::json!({
            "event": "serving",
            "listen": serving.listen,
            "admin": serving.admin.to_string(),
            "epoch": serving.epoch,
            "bundle": serving.bundle,
        });
        // Whoever started us may not read it.
        let _told = writeln!(std::io::stdout(), "{line}");
    };
    serve::serve(settings, stop, up).await
}

fn settings(args: Args) -> Result<Settings, String> {
    let peers = match (args.tls_cert, args.tls_key, args.client_ca) {
        (Some(certificate), Some(key), Some(client_ca)) => {
            if matches!(args.listen, ListenAddress::Unix(_)) {
                return Err("a Unix socket has no certificates: leave `--tls-cert` out".to_owned());
            }
            Peers::Listed { tls: ServerTls { certificate, key, client_ca }, ids: peer_ids(&args.peer)? }
        }
        _ if args.plaintext_for_anyone_on_this_network => Peers::AnyoneOnThisNetwork,
        _ => Peers::Local,
    };
    Ok(Settings {
        bundle: args.bundle,
        candidate: args.candidate,
        listen: args.listen,
        peers,
        admin: args.admin,
        state: args.state,
        handoff_secrets: args.handoff_secret_file,
        api_keys: args.api_keys,
        issuer_keys: args.issuer_keys.into_iter().collect(),
        introspection_secrets: args.introspection_secret.into_iter().collect(),
        outcome_grace: Duration::from_millis(args.outcome_grace_ms),
        threads: args.threads.or_else(|| available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN),
        otlp_endpoint: args.otlp_endpoint,
    })
}

fn otlp_endpoint(text: &str) -> Result<String, String> {
    let is_plain = text.strip_prefix("http://").is_some_and(|rest| !rest.is_empty());
    is_plain.then(|| text.to_owned()).ok_or_else(|| {
        "expected `http://HOST:PORT`; a collector elsewhere is reached through one on this machine".to_owned()
    })
}

fn introspection_secret(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("expected `NAME=FILE`")?;
    Ok((name.to_owned(), file.into()))
}

fn issuer_keys(text: &str) -> Result<(String, IssuerKeys), String> {
    let (name, place) = text.split_once('=').ok_or("expected `NAME=FILE` or `NAME=URL`")?;
    let keys = if place.starts_with("http://") || place.starts_with("https://") {
        Endpoint::parse(place).map_err(|error| format!("`{place}` cannot be asked: {error}"))?;
        let (refresh_s, max_age_s) = (REFRESH_S_DEFAULT, MAX_AGE_S_DEFAULT);
        IssuerKeys::Url(KeysUrl { url: place.to_owned(), refresh_s, max_age_s, ca: None })
    } else {
        IssuerKeys::File(place.into())
    };
    Ok((name.to_owned(), keys))
}

/// Peers of the server stand on the command line, each with its own trust domain.
fn peer_ids(texts: &[String]) -> Result<Vec<SpiffeId>, String> {
    let parse = |text: &String| {
        let domain =
            text.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
        SpiffeId::parse(text, &[domain.to_owned()]).map_err(|error| format!("`--peer {text}`: {error}"))
    };
    texts.iter().map(parse).collect()
}
