//! `palisade drift`: what broke the contract without being refused, by operation, side, place and reason.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::audit::{Notes, state_directory, unusable};
use crate::audit::{DriftAsked, Drifts, Pattern, Trail, Zone, json_line};
use crate::ledger::Side;
use crate::serve::service::now_ms;

/// Exit status where nothing drifted.
const NOTHING: u8 = 1;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Rules in shadow and, in report mode, responses are judged and never refused: filters count what breaks the contract, and
how many were judged. A share is that of all that were judged, whoever called.
Texts match without regard to case; `*` and `?` are wildcards for the whole text, and `=text` is exactly that text.
Exit status: 0 something drifted, 1 nothing did, 2 the question is wrong or the ledger could not be read.")]
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
    /// Services with this name
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Operations with this name, alone or behind their service: `listOrders`, `orders.*`
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// Callers whose verified identity has this in it: `spiffe://shop.example/web`, `*/orders`
    #[arg(long, value_name = "TEXT")]
    caller: Option<String>,
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

pub fn run(args: &Args) -> ExitCode {
    let zone = if args.utc { Zone::utc() } else { Zone::local() };
    let drifts = match find(args, &zone) {
        Ok(drifts) => drifts,
        Err(error) => return unusable("drift", &error),
    };
    match show(&drifts, args.json, &zone) {
        // Whoever read along has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return unusable("drift", &error),
        Ok(()) | Err(_) => {}
    }
    if !drifts.is_empty() {
        return ExitCode::SUCCESS;
    }
    let [requests, responses] = Side::ALL.map(|side| drifts.judged(side));
    eprintln!("nothing drifted: {requests} requests and {responses} responses were judged");
    ExitCode::from(NOTHING)
}

fn find(args: &Args, zone: &Zone) -> Result<Drifts, String> {
    let time = |name: &str, text: &String| {
        zone.parse(text, now_ms()).map_err(|error| format!("`--{name}`: {error}"))
    };
    let since_ms = time("since", &args.since)?;
    let until_ms = args.until.as_ref().map_or(Ok(u64::MAX), |until| time("until", until))?;
    if since_ms >= until_ms {
        return Err("`--until` is not after `--since`, so that nothing can be between them".to_owned());
    }
    let state = state_directory(args.state.as_ref())?;
    let whole = |text: &Option<String>| text.as_deref().map(Pattern::whole);
    let mut drifts = Drifts::new(DriftAsked {
        service: whole(&args.service),
        operation: whole(&args.operation),
        caller: args.caller.as_deref().map(Pattern::part),
    });
    let mut notes = Notes::default();
    let mut note = |said| notes.show(&said);
    let mut trail = Trail::open(&state, args.from_ledger, &mut note).map_err(|error| error.to_string())?;
    let read = trail.drift(since_ms..until_ms, &mut note, &mut |entry| drifts.add(entry));
    read.map_err(|error| error.to_string())?;
    trail.is_whole()?;
    Ok(drifts)
}

fn show(drifts: &Drifts, is_json: bool, zone: &Zone) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if is_json {
        drifts.objects().iter().try_for_each(|object| writeln!(out, "{}", json_line(object)))?;
    } else {
        drifts.write(zone, &mut out)?;
    }
    out.flush()
}
