//! The ledger's own thread: it writes what waits, syncs once for all of it, and only then answers.
//!
//! While it syncs the next batch gathers, so the disk's own pace sets the size of batches and nobody waits for a timer.
//! A segment whose write or sync failed is never touched again, because what the disk then holds is unknown. The writer goes
//! on in another segment, whose header says where the one before ends; while that fails too, everything is refused,
//! and it tries again by itself.
//!
//! INVARIANT: an answer is given after the sync that covers its entry, and never otherwise.
//! INVARIANT: a batch that was taken is stored in its order or refused; what a failed segment shows of it beyond its end
//! is stored again, entry for entry, so that no reader sees two entries at one place.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::entry::{Admin, AdminEvent, Entry};
use crate::error::{AppendError, FileError};
use crate::file::{Files, WriteAt};
use crate::frame::Body;
use crate::inbox::Inbox;
use crate::limits::{RETRY_AFTER, SEGMENT_AGE_MAX, SEGMENT_BYTES_MAX};
use crate::merkle::{Hash, leaf_hash};
use crate::prepare::{Handover, Prepared};
use crate::queue::{Contents, Queue, Taken};
use crate::segment::{self, HEADER_BYTES, Header, Previous};

/// What the writer has done, for those who hold the ledger.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Entries that are durable.
    pub(crate) entries: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) segments_given_up: AtomicU64,
}

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Current<F> {
    pub(crate) file: F,
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
    /// Where the next batch goes.
    pub(crate) end: u64,
    /// How much of the file was prepared.
    pub(crate) room: u64,
    /// Over the leaf hashes of the segment.
    pub(crate) hash: Sha256,
    /// A write or a sync failed, so nothing more may be written here.
    pub(crate) suspect: bool,
}

/// How large segments are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) segment_bytes_min: u64,
    pub(crate) segment_bytes_max: u64,
}

pub(crate) struct Writer<D: Files> {
    pub(crate) files: D,
    pub(crate) dir: PathBuf,
    pub(crate) current: Current<D::File>,
    pub(crate) sizes: Sizes,
    /// The segment that was last wanted to be prepared.
    pub(crate) asked_for: u32,
    pub(crate) prepared: Arc<Prepared<D::File>>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) counters: Arc<Counters>,
}

impl<D: Files> Writer<D> {
    pub(crate) fn run(mut self) {
        let mut memory = Contents::default();
        while let Some(taken) = self.queue.take(memory) {
            match self.store(&taken.contents) {
                Ok(first) => {
                    self.queue.settled();
                    taken.batch.answer(Ok(first));
                    memory = taken.contents.recycled();
                }
                Err(error) => {
                    self.go_on_elsewhere(&error, taken);
                    memory = Contents::default();
                }
            }
        }
        // Whoever came between the last look and the close was refused; the open batch is empty.
    }

    /// Makes a batch durable, in this segment or, if that is full or old, in the next. Gives the index of its first entry.
    fn store(&mut self, contents: &Contents) -> Result<u64, FileError> {
        let first = self.counters.entries.load(Ordering::Acquire);
        let moves = self.current.suspect || self.is_due() || !self.has_room(&contents.bytes);
        let moved = moves && self.begin_next(&contents.bytes)?;
        if !moved {
            self.current.add(&contents.bytes)?;
        }
        for leaf in &contents.leaves {
            self.current.hash.update(leaf.as_bytes());
        }
        let entries = first.saturating_add(contents.leaves.len() as u64);
        self.counters.entries.store(entries, Ordering::Release);
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        self.inbox.add(first, &contents.leaves, moved);
        self.prepare_next();
        Ok(first)
    }

    fn has_room(&self, bytes: &[u8]) -> bool {
        // A batch that is larger than any segment goes where it is first.
        self.current.end.saturating_add(bytes.len() as u64) <= self.current.room || self.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.current.end <= HEADER_BYTES as u64
    }

    fn is_due(&self) -> bool {
        !self.is_empty()
            && u128::from(now_ms().saturating_sub(self.current.header.begun_ms)) > SEGMENT_AGE_MAX.as_millis()
    }

    fn prepare_next(&mut self) {
        let number = self.current.header.number.saturating_add(1);
        // Asked once: where there is no room to prepare one, asking again does not make any.
        if self.asked_for < number && self.current.end > self.current.room / 2 {
            self.asked_for = number;
            if self.prepared.want(number, self.next_room()) {
                self.inbox.nudge();
            }
        }
    }

    /// Twice what this one came to hold.
    fn next_room(&self) -> u64 {
        let most = self.sizes.segment_bytes_max.min(SEGMENT_BYTES_MAX);
        self.current.room.max(self.current.end).saturating_mul(2).clamp(self.sizes.segment_bytes_min, most)
    }

    /// Begins the next segment with this batch. Says no while that one is being prepared, which ends soon.
    fn begin_next(&mut self, bytes: &[u8]) -> Result<bool, FileError> {
        let header = self.next_header();
        match self.prepared.take(header.number) {
            Handover::Busy => return Ok(false),
            Handover::Ready(ready) => {
                let path = segment::path(&self.dir, header.number);
                self.current = begin(ready.file, path, header, ready.room, bytes)?;
            }
            Handover::None => self.current = self.create(header, bytes)?,
        }
        Ok(true)
    }

    fn next_header(&self) -> Header {
        let Current { header, end, hash, .. } = &self.current;
        Header {
            number: header.number.saturating_add(1),
            first_index: self.counters.entries.load(Ordering::Acquire),
            begun_ms: now_ms(),
            previous: Some(Previous {
                end: *end,
                header: header.hash(),
                entries: Hash::new(hash.clone().finalize().into()),
            }),
        }
    }

    /// A segment that nobody prepared: its first writes are slower, and it costs a sync of the directory.
    fn create(&self, header: Header, bytes: &[u8]) -> Result<Current<D::File>, FileError> {
        let path = segment::path(&self.dir, header.number);
        let fail = |action, path: &Path| {
            let path = path.to_owned();
            move |source| FileError { action, path, source }
        };
        // It may have been prepared, or begun, and then given up. It never held what was acknowledged.
        let removed = self.files.remove(&path);
        removed.or_else(not_found_is_fine).map_err(fail("remove", &path))?;
        let file = self.files.create(&path).map_err(fail("create", &path))?;
        let current = begin(file, path, header, self.next_room(), bytes)?;
        self.files.sync_dir(&self.dir).map_err(fail("sync the directory", &self.dir))?;
        Ok(current)
    }

    /// The segment is given up. At once or after a while the batch is stored in another one.
    fn go_on_elsewhere(&mut self, error: &FileError, taken: Taken) {
        self.counters.segments_given_up.fetch_add(1, Ordering::Relaxed);
        let cause: Arc<str> = error.to_string().into();
        let given_up = format!("`{}` at byte {}", self.current.path.display(), self.current.end);
        if let Ok(first) = self.store(&taken.contents) {
            tracing::error!(%cause, given_up, "a segment was given up, the ledger goes on in another one");
            self.queue.settled();
            taken.batch.answer(Ok(first));
            return self.tell_replaced(&cause, &given_up);
        }
        tracing::error!(%cause, given_up, "the ledger cannot store anything and refuses decisions");
        // Two batches stay two: each frame says where its batch began, and each batch is one sync.
        let open = self.queue.fail(&cause).map(|open| open.contents);
        taken.batch.answer(Err(AppendError::Failing { cause: Arc::clone(&cause) }));
        let mut kept: VecDeque<Contents> = [taken.contents].into_iter().chain(open).collect();
        loop {
            if self.queue.wait_for_close(RETRY_AFTER) {
                return;
            }
            while let Some(contents) = kept.front() {
                if self.store(contents).is_err() {
                    break;
                }
                kept.pop_front();
            }
            if kept.is_empty() {
                break;
            }
        }
        tracing::warn!(given_up, "the ledger stores again");
        self.tell_replaced(&cause, &given_up);
        self.queue.resume();
    }

    /// Enters into the ledger itself that a segment was given up.
    fn tell_replaced(&mut self, cause: &str, given_up: &str) {
        let detail = format!(
            "{given_up} was given up because the ledger {cause}; entries just before this one may be of calls that were \
             refused"
        );
        let entry = Entry::Admin(Admin { at_ms: now_ms(), event: AdminEvent::SegmentReplaced, detail });
        let mut stored = Vec::new();
        let mut contents = Contents::default();
        let framed = entry.write_to(&mut stored).is_ok();
        if let Ok(body) = Body::new(entry.kind(), &stored)
            && framed
        {
            body.put(&mut contents.bytes);
            contents.leaves.push(leaf_hash(&stored));
            // If this fails, the next batch fails too, and that is told.
            if let Err(error) = self.store(&contents) {
                tracing::error!(%error, "the event could not be stored");
            }
        }
    }
}

impl<F: WriteAt> Current<F> {
    fn add(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let path = &self.path;
        let fail = |action| move |source| FileError { action, path: path.clone(), source };
        if self.suspect {
            // The next one is being prepared, and here nothing may be written any more.
            return Err(fail("write")(std::io::ErrorKind::WouldBlock.into()));
        }
        let written = self.file.write_all_at(bytes, self.end).map_err(fail("write"));
        let stored = written.and_then(|()| self.file.sync().map_err(fail("sync")));
        self.suspect = stored.is_err();
        stored?;
        self.end = self.end.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

/// Header and first batch become durable by one sync.
fn begin<F: WriteAt>(
    mut file: F,
    path: PathBuf,
    header: Header,
    room: u64,
    bytes: &[u8],
) -> Result<Current<F>, FileError> {
    let fail = |action| {
        let path = path.clone();
        move |source| FileError { action, path, source }
    };
    file.write_all_at(&header.encode(), 0).map_err(fail("write"))?;
    file.write_all_at(bytes, HEADER_BYTES as u64).map_err(fail("write"))?;
    file.sync().map_err(fail("sync"))?;
    let end = (HEADER_BYTES as u64).saturating_add(bytes.len() as u64);
    Ok(Current { file, path, header, end, room, hash: Sha256::new(), suspect: false })
}

fn not_found_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Before 1970 the clock stands at 0.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
