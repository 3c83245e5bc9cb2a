//! What can go wrong with a ledger, one enum per operation.
//!
//! INVARIANT: every message names the file, says what was expected, and how to mend it; none of them reaches a
//! caller of the proxy.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::entry::EntryError;
use crate::frame::FrameError;
use crate::limits::ENTRY_BYTES_MAX;

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

/// Segments that do not follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// There is no file of this name, and there are later ones.
    Missing { path: PathBuf },
    /// The header of the segment does not fit the one before it.
    Mismatch { path: PathBuf, before: PathBuf },
    /// The name says another number than the header.
    Renamed { path: PathBuf, number: u32 },
    /// Entries of the segment were changed, although each of them is sound.
    Changed { path: PathBuf, next: PathBuf },
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChainError::Missing { path } => write!(
                f,
                "the segment `{}` is missing, and there are later ones; restore it from a copy",
                path.display()
            ),
            ChainError::Mismatch { path, before } => write!(
                f,
                "the segment `{}` was not begun after `{}` as that stands; one of them is of another ledger or was \
                 changed: restore both from a copy",
                path.display(),
                before.display()
            ),
            ChainError::Renamed { path, number } => write!(
                f,
                "the segment `{}` says that its number is `{number}`; give it its name back, or restore it from a copy",
                path.display()
            ),
            ChainError::Changed { path, next } => write!(
                f,
                "the entries of `{}` are not those that were there when `{}` was begun; restore it from a copy",
                path.display(),
                next.display()
            ),
        }
    }
}

impl Error for ChainError {}

/// Why a signed checkpoint is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// It is no signed note, or its text is no checkpoint.
    Malformed,
    /// The key did not sign it, or signed something else.
    Signature {
        key: String,
    },
    Key,
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckpointError::Malformed => f.write_str(
                "it is no checkpoint: expected a signed note whose text is origin, number of entries and root hash",
            ),
            CheckpointError::Signature { key } => write!(f, "it is not signed by the key `{key}`, or was changed"),
            CheckpointError::Key => f.write_str(
                "the key is no Ed25519 verifier key: expected `<name>+<id>+<key>`, as `verifier.key` holds it",
            ),
        }
    }
}

impl Error for CheckpointError {}

/// Why the key that signs checkpoints cannot be used.
#[derive(Debug)]
pub enum KeyError {
    File(FileError),
    Malformed {
        path: PathBuf,
    },
    /// There are checkpoints, and no key that could have signed them.
    Lost {
        path: PathBuf,
    },
    Randomness {
        cause: String,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::File(error) => error.fmt(f),
            KeyError::Malformed { path } => write!(
                f,
                "`{}` is no signing key in the form `PRIVATE+KEY+<name>+<id>+<key>`; restore it from a copy",
                path.display()
            ),
            KeyError::Lost { path } => write!(
                f,
                "`{}` is missing, and the ledger was signed with the key in it; restore it from a copy, or move the \
                 directory away to start a new ledger",
                path.display()
            ),
            KeyError::Randomness { cause } => write!(f, "the system gives no randomness for a key: {cause}"),
        }
    }
}

impl Error for KeyError {}

impl From<FileError> for KeyError {
    fn from(error: FileError) -> KeyError {
        KeyError::File(error)
    }
}

/// Why a ledger was not opened for writing.
#[derive(Debug)]
pub enum LedgerError {
    File(FileError),
    Format(FormatError),
    Chain(ChainError),
    Key(KeyError),
    /// A checkpoint covers more than there is.
    RolledBack {
        dir: PathBuf,
        entries: u64,
        signed: u64,
    },
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
            LedgerError::Chain(error) => error.fmt(f),
            LedgerError::Key(error) => error.fmt(f),
            LedgerError::RolledBack { dir, entries, signed } => write!(
                f,
                "the ledger in `{}` has {entries} entries, and its own checkpoint covers {signed}: entries were lost or \
                 taken away after they were durable; keep a copy for the investigation, then restore the segments from \
                 a copy, or move the directory away to start a new ledger",
                dir.display()
            ),
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
            LedgerError::Chain(error) => Some(error),
            LedgerError::Key(error) => Some(error),
            LedgerError::Locked { .. } | LedgerError::RolledBack { .. } => None,
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

impl From<KeyError> for LedgerError {
    fn from(error: KeyError) -> LedgerError {
        LedgerError::Key(error)
    }
}

impl From<ReadError> for LedgerError {
    fn from(error: ReadError) -> LedgerError {
        match error {
            ReadError::File(error) => LedgerError::File(error),
            ReadError::Format(error) => LedgerError::Format(error),
            ReadError::Chain(error) => LedgerError::Chain(error),
            ReadError::Corrupt(corruption) => LedgerError::Corrupt(corruption),
            ReadError::Missing { dir } => {
                let source = io::ErrorKind::NotFound.into();
                LedgerError::File(FileError { action: "read", path: dir, source })
            }
            ReadError::Entry { path, error, .. } => {
                let source = io::Error::new(io::ErrorKind::InvalidData, error);
                LedgerError::File(FileError { action: "read", path, source })
            }
        }
    }
}

/// Why an entry was not recorded. Each of them denies the decision that the entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// More entries wait than the disk takes; nothing is wrong with the ledger itself.
    Overloaded,
    /// A write or a sync failed, and so did the attempt to go on in another segment. The ledger tries again by itself.
    Failing {
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

impl AppendError {
    /// Whether the ledger itself tells of this when it begins and when it ends, so that it need not be told for each
    /// entry.
    pub fn is_told_by_the_ledger(&self) -> bool {
        match self {
            AppendError::Failing { .. } | AppendError::Overloaded => true,
            AppendError::Closed | AppendError::TooLarge { .. } | AppendError::Unencodable { .. } => false,
        }
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::Overloaded => {
                f.write_str("the ledger's queue is full: entries come faster than the disk stores them")
            }
            AppendError::Failing { cause } => write!(
                f,
                "the ledger cannot store anything because it {cause}; it goes on by itself once the disk does, and keeps \
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
    Chain(ChainError),
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
                "there is no ledger in `{}`; name the directory that holds the `.seg` files",
                dir.display()
            ),
            ReadError::File(error) => error.fmt(f),
            ReadError::Format(error) => error.fmt(f),
            ReadError::Chain(error) => error.fmt(f),
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
            ReadError::Chain(error) => Some(error),
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

impl From<ChainError> for ReadError {
    fn from(error: ChainError) -> ReadError {
        ReadError::Chain(error)
    }
}
