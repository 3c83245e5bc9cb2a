//! The processes that `palisade dev` owns: each has a log of its own, is known by pid, and is reaped.
//!
//! INVARIANT: no child outlives its `Family`: `stop` ends each in order, dropping ends each at once, and a child
//! is tied to this process by the kernel. Children sit in process groups of their own, so a terminal's Ctrl-C
//! reaches `dev` alone and `dev` decides the order.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::select_all;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::progress::Stop;

/// How long a child may take to end by itself once it was asked to.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(25);

/// How many lines of its log an ended child's error repeats, and how far back they are looked for.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 64 << 10;

/// Why a child is not there, or not ready.
#[derive(Debug)]
pub enum ChildError {
    Start { name: &'static str, error: io::Error },
    Log { path: PathBuf, error: io::Error },
    Ended { name: &'static str, status: Option<ExitStatus>, log: PathBuf, tail: Vec<String> },
    Overdue { what: String, waited: Duration },
    Stopped,
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChildError::Start { name, error } => write!(f, "the {name} could not be started: {error}"),
            ChildError::Log { path, error } => {
                write!(f, "the log `{}` could not be written: {error}", path.display())
            }
            ChildError::Ended { name, status, log, tail } => {
                let code = status.and_then(|status| status.code());
                let signal = status.and_then(|status| status.signal());
                match (code, signal) {
                    (Some(code), _) => write!(f, "the {name} ended by itself with exit status {code}")?,
                    (None, Some(signal)) => write!(f, "the {name} was ended by signal {signal}")?,
                    (None, None) => write!(f, "the {name} ended by itself")?,
                }
                write!(f, "; the end of its log `{}`:", log.display())?;
                if tail.is_empty() {
                    write!(f, "\n    (it is empty)")?;
                }
                tail.iter().try_for_each(|line| write!(f, "\n    {line}"))
            }
            ChildError::Overdue { what, waited } => {
                write!(f, "{what} did not come within {:.1} s", waited.as_secs_f64())
            }
            ChildError::Stopped => write!(f, "stopped before everything was ready"),
        }
    }
}

impl std::error::Error for ChildError {}

/// The children, in the order in which they were started.
#[derive(Debug, Default)]
pub struct Family {
    children: Vec<Child>,
}

#[derive(Debug)]
struct Child {
    name: &'static str,
    pid: u32,
    process: tokio::process::Child,
    log: PathBuf,
}

impl Family {
    /// Starts `command` with both its outputs in the file `log`; returns its pid.
    ///
    /// Call it only from a thread that lives as long as this process: a tied child dies with its thread.
    pub fn start(&mut self, name: &'static str, mut command: Command, log: &Path) -> Result<u32, ChildError> {
        let log_error = |error| ChildError::Log { path: log.to_path_buf(), error };
        let stdout = File::create(log).map_err(log_error)?;
        let stderr = stdout.try_clone().map_err(log_error)?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0);

        let start_error = |error| ChildError::Start { name, error };
        let mut command = tokio::process::Command::from(command);
        let process = command.kill_on_drop(true).spawn().map_err(start_error)?;
        let pid = process.id().ok_or_else(|| start_error(io::ErrorKind::NotFound.into()))?;
        self.children.push(Child { name, pid, process, log: log.to_path_buf() });
        Ok(pid)
    }

    /// Waits until a child ends although nobody asked it to.
    pub async fn any_ended(&mut self) -> ChildError {
        if self.children.is_empty() {
            return std::future::pending().await;
        }
        let ends = self.children.iter_mut().map(|child| Box::pin(child.ended()));
        let (error, _, _) = select_all(ends).await;
        error
    }

    /// Waits until `ready` holds, a child ends, the end is asked for, or `within` has passed.
    pub async fn wait_for(
        &mut self,
        stop: &Stop,
        what: &str,
        within: Duration,
        ready: impl AsyncFnMut() -> bool,
    ) -> Result<(), ChildError> {
        tokio::select! {
            held = until(within, ready) => match held {
                true => Ok(()),
                false => Err(ChildError::Overdue { what: what.to_owned(), waited: within }),
            },
            error = self.any_ended() => Err(error),
            () = stop.wait() => Err(ChildError::Stopped),
        }
    }

    /// Ends the children, the last one started first, and reaps each.
    pub async fn stop(mut self) {
        while let Some(child) = self.children.pop() {
            child.stop().await;
        }
    }
}

impl Child {
    async fn ended(&mut self) -> ChildError {
        let status = self.process.wait().await.ok();
        ChildError::Ended { name: self.name, status, log: self.log.clone(), tail: tail_of(&self.log) }
    }

    async fn stop(mut self) {
        self.signal(Signal::TERM);
        if timeout(STOP_GRACE, self.process.wait()).await.is_err() {
            self.signal(Signal::KILL);
            let _ = self.process.wait().await;
        }
    }

    /// Signals the child's whole group, unless the child was reaped and its number may belong to another.
    fn signal(&self, signal: Signal) {
        if self.process.id() != Some(self.pid) {
            return;
        }
        if let Some(group) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
    }
}

/// Looks at a condition again and again; false when it does not come to hold `within` that time.
pub async fn until(within: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match tokio::time::timeout_at(deadline, condition()).await {
            Ok(true) => return true,
            Ok(false) if Instant::now() < deadline => {}
            Ok(false) | Err(_) => return false,
        }
    }
}

/// The last lines of a log; none if it cannot be read, because this is only said beside a greater trouble.
pub fn tail_of(log: &Path) -> Vec<String> {
    let text = last_bytes(log).unwrap_or_default();
    let mut tail = VecDeque::with_capacity(TAIL_LINES);
    for line in String::from_utf8_lossy(&text).lines().filter(|line| !line.trim().is_empty()) {
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line.trim_end().to_owned());
    }
    tail.into()
}

fn last_bytes(log: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::process::{self, Command};

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// True while a process of this number exists; a reaped one does not.
    fn exists(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    /// True once `pid` is gone or only waits to be reaped by whoever adopted it.
    fn is_over(pid: u32) -> bool {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
            Err(_) => true,
        }
    }

    #[tokio::test]
    async fn stopping_ends_and_reaps_every_child() {
        let logs = tempfile::tempdir().unwrap();
        let mut family = Family::default();
        let first = family.start("first", shell("exec sleep 600"), &logs.path().join("first")).unwrap();
        let second = family.start("second", shell("sleep 600; true"), &logs.path().join("second")).unwrap();
        assert!(exists(first) && exists(second));
        family.stop().await;
        assert!(!exists(first) && !exists(second));
    }

    #[tokio::test]
    async fn a_child_that_ends_is_named_with_the_end_of_its_log() {
        let logs = tempfile::tempdir().unwrap();
        let mut family = Family::default();
        family.start("quiet", shell("exec sleep 600"), &logs.path().join("quiet")).unwrap();
        family
            .start("server", shell("seq 100; echo no luck >&2; exit 7"), &logs.path().join("server"))
            .unwrap();
        let message = family.any_ended().await.to_string();
        assert!(message.starts_with("the server ended by itself with exit status 7"), "{message}");
        assert!(message.ends_with("    100\n    no luck"), "{message}");
        assert!(!message.contains("    50\n"), "{message}");
        family.stop().await;
    }

    #[tokio::test]
    async fn a_child_that_ends_cuts_short_the_wait_for_readiness() {
        let logs = tempfile::tempdir().unwrap();
        let (_raise, stop) = Stop::channel();
        let mut family = Family::default();
        family.start("server", shell("exit 1"), &logs.path().join("server")).unwrap();
        let waited = family.wait_for(&stop, "readiness", Duration::from_secs(60), async || false).await;
        assert!(matches!(waited, Err(ChildError::Ended { name: "server", .. })), "{waited:?}");
    }

    #[tokio::test]
    async fn a_wait_ends_when_the_condition_holds_and_when_the_time_is_over() {
        let (_raise, stop) = Stop::channel();
        let mut family = Family::default();
        let mut looks = 0;
        let ready = async || {
            looks += 1;
            looks == 3
        };
        family.wait_for(&stop, "the third look", Duration::from_secs(60), ready).await.unwrap();
        let overdue = family.wait_for(&stop, "readiness", Duration::from_millis(50), async || false).await;
        assert!(matches!(overdue, Err(ChildError::Overdue { .. })), "{overdue:?}");
        let hung = family
            .wait_for(&stop, "an answer", Duration::from_millis(50), async || std::future::pending().await)
            .await;
        assert!(matches!(hung, Err(ChildError::Overdue { .. })), "{hung:?}");
    }

    #[tokio::test]
    async fn a_child_that_ignores_the_request_to_end_is_killed_with_its_group() {
        let logs = tempfile::tempdir().unwrap();
        let log = logs.path().join("stubborn");
        let mut family = Family::default();
        family.start("stubborn", shell("trap '' TERM; sleep 600 & echo $!; wait; wait"), &log).unwrap();
        let mut child = family.children.pop().unwrap();
        assert!(until(Duration::from_secs(10), async || !tail_of(&log).is_empty()).await);
        let grandchild: u32 = tail_of(&log)[0].parse().unwrap();
        child.signal(Signal::TERM);
        assert!(timeout(Duration::from_millis(200), child.process.wait()).await.is_err());
        child.signal(Signal::KILL);
        child.process.wait().await.unwrap();
        assert!(until(Duration::from_secs(10), async || is_over(grandchild)).await);
    }

    /// The binary beside the tests' own, if it was built and knows the hidden subcommand.
    fn palisade() -> Option<PathBuf> {
        let beside = env::current_exe().unwrap().ancestors().nth(2).unwrap().join("palisade");
        let knows = Command::new(&beside).args(["exec-tied", "--help"]).output();
        knows.is_ok_and(|output| output.status.success()).then_some(beside)
    }

    #[tokio::test]
    async fn a_tied_child_dies_with_its_parent_and_does_not_start_without_it() {
        let Some(palisade) = palisade() else { return };
        let logs = tempfile::tempdir().unwrap();
        let log = logs.path().join("parent");
        let script = format!("'{}' exec-tied --parent $$ -- sleep 600 & echo $!; wait", palisade.display());
        let mut family = Family::default();
        family.start("parent", shell(&script), &log).unwrap();
        assert!(until(Duration::from_secs(10), async || !tail_of(&log).is_empty()).await);
        let grandchild: u32 = tail_of(&log)[0].parse().unwrap();
        let is_sleep = async || {
            std::fs::read_to_string(format!("/proc/{grandchild}/comm")).is_ok_and(|name| name == "sleep\n")
        };
        assert!(until(Duration::from_secs(10), is_sleep).await, "{:?}", tail_of(&log));

        // Only the parent itself is killed, as an impatient person would, not its group.
        let mut parent = family.children.pop().unwrap();
        parent.process.start_kill().unwrap();
        parent.process.wait().await.unwrap();
        assert!(until(Duration::from_secs(10), async || is_over(grandchild)).await);

        let orphan = Command::new(&palisade)
            .args([
                "exec-tied",
                "--parent",
                &(process::id() + 1_000_000).to_string(),
                "--",
                "echo",
                "started",
            ])
            .output()
            .unwrap();
        assert!(!orphan.status.success());
        assert!(orphan.stdout.is_empty(), "{orphan:?}");
    }
}
