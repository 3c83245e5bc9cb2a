//! What can go wrong with a ledger, one enum per operation.
//!
//! INVARIANT: every message names the file, says what was expected, and how to mend it; none of them reaches a
//! caller of the proxy.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::entry::EntryError;
use super::frame::FrameError;
use super::limits::ENTRY_BYTES_MAX;

/// An operation of the file system that failed.
#[derive(Debug)]
pub struct FileError {
    pub action: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {} `{}`: {}", self.action, self.path.display(), self.source)
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// A file that stands where a segment should and is none that this palisade reads.
#[derive(Debug)]
pub enum FormatError {
    NotASegment { path: PathBuf },
    UnknownFormat { path: PathBuf, format: u32, known: u32 },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::NotASegment { path } => write!(
                f,
                "`{}` does not begin as a ledger segment does; restore it from a copy, or move it away if it is \
                 something else",
                path.display()
            ),
            FormatError::UnknownFormat { path, format, known } => write!(
                f,
                "`{}` has segment format `{format}`, and this palisade reads format `{known}`; use the version that \
                 wrote it, or a later one",
                path.display()
            ),
        }
    }
}

impl Error for FormatError {}

/// An entry that is not as it was written, and that no crash explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    pub path: PathBuf,
    /// The entry's place in the ledger, counted from 0.
    pub index: u64,
    /// Where its frame begins in the file.
    pub offset: u64,
    pub error: FrameError,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Corruption { path, index, offset, error } = self;
        write!(f, "entry {index} at byte {offset} of `{}` cannot be read: {error}", path.display())
    }
}

impl Error for Corruption {}

/// Why a ledger was not opened for writing.
#[derive(Debug)]
pub enum LedgerError {
    File(FileError),
    Format(FormatError),
    /// Another process, or another part of this one, writes to the directory.
    Locked {
        dir: PathBuf,
    },
    Corrupt(Corruption),
    /// The operating system gave no thread to write with.
    Thread(io::Error),
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LedgerError::File(error) => error.fmt(f),
            LedgerError::Format(error) => error.fmt(f),
            LedgerError::Locked { dir } => write!(
                f,
                "the ledger in `{}` is being written by another server; stop that one, or give this one a state \
                 directory of its own",
                dir.display()
            ),
            LedgerError::Corrupt(corruption) => write!(
                f,
                "{corruption}; this is no unfinished write, so nothing was changed: keep a copy of the file for the \
                 investigation, then restore it from a copy, or move the directory away to start a new ledger"
            ),
            LedgerError::Thread(source) => write!(f, "could not start the ledger's thread: {source}"),
        }
    }
}

impl Error for LedgerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            LedgerError::File(error) => Some(error),
            LedgerError::Format(error) => Some(error),
            LedgerError::Locked { .. } => None,
            LedgerError::Corrupt(corruption) => Some(corruption),
            LedgerError::Thread(source) => Some(source),
        }
    }
}

impl From<FileError> for LedgerError {
    fn from(error: FileError) -> LedgerError {
        LedgerError::File(error)
    }
}

impl From<FormatError> for LedgerError {
    fn from(error: FormatError) -> LedgerError {
        LedgerError::Format(error)
    }
}

/// Why an entry was not recorded. Each of them denies the decision that the entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// More entries wait than the disk takes; nothing is wrong with the ledger itself.
    Overloaded,
    /// A write or a sync failed. What the disk then holds is unknown, so this ledger writes nothing any more.
    Poisoned {
        cause: Arc<str>,
    },
    Closed,
    TooLarge {
        bytes: usize,
    },
    /// The entry has no JSON form; the types of the entries leave no room for this.
    Unencodable {
        cause: Arc<str>,
    },
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::Overloaded => {
                f.write_str("the ledger's queue is full: entries come faster than the disk stores them")
            }
            AppendError::Poisoned { cause } => write!(
                f,
                "the ledger has stopped writing because it {cause}; mend the disk and restart the server, which keeps \
                 every acknowledged entry"
            ),
            AppendError::Closed => f.write_str("the ledger is closed because the server is stopping"),
            AppendError::TooLarge { bytes } => {
                write!(f, "the entry has {bytes} bytes, and the ledger takes at most {ENTRY_BYTES_MAX}")
            }
            AppendError::Unencodable { cause } => write!(f, "the entry could not be encoded: {cause}"),
        }
    }
}

impl Error for AppendError {}

/// Why a ledger could not be read to its end.
#[derive(Debug)]
pub enum ReadError {
    /// There is no segment in the directory.
    Missing {
        dir: PathBuf,
    },
    File(FileError),
    Format(FormatError),
    Corrupt(Corruption),
    /// The frame is sound and its content is not what its version promises.
    Entry {
        path: PathBuf,
        index: u64,
        offset: u64,
        error: EntryError,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Missing { dir } => write!(
                f,
                "there is no ledger in `{}`; name the directory that holds `00000000.seg`",
                dir.display()
            ),
            ReadError::File(error) => error.fmt(f),
            ReadError::Format(error) => error.fmt(f),
            ReadError::Corrupt(corruption) => corruption.fmt(f),
            ReadError::Entry { path, index, offset, error } => {
                write!(f, "entry {index} at byte {offset} of `{}` cannot be read: {error}", path.display())
            }
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ReadError::Missing { .. } => None,
            ReadError::File(error) => Some(error),
            ReadError::Format(error) => Some(error),
            ReadError::Corrupt(corruption) => Some(corruption),
            ReadError::Entry { error, .. } => Some(error),
        }
    }
}

impl From<FileError> for ReadError {
    fn from(error: FileError) -> ReadError {
        ReadError::File(error)
    }
}

impl From<FormatError> for ReadError {
    fn from(error: FormatError) -> ReadError {
        ReadError::Format(error)
    }
}
