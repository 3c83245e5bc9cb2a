//! The file of keys on its disk, changed by one writer at a time.
//!
//! INVARIANT: a reader finds the whole file before or the whole file after, whenever the writer or the machine stops;
//! what `update` has answered for is durable.
//! INVARIANT: the file is readable by its owner alone.

use super::KeysFile;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Why the keys on the disk stay as they are.
#[derive(Debug)]
pub enum KeysStoreError<E> {
    /// There is no file, and none was asked for.
    Missing {
        path: PathBuf,
    },
    Io {
        path: PathBuf,
        doing: &'static str,
        error: io::Error,
    },
    /// What stands there is not understood, so it is not written over.
    Unreadable {
        path: PathBuf,
        detail: String,
    },
    Refused(E),
}

impl<E: fmt::Display> fmt::Display for KeysStoreError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeysStoreError::Missing { path } => {
                write!(f, "`{}` does not exist: `palisade key new` makes it", path.display())
            }
            KeysStoreError::Io { path, doing, error } => {
                write!(f, "cannot {doing} `{}`: {error}", path.display())
            }
            KeysStoreError::Unreadable { path, detail } => {
                write!(f, "the API keys in `{}` cannot be changed: {detail}", path.display())
            }
            KeysStoreError::Refused(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Display + fmt::Debug> std::error::Error for KeysStoreError<E> {}

/// Changes the keys in a file. One that is missing is made, if `create` says so. Whoever comes while another writes
/// waits for it, which takes as long as two writes to the disk.
pub fn update<T, E>(
    path: &Path,
    create: bool,
    change: impl FnOnce(&mut KeysFile) -> Result<T, E>,
) -> Result<T, KeysStoreError<E>> {
    let path = &real(path);
    let io = |path: &Path, doing: &'static str| {
        let path = path.to_owned();
        move |error| KeysStoreError::Io { path, doing, error }
    };
    let lock_path = beside(path, "lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
    let lock = lock.map_err(io(&lock_path, "open the lock"))?;
    // It goes with the file handle, and so with the process, however that ends. The file stays: one that was removed
    // could be locked by two.
    lock.lock().map_err(io(&lock_path, "lock"))?;
    let mut keys = match fs::read(path) {
        Ok(text) => KeysFile::parse(&text)
            .map_err(|detail| KeysStoreError::Unreadable { path: path.clone(), detail })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => KeysFile::default(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KeysStoreError::Missing { path: path.clone() });
        }
        Err(error) => return Err(io(path, "read")(error)),
    };
    let result = change(&mut keys).map_err(KeysStoreError::Refused)?;
    let text = keys.render().map_err(io::Error::other).map_err(io(path, "render"))?;
    // What the readers would refuse is not written.
    KeysFile::parse(text.as_bytes())
        .map_err(|detail| KeysStoreError::Unreadable { path: path.clone(), detail })?;
    replace(path, &text).map_err(io(path, "write"))?;
    drop(lock);
    Ok(result)
}

/// Where a link leads: the link itself is not ours to replace.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A hidden neighbour, on the same file system.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(what);
    path.with_file_name(name)
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = beside(path, "new");
    // One may stand there from a writer that was stopped; nobody else has the lock.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
