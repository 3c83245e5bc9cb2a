//! `palisade why`: what became of a call, by the id that its caller was told.

use super::failed;
use crate::ledger::{self, Conclusion, Decision, Outcome};
use crate::state::{Bundles, LEDGER_DIRECTORY};
use palisade_core::call_id::CallId;
use palisade_core::contract::BundleDigest;
use palisade_core::reason::Reason;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The decision id: it stands in the reply, in the access log and in the service's response metadata
    decision_id: String,
    /// The server's state directory
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Print JSON; the default where the output is not a terminal
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> ExitCode {
    if CallId::parse(&args.decision_id).is_none() {
        return failed(
            "why",
            &format!("`{}` is not a decision id: expected a UUID as the reply shows it", args.decision_id),
        );
    }
    let found = match ledger::find(&args.state.join(LEDGER_DIRECTORY), &args.decision_id) {
        Ok(Some(found)) => found,
        Ok(None) => {
            return failed(
                "why",
                &format!(
                    "no entry has decision id `{}`: is this the state of the server that decided?",
                    args.decision_id
                ),
            );
        }
        Err(error) => return failed("why", &error),
    };
    let outcomes: Vec<&Outcome> = found.outcomes.iter().map(|recorded| &recorded.entry).collect();
    if args.json || !std::io::stdout().is_terminal() {
        let decision = found.decision.as_ref().map(|recorded| {
            serde_json::json!({"index": recorded.index, "leaf_hash": recorded.leaf_hash.to_string(), "entry": recorded.entry})
        });
        let bundle = found.decision.as_ref().map(|recorded| match kept(args, &recorded.entry) {
            Ok(path) => serde_json::json!({"kept": true, "path": path}),
            Err(error) => serde_json::json!({"kept": false, "why": error}),
        });
        println!("{}", serde_json::json!({"decision": decision, "bundle": bundle, "outcomes": outcomes}));
        return ExitCode::SUCCESS;
    }
    match &found.decision {
        Some(decision) => print_decision(&decision.entry, &kept(args, &decision.entry)),
        None => println!("no decision: the filter refused the call before the server was asked"),
    }
    outcomes.into_iter().for_each(print_outcome);
    ExitCode::SUCCESS
}

/// Where the bundle is that the decision was made by, so that it can be evaluated again.
fn kept(args: &Args, decision: &Decision) -> Result<PathBuf, String> {
    let digest = BundleDigest::parse(&decision.bundle_digest);
    let digest = digest.ok_or_else(|| format!("`{}` is not a bundle digest", decision.bundle_digest))?;
    Bundles::of(&args.state).find(digest).map_err(|error| error.to_string())
}

fn print_decision(decision: &Decision, kept: &Result<PathBuf, String>) {
    let line = |name: &str, value: &str| {
        if !value.is_empty() {
            println!("{name:>10}  {value}");
        }
    };
    let verdict = match decision.decision {
        Conclusion::Allow => "ALLOWED",
        Conclusion::Deny => "DENIED",
    };
    line("decision", &format!("{verdict} ({})", decision.reason));
    if let Some(reason) = Reason::from_code(&decision.reason) {
        line("because", reason.explains());
    }
    line(
        "caller",
        &format!(
            "{} (proven by {})",
            decision.principal,
            serde_json::to_string(&decision.proof).unwrap_or_default().trim_matches('"')
        ),
    );
    line("workload", decision.workload.as_deref().unwrap_or_default());
    line(
        "request",
        &format!("{} {}{}", decision.method, decision.path, if decision.query_present { "?…" } else { "" }),
    );
    line("host", &decision.host);
    line("operation", &[decision.service.as_str(), decision.operation.as_str()].join("."));
    line("class", &decision.class);
    line("policies", &decision.policies.join(", "));
    line("errors", &decision.errors.join("; "));
    if let Some(shadow) = &decision.shadow {
        let would = match shadow.decision {
            Conclusion::Allow => "would be ALLOWED",
            Conclusion::Deny => "would be DENIED",
        };
        let by = match shadow.policies.join(", ") {
            none if none.is_empty() => String::new(),
            policies => format!(" by {policies}"),
        };
        line("shadow", &format!("{would}{by} if shadow policies counted"));
        line("errors", &shadow.errors.join("; "));
    }
    line("handoff", &decision.handoff);
    line("bundle", &decision.bundle_digest);
    match kept {
        Ok(path) => line("", &format!("kept whole in {}", path.display())),
        Err(error) => line("", &format!("not at hand: {error}")),
    }
    line("epoch", &format!("{}/{}", decision.epoch.server, decision.epoch.counter));
    line("took", &format!("{} µs until it was given to the ledger", decision.latency_us));
}

fn print_outcome(outcome: &Outcome) {
    println!(
        "{:>10}  {} {} in {} µs ({})",
        "outcome",
        outcome.status,
        outcome.flags.join(","),
        outcome.duration_us,
        outcome.details
    );
    if let Some(reason) = outcome.filter_reason.as_deref().and_then(Reason::from_code) {
        println!("{:>10}  {}", "because", reason.explains());
    }
}
