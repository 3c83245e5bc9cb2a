//! Ties a program's life to its parent's, so that `kill -9` on `palisade dev` leaves nothing behind.
//!
//! INVARIANT: a tied program runs only while its parent does. The kernel counts the *thread* that started it as
//! the parent, so whoever starts a tied program must do so from a thread that lives as long as the process.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{self, Command};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// A command that becomes `program`, tied to this process. `palisade` is our own binary.
pub fn command(palisade: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(palisade);
    command.arg("exec-tied").arg("--parent").arg(process::id().to_string()).arg("--").arg(program);
    command
}

/// Becomes `program`; returns only with what went wrong.
///
/// `parent` is the process that the life is tied to. It is named, because a parent that died before the kernel
/// was told cannot be noticed in any other way.
pub fn exec<A: AsRef<OsStr>>(parent: u32, program: &OsStr, arguments: &[A]) -> String {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("the kernel does not tie processes together: {error}");
    }
    let alive = getppid().is_some_and(|pid| u32::try_from(pid.as_raw_nonzero().get()) == Ok(parent));
    if !alive {
        return format!("the parent process {parent} has gone already");
    }
    let error = Command::new(program).args(arguments).exec();
    format!("`{}` could not be started: {error}", program.display())
}
