//! Whether what is printed has colours.

use std::io::IsTerminal as _;

/// Only where a terminal shows them, and nobody asked for none: see <https://no-color.org>.
pub(super) fn on_stdout() -> bool {
    std::io::stdout().is_terminal() && !refused()
}

/// The same for messages beside a command's result.
pub(super) fn on_stderr() -> bool {
    std::io::stderr().is_terminal() && !refused()
}

fn refused() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
