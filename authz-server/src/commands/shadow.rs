//! `palisade shadow`: what a candidate bundle and shadow policies would have decided otherwise.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::audit::{Notes, state_directory, unusable};
use crate::audit::{Differences, DifferencesAsked, Filter, Trail, Zone, json_line};
use crate::serve::service::now_ms;

/// Exit status where something differs.
const DIFFERENCES: u8 = 1;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show what would have been decided otherwise, by policies, caller and operation
    Report(Args),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A candidate is the bundle of `palisade serve --candidate`; it is asked about every call that a filter let through. Each
decision that was compared says so in its own entry, so that the counts hold over restarts. What a filter refuses by
itself is compared with nothing.
Exit status: 0 nothing differs, 1 something does, 2 the question is wrong, nothing was compared, or the ledger could not
be read.")]
pub struct Args {
    /// The server's state directory [default: `PALISADE_STATE`]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// From then on: `1h`, `10:00`, `yesterday`, `2026-11-21`, `2026-11-21T10:00`
    #[arg(long, value_name = "TIME", default_value = "24h")]
    since: String,
    /// Before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Nothing but the candidate whose digest begins so
    #[arg(long, value_name = "DIGEST")]
    candidate: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Read and show times in UTC instead of this machine's zone
    #[arg(long)]
    utc: bool,
    /// Read all of the ledger instead of using the kept index
    #[arg(long)]
    from_ledger: bool,
}

pub fn run(command: &Command) -> ExitCode {
    let Command::Report(args) = command;
    let zone = if args.utc { Zone::utc() } else { Zone::local() };
    let differences = match find(args, &zone) {
        Ok(differences) => differences,
        Err(error) => return unusable(COMMAND, &error),
    };
    match show(&differences, args.json, &zone) {
        // Whoever read along has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return unusable(COMMAND, &error),
        Ok(()) | Err(_) => {}
    }
    if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENCES) }
}

const COMMAND: &str = "shadow report";

fn find(args: &Args, zone: &Zone) -> Result<Differences, String> {
    let time = |name: &str, text: &String| {
        zone.parse(text, now_ms()).map_err(|error| format!("`--{name}`: {error}"))
    };
    let since_ms = time("since", &args.since)?;
    let until_ms = args.until.as_ref().map(|until| time("until", until)).transpose()?;
    if until_ms.is_some_and(|until_ms| since_ms >= until_ms) {
        return Err("`--until` is not after `--since`, so that nothing can be between them".to_owned());
    }
    let candidate = args.candidate.as_ref().map(|text| text.to_ascii_lowercase());
    if let Some(text) = candidate.as_ref().filter(|text| !text.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err(format!(
            "`--candidate {text}` is no digest: expected hexadecimal digits, as the administration port and the log tell"
        ));
    }
    let state = state_directory(args.state.as_ref())?;
    let mut notes = Notes::default();
    let mut note = |said| notes.show(&said);
    let mut trail = Trail::open(&state, args.from_ledger, &mut note).map_err(|error| error.to_string())?;
    let all = Filter { since_ms: Some(since_ms), until_ms, ..Filter::default() };
    let compared = trail.compared(&all, &mut note).map_err(|error| error.to_string())?;
    let mut differences = Differences::new(DifferencesAsked { candidate }, compared);
    let differing = Filter { differs: true, ..all };
    let mut add = |calls: &[crate::audit::Call]| {
        calls.iter().for_each(|call| differences.add(call));
        Ok(())
    };
    trail.list(&differing, None, &mut note, &mut add).map_err(|error| error.to_string())?;
    trail.is_whole()?;
    if differences.is_about_nothing() {
        return Err(
            "nothing was compared in this time: ask for more by `--since`, or see whether a candidate is \
                    evaluated (`palisade audit --events='candidate*'`)"
                .to_owned(),
        );
    }
    Ok(differences)
}

fn show(differences: &Differences, is_json: bool, zone: &Zone) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if is_json {
        differences.objects().iter().try_for_each(|object| writeln!(out, "{}", json_line(object)))?;
    } else {
        differences.write(zone, &mut out)?;
    }
    out.flush()
}
