//! `palisade key`: issues, revokes and lists API keys. The file has hashes only; a key is told once, when it is made.
//!
//! INVARIANT: the key stands on standard output and nowhere else: not in the file, not in a message.

use crate::bundle::Bundle;
use crate::identity::api_keys::{
    ChangeRefused, Drawn, Issue, KeyRecord, KeyState, KeysFile, KeysStoreError, Rotation, parse_expiry,
    parse_overlap, rfc3339, update,
};
use crate::serve::service::now_ms;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use unicode_width::UnicodeWidthStr as _;

use super::colours;

/// How many names are listed where none is near.
const LISTED_MAX: usize = 8;

/// Issue, revoke and list API keys.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Issue a key: it is printed once, and only its hash is kept
    New(New),
    /// Make a key worthless at once, and remember that it was
    Revoke(Revoke),
    /// List the keys, without what would let anybody use them
    List(List),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file is the one that the server is given with `--api-keys`; a server that runs reads it anew by itself.
A rotation lets the old key live on for the overlap, so that callers can change over without a refused call.")]
pub struct New {
    /// The file of hashes; made if it is missing
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Whose key it is, as the bundle declares its clients
    #[arg(long, value_name = "NAME", required_unless_present = "rotate")]
    client: Option<String>,
    /// What the key is good for: `context.scopes` of policies; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// When it ends: `90d`, `2027-01-31`, `2027-01-31T12:00Z` [default: never]
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// The key that this one follows: its client and, without `--scope`, its scopes
    #[arg(long, value_name = "ID")]
    rotate: Option<String>,
    /// How long the key before is still good
    #[arg(long, value_name = "DURATION", default_value = "24h", requires = "rotate")]
    overlap: String,
    /// Refuse a client that this bundle does not declare
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Print one JSON object instead of the key alone
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// The public part of the key, as `palisade key list` shows it
    #[arg(value_name = "ID")]
    id: String,
    /// The file of hashes
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// The file of hashes
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON array instead of a table
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Command) -> ExitCode {
    let now_s = now_ms() / 1000;
    let said = match command {
        Command::New(args) => new(args, now_s),
        Command::Revoke(args) => revoke(args, now_s),
        Command::List(args) => list(args, now_s),
    };
    match said {
        Ok(Said { result, note }) => {
            if let Err(error) = std::io::stdout().write_all(result.as_bytes()) {
                return super::failed("key", &error);
            }
            // Where the note cannot be written, the result says what counts.
            let _told = std::io::stderr().write_all(note.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => super::failed("key", &error),
    }
}

/// What goes to standard output, and what beside it.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    result: String,
    note: String,
}

fn new(args: &New, now_s: u64) -> Result<Said, String> {
    let expires_s = args.expires.as_deref().map(|text| parse_expiry(text, now_s)).transpose()?;
    let overlap_s = parse_overlap(&args.overlap, now_s)?;
    if let Some(bundle) = &args.bundle {
        let declared = clients(bundle)?;
        let client = match (&args.client, &args.rotate) {
            (Some(client), _) => Some(client.clone()),
            (None, Some(id)) => client_of(&args.file, id)?,
            (None, None) => None,
        };
        client.map_or(Ok(()), |client| declares(&declared, &client, bundle))?;
    }
    let wanted = Issue {
        client: args.client.clone(),
        scopes: args.scopes.iter().cloned().collect(),
        expires_s,
        rotation: args.rotate.clone().map(|id| Rotation { id, overlap_s }),
    };
    let drawn = draw()?;
    let issue = |keys: &mut KeysFile| {
        let key = keys.issue(wanted, &drawn, now_s)?;
        // The key that was made is the last one.
        Ok((key, keys.records().last().cloned()))
    };
    // A rotation of a key in a file that is not there is a mistake in its name.
    let (key, record) = update(&args.file, args.rotate.is_none(), issue).map_err(|error| told(&error))?;
    let record = record.ok_or("the key that was made is not in the file")?;
    Ok(issued(&key, &record, args, now_s.saturating_add(overlap_s)))
}

fn issued(key: &str, record: &KeyRecord, args: &New, until_s: u64) -> Said {
    let before = args.rotate.as_ref().map(|id| json!({"id": id, "until": rfc3339(until_s)}));
    let note = match &args.rotate {
        Some(id) => format!("; `{id}` is good until {}", rfc3339(until_s)),
        None => String::new(),
    };
    let ends =
        record.expires_s.map_or("never expires".to_owned(), |at_s| format!("expires {}", rfc3339(at_s)));
    let note = format!(
        "key `{}` of client `{}`, {ends}{note}; it is not kept anywhere and cannot be shown again\n",
        record.id, record.client
    );
    let result = match args.json {
        true => {
            let mut object = as_json(record, KeyState::Live);
            if let Some(object) = object.as_object_mut() {
                object.insert("key".to_owned(), json!(key));
                object.insert("replaces".to_owned(), json!(before));
            }
            format!("{object}\n")
        }
        false => format!("{key}\n"),
    };
    Said { result, note }
}

fn revoke(args: &Revoke, now_s: u64) -> Result<Said, String> {
    let record =
        update(&args.file, false, |keys| keys.revoke(&args.id, now_s)).map_err(|error| told(&error))?;
    let note = format!("key `{}` of client `{}` is revoked\n", record.id, record.client);
    match args.json {
        true => {
            Ok(Said { result: format!("{}\n", as_json(&record, record.state(now_s))), note: String::new() })
        }
        false => Ok(Said { result: String::new(), note }),
    }
}

fn list(args: &List, now_s: u64) -> Result<Said, String> {
    let keys = read(&args.file)?;
    let result = match args.json {
        true => {
            let all: Vec<Value> =
                keys.records().iter().map(|record| as_json(record, record.state(now_s))).collect();
            format!("{}\n", Value::from(all))
        }
        false => table(keys.records(), now_s),
    };
    Ok(Said { result, note: String::new() })
}

fn read(path: &Path) -> Result<KeysFile, String> {
    let fail = |detail: String| format!("cannot read the API keys in `{}`: {detail}", path.display());
    let text = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    KeysFile::parse(&text).map_err(fail)
}

/// Nothing of the hash: it is nobody's business here.
fn as_json(record: &KeyRecord, state: KeyState) -> Value {
    json!({
        "id": *record.id,
        "client": record.client,
        "scopes": record.scopes.as_deref(),
        "created": record.created_s.map(rfc3339),
        "expires": record.expires_s.map(rfc3339),
        "state": state.as_str(),
        "replaced": record.replaced.as_ref().map(|replaced| {
            json!({"by": replaced.by, "not_after": rfc3339(replaced.not_after_s)})
        }),
        "revoked": record.revoked_s.map(rfc3339),
    })
}

fn table(records: &[KeyRecord], now_s: u64) -> String {
    let names = ["ID", "CLIENT", "SCOPES", "CREATED", "EXPIRES", "STATE"].map(str::to_owned);
    let rows = records.iter().map(|record| {
        let scopes = record.scopes.iter().flat_map(|scopes| scopes.iter().map(String::as_str));
        let scopes = scopes.collect::<Vec<_>>().join(" ");
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        [
            record.id.to_string(),
            record.client.clone(),
            or_dash(scopes),
            or_dash(record.created_s.map(rfc3339).unwrap_or_default()),
            record.expires_s.map_or("never".to_owned(), rfc3339),
            record.state(now_s).to_string(),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(names).chain(rows).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths);
        let padded: Vec<String> =
            cells.map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.width()))).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn draw() -> Result<Drawn, String> {
    let mut drawn = Drawn { id: Default::default(), secret: Default::default() };
    let failed = |error: getrandom::Error| format!("the system gives no randomness: {error}");
    getrandom::fill(&mut drawn.id).map_err(failed)?;
    getrandom::fill(&mut drawn.secret).map_err(failed)?;
    Ok(drawn)
}

/// The names of the clients that a bundle declares.
fn clients(directory: &Path) -> Result<BTreeSet<String>, String> {
    match Bundle::load(directory) {
        Ok(bundle) => Ok(bundle.entities.clients.keys().cloned().collect()),
        Err(problems) => Err(format!(
            "`{}` is not a sound bundle\n{}",
            directory.display(),
            colours::problems(&problems, directory)
        )),
    }
}

/// The client of a key that is to be rotated; whether the key can be is found out later, and by who writes.
fn client_of(file: &Path, id: &str) -> Result<Option<String>, String> {
    let keys = read(file)?;
    Ok(keys.records().iter().find(|record| *record.id == *id).map(|record| record.client.clone()))
}

fn declares(declared: &BTreeSet<String>, client: &str, bundle: &Path) -> Result<(), String> {
    if declared.contains(client) {
        return Ok(());
    }
    let hint = hint(client, declared.iter().map(String::as_str));
    Err(format!("the bundle `{}` declares no client `{client}`{hint}", bundle.display()))
}

/// A refusal, with what was perhaps meant.
fn told(error: &KeysStoreError<ChangeRefused>) -> String {
    match error {
        KeysStoreError::Refused(ChangeRefused::IdUnknown { id, known }) => {
            format!("{error}{}", hint(id, known.iter().map(|id| &**id)))
        }
        KeysStoreError::Missing { .. }
        | KeysStoreError::Io { .. }
        | KeysStoreError::Unreadable { .. }
        | KeysStoreError::Refused(_) => error.to_string(),
    }
}

/// The nearest name, where one is near; else what there is.
fn hint<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    let edits_max = (written.chars().count() / 3).max(1);
    let distance = |name: &str| strsim::damerau_levenshtein(written, name);
    let nearest = names.iter().min_by_key(|name| distance(name)).filter(|name| distance(name) <= edits_max);
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None if names.is_empty() => "; there is none".to_owned(),
        None => {
            let listed: Vec<String> = names.iter().take(LISTED_MAX).map(|name| format!("`{name}`")).collect();
            let more = if names.len() > LISTED_MAX { " and others" } else { "" };
            format!("; there is {}{more}", listed.join(", "))
        }
    }
}

#[cfg(test)]
mod tests;
