//! `palisade audit`: calls found again, by who called, what was asked for, and what became of it.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use crate::audit::{
    AuditError, Call, CountBy, Counts, Event, Filter, Follow, IdPart, Note, Pattern, Status, Table, Trail,
    Verdict, Zone, json_line, parse_duration_us,
};
use crate::serve::service::now_ms;

/// How many calls are shown unless something else is asked for.
const LIMIT: u64 = 50;

/// How many earlier calls `--follow` begins with.
const LIMIT_BEFORE: u64 = 10;

/// Exit status where nothing was found, and where the question could not be answered.
const NOTHING: u8 = 1;
const FAILED: u8 = 2;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Texts match without regard to case; `*` and `?` are wildcards for the whole text, and `=text` is exactly that text.
Exit status: 0 calls were found, 1 none were, 2 the question is wrong or the ledger could not be read.")]
pub struct Args {
    /// The server's state directory [default: `PALISADE_STATE`]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Callers whose name has this in it: `web`, `spiffe://shop.example/web`, `*/orders`
    #[arg(long, value_name = "TEXT")]
    who: Option<String>,
    /// Services with this name
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Operations with this name, alone or behind their service: `deleteOrder`, `orders.*`
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// What was concluded
    #[arg(long, value_enum, value_name = "VERDICT")]
    decision: Option<Verdict>,
    /// Reason codes with this name: `policy_denied`, `json_*`
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Refusals for a rule that was broken in a place that begins so: `body/items`, `query/limit`
    #[arg(long, value_name = "PLACE")]
    place: Option<String>,
    /// Calls for which a policy with this name was decisive
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Calls that the shadow policies would have decided otherwise
    #[arg(long)]
    shadow: bool,
    /// From then on: `1h`, `10:00`, `yesterday`, `2026-11-21`, `2026-11-21T10:00`
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Calls that took so long or longer: `50ms`, `2s`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_us)]
    slow: Option<u64>,
    /// Calls that ended so: `503`, `5xx`, `400-499`, or `none` where no end was logged
    #[arg(long, value_name = "STATUS")]
    status: Option<Status>,
    /// The call with this id, or those whose ids begin so
    #[arg(long, value_name = "ID")]
    id: Option<IdPart>,
    /// Show the newest so many, or `all` [default: 50]
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    limit: Option<Limit>,
    /// Count the calls instead of listing them
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "follow")]
    count_by: Option<CountBy>,
    /// Show what happened to the server instead of calls: starts, bundles, losses, spikes, storms, sheds, drift; `--events=spike` only those
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true, default_missing_value = "*",
        conflicts_with_all = ["who", "service", "operation", "decision", "reason", "place", "policy", "shadow", "slow", "status", "id",
            "count_by", "follow"])]
    events: Option<String>,
    /// Go on with calls as they are recorded, until Ctrl-C
    #[arg(long)]
    follow: bool,
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

#[derive(Clone, Copy, Debug)]
enum Limit {
    Newest(u64),
    All,
}

fn parse_limit(text: &str) -> Result<Limit, String> {
    match text {
        "all" => Ok(Limit::All),
        _ => match text.parse() {
            Ok(limit) if limit > 0 => Ok(Limit::Newest(limit)),
            _ => Err(format!("`{text}` is no limit: expected a number from 1 on, or `all`")),
        },
    }
}

pub fn run(args: &Args) -> ExitCode {
    match answer(args) {
        Ok(0) => ExitCode::from(NOTHING),
        Ok(_) => ExitCode::SUCCESS,
        // Whoever read along has seen enough.
        Err(Ended::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Ended::Output(error)) => unusable("audit", &error),
        Err(Ended::Failed(error)) => unusable("audit", &error),
    }
}

/// Ends a command whose question could not be answered.
pub(super) fn unusable(command: &str, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("palisade {command}: {error}");
    ExitCode::from(FAILED)
}

/// The state directory that was named.
pub(super) fn state_directory(given: Option<&PathBuf>) -> Result<PathBuf, String> {
    let from_environment = || std::env::var_os("PALISADE_STATE").map(PathBuf::from);
    given.cloned().or_else(from_environment).ok_or_else(|| {
        "which ledger? name the server's state directory: `--state DIR`, or the variable `PALISADE_STATE`"
            .to_owned()
    })
}

enum Ended {
    Output(io::Error),
    Failed(String),
}

impl From<AuditError> for Ended {
    fn from(error: AuditError) -> Ended {
        match error {
            AuditError::Output(error) => Ended::Output(error),
            error => Ended::Failed(error.to_string()),
        }
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Output(error)
    }
}

/// How many calls were shown or counted.
fn answer(args: &Args) -> Result<u64, Ended> {
    let zone = if args.utc { Zone::utc() } else { Zone::local() };
    let filter = filter(args, &zone).map_err(Ended::Failed)?;
    let state = state_directory(args.state.as_ref()).map_err(Ended::Failed)?;
    let mut notes = Notes::default();
    let mut trail = Trail::open(&state, args.from_ledger, &mut |note| notes.show(&note))?;
    let mut shown = Shown::new(args.json, zone.clone());
    if let Some(kind) = &args.events {
        return show_events(args, kind, &filter, &zone, &mut trail, &mut notes);
    }
    let found = match args.count_by {
        Some(by) => count(args, &filter, by, &zone, &mut trail, &mut notes)?,
        None => {
            let limit = match args.limit {
                Some(Limit::All) => None,
                Some(Limit::Newest(limit)) => Some(limit),
                None => Some(if args.follow { LIMIT_BEFORE } else { LIMIT }),
            };
            // What is recorded while this lists belongs to what follows.
            let follow = args.follow.then(|| Follow::from_end(&mut trail, filter.clone())).transpose()?;
            let listed =
                trail.list(&filter, limit, &mut |note| notes.show(&note), &mut |calls| shown.write(calls))?;
            shown.flush()?;
            if let Some(follow) = follow {
                return run_after(follow, &mut trail, &mut shown, &mut notes);
            }
            listed
        }
    };
    trail.is_whole().map_err(Ended::Failed)?;
    if found == 0 {
        explain_nothing(&filter, &mut trail)?;
    }
    Ok(found)
}

fn run_after(
    mut follow: Follow,
    trail: &mut Trail,
    shown: &mut Shown,
    notes: &mut Notes,
) -> Result<u64, Ended> {
    loop {
        let (calls, has_more) = follow.poll(trail, &mut |note| notes.show(&note), Instant::now())?;
        trail.is_whole().map_err(Ended::Failed)?;
        if !calls.is_empty() {
            shown.write(&calls)?;
            shown.flush()?;
        }
        if !has_more {
            follow.wait();
        }
    }
}

fn show_events(
    args: &Args,
    kind: &str,
    filter: &Filter,
    zone: &Zone,
    trail: &mut Trail,
    notes: &mut Notes,
) -> Result<u64, Ended> {
    let limit = match args.limit {
        Some(Limit::All) => None,
        Some(Limit::Newest(limit)) => Some(limit),
        None => Some(LIMIT),
    };
    let at_ms = filter.since_ms.unwrap_or(0)..filter.until_ms.unwrap_or(u64::MAX);
    let kind = Pattern::whole(kind);
    let events = trail.events(Some(&kind), at_ms, limit, &mut |note| notes.show(&note))?;
    let is_coloured = is_coloured();
    let mut out = BufWriter::new(io::stdout().lock());
    if !args.json && !events.is_empty() {
        writeln!(out, "{}", Event::heading(zone))?;
    }
    for event in &events {
        match args.json {
            true => writeln!(out, "{}", json_line(&event.object()))?,
            false => event.write(zone, is_coloured, &mut out)?,
        }
    }
    out.flush()?;
    trail.is_whole().map_err(Ended::Failed)?;
    if events.is_empty() {
        let kinds = trail.event_kinds()?.join(", ");
        eprintln!("no such event; the ledger has: {kinds}");
    }
    Ok(events.len() as u64)
}

fn count(
    args: &Args,
    filter: &Filter,
    by: CountBy,
    zone: &Zone,
    trail: &mut Trail,
    notes: &mut Notes,
) -> Result<u64, Ended> {
    let counts = trail.count(filter, by, zone, &mut |note| notes.show(&note))?;
    let limit = match args.limit {
        Some(Limit::Newest(limit)) => Some(limit),
        Some(Limit::All) | None => None,
    };
    let found = counts.values().sum();
    let counts = Counts::new(by, counts, limit);
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        for object in counts.objects() {
            writeln!(out, "{}", json_line(&object))?;
        }
    } else if !counts.is_empty() {
        counts.write(zone, &mut out)?;
    }
    out.flush()?;
    Ok(found)
}

fn filter(args: &Args, zone: &Zone) -> Result<Filter, String> {
    let time = |name: &str, text: &Option<String>| {
        let parse =
            |text: &String| zone.parse(text, now_ms()).map_err(|error| format!("`--{name}`: {error}"));
        text.as_ref().map(parse).transpose()
    };
    let whole = |text: &Option<String>| text.as_deref().map(Pattern::whole);
    let filter = Filter {
        who: args.who.as_deref().map(Pattern::part),
        service: whole(&args.service),
        operation: whole(&args.operation),
        decision: args.decision,
        reason: whole(&args.reason),
        place: args.place.clone(),
        policy: whole(&args.policy),
        shadow: args.shadow,
        differs: false,
        since_ms: time("since", &args.since)?,
        until_ms: time("until", &args.until)?,
        slow_us: args.slow,
        status: args.status,
        id: args.id.clone(),
    };
    match (filter.since_ms, filter.until_ms) {
        (Some(since_ms), Some(until_ms)) if since_ms >= until_ms => {
            Err("`--until` is not after `--since`, so that no call can be between them".to_owned())
        }
        _ => Ok(filter),
    }
}

/// Says what stands in the way, as far as one part of the question alone does.
fn explain_nothing(filter: &Filter, trail: &mut Trail) -> Result<(), Ended> {
    if trail.entries()? == 0 {
        eprintln!("the ledger is empty");
        return Ok(());
    }
    let unknown = trail.unknown(filter, &mut |_| {})?;
    for line in &unknown {
        eprintln!("{line}");
    }
    if *filter == Filter::default() {
        eprintln!("the ledger has no call yet");
    } else if unknown.is_empty() {
        eprintln!("no call is all of that");
    }
    Ok(())
}

/// Where calls are shown.
struct Shown {
    out: BufWriter<io::Stdout>,
    is_json: bool,
    table: Table,
}

impl Shown {
    fn new(is_json: bool, zone: Zone) -> Shown {
        let is_terminal = io::stdout().is_terminal();
        let width = is_terminal.then(terminal_width).flatten();
        Shown { out: BufWriter::new(io::stdout()), is_json, table: Table::new(zone, width, is_coloured()) }
    }

    fn write(&mut self, calls: &[Call]) -> io::Result<()> {
        if !self.is_json {
            return if calls.is_empty() { Ok(()) } else { self.table.write(calls, &mut self.out) };
        }
        calls.iter().try_for_each(|call| writeln!(self.out, "{}", json_line(&call.object())))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn is_coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn terminal_width() -> Option<usize> {
    terminal_size(|size| size.ws_col)
}

pub(super) fn terminal_rows() -> Option<usize> {
    terminal_size(|size| size.ws_row)
}

/// Of what standard output is shown on. A terminal that does not know its size says 0.
fn terminal_size(part: impl FnOnce(rustix::termios::Winsize) -> u16) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(part(size))).filter(|cells| *cells > 0)
}

/// Tells on standard error what is going on: nothing while all is well and quick.
#[derive(Debug, Default)]
pub(super) struct Notes {
    has_line: bool,
}

impl Notes {
    pub(super) fn show(&mut self, note: &Note) {
        let is_terminal = io::stderr().is_terminal();
        match note {
            Note::Indexing { done } if is_terminal => {
                eprint!("\rindexing the ledger: {done} entries");
                self.has_line = true;
            }
            Note::Indexing { done } => {
                if !std::mem::replace(&mut self.has_line, true) {
                    eprintln!("indexing the ledger: {done} entries so far");
                }
            }
            Note::Indexed { done } => {
                let begin = if is_terminal { "\r" } else { "" };
                eprintln!("{begin}indexed the ledger: {done} entries      ");
                self.has_line = false;
            }
            Note::Rebuilding { why } => eprintln!("building the index anew: {why}"),
            Note::WithoutIndex { why } => {
                eprintln!("reading all of the ledger, because the index cannot be kept: {why}");
            }
        }
    }
}
