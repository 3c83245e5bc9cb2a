//! Notices that files may have changed: the kernel's notification, and a wake-up by whoever gives an order.
//!
//! Only that something happened matters, not what: whoever is woken looks at everything anew. What is told apart is
//! noise, such as a log beside a watched file, and a file that somebody has written to and not closed yet.
//!
//! INVARIANT: without notification (no descriptor left, a file system that has none) it still wakes, after a timeout.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Everything by which a directory's content, or whether it can be read, changes. Reading is not among it, so that we
/// do not wake ourselves.
const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Room for a hundred events at once.
const EVENT_BYTES: usize = 8 * 1024;

/// What matters of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names<'a> {
    /// Whatever is in it.
    All,
    /// What comes, goes and is renamed; not what files hold.
    Links,
    /// One file.
    Only(&'a OsStr),
}

#[derive(Debug, Default)]
struct Watched {
    all: bool,
    links: bool,
    only: BTreeSet<OsString>,
}

impl Watched {
    fn matters(&self, name: Option<&OsStr>, what: ReadFlags) -> bool {
        // What has no name happened to the directory itself.
        let Some(name) = name else { return true };
        let moves = ReadFlags::CREATE | ReadFlags::DELETE | ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO;
        self.is_read(name) || (self.links && what.intersects(moves))
    }

    /// Whether what that file holds matters.
    fn is_read(&self, name: &OsStr) -> bool {
        self.all || self.only.contains(name)
    }
}

/// Wakes a [`Watch`] from anywhere.
#[derive(Debug, Clone)]
pub(super) struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(super) fn wake(&self) {
        // It fails only when so many wake-ups are pending that one more makes no difference.
        let _woken = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Woken {
    pub(super) by_files: bool,
    pub(super) by_order: bool,
}

#[derive(Debug)]
pub(super) struct Watch {
    waker: Waker,
    kernel: Option<OwnedFd>,
    watched: BTreeMap<i32, Watched>,
    /// Those of the scan that is under way; they replace `watched` at its end.
    fresh: BTreeMap<i32, Watched>,
    /// Written to and not closed, as far as the kernel has told.
    being_written: BTreeSet<(i32, OsString)>,
    complained: bool,
}

impl Watch {
    pub(super) fn new() -> io::Result<Watch> {
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let kernel = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        if let Err(error) = &kernel {
            tracing::warn!(%error, "changes of files are noticed late: the kernel cannot notify");
        }
        Ok(Watch {
            waker: Waker(Arc::new(waker)),
            kernel: kernel.ok(),
            watched: BTreeMap::new(),
            fresh: BTreeMap::new(),
            being_written: BTreeSet::new(),
            complained: false,
        })
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Watches a directory from now on. Called before it is read, so that what comes after the reading is noticed.
    pub(super) fn arm(&mut self, directory: &Path, names: Names<'_>) {
        let Some(kernel) = &self.kernel else { return };
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        match inotify::add_watch(kernel, directory, EVENTS) {
            Ok(id) => {
                let watched = self.fresh.entry(id).or_default();
                match names {
                    Names::All => watched.all = true,
                    Names::Links => watched.links = true,
                    Names::Only(name) => drop(watched.only.insert(name.to_owned())),
                }
            }
            // Whoever reads it will say so.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
            Err(error) if !self.complained => {
                self.complained = true;
                tracing::warn!(directory = %directory.display(), %error, "changes of files are noticed late: the kernel cannot watch");
            }
            Err(_) => {}
        }
    }

    /// Ends a scan: what it did not arm is watched no longer.
    pub(super) fn armed(&mut self) {
        let old = std::mem::replace(&mut self.watched, std::mem::take(&mut self.fresh));
        let watched = &self.watched;
        if let Some(kernel) = &self.kernel {
            for id in old.keys().filter(|id| !watched.contains_key(id)) {
                // A directory that is gone took its watch along.
                let _removed = inotify::remove_watch(kernel, *id);
            }
        }
        self.being_written.retain(|(id, _)| watched.contains_key(id));
    }

    /// A file that somebody has written to and still has open.
    pub(super) fn being_written(&self) -> Option<&OsStr> {
        self.being_written.first().map(|(_, name)| name.as_os_str())
    }

    /// Waits for an order or, if `for_files`, for files, at most so long.
    pub(super) fn wait(&mut self, for_files: bool, at_most: Duration) -> Woken {
        let timeout = Timespec {
            tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(at_most.subsec_nanos()),
        };
        let mut sources = vec![PollFd::new(&self.waker.0, PollFlags::IN)];
        if let Some(kernel) = self.kernel.as_ref().filter(|_| for_files) {
            sources.push(PollFd::new(kernel, PollFlags::IN));
        }
        // An interruption is a wait that ended early: the one who waited looks again.
        let _ready = poll(&mut sources, Some(&timeout));
        let mut count = [0; 8];
        let by_order = rustix::io::read(&self.waker.0, &mut count).is_ok();
        Woken { by_files: self.drain(), by_order }
    }

    /// Takes all that the kernel has to tell; whether any of it matters.
    fn drain(&mut self) -> bool {
        let Some(kernel) = &self.kernel else { return false };
        let mut room = [MaybeUninit::uninit(); EVENT_BYTES];
        let mut events = Reader::new(kernel, &mut room);
        let mut any = false;
        while let Ok(event) = events.next() {
            let (id, what) = (event.wd(), event.events());
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                // Something was lost: everything may have changed, and nothing is known of who writes.
                self.being_written.clear();
                any = true;
                continue;
            }
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            let Some(known) = self.watched.get(&id).or(self.fresh.get(&id)) else { continue };
            if !known.matters(name, what) {
                continue;
            }
            any = true;
            // An editor's own files, which it may keep open for as long as it runs, are hidden.
            let is_read = |name: &&OsStr| known.is_read(name) && !name.as_bytes().starts_with(b".");
            let Some(name) = name.filter(is_read) else { continue };
            if what.contains(ReadFlags::MODIFY) {
                self.being_written.insert((id, name.to_owned()));
            } else if !what.contains(ReadFlags::ATTRIB) {
                // Closed, or no longer the file of that name.
                self.being_written.remove(&(id, name.to_owned()));
            }
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write as _;

    /// Long beyond what the kernel takes; nothing waits for it to pass.
    const SOON: Duration = Duration::from_secs(10);

    fn watch(directory: &Path, names: Names<'_>) -> Watch {
        let mut watch = Watch::new().unwrap();
        watch.arm(directory, names);
        watch.armed();
        watch
    }

    /// What is pending now.
    fn pending(watch: &mut Watch) -> bool {
        watch.wait(true, Duration::ZERO).by_files
    }

    #[test]
    fn every_way_to_change_a_directory_wakes() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut watch = watch(directory.path(), Names::All);
        let mut check = |what: &str, change: &dyn Fn()| {
            change();
            assert!(watch.wait(true, SOON).by_files, "{what}");
            while pending(&mut watch) {}
        };
        check("a new file", &|| fs::write(at("a"), "1").unwrap());
        check("written in place", &|| fs::write(at("a"), "2").unwrap());
        check("replaced", &|| {
            fs::write(at("b"), "3").unwrap();
            fs::rename(at("b"), at("a")).unwrap();
        });
        check("a link", &|| std::os::unix::fs::symlink("one", at("..data")).unwrap());
        check("a link that is swapped", &|| {
            std::os::unix::fs::symlink("two", at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
        });
        check("removed", &|| fs::remove_file(at("a")).unwrap());
        check("the directory itself", &|| fs::remove_dir_all(directory.path()).unwrap());
    }

    #[test]
    fn neighbours_of_a_watched_file_do_not_wake() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = watch(directory.path(), Names::Only(OsStr::new("secret")));
        fs::write(directory.path().join("server.log"), "noise").unwrap();
        assert!(!pending(&mut watch));
        fs::write(directory.path().join("secret"), "x").unwrap();
        assert!(watch.wait(true, SOON).by_files);
    }

    #[test]
    fn beside_a_link_only_what_comes_and_goes_wakes() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = File::create(directory.path().join("server.log")).unwrap();
        let mut watch = watch(directory.path(), Names::Links);
        log.write_all(b"noise").unwrap();
        assert!(!pending(&mut watch));
        assert_eq!(watch.being_written(), None);
        std::os::unix::fs::symlink("one", directory.path().join("..data")).unwrap();
        assert!(watch.wait(true, SOON).by_files);
    }

    #[test]
    fn what_a_later_scan_does_not_arm_is_watched_no_longer() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut watch = watch(one.path(), Names::All);
        watch.arm(two.path(), Names::All);
        watch.armed();
        while pending(&mut watch) {}
        fs::write(one.path().join("a"), "x").unwrap();
        assert!(!pending(&mut watch));
        fs::write(two.path().join("a"), "x").unwrap();
        assert!(watch.wait(true, SOON).by_files);
    }

    #[test]
    fn a_file_that_is_written_to_is_known_until_it_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = watch(directory.path(), Names::All);
        let mut file = File::create(directory.path().join("a.cedar")).unwrap();
        let mut hidden = File::create(directory.path().join(".a.cedar.swp")).unwrap();
        hidden.write_all(b"for as long as the editor runs").unwrap();
        file.write_all(b"half").unwrap();
        watch.wait(true, SOON);
        assert_eq!(watch.being_written(), Some(OsStr::new("a.cedar")));
        drop(file);
        watch.wait(true, SOON);
        assert_eq!(watch.being_written(), None);
    }

    #[test]
    fn an_order_wakes_and_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = watch(directory.path(), Names::All);
        watch.waker().wake();
        assert_eq!(watch.wait(true, SOON), Woken { by_files: false, by_order: true });
        assert_eq!(watch.wait(true, Duration::ZERO), Woken::default());
    }
}
