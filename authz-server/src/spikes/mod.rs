//! Far more than usual of something that should be rare: bad requests, unauthorised writes, denials. Pure.
//!
//! Counts go by caller and operation, by caller, and for all callers together, in windows of [`WINDOW_MS`], each
//! against its own recent normal. What one count has told is no news to the wider ones, which only learn of it: a
//! caller that floods one operation is told of as that, a caller that tries all operations as itself, and many callers
//! with a little each as all of them.
//!
//! INVARIANT: time and memory of an observation are bounded whoever calls. A count of the current window is never given
//! up, so that nobody hides by making others be counted; what finds no place is counted with all callers.

#[cfg(test)]
mod tests;
mod watch;

use hashlink::LinkedHashMap;

use crate::ledger::Spike;
pub use watch::SpikeWatch;
pub(crate) use watch::tell;

/// How long is counted at once.
pub const WINDOW_MS: u64 = 10_000;

/// Counts that are kept: a hundred callers with forty operations each. With names cut to [`NAME_BYTES_MAX`] they take
/// four megabytes at the worst, and some hundred kilobytes in practice.
const TALLIES_MAX: usize = 4096;

/// A caller's own name can be up to 2 KiB long.
const NAME_BYTES_MAX: usize = 256;

/// Fewer than these in a window are never told: people mistype, deployments have their minute of confusion.
const CALL_FLOOR: u64 = 20;
const CALLER_FLOOR: u64 = 50;
const ALL_FLOOR: u64 = 200;

/// So many times the usual number is a spike.
const FACTOR: f64 = 4.0;

/// How much of what is usual the last window decides: the memory is of some three minutes.
const LEARN: f64 = 1.0 / 16.0;

/// The same for a window that is a spike, of which no more counts than what would just have been one. A level that
/// stays is usual after a quarter of an hour, and an attack of a minute leaves nothing.
const LEARN_OF_SPIKE: f64 = 1.0 / 128.0;

/// Windows without half of a spike, after which another one is told: a minute.
const CALM_WINDOWS: u64 = 6;

/// Stands for callers, services or operations, where it is several of them together.
pub const SEVERAL: &str = "*";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The filter refused, or a value was not of its kind.
    BadRequest,
    /// A write or a delete was denied.
    UnauthorisedWrite,
    /// The server denied.
    Denial,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::BadRequest, Kind::UnauthorisedWrite, Kind::Denial];

    pub const fn name(self) -> &'static str {
        match self {
            Kind::BadRequest => "bad_request",
            Kind::UnauthorisedWrite => "unauthorised_write",
            Kind::Denial => "denial",
        }
    }

    const fn index(self) -> usize {
        match self {
            Kind::BadRequest => 0,
            Kind::UnauthorisedWrite => 1,
            Kind::Denial => 2,
        }
    }
}

/// What was observed, and whose it was.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The narrowest first.
    pub kinds: &'a [Kind],
    pub caller: &'a str,
    pub service: &'a str,
    pub operation: &'a str,
}

/// What an observation is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Usual,
    /// A spike that was told when it began.
    Told,
    Begins(Spike),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Call { kind: Kind, caller: String, service: String, operation: String },
    Caller { kind: Kind, caller: String },
}

/// One count, and what it usually is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tally {
    window: u64,
    /// Of the window, also what a narrower count has told.
    count: u64,
    /// What no narrower count has told.
    news: u64,
    usual: f64,
    is_told: bool,
    calm_windows: u64,
}

/// Counts, and tells what is far more than usual.
#[derive(Debug, Default)]
pub struct Detector {
    /// The one that was not seen for longest is first.
    tallies: LinkedHashMap<Key, Tally>,
    all: [Tally; Kind::ALL.len()],
}

impl Detector {
    /// Counts one, `now_ms` after any fixed moment. A time before that of an earlier observation counts as that.
    pub fn observe(&mut self, observed: Observed<'_>, now_ms: u64) -> Seen {
        let window = now_ms / WINDOW_MS;
        let Observed { kinds, caller, service, operation } = observed;
        let [caller, service, operation] = [caller, service, operation].map(cut);
        let mut seen = Seen::Usual;
        for kind in kinds.iter().copied() {
            let of_caller = Key::Caller { kind, caller: caller.to_owned() };
            let of_call = Key::Call {
                kind,
                caller: caller.to_owned(),
                service: service.to_owned(),
                operation: operation.to_owned(),
            };
            let begins = |tally: &Tally, [caller, service, operation]: [&str; 3]| {
                Seen::Begins(Spike {
                    kind: kind.name().to_owned(),
                    caller: caller.to_owned(),
                    service: service.to_owned(),
                    operation: operation.to_owned(),
                    count: tally.news,
                    usual: tally.usual.round() as u64,
                    window_s: WINDOW_MS / 1000,
                })
            };
            let narrow = [
                (of_call, CALL_FLOOR, [caller, service, operation]),
                (of_caller, CALLER_FLOOR, [caller, SEVERAL, SEVERAL]),
            ];
            for (key, floor, names) in narrow {
                if let Some(tally) = self.tally(key, window) {
                    seen = tally.count(window, floor, seen, |tally| begins(tally, names));
                }
            }
            if let Some(tally) = self.all.get_mut(kind.index()) {
                seen = tally.count(window, ALL_FLOOR, seen, |tally| begins(tally, [SEVERAL; 3]));
            }
        }
        seen
    }

    /// The tally of a key; `None` where all places are taken by what was seen in this window.
    fn tally(&mut self, key: Key, window: u64) -> Option<&mut Tally> {
        if !self.tallies.contains_key(&key) {
            if self.tallies.len() >= TALLIES_MAX {
                let (_, oldest) = self.tallies.front()?;
                if oldest.window >= window {
                    return None;
                }
                self.tallies.pop_front();
            }
            self.tallies.insert(key.clone(), Tally { window, ..Tally::default() });
        }
        self.tallies.to_back(&key)
    }
}

impl Tally {
    /// Counts one more, of which the narrower counts have `seen` that; what is seen of it now.
    fn count(&mut self, window: u64, floor: u64, seen: Seen, begins: impl Fn(&Tally) -> Seen) -> Seen {
        self.roll(window, floor);
        self.count = self.count.saturating_add(1);
        if seen != Seen::Usual {
            return seen;
        }
        self.news = self.news.saturating_add(1);
        if self.is_told {
            return Seen::Told;
        }
        if self.news < self.spike_from(floor) {
            return Seen::Usual;
        }
        self.is_told = true;
        self.calm_windows = 0;
        begins(self)
    }

    /// The smallest count that is a spike.
    fn spike_from(&self, floor: u64) -> u64 {
        // A float that is out of range becomes the nearest number.
        floor.max((self.usual * FACTOR) as u64 + 1)
    }

    /// Ends the windows before this one.
    fn roll(&mut self, window: u64, floor: u64) {
        let Some(passed) = window.checked_sub(self.window).filter(|passed| *passed > 0) else { return };
        let spike_from = self.spike_from(floor);
        let learn = if self.count >= spike_from { LEARN_OF_SPIKE } else { LEARN };
        let learnt = self.count.min(spike_from) as f64;
        let empty = passed - 1;
        self.calm_windows =
            if self.count < spike_from / 2 { self.calm_windows.saturating_add(passed) } else { empty };
        self.usual += learn * (learnt - self.usual);
        // Ten thousand windows are more than a day: nothing is left of what was usual.
        self.usual *= (1.0 - LEARN).powi(i32::try_from(empty.min(10_000)).unwrap_or(i32::MAX));
        if self.calm_windows >= CALM_WINDOWS {
            self.is_told = false;
        }
        (self.window, self.count, self.news) = (window, 0, 0);
    }
}

/// Names that are alike for so long are counted as one.
fn cut(name: &str) -> &str {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}
