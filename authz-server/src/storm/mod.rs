//! Callers who ask again and again: who they are, when it began and when it ended. Pure.
//!
//! Attempts and sheds are counted by caller, service and operation, and fade within some ten seconds. A storm is of one
//! caller at one service: it begins when one of their operations is asked for again far more often than at first for
//! [`HELD_MS`], and ends when none is any more for [`CALM_MS`]. Between, nothing is told, whatever goes up and down.
//! `watch` feeds this and tells what is found, `levels` knows how shedders stand, `view` is what `/storm` shows.
//!
//! INVARIANT: each begin is followed by one end before the next begin of the same caller and service.
//! INVARIANT: memory is bounded whoever calls. What finds no place is counted for several callers together, so that the
//! counts of an operation stay true.

mod levels;
mod metrics;
mod view;
mod watch;

#[cfg(test)]
mod tests;

pub use metrics::LoadMetrics;
pub use view::{CallerView, ServiceView, ShedView, View};
pub use watch::{StormWatch, watch};

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use crate::ledger::Storm;

/// In this time a count fades to a third: long enough to smooth what filters tell every five seconds, and short enough
/// that a storm is over soon after it is.
pub const FADE_MS: u64 = 10_000;

/// Fewer retries and sheds than these, faded, are no storm whatever their share: five a second.
const FLOOR: f64 = 50.0;

/// Attempts for each first attempt from which on a storm begins, and below which it is none any more. A proxy that retries
/// one request in five, as is its right, has 1.2.
const BEGINS: f64 = 1.5;
const ENDS: f64 = 1.2;

/// How long it must hold before it is told, and how long it must be calm before it is over.
pub const HELD_MS: u64 = 3_000;
pub const CALM_MS: u64 = 10_000;

/// What is told apart: a hundred callers of forty operations each, twice. With names they take some megabytes.
const FLOWS_MAX: usize = 8_192;

/// How much is kept when no more can be told apart: what is most.
const FLOWS_KEPT: usize = FLOWS_MAX / 4 * 3;

/// What is left of a count that nobody needs to know any more.
const FADED: f64 = 0.01;

/// A caller's own name can be up to 2 KiB long.
const NAME_BYTES_MAX: usize = 256;

/// Stands for a caller whom nobody proved, and for several of them.
pub const UNKNOWN: &str = "-";
pub const SEVERAL: &str = "…";

/// Who asks what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow<'a> {
    pub caller: &'a str,
    pub service: &'a str,
    pub operation: &'a str,
}

impl<'a> Flow<'a> {
    const fn names(&self) -> [&'a str; 3] {
        [self.caller, self.service, self.operation]
    }
}

/// What was seen of a flow. What was shed is an attempt, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub firsts: u64,
    pub retries: u64,
    pub sheds: u64,
}

impl Counts {
    /// So many attempts of one kind.
    pub const fn attempts(retry: bool, count: u64) -> Counts {
        match retry {
            false => Counts { firsts: count, retries: 0, sheds: 0 },
            true => Counts { firsts: 0, retries: count, sheds: 0 },
        }
    }

    fn add(&mut self, more: Counts) {
        self.firsts = self.firsts.saturating_add(more.firsts);
        self.retries = self.retries.saturating_add(more.retries);
        self.sheds = self.sheds.saturating_add(more.sheds);
    }
}

impl From<Counts> for Faded {
    fn from(Counts { firsts, retries, sheds }: Counts) -> Faded {
        Faded { firsts: firsts as f64, retries: retries as f64, sheds: sheds as f64 }
    }
}

/// The same, fading.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Faded {
    firsts: f64,
    retries: f64,
    sheds: f64,
}

impl Faded {
    fn fade(&mut self, factor: f64, fresh: Counts) {
        self.firsts = self.firsts.mul_add(factor, fresh.firsts as f64);
        self.retries = self.retries.mul_add(factor, fresh.retries as f64);
        self.sheds = self.sheds.mul_add(factor, fresh.sheds as f64);
    }

    fn attempts(&self) -> f64 {
        self.firsts + self.retries
    }

    /// What there would not be if all went well. A retry that is shed has cost twice.
    fn trouble(&self) -> f64 {
        self.retries + self.sheds
    }

    /// Attempts for each first attempt. A caller without any has at least made one.
    fn amplification(&self) -> f64 {
        self.attempts() / self.firsts.max(1.0)
    }

    fn is_storm(&self, floor: f64, ratio: f64) -> bool {
        self.trouble() >= floor && self.amplification() >= ratio
    }
}

/// A flow that is watched.
#[derive(Debug)]
struct Watched {
    caller: Box<str>,
    service: Box<str>,
    operation: Box<str>,
    fresh: Counts,
    /// What was fresh at the last look.
    latest: Counts,
    faded: Faded,
    /// When it was last asked for again too often: what is left of the past is no sign of the present.
    seen_ms: Option<u64>,
    /// Since when it is as a storm is.
    above_since_ms: Option<u64>,
}

/// A storm that was told.
#[derive(Debug)]
struct Open {
    storm: Storm,
    /// When one of its operations was last asked for again too often.
    seen_ms: u64,
    /// What came since then: part of the storm if it goes on.
    pending: Counts,
}

/// What is news. Times are those of the detector's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Begins(Storm),
    Ends(Storm),
}

/// Counts, and finds storms.
#[derive(Debug, Default)]
pub struct Detector {
    /// By a keyed hash of the flow, so that finding one costs a call no allocation. Nobody can make two flows share one
    /// of 2^64 places without knowing the key.
    flows: HashMap<u64, Watched>,
    hasher: RandomState,
    storms: BTreeMap<(Box<str>, Box<str>), Open>,
    ticked_ms: Option<u64>,
}

impl Detector {
    pub fn observe(&mut self, flow: Flow<'_>, counts: Counts) {
        let flow =
            Flow { caller: cut(flow.caller), service: cut(flow.service), operation: cut(flow.operation) };
        if let Some(watched) = self.flows.get_mut(&self.hasher.hash_one(flow)) {
            watched.fresh.add(counts);
            return;
        }
        let flow = if self.flows.len() < FLOWS_MAX { flow } else { Flow { caller: SEVERAL, ..flow } };
        let watched = self.flows.entry(self.hasher.hash_one(flow)).or_insert_with(|| Watched {
            caller: flow.caller.into(),
            service: flow.service.into(),
            operation: flow.operation.into(),
            fresh: Counts::default(),
            latest: Counts::default(),
            faded: Faded::default(),
            seen_ms: None,
            above_since_ms: None,
        });
        watched.fresh.add(counts);
    }

    /// Looks what became of the flows since the last time: to be called about every second. `each` is given what was
    /// observed since then, once.
    pub fn tick(&mut self, now_ms: u64, mut each: impl FnMut(Flow<'_>, Counts)) -> Vec<Finding> {
        let passed_ms = self.ticked_ms.map_or(0, |ticked_ms| now_ms.saturating_sub(ticked_ms));
        // A clock that was set back stands still until it has caught up.
        let now_ms = now_ms.max(self.ticked_ms.unwrap_or(0));
        self.ticked_ms = Some(now_ms);
        let factor = (-(passed_ms as f64) / FADE_MS as f64).exp();
        for watched in self.flows.values_mut() {
            watched.latest = std::mem::take(&mut watched.fresh);
            watched.faded.fade(factor, watched.latest);
            if watched.latest != Counts::default() {
                each(watched.flow(), watched.latest);
                // Nearly always there is no storm, and nothing to look up.
                let open = if self.storms.is_empty() { None } else { self.storms.get_mut(&watched.key()) };
                if let Some(open) = open {
                    open.pending.add(watched.latest);
                }
            }
        }
        let mut begun = BTreeMap::<_, Storm>::new();
        for watched in self.flows.values_mut() {
            let Some(storm) = watched.look(now_ms, &mut self.storms) else { continue };
            // Of several operations the one with the most trouble names it.
            let size = |storm: &Storm| (storm.retries, storm.sheds, storm.operation.clone());
            let key = watched.key();
            if begun.get(&key).is_none_or(|known| size(known) < size(&storm)) {
                begun.insert(key, storm);
            }
        }
        let mut findings: Vec<Finding> = begun.values().cloned().map(Finding::Begins).collect();
        let open = |storm| Open { storm, seen_ms: now_ms, pending: Counts::default() };
        self.storms.extend(begun.into_iter().map(|(key, storm)| (key, open(storm))));
        let is_over = |open: &Open| now_ms.saturating_sub(open.seen_ms) >= CALM_MS;
        let over = self.storms.extract_if(.., |_, open| is_over(open));
        findings.extend(over.map(|(_, open)| Finding::Ends(open.storm)));
        self.make_room();
        findings
    }

    fn make_room(&mut self) {
        self.flows.retain(|_, watched| watched.faded.attempts() + watched.faded.sheds > FADED);
        if self.flows.len() < FLOWS_MAX {
            return;
        }
        let mut sizes: Vec<f64> = self.flows.values().map(|watched| watched.faded.attempts()).collect();
        sizes.sort_unstable_by(|one, other| other.total_cmp(one));
        let least = sizes.get(FLOWS_KEPT).copied().unwrap_or_default();
        self.flows.retain(|_, watched| watched.faded.attempts() > least);
    }

    /// The storms that are under way.
    pub fn storms(&self) -> impl Iterator<Item = &Storm> {
        self.storms.values().map(|open| &open.storm)
    }

    /// All flows, with how much there is of each in a second.
    fn rates(&self) -> impl Iterator<Item = (Flow<'_>, Faded)> {
        let per_s = 1000.0 / FADE_MS as f64;
        self.flows.values().map(move |watched| {
            let Faded { firsts, retries, sheds } = watched.faded;
            (watched.flow(), Faded { firsts: firsts * per_s, retries: retries * per_s, sheds: sheds * per_s })
        })
    }
}

impl Watched {
    fn flow(&self) -> Flow<'_> {
        Flow { caller: &self.caller, service: &self.service, operation: &self.operation }
    }

    /// Whose storm it would be.
    fn key(&self) -> (Box<str>, Box<str>) {
        (self.caller.clone(), self.service.clone())
    }

    /// What it means for storms, told or not; the one that begins with it.
    fn look(&mut self, now_ms: u64, storms: &mut BTreeMap<(Box<str>, Box<str>), Open>) -> Option<Storm> {
        let faded = self.faded;
        let is_seen = Faded::from(self.latest).is_storm(1.0, ENDS);
        if is_seen {
            self.seen_ms = Some(now_ms);
        }
        let is_present = self.seen_ms.is_some_and(|seen_ms| now_ms.saturating_sub(seen_ms) < CALM_MS);
        let is_above = is_present && faded.is_storm(FLOOR, BEGINS);
        let above_since_ms = is_above.then(|| self.above_since_ms.unwrap_or(now_ms));
        self.above_since_ms = above_since_ms;
        if !is_seen {
            return None;
        }
        // A float that is out of range becomes the nearest number.
        let amplification_percent = (faded.amplification() * 100.0).round() as u64;
        let open = if storms.is_empty() { None } else { storms.get_mut(&self.key()) };
        if let Some(open) = open {
            if faded.is_storm(FLOOR / 2.0, ENDS) {
                open.seen_ms = now_ms;
                let storm = &mut open.storm;
                storm.duration_ms = now_ms.saturating_sub(storm.since_ms);
                count(storm, std::mem::take(&mut open.pending));
                if amplification_percent > storm.amplification_percent {
                    storm.amplification_percent = amplification_percent;
                    storm.operation = self.operation.as_ref().to_owned();
                }
            }
            return None;
        }
        let since_ms = above_since_ms.filter(|since_ms| now_ms.saturating_sub(*since_ms) >= HELD_MS)?;
        let Counts { firsts, retries, sheds } = faded.whole();
        Some(Storm {
            caller: self.caller.as_ref().to_owned(),
            service: self.service.as_ref().to_owned(),
            operation: self.operation.as_ref().to_owned(),
            since_ms,
            duration_ms: now_ms.saturating_sub(since_ms),
            first_attempts: firsts,
            retries,
            sheds,
            amplification_percent,
        })
    }
}

impl Faded {
    fn whole(&self) -> Counts {
        let Faded { firsts, retries, sheds } = *self;
        Counts { firsts: firsts as u64, retries: retries as u64, sheds: sheds as u64 }
    }
}

fn count(storm: &mut Storm, more: Counts) {
    storm.first_attempts = storm.first_attempts.saturating_add(more.firsts);
    storm.retries = storm.retries.saturating_add(more.retries);
    storm.sheds = storm.sheds.saturating_add(more.sheds);
}

/// Names that are alike for so long are counted as one.
fn cut(name: &str) -> &str {
    name.get(..name.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or_default()
}
