//! The threads that answer: each has a runtime of its own, and what it accepted it answers to the end.
//!
//! One acceptor gives each new connection to the lane with the fewest. A proxy holds one HTTP/2 connection for each of its
//! threads, for hours: the kernel's hash over a shared port would put two such connections on one of two lanes every other
//! time, and they would stay there. Accepting is rare, so that one place for it costs nothing, and it serves a Unix socket
//! the same way.
//! INVARIANT: a connection that was accepted is served or closed; no error of accepting ends the server.

use super::connection::{Connection, Counted};
use super::door::Door;
use super::listen::{Accepted, Bound, Transport};
use super::load::Load;
use rustix::process::{Resource, getrlimit};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Router;

/// Connections that were accepted and not yet taken by their lane.
const HANDED_OVER_MAX: usize = 64;

/// Connections that may be open at once, if the system lets us: far more than proxies with a connection for each of their
/// threads make up.
const CONNECTIONS_MAX: usize = 8192;

/// Descriptors that connections leave for everything else: the ledger's segments and tiles, the index, the runtimes.
const DESCRIPTORS_KEPT: u64 = 96;

/// How long the acceptor waits after an error that will be there at once again, such as that no descriptor is left.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Phase {
    Serving,
    Draining,
    /// What still runs is cut off.
    Over,
}

/// A thread that answers, as the others see it.
#[derive(Debug)]
pub(super) struct Lane {
    connections: mpsc::Sender<(Accepted, Counted)>,
    open: Arc<AtomicUsize>,
    ended: oneshot::Receiver<Result<(), String>>,
}

impl Lane {
    /// Starts the thread. `router` makes what is served, on the lane itself, with the lane's own count of calls.
    pub(super) fn start(
        number: usize,
        transport: Transport,
        phase: watch::Receiver<Phase>,
        router: impl FnOnce(Arc<Load>) -> Router + Send + 'static,
    ) -> io::Result<Lane> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (connections, handed) = mpsc::channel(HANDED_OVER_MAX);
        let (ending, ended) = oneshot::channel();
        std::thread::Builder::new().name(format!("lane-{number}")).spawn(move || {
            let served = runtime.block_on(serve(router(Arc::default()), handed, transport, phase));
            // Tasks that are left, such as streams of access logs, end here.
            drop(runtime);
            // Nobody hears it who is gone.
            let _told = ending.send(served);
        })?;
        Ok(Lane { connections, open: Arc::default(), ended })
    }

    /// Waits for the thread's end.
    pub(super) async fn ended(self) -> Result<(), String> {
        drop(self.connections);
        self.ended.await.unwrap_or_else(|_gone| Err("a thread that answers was lost to a panic".to_owned()))
    }
}

async fn serve(
    router: Router,
    handed: mpsc::Receiver<(Accepted, Counted)>,
    transport: Transport,
    phase: watch::Receiver<Phase>,
) -> Result<(), String> {
    let reached = |mut phase: watch::Receiver<Phase>, least| async move {
        // Whoever announces the phases is gone with the server.
        let _gone = phase.wait_for(|phase| *phase >= least).await;
    };
    let (draining, over) = (reached(phase.clone(), Phase::Draining), reached(phase, Phase::Over));
    let handed = ReceiverStream::new(handed);
    let serving = async {
        match transport {
            Transport::Tcp => {
                router.serve_with_incoming_shutdown(handed.filter_map(Accepted::tcp), draining).await
            }
            Transport::Unix => {
                router.serve_with_incoming_shutdown(handed.filter_map(Accepted::unix), draining).await
            }
        }
    };
    tokio::select! {
        served = serving => served.map_err(|error| error.to_string()),
        () = over => Ok(()),
    }
}

impl Accepted {
    /// On the runtime that takes it.
    fn tcp((accepted, counted): (Accepted, Counted)) -> Option<io::Result<Connection<TcpStream>>> {
        let Accepted::Tcp(stream, from) = accepted else { return None };
        Some(TcpStream::from_std(stream).map(|stream| Connection::new(stream, Some(from), counted)))
    }

    fn unix((accepted, counted): (Accepted, Counted)) -> Option<io::Result<Connection<UnixStream>>> {
        let Accepted::Unix(stream) = accepted else { return None };
        Some(UnixStream::from_std(stream).map(|stream| Connection::new(stream, None, counted)))
    }
}

/// How many connections this process can have besides everything else.
fn connections_max() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let left = descriptors.saturating_sub(DESCRIPTORS_KEPT).max(descriptors / 4);
    usize::try_from(left).unwrap_or(usize::MAX).min(CONNECTIONS_MAX)
}

/// Accepts until draining begins, and gives each connection to the lane with the fewest.
pub(super) async fn accept(
    bound: Bound,
    lanes: &[Lane],
    mut phase: watch::Receiver<Phase>,
    door: &Arc<Door>,
) {
    let connections_max = connections_max();
    // Where the last connection went: of lanes with equally many the next one is taken.
    let mut last = 0;
    loop {
        let accepted = tokio::select! {
            _ = phase.wait_for(|phase| *phase >= Phase::Draining) => return,
            accepted = door.open(bound.accept()) => accepted,
        };
        match accepted {
            Ok(stream) => {
                let open: usize = lanes.iter().map(|lane| lane.open.load(Ordering::Relaxed)).sum();
                if open >= connections_max {
                    door.too_many(open);
                    continue;
                }
                let Some((place, lane)) = fewest(lanes, last) else { return };
                last = place;
                let counted = Counted::new(&lane.open, door);
                if lane.connections.try_send((stream, counted)).is_err() {
                    door.busy(place);
                }
            }
            // The caller hung up before we came to it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                door.failed(&error);
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

/// The lane with the fewest connections, the next one after the last where several have as few.
fn fewest(lanes: &[Lane], last: usize) -> Option<(usize, &Lane)> {
    let from_next = |place: &usize| (place + lanes.len() - 1 - last % lanes.len()) % lanes.len();
    // A thread that was lost would seem to have time for everybody.
    let places = lanes.iter().enumerate().filter(|(_, lane)| !lane.connections.is_closed());
    places.min_by_key(|(place, lane)| (lane.open.load(Ordering::Relaxed), from_next(place)))
}
