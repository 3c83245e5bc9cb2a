//! The segment after this one, made ready before it is needed.
//!
//! The writer says when it will want one, the tree's thread fills it with zeros and makes its name durable, and the
//! writer takes it over. Until it has a header it holds nothing, so it may stay behind after a crash.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::FileError;
use crate::file::{Files, WriteAt};
use crate::segment;

#[derive(Debug)]
pub(crate) struct Prepared<F>(Mutex<Slot<F>>);

#[derive(Debug)]
enum Slot<F> {
    Empty,
    Wanted {
        number: u32,
        bytes: u64,
    },
    Working {
        number: u32,
        /// The writer waits for it, however much of it is ready.
        hurry: bool,
    },
    Ready(Ready<F>),
}

/// A file that has its name and its room, and nothing in it.
#[derive(Debug)]
pub(crate) struct Ready<F> {
    pub(crate) number: u32,
    pub(crate) file: F,
    pub(crate) room: u64,
}

/// What there is of a segment that the writer needs now.
#[derive(Debug)]
pub(crate) enum Handover<F> {
    Ready(Ready<F>),
    /// Nobody works on it.
    None,
    /// It is being worked on, which will end soon.
    Busy,
}

impl<F: WriteAt> Prepared<F> {
    pub(crate) fn new(ready: Option<Ready<F>>) -> Prepared<F> {
        Prepared(Mutex::new(ready.map_or(Slot::Empty, Slot::Ready)))
    }

    /// Asks for a segment. Says whether anybody has to be told.
    pub(crate) fn want(&self, number: u32, bytes: u64) -> bool {
        let mut slot = self.slot();
        match *slot {
            Slot::Empty => {
                *slot = Slot::Wanted { number, bytes };
                true
            }
            Slot::Wanted { .. } | Slot::Working { .. } | Slot::Ready(_) => false,
        }
    }

    pub(crate) fn take(&self, number: u32) -> Handover<F> {
        let mut slot = self.slot();
        match std::mem::replace(&mut *slot, Slot::Empty) {
            Slot::Working { number: working, .. } => {
                *slot = Slot::Working { number: working, hurry: true };
                if working == number { Handover::Busy } else { Handover::None }
            }
            Slot::Ready(ready) if ready.number == number => Handover::Ready(ready),
            Slot::Empty | Slot::Wanted { .. } | Slot::Ready(_) => Handover::None,
        }
    }

    /// Makes the segment that is wanted, if one is.
    pub(crate) fn work<D: Files<File = F>>(&self, files: &D, dir: &Path) -> Result<(), FileError> {
        let (number, bytes) = {
            let mut slot = self.slot();
            let Slot::Wanted { number, bytes } = *slot else { return Ok(()) };
            *slot = Slot::Working { number, hurry: false };
            (number, bytes)
        };
        let path = segment::path(dir, number);
        let made = self.make(files, dir, &path, bytes);
        let mut slot = self.slot();
        match made {
            Ok((file, room)) => {
                *slot = Slot::Ready(Ready { number, file, room });
                Ok(())
            }
            Err(error) => {
                // The writer will make its own. What cannot be removed now is removed when that name is used.
                let _removed = files.remove(&path);
                *slot = Slot::Empty;
                Err(error)
            }
        }
    }

    fn make<D: Files<File = F>>(
        &self,
        files: &D,
        dir: &Path,
        path: &Path,
        bytes: u64,
    ) -> Result<(F, u64), FileError> {
        let fail = |action, path: &Path| {
            let path = PathBuf::from(path);
            move |source| FileError { action, path, source }
        };
        let mut file = files.create(path).map_err(fail("create", path))?;
        let room = file.preallocate(0, bytes, &|| self.is_hurried()).map_err(fail("prepare", path))?;
        files.sync_dir(dir).map_err(fail("sync the directory", dir))?;
        Ok((file, room))
    }

    fn is_hurried(&self) -> bool {
        matches!(*self.slot(), Slot::Working { hurry: true, .. })
    }

    fn slot(&self) -> MutexGuard<'_, Slot<F>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
