//! The reports of one VM that nobody has acknowledged yet: a bounded queue, and at most one batch under way.
//!
//! A refusal that finds the queue full is not kept, but its number is taken, and a loss stands in the queue in its place.
//! Losses in a row are one, until a batch has told of it: what was told once does not change when it is told again.
//! Drift, load and most sheds are counted beside the queue, and come into it only where they take no room from refusals.
//! INVARIANT: the items of the queue take all numbers from `first` to before `next`, each once. Only an acknowledgement
//! takes items out.

use super::batch::{Batch, FRAME_BYTES, prove, write_item, write_loss, write_report};
use super::{
    DriftKey, DriftTable, Item, LoadLevel, LoadTable, Passed, Report, ServerId, ShedKey, ShedTable, Side,
    Subject, VmId,
};
use crate::call_id::CallId;
use crate::contract::BundleDigest;
use crate::handoff::Secret;
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_ITEMS_MAX, DRIFT_PERIOD_MS, JUDGED_PERIOD_MS, LOAD_CALM_PERIOD_MS, LOAD_PERIOD_MS,
    QUEUE_BYTES_MAX, QUEUE_ITEMS_MAX, REPORT_GIVEN_UP_MS, REPORT_PAUSE_MS_MAX, REPORT_PERIOD_MS,
    SHED_PERIOD_MS,
};
use crate::reason::Reason;
use crate::routes::OperationIndex;
use crate::wire::{WireError, Writer};
use std::collections::VecDeque;

/// What an item costs beside its bytes.
const ITEM_COST: usize = size_of::<Waiting>();

/// What one reason of a loss costs.
const REASON_COST: usize = size_of::<(Reason, u64)>();

/// The most that a queue holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) items: usize,
    pub(super) bytes: usize,
}

/// The queue of one VM.
#[derive(Debug)]
pub struct Outbox {
    vm: VmId,
    bounds: Bounds,
    queue: VecDeque<Waiting>,
    bytes: usize,
    /// The number of the front.
    first: u64,
    /// The number of the next refusal.
    next: u64,
    /// How many at the front were in a batch already.
    told: usize,
    under_way: Option<UnderWay>,
    acknowledged_by: ServerId,
    /// Batches that failed since the last one that did not.
    failures: u32,
    failed_at_ms: u64,
    /// Somebody was told that the queue is half full, and no batch was made since.
    hurried: bool,
    drift: DriftTable,
    sheds: ShedTable,
    load: LoadTable,
    /// When each of them was last put into the queue.
    gathered: Gathered,
}

#[derive(Debug, Default)]
struct Gathered {
    drift_at_ms: u64,
    sheds_at_ms: u64,
    load_at_ms: u64,
}

#[derive(Debug)]
struct Waiting {
    bundle: BundleDigest,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Takes one number.
    Item(Box<[u8]>),
    Lost(Vec<(Reason, u64)>),
}

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    items: usize,
    since_ms: u64,
}

impl Waiting {
    fn cost(&self) -> usize {
        ITEM_COST.saturating_add(match &self.what {
            What::Item(bytes) => bytes.len(),
            What::Lost(reasons) => reasons.len().saturating_mul(REASON_COST),
        })
    }

    fn numbers(&self) -> u64 {
        match &self.what {
            What::Item(_) => 1,
            What::Lost(reasons) => {
                reasons.iter().fold(0, |total: u64, (_, count)| total.saturating_add(*count))
            }
        }
    }
}

impl Outbox {
    /// `vm` must be random and different in each VM.
    pub fn new(vm: VmId) -> Outbox {
        Outbox::with_bounds(vm, Bounds { items: QUEUE_ITEMS_MAX, bytes: QUEUE_BYTES_MAX })
    }

    pub(super) fn with_bounds(vm: VmId, bounds: Bounds) -> Outbox {
        Outbox {
            vm,
            bounds,
            queue: VecDeque::new(),
            bytes: 0,
            first: 0,
            next: 0,
            told: 0,
            under_way: None,
            acknowledged_by: ServerId::default(),
            failures: 0,
            failed_at_ms: 0,
            hurried: false,
            drift: DriftTable::default(),
            sheds: ShedTable::default(),
            load: LoadTable::default(),
            gathered: Gathered::default(),
        }
    }

    /// How many refusals and other items nobody has acknowledged.
    pub const fn waiting(&self) -> u64 {
        self.next.saturating_sub(self.first)
    }

    /// Batches that failed since the last one that did not.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether as much waits as one batch takes. Less is better gathered until the next look.
    pub fn fills_a_batch(&self) -> bool {
        self.queue.len() >= BATCH_ITEMS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// Numbers a refusal and keeps its report, which is only made if there is room for it. True: the queue has become
    /// half full, and a batch should be made soon.
    pub fn add(&mut self, bundle: BundleDigest, reason: Reason, report: impl FnOnce() -> Report) -> bool {
        self.next = self.next.saturating_add(1);
        let has_room = self.queue.len() < self.bounds.items && self.bytes < self.bounds.bytes;
        let encoded = has_room.then(|| encode(|out| write_report(out, &report()))).flatten();
        let fits = |bytes: &[u8]| {
            self.bytes.saturating_add(ITEM_COST).saturating_add(bytes.len()) <= self.bounds.bytes
        };
        match encoded.filter(|bytes| fits(bytes)) {
            Some(bytes) => self.push(Waiting { bundle, what: What::Item(bytes) }),
            None => self.lose(bundle, reason),
        }
        self.hurry()
    }

    fn hurry(&mut self) -> bool {
        let is_half_full = self.queue.len() >= self.bounds.items / 2 || self.bytes >= self.bounds.bytes / 2;
        let hurry = is_half_full && !self.hurried && self.under_way.is_none() && self.failures == 0;
        self.hurried |= hurry;
        hurry
    }

    /// Takes note of a shed: by itself while there are few and half of the queue is free, and in a count otherwise, so
    /// that none is lost. One in shadow is always counted. True: a batch should be made soon.
    pub fn shed(
        &mut self,
        bundle: BundleDigest,
        key: ShedKey<'_>,
        call_id: CallId,
        now_ms: u64,
        subject: impl FnOnce() -> Subject,
    ) -> bool {
        let is_told = !key.shadow && self.is_half_free() && self.sheds.may_tell(now_ms);
        let report = is_told.then(|| key.report(call_id, now_ms, subject()));
        match report.and_then(|report| encode(|out| write_report(out, &report))) {
            Some(bytes) => self.number(bundle, bytes),
            None => self.sheds.add(bundle, key, call_id, now_ms),
        }
        self.hurry()
    }

    /// Counts what became of a request to a service that sheds.
    pub fn passed(&mut self, bundle: BundleDigest, operation: OperationIndex, passed: Passed) {
        self.load.add(bundle, operation, passed);
    }

    /// How the shedder of a service stands: to be said before a batch is made, and told only with counts.
    pub fn level(&mut self, bundle: BundleDigest, level: LoadLevel) {
        self.load.level(bundle, level);
    }

    /// Counts a rule that was broken without a refusal.
    pub fn drifted(&mut self, bundle: BundleDigest, key: DriftKey<'_>, call_id: CallId, now_ms: u64) {
        self.drift.add(bundle, key, call_id, now_ms);
    }

    /// Counts a request or response that was judged.
    pub fn judged(&mut self, bundle: BundleDigest, operation: OperationIndex, side: Side) {
        self.drift.judged(bundle, operation, side);
    }

    /// Puts what was counted into the queue, if it is time and half of the queue is free. While batches fail it goes on
    /// being counted instead, and what finds no room now waits for the next time.
    fn gather(&mut self, now_ms: u64) {
        if self.failures > 0 {
            return;
        }
        let load_period_ms = match self.load.is_troubled() || !self.sheds.is_empty() {
            true => LOAD_PERIOD_MS,
            false => LOAD_CALM_PERIOD_MS,
        };
        let sheds_period_ms = if self.sheds.is_half_full() { 0 } else { SHED_PERIOD_MS };
        let drift_period_ms = match (self.drift.has_drift(), self.drift.is_half_full()) {
            (_, true) => 0,
            (true, false) => DRIFT_PERIOD_MS,
            (false, false) => JUDGED_PERIOD_MS,
        };
        if has_passed(load_period_ms, self.gathered.load_at_ms, now_ms)
            && self.gather_from(|outbox| outbox.load.take(now_ms))
        {
            self.gathered.load_at_ms = now_ms;
        }
        if has_passed(sheds_period_ms, self.gathered.sheds_at_ms, now_ms)
            && self.gather_from(|outbox| outbox.sheds.take())
        {
            self.gathered.sheds_at_ms = now_ms;
        }
        if has_passed(drift_period_ms, self.gathered.drift_at_ms, now_ms)
            && self.gather_from(|outbox| outbox.drift.take(now_ms))
        {
            self.gathered.drift_at_ms = now_ms;
        }
    }

    /// Whether there was anything to take, and room for it.
    fn gather_from(&mut self, mut take: impl FnMut(&mut Outbox) -> Option<(BundleDigest, Item)>) -> bool {
        let mut is_taken = false;
        while self.is_half_free() {
            let Some((bundle, item)) = take(self) else { break };
            is_taken = true;
            if let Some(bytes) = encode(|out| write_item(out, &item)) {
                self.number(bundle, bytes);
            }
        }
        is_taken
    }

    fn is_half_free(&self) -> bool {
        self.queue.len() < self.bounds.items.div_ceil(2) && self.bytes < self.bounds.bytes / 2
    }

    /// Gives an item the next number.
    fn number(&mut self, bundle: BundleDigest, bytes: Box<[u8]>) {
        self.next = self.next.saturating_add(1);
        self.push(Waiting { bundle, what: What::Item(bytes) });
    }

    fn push(&mut self, waiting: Waiting) {
        self.bytes = self.bytes.saturating_add(waiting.cost());
        self.queue.push_back(waiting);
    }

    fn lose(&mut self, bundle: BundleDigest, reason: Reason) {
        let is_told = self.queue.len() <= self.told;
        if let (false, Some(Waiting { what: What::Lost(reasons), .. })) = (is_told, self.queue.back_mut()) {
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count = count.saturating_add(1),
                None => {
                    reasons.push((reason, 1));
                    self.bytes = self.bytes.saturating_add(REASON_COST);
                }
            }
            return;
        }
        // Beyond the bounds by this one item: the next that is lost joins it.
        self.push(Waiting { bundle, what: What::Lost(vec![(reason, 1)]) });
    }

    /// The next batch, if one is due. It is under way until `acknowledged` or `failed` is called, or for too long.
    pub fn next_batch(&mut self, secret: &Secret, now_ms: u64) -> Option<Vec<u8>> {
        if let Some(under_way) = self.under_way {
            if !has_passed(REPORT_GIVEN_UP_MS, under_way.since_ms, now_ms) {
                return None;
            }
            self.failed(now_ms);
        }
        if self.failures > 0 && !has_passed(self.pause_ms(), self.failed_at_ms, now_ms) {
            return None;
        }
        self.gather(now_ms);
        let (items, bytes) = self.batch(secret, now_ms)?;
        self.under_way = Some(UnderWay { items, since_ms: now_ms });
        self.told = self.told.max(items);
        self.hurried = false;
        Some(bytes)
    }

    /// Items from the front that were judged by one bundle, as many as fit.
    fn batch(&self, secret: &Secret, now_ms: u64) -> Option<(usize, Vec<u8>)> {
        let bundle = self.queue.front()?.bundle;
        let mut body = Writer::default();
        let mut items = 0_usize;
        let mut room = BATCH_BYTES_MAX.saturating_sub(FRAME_BYTES);
        for waiting in self.queue.iter().take(BATCH_ITEMS_MAX).take_while(|waiting| waiting.bundle == bundle)
        {
            let mut item = Writer::default();
            match &waiting.what {
                What::Item(bytes) => item.bytes(bytes),
                What::Lost(reasons) => {
                    let reasons = reasons.iter().map(|(reason, count)| (reason.code(), *count));
                    write_loss(&mut item, reasons).ok()?;
                }
            }
            let item = item.finish();
            let Some(left) = room.checked_sub(item.len()) else { break };
            room = left;
            body.bytes(&item);
            items = items.saturating_add(1);
        }
        let head = Batch {
            vm: self.vm,
            bundle,
            acknowledged_by: self.acknowledged_by,
            sent_at_ms: now_ms,
            first: self.first,
            items: Vec::new(),
        };
        let mut out = Writer::default();
        head.write_head(&mut out, items).ok()?;
        out.bytes(&body.finish());
        Some((items, prove(secret, out)))
    }

    /// The batch under way is stored. More may be due at once.
    pub fn acknowledged(&mut self, by: ServerId) {
        let Some(UnderWay { items, .. }) = self.under_way.take() else { return };
        for waiting in self.queue.drain(..items.min(self.queue.len())) {
            self.first = self.first.saturating_add(waiting.numbers());
            self.bytes = self.bytes.saturating_sub(waiting.cost());
        }
        self.told = self.told.saturating_sub(items);
        self.acknowledged_by = by;
        self.failures = 0;
    }

    /// Nobody says that the batch under way is stored. It is sent again.
    pub fn failed(&mut self, now_ms: u64) {
        if self.under_way.take().is_some() {
            self.failures = self.failures.saturating_add(1);
            self.failed_at_ms = now_ms;
        }
    }

    /// Twice as long after each failure, and not the same for all VMs, which all fail at once when the server is gone.
    fn pause_ms(&self) -> u64 {
        let doublings = self.failures.saturating_sub(1).min(16);
        let pause = u64::from(REPORT_PERIOD_MS).saturating_mul(1 << doublings).min(REPORT_PAUSE_MS_MAX);
        let [.., spread] = self.vm.0;
        let quarter = pause / 4;
        pause.saturating_sub(quarter.saturating_mul(u64::from(spread)) / 256)
    }
}

/// A clock that was set back must not make anybody wait for the time that it was wrong.
const fn has_passed(how_long_ms: u64, since_ms: u64, now_ms: u64) -> bool {
    match now_ms.checked_sub(since_ms) {
        Some(passed) => passed >= how_long_ms,
        None => true,
    }
}

/// `None` where a field is longer than its bound, which is nobody's report.
fn encode(write: impl FnOnce(&mut Writer) -> Result<(), WireError>) -> Option<Box<[u8]>> {
    let mut out = Writer::default();
    write(&mut out).ok()?;
    Some(out.finish().into())
}
