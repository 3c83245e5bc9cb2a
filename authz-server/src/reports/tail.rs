//! What the ledger's last entries say of VMs that report, so that a server after a crash knows what was stored although
//! nobody heard its acknowledgement.
//!
//! INVARIANT: bounded: what is further back is forgotten, as it is while the server runs.

use super::known::Known;
use crate::ledger::{AdminEvent, Drift, Entries, Entry, Judged, Load, Refusal, Sheds};
use palisade_core::report::VmId;
use std::path::Path;

/// A batch whose acknowledgement was lost in a crash stands at the very end; the rest is for proxies that were cut off for
/// long. Half a second of reading.
pub(super) const TAIL_ENTRIES: u64 = 200_000;

/// Reads up to `entries`, the end of the ledger when the server started.
pub(super) fn read(ledger: &Path, entries: u64) -> Known {
    let mut known = Known::default();
    let begin = entries.saturating_sub(TAIL_ENTRIES);
    let tail = match Entries::open_from(ledger, begin) {
        Ok(tail) => tail,
        Err(error) => {
            tracing::warn!(%error, "the end of the ledger cannot be read, reports may be stored twice");
            return known;
        }
    };
    for recorded in tail {
        match recorded {
            Ok(recorded) if recorded.index >= entries => break,
            Ok(recorded) => note(&mut known, &recorded.entry),
            Err(error) => {
                tracing::warn!(%error, "the end of the ledger cannot be read, reports may be stored twice");
                break;
            }
        }
    }
    known
}

fn note(known: &mut Known, entry: &Entry) {
    match entry {
        Entry::Refusal(Refusal { vm, sequence, .. })
        | Entry::Drift(Drift { vm, sequence, .. })
        | Entry::Judged(Judged { vm, sequence, .. })
        | Entry::Shed(Sheds { vm, sequence, .. })
        | Entry::Load(Load { vm, sequence, .. }) => {
            if let Some(vm) = vm_id(vm) {
                known.stored(vm, sequence.saturating_add(1));
            }
        }
        Entry::Admin(admin) => {
            if let AdminEvent::ReportsLost { vm, from, count } = &admin.event
                && let Some(vm) = vm_id(vm)
            {
                known.stored(vm, from.saturating_add(*count));
            }
        }
        Entry::Decision(_) | Entry::Outcome(_) => {}
    }
}

fn vm_id(text: &str) -> Option<VmId> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(VmId(bytes))
}
