//! `palisade test`: every case of a bundle through the whole proxy, and what came of it.
//!
//! `proxy` answers → `run` compares → `coverage` counts → `text`, `json` and `junit` tell. All of it is pure: files,
//! the clock and the terminal belong to the command.

mod coverage;
mod json;
mod junit;
mod matrix;
mod proxy;
mod run;
#[cfg(test)]
mod tests;
mod text;

pub use coverage::{Coverage, Share};
pub use json::json;
pub use junit::junit;
pub use matrix::{Access, Gaps, Matrix};
pub use proxy::{Answer, Proxy, ProxyError, said_of};
pub use run::{CaseRun, Difference, Failure, FileRun, Hint, Part, Run, run};
pub use text::text;

use crate::bundle::Place;
use std::path::Path;
use std::time::Duration;

/// A run as it is reported.
#[derive(Debug, Clone, Copy)]
pub struct Report<'r> {
    pub run: &'r Run<'r>,
    /// `None` where only some of the cases ran.
    pub coverage: Option<&'r Coverage>,
    pub took: Duration,
    /// Stands before the files' paths, so that editors and CI systems find them: the bundle's directory.
    pub directory: &'r Path,
}

impl Report<'_> {
    fn path(self, file: &str) -> String {
        self.directory.join(file).display().to_string()
    }

    fn place(self, place: &Place) -> String {
        let path = self.path(&place.file);
        place.line.map_or_else(|| path.clone(), |line| format!("{path}:{line}"))
    }
}
