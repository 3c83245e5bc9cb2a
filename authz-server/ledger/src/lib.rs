//! The ledger: every decision, outcome and administrative event, in the order in which they became durable.
//!
//! Pure: `entry` (what is recorded), `frame` and `segment` (its bytes), `merkle` (the tree over it), `checkpoint` (its
//! signed head), `proof` (for others to check), `limits` (every bound). Over `file`, the only way to a disk: `queue` →
//! `writer` is the way in, `tree` follows behind and signs, `open` and `recovery` make fit after a crash, and `walk` →
//! `reader` is the way out, which like `verify` and `prove` needs no server.
//!
//! INVARIANT: an append that was answered with a [`Receipt`] is on disk, and opening never drops it in silence.

mod chain;
mod checkpoint;
mod entry;
mod error;
mod file;
mod frame;
mod inbox;
mod key;
mod ledger;
mod limits;
mod merkle;
mod open;
mod prepare;
mod proof;
mod prove;
mod queue;
mod reader;
mod recovery;
mod retention;
mod scan;
mod segment;
mod status;
mod tiles;
mod tree;
mod verify;
mod walk;
mod writer;

pub use checkpoint::{Checkpoint, VerifierKey};
pub use entry::{
    Admin, AdminEvent, Asked, Candidate, Conclusion, Credential, Decision, Drift, Entry, EntryError, Epoch,
    HeaderName, Judged, JudgedCount, Load, LoadCount, LoadLevel, Otherwise, Outcome, Passed, Proof, Refusal,
    Shadow, Sheds, Side, Spike, Storm, Undecided, UnrecordableHeader, Verdict,
};
pub use error::{
    AppendError, ChainError, CheckpointError, Corruption, FileError, FormatError, KeyError, LedgerError,
    ReadError,
};
pub use file::{Disk, DiskFile, Files, ReadAt, WriteAt};
pub use frame::{FrameError, Kind, Stored};
pub use key::{CreatedKey, VERIFIER_KEY_FILE};
pub use ledger::{Accepted, Durability, Health, Ledger, LedgerState, Receipt, Recovery, Settings};
pub use limits::{
    BUFFERED_ENTRIES_MAX, BUFFERED_LOSS_MAX, CHECKPOINT_EVERY, CHECKPOINT_PROMISE, ENTRY_BYTES_MAX,
};
pub use merkle::{Hash, LeafHash, TILE_WIDTH};
pub use proof::InclusionProof;
pub use prove::{ProveError, prove};
pub use reader::{Entries, Follow, Found, Recorded, find};
pub use retention::{PruneError, Pruned, Retention};
pub use status::{Status, status};
pub use tiles::CHECKPOINT_FILE;
pub use tree::Signed;
pub use verify::{Against, Deleted, Verified, VerifyError, Which, verify, verify_against};
