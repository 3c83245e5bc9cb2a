//! Whether what is printed has colours, and a bundle's problems as they are printed beside a command's result.

use crate::bundle::Problems;
use std::io::IsTerminal as _;
use std::path::Path;

/// For standard error, with places as whoever named the directory can open them.
pub(super) fn problems(problems: &Problems, directory: &Path) -> String {
    // A directory that is not there is named by its own path.
    let within = directory.is_dir().then(|| problems.in_directory(directory));
    within.as_ref().unwrap_or(problems).report(on_stderr())
}

/// Only where a terminal shows them, and nobody asked for none: see <https://no-color.org>.
pub(super) fn on_stdout() -> bool {
    std::io::stdout().is_terminal() && !refused()
}

/// The same for messages beside a command's result.
fn on_stderr() -> bool {
    std::io::stderr().is_terminal() && !refused()
}

fn refused() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
