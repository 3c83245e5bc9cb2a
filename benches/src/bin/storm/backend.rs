//! The service: a fixed pool of workers behind a queue without an end, which works on whatever was asked of it, even when
//! nobody waits any more. That is what makes a storm stay.
//!
//! INVARIANT: a request counts as executed when a worker begins it, and what a worker takes is slept, not computed, so
//! that the machine's processors are never the bottleneck.

use crate::dice::Dice;
use crate::failure::Failure;
use bytes::Bytes;
use h2::server::{self, SendResponse};
use http::{Request, Response, StatusCode};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;

/// By which the service knows that it does the same thing twice.
pub(crate) const REQUEST_HEADER: &str = "x-storm-request";

/// Far more than is ever under way: what bounds the load is the load.
const STREAMS_MAX: u32 = 100_000;

/// How the pool works, until it is told otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mood {
    pub(crate) workers: usize,
    pub(crate) service: Duration,
    /// The share of requests that are answered 503, after the same work.
    pub(crate) errors: f64,
}

/// A service that runs.
#[derive(Debug, Clone)]
pub(crate) struct Backend {
    shared: Arc<Shared>,
    mood: Arc<watch::Sender<Mood>>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<VecDeque<Job>>,
    /// One permit for each job in the queue.
    waiting: Semaphore,
    /// How often each request was begun.
    executed: Mutex<HashMap<u64, u32>>,
    /// Executions whose answer nobody waited for.
    abandoned: AtomicU64,
    unnamed: AtomicU32,
}

#[derive(Debug)]
struct Job {
    request: Option<u64>,
    answer: oneshot::Sender<StatusCode>,
}

/// What the service did so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    pub(crate) executions: u64,
    /// Executions of what had been executed before.
    pub(crate) duplicates: u64,
    pub(crate) abandoned: u64,
}

impl Backend {
    /// Serves until the runtime ends.
    pub(crate) async fn start(mood: Mood, seed: u64) -> Result<Backend, Failure> {
        let cannot = || Failure::because("the service cannot listen");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(cannot())?;
        let address = listener.local_addr().map_err(cannot())?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            waiting: Semaphore::new(0),
            executed: Mutex::default(),
            abandoned: AtomicU64::new(0),
            unnamed: AtomicU32::new(0),
        });
        let (sender, receiver) = watch::channel(mood);
        for place in 0..mood.workers {
            let dice = Dice::new(seed.wrapping_add(place as u64));
            tokio::spawn(work(place, Arc::clone(&shared), receiver.clone(), dice));
        }
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Backend { shared, mood: Arc::new(sender), address })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next request on that a worker begins. More workers than at the start there never are.
    pub(crate) fn turn(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    pub(crate) fn work(&self) -> Work {
        let executed = self.shared.executed.lock().unwrap_or_else(PoisonError::into_inner);
        let executions = executed.values().map(|count| u64::from(*count)).sum::<u64>();
        let duplicates = executions.saturating_sub(executed.len() as u64);
        let unnamed = u64::from(self.shared.unnamed.load(Ordering::Relaxed));
        let abandoned = self.shared.abandoned.load(Ordering::Relaxed);
        Work { executions: executions.saturating_add(unnamed), duplicates, abandoned }
    }

    /// Jobs that no worker has begun.
    pub(crate) fn queued(&self) -> usize {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&shared)));
    }
}

/// A connection that breaks is a failed reply where it is counted: at the load.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _fast = stream.set_nodelay(true);
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(STREAMS_MAX);
    // A proxy in a storm gives up by the hundred; that is no attack here.
    builder.max_pending_accept_reset_streams(STREAMS_MAX as usize);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (answer, answered) = oneshot::channel();
        let request = number_of(&request);
        shared.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(Job { request, answer });
        shared.waiting.add_permits(1);
        tokio::spawn(reply(respond, answered));
    }
}

fn number_of<T>(request: &Request<T>) -> Option<u64> {
    request.headers().get(REQUEST_HEADER)?.to_str().ok()?.parse().ok()
}

/// Ends when the answer is there or the caller has gone; the job goes on by itself.
async fn reply(mut respond: SendResponse<Bytes>, answered: oneshot::Receiver<StatusCode>) {
    let status = tokio::select! {
        status = answered => status,
        _ = std::future::poll_fn(|context| respond.poll_reset(context)) => return,
    };
    let Ok(status) = status else { return };
    let mut response = Response::new(());
    *response.status_mut() = status;
    // Who has gone in the meantime is not told.
    let _sent = respond.send_response(response, true);
}

async fn work(place: usize, shared: Arc<Shared>, mut mood: watch::Receiver<Mood>, mut dice: Dice) {
    let mut free_at = Instant::now();
    loop {
        if mood.wait_for(|mood| place < mood.workers).await.is_err() {
            return;
        }
        let Ok(permit) = shared.waiting.acquire().await else { return };
        if place >= mood.borrow().workers {
            // Sent home while it waited: the job is another's.
            continue;
        }
        permit.forget();
        let job = shared.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(Job { request, answer }) = job else { continue };
        match request {
            Some(request) => {
                let mut executed = shared.executed.lock().unwrap_or_else(PoisonError::into_inner);
                let count = executed.entry(request).or_default();
                *count = count.saturating_add(1);
            }
            None => drop(shared.unnamed.fetch_add(1, Ordering::Relaxed)),
        }
        let now = *mood.borrow();
        // Timers wake late; a busy worker begins the next job where the last one should have ended, so that the pool is as
        // fast as it says.
        let late = Instant::now().saturating_duration_since(free_at);
        let begin = if late < TIMER_SLACK { free_at } else { Instant::now() };
        free_at = begin + now.service;
        tokio::time::sleep_until(free_at).await;
        let status = if dice.share() < now.errors { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        if answer.send(status).is_err() {
            shared.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The runtime's timer counts in milliseconds, and a busy machine adds a few.
const TIMER_SLACK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::{Backend, Mood};
    use bytes::Bytes;
    use h2::client::SendRequest;
    use std::time::{Duration, Instant};

    async fn connect(backend: &Backend) -> SendRequest<Bytes> {
        let stream = tokio::net::TcpStream::connect(backend.address()).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn ask(sender: &SendRequest<Bytes>, number: &str) -> h2::client::ResponseFuture {
        let request = http::Request::get("http://pool/").header(super::REQUEST_HEADER, number);
        let mut sender = sender.clone().ready().await.unwrap();
        sender.send_request(request.body(()).unwrap(), true).unwrap().0
    }

    #[tokio::test]
    async fn the_pool_is_as_fast_as_it_says_and_counts_what_it_does_twice() {
        let mood = Mood { workers: 4, service: Duration::from_millis(20), errors: 0.0 };
        let backend = Backend::start(mood, 1).await.unwrap();
        let sender = connect(&backend).await;
        let began = Instant::now();
        let mut replies = Vec::new();
        for number in 0..40 {
            replies.push(ask(&sender, &(number / 2).to_string()).await);
        }
        for reply in replies {
            assert_eq!(reply.await.unwrap().status(), 200);
        }
        // 40 jobs of 20 ms by four workers.
        assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
        let work = backend.work();
        assert_eq!((work.executions, work.duplicates, work.abandoned), (40, 20, 0));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_worked_on_all_the_same() {
        let mood = Mood { workers: 1, service: Duration::from_millis(10), errors: 1.0 };
        let backend = Backend::start(mood, 1).await.unwrap();
        let sender = connect(&backend).await;
        for number in 0..5 {
            drop(ask(&sender, &number.to_string()).await);
        }
        assert_eq!(ask(&sender, "5").await.await.unwrap().status(), 503);
        assert_eq!(backend.work().executions, 6);
        assert!(backend.work().abandoned >= 4, "{:?}", backend.work());
        assert_eq!(backend.queued(), 0);
    }
}
