//! Real child processes: started, stopped, continued, killed and started again, each by its own id.
//!
//! Invariant: no child outlives the test process. A child is started through `palisade exec-tied`, which asks the kernel
//! to kill it with its parent; the kernel means the parent *thread*, so every child is started from one thread that
//! lives as long as the test process does.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use palisade::dev::tied;
use rustix::process::{Pid, Signal, kill_process};

use crate::binaries;
use crate::deadline::poll;

const LOG_LINES_SHOWN: usize = 80;

/// How long the threads of a child may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How a part is started; the same each time that it is restarted.
#[derive(Debug, Clone)]
pub struct Launch {
    pub name: String,
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    /// What this test process has in its environment and the child must not have.
    pub env_removed: Vec<OsString>,
}

impl Launch {
    pub fn new(name: &str, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            env_removed: Vec::new(),
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env_removed.push(name.into());
        self
    }
}

/// A running (or stopped, or ended) child and its log.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts the child; its output is appended to `<log_dir>/<name>.log`.
    pub fn start(launch: Launch, log_dir: &Path) -> Self {
        let log = log_dir.join(format!("{}.log", launch.name));
        let child = spawn(&launch, &log);
        Self { launch, log, child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All that the child has written so far, over all its starts.
    pub fn log(&self) -> String {
        let mut bytes = Vec::new();
        // A log that is not there yet is empty.
        let _ = File::open(&self.log).and_then(|mut file| file.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn has_exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask for the state of a child")
    }

    /// SIGKILL, and waits until the child is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("wait for a killed child");
    }

    /// What can kill the child while the child itself is borrowed.
    pub fn killer(&self) -> Killer {
        Killer { pid: self.child.id() }
    }

    /// SIGSTOP: the child keeps its sockets and answers nothing. The signal stops one thread after the other, so that this
    /// waits for the last.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
        let pid = self.pid();
        assert!(
            poll(STOP_TIMEOUT, || is_stopped(pid).then_some(())).is_some(),
            "`{}` did not stop",
            self.launch.name
        );
    }

    /// SIGCONT after [`Self::pause`].
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGTERM, and waits for the child to end by itself.
    #[track_caller]
    pub fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        match poll(deadline, || self.has_exited()) {
            Some(status) => status,
            None => panic!("`{}` did not end within {deadline:?} of SIGTERM", self.launch.name),
        }
    }

    /// Starts the child again, the same way, after it has ended.
    pub fn restart(&mut self) {
        if self.has_exited().is_none() {
            self.kill();
        }
        self.child = spawn(&self.launch, &self.log);
    }

    /// Changes how the next [`Self::restart`] starts the child.
    pub fn relaunch_with(&mut self, change: impl FnOnce(&mut Launch)) {
        change(&mut self.launch);
    }

    /// Polls `ready` until it is true; fails at once, with the log, when the child has ended.
    #[track_caller]
    pub fn wait_until_ready(&mut self, deadline: Duration, mut ready: impl FnMut() -> bool) {
        let state = poll(deadline, || match self.has_exited() {
            Some(status) => Some(Err(status)),
            None => ready().then_some(Ok(())),
        });
        match state {
            Some(Ok(())) => {}
            Some(Err(status)) => panic!("`{}` ended with {status} before it was ready", self.launch.name),
            None => panic!("`{}` was not ready within {deadline:?}", self.launch.name),
        }
    }

    fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }
}

/// Whether no thread of a process runs: the letter of its state stands behind its name, which is in brackets.
fn is_stopped(pid: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, state)| !state.starts_with(['R', 'S', 'D']))
    })
}

/// Kills one child by its id; good until that child has been waited for.
#[derive(Debug, Clone, Copy)]
pub struct Killer {
    pid: u32,
}

impl Killer {
    /// SIGKILL, without waiting.
    pub fn kill(self) {
        send(self.pid, Signal::KILL);
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("the id of a child");
    // A child that ended by itself cannot be signalled, which is no failure of the test.
    let _ = kill_process(pid, signal);
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // A stopped child is killed as well as a running one.
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("---- the last {} lines of {} ----", shown.len(), self.launch.name);
            eprintln!("{}", shown.join("\n"));
        }
    }
}

type Spawned = std::io::Result<Child>;
type Order = (Command, Sender<Spawned>);

/// The thread that starts every child (see the module's invariant).
static SPAWNER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
    let (orders, received) = channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, answer) in received {
            // The one who asked may have given up; then the child is dropped unstarted or ends with the process.
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(orders)
});

fn spawn(launch: &Launch, log: &Path) -> Child {
    let file = OpenOptions::new().create(true).append(true).open(log).expect("open the log of a child");
    let errors = file.try_clone().expect("open the log of a child twice");
    let mut command = tied::command(binaries::palisade(), &launch.program);
    command.args(&launch.args);
    for name in &launch.env_removed {
        command.env_remove(name);
    }
    command.envs(launch.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(file).stderr(errors);
    let (answer, answered) = channel();
    SPAWNER.lock().expect("the spawner's lock").send((command, answer)).expect("the spawner runs");
    match answered.recv().expect("the spawner answers") {
        Ok(child) => child,
        Err(error) => panic!("`{}` cannot be started: {error}", launch.name),
    }
}
