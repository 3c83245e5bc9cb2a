//! `palisade test`: every case of a bundle through the whole proxy, and what came of it.
//!
//! `proxy` answers → `run` compares → `coverage` counts → `text`, `json` and `junit` tell. All of it is pure: files,
//! the clock and the terminal belong to the command.

mod coverage;
mod json;
mod junit;
mod proxy;
mod run;
mod text;

pub use coverage::{Coverage, Share};
pub use json::json;
pub use junit::junit;
pub use proxy::{Answer, Proxy, ProxyError};
pub use run::{CaseRun, Difference, Failure, FileRun, Hint, Run, run};
pub use text::text;

use std::time::Duration;

/// A run as it is reported.
#[derive(Debug, Clone, Copy)]
pub struct Report<'r> {
    pub run: &'r Run<'r>,
    /// `None` where only some of the cases ran.
    pub coverage: Option<&'r Coverage>,
    pub took: Duration,
}
