//! The index: an SQLite file beside the ledger, by which questions are answered without reading all of it.
//!
//! It is disposable. It holds positions, never entries: what is shown is read from the ledger, and nothing that is
//! proven rests on it. One that is missing, of another version, of another ledger or damaged is built anew from the
//! ledger; SQLite finds damage to its structure where a question meets it, the server looks for all of it when it
//! starts, and every row that is used is compared with its entry. A row that was lost without a trace between two
//! starts is what remains; `--from-ledger` does without the index.
//!
//! Whoever writes holds the lock of the directory for one batch at a time, so that the server and any number of
//! commands can bring it up to date together.
//!
//! INVARIANT: nothing here is on a decision's path, and nothing here writes outside of the index's own directory.

mod feed;
mod plan;
mod query;
mod schema;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, ffi};

use crate::ledger::ReadError;
use feed::Feed;
pub(super) use feed::Progress;
pub(super) use plan::{Asked, By, Order};
pub(super) use query::Hit;

const FILE: &str = "calls.sqlite";
const LOCK_FILE: &str = "LOCK";

/// How long another process may hold the lock. A batch takes a fraction of it, so that who holds it longer is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

const LOCK_LOOK: Duration = Duration::from_millis(5);

/// Why the index does not answer.
#[derive(Debug)]
pub(super) enum IndexError {
    /// It must be built anew.
    Damaged(String),
    /// It cannot be written or read here and now.
    Unusable(String),
    Ledger(ReadError),
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IndexError::Damaged(detail) => write!(f, "the index is damaged: {detail}"),
            IndexError::Unusable(detail) => write!(f, "the index cannot be used: {detail}"),
            IndexError::Ledger(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for IndexError {}

impl From<ReadError> for IndexError {
    fn from(error: ReadError) -> IndexError {
        IndexError::Ledger(error)
    }
}

impl From<rusqlite::Error> for IndexError {
    fn from(error: rusqlite::Error) -> IndexError {
        let detail = error.to_string();
        let Some(failure) = error.sqlite_error() else {
            // A value of another type than was written, a row that is missing.
            return IndexError::Damaged(detail);
        };
        match failure.code {
            ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ => {
                IndexError::Damaged(detail)
            }
            ErrorCode::DiskFull
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed => IndexError::Unusable(detail),
            _ => IndexError::Damaged(detail),
        }
    }
}

/// An index that is open for writing and for questions.
#[derive(Debug)]
pub(super) struct Index {
    ledger: PathBuf,
    /// `None` for one that nobody else sees and that ends with this.
    home: Option<Home>,
    connection: Connection,
    feed: Feed,
}

/// Where an index is kept.
#[derive(Debug)]
struct Home {
    path: PathBuf,
    lock: File,
    /// Which file was opened: another process may have replaced it.
    inode: u64,
}

impl Index {
    /// Opens the one in this directory, creating it if need be. It may be behind the ledger.
    pub(super) fn open(directory: &Path, ledger: &Path) -> Result<Index, IndexError> {
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| IndexError::Unusable(format!("`{}`: {error}", path.display()))
        };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable(directory))?;
        let lock_path = directory.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&lock_path).map_err(unusable(&lock_path))?;
        let path = directory.join(FILE);
        let held = Held::take(&lock)?;
        let connection = match open_sound(&path) {
            Ok(Some(connection)) => connection,
            Ok(None) | Err(IndexError::Damaged(_)) => replace(&path)?,
            Err(error) => return Err(error),
        };
        let inode = fs::metadata(&path).map_err(unusable(&path))?.ino();
        drop(held);
        let home = Home { path, lock, inode };
        Ok(Index { ledger: ledger.to_owned(), home: Some(home), connection, feed: Feed::default() })
    }

    /// One that is built from the ledger for this use alone.
    pub(super) fn temporary(ledger: &Path) -> Result<Index, IndexError> {
        // The empty name is a file of SQLite's own, which is gone when it is closed.
        let connection = Connection::open("")?;
        schema::configure(&connection)?;
        schema::create(&connection)?;
        Ok(Index { ledger: ledger.to_owned(), home: None, connection, feed: Feed::default() })
    }

    /// Throws away what there is; the next `advance` begins with the first entry.
    pub(super) fn rebuild(&mut self) -> Result<(), IndexError> {
        self.feed = Feed::default();
        let Some(home) = &mut self.home else {
            *self = Index::temporary(&self.ledger)?;
            return Ok(());
        };
        let _held = Held::take(&home.lock)?;
        if inode(&home.path)? == Some(home.inode) {
            // Whatever is left of the old file must not be written by a connection that closes late.
            self.connection = Connection::open_in_memory()?;
            self.connection = replace(&home.path)?;
        } else {
            // Another process was first.
            self.connection = open_sound(&home.path)?
                .ok_or_else(|| IndexError::Damaged("it was replaced by one that is none".to_owned()))?;
        }
        home.inode = inode(&home.path)?.unwrap_or(0);
        Ok(())
    }

    /// Takes in what the ledger has more, at most so many entries and none from `until` on.
    pub(super) fn advance(&mut self, until: Option<u64>, entries_max: usize) -> Result<Progress, IndexError> {
        let Some(home) = &mut self.home else {
            return self.feed.advance(&mut self.connection, &self.ledger, until, entries_max, "");
        };
        let held = Held::take(&home.lock)?;
        let now = inode(&home.path)?;
        if now != Some(home.inode) {
            self.feed = Feed::default();
            self.connection = match now {
                None => replace(&home.path)?,
                Some(_) => open_sound(&home.path)?.map_or_else(|| replace(&home.path), Ok)?,
            };
            home.inode = inode(&home.path)?.unwrap_or(0);
        }
        let advanced =
            self.feed.advance(&mut self.connection, &self.ledger, until, entries_max, boot().as_str());
        drop(held);
        advanced
    }

    /// Looks through the whole file for contradictions. Takes seconds where the index is large, and holds nobody up.
    pub(super) fn check(&self) -> Result<(), IndexError> {
        let found: String = self.connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if found == "ok" { Ok(()) } else { Err(IndexError::Damaged(found)) }
    }

    /// Leaves a file that a loss of power cannot harm. Best effort: without it the index is built anew after one.
    pub(super) fn close(self) {
        let Index { home: Some(home), connection, .. } = self else { return };
        let Ok(_held) = Held::take(&home.lock) else { return };
        let _synced = connection.execute_batch(
            "PRAGMA synchronous = FULL; UPDATE state SET boot = NULL; PRAGMA wal_checkpoint(TRUNCATE);",
        );
    }
}

/// Opens a file that is there and is an index; `None` if it is none that can be used.
fn open_sound(path: &Path) -> Result<Option<Connection>, IndexError> {
    if inode(path)?.is_none() || is_cut(path) {
        return Ok(None);
    }
    let connection = Connection::open(path)?;
    schema::configure(&connection)?;
    Ok(schema::is_sound(&connection, &boot())?.then_some(connection))
}

/// Whether the file is shorter than it says: SQLite takes what is missing of a page for zeros. While there is a log
/// the file may be behind it.
fn is_cut(path: &Path) -> bool {
    if with_suffix(path, "-wal").metadata().is_ok_and(|log| log.len() > 0) {
        return false;
    }
    let mut header = [0; 32];
    let read = File::open(path).and_then(|file| {
        file.read_exact_at(&mut header, 0)?;
        file.metadata()
    });
    let [.., p0, p1, _, _, _, _, _, _, _, _, _, _, n0, n1, n2, n3] = header;
    let expected = u64::from(u32::from_be_bytes([n0, n1, n2, n3])) * u64::from(u16::from_be_bytes([p0, p1]));
    read.is_ok_and(|file| file.len() != expected)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Puts an empty index in the place of whatever is there. The caller holds the lock.
fn replace(path: &Path) -> Result<Connection, IndexError> {
    // The database goes first: a log without its database is thrown away by SQLite, a database without its log is not.
    for suffix in ["", "-wal", "-shm"] {
        let name = with_suffix(path, suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(IndexError::Unusable(format!("`{}`: {error}", name.display())));
            }
            Ok(()) | Err(_) => {}
        }
    }
    let connection = Connection::open(path)?;
    schema::configure(&connection)?;
    schema::create(&connection)?;
    Ok(connection)
}

fn inode(path: &Path) -> Result<Option<u64>, IndexError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IndexError::Unusable(format!("`{}`: {error}", path.display()))),
    }
}

/// Names the time since this machine was started. What was not synced before it may be lost or torn.
fn boot() -> String {
    // Where the kernel does not tell, an index is trusted as it is; what SQLite finds is found all the same.
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The right to write, until this is dropped.
struct Held<'a>(&'a File);

impl<'a> Held<'a> {
    fn take(lock: &'a File) -> Result<Held<'a>, IndexError> {
        let until = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Held(lock)),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::park_timeout(LOCK_LOOK);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(IndexError::Unusable(
                        "another process holds its lock and does not go on".to_owned(),
                    ));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(IndexError::Unusable(format!("its lock: {error}")));
                }
            }
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // A lock that cannot be given back ends with the file.
        let _unlocked = self.0.unlock();
    }
}
