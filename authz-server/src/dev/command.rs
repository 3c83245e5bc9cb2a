//! Runs one command to its end as a step: its output feeds the progress line, its last lines explain a failure.
//!
//! INVARIANT: when `run` returns, the command has ended and was reaped; a raised stop ends its whole process group.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::progress::Step;

/// How often the elapsed time on the progress line moves and a stop is looked for.
const TICK: Duration = Duration::from_millis(100);

/// How much of a failed command's output its error repeats.
const TAIL_LINES: usize = 12;

/// Lines longer than this are cut, so that a command cannot fill our memory with one of them.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Why a command did not end well.
#[derive(Debug)]
pub enum CommandError {
    /// It could not be started at all.
    Start { program: String, error: io::Error },
    /// It ended with a failure.
    Failed { program: String, status: ExitStatus, tail: Vec<String> },
    /// The end was asked for while it ran.
    Stopped,
}

impl CommandError {
    /// True when the program is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, CommandError::Start { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }

    /// The last lines that the command printed.
    pub fn tail(&self) -> &[String] {
        match self {
            CommandError::Failed { tail, .. } => tail,
            CommandError::Start { .. } | CommandError::Stopped => &[],
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Start { program, error } => write!(f, "`{program}` could not be started: {error}"),
            CommandError::Failed { program, status, tail } => {
                match (status.code(), status.signal()) {
                    (Some(code), _) => write!(f, "`{program}` ended with exit status {code}")?,
                    (None, Some(signal)) => write!(f, "`{program}` was ended by signal {signal}")?,
                    (None, None) => write!(f, "`{program}` failed")?,
                }
                tail.iter().try_for_each(|line| write!(f, "\n    {line}"))
            }
            CommandError::Stopped => write!(f, "stopped before it was finished"),
        }
    }
}

impl std::error::Error for CommandError {}

/// Runs `command` and returns what it wrote to standard output, line by line.
pub fn run(step: &mut Step<'_>, mut command: Command) -> Result<Vec<String>, CommandError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let start_error = |error| CommandError::Start { program: program.clone(), error };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(start_error)?;

    let (sender, lines) = mpsc::sync_channel(256);
    forward(child.stdout.take(), Source::Stdout, sender.clone());
    forward(child.stderr.take(), Source::Stderr, sender);

    let mut stdout = Vec::new();
    let mut tail = VecDeque::with_capacity(TAIL_LINES);
    loop {
        match lines.recv_timeout(TICK) {
            Ok((source, line)) => {
                // A line that is an object is meant for a program, such as cargo's messages; people are not shown it.
                if !line.starts_with('{') {
                    step.line(&line);
                    if tail.len() == TAIL_LINES {
                        tail.pop_front();
                    }
                    tail.push_back(line.clone());
                }
                if source == Source::Stdout {
                    stdout.push(line);
                }
            }
            Err(RecvTimeoutError::Timeout) => step.tick(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if step.stopped() {
            end(&mut child);
            return Err(CommandError::Stopped);
        }
    }

    let status = child.wait().map_err(start_error)?;
    if status.success() {
        return Ok(stdout);
    }
    // A terminal's Ctrl-C can reach the command before it reaches us.
    if step.stopped() {
        return Err(CommandError::Stopped);
    }
    Err(CommandError::Failed { program, status, tail: tail.into() })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Stdout,
    Stderr,
}

/// Reads a pipe on a thread of its own; the channel closes when both pipes have ended.
fn forward(pipe: Option<impl Read + Send + 'static>, source: Source, sender: SyncSender<(Source, String)>) {
    let Some(pipe) = pipe else { return };
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            match (&mut pipe).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                    if sender.send((source, line)).is_err() {
                        return;
                    }
                }
            }
        }
    });
}

/// Ends a command and everything that it started. Its work is worth nothing half done, so there is no grace.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::super::progress::{Progress, Stop};
    use super::{CommandError, run};
    use std::process::Command;
    use std::time::{Duration, Instant};

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn standard_output_is_returned_and_standard_error_is_not() {
        let mut progress = Progress::silent();
        let lines = run(&mut progress.step("t"), shell("echo a; echo b >&2; echo c")).unwrap();
        assert_eq!(lines, ["a", "c"]);
    }

    #[test]
    fn a_failure_carries_the_last_lines() {
        let mut progress = Progress::silent();
        let error = run(&mut progress.step("t"), shell("seq 100 >&2; exit 3")).unwrap_err();
        assert_eq!(error.tail().len(), super::TAIL_LINES);
        assert!(error.to_string().starts_with("`sh` ended with exit status 3\n    89"), "{error}");
    }

    #[test]
    fn a_missing_program_is_told_apart() {
        let mut progress = Progress::silent();
        let error = run(&mut progress.step("t"), Command::new("no-such-program-here")).unwrap_err();
        assert!(error.is_missing(), "{error}");
    }

    #[test]
    fn a_stop_ends_the_command_and_what_it_started() {
        let (raise, stop) = Stop::channel();
        let mut progress = Progress::silent().with_stop(stop);
        let began = Instant::now();
        let raiser = std::thread::spawn(move || raise.send_replace(true));
        let error = run(&mut progress.step("t"), shell("sleep 30 & sleep 30")).unwrap_err();
        assert!(matches!(error, CommandError::Stopped), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
        raiser.join().unwrap();
    }
}
