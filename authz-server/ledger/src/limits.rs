//! Every bound of the ledger, with its reason.
//!
//! INVARIANT: the bounds fit together; the assertions at the end fail the build where they do not.

use std::time::Duration;

use crate::frame::HEAD_BYTES;
use crate::segment::HEADER_BYTES;

/// The largest stored form of one entry. Envoy admits request heads of 60 KiB by default and JSON escaping makes
/// at most six bytes of one, so no request that reached the server comes near it.
pub const ENTRY_BYTES_MAX: usize = 512 * 1024;

/// The largest frame.
pub(crate) const FRAME_BYTES_MAX: usize = HEAD_BYTES + ENTRY_BYTES_MAX;

/// Entries that may wait for the writer; all of them become one batch. This is a fraction of a second of work, and
/// whoever comes later is better told so than kept waiting until Envoy's deadline.
pub(crate) const QUEUE_ENTRIES_MAX: usize = 4096;

/// Bytes of frames that may wait for the writer, so that a queue of large entries cannot exhaust memory.
pub(crate) const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The share of the queue, as a divisor, that is kept for callers who wait for their receipt: a flood of outcomes
/// must not be what refuses decisions.
pub(crate) const QUEUE_RESERVED_DIVISOR: usize = 2;

/// The largest batch: one byte short of full, and then the largest frame. Never more than this is written without
/// a sync, so never more than this can be torn by a crash.
pub(crate) const BATCH_BYTES_MAX: usize = QUEUE_BYTES_MAX + FRAME_BYTES_MAX;

/// A batch's memory is kept for the next one up to this size.
pub(crate) const BATCH_BYTES_KEPT: usize = 1024 * 1024;

/// How many buffered entries may be acknowledged and not yet durable. Over it callers wait.
pub const BUFFERED_ENTRIES_MAX: usize = 2048;

/// How long ago the oldest buffered entry may have been acknowledged while it is not yet durable. Over it callers
/// wait, so that never more than this much of the past can be lost.
pub const BUFFERED_LOSS_MAX: Duration = Duration::from_millis(100);

/// How long a buffered entry waits for others to be written with it. What is left of the bound is for the disk.
pub(crate) const BUFFERED_GATHER: Duration = Duration::from_millis(40);

/// Outcomes and events for which nobody waits gather with the buffered ones.
pub(crate) const SOON_GATHER: Duration = BUFFERED_GATHER;

/// The first segment's room. Each next one has twice what the one before came to hold, so that a small ledger is small
/// and a large one rotates rarely.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 1024 * 1024;

/// The largest room of a segment. The last one is read whole at start: this much takes a fraction of a second.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How old a segment may grow. Retention deletes whole ones, so this is also how exactly it keeps its term.
pub(crate) const SEGMENT_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What of a segment is written with zeros at once, between two looks at whether somebody waits for it.
pub(crate) const PREPARE_BYTES: usize = 1024 * 1024;

/// How long the writer waits after a failure before it tries another segment.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(250);

/// The smallest unit that a disk writes or loses. Larger units are made of whole ones.
pub(crate) const SECTOR_BYTES: usize = 512;

/// What the scanner reads at once: large enough that system calls do not show, small enough for any host.
pub(crate) const READ_BYTES: usize = 256 * 1024;

/// Entries that one poll of a follower returns, so that a follower far behind stays small in memory.
pub(crate) const POLL_ENTRIES_MAX: usize = 1024;

/// How long a reader looks again at a frame that it finds unfinished or damaged at the live end of a ledger before it
/// believes what it sees: the writer may be in the middle of writing it.
pub(crate) const LIVE_LOOK: Duration = Duration::from_millis(250);

/// How long a start looks whether the directory becomes free: a reader looks for the writer by touching its lock.
pub(crate) const LOCK_LOOK: Duration = Duration::from_millis(200);

/// Keys, checkpoints and tiles are small; whatever is longer is none of them.
pub(crate) const SMALL_FILE_BYTES_MAX: usize = 64 * 1024;

/// Leaf hashes that wait for the tree. Over it they are dropped, and the tree reads the segments instead.
pub(crate) const LEAVES_WAITING_MAX: usize = 64 * 1024;

/// So many leaf hashes wake the tree before its time.
pub(crate) const LEAVES_WAKE: usize = 8 * 1024;

/// How often a checkpoint is signed, whether or not anything was recorded. Half of what is promised, so that a slow disk
/// does not break the promise.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);

/// After this time an entry that is durable is under a checkpoint.
pub const CHECKPOINT_PROMISE: Duration = Duration::from_secs(10);

const _: () =
    assert!(FRAME_BYTES_MAX <= QUEUE_BYTES_MAX / QUEUE_RESERVED_DIVISOR, "any entry must fit the queue");
const _: () = assert!(BUFFERED_ENTRIES_MAX <= QUEUE_ENTRIES_MAX, "buffered entries wait in the queue");
const _: () = assert!(QUEUE_ENTRIES_MAX < LEAVES_WAITING_MAX, "a batch must fit");
const _: () = assert!(BATCH_BYTES_MAX <= 1 << 31, "a place within a batch is stored in 32 bits");
const _: () =
    assert!(BUFFERED_GATHER.as_millis() * 2 < BUFFERED_LOSS_MAX.as_millis(), "the disk needs time too");
const _: () =
    assert!(CHECKPOINT_EVERY.as_millis() * 2 <= CHECKPOINT_PROMISE.as_millis(), "one may come late");
const _: () = assert!(HEADER_BYTES.is_multiple_of(SECTOR_BYTES), "a header is lost whole or not at all");
const _: () = assert!(256 * 32 <= SMALL_FILE_BYTES_MAX, "a tile is a small file");
