//! The load: requests come when they come, whatever became of those before them.
//!
//! INVARIANT: every request has an end, at the user's deadline at the latest, and is counted once, by the moment at which
//! it was due; how much comes is bounded by the plan.

use crate::backend::REQUEST_HEADER;
use crate::client_side::{CALLER_HEADER, HOST};
use crate::dice::Dice;
use crate::failure::Failure;
use crate::identities::caller_name;
use crate::plan::{CALLERS, Class, DEADLINE, Manners, Phases, RUDE_PAUSE, Scenario, Trigger};
use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::{Request, StatusCode};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// 2xx within the user's deadline.
    Good,
    /// Another answer within it.
    Answered(StatusCode),
    /// The user went away.
    TooLate,
    /// No answer: the way to the callers' proxy broke.
    Lost,
}

/// One request of a user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// When it was due, from the start of the load.
    pub(crate) at: Duration,
    pub(crate) caller: usize,
    pub(crate) class: Class,
    pub(crate) fate: Fate,
    pub(crate) took: Duration,
    /// How much later than due it was sent: the machine was busy.
    pub(crate) late: Duration,
}

/// Connections to the callers' proxy, one for each caller, opened when they are needed.
#[derive(Debug)]
pub(crate) struct Links {
    to: SocketAddr,
    senders: Vec<Mutex<Option<SendRequest<Bytes>>>>,
}

/// How long the greeting of a caller may take before it is tried anew.
const GREETING_WITHIN: Duration = Duration::from_secs(2);

impl Links {
    pub(crate) fn new(to: SocketAddr) -> Links {
        Links { to, senders: (0..CALLERS).map(|_| Mutex::default()).collect() }
    }

    /// Whether a caller gets a good answer now.
    pub(crate) async fn greet(&self, caller: usize) -> bool {
        let asking = self.ask(caller, Class::Default, None);
        matches!(timeout(GREETING_WITHIN, asking).await, Ok(Some(status)) if status.is_success())
    }

    /// One request, and the status of its answer. `None`: there is none.
    async fn ask(&self, caller: usize, class: Class, number: Option<u64>) -> Option<StatusCode> {
        let mut sender = self.sender(caller).await?;
        let mut request =
            Request::get(format!("http://{HOST}{}", class.path())).header(CALLER_HEADER, caller_name(caller));
        if let Some(number) = number {
            request = request.header(REQUEST_HEADER, number);
        }
        let (response, _) = sender.send_request(request.body(()).ok()?, true).ok()?;
        let (head, mut body) = response.await.ok()?.into_parts();
        // Read to its end, so that the stream is not given up after its answer.
        while let Some(piece) = body.data().await {
            let piece = piece.ok()?;
            body.flow_control().release_capacity(piece.len()).ok()?;
        }
        Some(head.status)
    }

    async fn sender(&self, caller: usize) -> Option<SendRequest<Bytes>> {
        let mut held = self.senders.get(caller)?.lock().await;
        if let Some(sender) = held.clone()
            && let Ok(ready) = sender.ready().await
        {
            return Some(ready);
        }
        let stream = TcpStream::connect(self.to).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = client::handshake(stream).await.ok()?;
        tokio::spawn(async move {
            // Whoever asks over it next notices that it is gone.
            let _gone = connection.await;
        });
        *held = Some(sender.clone());
        sender.ready().await.ok()
    }
}

/// Everything that the arrivals of one run depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    pub(crate) trigger: Trigger,
    pub(crate) phases: Phases,
    pub(crate) rate: f64,
    pub(crate) seed: u64,
}

/// Sends all requests of a run; returns when each has its end.
pub(crate) async fn run(plan: Plan, links: Arc<Links>, began: Instant) -> Result<Vec<Asked>, Failure> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    tokio::spawn(send(plan, links, began, sender));
    let mut all = Vec::new();
    while let Some(asked) = receiver.recv().await {
        all.push(asked);
    }
    if all.is_empty() {
        return Err(Failure::new("no request was sent"));
    }
    all.sort_by_key(|asked: &Asked| asked.at);
    Ok(all)
}

async fn send(plan: Plan, links: Arc<Links>, began: Instant, sender: mpsc::UnboundedSender<Asked>) {
    let mut dice = Dice::new(plan.seed);
    let weights = plan.scenario.weights();
    let (classes, shares): (Vec<_>, Vec<_>) = plan.scenario.operations().iter().copied().unzip();
    let (from, until) = (f64::from(plan.phases.trigger_at_s()), f64::from(plan.phases.over_at_s()));
    let mut at = 0.0;
    for number in 1.. {
        let factor = if (from..until).contains(&at) { plan.trigger.factor() } else { 1.0 };
        at += dice.gap_s(plan.rate * factor);
        if at >= f64::from(plan.phases.total_s()) {
            return;
        }
        let caller = dice.place(&weights);
        let class = classes.get(dice.place(&shares)).copied().unwrap_or(Class::Default);
        let due = Duration::from_secs_f64(at);
        tokio::time::sleep_until(began + due).await;
        let one = One { number, caller, class, at: due, manners: plan.scenario.manners(caller) };
        let (links, sender) = (Arc::clone(&links), sender.clone());
        tokio::spawn(async move {
            // Nobody listens any more: then nobody wants to know.
            let _told = sender.send(one.ask(&links, began).await);
        });
    }
}

/// A request of a user, and what its application does about a failure.
#[derive(Debug, Clone, Copy)]
struct One {
    number: u64,
    caller: usize,
    class: Class,
    at: Duration,
    manners: Manners,
}

impl One {
    async fn ask(self, links: &Links, began: Instant) -> Asked {
        let due = began + self.at;
        let late = Instant::now().saturating_duration_since(due);
        let fate = match timeout_at(due + DEADLINE, self.insist(links)).await {
            Ok(Some(status)) if status.is_success() => Fate::Good,
            Ok(Some(status)) => Fate::Answered(status),
            Ok(None) => Fate::Lost,
            Err(_) => Fate::TooLate,
        };
        let took = Instant::now().saturating_duration_since(due);
        Asked { at: self.at, caller: self.caller, class: self.class, fate, took, late }
    }

    async fn insist(self, links: &Links) -> Option<StatusCode> {
        let tries = match self.manners {
            Manners::Polite => 1,
            Manners::Rude { tries } => tries,
        };
        let mut last = None;
        for place in 0..tries {
            if place > 0 {
                tokio::time::sleep(RUDE_PAUSE).await;
            }
            last = links.ask(self.caller, self.class, Some(self.number)).await;
            if last.is_some_and(|status| status.is_success()) {
                break;
            }
        }
        last
    }
}
