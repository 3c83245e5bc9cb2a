//! From positions to calls: whatever is shown comes from here.
//!
//! INVARIANT: a call is made of entries of the ledger and of nothing that the index says about them.

use std::collections::BTreeMap;
use std::path::Path;

use super::call::Call;
use super::event::{Event, Happened};
use super::index::{Hit, Index, IndexError};
use super::source::Source;
use crate::ledger::{Entry, Outcome, Recorded};

/// Reads the calls of hits, in the order of the hits.
pub(super) fn calls(index: &Index, ledger: &Path, hits: &[Hit]) -> Result<Vec<Call>, IndexError> {
    let positions = hits.iter().flat_map(|hit| [Some(hit.call), hit.outcome]).flatten();
    let entries = entries(index, ledger, positions)?;
    hits.iter().map(|hit| assemble(hit, &entries)).collect()
}

/// Reads entries by their positions.
pub(super) fn at(index: &Index, ledger: &Path, positions: &[u64]) -> Result<Vec<Recorded>, IndexError> {
    let mut entries = entries(index, ledger, positions.iter().copied())?;
    let taken = positions.iter().map(|position| entries.remove(position).ok_or_else(|| misplaced(*position)));
    taken.collect()
}

/// Reads what happened to the server, by the positions of events.
pub(super) fn events(index: &Index, ledger: &Path, positions: &[u64]) -> Result<Vec<Event>, IndexError> {
    let event = |recorded: Recorded| {
        let Recorded { index, offset, leaf_hash, entry } = recorded;
        let entry = match entry {
            Entry::Admin(admin) => Happened::Admin(admin),
            Entry::Drift(drift) => Happened::Drift(Box::new(drift)),
            Entry::Shed(sheds) => Happened::Shed(Box::new(sheds)),
            Entry::Decision(_)
            | Entry::Refusal(_)
            | Entry::Outcome(_)
            | Entry::Judged(_)
            | Entry::Load(_) => {
                return Err(misplaced(index));
            }
        };
        Ok(Event(Recorded { index, offset, leaf_hash, entry }))
    };
    at(index, ledger, positions)?.into_iter().map(event).collect()
}

/// Each entry once, in one walk forward.
fn entries(
    index: &Index,
    ledger: &Path,
    positions: impl Iterator<Item = u64>,
) -> Result<BTreeMap<u64, Recorded>, IndexError> {
    let mut entries: BTreeMap<u64, Option<Recorded>> = positions.map(|position| (position, None)).collect();
    let mut source: Option<Source> = None;
    for (position, entry) in &mut entries {
        let anchor = index.anchor(*position)?;
        let reading = match &mut source {
            Some(reading) => reading,
            None => source.insert(Source::open(ledger, Some(anchor))?),
        };
        reading.seek(*position, anchor)?;
        *entry = reading.step()?.filter(|recorded| recorded.index == *position);
        if entry.is_none() {
            return Err(IndexError::Damaged(format!("the ledger has no entry {position}")));
        }
    }
    Ok(entries.into_iter().filter_map(|(position, entry)| Some((position, entry?))).collect())
}

fn assemble(hit: &Hit, entries: &BTreeMap<u64, Recorded>) -> Result<Call, IndexError> {
    let outcome = hit.outcome.map(|position| outcome(position, entries)).transpose()?;
    let misplaced = || misplaced(hit.call);
    let Recorded { index, offset, leaf_hash, entry } = entries.get(&hit.call).ok_or_else(misplaced)?;
    let (index, offset, leaf_hash) = (*index, *offset, *leaf_hash);
    let call = match entry {
        Entry::Decision(entry) => {
            let entry = entry.clone();
            Call::Decided { decision: Box::new(Recorded { index, offset, leaf_hash, entry }), outcome }
        }
        Entry::Refusal(entry) => {
            let entry = entry.clone();
            Call::Refused { refusal: Box::new(Recorded { index, offset, leaf_hash, entry }), outcome }
        }
        Entry::Outcome(_) => {
            let outcome = outcome.filter(|outcome| outcome.index == hit.call).ok_or_else(misplaced)?;
            return Ok(Call::Undecided { outcome });
        }
        Entry::Admin(_) | Entry::Drift(_) | Entry::Judged(_) | Entry::Shed(_) | Entry::Load(_) => {
            return Err(misplaced());
        }
    };
    let is_joined = call.outcome().is_none_or(|outcome| outcome.entry.call_id.as_deref() == call.id());
    if is_joined { Ok(call) } else { Err(misplaced()) }
}

fn outcome(position: u64, entries: &BTreeMap<u64, Recorded>) -> Result<Recorded<Outcome>, IndexError> {
    match entries.get(&position) {
        Some(Recorded { index, offset, leaf_hash, entry: Entry::Outcome(entry) }) => {
            Ok(Recorded { index: *index, offset: *offset, leaf_hash: *leaf_hash, entry: entry.clone() })
        }
        Some(_) | None => Err(misplaced(position)),
    }
}

fn misplaced(position: u64) -> IndexError {
    IndexError::Damaged(format!("entry {position} is not what it says"))
}
