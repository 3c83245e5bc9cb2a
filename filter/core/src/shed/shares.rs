//! Shares of callers, while there is not enough for all: max-min fairness over about the last second.
//!
//! Who asks for less than the level gets all of it; who asks for more gets the level. Callers beyond the table count
//! together, by their estimated number.
//! INVARIANT: a fixed number of callers is remembered; who was not seen for some seconds is forgotten.

use super::CallerKey;
use super::tuning::{CALLER_SETS, CALLER_WAYS, SHARE_SLACK};

/// Bits by which callers beyond the table are counted.
const MARKS: usize = 1024;

#[derive(Debug, Clone, Copy, Default)]
struct Caller {
    key: u64,
    /// What it asked for, with what it took over from the caller whose place it has; zero: the place is free.
    rank: f64,
    asked: f64,
    admitted: f64,
}

#[derive(Debug)]
pub(super) struct Shares {
    /// Empty until shares count for the first time. A caller has its place in one set, where the one that asks least
    /// yields.
    sets: Vec<[Caller; CALLER_WAYS]>,
    /// Of callers that yielded.
    rest_asked: f64,
    rest_admitted: f64,
    rest_callers: f64,
    /// Who yielded since the last window.
    marks: [u64; MARKS / 64],
    /// What each may have admitted, in requests of about the last second.
    level: f64,
}

impl Default for Shares {
    fn default() -> Shares {
        Shares {
            sets: Vec::new(),
            rest_asked: 0.0,
            rest_admitted: 0.0,
            rest_callers: 0.0,
            marks: [0; MARKS / 64],
            level: f64::INFINITY,
        }
    }
}

impl Shares {
    /// Counts a request, and says whether its caller has its share already.
    pub(super) fn asked(&mut self, key: CallerKey) -> bool {
        if self.sets.is_empty() {
            self.sets = vec![Default::default(); CALLER_SETS];
        }
        // A whole request more than the level, at least: shares may be less than one.
        let may_have = (self.level * SHARE_SLACK).max(self.level + 1.0);
        let Some(caller) = self.place(key) else { return false };
        caller.rank += 1.0;
        caller.asked += 1.0;
        caller.admitted >= may_have
    }

    pub(super) fn admitted(&mut self, key: CallerKey) {
        if let Some(caller) = self.place(key) {
            caller.admitted += 1.0;
        }
    }

    /// Lets what was seen fade, and finds the level anew.
    pub(super) fn fade(&mut self, keep: f64) {
        if self.sets.is_empty() {
            return;
        }
        for caller in self.sets.iter_mut().flatten() {
            caller.rank *= keep;
            caller.asked *= keep;
            caller.admitted *= keep;
            if caller.rank < 0.05 {
                *caller = Caller::default();
            }
        }
        self.rest_asked *= keep;
        self.rest_admitted *= keep;
        self.rest_callers = self.rest_callers.mul_add(keep, self.marked() * (1.0 - keep));
        self.marks = [0; MARKS / 64];
        self.level = self.find_level();
    }

    pub(super) fn level(&self) -> f64 {
        self.level
    }

    /// The level at which all that was admitted is given out.
    fn find_level(&self) -> f64 {
        let callers = || self.sets.iter().flatten().filter(|caller| caller.rank > 0.0);
        let admitted = self.rest_admitted + callers().map(|caller| caller.admitted).sum::<f64>();
        let rest_each = self.rest_asked / self.rest_callers.max(1.0);
        let mut level = 0.0;
        // Each turn takes out callers who ask for less; after few of them nobody is left to take out.
        for _ in 0..8 {
            let (mut left, mut sharing) = (admitted, 0.0);
            for caller in callers() {
                if caller.asked <= level {
                    left -= caller.asked;
                } else {
                    sharing += 1.0;
                }
            }
            if rest_each <= level {
                left -= self.rest_asked;
            } else {
                sharing += self.rest_callers;
            }
            if sharing < 1.0 {
                return f64::INFINITY;
            }
            let higher = left / sharing;
            if higher <= level {
                break;
            }
            level = higher;
        }
        level
    }

    /// A caller's place. Where its set is full, the one that asks least gives its own up; its rank stays, so that a
    /// caller who asks often comes to stay.
    fn place(&mut self, CallerKey(key): CallerKey) -> Option<&mut Caller> {
        let set = self.sets.get_mut(key as usize % CALLER_SETS)?;
        let known = set.iter().position(|caller| caller.rank > 0.0 && caller.key == key);
        let at = match known {
            Some(at) => at,
            None => {
                let (at, least) =
                    set.iter_mut().enumerate().min_by(|(_, a), (_, b)| a.rank.total_cmp(&b.rank))?;
                if least.rank > 0.0 {
                    self.rest_asked += least.asked;
                    self.rest_admitted += least.admitted;
                    let bit = (least.key >> 32) as usize % MARKS;
                    if let Some(word) = self.marks.get_mut(bit / 64) {
                        *word |= 1_u64.wrapping_shl((bit % 64) as u32);
                    }
                }
                *least = Caller { key, rank: least.rank, asked: 0.0, admitted: 0.0 };
                at
            }
        };
        set.get_mut(at)
    }

    /// How many callers set the bits, some of them the same.
    fn marked(&self) -> f64 {
        let set: u32 = self.marks.iter().map(|word| word.count_ones()).sum();
        let bits = MARKS as f64;
        let clear = (bits - f64::from(set)).max(1.0);
        bits * (bits / clear).ln()
    }
}
