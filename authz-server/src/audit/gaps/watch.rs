//! Enters stretches of calls whose end nobody told, beside a running server.
//!
//! INVARIANT: nothing waits for it. What it cannot enter now it looks for again, and what it entered it does not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::settled::Settled;
use super::{Stretch, find};
use crate::audit::INDEX_DIRECTORY;
use crate::audit::index::{Index, IndexError};
use crate::build::CALL_LASTS_MAX;
use crate::ledger::{Admin, AdminEvent, Entry, Ledger};
use crate::serve::service::now_ms;
use crate::state::LEDGER_DIRECTORY;
use crate::telemetry::Metrics;

/// How long the end of a call is waited for, streams apart.
pub const OUTCOME_GRACE: Duration = Duration::from_secs(300);

const _: () = assert!(OUTCOME_GRACE.as_secs() > 2 * CALL_LASTS_MAX.as_secs(), "it may still run");

/// The task, until this is dropped.
#[derive(Debug)]
pub struct OutcomeWatch(tokio::task::JoinHandle<()>);

impl OutcomeWatch {
    /// Starts it for the ledger of a state directory, whose index somebody else keeps up to date.
    pub fn start(state: &Path, ledger: &Ledger, metrics: Arc<Metrics>, grace: Duration) -> OutcomeWatch {
        let look = Look {
            index: state.join(INDEX_DIRECTORY),
            ledger: state.join(LEDGER_DIRECTORY),
            settled: Settled::new(grace),
            looked_to: 0,
        };
        OutcomeWatch(tokio::spawn(run(look, ledger.clone(), metrics, grace / 10)))
    }
}

impl Drop for OutcomeWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(mut look: Look, ledger: Ledger, metrics: Arc<Metrics>, every: Duration) {
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        look.settled.note(Instant::now(), ledger.entries());
        let looked = tokio::task::spawn_blocking(move || {
            let found = look.look();
            (look, found)
        });
        let found;
        (look, found) = match looked.await {
            Ok(looked) => looked,
            Err(error) => {
                tracing::error!(%error, "nobody looks for missing outcomes any more");
                return;
            }
        };
        match found {
            Ok(Some(stretch)) if stretch.missing > 0 => {
                let looked_to = stretch.entries.end;
                if enter(stretch, &ledger, &metrics).await {
                    look.looked_to = looked_to;
                }
            }
            Ok(Some(stretch)) => look.looked_to = stretch.entries.end,
            Ok(None) => {}
            // Whoever keeps the index says more about it, and mends it.
            Err(error) => tracing::debug!(%error, "missing outcomes cannot be looked for now"),
        }
    }
}

/// What is taken along from look to look.
#[derive(Debug)]
struct Look {
    index: PathBuf,
    ledger: PathBuf,
    settled: Settled,
    looked_to: u64,
}

impl Look {
    fn look(&mut self) -> Result<Option<Stretch>, IndexError> {
        // Opened anew each time: another process may have replaced it.
        let index = Index::open(&self.index, &self.ledger)?;
        let settled = self.settled.entries(index.done()?);
        find(&index, &self.ledger, self.looked_to, settled)
    }
}

/// Whether it is in the ledger now.
async fn enter(stretch: Stretch, ledger: &Ledger, metrics: &Metrics) -> bool {
    let Stretch { entries, missing, named } = &stretch;
    let event = AdminEvent::OutcomesMissing { from: entries.start, to: entries.end, count: *missing };
    let entry = Entry::Admin(Admin { at_ms: now_ms(), event, detail: stretch.detail() });
    if let Err(error) = ledger.append(&entry).await {
        if !error.is_told_by_the_ledger() {
            tracing::warn!(%error, "missing outcomes could not be entered");
        }
        return false;
    }
    metrics.outcomes_missing(*missing);
    let first = named.first().map(String::as_str).unwrap_or_default();
    tracing::warn!(
        count = missing,
        from = entries.start,
        to = entries.end,
        first,
        "calls ended without an entry of the access log"
    );
    true
}
