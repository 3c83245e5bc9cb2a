//! The ledger: every decision, outcome and administrative event, in the order in which they became durable.
//!
//! An entry's way in is `writer` (queue, group commit) → `frame` (bytes and checksums) → `file` (disk); its way
//! out is `reader`, which needs no server. `entry` says what is recorded, `segment` how a file begins and is
//! walked, `recovery` what an unfinished end means, and `limits` holds every bound.
//!
//! INVARIANT: an append that was answered with a [`Receipt`] is on disk, and opening never drops it in silence.

mod entry;
mod error;
mod file;
mod frame;
mod limits;
mod reader;
mod recovery;
mod segment;
mod writer;

pub use entry::{Admin, AdminEvent, Conclusion, Decision, Entry, EntryError, Epoch, Outcome, Proof, Shadow};
pub use error::{AppendError, Corruption, FileError, FormatError, LedgerError, ReadError};
pub use frame::{Decoded, Frame, FrameError, Kind, LeafHash, Stored, decode, encode, leaf_hash};
pub use limits::ENTRY_BYTES_MAX;
pub use reader::{Entries, Follow, Found, Recorded, Verified, find, verify};
pub use writer::{Ledger, LedgerState, Receipt, Recovery};
