//! Calls whose end nobody told. The access log is best effort, so what is missing of it is entered into the ledger.
//!
//! `settled` says which entries are old enough → [`find`] looks which of their calls have no outcome → `watch` enters
//! the stretch. Every stretch begins where the last one that was entered ends, so that nothing is entered twice, also
//! after a restart and with an index that was built anew.
//!
//! A denial and a refusal are over at once, and an ordinary call within the times that the proxy's configuration gives
//! it, which are shorter than the grace. An allowed gRPC call or upgrade lasts as long as something moves on it, so it
//! is never called missing.
//!
//! INVARIANT: a stretch without a missing outcome is not entered, and what may still run is not missing.

mod settled;
mod watch;

use std::ops::Range;
use std::path::Path;

use super::event::OUTCOMES_MISSING;
use super::filter::IdPart;
use super::index::{Index, IndexError};
use super::read;
use crate::ledger::{AdminEvent, Conclusion, Decision, Entry, Recorded};
pub use watch::{OUTCOME_GRACE, OutcomeWatch};

/// Calls without an outcome that are looked at for one entry. It bounds what one look costs.
const CANDIDATES_MAX: u64 = 10_000;

/// Entries that are read at once.
const READ_AT_ONCE: usize = 512;

/// Calls that an entry names.
const NAMED_MAX: usize = 5;

/// Entries whose calls were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stretch {
    entries: Range<u64>,
    missing: u64,
    /// The first ones that are missing.
    named: Vec<String>,
}

impl Stretch {
    /// For people.
    fn detail(&self) -> String {
        let Stretch { entries, missing, named } = self;
        let calls = if *missing == 1 { "call has" } else { "calls have" };
        let more = if *missing > named.len() as u64 { ", and others" } else { "" };
        format!(
            "{missing} {calls} no outcome, of those that entries {} to {} tell of: {}{more}",
            entries.start,
            entries.end.saturating_sub(1),
            named.join(", ")
        )
    }
}

/// Looks at the calls of entries that are settled and in no stretch that was entered. `looked_to` is how far an earlier
/// look went.
fn find(index: &Index, ledger: &Path, looked_to: u64, settled: u64) -> Result<Option<Stretch>, IndexError> {
    let from = looked_to.max(entered_to(index, ledger)?).max(index.oldest()?);
    if from >= settled {
        return Ok(None);
    }
    let candidates = index.without_outcome(from..settled, CANDIDATES_MAX)?;
    let to = match candidates.last() {
        Some(last) if candidates.len() as u64 == CANDIDATES_MAX => last.saturating_add(1),
        Some(_) | None => settled,
    };
    let mut stretch = Stretch { entries: from..to, missing: 0, named: Vec::new() };
    for positions in candidates.chunks(READ_AT_ONCE) {
        for recorded in read::at(index, ledger, positions)? {
            let Some(id) = awaited(&recorded) else { continue };
            if !has_its_id(index, id, recorded.index)? {
                continue;
            }
            stretch.missing += 1;
            if stretch.named.len() < NAMED_MAX {
                stretch.named.push(id.to_owned());
            }
        }
    }
    Ok(Some(stretch))
}

/// The id of a call that must be over.
fn awaited(recorded: &Recorded) -> Option<&str> {
    match &recorded.entry {
        Entry::Decision(decision) if may_run_on(decision) => None,
        Entry::Decision(decision) => Some(&decision.decision_id),
        Entry::Refusal(refusal) => Some(&refusal.call_id),
        Entry::Outcome(_)
        | Entry::Admin(_)
        | Entry::Drift(_)
        | Entry::Judged(_)
        | Entry::Shed(_)
        | Entry::Load(_) => None,
    }
}

fn may_run_on(decision: &Decision) -> bool {
    decision.decision == Conclusion::Allow
        && decision.verdict.is_some_and(|passed| passed.grpc || passed.upgrade)
}

/// Whether outcomes with the id are this call's: of two decisions with one id the first one has them.
fn has_its_id(index: &Index, id: &str, position: u64) -> Result<bool, IndexError> {
    match id.parse::<IdPart>() {
        Ok(id) => Ok(index.by_id(&id, 1)?.first().is_some_and(|hit| hit.call == position)),
        // No proxy of ours tells of such an id, so nothing can be missing.
        Err(_) => Ok(false),
    }
}

/// How far the last stretch went that was entered.
fn entered_to(index: &Index, ledger: &Path) -> Result<u64, IndexError> {
    let Some(position) = index.events(OUTCOMES_MISSING, 0..u64::MAX, 1)?.first().copied() else {
        return Ok(0);
    };
    let events = read::events(index, ledger, &[position])?;
    Ok(events.first().map_or(0, |event| match event.admin().map(|admin| &admin.event) {
        Some(AdminEvent::OutcomesMissing { to, .. }) => *to,
        _ => 0,
    }))
}

#[cfg(test)]
mod tests;
