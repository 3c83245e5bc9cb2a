//! Shares of callers, while there is not enough for all: max-min fairness over about the last second.
//!
//! Who asks for less than the level gets all of it; who asks for more gets the level. Callers beyond the table share its
//! last place by their estimated number.
//! INVARIANT: a fixed number of callers is remembered; who was not seen for some seconds is forgotten.

use super::CallerKey;
use super::tuning::{CALLERS_MAX, SHARE_SLACK};

/// Bits by which callers beyond the table are counted.
const MARKS: usize = 512;

#[derive(Debug, Clone, Copy)]
struct Caller {
    key: CallerKey,
    /// With what it took over from the caller whose place it has.
    rank: f64,
    asked: f64,
    admitted: f64,
}

#[derive(Debug)]
pub(super) struct Shares {
    callers: Vec<Caller>,
    rest_asked: f64,
    rest_admitted: f64,
    /// Who was seen in the rest since the last window.
    marks: [u64; MARKS / 64],
    rest_callers: f64,
    /// What each may have admitted, in requests of about the last second.
    level: f64,
}

impl Default for Shares {
    fn default() -> Shares {
        Shares {
            callers: Vec::new(),
            rest_asked: 0.0,
            rest_admitted: 0.0,
            marks: [0; MARKS / 64],
            rest_callers: 0.0,
            level: f64::INFINITY,
        }
    }
}

impl Shares {
    /// Counts a request, and says whether its caller has its share already.
    pub(super) fn asked(&mut self, key: CallerKey) -> bool {
        let level = (self.level * SHARE_SLACK).max(1.0);
        if let Some(caller) = self.callers.iter_mut().find(|caller| caller.key == key) {
            caller.rank += 1.0;
            caller.asked += 1.0;
            return caller.admitted >= level;
        }
        let new = Caller { key, rank: 1.0, asked: 1.0, admitted: 0.0 };
        if self.callers.len() < CALLERS_MAX {
            self.callers.reserve_exact(CALLERS_MAX.saturating_sub(self.callers.len()));
            self.callers.push(new);
            return false;
        }
        self.mark(key);
        let Some(least) = self.callers.iter_mut().min_by(|a, b| a.rank.total_cmp(&b.rank)) else {
            return false;
        };
        // What it had moves to the rest; its rank stays, so that a caller who asks often comes to stay.
        self.rest_asked += least.asked;
        self.rest_admitted += least.admitted;
        *least = Caller { rank: least.rank + 1.0, ..new };
        self.rest_admitted > level * self.rest_callers.max(1.0) && self.rest_callers >= 1.0
    }

    pub(super) fn admitted(&mut self, key: CallerKey) {
        match self.callers.iter_mut().find(|caller| caller.key == key) {
            Some(caller) => caller.admitted += 1.0,
            None => self.rest_admitted += 1.0,
        }
    }

    /// Lets what was seen fade, and finds the level anew.
    pub(super) fn fade(&mut self, keep: f64) {
        if self.callers.is_empty() {
            return;
        }
        for caller in &mut self.callers {
            caller.rank *= keep;
            caller.asked *= keep;
            caller.admitted *= keep;
        }
        self.callers.retain(|caller| caller.rank > 0.05);
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
        let admitted = self.rest_admitted + self.callers.iter().map(|caller| caller.admitted).sum::<f64>();
        let rest_each = self.rest_asked / self.rest_callers.max(1.0);
        let mut level = 0.0;
        // Each turn takes out callers who ask for less; after few of them nobody is left to take out.
        for _ in 0..8 {
            let (mut left, mut sharing) = (admitted, 0.0);
            for caller in &self.callers {
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

    fn mark(&mut self, key: CallerKey) {
        let bit = key.0 as usize % MARKS;
        if let Some(word) = self.marks.get_mut(bit / 64) {
            *word |= 1_u64.wrapping_shl((bit % 64) as u32);
        }
    }

    /// How many callers set the bits, some of them the same.
    fn marked(&self) -> f64 {
        let set: u32 = self.marks.iter().map(|word| word.count_ones()).sum();
        let bits = MARKS as f64;
        let clear = (bits - f64::from(set)).max(1.0);
        bits * (bits / clear).ln()
    }
}
