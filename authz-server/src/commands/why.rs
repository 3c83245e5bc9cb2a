//! `palisade why`: all that is known of one call, by the id that its caller was told.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use palisade_core::reason::Reason;
use serde_json::{Value, json};

use super::audit::{Notes, state_directory, unusable};
use crate::audit::{
    Call, Found, IdPart, KeptBundle, Table, Trail, Why, Zone, duration, json_line, policy_object, visible,
};
use crate::cedar::PolicySummary;
use crate::ledger::{Conclusion, Decision, Outcome, Proof, Recorded};

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
            let told = if args.json {
                format!("{}\n", json_line(&object(&why, bundle.as_ref())))
            } else {
                text(&why, bundle.as_ref(), &zone)
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

fn object(why: &Why, bundle: Option<&Result<KeptBundle, String>>) -> Value {
    let decision = why.call.decision().map(|recorded| {
        json!({"index": recorded.index, "leaf_hash": recorded.leaf_hash.to_string(), "entry": recorded.entry})
    });
    let outcomes: Vec<&Outcome> =
        why.call.outcome().into_iter().chain(&why.further).map(|recorded| &recorded.entry).collect();
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
        "decision": decision,
        "outcomes": outcomes,
    })
}

fn explained(reason: &str) -> Option<&'static str> {
    match reason {
        "policy_allowed" => Some("a policy permits the request, and none forbids it"),
        reason => Reason::from_code(reason).map(Reason::explains),
    }
}

/// Lines with a name before them.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            // Writing to a string does not fail.
            let _written = writeln!(self.0, "{name:>10}  {}", visible(value));
        }
    }

    fn gap(&mut self) {
        self.0.push('\n');
    }
}

fn text(why: &Why, bundle: Option<&Result<KeptBundle, String>>, zone: &Zone) -> String {
    let mut lines = Lines::default();
    let call = &why.call;
    match call.decision() {
        Some(decision) => add_decision(&mut lines, &decision.entry),
        None => add_undecided(&mut lines, call),
    }
    lines.add("when", &format!("{} ({})", zone.show(call.at_ms()), zone.name()));
    if let (Some(decision), Some(bundle)) = (call.decision(), bundle) {
        add_policies(&mut lines, &decision.entry, bundle);
    }
    lines.gap();
    match call.outcome() {
        Some(outcome) => add_outcome(&mut lines, &outcome.entry),
        None => lines.add(
            "outcome",
            "not known: the call is still under way, or its entry of the access log was lost, which is best effort",
        ),
    }
    why.further.iter().for_each(|further| add_outcome(&mut lines, &further.entry));
    add_times(&mut lines, call);
    lines.add("entries", &entries(why));
    lines.0
}

fn add_decision(lines: &mut Lines, decision: &Decision) {
    let verdict = match decision.decision {
        Conclusion::Allow => "ALLOWED",
        Conclusion::Deny => "DENIED",
    };
    lines.add("decision", &format!("{verdict} ({})", decision.reason));
    lines.add("because", explained(&decision.reason).unwrap_or_default());
    let proof = match decision.proof {
        Proof::Mtls => "proven by the certificate of its connection",
        Proof::ApiKey => "proven by an API key",
        Proof::None => "nothing was proven",
    };
    let who = if decision.principal.is_empty() { "not established" } else { &decision.principal };
    lines.add("who", &format!("{who} ({proof})"));
    lines.add("through", decision.workload.as_deref().filter(|through| *through != who).unwrap_or_default());
    let query = if decision.query_present { "?…" } else { "" };
    if !decision.operation.is_empty() {
        let Decision { service, operation, class, .. } = decision;
        lines.add("what", &format!("{service}.{operation} ({class})"));
    }
    lines.add("request", &format!("{} {}{query}", decision.method, decision.path));
    lines.add("host", &decision.host);
    lines.add("request id", decision.request_id.as_deref().unwrap_or_default());
    lines.add("errors", &decision.errors.join("; "));
    lines.add("handoff", &decision.handoff);
}

fn add_undecided(lines: &mut Lines, call: &Call) {
    let Some(Recorded { entry: outcome, .. }) = call.outcome() else { return };
    match &outcome.filter_reason {
        Some(reason) => {
            lines.add("decision", &format!("REJECTED ({reason})"));
            lines.add("because", explained(reason).unwrap_or_default());
            lines.add("by", "the filter, before the server was asked");
        }
        None => {
            lines.add("decision", "NONE");
            lines.add(
                "because",
                "the call ended without a decision that was recorded: the server was not asked, did not answer in \
                 time, or could not store it",
            );
        }
    }
    lines.add("request", &format!("{} {}", outcome.method, outcome.path));
    lines.add("host", &outcome.host);
}

fn add_policies(lines: &mut Lines, decision: &Decision, bundle: &Result<KeptBundle, String>) {
    lines.add("bundle", &decision.bundle_digest);
    if let Err(error) = bundle {
        lines.add("", error);
    }
    lines.add("epoch", &format!("{}/{}", decision.epoch.server, decision.epoch.counter));
    if decision.policies.is_empty() {
        lines.add("policies", "none was decisive");
    }
    add_each_policy(lines, &decision.policies, bundle);
    if let Some(shadow) = &decision.shadow {
        lines.gap();
        let verdict = match shadow.decision {
            Conclusion::Allow => "allowed",
            Conclusion::Deny => "denied",
        };
        lines.add("shadow", &format!("with the shadow policies it would have been {verdict}"));
        lines.add("errors", &shadow.errors.join("; "));
        add_each_policy(lines, &shadow.policies, bundle);
    }
}

fn add_each_policy(lines: &mut Lines, policies: &[String], bundle: &Result<KeptBundle, String>) {
    for id in policies {
        lines.gap();
        match bundle.as_ref().ok().map(|bundle| bundle.policy(id)) {
            Some(Some(policy)) => add_policy(lines, policy),
            Some(None) => lines.add("policy", &format!("{id} (it is not in its bundle)")),
            None => lines.add("policy", &format!("{id} (its text is not at hand)")),
        }
    }
}

fn add_policy(lines: &mut Lines, policy: &PolicySummary) {
    let line = policy.place.line.map(|line| format!(":{line}")).unwrap_or_default();
    lines.add("policy", &format!("{} ({}{line})", policy.id, policy.place.file));
    for (name, value) in [("reason", &policy.reason), ("owner", &policy.owner), ("runbook", &policy.runbook)]
    {
        lines.add(name, value.as_deref().unwrap_or_default());
    }
    for line in policy.text.lines() {
        lines.add("│", &line.replace('\t', "    "));
    }
}

fn add_outcome(lines: &mut Lines, outcome: &Outcome) {
    let mut how = outcome.flags.clone();
    how.extend(Some(outcome.details.clone()).filter(|details| !details.is_empty()));
    lines.add("outcome", &format!("{} ({})", outcome.status, how.join(", ")));
    let Outcome { request_bytes, response_bytes, .. } = outcome;
    lines.add("bytes", &format!("{request_bytes} in, {response_bytes} out"));
    lines.add("upstream", outcome.upstream.as_deref().unwrap_or_default());
}

/// Where the time went, as far as it was measured.
fn add_times(lines: &mut Lines, call: &Call) {
    let server_us = call.decision().map(|decision| decision.entry.latency_us);
    let all_us = call.outcome().map(|outcome| outcome.entry.duration_us);
    let server = |us| format!("{} in the server until it was given to the ledger", duration(us));
    match (server_us, all_us) {
        (Some(server_us), Some(all_us)) => {
            let rest = duration(all_us.saturating_sub(server_us));
            let rest = format!("{rest} in ledger, proxy, network and service");
            lines.add("took", &format!("{}: {}, {rest}", duration(all_us), server(server_us)));
        }
        (Some(server_us), None) => lines.add("took", &server(server_us)),
        (None, Some(all_us)) => lines.add("took", &duration(all_us)),
        (None, None) => {}
    }
}

fn entries(why: &Why) -> String {
    let decision = why.call.decision().map(|decision| format!("decision {}", decision.index));
    let outcomes = why.call.outcome().into_iter().chain(&why.further);
    let outcomes = outcomes.map(|outcome| format!("outcome {}", outcome.index));
    decision.into_iter().chain(outcomes).collect::<Vec<_>>().join(", ")
}
