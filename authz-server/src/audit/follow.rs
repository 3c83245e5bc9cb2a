//! Calls as they are recorded, each once: with its outcome where that comes soon, else without.
//!
//! INVARIANT: memory is bounded, and no call is left out for it. What is not held any more is found in the index when
//! its outcome comes.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::call::Call;
use super::filter::{Filter, IdPart};
use super::source::{self, Source};
use super::trail::{AuditError, Note, Trail};
use crate::ledger::{Decision, Entry, Outcome, Recorded};

/// How long a decision waits to be shown together with its outcome. The proxy logs a call within a second of its end.
const HOLD: Duration = Duration::from_millis(1500);

/// Decisions that wait at once. The oldest gives way.
const HELD_MAX: usize = 4096;

/// Entries that are looked at before what was found is shown.
const ENTRIES_AT_ONCE: usize = 1024;

/// A live tail of the trail.
#[derive(Debug)]
pub struct Follow {
    filter: Filter,
    source: Source,
    /// Decisions whose outcome has not come, by their positions.
    held: BTreeMap<u64, Held>,
    positions: HashMap<String, u64>,
}

#[derive(Debug)]
struct Held {
    decision: Recorded<Decision>,
    since: Instant,
}

impl Follow {
    /// Begins after everything that the trail knows.
    pub fn from_end(trail: &mut Trail, filter: Filter) -> Result<Follow, AuditError> {
        let end = trail.entries()?;
        let source = trail.source_at(end)?;
        Ok(Follow { filter, source, held: BTreeMap::new(), positions: HashMap::new() })
    }

    /// What is to be shown now, in the order in which it became complete; whether there may be more at once.
    pub fn poll(
        &mut self,
        trail: &mut Trail,
        note: &mut dyn FnMut(Note),
        now: Instant,
    ) -> Result<(Vec<Call>, bool), AuditError> {
        // An outcome whose decision is not held is looked up, so the index must not be behind what is read here.
        trail.catch_up(note)?;
        let known = trail.entries()?;
        let mut shown = Vec::new();
        let mut looked = 0;
        while looked < ENTRIES_AT_ONCE && self.source.next_position() < known {
            let Some(recorded) = self.source.step().map_err(AuditError::Ledger)? else { break };
            looked += 1;
            let Recorded { index, offset, leaf_hash, entry } = recorded;
            match entry {
                Entry::Decision(entry) => {
                    self.hold(Recorded { index, offset, leaf_hash, entry }, now, &mut shown);
                }
                Entry::Outcome(entry) => {
                    shown.extend(self.end(trail, note, Recorded { index, offset, leaf_hash, entry })?);
                }
                Entry::Refusal(_) | Entry::Admin(_) => {}
            }
        }
        while let Some((_, held)) = self.held.first_key_value()
            && now.saturating_duration_since(held.since) > HOLD
        {
            shown.extend(self.release_oldest());
        }
        shown.retain(|call| self.filter.matches(call));
        Ok((shown, looked == ENTRIES_AT_ONCE))
    }

    /// Lets time pass until another poll is worth it.
    pub fn wait(&self) {
        source::wait_for_more();
    }

    fn hold(&mut self, decision: Recorded<Decision>, now: Instant, shown: &mut Vec<Call>) {
        if self.held.len() >= HELD_MAX {
            shown.extend(self.release_oldest());
        }
        self.positions.insert(decision.entry.decision_id.clone(), decision.index);
        self.held.insert(decision.index, Held { decision, since: now });
    }

    fn release_oldest(&mut self) -> Option<Call> {
        let (position, held) = self.held.pop_first()?;
        let id = &held.decision.entry.decision_id;
        if self.positions.get(id) == Some(&position) {
            self.positions.remove(id);
        }
        Some(Call::Decided { decision: held.decision, outcome: None })
    }

    fn end(
        &mut self,
        trail: &mut Trail,
        note: &mut dyn FnMut(Note),
        outcome: Recorded<Outcome>,
    ) -> Result<Option<Call>, AuditError> {
        let held = outcome.entry.call_id.as_ref().and_then(|id| self.positions.remove(id));
        if let Some(Held { decision, .. }) = held.and_then(|position| self.held.remove(&position)) {
            return Ok(Some(Call::Decided { decision, outcome: Some(outcome) }));
        }
        let id = outcome.entry.call_id.as_deref().and_then(|id| id.parse::<IdPart>().ok());
        let known = match id {
            Some(id) => trail.call_of(&id, note)?,
            None => None,
        };
        Ok(match known {
            None => Some(Call::Undecided { outcome }),
            Some(call) if call.outcome().map(|first| first.index) != Some(outcome.index) => None,
            // It was shown when its decision came, unless only its end tells whether it is meant.
            Some(call) if call.decision().is_some() && !self.filter.needs_outcome() => None,
            Some(call) => Some(call),
        })
    }
}
