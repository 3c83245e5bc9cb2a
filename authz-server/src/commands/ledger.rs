//! `palisade ledger`: look into a ledger, or check it, without a server.

use super::failed;
use crate::ledger::{Entries, Entry, verify};
use crate::state::LEDGER_DIRECTORY;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Read every entry and check its frame; name the first bad one
    Verify {
        /// A state directory, or the ledger's own
        dir: PathBuf,
    },
    /// Print every entry as one JSON object a line
    Show {
        /// A state directory, or the ledger's own
        dir: PathBuf,
    },
}

pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::Verify { dir } => match verify(&ledger_in(dir)) {
            Ok(verified) => {
                let last = verified.last.map(|hash| hash.to_string());
                println!(
                    "{}",
                    serde_json::json!({"entries": verified.entries, "last_leaf_hash": last, "torn_bytes": verified.torn_bytes})
                );
                ExitCode::SUCCESS
            }
            Err(error) => failed("ledger verify", &error),
        },
        Command::Show { dir } => show(&ledger_in(dir)),
    }
}

fn show(dir: &Path) -> ExitCode {
    let entries = match Entries::open(dir) {
        Ok(entries) => entries,
        Err(error) => return failed("ledger show", &error),
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for entry in entries {
        let recorded = match entry {
            Ok(recorded) => recorded,
            Err(error) => {
                let _flushed = out.flush();
                return failed("ledger show", &error);
            }
        };
        let (kind, value) = match &recorded.entry {
            Entry::Decision(decision) => ("decision", serde_json::to_value(decision)),
            Entry::Outcome(outcome) => ("outcome", serde_json::to_value(outcome)),
            Entry::Admin(admin) => ("admin", serde_json::to_value(admin)),
        };
        let value = match value {
            Ok(value) => value,
            Err(error) => {
                let _flushed = out.flush();
                return failed("ledger show", &error);
            }
        };
        let line = serde_json::json!({"index": recorded.index, "kind": kind, "entry": value});
        if writeln!(out, "{line}").is_err() {
            return ExitCode::SUCCESS;
        }
    }
    // A reader that closed the pipe has seen enough.
    let _flushed = out.flush();
    ExitCode::SUCCESS
}

fn ledger_in(dir: &Path) -> PathBuf {
    let inner = dir.join(LEDGER_DIRECTORY);
    if inner.is_dir() { inner } else { dir.to_owned() }
}
