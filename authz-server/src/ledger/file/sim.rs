//! A disk that records, fails, forgets and waits on demand: one file, in memory.
//!
//! It keeps what the system shows apart from what a loss of power would leave. A failed sync forgets which bytes
//! were unsynced, as real systems do: a later sync then succeeds without storing them.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::*;

/// A writer that never syncs, or a test that never lets it, ends in a failure and not in a wait.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default)]
pub(crate) struct Sim {
    state: Arc<Mutex<State>>,
    gate: Arc<Mutex<Option<Gate>>>,
}

#[derive(Debug, Default)]
struct State {
    shown: Vec<u8>,
    durable: Vec<u8>,
    /// For each byte shown, whether the next sync has to store it.
    dirty: Vec<bool>,
    events: Vec<Event>,
    fault: Option<Fault>,
    /// Operations so far, of those that can fail.
    writes: usize,
    syncs: usize,
}

/// What happened to the file, in order. `Acknowledged` is added by the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Written { end: u64 },
    Synced { length: u64 },
    Truncated { length: u64 },
    DirSynced,
    Failed,
    Acknowledged { index: u64 },
}

/// The operation that fails, counted from 0, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// `kept` of the bytes, in thousandths, are written before the error comes.
    Write {
        at: usize,
        errno: i32,
        kept: usize,
    },
    Sync {
        at: usize,
        errno: i32,
    },
}

/// What is left after a crash.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crash {
    /// The process is gone; the system stores everything in its own time.
    Killed,
    /// Of what was not synced nothing is left.
    PowerLost,
    /// Of what was not synced the first so many thousandths are left.
    PowerLostTorn { kept: usize },
    /// Of what was not synced one sector is not stored, counted from the first; the file has its new length.
    PowerLostHole { sector: usize },
}

#[derive(Debug)]
struct Gate {
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
    pub(crate) fn with_contents(contents: &[u8]) -> Sim {
        let sim = Sim::default();
        {
            let mut state = sim.state();
            state.shown = contents.to_vec();
            state.durable = contents.to_vec();
            state.dirty = vec![false; contents.len()];
        }
        sim
    }

    pub(crate) fn failing(self, fault: Fault) -> Sim {
        self.state().fault = Some(fault);
        self
    }

    /// Holds back the next sync.
    pub(crate) fn hold(&self) -> Held {
        let (entered, has_entered) = channel();
        let (release, released) = channel();
        *self.gate.lock().unwrap() = Some(Gate { entered, released });
        Held { entered: has_entered, released: release }
    }

    pub(crate) fn contents(&self) -> Vec<u8> {
        self.state().shown.clone()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    pub(crate) fn acknowledge(&self, index: u64) {
        self.state().events.push(Event::Acknowledged { index });
    }

    /// The disk as the next process finds it, with no fault left.
    pub(crate) fn after(&self, crash: Crash) -> Sim {
        let state = self.state();
        let first_dirty = state.dirty.iter().position(|dirty| *dirty).unwrap_or(state.shown.len());
        let unsynced = state.shown.len() - first_dirty;
        match crash {
            Crash::Killed => {
                let sim = Sim::with_contents(&state.shown);
                // What a failed sync forgot is still shown, and still not stored.
                sim.state().durable.clone_from(&state.durable);
                sim.state().dirty.clone_from(&state.dirty);
                sim
            }
            Crash::PowerLost => Sim::with_contents(&state.durable),
            Crash::PowerLostTorn { kept } => {
                let end = first_dirty + unsynced * kept / 1000;
                Sim::with_contents(&state.left(end.max(state.durable.len())))
            }
            Crash::PowerLostHole { sector } => {
                let mut left = state.left(state.shown.len());
                let start = (first_dirty / 512 + sector) * 512;
                for at in start.max(first_dirty)..(start + 512).min(left.len()) {
                    left[at] = state.durable.get(at).copied().unwrap_or(0);
                }
                Sim::with_contents(&left)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    /// What is stored if of the unsynced bytes those before `end` are.
    fn left(&self, end: usize) -> Vec<u8> {
        (0..end.min(self.shown.len()))
            .map(
                |at| if self.dirty[at] { self.shown[at] } else { self.durable.get(at).copied().unwrap_or(0) },
            )
            .collect()
    }
}

impl Files for Sim {
    type File = Sim;

    fn open(&self, _path: &Path) -> io::Result<Sim> {
        Ok(self.clone())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.state().events.push(Event::DirSynced);
        Ok(())
    }
}

impl ReadAt for Sim {
    fn length(&self) -> io::Result<u64> {
        Ok(self.state().shown.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state();
        let there = state.shown.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let read = there.len().min(bytes.len());
        bytes[..read].copy_from_slice(&there[..read]);
        Ok(read)
    }
}

impl WriteAt for Sim {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state();
        let count = state.writes;
        state.writes += 1;
        let (written, errno) = match state.fault {
            Some(Fault::Write { at, errno, kept }) if at == count => (bytes.len() * kept / 1000, Some(errno)),
            Some(Fault::Write { .. } | Fault::Sync { .. }) | None => (bytes.len(), None),
        };
        let start = usize::try_from(offset).unwrap();
        let end = start + written;
        if state.shown.len() < end {
            state.shown.resize(end, 0);
            state.dirty.resize(end, true);
        }
        state.shown[start..end].copy_from_slice(&bytes[..written]);
        state.dirty[start..end].fill(true);
        match errno {
            Some(errno) => {
                state.events.push(Event::Failed);
                Err(io::Error::from_raw_os_error(errno))
            }
            None => {
                state.events.push(Event::Written { end: end as u64 });
                Ok(())
            }
        }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        let end = usize::try_from(length).unwrap();
        state.shown.truncate(end);
        state.dirty.truncate(end);
        state.events.push(Event::Truncated { length });
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let gate = self.gate.lock().unwrap().take();
        if let Some(gate) = gate {
            gate.entered.send(()).unwrap();
            gate.released.recv_timeout(DEADLINE).unwrap();
        }
        let mut state = self.state();
        let count = state.syncs;
        state.syncs += 1;
        if let Some(Fault::Sync { at, errno }) = state.fault
            && at == count
        {
            state.dirty.fill(false);
            state.events.push(Event::Failed);
            return Err(io::Error::from_raw_os_error(errno));
        }
        let length = state.shown.len();
        state.durable = state.left(length);
        state.dirty.fill(false);
        state.events.push(Event::Synced { length: length as u64 });
        Ok(())
    }
}
