//! `palisade dev`: the whole arrangement on one machine, made of the same commands as in production.
//!
//! It provisions what is missing, generates the configuration with `palisade build`, runs `palisade serve` and
//! Envoy as children, proves with a canary that every part is at work, and only then says `ready`. From then on it
//! follows the bundle: what is saved comes into force in server and filter, or it is said what is wrong with it.
//!
//! INVARIANT: `ready` is said only after a good canary, and whatever way this ends, no process is left behind.

pub mod canary;
mod changes;
pub mod children;
pub mod command;
pub mod demo;
pub mod drill;
pub mod error;
mod follower;
pub mod generated;
mod generator;
pub mod home;
pub mod http;
pub mod issuers;
pub mod outline;
mod persons;
pub mod ports;
pub mod progress;
pub mod provision;
mod ready;
mod stage;
pub mod tail;
pub mod tied;
pub mod tour;
pub mod workspace;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

use serde_json::json;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use children::Family;
use drill::Without;
use error::DevError;
use home::{Credentials, Home};
use issuers::{Issuers, IssuersError};
use outline::Outline;
use progress::{Progress, Stop};
use ready::Ready;
use stage::Stage;
use tour::Scene;

use crate::serve::service::now_ms;

/// The exit code of a program that was interrupted, by the convention of shells.
const INTERRUPTED: u8 = 130;

/// What may wait to be shown; whoever tells more waits.
const NOTICES_WAITING: usize = 64;

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub struct Options {
    pub bundle: Option<PathBuf>,
    pub listen: SocketAddr,
    /// As `palisade build` takes them.
    pub upstreams: BTreeMap<String, String>,
    pub target: &'static str,
    pub state: Option<PathBuf>,
    pub tour: bool,
    pub json: bool,
    pub filter: Option<PathBuf>,
    pub envoy: Option<PathBuf>,
    pub without: Option<Without>,
}

/// Runs until it is told to end, the tour is over, or something fails.
pub fn run(options: &Options) -> ExitCode {
    let (raise, stop) = Stop::channel();
    let progress = if options.json { Progress::json() } else { Progress::human() };
    let mut progress = progress.with_stop(stop.clone());
    let runtime = match runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            progress.failed(&format!("the runtime could not be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // The future runs on this thread, which ends last: the children are tied to it.
    let outcome = runtime.block_on(async {
        listen_for_signals(raise)?;
        drive(options, &mut progress, &stop).await
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress.failed(&error.to_string());
            if error.is_stop() { ExitCode::from(INTERRUPTED) } else { ExitCode::FAILURE }
        }
    }
}

/// The first signal asks for an orderly end; the second ends at once, and the kernel ends the children.
fn listen_for_signals(raise: watch::Sender<bool>) -> Result<(), DevError> {
    let listen = |kind| signal(kind).map_err(DevError::io("signals cannot be received"));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if raise.send_replace(true) {
                process::exit(i32::from(INTERRUPTED));
            }
        }
    });
    Ok(())
}

async fn drive(options: &Options, progress: &mut Progress, stop: &Stop) -> Result<(), DevError> {
    let bundle = bundle_directory(options.bundle.as_deref())?;
    let outline = Outline::read(&bundle)?;
    if let Some(service) = options.upstreams.keys().find(|service| !outline.services.contains(*service)) {
        let services = outline.services.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(DevError::UnknownUpstream { service: service.clone(), services });
    }
    // Looked at before the long steps, so that nobody waits for a complaint about a port.
    ports::claim(options.listen)?;

    let filter = match &options.filter {
        Some(path) => provision::filter_at(path)?,
        None => provision::filter(progress)?,
    };
    let envoy = match &options.envoy {
        Some(path) => provision::envoy_at(progress, path)?,
        None => provision::envoy(progress)?,
    };

    let state = options.state.as_deref();
    let mut home = Home::create(state).map_err(DevError::io("the state directory cannot be set up"))?;
    let mut family = Family::default();
    let sources = Sources { bundle, outline, filter, envoy };
    let outcome = live(options, &sources, &home, &mut family, progress, stop).await;

    let step = progress.step("stop");
    family.stop().await;
    step.done("");
    if home.is_temporary() && outcome.as_ref().is_err_and(DevError::is_explained_by_logs) {
        home.keep();
        progress.note(&format!("logs and generated configuration are kept in `{}`", home.root().display()));
    }
    outcome
}

fn bundle_directory(given: Option<&Path>) -> Result<PathBuf, DevError> {
    let here = Path::new("policies");
    match given {
        Some(given) => Ok(given.to_path_buf()),
        None if here.join("palisade.yaml").is_file() => Ok(here.to_path_buf()),
        None => workspace::find().map(|root| root.join("policies")).ok_or(DevError::NoBundle),
    }
}

/// What the run is made of; settled before anything is started.
#[derive(Debug)]
struct Sources {
    bundle: PathBuf,
    outline: Outline,
    filter: PathBuf,
    envoy: PathBuf,
}

/// Starts everything, says `ready`, and stays until the end is asked for, the tour is over, or something fails.
async fn live(
    options: &Options,
    sources: &Sources,
    home: &Home,
    family: &mut Family,
    progress: &mut Progress,
    stop: &Stop,
) -> Result<(), DevError> {
    let credentials = Credentials::generate(home, &sources.outline.clients)
        .map_err(DevError::io("the run's credentials cannot be written"))?;
    let issuers = Issuers::generate(home, &sources.outline)?;
    // The services end when this, or what becomes of it, is dropped.
    let mut stage = Stage::set(options, sources, home, family, progress, stop).await?;
    stage.generate_configuration()?;
    let server_pid = stage.start_server(&issuers).await?;
    let envoy_pid = stage.start_envoy(&credentials.handoff_secret).await?;
    stage.prove_with_canary().await?;
    let addresses = stage.addresses().clone();

    let scenes = scenes(options, &sources.outline, &credentials, &issuers)?;
    let ready = Ready {
        home,
        addresses: &addresses,
        outline: &sources.outline,
        credentials: &credentials,
        issuers: &issuers,
        server_pid,
        envoy_pid,
        scenes: &scenes,
    };
    let follow = tail::from_here(&home.ledger());
    stage.progress().result(&ready.text(options.tour), &ready.object());

    let (family, progress, mut follower) = stage.into_parts(credentials.clone(), issuers)?;
    let (sender, mut notices) = mpsc::channel(NOTICES_WAITING);
    let follow_bundle = async {
        if options.tour {
            return std::future::pending().await;
        }
        follower.follow(&sender).await;
    };
    let go_on = async {
        if options.tour {
            return tour(&scenes, addresses.listen, progress).await;
        }
        let error = match follow {
            Ok(follow) => tail::show(follow, &mut notices, home.probe_id(), progress).await,
            Err(error) => error,
        };
        // The decisions go on, only the reading along does not.
        progress.note(&format!("decisions cannot be shown: {error}"));
        while let Some(notice) = notices.recv().await {
            progress.result(&notice.text, &notice.object);
        }
        std::future::pending().await
    };
    tokio::select! {
        outcome = go_on => outcome,
        () = follow_bundle => Ok(()),
        error = family.any_ended() => Err(error.into()),
        () = stop.wait() => if options.tour { Err(DevError::Stopped) } else { Ok(()) },
    }
}

/// The examples that hold for this bundle and these upstreams.
fn scenes(
    options: &Options,
    outline: &Outline,
    credentials: &Credentials,
    issuers: &Issuers,
) -> Result<Vec<Scene>, IssuersError> {
    let header = outline.token_header.as_deref();
    let persons = match header.map(|header| persons::scenes(header, issuers, now_ms() / 1000)) {
        Some(Ok(persons)) => persons,
        // A demo bundle that somebody has edited may read no groups of tokens any more.
        None | Some(Err(IssuersError::NotRead { .. })) => Vec::new(),
        Some(Err(error)) => return Err(error),
    };
    Ok(match &outline.api_key_header {
        Some(header) if outline.is_demo => tour::of_demo(header, &credentials.keys, persons, |service| {
            options.upstreams.contains_key(service)
        }),
        Some(_) | None => tour::of_any_bundle(),
    })
}

/// Plays every scene; an error counts those that went another way than expected.
async fn tour(scenes: &[Scene], listen: SocketAddr, progress: &mut Progress) -> Result<(), DevError> {
    let mut played = Vec::with_capacity(scenes.len());
    for scene in scenes {
        let scene = tour::play(scene, listen).await;
        if progress.is_json() {
            progress.result("", &scene.object());
        }
        played.push(scene);
    }
    let differences = played.iter().filter(|played| !played.is_as_expected()).count();
    let text = format!(
        "\n{}\n{} of {} as expected\n",
        tour::table(&played),
        played.len() - differences,
        played.len()
    );
    progress
        .result(&text, &json!({"event": "tour_result", "scenes": played.len(), "differences": differences}));
    match differences {
        0 => Ok(()),
        differences => Err(DevError::Differences(differences)),
    }
}
