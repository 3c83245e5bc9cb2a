//! Recorded decisions, made again from their entries with the bundles that they were made by.
//!
//! `entry` turns an entry back into what was asked, `bundles` has the bundle of its digest, and `Bundle::ask`, which made
//! the decision, makes it again. INVARIANT: every decision of a ledger is counted once, under what became of it.

mod bundles;
mod entry;
#[cfg(test)]
mod tests;

pub use bundles::{BundleSource, KeptBundles};

use crate::check::Decision;
use crate::ledger;
use bundles::Kept;
use entry::Concluded;
use palisade_core::reason::Reason;
use palisade_explain::Explanation;
use serde::Serialize;
use std::fmt;

/// How many of the decisions that came out otherwise are named; all are counted.
pub const NAMED_MAX: usize = 10;

/// What became of the decisions of a ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub decisions: u64,
    /// Made again with the same conclusion.
    pub same: u64,
    pub different: u64,
    /// A policy reads a value that the entry does not hold.
    pub masked: u64,
    /// Concluded before the policies were asked: no handoff, no identity, a value that could not be read.
    pub not_asked: u64,
    /// Recorded by a server that did not write down yet what was asked.
    pub without_values: u64,
    pub bundle_not_kept: u64,
    /// Of a kept bundle that is no longer what it was.
    pub bundle_damaged: u64,
}

/// A decision that came out otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The entry's place in the ledger.
    pub index: u64,
    pub decision_id: String,
    pub bundle: String,
    pub recorded: String,
    pub again: String,
}

/// What became of one decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    Same,
    Different { recorded: String, again: String },
    Masked,
    NotAsked,
    WithoutValues,
    BundleNotKept,
    BundleDamaged,
}

/// Makes decisions again, one after the other.
#[derive(Debug)]
pub struct Replay {
    bundles: KeptBundles,
    pub counts: Counts,
    /// The first ones.
    pub different: Vec<Difference>,
}

impl Replay {
    pub fn new(bundles: KeptBundles) -> Replay {
        Replay { bundles, counts: Counts::default(), different: Vec::new() }
    }

    /// Makes a decision again, and counts it. `index` is its entry's place in the ledger.
    pub fn take(&mut self, index: u64, decision: &ledger::Decision) -> Made {
        let made = self.again(decision);
        let counts = &mut self.counts;
        counts.decisions += 1;
        *match &made {
            Made::Same => &mut counts.same,
            Made::Different { .. } => &mut counts.different,
            Made::Masked => &mut counts.masked,
            Made::NotAsked => &mut counts.not_asked,
            Made::WithoutValues => &mut counts.without_values,
            Made::BundleNotKept => &mut counts.bundle_not_kept,
            Made::BundleDamaged => &mut counts.bundle_damaged,
        } += 1;
        if let Made::Different { recorded, again } = &made
            && self.different.len() < NAMED_MAX
        {
            self.different.push(Difference {
                index,
                decision_id: decision.decision_id.clone(),
                bundle: decision.bundle_digest.clone(),
                recorded: recorded.clone(),
                again: again.clone(),
            });
        }
        made
    }

    /// What was said of bundles that could not be used, each once.
    pub fn complaints(&self) -> &[String] {
        self.bundles.complaints()
    }

    fn again(&mut self, decision: &ledger::Decision) -> Made {
        let Some(asked) = &decision.asked else {
            return if by_policies(&decision.reason) { Made::WithoutValues } else { Made::NotAsked };
        };
        if !asked.not_replayable.is_empty() {
            return Made::Masked;
        }
        let kept = match self.bundles.find(&decision.bundle_digest) {
            Kept::Loaded(loaded) => loaded,
            Kept::Gone => return Made::BundleNotKept,
            Kept::Damaged => return Made::BundleDamaged,
        };
        let recorded = Concluded::recorded(decision);
        match entry::ask(kept, decision, asked) {
            Ok(judgement) => {
                let again = Concluded::of(judgement);
                if again == recorded {
                    return Made::Same;
                }
                Made::Different { recorded: recorded.to_string(), again: again.to_string() }
            }
            Err(why) => {
                Made::Different { recorded: recorded.to_string(), again: format!("cannot be asked: {why}") }
            }
        }
    }
}

/// Why policies decided as they did, or why that cannot be told any more.
pub fn explain(source: BundleSource, decision: &ledger::Decision) -> Result<Explanation, String> {
    let asked = match &decision.asked {
        Some(asked) => asked,
        None if by_policies(&decision.reason) => {
            return Err("the entry does not hold what was asked: the server was an older one".to_owned());
        }
        None => return Err("it was decided before policies were asked".to_owned()),
    };
    if !asked.not_replayable.is_empty() {
        let names = asked.not_replayable.join(", ");
        return Err(format!("policies read {names}, which is masked, so that the entry does not hold it"));
    }
    let mut bundles = KeptBundles::new(source);
    let found = match bundles.find(&decision.bundle_digest) {
        Kept::Loaded(loaded) => {
            let again = Concluded::of(entry::ask(loaded, decision, asked)?);
            let recorded = Concluded::recorded(decision);
            if again != recorded {
                return Err(format!("made again it comes out otherwise: {again}"));
            }
            return entry::explain(loaded, decision, asked);
        }
        Kept::Gone => "its bundle is not kept here: another server had it, or it became too old",
        Kept::Damaged => "its bundle is no longer what it was",
    };
    Err(found.to_owned())
}

/// Whether a conclusion is one that policies come to.
fn by_policies(reason: &str) -> bool {
    let (_, allowed) = crate::check::told(Decision::Allow);
    reason == allowed
        || [Reason::PolicyDenied, Reason::PolicyError].iter().any(|known| known.code() == reason)
}

impl Counts {
    /// Whether something was found that should not be.
    pub const fn is_clean(&self) -> bool {
        self.different == 0 && self.bundle_damaged == 0
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("decisions", self.decisions, ""),
            ("same", self.same, "made again with the same conclusion"),
            ("different", self.different, "came out otherwise"),
            ("masked", self.masked, "a policy reads a value that the entry does not hold"),
            ("not asked", self.not_asked, "concluded before the policies were asked"),
            ("without values", self.without_values, "recorded before entries held what was asked"),
            ("bundle not kept", self.bundle_not_kept, "its bundle is not here"),
            ("bundle damaged", self.bundle_damaged, "its bundle is no longer what it was"),
        ];
        for (what, count, meaning) in rows {
            writeln!(f, "{}", format!("{what:>15}  {count:>10}  {meaning}").trim_end())?;
        }
        Ok(())
    }
}
