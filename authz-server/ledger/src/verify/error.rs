//! What is wrong with a ledger, and where.
//!
//! INVARIANT: each message names a place and what was found there, and never claims more than was compared.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{CheckpointError, Corruption, FileError, ReadError};
use crate::file::{Files, ReadAt};

/// How much of a damaged entry is searched for its id.
const ENTRY_LOOK_BYTES: usize = 4096;

/// Whose checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// One beside the segments.
    Own(PathBuf),
    /// One that was kept elsewhere.
    Copy(PathBuf),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Own(path) => write!(f, "the checkpoint `{}`", path.display()),
            Which::Copy(path) => write!(f, "the copy of a checkpoint `{}`", path.display()),
        }
    }
}

/// Why a ledger is not called whole.
#[derive(Debug)]
pub enum VerifyError {
    Read(ReadError),
    File(FileError),
    /// An entry that cannot be read.
    Damaged {
        corruption: Corruption,
        decision_id: Option<String>,
    },
    /// An entry that can be read, and is not the one that was signed.
    Changed {
        path: PathBuf,
        index: u64,
        offset: u64,
        decision_id: Option<String>,
    },
    /// Some entry from this one on and before that one is not the one that was signed.
    Forked {
        which: Which,
        from: u64,
        to: u64,
    },
    /// More was signed than there is.
    RolledBack {
        which: Which,
        signed: u64,
        entries: u64,
    },
    /// The first entries are gone, and nothing in the ledger says that retention deleted them.
    Unexplained {
        first: u64,
    },
    /// The hashes of deleted entries are gone.
    NoTile {
        path: PathBuf,
    },
    NoKey {
        dir: PathBuf,
    },
    NoCheckpoint {
        path: PathBuf,
    },
    Checkpoint {
        path: PathBuf,
        error: CheckpointError,
    },
}

impl VerifyError {
    /// With the id of the call that a damaged entry is of, if enough of it is left.
    pub(super) fn of_read<F: Files>(files: &F, error: ReadError) -> VerifyError {
        match error {
            ReadError::Corrupt(corruption) => {
                let decision_id = look_for_id(files, &corruption);
                VerifyError::Damaged { corruption, decision_id }
            }
            other => VerifyError::Read(other),
        }
    }
}

fn look_for_id<F: Files>(files: &F, corruption: &Corruption) -> Option<String> {
    let file = files.open_to_read(&corruption.path).ok()?;
    let mut bytes = vec![0; ENTRY_LOOK_BYTES];
    let read = file.read_at(&mut bytes, corruption.offset).ok()?;
    decision_id_in(bytes.get(..read)?)
}

/// The id of a call as it stands in an entry, without reading the rest of it.
pub(super) fn decision_id_in(bytes: &[u8]) -> Option<String> {
    const NAMES: [&[u8]; 2] = [b"\"decision_id\":\"", b"\"call_id\":\""];
    const ID_BYTES: usize = 36;
    let after = |name: &[u8]| {
        let at = bytes.windows(name.len()).position(|part| part == name)?;
        bytes.get(at.checked_add(name.len())?..)
    };
    // The first one counts: what follows a damaged entry is another entry.
    let rest = NAMES.iter().filter_map(|name| after(name)).max_by_key(|rest| rest.len())?;
    let id = rest.split(|byte| *byte == b'"').next()?;
    let is_id = id.len() <= ID_BYTES && id.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    is_id.then(|| String::from_utf8_lossy(id).into_owned())
}

fn of_call(decision_id: Option<&String>) -> String {
    decision_id.map_or_else(String::new, |id| format!(" (decision id `{id}`)"))
}

fn place(path: &Path, index: u64, offset: u64, decision_id: Option<&String>) -> String {
    format!("entry {index} at byte {offset} of `{}`{}", path.display(), of_call(decision_id))
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerifyError::Read(error) => error.fmt(f),
            VerifyError::File(error) => error.fmt(f),
            VerifyError::Damaged { corruption, decision_id } => {
                let Corruption { path, index, offset, error } = corruption;
                write!(f, "{} cannot be read: {error}", place(path, *index, *offset, decision_id.as_ref()))
            }
            VerifyError::Changed { path, index, offset, decision_id } => write!(
                f,
                "{} is not the entry that was recorded there: its checksums fit, and its hash is not the one that the \
                 signed checkpoint covers",
                place(path, *index, *offset, decision_id.as_ref())
            ),
            VerifyError::Forked { which, from, to } => write!(
                f,
                "the entries from {from} to {} are not those that {which} covers: at least one of them was changed, and \
                 the tiles were changed with it",
                to.saturating_sub(1)
            ),
            VerifyError::RolledBack { which, signed, entries } => write!(
                f,
                "entry {entries} is missing: {which} covers {signed} entries, and the ledger ends after {entries}; they \
                 were taken away, or an older state was put in place"
            ),
            VerifyError::Unexplained { first } => write!(
                f,
                "entry 0 is missing: the ledger begins with entry {first}, and none of its entries says that retention \
                 deleted those before"
            ),
            VerifyError::NoTile { path } => write!(
                f,
                "`{}` is missing or damaged, and the entries below it were deleted; restore it from a copy",
                path.display()
            ),
            VerifyError::NoKey { dir } => write!(
                f,
                "there are checkpoints in `{}` and no key to check them with; give `--key` with the verifier key that you \
                 kept",
                dir.display()
            ),
            VerifyError::NoCheckpoint { path } => write!(
                f,
                "`{}` is missing, and the ledger was signed before; it was taken away",
                path.display()
            ),
            VerifyError::Checkpoint { path, error } => {
                write!(f, "`{}` is not believed: {error}", path.display())
            }
        }
    }
}

impl Error for VerifyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            VerifyError::Read(error) => Some(error),
            VerifyError::File(error) => Some(error),
            VerifyError::Damaged { corruption, .. } => Some(corruption),
            VerifyError::Checkpoint { error, .. } => Some(error),
            VerifyError::Changed { .. }
            | VerifyError::Forked { .. }
            | VerifyError::RolledBack { .. }
            | VerifyError::Unexplained { .. }
            | VerifyError::NoTile { .. }
            | VerifyError::NoKey { .. }
            | VerifyError::NoCheckpoint { .. } => None,
        }
    }
}

impl From<ReadError> for VerifyError {
    fn from(error: ReadError) -> VerifyError {
        VerifyError::Read(error)
    }
}

impl From<FileError> for VerifyError {
    fn from(error: FileError) -> VerifyError {
        VerifyError::File(error)
    }
}
