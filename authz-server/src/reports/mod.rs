//! What filters refused by themselves, and what broke a rule without being refused, by their own reports: verified, stored,
//! and only then acknowledged.
//!
//! `grpc` is the way in → here a batch is verified, numbered against what is `known` of its VM, and made into entries →
//! `names` says which operation an index is, and `drift` and `load` what becomes of counts. `tail` finds out at start what a server
//! before us has stored.
//! INVARIANT: an acknowledgement says that each number of the batch is durable in this ledger, or told there as lost.
//! INVARIANT: of one VM one batch is stored at a time, so that no number is stored by two.

mod drift;
mod grpc;
mod known;
mod load;
mod metrics;
mod names;
mod tail;
#[cfg(test)]
mod tests;

pub use grpc::ReportsServer;
pub use metrics::ReportMetrics;

use crate::ledger::{Admin, AdminEvent, AppendError, Entry, Ledger, Receipt, Refusal, Verdict};
use crate::serve::service::{Service, now_ms};
use crate::state::Bundles;
use known::Known;
use metrics::Cause;
use names::{Names, Operations};
use palisade_core::report::{self, Batch, BatchError, Item, Report, ServerId, VmId};
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Batches that are stored at once. Together they take a quarter of the ledger's queue, and the rest is for decisions.
const CONCURRENT_MAX: usize = 4;

/// How long a batch may wait for its turn, and then for the disk: less than the filter waits for both.
const TURN: Duration = Duration::from_secs(1);
const STORED: Duration = Duration::from_secs(3);

const _: () = assert!(
    TURN.as_millis() + STORED.as_millis() < palisade_core::limits::REPORT_TIMEOUT_MS as u128,
    "the filter would give up first"
);

/// A batch that cannot be taken is sent again and again: one line in this time says it for all.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What all batches share.
#[derive(Debug)]
pub struct Reports {
    service: Arc<Service>,
    operations: Operations,
    /// `None` until the ledger's tail was read.
    known: Mutex<Option<Known>>,
    turns: Arc<Semaphore>,
    told: Mutex<Option<Instant>>,
}

/// Why a batch is not acknowledged. The filter keeps it.
#[derive(Debug)]
pub enum NotTaken {
    Refused(BatchError),
    /// The ledger's tail is still being read.
    TooEarly,
    /// Another batch of this VM is being stored, or too many are.
    Busy,
    NotStored(AppendError),
    /// It is still being stored, and will be known when it comes again.
    TooSlow,
    Failed,
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotTaken::Refused(error) => error.fmt(f),
            NotTaken::TooEarly => f.write_str("the server is still reading what it has stored"),
            NotTaken::Busy => f.write_str("too many reports are being stored"),
            NotTaken::NotStored(error) => error.fmt(f),
            NotTaken::TooSlow => f.write_str("the disk takes too long"),
            NotTaken::Failed => f.write_str("storing the reports failed"),
        }
    }
}

impl NotTaken {
    const fn cause(&self) -> Cause {
        match self {
            NotTaken::Refused(BatchError::Forged) => Cause::Forged,
            NotTaken::Refused(BatchError::Stale { .. }) => Cause::Stale,
            NotTaken::Refused(BatchError::UnknownVersion { .. } | BatchError::Malformed(_)) => {
                Cause::Malformed
            }
            NotTaken::TooEarly | NotTaken::Busy | NotTaken::TooSlow => Cause::Busy,
            NotTaken::NotStored(_) | NotTaken::Failed => Cause::NotStored,
        }
    }
}

/// An entry in waiting, and the number after those that it tells of.
struct Told {
    entry: Entry,
    end: u64,
    refused: u64,
    lost: u64,
}

type Stored = Pin<Box<dyn Future<Output = Result<Receipt, AppendError>> + Send>>;

impl Reports {
    /// Takes batches as soon as the tail of the ledger was read, which happens beside everything else.
    pub fn start(service: Arc<Service>, state: &Path) -> Arc<Reports> {
        let reports = Arc::new(Reports {
            service,
            operations: Operations::of(Bundles::of(state)),
            known: Mutex::new(None),
            turns: Arc::new(Semaphore::new(CONCURRENT_MAX)),
            told: Mutex::new(None),
        });
        let reading = reports.clone();
        tokio::task::spawn_blocking(move || {
            let ledger = reading.service.ledger();
            let known = tail::read(ledger.dir(), ledger.entries());
            *reading.known() = Some(known);
        });
        reports
    }

    /// Stores a batch. Dropping this future does not stop what it began.
    pub async fn take(self: Arc<Self>, batch: &[u8]) -> Result<ServerId, NotTaken> {
        let taken = self.clone().take_verified(batch).await;
        if let Err(not_taken) = &taken {
            self.service.metrics().reports.not_taken(not_taken.cause());
            self.tell(not_taken);
        }
        taken
    }

    async fn take_verified(self: Arc<Self>, batch: &[u8]) -> Result<ServerId, NotTaken> {
        let decider = self.service.decider();
        let (batch, _slot) =
            Batch::verify(batch, decider.secrets.slots(), now_ms()).map_err(NotTaken::Refused)?;
        let server = server_id(&decider.epoch.server);
        drop(decider);
        let turn = tokio::time::timeout(TURN, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(NotTaken::Busy) };
        let next = self.begin(batch.vm)?;
        let vm = batch.vm;
        let storing = tokio::spawn(async move {
            let _turn = turn;
            // Ends also in a panic, so that the VM is not kept out for ever.
            let mut ending = Ending { reports: &self, vm, next };
            let names = self.operations.names(&self.service, batch.bundle).await;
            let told = tell_of(&batch, next, server, names.as_deref());
            let count = told
                .iter()
                .fold((0_u64, 0_u64), |(refused, lost), told| (refused + told.refused, lost + told.lost));
            let repeated = next.map_or(0, |next| next.min(batch.end()).saturating_sub(batch.first));
            let observe = |entry: &Entry| self.observe(entry, names.as_deref());
            store(self.service.ledger(), told, &mut ending.next, observe).await?;
            ending.next = Some(ending.next.unwrap_or(0).max(batch.end()));
            self.service.metrics().reports.taken(count.0, count.1, repeated);
            Ok(server)
        });
        match tokio::time::timeout(STORED, storing).await {
            Ok(Ok(stored)) => stored.map_err(NotTaken::NotStored),
            Ok(Err(_panic)) => Err(NotTaken::Failed),
            Err(_late) => Err(NotTaken::TooSlow),
        }
    }

    /// What is durable, once.
    fn observe(&self, entry: &Entry, names: Option<&Names>) {
        let metrics = self.service.metrics();
        let is_critical =
            |service: &str, operation: &str| names.is_some_and(|names| names.is_critical(service, operation));
        match entry {
            Entry::Refusal(refusal) => {
                self.service.observe_refusal(refusal);
                let is_critical = is_critical(&refusal.service, &refusal.operation);
                metrics.storms.refused(refusal, is_critical, metrics);
            }
            Entry::Shed(sheds) => {
                metrics.storms.sheds(sheds, is_critical(&sheds.service, &sheds.operation), metrics);
            }
            Entry::Load(load) => metrics.storms.load(load, metrics),
            Entry::Drift(drift) => {
                if drift::is_undecided(drift) {
                    metrics.failed_open_unreachable(drift.count);
                }
                metrics.reports.drift.drifted(drift);
            }
            Entry::Judged(judged) => metrics.reports.drift.judged(judged),
            Entry::Decision(_) | Entry::Outcome(_) | Entry::Admin(_) => {}
        }
    }

    fn begin(&self, vm: VmId) -> Result<Option<u64>, NotTaken> {
        let mut known = self.known();
        let known = known.as_mut().ok_or(NotTaken::TooEarly)?;
        known.begin(vm).map_err(|_busy| NotTaken::Busy)
    }

    /// A filter that holds another secret, or a network that lets others in, would fill the log.
    fn tell(&self, not_taken: &NotTaken) {
        if matches!(not_taken, NotTaken::NotStored(error) if error.is_told_by_the_ledger())
            || matches!(not_taken, NotTaken::TooEarly | NotTaken::Busy)
        {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() > TOLD_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(error = %not_taken, "reports of a filter were not taken, and others like them are not told for a while");
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        // What is known stays true whatever panicked while it was looked at.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the VM free when its batch is over, however it ended.
struct Ending<'a> {
    reports: &'a Reports,
    vm: VmId,
    /// The first number of the VM that is not durable.
    next: Option<u64>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Some(known) = self.reports.known().as_mut() {
            known.end(self.vm, self.next);
        }
    }
}

/// The entries of a batch beyond what was stored before.
fn tell_of(batch: &Batch, next: Option<u64>, server: ServerId, names: Option<&Names>) -> Vec<Told> {
    let mut told = Vec::with_capacity(batch.items.len());
    let mut at = batch.first;
    if let Some(next) = next.filter(|next| *next < at) {
        // Behind several servers another one has them. What we ourselves acknowledged and do not have is gone.
        if batch.acknowledged_by == server && server != ServerId::default() {
            let detail = "acknowledged once, and not in this ledger any more".to_owned();
            told.push(loss(batch.vm, next, at, detail));
        }
    }
    for item in &batch.items {
        let end = at.saturating_add(item.numbers());
        let from = at.max(next.unwrap_or(0));
        match item {
            _ if end <= from => {}
            Item::Refused(report) => told.push(Told {
                entry: Entry::Refusal(refusal(batch, report, at, names)),
                end,
                refused: 1,
                lost: 0,
            }),
            Item::Drifted(drifted) => {
                told.push(beside(Entry::Drift(drift::drift(batch, drifted, at, names)), end));
            }
            Item::Judged(judged) => {
                told.push(beside(Entry::Judged(drift::judged(batch, judged, at, names)), end));
            }
            Item::Shed(sheds) => {
                told.push(beside(Entry::Shed(load::sheds(batch, sheds, at, names)), end));
            }
            Item::Load(load) => {
                told.push(beside(Entry::Load(load::load(batch, load, at, names)), end));
            }
            Item::Lost(reasons) => {
                let reasons: Vec<String> =
                    reasons.iter().map(|(code, count)| format!("{code} {count}")).collect();
                told.push(loss(
                    batch.vm,
                    from,
                    end,
                    format!("the filter's queue was full: {}", reasons.join(", ")),
                ));
            }
        }
        at = end;
    }
    told
}

/// What is told beside refusals, and can neither be refused nor lost.
fn beside(entry: Entry, end: u64) -> Told {
    Told { entry, end, refused: 0, lost: 0 }
}

fn loss(vm: VmId, from: u64, end: u64, detail: String) -> Told {
    let count = end.saturating_sub(from);
    tracing::warn!(%vm, from, count, detail, "reports of a filter were lost");
    let event = AdminEvent::ReportsLost { vm: vm.to_string(), from, count };
    let entry = Entry::Admin(Admin { at_ms: now_ms(), event, detail });
    Told { entry, end, refused: 0, lost: count }
}

fn refusal(batch: &Batch, report: &Report, sequence: u64, names: Option<&Names>) -> Refusal {
    let operation = report.operation.and_then(|index| names?.operation(index));
    let (service, operation) = operation.unwrap_or_default();
    Refusal {
        call_id: report.call_id.to_string(),
        at_ms: report.at_ms,
        verdict: match report.verdict {
            report::Verdict::Reject => Verdict::Reject,
            report::Verdict::Shed => Verdict::Shed,
        },
        reason: report.reason.clone().into_owned(),
        place: Some(report.place.clone()).filter(|place| !place.is_empty()),
        service: service.to_owned(),
        operation: operation.to_owned(),
        method: report.subject.method.clone(),
        host: report.subject.host.clone(),
        path: report.subject.path.clone(),
        peer: Some(report.peer.clone()).filter(|peer| !peer.is_empty()),
        attempt: report.subject.attempt,
        retry: report.retry,
        bundle_digest: batch.bundle.to_string(),
        vm: batch.vm.to_string(),
        sequence,
    }
}

/// Stores entries in their order. `next` follows what is durable, without a hole: after the first that is not, none is
/// tried, because it will come again with that one. `observe` is given each entry that is durable, once.
async fn store(
    ledger: &Ledger,
    told: Vec<Told>,
    next: &mut Option<u64>,
    observe: impl Fn(&Entry),
) -> Result<(), AppendError> {
    let mut waiting: Vec<(Stored, Entry, u64)> = Vec::with_capacity(told.len());
    let mut refused = None;
    for Told { entry, end, .. } in told {
        let mut stored: Stored = Box::pin(ledger.append(&entry));
        match stored.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => {
                refused = Some(error);
                break;
            }
            Poll::Ready(Ok(receipt)) => waiting.push((Box::pin(std::future::ready(Ok(receipt))), entry, end)),
            Poll::Pending => waiting.push((stored, entry, end)),
        }
    }
    for (stored, entry, end) in waiting {
        stored.await?;
        *next = Some(end);
        observe(&entry);
    }
    refused.map_or(Ok(()), Err)
}

/// The id in the server's state, as bytes; zero where it has another form, which acknowledges and claims nothing.
fn server_id(epoch: &str) -> ServerId {
    let mut bytes = [0; 16];
    match hex::decode_to_slice(epoch, &mut bytes) {
        Ok(()) => ServerId(bytes),
        Err(_) => ServerId::default(),
    }
}
