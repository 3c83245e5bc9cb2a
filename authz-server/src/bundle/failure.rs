//! `failure` in `palisade.yaml`: what becomes of calls that the server cannot decide or record in time, or of which it never
//! hears because it cannot be reached.
//!
//! INVARIANT: closed unless it is written, and what changes something is open only where somebody signed for it by a lint.

use super::format::Class;
use super::lints::{Lint, LintSettings};
use super::record::{Placed, Reader, choice, record};
use palisade_core::contract::OperationClass;

record! {
    /// `failure`: by class, what becomes of calls that the server cannot decide or record in time.
    #[derive(Default)]
    pub struct FailureSettings {
        /// Operations that read. Absent: `closed`.
        optional read: Placed<FailMode>,
        /// Operations that write. Absent: `closed`.
        optional write: Placed<FailMode>,
        /// Operations that delete. Absent: `closed`.
        optional delete: Placed<FailMode>,
    }
}

choice! {
    /// What becomes of a call that the server cannot decide or record in time.
    pub enum FailMode: "`closed` or `open`" {
        /// It is refused.
        Closed = "closed",
        /// It is allowed, marked and counted, where the filter vouches for it and its credentials hold.
        Open = "open",
    }
}

#[expect(clippy::derivable_impls, reason = "`choice!` has no place for the attribute that deriving needs")]
impl Default for FailMode {
    fn default() -> FailMode {
        FailMode::Closed
    }
}

impl FailureSettings {
    /// What becomes of calls of this class where they cannot be decided or recorded in time.
    pub fn mode(&self, class: OperationClass) -> FailMode {
        match class {
            OperationClass::Read => self.read.value,
            OperationClass::Write => self.write.value,
            OperationClass::Delete => self.delete.value,
        }
    }

    pub fn any_open(&self) -> bool {
        [&self.read, &self.write, &self.delete].iter().any(|mode| mode.value == FailMode::Open)
    }

    /// What changes something and would pass undecided, by the name of its class.
    pub(super) fn open_changes(&self) -> impl Iterator<Item = (&'static str, &Placed<FailMode>)> {
        let changes = [(Class::Write, &self.write), (Class::Delete, &self.delete)];
        changes
            .into_iter()
            .filter(|(_, mode)| mode.value == FailMode::Open)
            .map(|(class, mode)| (class.word(), mode))
    }

    /// A lint only warns, and this is too much for a warning: without its allowance it is an error.
    pub(super) fn check(&self, lints: &LintSettings, reader: &mut Reader<'_>) {
        for (class, mode) in self.open_changes().filter(|(class, _)| !lints.allows(Lint::OpenChange, class)) {
            reader.wrong(
                mode.at,
                format!("calls of class `{class}` would change something that nobody decided on"),
                format!(
                    "leave `{class}` closed, or sign for it under `lints.allow`: `lint: open-change`, `of: [{class}]`, and the reason"
                ),
            );
        }
    }
}
