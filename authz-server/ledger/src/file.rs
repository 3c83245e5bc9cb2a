//! The ledger's file layer: the few operations of a file system that it needs.
//!
//! Everything that the ledger does to a disk goes through these traits, so that tests can fail, tear and forget
//! writes below it (`sim`); the server has only the real disk. Every write names its place, so nothing depends on a
//! position that a failed write left behind.
//!
//! INVARIANT: no byte waits in this process after `write_all_at` has returned.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use crate::error::{FileError, LedgerError};
use crate::limits::{LOCK_LOOK, PREPARE_BYTES, SMALL_FILE_BYTES_MAX};

const LOCK_FILE: &str = "LOCK";

/// A file that can be read at any place.
pub trait ReadAt {
    fn length(&self) -> io::Result<u64>;
    /// Fills as much of `bytes` as the file has from `offset` on, and says how much that is.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl<F: ReadAt> ReadAt for &F {
    fn length(&self) -> io::Result<u64> {
        (**self).length()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(bytes, offset)
    }
}

/// A file that the writer owns.
pub trait WriteAt: ReadAt + Send + 'static {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Returns when everything written, and the file's length, would survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;

    /// Fills the file with zeros from `offset` to `end`, and makes them durable. Room that was only reserved would
    /// still cost its first write a change of the file system's own records: on ext4, whether by `fallocate` or by zeroing
    /// a range, half as much again to twice the time of each sync, and of the processor's. The zeros of 64 MiB cost as much
    /// as a thousand syncs save.
    /// Ends early, with what is done, once `hurry` says so.
    fn preallocate(&mut self, offset: u64, end: u64, hurry: &dyn Fn() -> bool) -> io::Result<u64> {
        let zeros = vec![0; PREPARE_BYTES];
        let mut at = offset;
        while at < end && !(at > offset && hurry()) {
            let step = usize::try_from(end.saturating_sub(at)).unwrap_or(PREPARE_BYTES).min(PREPARE_BYTES);
            self.write_all_at(zeros.get(..step).unwrap_or_default(), at)?;
            // Step by step, so that the disk never has so much to do at once that a decision waits for it.
            self.sync()?;
            at = at.saturating_add(step as u64);
        }
        Ok(at)
    }
}

/// A file system.
pub trait Files: Clone + std::fmt::Debug + Send + Sync + 'static {
    type File: WriteAt + std::fmt::Debug;
    /// Creates a file, for this user only, that must not exist yet.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file that exists for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file that exists, perhaps somebody else's, for reading.
    fn open_to_read(&self, path: &Path) -> io::Result<Self::File>;
    /// Reads a small file whole.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The names in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory that is empty.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Creates a directory and those above it, for this user only; nothing happens where it exists.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Returns when the names in the directory would survive a loss of power.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether somebody writes to the ledger in this directory.
    fn has_writer(&self, dir: &Path) -> bool;

    /// Writes a small file so that a reader finds the old contents or the new ones. With `durable`, whenever the
    /// power fails as well.
    fn replace(&self, path: &Path, contents: &[u8], durable: bool) -> io::Result<()> {
        let fresh = path.with_added_extension("new");
        match self.remove(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = self.create(&fresh)?;
        file.write_all_at(contents, 0)?;
        if durable {
            file.sync()?;
        }
        self.rename(&fresh, path)?;
        if durable { self.sync_dir(parent(path)) } else { Ok(()) }
    }
}

/// The directory that holds a path. A relative name of one part has the empty path for a parent.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    type File = DiskFile;

    fn create(&self, path: &Path) -> io::Result<DiskFile> {
        // What the ledger tells about callers is for the server's own user only.
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path).map(DiskFile)
    }

    fn open(&self, path: &Path) -> io::Result<DiskFile> {
        OpenOptions::new().read(true).write(true).open(path).map(DiskFile)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<DiskFile> {
        File::open(path).map(DiskFile)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut contents = Vec::new();
        File::open(path)?.take(SMALL_FILE_BYTES_MAX as u64).read_to_end(&mut contents)?;
        Ok(contents)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is no text is none of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn has_writer(&self, dir: &Path) -> bool {
        let Ok(file) = File::open(dir.join(LOCK_FILE)) else { return false };
        // Held for as long as it takes to close the file again; whoever starts just now tries more than once.
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

#[derive(Debug)]
pub struct DiskFile(File);

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
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Creates the directory if need be, and takes the lock in it.
    pub(crate) fn take(dir: &Path) -> Result<DirLock, LedgerError> {
        create_durable_dir(&Disk, dir)?;
        let path = dir.join(LOCK_FILE);
        let fail = |action, source| FileError { action, path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(|source| fail("open", source))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(DirLock { _file: file }),
                // Somebody who reads may only have looked whether there is a writer.
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_LOOK => {
                    thread::park_timeout(LOCK_LOOK / 20)
                }
                Err(TryLockError::WouldBlock) => return Err(LedgerError::Locked { dir: dir.to_owned() }),
                Err(TryLockError::Error(source)) => return Err(fail("lock", source).into()),
            }
        }
    }
}

fn create_durable_dir(files: &Disk, dir: &Path) -> Result<(), FileError> {
    if dir.is_dir() {
        return Ok(());
    }
    let fail = |action, path: &Path| {
        let path = PathBuf::from(path);
        move |source| FileError { action, path, source }
    };
    files.create_dir(dir).map_err(fail("create the directory", dir))?;
    let parent = parent(dir);
    files.sync_dir(parent).map_err(fail("sync the directory", parent))
}

#[cfg(test)]
pub(crate) mod sim;
