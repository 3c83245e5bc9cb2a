//! The ledger's file layer: the few operations of a file system that it needs.
//!
//! The traits exist so that tests can fail, tear and forget writes below the ledger (`sim`); the server has only
//! the real disk. Every write names its place, so nothing depends on a position that a failed write left behind.
//!
//! INVARIANT: no byte waits in this process after `write_all_at` has returned.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::{FileError, LedgerError};

const LOCK_FILE: &str = "LOCK";

/// A file that can be read at any place.
pub(super) trait ReadAt {
    fn length(&self) -> io::Result<u64>;
    /// Fills as much of `bytes` as the file has from `offset` on, and says how much that is.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// A file that the writer owns.
pub(super) trait WriteAt: ReadAt + Send + 'static {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Returns when everything written, and the file's length, would survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file system.
pub(super) trait Files {
    type File: WriteAt;
    /// Opens a file for reading and writing, and creates it empty if need be.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Returns when the names in the directory would survive a loss of power.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

impl<F: ReadAt> ReadAt for &F {
    fn length(&self) -> io::Result<u64> {
        (**self).length()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(bytes, offset)
    }
}

/// The real file system.
#[derive(Debug)]
pub(super) struct Disk;

impl Files for Disk {
    type File = DiskFile;

    fn open(&self, path: &Path) -> io::Result<DiskFile> {
        // What the ledger tells about callers is for the server's own user only.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(path).map(DiskFile)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

#[derive(Debug)]
pub(super) struct DiskFile(File);

impl DiskFile {
    pub(super) fn open_to_read(path: &Path) -> io::Result<DiskFile> {
        File::open(path).map(DiskFile)
    }
}

impl ReadAt for DiskFile {
    fn length(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl WriteAt for DiskFile {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        // This is fdatasync, which also stores a changed length; times are not worth a second write.
        self.0.sync_data()
    }
}

/// The right to write to a ledger's directory. It ends when this is dropped, and with the process in any case.
#[derive(Debug)]
pub(super) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Creates the directory if need be, and takes the lock in it.
    pub(super) fn take(dir: &Path) -> Result<DirLock, LedgerError> {
        create_dir(dir)?;
        let path = dir.join(LOCK_FILE);
        let fail = |action, source| FileError { action, path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(|source| fail("open", source))?;
        match file.try_lock() {
            Ok(()) => Ok(DirLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LedgerError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(fail("lock", source).into()),
        }
    }
}

fn create_dir(dir: &Path) -> Result<(), FileError> {
    let fail = |action, path: &Path| {
        let path = PathBuf::from(path);
        move |source| FileError { action, path, source }
    };
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail("create the directory", dir))?;
    // The new name stands in the parent. A relative name of one part has the empty path for a parent.
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Disk.sync_dir(parent).map_err(fail("sync the directory", parent))
}

#[cfg(test)]
pub(super) mod sim;
