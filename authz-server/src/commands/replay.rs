//! `palisade ledger replay`: every recorded decision made again, and compared.

use super::failed;
use crate::ledger::{Entries, Entry, Recorded, status};
use crate::replay::{BundleSource, KeptBundles, Replay};
use crate::state::Bundles;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const NAME: &str = "ledger replay";

/// How often a terminal shows how far it is, and how often a log does.
const ON_TERMINAL: Duration = Duration::from_millis(200);
const IN_LOG: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 every decision that could be made again came out the same, 1 one did not, a kept bundle is damaged, or the
ledger could not be read.")]
pub struct Args {
    /// The server's state directory
    dir: PathBuf,
    /// A folder with bundles, each named by its digest, which are used as they are: a copy of `STATE/bundles`, or one with
    /// other policies in it
    #[arg(long, value_name = "DIR")]
    bundles: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Show how far it is although standard error is no terminal
    #[arg(long)]
    progress: bool,
}

impl Args {
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

pub(super) fn run(args: &Args, ledger: &Path) -> ExitCode {
    let source = match &args.bundles {
        Some(folder) if !folder.is_dir() => {
            return failed(NAME, &format!("there is no directory `{}`", folder.display()));
        }
        Some(folder) => BundleSource::Folder(folder.clone()),
        None => BundleSource::Kept(Bundles::of(&args.dir)),
    };
    let mut replay = Replay::new(KeptBundles::new(source));
    let walked = walk(args, ledger, &mut replay);
    for complaint in replay.complaints() {
        eprintln!("palisade {NAME}: {complaint}");
    }
    let entries = match walked {
        Ok(entries) => entries,
        Err(error) => return failed(NAME, &error),
    };
    if args.json {
        let found = serde_json::json!({
            "entries": entries,
            "counts": replay.counts,
            "different": replay.different,
        });
        println!("{found}");
    } else {
        print!("{}", replay.counts);
        for found in &replay.different {
            println!("\nentry {} {} (bundle {})", found.index, found.decision_id, found.bundle);
            println!("  recorded  {}\n     again  {}", found.recorded, found.again);
        }
        let more = replay.counts.different.saturating_sub(replay.different.len() as u64);
        if more > 0 {
            println!("\nand {more} more");
        }
    }
    if replay.counts.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes every decision again; how many entries were read.
fn walk(args: &Args, ledger: &Path, replay: &mut Replay) -> Result<u64, String> {
    let all = status(ledger).map_err(|error| error.to_string())?.entries;
    let mut progress = Progress::new(args.progress);
    let mut entries = 0;
    let walked = Entries::open(ledger).map_err(|error| error.to_string()).and_then(|found| {
        for recorded in found {
            let Recorded { index, entry, .. } = recorded.map_err(|error| error.to_string())?;
            if let Entry::Decision(decision) = &entry {
                replay.take(index, decision);
            }
            entries += 1;
            progress.show(index.saturating_add(1), all, replay.counts.different);
        }
        Ok(())
    });
    progress.end();
    walked.map(|()| entries)
}

/// How far it is, on standard error.
struct Progress {
    every: Option<Duration>,
    on_terminal: bool,
    shown: Instant,
    is_open: bool,
}

impl Progress {
    fn new(wanted: bool) -> Progress {
        let on_terminal = io::stderr().is_terminal();
        let every = if on_terminal { Some(ON_TERMINAL) } else { wanted.then_some(IN_LOG) };
        Progress { every, on_terminal, shown: Instant::now(), is_open: false }
    }

    fn show(&mut self, done: u64, all: u64, different: u64) {
        // A look at the clock for each entry would be felt.
        let looks = done.is_multiple_of(256);
        if !looks || self.every.is_none_or(|every| self.shown.elapsed() < every) {
            return;
        }
        self.shown = Instant::now();
        self.is_open = self.on_terminal;
        let (before, after) = if self.on_terminal { ("\r", "") } else { ("", "\n") };
        // Whoever closed standard error does not want to know.
        let _told = write!(io::stderr(), "{before}{done} of {all} entries, {different} different{after}");
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.is_open) {
            let _told = write!(io::stderr(), "\r{:60}\r", "");
        }
    }
}
