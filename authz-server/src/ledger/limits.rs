//! Every bound of the ledger, with its reason.
//!
//! INVARIANT: the bounds fit together; the assertions at the end fail the build where they do not.

use super::frame::HEAD_BYTES;

/// The largest stored form of one entry. Envoy admits request heads of 60 KiB by default and JSON escaping makes
/// at most six bytes of one, so no request that reached the server comes near it.
pub const ENTRY_BYTES_MAX: usize = 512 * 1024;

/// The largest frame.
pub(super) const FRAME_BYTES_MAX: usize = HEAD_BYTES + ENTRY_BYTES_MAX;

/// Entries that may wait for the writer. At 2,000 syncs a second and a batch each this is well under a second of
/// work; whoever comes later is better told so than kept waiting until Envoy's deadline.
pub(super) const QUEUE_ENTRIES_MAX: usize = 4096;

/// Stored bytes that may wait for the writer, so that a queue of large entries cannot exhaust memory.
pub(super) const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The share of the queue, as a divisor, that is kept for callers who wait for their receipt: a flood of outcomes
/// must not be what refuses decisions.
pub(super) const QUEUE_RESERVED_DIVISOR: usize = 2;

/// The most entries that one sync makes durable; it bounds how long the first of them waits for the last.
pub(super) const BATCH_ENTRIES_MAX: usize = 1024;

/// A batch of this size takes no further entry.
pub(super) const BATCH_BYTES_FULL: usize = 4 * 1024 * 1024;

/// The largest batch: one byte short of full, and then the largest frame. Never more than this is written without
/// a sync, so never more than this can be torn by a crash.
pub(super) const BATCH_BYTES_MAX: usize = BATCH_BYTES_FULL + FRAME_BYTES_MAX;

/// The smallest unit that a disk writes or loses. Larger units are made of whole ones.
pub(super) const SECTOR_BYTES: usize = 512;

/// What the scanner reads at once: large enough that system calls do not show, small enough for any host.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// Entries that one poll of a follower returns, so that a follower far behind stays small in memory.
pub(super) const POLL_ENTRIES_MAX: usize = 1024;

const _: () = assert!(BATCH_ENTRIES_MAX <= QUEUE_ENTRIES_MAX, "a queue must be able to fill a batch");
const _: () =
    assert!(ENTRY_BYTES_MAX <= QUEUE_BYTES_MAX / QUEUE_RESERVED_DIVISOR, "any entry must fit the queue");
const _: () = assert!(BATCH_BYTES_MAX <= 1 << 31, "a place within a batch is stored in 32 bits");
