//! `palisade explain`: how a bundle decides a request that nobody sent yet, and why.
//!
//! Ends with 0 when the request is allowed, with 1 when it is denied, with 2 when nothing could be decided.

use super::colours;
use crate::bundle::Bundle;
use crate::bundle::cases::{Caller, CaseRequest};
use crate::check::{Asked, Decision, Judge, Judgement, Told};
use crate::identity::{Established, SpiffeId};
use palisade_core::contract::Matched;
use palisade_core::reason::Reason;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

const DENIED: u8 = 1;
const NOTHING_DECIDED: u8 = 2;

/// A request with its body is smaller by far.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
REQUEST is a YAML file with `caller` and `request` as in a bundle's tests:

  caller: {client: web}
  request: {method: GET, host: orders.localhost, path: /orders}

Exit status: 0 the request is allowed, 1 it is denied, 2 nothing could be decided.")]
pub struct Args {
    /// The file that describes the request
    #[arg(value_name = "REQUEST")]
    request: PathBuf,
    /// The bundle's directory
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> ExitCode {
    let (told, code) = match explained(args) {
        Ok(told) => told,
        Err(error) => {
            // Where not even this can be written, as on a full disk, the exit code still says it.
            let _told = writeln!(std::io::stderr(), "palisade explain: {error}");
            return ExitCode::from(NOTHING_DECIDED);
        }
    };
    let mut out = std::io::stdout().lock();
    // Whoever closed the pipe has seen enough.
    let _written = out.write_all(told.as_bytes()).and_then(|()| out.flush());
    code
}

fn explained(args: &Args) -> Result<(String, ExitCode), String> {
    let bundle = Bundle::load(&args.bundle).map_err(|problems| {
        format!("the bundle does not load\n\n{}", colours::problems(&problems, &args.bundle))
    })?;
    let name = args.request.display().to_string();
    let text = read(&args.request).map_err(|error| format!("`{name}` cannot be read: {error}"))?;
    let (caller, request) = bundle.read_request(&name, text).map_err(|problems| {
        format!("`{name}` describes no request\n\n{}", colours::problems(&problems, Path::new("")))
    })?;
    let told = match established(&caller, &bundle) {
        Ok(caller) => tell(&bundle, &caller, &request)?,
        Err(error) => Told { judgement: not_identified(error), explanation: None },
    };
    let told_as = if args.json {
        format!("{}\n", object(&bundle, &told))
    } else {
        self::text(&bundle, &caller, &request, &told)
    };
    let code = match told.judgement.decision {
        Decision::Allow => ExitCode::SUCCESS,
        Decision::Deny { .. } => ExitCode::from(DENIED),
    };
    Ok((told_as, code))
}

fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("it has {size} bytes, and at most {FILE_BYTES_MAX} are read"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// Whom the caller's credential proves.
fn established(caller: &Caller, bundle: &Bundle) -> Result<Established, String> {
    let workload =
        |id: &String| SpiffeId::parse(id, &bundle.palisade.trust_domains).map_err(|error| error.to_string());
    Ok(match caller {
        Caller::Anonymous => Established::by_connection(None),
        Caller::Workload(id) => Established::by_connection(Some(workload(id)?)),
        Caller::Client { name, through, scopes } => Established {
            through: through.as_ref().map(workload).transpose()?,
            scopes: scopes.clone().map(Arc::new),
            ..Established::client(name)
        },
        Caller::User(person) => Established {
            through: person.through.as_ref().map(workload).transpose()?,
            scopes: person.scopes.clone().map(Arc::new),
            ..Established::user(person.user.clone())
        },
    })
}

fn not_identified(error: String) -> Judgement {
    Judgement {
        by: Judge::Server,
        operation: None,
        decision: Decision::Deny { reason: Reason::IdentityInvalid },
        policies: Vec::new(),
        errors: vec![error],
        shadow: None,
        values: None,
        posed: None,
    }
}

fn tell(bundle: &Bundle, caller: &Established, request: &CaseRequest) -> Result<Told, String> {
    let CaseRequest { method, path, host, headers, body } = request;
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let body = if body.is_empty() { None } else { Some(body.as_slice()) };
    bundle.explain(&Asked { method, host, target: path, headers: &headers, body, caller })
}

fn operation<'b>(bundle: &'b Bundle, judgement: &Judgement) -> Option<Matched<'b>> {
    bundle.contract.operation(judgement.operation?)
}

fn text(bundle: &Bundle, caller: &Caller, request: &CaseRequest, told: &Told) -> String {
    let Told { judgement, explanation } = told;
    let mut out = format!("{caller}: {request}");
    let matched = operation(bundle, judgement);
    if let Some(matched) = matched {
        // Writing to a string does not fail.
        let _written = write!(out, ", which is {}.{}", matched.service.name, matched.operation.name);
    }
    out.push('\n');
    if let Some(explanation) = explanation {
        out.push_str(&explanation.to_string());
    } else if let Decision::Deny { reason } = judgement.decision {
        let (who, code) = (who(judgement.by), reason.code());
        let _written = writeln!(out, "denied by the {who}: {code}\n  {}", reason.explains());
        for error in &judgement.errors {
            let _written = writeln!(out, "  {error}");
        }
        let _written = writeln!(out, "  → {}", way_out(bundle, judgement, reason));
    }
    if let Some(shadow) = judgement.shadow.as_ref().filter(|shadow| shadow.decision != judgement.decision) {
        let what = match shadow.decision {
            Decision::Allow => "allowed",
            Decision::Deny { .. } => "denied",
        };
        let by = if shadow.policies.is_empty() { "no policy".to_owned() } else { shadow.policies.join(", ") };
        let _written = writeln!(out, "\nif the shadow policies counted it would be {what}, by {by}");
    }
    out
}

const fn who(judge: Judge) -> &'static str {
    match judge {
        Judge::Filter => "filter",
        Judge::Server => "server",
    }
}

/// Where somebody looks first.
fn way_out(bundle: &Bundle, judgement: &Judgement, reason: Reason) -> String {
    match (operation(bundle, judgement), reason) {
        (_, Reason::IdentityInvalid) => {
            "show a credential of this bundle: a certificate of one of its `trust_domains`, or an API key"
                .to_owned()
        }
        (Some(matched), _) => {
            let (service, operation) = (&matched.service.name, &matched.operation.name);
            format!(
                "send what the contract declares, or declare in `services/{service}/openapi.yaml`, operation \
                 `{operation}`, what is sent"
            )
        }
        (None, _) => "look for the path and its method in `services/*/openapi.yaml`, and for the host in \
             `services/*/service.yaml`"
            .to_owned(),
    }
}

fn object(bundle: &Bundle, told: &Told) -> Value {
    let Told { judgement, explanation } = told;
    let (decision, reason) = crate::check::told(judgement.decision);
    let matched = operation(bundle, judgement);
    json!({
        "decision": decision,
        "reason": reason,
        "by": who(judgement.by),
        "service": matched.map(|matched| matched.service.name.to_string()),
        "operation": matched.map(|matched| matched.operation.name.to_string()),
        "policies": judgement.policies,
        "errors": judgement.errors,
        "explanation": explanation,
    })
}

#[cfg(test)]
mod tests;
