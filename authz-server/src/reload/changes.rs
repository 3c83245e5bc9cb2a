//! Waits until a bundle has changed and come to rest, for tools that follow its author.
//!
//! INVARIANT: what changed while a tool was at work is a change at its next wait: none is lost.

use super::inputs::{Stamp, scan};
use super::watch::Watch;
use super::{PATIENCE, POLL, SETTLED};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A bundle that is being followed.
#[derive(Debug)]
pub struct Changes {
    directory: PathBuf,
    watch: Watch,
    seen: Stamp,
}

impl Changes {
    /// Whatever happens to the directory from now on is a change. It need not be there yet.
    pub fn of(directory: &Path) -> io::Result<Changes> {
        let directory = std::path::absolute(directory)?;
        let mut watch = Watch::new()?;
        let seen = scan(std::iter::once(&directory), std::iter::empty(), &mut watch);
        Ok(Changes { directory, watch, seen })
    }

    /// Returns when the bundle is not what it was at the last return, and nothing moves in it.
    pub fn wait(&mut self) {
        loop {
            let stamp = self.scan();
            if stamp != self.seen {
                self.seen = self.settled(stamp);
                return;
            }
            self.watch.wait(true, POLL);
        }
    }

    fn settled(&mut self, mut stamp: Stamp) -> Stamp {
        let began = Instant::now();
        loop {
            self.watch.wait(false, SETTLED);
            let again = self.scan();
            let rests = again == stamp && self.watch.being_written().is_none();
            // Whoever keeps writing wants to see something all the same.
            if rests || began.elapsed() > PATIENCE {
                return again;
            }
            stamp = again;
        }
    }

    fn scan(&mut self) -> Stamp {
        scan(std::iter::once(&self.directory), std::iter::empty(), &mut self.watch)
    }
}

#[cfg(test)]
mod tests {
    use super::Changes;
    use std::fs;

    #[test]
    fn each_change_ends_one_wait_also_one_that_came_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tests").join("a.yaml");
        let mut changes = Changes::of(directory.path()).unwrap();
        fs::create_dir(directory.path().join("tests")).unwrap();
        changes.wait();
        for text in ["one", "three", ""] {
            fs::write(&file, text).unwrap();
            changes.wait();
        }
        fs::remove_dir_all(directory.path()).unwrap();
        changes.wait();
    }
}
