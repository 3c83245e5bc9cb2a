//! From positions to calls: whatever is shown comes from here.
//!
//! INVARIANT: a call is made of entries of the ledger and of nothing that the index says about them.

use std::collections::BTreeMap;
use std::path::Path;

use super::call::Call;
use super::index::{Hit, Index, IndexError};
use super::source::Source;
use crate::ledger::{Decision, Entry, Outcome, Recorded};

/// Reads the calls of hits, in the order of the hits.
pub(super) fn calls(index: &Index, ledger: &Path, hits: &[Hit]) -> Result<Vec<Call>, IndexError> {
    let positions = hits.iter().flat_map(|hit| [Some(hit.call), hit.outcome]).flatten();
    let entries = entries(index, ledger, positions)?;
    hits.iter().map(|hit| assemble(hit, &entries)).collect()
}

/// Reads outcomes by their positions.
pub(super) fn outcomes(
    index: &Index,
    ledger: &Path,
    positions: &[u64],
) -> Result<Vec<Recorded<Outcome>>, IndexError> {
    let entries = entries(index, ledger, positions.iter().copied())?;
    positions.iter().map(|position| outcome(*position, &entries)).collect()
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
    let outcome_of = |position: Option<u64>| position.map(|position| outcome(position, entries)).transpose();
    match entries.get(&hit.call).map(|recorded| &recorded.entry) {
        Some(Entry::Decision(_)) => {
            let call =
                Call::Decided { decision: decision(hit.call, entries)?, outcome: outcome_of(hit.outcome)? };
            let is_joined =
                call.outcome().is_none_or(|outcome| outcome.entry.call_id.as_deref() == call.id());
            if is_joined { Ok(call) } else { Err(misplaced(hit.call)) }
        }
        Some(Entry::Outcome(_)) if hit.outcome == Some(hit.call) => {
            Ok(Call::Undecided { outcome: outcome(hit.call, entries)? })
        }
        Some(Entry::Outcome(_) | Entry::Refusal(_) | Entry::Admin(_)) | None => Err(misplaced(hit.call)),
    }
}

fn decision(position: u64, entries: &BTreeMap<u64, Recorded>) -> Result<Recorded<Decision>, IndexError> {
    match entries.get(&position) {
        Some(Recorded { index, offset, leaf_hash, entry: Entry::Decision(entry) }) => {
            Ok(Recorded { index: *index, offset: *offset, leaf_hash: *leaf_hash, entry: entry.clone() })
        }
        Some(_) | None => Err(misplaced(position)),
    }
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
