//! Opening a ledger: what is there is checked as far as a start has time for, and made fit to be written to.
//!
//! Only the headers of the segments and the last segment are read. The rest is read by whoever verifies.
//!
//! INVARIANT: a ledger that holds less than was signed, or segments that do not follow one another, is not opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sha2::{Digest, Sha256};

use crate::chain::{Chain, Segment};
use crate::checkpoint::{Checkpoint, VerifierKey};
use crate::error::{FileError, LedgerError};
use crate::file::{Files, ReadAt as _, WriteAt};
use crate::inbox::Inbox;
use crate::key::{self, SIGNING_KEY_FILE};
use crate::ledger::{Recovery, Settings};
use crate::prepare::{Prepared, Ready};
use crate::queue::Queue;
use crate::recovery::{self, Recovered, Tail};
use crate::segment::{self, HEADER_BYTES, Header};
use crate::tiles;
use crate::tree::{Progress, State, Tree};
use crate::writer::{Counters, Current, Sizes, Writer, now_ms};

pub(crate) struct Opened<D: Files> {
    pub(crate) writer: Writer<D>,
    pub(crate) tree: Tree<D>,
    pub(crate) recovery: Recovery,
}

pub(crate) fn open<D: Files>(
    files: &D,
    dir: &Path,
    queue: &Arc<Queue>,
    sizes: Sizes,
    settings: &Settings,
) -> Result<Opened<D>, LedgerError> {
    let mut chain = Chain::read(files, dir)?;
    let note = tiles::checkpoint_note(files, dir)?;
    let sealed = tiles::sealed_sizes(files, dir)?;
    let key_path = settings.key.clone().unwrap_or_else(|| dir.join(SIGNING_KEY_FILE));
    let is_signed = note.is_some() || !sealed.is_empty();
    let (key, key_created) = key::open(files, dir, &key_path, is_signed)?;
    let verifier = key.verifier();
    // One that this key did not sign says nothing; the tree makes its own.
    let latest = note.and_then(|note| verifier.open(&note).ok());

    let signed = signed_at_most(files, dir, &latest, &sealed, &verifier)?;
    let found = chain.segments.pop().map(|last| look(files, last)).transpose()?;
    let entries = found.as_ref().map_or(0, |found| found.recovered.entries);
    if signed > entries {
        return Err(LedgerError::RolledBack { dir: dir.to_owned(), entries, signed });
    }
    // Only from here on anything is changed.
    let mut recovery = Recovery { entries, key_created, ..Recovery::default() };
    let next = found.as_ref().map_or(0, |found| found.last.header.number.saturating_add(1));
    let ready = take_unfinished(files, dir, chain.unfinished, next, &mut recovery)?;
    let (current, ready) = match found {
        Some(found) => (reopen(found, &mut recovery)?, ready),
        None => (create(files, dir, ready, sizes)?, None),
    };
    files.sync_dir(dir).map_err(fail("sync the directory", dir))?;

    let (prepared, inbox) = (Arc::new(Prepared::new(ready)), Arc::new(Inbox::default()));
    let counters = Counters { entries: AtomicU64::new(recovery.entries), ..Counters::default() };
    let writer = Writer {
        files: files.clone(),
        dir: dir.to_owned(),
        current,
        sizes,
        asked_for: 0,
        prepared: Arc::clone(&prepared),
        queue: Arc::clone(queue),
        inbox: Arc::clone(&inbox),
        counters: Arc::new(counters),
    };
    let tree = Tree {
        files: files.clone(),
        dir: dir.to_owned(),
        key,
        every: settings.checkpoint_every,
        progress: Arc::new(Progress::of(latest.as_ref())),
        expected: latest,
        durable: recovery.entries,
        prepared,
        inbox,
        state: State::default(),
    };
    Ok(Opened { writer, tree, recovery })
}

/// The last segment, and where it ends.
struct Last<F> {
    last: Segment,
    file: F,
    recovered: Recovered,
}

fn look<D: Files>(files: &D, last: Segment) -> Result<Last<D::File>, LedgerError> {
    let file = files.open(&last.path).map_err(fail("open", &last.path))?;
    let recovered = recovery::look(&file, &last.path, &last.header)?;
    Ok(Last { last, file, recovered })
}

/// The last segment, ready to be written to.
fn reopen<F: WriteAt>(found: Last<F>, recovery: &mut Recovery) -> Result<Current<F>, LedgerError> {
    let Last { last: Segment { path, header }, mut file, recovered } = found;
    recovery::mend(&mut file, &path, &recovered)?;
    recovery.truncated_bytes = recovery.truncated_bytes.saturating_add(recovered.truncated_bytes);
    let room = file.length().map_err(fail("read", &path))?.max(recovered.end);
    Ok(Current { file, path, header, end: recovered.end, room, hash: recovered.hash, suspect: false })
}

/// The first segment of a new ledger, in the file that an interrupted start has left if there is one.
fn create<D: Files>(
    files: &D,
    dir: &Path,
    begun: Option<Ready<D::File>>,
    sizes: Sizes,
) -> Result<Current<D::File>, LedgerError> {
    let path = segment::path(dir, 0);
    let mut file = match begun {
        Some(ready) => ready.file,
        None => files.create(&path).map_err(fail("create", &path))?,
    };
    let header = Header { number: 0, first_index: 0, begun_ms: now_ms(), previous: None };
    // Without room prepared it is slower, and no worse.
    let room = file.preallocate(0, sizes.segment_bytes_min, &|| false).unwrap_or(0);
    file.write_all_at(&header.encode(), 0).map_err(fail("write", &path))?;
    file.sync().map_err(fail("sync", &path))?;
    Ok(Current { file, path, header, end: HEADER_BYTES as u64, room, hash: Sha256::new(), suspect: false })
}

/// A file behind the last segment: prepared room is used, and the rest of a beginning is put aside.
fn take_unfinished<D: Files>(
    files: &D,
    dir: &Path,
    unfinished: Option<(u32, PathBuf)>,
    next: u32,
    recovery: &mut Recovery,
) -> Result<Option<Ready<D::File>>, LedgerError> {
    let Some((number, path)) = unfinished else { return Ok(None) };
    let file = files.open(&path).map_err(fail("open", &path))?;
    let tail = recovery::tail(&file, 0).map_err(fail("read", &path))?;
    let room = file.length().map_err(fail("read", &path))?;
    if tail == Tail::Blank && number == next {
        return Ok(Some(Ready { number, file, room }));
    }
    drop(file);
    let aside = dir.join(format!("{number:08}.unfinished-{}", now_ms()));
    files.rename(&path, &aside).map_err(fail("rename", &path))?;
    recovery.truncated_bytes = recovery.truncated_bytes.saturating_add(room);
    Ok(None)
}

/// How many entries the ledger must have, as far as its own checkpoints tell.
fn signed_at_most<D: Files>(
    files: &D,
    dir: &Path,
    latest: &Option<Checkpoint>,
    sealed: &[u64],
    verifier: &VerifierKey,
) -> Result<u64, FileError> {
    let mut signed = latest.as_ref().map_or(0, |checkpoint| checkpoint.size);
    // The largest first; names are not believed, what was signed is.
    for size in sealed.iter().take_while(|size| **size > signed).copied().collect::<Vec<u64>>() {
        if let Ok(checkpoint) = tiles::sealed(files, dir, size, verifier)? {
            signed = signed.max(checkpoint.size);
        }
    }
    Ok(signed)
}

fn fail(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { action, path, source }
}
