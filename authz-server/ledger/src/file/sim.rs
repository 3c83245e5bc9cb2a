//! A disk that fails, tears, forgets and waits on demand: a whole file system, in memory.
//!
//! It keeps what the system shows apart from what a loss of power would leave, for names as well as for contents. A
//! failed sync forgets which bytes were unsynced, as real systems do: a later sync then succeeds without storing them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::*;

/// A writer that never syncs, or a test that never lets it, ends in a failure and not in a wait.
const DEADLINE: Duration = Duration::from_secs(10);

const SECTOR: usize = 512;

pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;
pub(crate) const EROFS: i32 = 30;

#[derive(Clone, Debug, Default)]
pub(crate) struct Sim {
    world: Arc<Mutex<World>>,
    gate: Arc<Mutex<Option<Gate>>>,
}

#[derive(Debug, Default)]
struct World {
    inodes: Vec<Inode>,
    shown: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    fault: Option<Fault>,
    /// How many operations of the fault's kind there were.
    seen: usize,
    failures: usize,
    /// Operations that change something, so far; and the one at which the power goes.
    operations: usize,
    cut_at: Option<usize>,
    writes: Vec<(PathBuf, usize)>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    shown: Vec<u8>,
    durable: Vec<u8>,
    /// The sectors that the next sync has to store.
    dirty: BTreeSet<usize>,
}

/// The operations that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Write,
    Sync,
    Create,
    Rename,
    Remove,
    SyncDir,
}

impl Op {
    pub(crate) const ALL: [Op; 6] = [Op::Write, Op::Sync, Op::Create, Op::Rename, Op::Remove, Op::SyncDir];
}

/// Which operation fails, counted from 0 among those on names that end so, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) op: Op,
    pub(crate) on: &'static str,
    pub(crate) at: usize,
    /// How many in a row.
    pub(crate) times: usize,
    pub(crate) errno: i32,
    /// So much of a failed write, in thousandths, is written before the error comes.
    pub(crate) kept: usize,
}

impl Fault {
    pub(crate) fn once(op: Op, on: &'static str, at: usize, errno: i32) -> Fault {
        Fault { op, on, at, times: 1, errno, kept: 0 }
    }
}

/// What is left after a crash.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crash {
    /// The process is gone; the system stores everything in its own time.
    Killed,
    /// Of what was not synced nothing is left.
    PowerLost,
    /// Of what was not synced, in each file the first so many thousandths are left, and all names.
    PowerLostTorn { kept: usize },
    /// Of what was not synced, each sector and each name is left or not, as a coin with this seed falls.
    PowerLostAnyhow { seed: u64 },
}

#[derive(Debug)]
struct Gate {
    on: &'static str,
    entered: Sender<()>,
    released: Receiver<()>,
}

/// Holds one sync back.
#[derive(Debug)]
pub(crate) struct Held {
    entered: Receiver<()>,
    released: Sender<()>,
}

impl Held {
    /// Returns when the writer is within the sync.
    pub(crate) fn wait_until_entered(&self) {
        self.entered.recv_timeout(DEADLINE).unwrap();
    }

    pub(crate) fn release(self) {
        self.released.send(()).unwrap();
    }
}

impl Sim {
    /// A disk with one file.
    pub(crate) fn with_file(path: &Path, contents: &[u8]) -> Sim {
        let sim = Sim::default();
        sim.put(path, contents);
        sim
    }

    /// Puts a file there, durable, whatever was there before.
    pub(crate) fn put(&self, path: &Path, contents: &[u8]) {
        let mut world = self.world();
        let inode = Inode { shown: contents.to_vec(), durable: contents.to_vec(), ..Inode::default() };
        let number = world.inodes.len();
        world.inodes.push(inode);
        world.shown.insert(path.to_owned(), number);
        world.durable.insert(path.to_owned(), number);
    }

    /// Changes bytes of a file where they lie, as whoever has access to the disk could. Gives what was there.
    pub(crate) fn overwrite(&self, path: &Path, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut world = self.world();
        let inode = world.shown[path];
        let place = &mut world.inodes[inode].shown[at..at + bytes.len()];
        let before = place.to_vec();
        place.copy_from_slice(bytes);
        before
    }

    pub(crate) fn delete(&self, path: &Path) {
        self.world().shown.remove(path).unwrap();
    }

    pub(crate) fn failing(self, fault: Fault) -> Sim {
        self.fail(fault);
        self
    }

    pub(crate) fn fail(&self, fault: Fault) {
        let mut world = self.world();
        (world.fault, world.seen) = (Some(fault), 0);
    }

    /// Nothing fails any more.
    pub(crate) fn mended(&self) {
        self.world().fault = None;
    }

    /// The power goes in the middle of this operation, counted from 0.
    pub(crate) fn cut_at(self, operation: usize) -> Sim {
        self.world().cut_at = Some(operation);
        self
    }

    pub(crate) fn is_cut(&self) -> bool {
        let world = self.world();
        world.cut_at.is_some_and(|at| world.operations > at)
    }

    /// How many operations failed.
    pub(crate) fn failures(&self) -> usize {
        self.world().failures
    }

    /// Holds back the next sync of a file whose name ends so.
    pub(crate) fn hold(&self, on: &'static str) -> Held {
        let (entered, has_entered) = channel();
        let (release, released) = channel();
        *self.gate.lock().unwrap() = Some(Gate { on, entered, released });
        Held { entered: has_entered, released: release }
    }

    pub(crate) fn contents(&self, path: &Path) -> Vec<u8> {
        let world = self.world();
        world.inodes[world.shown[path]].shown.clone()
    }

    pub(crate) fn names(&self) -> Vec<PathBuf> {
        self.world().shown.keys().cloned().collect()
    }

    /// How often files whose names end so were written to, and how much at a time.
    pub(crate) fn writes(&self, on: &str) -> Vec<usize> {
        let world = self.world();
        let those = world.writes.iter().filter(|(path, _)| path.to_string_lossy().ends_with(on));
        those.map(|(_, bytes)| *bytes).collect()
    }

    /// The disk as the next process finds it, with no fault left.
    pub(crate) fn after(&self, crash: Crash) -> Sim {
        let world = self.world();
        let mut coin = Coin::of(crash);
        let killed = matches!(crash, Crash::Killed);
        let inodes =
            world.inodes.iter().map(|inode| if killed { inode.clone() } else { inode.left(&mut coin) });
        let inodes: Vec<Inode> = inodes.collect();
        let shown = match crash {
            Crash::Killed | Crash::PowerLostTorn { .. } => world.shown.clone(),
            Crash::PowerLost => world.durable.clone(),
            Crash::PowerLostAnyhow { .. } => {
                let mut names = world.durable.clone();
                for (path, inode) in &world.shown {
                    if names.get(path) != Some(inode) && coin.falls() {
                        names.insert(path.clone(), *inode);
                    }
                }
                names.retain(|path, _| world.shown.contains_key(path) || coin.falls());
                names
            }
        };
        let durable = if killed { world.durable.clone() } else { shown.clone() };
        let world = World { inodes, shown, durable, ..World::default() };
        Sim { world: Arc::new(Mutex::new(world)), gate: Arc::default() }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

/// Decides what of the unsynced is left.
struct Coin {
    crash: Crash,
    state: u64,
}

impl Coin {
    fn of(crash: Crash) -> Coin {
        let state = if let Crash::PowerLostAnyhow { seed } = crash {
            seed.wrapping_mul(2).wrapping_add(1)
        } else {
            1
        };
        Coin { crash, state }
    }

    fn falls(&mut self) -> bool {
        // A small generator is enough to spread over the cases, and repeats for its seed.
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 63 == 1
    }

    /// Whether the unsynced sector that is the `nth` of `count` is left.
    fn keeps(&mut self, nth: usize, count: usize) -> bool {
        match self.crash {
            Crash::Killed => true,
            Crash::PowerLost => false,
            Crash::PowerLostTorn { kept } => nth * 1000 < count * kept,
            Crash::PowerLostAnyhow { .. } => self.falls(),
        }
    }
}

impl Inode {
    fn left(&self, coin: &mut Coin) -> Inode {
        let count = self.dirty.len();
        let mut left = self.durable.clone();
        for (nth, sector) in self.dirty.iter().enumerate() {
            if coin.keeps(nth, count) {
                let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.shown.len());
                if range.is_empty() {
                    continue;
                }
                if left.len() < range.end {
                    left.resize(range.end, 0);
                }
                left[range.clone()].copy_from_slice(&self.shown[range]);
            }
        }
        Inode { shown: left.clone(), durable: left, dirty: BTreeSet::new() }
    }
}

impl World {
    /// Counts an operation. What is given back is how much of it is done, in thousandths, and what it says.
    fn begin(&mut self, op: Op, path: &Path) -> (usize, io::Result<()>) {
        let operation = self.operations;
        self.operations += 1;
        if let Some(cut_at) = self.cut_at
            && operation >= cut_at
        {
            // The one in whose middle it happens is begun, and those after it are nothing.
            let done = if operation == cut_at && op == Op::Write { 1000 } else { 0 };
            return (done, Err(io::Error::from_raw_os_error(EIO)));
        }
        let Some(fault) =
            self.fault.filter(|fault| fault.op == op && path.to_string_lossy().ends_with(fault.on))
        else {
            return (1000, Ok(()));
        };
        let seen = self.seen;
        self.seen += 1;
        if seen < fault.at || seen >= fault.at.saturating_add(fault.times) {
            return (1000, Ok(()));
        }
        self.failures += 1;
        (fault.kept, Err(io::Error::from_raw_os_error(fault.errno)))
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.shown.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// An open file of the simulated disk.
#[derive(Clone, Debug)]
pub(crate) struct SimFile {
    sim: Sim,
    path: PathBuf,
    inode: usize,
}

impl Files for Sim {
    type File = SimFile;

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        let mut world = self.world();
        world.begin(Op::Create, path).1?;
        if world.shown.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = world.inodes.len();
        world.inodes.push(Inode::default());
        world.shown.insert(path.to_owned(), inode);
        Ok(SimFile { sim: self.clone(), path: path.to_owned(), inode })
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        let inode = self.world().find(path)?;
        Ok(SimFile { sim: self.clone(), path: path.to_owned(), inode })
    }

    fn open_to_read(&self, path: &Path) -> io::Result<SimFile> {
        self.open(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let world = self.world();
        Ok(world.inodes[world.find(path)?].shown.clone())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.world();
        let inside = world.shown.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin(Op::Rename, to).1?;
        let inode = world.find(from)?;
        world.shown.remove(from);
        world.shown.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        let inode = world.find(path)?;
        world.begin(Op::Remove, path).1?;
        debug_assert_eq!(world.shown.get(path), Some(&inode));
        world.shown.remove(path);
        Ok(())
    }

    fn remove_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin(Op::SyncDir, dir).1?;
        let is_inside = |path: &Path| path.parent() == Some(dir);
        world.durable.retain(|path, _| !is_inside(path));
        let shown: Vec<_> = world.shown.iter().filter(|(path, _)| is_inside(path)).collect();
        let shown: Vec<_> = shown.into_iter().map(|(path, inode)| (path.clone(), *inode)).collect();
        world.durable.extend(shown);
        Ok(())
    }

    fn has_writer(&self, _dir: &Path) -> bool {
        // A write is seen whole or not at all here.
        false
    }
}

impl ReadAt for SimFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.sim.world().inodes[self.inode].shown.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.sim.world();
        let shown = &world.inodes[self.inode].shown;
        let there = shown.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let read = there.len().min(bytes.len());
        bytes[..read].copy_from_slice(&there[..read]);
        Ok(read)
    }
}

impl WriteAt for SimFile {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.sim.world();
        let (done, said) = world.begin(Op::Write, &self.path);
        let start = usize::try_from(offset).unwrap();
        let mut end = start + bytes.len() * done / 1000;
        if done < 1000 {
            // A system stops between blocks, never within a sector.
            end = (end / SECTOR * SECTOR).max(start);
        }
        let inode = &mut world.inodes[self.inode];
        if inode.shown.len() < end {
            inode.shown.resize(end, 0);
        }
        inode.shown[start..end].copy_from_slice(&bytes[..end - start]);
        inode.dirty.extend(start / SECTOR..end.div_ceil(SECTOR));
        if said.is_ok() {
            let path = self.path.clone();
            world.writes.push((path, bytes.len()));
        }
        said
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut world = self.sim.world();
        world.begin(Op::Write, &self.path).1?;
        let end = usize::try_from(length).unwrap();
        let inode = &mut world.inodes[self.inode];
        inode.shown.resize(end, 0);
        inode.dirty.retain(|sector| sector * SECTOR < end);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let gate = {
            let mut gate = self.sim.gate.lock().unwrap();
            gate.take_if(|gate| self.path.to_string_lossy().ends_with(gate.on))
        };
        if let Some(gate) = gate {
            gate.entered.send(()).unwrap();
            gate.released.recv_timeout(DEADLINE).unwrap();
        }
        let mut world = self.sim.world();
        let (_, said) = world.begin(Op::Sync, &self.path);
        let cut = world.cut_at.is_some_and(|at| world.operations > at);
        let inode = &mut world.inodes[self.inode];
        if said.is_ok() {
            let dirty = std::mem::take(&mut inode.dirty);
            inode.durable.resize(inode.shown.len(), 0);
            for sector in dirty {
                let range = sector * SECTOR..((sector + 1) * SECTOR).min(inode.shown.len());
                inode.durable[range.clone()].copy_from_slice(&inode.shown[range]);
            }
        } else if !cut {
            inode.dirty.clear();
        }
        said
    }
}
