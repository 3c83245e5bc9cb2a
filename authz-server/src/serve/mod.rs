//! The ext_authz server: opens bundle, state and ledger, listens, and drains.
//!
//! INVARIANT: ready only when bundle, secrets, keys and the ledger's tail were verified; no miswired sidecar undoes it.

mod account;
mod candidate;
mod connection;
pub(crate) mod counted;
mod door;
mod earning;
pub(crate) mod faults;
mod lanes;
mod listen;
pub mod load;
mod policies;
mod protocol;
pub(crate) mod seldom;
pub mod service;
mod undecided;

pub(crate) use candidate::CandidateMetrics;
pub(crate) use door::ConnectionMetrics;
pub use listen::{ListenAddress, Peers, ServerTls};
pub(crate) use policies::PolicyMetrics;

use crate::admin;
use crate::audit::{Indexer, OutcomeWatch};
use crate::bundle::Bundle;
use crate::check::{self, Candidate, Decider};
use crate::envoy::CheckServer;
use crate::identity::{ClientCredentials, Tokens};
use crate::ledger::{Admin, AdminEvent, Entry, Ledger, Recovery};
use crate::reload::{self, Inputs, IssuerKeys, Prepared, Sources, Status, Trigger};
use crate::reports::Reports;
use crate::state::{LEDGER_DIRECTORY, State};
use crate::telemetry::Metrics;
use crate::telemetry::traces::Traces;
use door::Door;
use lanes::{Lane, Phase};
use service::{Service, now_ms};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long the first fetch of issuers' keys may keep a server from serving.
const KEYS_AWAITED: Duration = Duration::from_secs(5);

/// How long calls under way may take to end after the signal to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// How long a reload that is under way may take to end.
const RELOAD_ENDS: Duration = Duration::from_secs(5);

/// What a server needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    pub bundle: PathBuf,
    /// A bundle that is evaluated beside it and has no part in any answer.
    pub candidate: Option<PathBuf>,
    pub listen: ListenAddress,
    pub peers: Peers,
    pub admin: SocketAddr,
    pub state: PathBuf,
    pub handoff_secrets: PathBuf,
    pub api_keys: Option<PathBuf>,
    /// Where keys of issuers are, instead of where the bundle says.
    pub issuer_keys: BTreeMap<String, IssuerKeys>,
    /// Files with what the server proves itself by to those that it asks about opaque tokens.
    pub introspection_secrets: BTreeMap<String, PathBuf>,
    /// How long the end of a call is waited for before it counts as lost.
    pub outcome_grace: Duration,
    /// Threads that answer, each with a runtime of its own.
    pub threads: NonZeroUsize,
    /// Where traces are sent by OTLP over gRPC, `http://HOST:PORT`.
    pub otlp_endpoint: Option<String>,
}

/// Everything that can keep a server from starting, as a text for the operator.
#[derive(Debug)]
pub struct ServeError(String);

impl std::fmt::Display for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServeError {}

fn fail(error: impl std::fmt::Display) -> ServeError {
    ServeError(error.to_string())
}

/// Where a server that is up can be reached.
#[derive(Debug, Clone)]
pub struct Serving {
    pub listen: String,
    pub admin: SocketAddr,
    pub epoch: String,
    pub bundle: String,
}

/// Serves until `stop` resolves. `up` is called once, when calls are accepted.
pub async fn serve(
    settings: Settings,
    stop: impl Future<Output = ()> + Send + 'static,
    up: impl FnOnce(&Serving),
) -> Result<(), ServeError> {
    // Taken before anything else, because without it the signal would end us.
    let hangups = signal(SignalKind::hangup()).map_err(fail)?;
    let Opened { service, recovery, state, sources, reloads, candidate } = open(&settings)?;
    let service = Arc::new(service);
    let decider = service.decider();
    decider.tell_what_is_lost();
    if let Some(tokens) = &decider.identity.tokens {
        tokio::spawn(Tokens::keep_fresh(Arc::downgrade(tokens)));
        // Whoever does not answer now may later: their tokens are refused until then, and nobody else's.
        if !tokens.ready(KEYS_AWAITED).await {
            tracing::warn!("keys of some issuers could not be fetched: their tokens are refused until then");
        }
        decider.tell_whom_it_believes(now_ms());
    }
    drop(decider);
    let incoming = listen::bind(&settings.listen, &settings.peers).await.map_err(fail)?;
    let (health_reporter, health) = tonic_health::server::health_reporter();
    let admin_listener = tokio::net::TcpListener::bind(settings.admin).await.map_err(|error| {
        fail(format!("cannot listen on `{}` for administration: {error}", settings.admin))
    })?;
    let admin_address = admin_listener.local_addr().map_err(fail)?;
    // Dropped when serving ends, however it ends, and before the ledger is closed.
    let metrics = service.metrics().clone();
    let indexer = Indexer::start(&settings.state, service.ledger(), move |done| metrics.indexed(done));
    let metrics = service.metrics().clone();
    let outcome_watch =
        OutcomeWatch::start(&settings.state, service.ledger(), metrics, settings.outcome_grace);
    let readiness = admin::Readiness::default();
    let admin_task = tokio::spawn(admin::serve(admin_listener, service.clone(), readiness.clone()));
    if recovery.truncated_bytes > 0 {
        let detail =
            format!("{} bytes of a write that was never acknowledged were cut off", recovery.truncated_bytes);
        record(&service, AdminEvent::LedgerRecovered, detail).await?;
    }
    if let Some(key) = &recovery.key_created {
        record(&service, AdminEvent::KeyCreated, format!("checkpoints are signed by {}", key.verifier))
            .await?;
    }
    if let Some(key) = &state.digest_key_created {
        record(&service, AdminEvent::KeyCreated, key.detail()).await?;
    }
    record(
        &service,
        AdminEvent::Start,
        format!("epoch {}, bundle {}", service.decider().epoch, service.decider().bundle.digest),
    )
    .await?;
    if let Some((event, detail)) = candidate {
        record(&service, event, detail).await?;
    }
    let reports = Reports::start(service.clone(), &settings.state);
    health_reporter.set_serving::<CheckServer>().await;
    let tls = settings.peers.tls().map_err(fail)?;
    let (phase, phases) = watch::channel(Phase::Serving);
    let door = Arc::new(Door::new(service.metrics().connections.clone()));
    let mut lanes = Vec::with_capacity(settings.threads.get());
    for number in 0..settings.threads.get() {
        let server = protocol::server(tls.clone()).map_err(fail)?;
        let (service, reports, peers) = (service.clone(), reports.clone(), settings.peers.clone());
        let health = health.clone();
        let router = move |load| protocol::router(server, health, (service, reports), peers, load);
        lanes.push(Lane::start(number, incoming.transport(), phases.clone(), router).map_err(fail)?);
    }
    readiness.set_ready(true);
    let reloads = reloads.start(sources, service.clone(), state).map_err(fail)?;
    let hangup_task = tokio::spawn(reload_at(hangups, service.clone()));
    let serving = Serving {
        listen: incoming.address().to_owned(),
        admin: admin_address,
        epoch: service.decider().epoch.to_string(),
        bundle: service.decider().bundle.digest.to_string(),
    };
    tracing::info!(listen = serving.listen, admin = %serving.admin, epoch = serving.epoch, bundle = serving.bundle, "serving");
    up(&serving);
    let storms_task = tokio::spawn(crate::storm::watch(Arc::downgrade(&service)));
    let tallies_task = {
        let service = service.clone();
        tokio::spawn(async move { service.enter_tallies_regularly().await })
    };
    tokio::select! {
        () = lanes::accept(incoming, &lanes, phases, &door) => {}
        () = stop => {}
    }
    tracing::info!("draining");
    readiness.set_ready(false);
    health_reporter.set_not_serving::<CheckServer>().await;
    let ended = drain(lanes, &phase).await;
    tallies_task.abort();
    storms_task.abort();
    hangup_task.abort();
    reloads.stop(RELOAD_ENDS).await;
    admin_task.abort();
    drop((outcome_watch, indexer));
    stop_recording(service).await?;
    ended.map_err(fail)
}

/// Lets calls that are under way end, and then everything else.
async fn drain(lanes: Vec<Lane>, phase: &watch::Sender<Phase>) -> Result<(), String> {
    phase.send_replace(Phase::Draining);
    let mut ended = std::pin::pin!(futures_util::future::join_all(lanes.into_iter().map(Lane::ended)));
    let results = match tokio::time::timeout(DRAIN, &mut ended).await {
        Ok(results) => results,
        Err(_late) => {
            // Access log streams never end by themselves, so that a drain needs a bound.
            tracing::warn!("calls were still under way at the end of the drain");
            phase.send_replace(Phase::Over);
            ended.await
        }
    };
    results.into_iter().collect()
}

/// A server that could serve, and does not yet.
struct Opened {
    service: Service,
    recovery: Recovery,
    state: State,
    sources: Sources,
    reloads: Prepared,
    /// What the ledger is told of the candidate, if there is one.
    candidate: Option<(AdminEvent, String)>,
}

fn open(settings: &Settings) -> Result<Opened, ServeError> {
    let inputs = Inputs {
        bundle: settings.bundle.clone(),
        candidate: settings.candidate.clone(),
        handoff_secrets: settings.handoff_secrets.clone(),
        api_keys: settings.api_keys.clone(),
        issuer_keys: settings.issuer_keys.clone(),
    };
    let mut begun = reload::begin(inputs).map_err(fail)?;
    begun.given.introspection =
        introspection(&settings.introspection_secrets, &begun.bundle).map_err(fail)?;
    let (ledger, recovery) = Ledger::open(&settings.state.join(LEDGER_DIRECTORY)).map_err(fail)?;
    let started_ms = now_ms();
    let state = State::open(&settings.state, &begun.snapshot, started_ms).map_err(fail)?;
    tracing::info!(
        entries = recovery.entries,
        truncated_bytes = recovery.truncated_bytes,
        "the ledger is open"
    );
    if let Some(key) = &recovery.key_created {
        tracing::warn!(
            private = %key.path.display(),
            public = key.verifier,
            "a key was made that signs the ledger: keep the private one on this machine alone, and copy the public one to \
             where the ledger will be verified"
        );
    }
    if let Some(key) = &state.digest_key_created {
        tracing::warn!(path = %key.path.display(), "a key was made for digests in the ledger: {}", key.detail());
    }
    let mut seed = [0; 16];
    getrandom::fill(&mut seed).map_err(|error| fail(format!("the system gives no randomness: {error}")))?;
    let reloads = reload::prepare().map_err(|error| fail(format!("files cannot be watched: {error}")))?;
    let metrics = Metrics::of(ledger.clone());
    begun.keep_candidate(&state);
    let started = begun.attempt(started_ms, &state);
    let candidate_told = begun.tell_candidate(&started);
    metrics.reloads.attempted(&started);
    metrics.reloads.in_force(begun.bundle.digest, started_ms);
    metrics.reloads.evaluated(started.candidate);
    let identity = check::sources(&begun.bundle, &begun.given, None).map_err(fail)?;
    let beside = begun
        .candidate
        .map(|(candidate, _)| Candidate::beside(&begun.bundle, candidate.into(), (&begun.given, &identity)));
    let decider = Decider {
        bundle: begun.bundle.into(),
        secrets: begun.secrets,
        identity,
        given: begun.given,
        epoch: state.epoch.clone(),
        previous: state.previous.clone(),
        digests: state.digests.clone(),
        candidate: beside.map(Arc::new),
    };
    let link = (reloads.orders(), Status::begin(started));
    let metrics = Arc::new(metrics);
    let traces = match &settings.otlp_endpoint {
        None => Traces::default(),
        Some(endpoint) => Traces::start(endpoint, &decider.epoch.server, metrics.clone()).map_err(fail)?,
    };
    let service = Service::new(decider, link, ledger, (metrics, traces), seed);
    Ok(Opened { service, recovery, state, sources: begun.sources, reloads, candidate: candidate_told })
}

/// Who we are to those that are asked about tokens. Read once: to change a secret is to start anew.
fn introspection(
    files: &BTreeMap<String, PathBuf>,
    bundle: &Bundle,
) -> Result<BTreeMap<String, ClientCredentials>, String> {
    let known =
        |name: &str| bundle.palisade.identity.introspection.0.iter().any(|(known, _)| known.text == name);
    let read = |(name, file): (&String, &PathBuf)| {
        if !known(name) {
            return Err(format!("`--introspection-secret {name}`: the bundle asks nobody of that name"));
        }
        Ok((name.clone(), ClientCredentials::read(file)?))
    };
    files.iter().map(read).collect()
}

/// SIGHUP is the customary way to have files read anew.
async fn reload_at(mut hangups: tokio::signal::unix::Signal, service: Arc<Service>) {
    while hangups.recv().await.is_some() {
        if service.orders().reload_soon(Trigger::Signal).is_err() {
            tracing::warn!("too many reloads are waiting: a signal was ignored");
        }
    }
}

async fn record(service: &Service, event: AdminEvent, detail: String) -> Result<(), ServeError> {
    let entry = Entry::Admin(Admin { at_ms: now_ms(), event, detail });
    service.ledger().append(&entry).await.map(drop).map_err(fail)
}

async fn stop_recording(service: Arc<Service>) -> Result<(), ServeError> {
    service.enter_tallies().await;
    record(&service, AdminEvent::Stop, format!("epoch {}", service.decider().epoch)).await?;
    tracing::info!("stopped");
    service.ledger().clone().close().await.map_err(fail)
}

/// A service on this state that nobody serves, for tests of what becomes of calls.
#[cfg(test)]
pub(crate) fn service_of(settings: &Settings) -> Service {
    open(settings).unwrap_or_else(|error| panic!("{error}")).service
}

#[cfg(test)]
mod tests {
    use super::{ListenAddress, Peers, Settings, open};
    use std::net::{Ipv4Addr, SocketAddr};
    use std::path::Path;

    #[test]
    fn a_server_that_may_not_start_leaves_the_state_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let secrets = directory.path().join("secrets");
        std::fs::write(&secrets, "01".repeat(32)).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let start = |bundle: &str| {
            open(&Settings {
                bundle: Path::new(env!("CARGO_MANIFEST_DIR")).join(bundle),
                candidate: None,
                listen: ListenAddress::Tcp(any),
                peers: Peers::Local,
                admin: any,
                state: directory.path().join("state"),
                handoff_secrets: secrets.clone(),
                api_keys: None,
                issuer_keys: std::collections::BTreeMap::new(),
                introspection_secrets: std::collections::BTreeMap::new(),
                outcome_grace: crate::audit::OUTCOME_GRACE,
                threads: std::num::NonZeroUsize::MIN,
                otlp_endpoint: None,
            })
        };
        let epoch = || std::fs::read_to_string(directory.path().join("state/epoch.json")).unwrap();
        let _running = start("../policies").unwrap_or_else(|error| panic!("{error}"));
        let before = epoch();
        assert!(start("../tests/bundles/second").is_err(), "the ledger is locked");
        assert_eq!(epoch(), before);
    }
}
