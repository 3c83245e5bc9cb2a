//! `palisade ledger`: look into a ledger, check it, prove an entry of it, or delete its oldest part.

use super::{failed, replay};
use crate::ledger::{Against, Entries, Entry, Ledger, Retention, VerifierKey, prove, status, verify_against};
use crate::state::LEDGER_DIRECTORY;
use palisade_core::call_id::CallId;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Read every entry and compare it with what was signed; name the first bad one
    Verify {
        /// A state directory, or the ledger's own
        dir: PathBuf,
        /// A checkpoint that was copied at some time: finds a history that was rolled back or rewritten since; may be
        /// given many times
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        /// The public key, or a file with it, as it was kept elsewhere; else the one in the directory is used, which
        /// whoever changes the ledger can change too
        #[arg(long, value_name = "VKEY")]
        key: Option<String>,
    },
    /// Print the proof that a decision is in the ledger, in the form of c2sp.org/tlog-proof
    Prove {
        decision_id: String,
        /// A state directory, or the ledger's own
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
    },
    /// Print every entry as one JSON object a line
    Show {
        /// A state directory, or the ledger's own
        dir: PathBuf,
        /// Begin with the entry of this index
        #[arg(long, value_name = "INDEX", default_value_t = 0)]
        from: u64,
    },
    /// Print size, segments, key and latest checkpoint
    Status {
        /// A state directory, or the ledger's own
        dir: PathBuf,
    },
    /// Make every recorded decision again with the bundle that it was made by, and say which come out otherwise
    Replay(replay::Args),
    /// Delete the oldest segments, and keep what proves their entries; the server must not be running
    Prune {
        /// A state directory, or the ledger's own
        dir: PathBuf,
        /// Delete segments whose last entry is older
        #[arg(long, value_name = "DAYS", required_unless_present = "keep_bytes")]
        keep_days: Option<u32>,
        /// Delete the oldest segments while all of them together are larger
        #[arg(long, value_name = "BYTES")]
        keep_bytes: Option<u64>,
    },
}

pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::Verify { dir, checkpoint, key } => verify(&ledger_in(dir), checkpoint, key.as_deref()),
        Command::Prove { decision_id, state } => print_proof(&ledger_in(state), decision_id),
        Command::Show { dir, from } => show(&ledger_in(dir), *from),
        Command::Status { dir } => print_status(&ledger_in(dir)),
        Command::Replay(args) => replay::run(args, &ledger_in(args.dir())),
        Command::Prune { dir, keep_days, keep_bytes } => {
            let age = keep_days.map(|days| DAY.saturating_mul(days));
            prune(&ledger_in(dir), &Retention { age, bytes: *keep_bytes })
        }
    }
}

fn verify(dir: &Path, copies: &[PathBuf], key: Option<&str>) -> ExitCode {
    const NAME: &str = "ledger verify";
    let mut against = Against::default();
    match key.map(read_key).transpose() {
        Ok(key) => against.key = key,
        Err(error) => return failed(NAME, &error),
    }
    for path in copies {
        match std::fs::read(path) {
            Ok(note) => against.copies.push((path.clone(), note)),
            Err(error) => return failed(NAME, &format!("could not read `{}`: {error}", path.display())),
        }
    }
    let verified = match verify_against(dir, &against) {
        Ok(verified) => verified,
        Err(error) => return failed(NAME, &error),
    };
    if against.key.is_none() && verified.checkpoint.is_some() {
        eprintln!(
            "palisade {NAME}: checked with the key that lies beside the ledger; give `--key` with the copy that you kept \
             elsewhere, because whoever changes the ledger can change that one too"
        );
    }
    if let Some(deleted) = verified.deleted {
        eprintln!(
            "palisade {NAME}: retention deleted the entries before {} (entered at {} ms since 1970); their hashes were checked",
            deleted.before, deleted.at_ms
        );
    }
    println!(
        "{}",
        serde_json::json!({
            "entries": verified.entries,
            "last_leaf_hash": verified.last.map(|hash| hash.to_string()),
            "root": verified.root.to_string(),
            "torn_bytes": verified.torn_bytes,
            "deleted_before": verified.deleted.map(|deleted| deleted.before),
            "checkpoints": verified.checkpoints,
            "signed": verified.checkpoint.as_ref().map(|checkpoint| checkpoint.size),
            "signed_at_s": verified.checkpoint.as_ref().map(|checkpoint| checkpoint.time_s),
            "unsigned": verified.unsigned(),
            "tiles_damaged": verified.tiles_damaged,
            "tiles": verified.tiles,
        })
    );
    ExitCode::SUCCESS
}

fn read_key(given: &str) -> Result<VerifierKey, String> {
    // A key always has this character, and the name of a file hardly ever.
    let text = match given.contains('+') {
        true => given.to_owned(),
        false => {
            std::fs::read_to_string(given).map_err(|error| format!("could not read `{given}`: {error}"))?
        }
    };
    VerifierKey::parse(&text).map_err(|error| error.to_string())
}

fn print_proof(dir: &Path, decision_id: &str) -> ExitCode {
    if CallId::parse(decision_id).is_none() {
        let error = format!("`{decision_id}` is not a decision id: expected a UUID as the reply shows it");
        return failed("ledger prove", &error);
    }
    match prove(dir, decision_id) {
        Ok(proof) => {
            print!("{proof}");
            ExitCode::SUCCESS
        }
        Err(error) => failed("ledger prove", &error),
    }
}

fn print_status(dir: &Path) -> ExitCode {
    let found = match status(dir) {
        Ok(found) => found,
        Err(error) => return failed("ledger status", &error),
    };
    let checkpoint = found.checkpoint.map(|checkpoint| {
        serde_json::json!({
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.to_string(),
            "at_s": checkpoint.time_s,
        })
    });
    println!(
        "{}",
        serde_json::json!({
            "entries": found.entries,
            "first": found.first,
            "segments": found.segments,
            "bytes": found.bytes,
            "being_written": found.has_writer,
            "key": found.key,
            "key_id": found.key_id,
            "checkpoint": checkpoint,
            "checkpoint_not_believed": found.checkpoint_not_believed,
        })
    );
    ExitCode::SUCCESS
}

fn prune(dir: &Path, retention: &Retention) -> ExitCode {
    const NAME: &str = "ledger prune";
    let runtime = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(NAME, &error),
    };
    // Opening would begin a ledger where there is none.
    if let Err(error) = status(dir) {
        return failed(NAME, &error);
    }
    let ledger = match Ledger::open(dir) {
        Ok((ledger, _recovery)) => ledger,
        Err(error) => return failed(NAME, &error),
    };
    let pruned = runtime.block_on(ledger.prune(retention));
    let closed = runtime.block_on(ledger.close());
    match (pruned, closed) {
        (Ok(pruned), Ok(())) => {
            let (segments, bytes, before) = (pruned.segments, pruned.bytes, pruned.before);
            println!(
                "{}",
                serde_json::json!({"segments": segments, "bytes": bytes, "deleted_before": before})
            );
            ExitCode::SUCCESS
        }
        (Err(error), _) => failed(NAME, &error),
        (Ok(_), Err(error)) => failed(NAME, &error),
    }
}

fn show(dir: &Path, from: u64) -> ExitCode {
    let entries = match Entries::open_from(dir, from) {
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
            Entry::Refusal(refusal) => ("refusal", serde_json::to_value(refusal)),
            Entry::Outcome(outcome) => ("outcome", serde_json::to_value(outcome)),
            Entry::Admin(admin) => ("admin", serde_json::to_value(admin)),
            Entry::Drift(drift) => ("drift", serde_json::to_value(drift)),
            Entry::Judged(judged) => ("judged", serde_json::to_value(judged)),
            Entry::Shed(sheds) => ("shed", serde_json::to_value(sheds)),
            Entry::Load(load) => ("load", serde_json::to_value(load)),
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
