//! The audit trail: calls found again in the ledger, by what a person asks for. A table of contents.
//!
//! A question's way through here is `pattern` and `when` (what was typed) → `filter` → `index` (positions) → `read`
//! (entries from the ledger, judged again) → `table` or JSON. `follow` shows calls as they are recorded, `event` what
//! happened to the server, `background` keeps the index near the ledger's end while the server runs, `gaps` enters what
//! the access log lost, `drift` puts together what filters counted, `differences` what shadows and candidates would have
//! decided otherwise, `trail` joins all of it, and `source` is the seam to
//! the ledger.
//!
//! INVARIANT: the ledger is the truth. The index says where to look, and never what is there.

mod background;
mod call;
mod count_by;
mod differences;
mod drift;
mod event;
mod filter;
mod follow;
mod gaps;
mod index;
mod pattern;
mod policies;
mod read;
mod source;
mod suggest;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod trail;
mod when;

pub use background::Indexer;
pub use call::{Call, Verdict};
pub use count_by::CountBy;
pub use differences::{Asked as DifferencesAsked, Compared, Differences};
pub use drift::{Asked as DriftAsked, Drifts};
pub use event::Event;
pub use filter::{Filter, IdPart, Status};
pub use follow::Follow;
pub use gaps::{OUTCOME_GRACE, OutcomeWatch};
pub use pattern::Pattern;
pub use policies::{KeptBundle, policy_object};
pub use table::{Counts, Table, json_line, visible};
pub use trail::{AuditError, Found, Note, Trail, Why};
pub use when::{Zone, day_ms, duration, parse_duration_us};

/// The folder of the index inside of the state directory.
pub const INDEX_DIRECTORY: &str = "index";
