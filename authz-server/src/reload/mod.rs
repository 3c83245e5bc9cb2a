//! Live reload: bundle, handoff secrets and API keys are read anew when they change, and swapped in as a whole.
//!
//! `watch` wakes → `inputs` reads what settled → here it is kept, gets an epoch, an entry in the ledger, and is swapped
//! in → `report` says what came of it. All of it happens on one thread of its own; `orders` is the way to it.
//!
//! The order of a swap: the bundle's files are on disk, then the epoch, then the entry that says so; only then does the
//! first decision fall under it. Whatever of that fails leaves what was in force in force.
//!
//! INVARIANT: what is swapped in was read whole, checked whole, and stored; a decision sees one `Decider` or another.

mod changes;
mod expiry;
mod inputs;
mod metrics;
mod orders;
mod report;
mod sources;
mod status;
mod swap;
mod watch;

pub use changes::Changes;
pub use inputs::{Inputs, IssuerKeys};
pub use metrics::ReloadMetrics;
pub use orders::{Busy, Orders};
pub use report::{Attempt, Fault, Outcome, Source, Trigger};
pub use status::{Status, Told};

pub(crate) use sources::{Sources, begin};

use crate::serve::service::{Service, now_ms};
use crate::state::State;
use expiry::Expiries;
use inputs::Stamp;
use orders::Inbox;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use watch::Watch;

/// For how long nothing may have moved before files that somebody edits count as settled. Editors and checkouts write
/// their files within milliseconds of each other; a person does not notice this long.
const SETTLED: Duration = Duration::from_millis(100);

/// How long files may keep moving before that is said. They are never read while they do.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often everything is looked at without a reason, for file systems that do not notify and for links that were
/// swapped in directories which nobody watches.
const POLL: Duration = Duration::from_secs(2);

/// Looking without a reason may take this share of one processor at most, however many files there are.
const POLL_PER_SCAN: u32 = 100;

/// What this server could not take is tried again by itself, in so many times what trying took.
const RETRY_PER_LOAD: u32 = 10;

/// After a look that calls asked for and that found nothing, the next one on behalf of calls waits.
const FRUITLESS: Duration = Duration::from_secs(1);

/// Deeply nested documents are read by recursion, with bounds; this is room for them.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// The way to a running reloader.
#[derive(Debug)]
pub struct Reloads {
    orders: Orders,
    ended: oneshot::Receiver<()>,
}

impl Reloads {
    /// Ends the reloader, after what it is at.
    pub async fn stop(self, at_most: Duration) {
        self.orders.stop();
        let _ended = tokio::time::timeout(at_most, self.ended).await;
    }
}

/// The reloader before it runs: orders can be given already.
#[derive(Debug)]
pub struct Prepared {
    watch: Watch,
    orders: Orders,
    inbox: Inbox,
}

pub fn prepare() -> io::Result<Prepared> {
    let watch = Watch::new()?;
    let (orders, inbox) = orders::channel(watch.waker());
    Ok(Prepared { watch, orders, inbox })
}

impl Prepared {
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Starts to watch. `sources` says what the server began with. To be called where the runtime is.
    pub(crate) fn start(self, sources: Sources, service: Arc<Service>, state: State) -> io::Result<Reloads> {
        let Prepared { watch, orders, inbox } = self;
        let (ending, ended) = oneshot::channel();
        let runtime = Handle::current();
        let mut reloader = Reloader {
            sources,
            service,
            state,
            watch,
            inbox,
            runtime,
            seen: None,
            retry: false,
            scan_took: Duration::ZERO,
            load_took: Duration::ZERO,
            fruitless: None,
            expiries: Expiries::default(),
        };
        thread::Builder::new().name("reload".to_owned()).stack_size(STACK_BYTES).spawn(move || {
            // Dropped last, also in a panic.
            let _ending = ending;
            reloader.run();
        })?;
        Ok(Reloads { orders, ended })
    }
}

#[derive(Debug)]
struct Reloader {
    sources: Sources,
    service: Arc<Service>,
    state: State,
    watch: Watch,
    inbox: Inbox,
    runtime: Handle,
    /// What the file system said when everything was read last.
    seen: Option<Stamp>,
    /// Something is good, and only this server could not take it, or it never settled.
    retry: bool,
    scan_took: Duration,
    load_took: Duration,
    /// When a look on behalf of calls found nothing.
    fruitless: Option<Instant>,
    /// The shadows that have ended, as far as that was said.
    expiries: Expiries,
}

impl Reloader {
    fn run(&mut self) {
        // Something may have changed while the server started.
        let mut due = true;
        loop {
            self.expiries.tell(&self.service.decider().bundle, now_ms());
            // Whoever asked while we were at it has woken us then, and not now.
            let is_wanted = due || self.inbox.is_asked() || self.inbox.is_ordered();
            let woken = self.watch.wait(true, if is_wanted { Duration::ZERO } else { self.pause() });
            if self.inbox.is_stopping() {
                return;
            }
            let is_idle = !is_wanted && !woken.by_order;
            if self.serve_orders() {
                // What was done to the files in the same moment is looked at once more, when it has settled.
                due = true;
            } else if due || woken.by_files || self.may_look_for_calls() || (is_idle && self.is_time()) {
                due = !self.look();
            } else {
                self.inbox.looked(self.inbox.asked());
            }
        }
    }

    fn pause(&self) -> Duration {
        let pause = POLL.max(self.scan_took.saturating_mul(POLL_PER_SCAN));
        if self.retry { pause.max(self.load_took.saturating_mul(RETRY_PER_LOAD)) } else { pause }
    }

    /// Loads at once if somebody demanded it: whoever gives the order says that the files are as they should be.
    fn serve_orders(&mut self) -> bool {
        let orders = self.inbox.take();
        let Some(trigger) = orders.first().map(|order| order.trigger) else { return false };
        let asked = self.inbox.asked();
        let attempt = self.load(trigger, Instant::now());
        self.inbox.looked(asked);
        for answer in orders.into_iter().filter_map(|order| order.answer) {
            // The one who asked may have left.
            let _told = answer.send(attempt.clone());
        }
        true
    }

    fn may_look_for_calls(&self) -> bool {
        self.inbox.is_asked() && self.fruitless.is_none_or(|at| at.elapsed() > FRUITLESS)
    }

    /// Whether there is a reason to look although nobody gave one.
    fn is_time(&mut self) -> bool {
        self.retry || Some(self.scan()) != self.seen
    }

    fn scan(&mut self) -> Stamp {
        let began = Instant::now();
        let stamp = self.sources.scan(&mut self.watch);
        self.scan_took = began.elapsed();
        stamp
    }

    /// Waits until the files have settled, and loads them if they say anything new. False when an order came between,
    /// or something moved again: then it is not over.
    fn look(&mut self) -> bool {
        let began = Instant::now();
        let mut told = false;
        let mut stamp = self.scan();
        loop {
            if self.rest(SETTLED) {
                return false;
            }
            let again = self.scan();
            if again == stamp && self.watch.being_written().is_none() {
                break;
            }
            stamp = again;
            if began.elapsed() > PATIENCE && !std::mem::replace(&mut told, true) {
                self.tell_unsettled(began);
            }
        }
        let (epoch, asked, for_calls) = (self.state.epoch.counter, self.inbox.asked(), self.inbox.is_asked());
        self.load(Trigger::Change, began);
        if for_calls && epoch == self.state.epoch.counter {
            self.fruitless = Some(Instant::now());
        }
        self.inbox.looked(asked);
        let settled = self.scan() == stamp;
        self.seen = settled.then_some(stamp);
        settled
    }

    /// Waits; true when somebody wants something.
    fn rest(&mut self, how_long: Duration) -> bool {
        let until = Instant::now() + how_long;
        loop {
            if self.inbox.is_stopping() || self.inbox.is_ordered() {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.watch.wait(false, left);
        }
    }
}
