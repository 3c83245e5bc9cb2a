//! Calls as they are recorded, each once: with its outcome where that comes soon, else without.
//!
//! A report of the filter and the access log's entry on the same call come in either order, so that whichever is first
//! waits for the other one.
//!
//! INVARIANT: memory is bounded, and no call is left out for it. What is not held any more is found in the index when
//! the rest of it comes.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::call::Call;
use super::filter::{Filter, IdPart};
use super::source::{self, Source};
use super::trail::{AuditError, Note, Trail};
use crate::ledger::{Entry, Outcome, Recorded};

/// How long an entry waits to be shown together with the others of its call. The proxy logs a call within a second of
/// its end.
const HOLD: Duration = Duration::from_millis(1500);

/// Entries that wait at once. The oldest gives way.
const HELD_MAX: usize = 4096;

/// Entries that are looked at before what was found is shown.
const ENTRIES_AT_ONCE: usize = 1024;

/// A live tail of the trail.
#[derive(Debug)]
pub struct Follow {
    filter: Filter,
    source: Source,
    /// Calls of which the rest has not come, by their positions.
    held: BTreeMap<u64, Held>,
    positions: HashMap<String, u64>,
}

#[derive(Debug)]
struct Held {
    call: Call,
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
                    let decision = Box::new(Recorded { index, offset, leaf_hash, entry });
                    self.begin(Call::Decided { decision, outcome: None }, now, &mut shown);
                }
                Entry::Refusal(entry) => {
                    let refusal = Box::new(Recorded { index, offset, leaf_hash, entry });
                    let call = Call::Refused { refusal, outcome: None };
                    if self.is_news(trail, note, &call)? {
                        self.begin(call, now, &mut shown);
                    }
                }
                Entry::Outcome(entry) => {
                    let outcome = Recorded { index, offset, leaf_hash, entry };
                    self.end(trail, note, outcome, now, &mut shown)?;
                }
                Entry::Admin(_) | Entry::Drift(_) | Entry::Judged(_) | Entry::Shed(_) | Entry::Load(_) => {}
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

    /// Takes up what was concluded on a call. Its outcome may have come before.
    fn begin(&mut self, call: Call, now: Instant, shown: &mut Vec<Call>) {
        let early = call.id().and_then(|id| self.positions.get(id)).copied();
        let early = early.filter(|position| {
            self.held.get(position).is_some_and(|held| matches!(held.call, Call::Undecided { .. }))
        });
        let outcome = early.and_then(|position| self.take(position)).and_then(|call| match call {
            Call::Undecided { outcome } => Some(outcome),
            Call::Decided { outcome, .. } | Call::Refused { outcome, .. } => outcome,
        });
        match outcome {
            Some(outcome) => shown.push(with_outcome(call, outcome)),
            None => self.hold(call, now, shown),
        }
    }

    /// Whether a report tells of a call that was not shown: reports are repeated, and come after the outcome.
    fn is_news(
        &self,
        trail: &mut Trail,
        note: &mut dyn FnMut(Note),
        refused: &Call,
    ) -> Result<bool, AuditError> {
        let Some(id) = refused.id().and_then(|id| id.parse::<IdPart>().ok()) else { return Ok(true) };
        let Some(known) = trail.call_of(&id, note)? else { return Ok(true) };
        if known.position() != refused.position() {
            return Ok(false);
        }
        let earlier = known.outcome().filter(|outcome| outcome.index < refused.position()).cloned();
        let was_shown = earlier.is_some_and(|outcome| {
            !self.held.contains_key(&outcome.index) && self.filter.matches(&Call::Undecided { outcome })
        });
        Ok(!was_shown)
    }

    fn hold(&mut self, call: Call, now: Instant, shown: &mut Vec<Call>) {
        if self.held.len() >= HELD_MAX {
            shown.extend(self.release_oldest());
        }
        if let Some(id) = call.id() {
            self.positions.insert(id.to_owned(), call.position());
        }
        self.held.insert(call.position(), Held { call, since: now });
    }

    fn release_oldest(&mut self) -> Option<Call> {
        let (position, _) = self.held.first_key_value()?;
        self.take(*position)
    }

    fn take(&mut self, position: u64) -> Option<Call> {
        let Held { call, .. } = self.held.remove(&position)?;
        if let Some(id) = call.id()
            && self.positions.get(id) == Some(&position)
        {
            self.positions.remove(id);
        }
        Some(call)
    }

    fn end(
        &mut self,
        trail: &mut Trail,
        note: &mut dyn FnMut(Note),
        outcome: Recorded<Outcome>,
        now: Instant,
        shown: &mut Vec<Call>,
    ) -> Result<(), AuditError> {
        let held = outcome.entry.call_id.as_ref().and_then(|id| self.positions.get(id)).copied();
        if let Some(position) = held {
            // Of several outcomes the first one counts.
            let is_first = self.held.get(&position).is_some_and(|held| held.call.outcome().is_none());
            let call = if is_first { self.take(position) } else { None };
            shown.extend(call.map(|call| with_outcome(call, outcome)));
            return Ok(());
        }
        let id = outcome.entry.call_id.as_deref().and_then(|id| id.parse::<IdPart>().ok());
        let known = match id {
            Some(id) => trail.call_of(&id, note)?,
            None => None,
        };
        match known {
            None => shown.push(Call::Undecided { outcome }),
            Some(call) if call.outcome().map(|first| first.index) != Some(outcome.index) => {}
            Some(Call::Undecided { .. }) if outcome.entry.filter_reason.is_none() => {
                shown.push(Call::Undecided { outcome });
            }
            // What says more may come, or stands behind this entry already.
            Some(call) if matches!(call, Call::Undecided { .. }) || call.position() > outcome.index => {
                self.hold(Call::Undecided { outcome }, now, shown);
            }
            // It was shown when it began, unless only its end tells whether it is meant.
            Some(_) if !self.filter.needs_outcome() => {}
            Some(call) => shown.push(call),
        }
        Ok(())
    }
}

fn with_outcome(call: Call, outcome: Recorded<Outcome>) -> Call {
    match call {
        Call::Decided { decision, .. } => Call::Decided { decision, outcome: Some(outcome) },
        Call::Refused { refusal, .. } => Call::Refused { refusal, outcome: Some(outcome) },
        Call::Undecided { outcome } => Call::Undecided { outcome },
    }
}
