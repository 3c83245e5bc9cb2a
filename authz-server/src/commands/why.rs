//! `palisade why`: all that is known of one call, by the id that its caller was told.

mod text;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use palisade_core::reason::Reason;
use palisade_explain::Explanation;
use serde_json::{Value, json};

use super::audit::{Notes, state_directory, unusable};
use crate::audit::{Call, Found, IdPart, KeptBundle, Table, Trail, Why, Zone, json_line, policy_object};
use crate::ledger::{Drift, Entry, Outcome, Recorded, Refusal, Sheds};
use crate::replay::{self, BundleSource};
use crate::state::Bundles;

/// Exit status where no call has the id.
const NOTHING: u8 = 1;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 the call was found, 1 it was not, or not just one, 2 the question is wrong or the \
    ledger could not be read."
)]
pub struct Args {
    /// The decision id, or the first 8 characters of it or more: it stands in the reply, in the access log and in the
    /// service's response metadata
    decision_id: String,
    /// The server's state directory [default: `PALISADE_STATE`]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Show times in UTC instead of this machine's zone
    #[arg(long)]
    utc: bool,
}

pub fn run(args: &Args) -> ExitCode {
    match answer(args) {
        Ok(Answer::Told(text)) => {
            let mut out = io::stdout().lock();
            // Whoever closed the pipe has seen enough.
            let _told = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            ExitCode::SUCCESS
        }
        Ok(Answer::Nothing(text)) => {
            eprintln!("palisade why: {text}");
            ExitCode::from(NOTHING)
        }
        Err(error) => unusable("why", &error),
    }
}

enum Answer {
    Told(String),
    Nothing(String),
}

fn answer(args: &Args) -> Result<Answer, String> {
    let id: IdPart = args.decision_id.parse()?;
    let state = state_directory(args.state.as_ref())?;
    let zone = if args.utc { Zone::utc() } else { Zone::local() };
    let mut notes = Notes::default();
    let mut note = |said| notes.show(&said);
    let mut trail = Trail::open(&state, false, &mut note).map_err(|error| error.to_string())?;
    let mut found = trail.find(&id, &mut note).map_err(|error| error.to_string())?;
    if matches!(found, Found::Nothing) && id.is_whole() {
        // The index is not evidence, least of all that something is not there.
        let mut whole = Trail::open(&state, true, &mut note).map_err(|error| error.to_string())?;
        found = whole.find(&id, &mut note).map_err(|error| error.to_string())?;
    }
    match found {
        Found::One(why) => {
            let bundle = why.call.decision().map(|decision| KeptBundle::of(&state, &decision.entry));
            let explanation = why
                .call
                .decision()
                .map(|decision| replay::explain(BundleSource::Kept(Bundles::of(&state)), &decision.entry));
            let told = if args.json {
                format!("{}\n", json_line(&object(&why, bundle.as_ref(), explanation.as_ref())))
            } else {
                text::text(&why, bundle.as_ref(), explanation.as_ref(), &zone)
            };
            Ok(Answer::Told(told))
        }
        Found::Many(calls) => Ok(Answer::Nothing(candidates(&id, &calls, zone))),
        Found::Nothing => {
            trail.is_whole()?;
            let what = if id.is_whole() { "has decision id" } else { "has a decision id that begins with" };
            Ok(Answer::Nothing(format!(
                "no entry {what} `{id}`: is this the state of the server that decided?"
            )))
        }
    }
}

fn candidates(id: &IdPart, calls: &[Call], zone: Zone) -> String {
    let mut listed = Vec::new();
    // Nothing is written to but memory.
    let _listed = Table::new(zone, None, false).write(calls, &mut listed);
    format!(
        "several decision ids begin with `{id}`, give more of the one that you mean:\n{}",
        String::from_utf8_lossy(&listed).trim_end()
    )
}

fn object(
    why: &Why,
    bundle: Option<&Result<KeptBundle, String>>,
    explanation: Option<&Result<Explanation, String>>,
) -> Value {
    let outcomes: Vec<&Outcome> = outcomes(why).map(|(_, outcome)| outcome).collect();
    let bundle_object = bundle.map(|bundle| match bundle {
        Ok(bundle) => json!({"kept": true, "path": bundle.path}),
        Err(error) => json!({"kept": false, "why": error}),
    });
    let policies = why.call.decision().map(|decision| {
        let kept = bundle.and_then(|bundle| bundle.as_ref().ok());
        let policies = decision.entry.policies.iter();
        policies.map(|id| policy_object(id, kept.and_then(|kept| kept.policy(id)))).collect::<Vec<_>>()
    });
    let call = why.call.object();
    let explains = call.get("reason").and_then(Value::as_str).and_then(explained);
    json!({
        "call": call,
        "explains": explains,
        "policies": policies,
        "bundle": bundle_object,
        "explanation": explanation.and_then(|explanation| explanation.as_ref().ok()),
        "unexplained": explanation.and_then(|explanation| explanation.as_ref().err()),
        "decision": why.call.decision().map(recorded),
        "refusal": why.call.refusal().map(recorded),
        "outcomes": outcomes,
        "drift": drift(why).map(|(index, entry)| json!({"index": index, "entry": entry})).collect::<Vec<_>>(),
        "sheds": sheds(why).map(|(index, entry)| json!({"index": index, "entry": entry})).collect::<Vec<_>>(),
    })
}

/// An entry as it is, and where it stands.
fn recorded<T: serde::Serialize>(recorded: &Recorded<T>) -> Value {
    let Recorded { index, leaf_hash, entry, .. } = recorded;
    json!({"index": index, "leaf_hash": leaf_hash.to_string(), "entry": entry})
}

/// All outcomes of a call, each with its position.
fn outcomes(why: &Why) -> impl Iterator<Item = (u64, &Outcome)> {
    let first = why.call.outcome().map(|outcome| (outcome.index, &outcome.entry));
    first.into_iter().chain(why.further.iter().filter_map(|recorded| match &recorded.entry {
        Entry::Outcome(outcome) => Some((recorded.index, outcome)),
        Entry::Decision(_)
        | Entry::Refusal(_)
        | Entry::Admin(_)
        | Entry::Drift(_)
        | Entry::Judged(_)
        | Entry::Shed(_)
        | Entry::Load(_) => None,
    }))
}

/// The reports of the filter that do not stand for the call: repeated ones, or those on a call that was decided.
fn further_reports(why: &Why) -> impl Iterator<Item = (u64, &Refusal)> {
    why.further.iter().filter_map(|recorded| match &recorded.entry {
        Entry::Refusal(refusal) => Some((recorded.index, refusal)),
        Entry::Decision(_)
        | Entry::Outcome(_)
        | Entry::Admin(_)
        | Entry::Drift(_)
        | Entry::Judged(_)
        | Entry::Shed(_)
        | Entry::Load(_) => None,
    })
}

/// The drift that the call is an example of.
fn drift(why: &Why) -> impl Iterator<Item = (u64, &Drift)> {
    why.further.iter().filter_map(|recorded| match &recorded.entry {
        Entry::Drift(drift) => Some((recorded.index, drift)),
        Entry::Decision(_)
        | Entry::Outcome(_)
        | Entry::Refusal(_)
        | Entry::Admin(_)
        | Entry::Judged(_)
        | Entry::Shed(_)
        | Entry::Load(_) => None,
    })
}

/// The sheds that the call is an example of.
fn sheds(why: &Why) -> impl Iterator<Item = (u64, &Sheds)> {
    why.further.iter().filter_map(|recorded| match &recorded.entry {
        Entry::Shed(sheds) => Some((recorded.index, sheds)),
        Entry::Decision(_)
        | Entry::Outcome(_)
        | Entry::Refusal(_)
        | Entry::Admin(_)
        | Entry::Drift(_)
        | Entry::Judged(_)
        | Entry::Load(_) => None,
    })
}

fn explained(reason: &str) -> Option<&'static str> {
    match reason {
        "policy_allowed" => Some("a policy permits the request, and none forbids it"),
        reason => Reason::from_code(reason).map(Reason::explains),
    }
}
