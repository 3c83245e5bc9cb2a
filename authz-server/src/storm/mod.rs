//! Callers who ask again and again: who they are, when it began and when it ended. Pure.
//!
//! Attempts and sheds are counted by caller, service and operation, and fade within some ten seconds. A storm is of one
//! caller at one service: it begins when their operations together, or one of them, are asked for again far more often
//! than at first for [`HELD_MS`], and ends when none is any more for [`CALM_MS`]. Between, nothing is told, whatever goes
//! up and down. `fresh` counts, `signs` reads what became of the counts, `watch` feeds both and tells what is found,
//! `levels` knows how shedders stand, `view` is what `/storm` shows.
//!
//! INVARIANT: each begin is followed by one end before the next begin of the same caller and service.
//! INVARIANT: memory is bounded whoever calls. What finds no place is counted for several callers together, so that the
//! counts of an operation stay true.

mod fresh;
mod levels;
mod metrics;
mod signs;
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
use fresh::{FreshFlow, FreshFlows};
use signs::{Open, Signs, Sum};

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
    fn fade(&mut self, factor: f64) {
        self.firsts *= factor;
        self.retries *= factor;
        self.sheds *= factor;
    }

    fn add(&mut self, more: Faded) {
        self.firsts += more.firsts;
        self.retries += more.retries;
        self.sheds += more.sheds;
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

    fn percent(&self) -> u64 {
        // A float that is out of range becomes the nearest number.
        (self.amplification() * 100.0).round() as u64
    }

    fn whole(&self) -> Counts {
        let Faded { firsts, retries, sheds } = *self;
        Counts { firsts: firsts as u64, retries: retries as u64, sheds: sheds as u64 }
    }
}

/// A flow that is watched.
#[derive(Debug)]
struct Watched {
    caller: Box<str>,
    service: Box<str>,
    operation: Box<str>,
    /// What was fresh at the last look.
    latest: Counts,
    faded: Faded,
    signs: Signs,
}

/// What is news. Times are those of the detector's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Begins(Storm),
    Ends(Storm),
}

/// Finds storms in what was counted.
#[derive(Debug, Default)]
pub struct Detector {
    /// By the hash of `fresh`.
    flows: HashMap<u64, Watched>,
    hasher: RandomState,
    /// Of callers at services, by a hash of both: whose operations together were asked for again lately.
    callers: HashMap<u64, Signs>,
    storms: BTreeMap<(Box<str>, Box<str>), Open>,
    ticked_ms: Option<u64>,
}

impl Detector {
    /// Looks what became of the flows since the last time: to be called about every second, with what was observed since
    /// then. `each` is given that, once.
    fn tick(
        &mut self,
        now_ms: u64,
        fresh: FreshFlows,
        mut each: impl FnMut(Flow<'_>, Counts),
    ) -> Vec<Finding> {
        let passed_ms = self.ticked_ms.map_or(0, |ticked_ms| now_ms.saturating_sub(ticked_ms));
        // A clock that was set back stands still until it has caught up.
        let now_ms = now_ms.max(self.ticked_ms.unwrap_or(0));
        self.ticked_ms = Some(now_ms);
        let factor = (-(passed_ms as f64) / FADE_MS as f64).exp();
        self.flows.values_mut().for_each(|watched| watched.fade(factor));
        for flow in fresh.into_values() {
            let watched = self.watched(&flow);
            watched.add(flow.counts);
            let whose = Flow { caller: &watched.caller, service: &flow.service, operation: &flow.operation };
            each(whose, flow.counts);
        }
        let mut sums = BTreeMap::<_, Sum<'_>>::new();
        for watched in self.flows.values_mut() {
            sums.entry((&*watched.caller, &*watched.service)).or_default().add(
                &watched.operation,
                (watched.latest, watched.faded),
                watched.signs.read(now_ms, watched.latest, watched.faded),
            );
        }
        let mut findings = Vec::new();
        for (key, sum) in sums {
            let signs = self.callers.entry(self.hasher.hash_one(key)).or_default();
            let sign = signs.read(now_ms, sum.latest, sum.faded);
            // Nearly always there is no storm, and nothing to look up.
            let open = match self.storms.is_empty() {
                true => None,
                false => self.storms.get_mut(&(key.0.into(), key.1.into())),
            };
            match open {
                Some(open) => open.go_on(now_ms, &sum, sign),
                None => findings.extend(sum.begins(key, now_ms, sign).map(Finding::Begins)),
            }
        }
        self.callers.retain(|_, signs| signs.is_present(now_ms));
        for finding in &findings {
            let (Finding::Begins(storm) | Finding::Ends(storm)) = finding;
            let key = (storm.caller.as_str().into(), storm.service.as_str().into());
            let open = Open { storm: storm.clone(), seen_ms: now_ms, pending: Counts::default() };
            self.storms.insert(key, open);
        }
        let is_over = |open: &Open| now_ms.saturating_sub(open.seen_ms) >= CALM_MS;
        let over = self.storms.extract_if(.., |_, open| is_over(open));
        findings.extend(over.map(|(_, open)| Finding::Ends(open.storm)));
        self.make_room();
        findings
    }

    /// Where a flow is watched: by itself while there is room.
    fn watched(&mut self, flow: &FreshFlow) -> &mut Watched {
        let FreshFlow { caller, service, operation, .. } = flow;
        let own = self.hasher.hash_one(Flow { caller, service, operation });
        let (place, caller) = if self.flows.len() < FLOWS_MAX || self.flows.contains_key(&own) {
            (own, &**caller)
        } else {
            (self.hasher.hash_one(Flow { caller: SEVERAL, service, operation }), SEVERAL)
        };
        self.flows.entry(place).or_insert_with(|| Watched {
            caller: caller.into(),
            service: service.clone(),
            operation: operation.clone(),
            latest: Counts::default(),
            faded: Faded::default(),
            signs: Signs::default(),
        })
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

    fn fade(&mut self, factor: f64) {
        self.latest = Counts::default();
        self.faded.fade(factor);
    }

    fn add(&mut self, fresh: Counts) {
        self.latest.add(fresh);
        self.faded.add(fresh.into());
    }
}

/// Names that are alike for so long are counted as one.
fn cut(name: &str) -> &str {
    name.get(..name.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or_default()
}
