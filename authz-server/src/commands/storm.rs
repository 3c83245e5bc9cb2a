//! `palisade storm`: how the load of a running server's services stands, again and again.
//!
//! INVARIANT: it asks and changes nothing, and what it shows cannot move the cursor.

mod text;

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::audit::{terminal_rows, unusable};
use super::colours;
use crate::audit::{Zone, json_line};
use crate::dev::http::{Request, exchange_json};
use crate::storm::View;

/// What is shown is of about the last ten seconds, so that more often would show nothing new.
const REFRESHED_EVERY: Duration = Duration::from_secs(1);

/// A server on the same machine answers in a millisecond.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Whether a line that is too long goes on in the next one: then nobody could tell how many lines there are.
const CUT: &str = "\x1b[?7l";
const WRAPPED: &str = "\x1b[?7h";

/// To the top left; to the end of the line; to the end of the screen; all of it.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
const CLEAR: &str = "\x1b[2J";

#[derive(Debug, clap::Args)]
#[command(
    after_help = "On a terminal the view is drawn anew each second until Ctrl-C; elsewhere each is a JSON object in a line.\n\
    Exit status: 0 it was shown, 2 the server could not be asked."
)]
pub struct Args {
    /// The server's administration address, as given to `serve --admin`: `127.0.0.1:9901`, or a URL of it
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    admin: SocketAddr,
    /// Show it once
    #[arg(long)]
    once: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Show times in UTC instead of this machine's zone
    #[arg(long)]
    utc: bool,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let expected = format!("`{text}` is no address: expected HOST:PORT, or http://HOST:PORT");
    address.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or(expected)
}

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Json,
    /// Once, below what stands there.
    Text,
    /// In place.
    Live,
}

pub fn run(args: &Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unusable("storm", &error),
    };
    let is_terminal = io::stdout().is_terminal();
    let shown = match (args.json || !is_terminal, args.once) {
        (true, _) => Shown::Json,
        (false, true) => Shown::Text,
        (false, false) => Shown::Live,
    };
    let zone = if args.utc { Zone::utc() } else { Zone::local() };
    let watched = runtime.block_on(async {
        tokio::select! {
            watched = watch(args, shown, &zone) => watched,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    });
    match watched {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Ended::Output(error)) => unusable("storm", &error),
        Err(Ended::Failed(error)) => unusable("storm", &error),
    }
}

enum Ended {
    Output(io::Error),
    Failed(String),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Output(error)
    }
}

/// A server that restarts is waited for; one that never answered is not the one that was meant.
async fn watch(args: &Args, shown: Shown, zone: &Zone) -> Result<(), Ended> {
    let mut ticks = tokio::time::interval(REFRESHED_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut has_answered = false;
    loop {
        ticks.tick().await;
        match ask(args.admin).await {
            Ok(answer) => show(&answer, shown, zone, !has_answered)?,
            Err(error) if !has_answered || args.once => return Err(Ended::Failed(error)),
            Err(error) => eprintln!("palisade storm: {error}"),
        }
        has_answered = true;
        if args.once {
            return Ok(());
        }
    }
}

async fn ask(admin: SocketAddr) -> Result<Value, String> {
    let request = Request::get(&admin.to_string(), "/storm");
    let asked = exchange_json(admin, &request, ANSWERED_WITHIN).await;
    let wrong = "is this the address that `palisade serve --admin` was given, of a server that runs?";
    asked.map_err(|error| format!("`{admin}` tells nothing of its load ({error}): {wrong}"))
}

fn show(answer: &Value, shown: Shown, zone: &Zone, is_first: bool) -> Result<(), Ended> {
    let mut out = io::stdout().lock();
    if shown == Shown::Json {
        writeln!(out, "{}", json_line(answer))?;
        return Ok(out.flush()?);
    }
    let view: View = serde_json::from_value(answer.clone())
        .map_err(|error| Ended::Failed(format!("the server's answer is none of this version: {error}")))?;
    let text = text::text(&view, zone, colours::on_stdout());
    if shown == Shown::Text {
        out.write_all(text.as_bytes())?;
        return Ok(out.flush()?);
    }
    // In one piece, so that nobody sees half of it.
    out.write_all(frame(&text, terminal_rows(), is_first).as_bytes())?;
    Ok(out.flush()?)
}

/// The view in place. It leaves the last row to the cursor, so that nothing is moved up and out; what finds no room is at
/// its end, where what is least is.
fn frame(text: &str, rows: Option<usize>, is_first: bool) -> String {
    let shown = rows.map_or(usize::MAX, |rows| rows.saturating_sub(1));
    let mut frame = format!("{CUT}{}{HOME}", if is_first { CLEAR } else { "" });
    for line in text.lines().take(shown) {
        // Cleared before it is written: at the right edge there is no end of the line to clear.
        frame.push_str(CLEAR_LINE);
        frame.push_str(line);
        frame.push_str("\r\n");
    }
    frame.push_str(CLEAR_BELOW);
    frame.push_str(WRAPPED);
    frame
}

#[cfg(test)]
mod tests {
    use super::{CLEAR, CUT, HOME, WRAPPED, frame, parse_address};

    #[test]
    fn a_view_keeps_its_head_on_a_terminal_of_any_size() {
        let text: String = (0..40).map(|line| format!("line {line}\n")).collect();
        for (rows, expected) in [(None, 40), (Some(100), 40), (Some(41), 40), (Some(24), 23), (Some(1), 0)] {
            let frame = frame(&text, rows, false);
            assert_eq!(frame.matches('\n').count(), expected, "{rows:?}");
            assert_eq!(frame.contains("line 0\r\n"), expected > 0, "{rows:?}");
            // A terminal is left as it was found.
            assert!(frame.starts_with(&format!("{CUT}{HOME}")) && frame.ends_with(WRAPPED), "{frame:?}");
        }
        assert!(frame(&text, None, true).contains(CLEAR));
    }

    #[test]
    fn an_address_may_be_a_url() {
        for text in ["127.0.0.1:9901", "http://127.0.0.1:9901", "http://127.0.0.1:9901/"] {
            assert_eq!(
                parse_address(text).map(|address| address.to_string()),
                Ok("127.0.0.1:9901".to_owned())
            );
        }
        for wrong in ["127.0.0.1", "https://127.0.0.1:1", "", "http://"] {
            assert!(parse_address(wrong).unwrap_err().contains("expected HOST:PORT"), "{wrong}");
        }
    }
}
