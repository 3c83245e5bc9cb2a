//! A run for machines: one object, with all cases in their order.

use super::Report;
use super::coverage::{Coverage, Share};
use super::run::{CaseRun, word};
use super::text::hinted;
use crate::bundle::cases::Expectation;
use crate::check::{Decision, Judge};
use palisade_core::reason::Reason;
use serde_json::{Map, Value, json};

pub fn json(report: Report<'_>) -> Value {
    let Report { run, coverage, took, .. } = report;
    let files = run.files.iter().map(|file| {
        let cases: Vec<Value> = file.cases.iter().map(|ran| case(report, ran)).collect();
        json!({"path": report.path(file.path), "passed": cases.len() - file.failed(), "failed": file.failed(), "cases": cases})
    });
    let files: Vec<Value> = files.collect();
    json!({
        "passed": run.count() - run.failed(),
        "failed": run.failed(),
        "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "files": files,
        "coverage": coverage.map(covered),
    })
}

fn case(report: Report<'_>, ran: &CaseRun<'_>) -> Value {
    let CaseRun { case, answer, failure } = ran;
    let mut got = concluded(answer.reason().is_none(), Some(&answer.policies));
    got.insert("reason".to_owned(), json!(answer.reason().map(Reason::code)));
    got.insert(
        "by".to_owned(),
        json!(match answer.by {
            Judge::Filter => "filter",
            Judge::Server => "server",
        }),
    );
    got.insert("operation".to_owned(), json!(answer.operation));
    got.insert("errors".to_owned(), json!(answer.errors));
    let shadow = answer.shadow.as_ref();
    let shadow = shadow.map(|shadow| concluded(shadow.decision == Decision::Allow, Some(&shadow.policies)));
    got.insert("shadow".to_owned(), json!(shadow));
    let hints = failure.iter().flat_map(|failure| &failure.hints);
    json!({
        "name": case.name,
        "line": case.place.line,
        "caller": case.caller.to_string(),
        "request": {"method": case.request.method, "host": case.request.host, "path": case.request.path},
        "passed": failure.is_none(),
        "expected": expected(&case.expect),
        "got": got,
        "hints": hints.map(|hint| hinted(report, hint)).collect::<Vec<_>>(),
    })
}

/// What was left open is left out.
fn expected(expect: &Expectation) -> Map<String, Value> {
    let Expectation { allowed, reason, policies, shadow } = expect;
    let mut object = concluded(*allowed, policies.as_ref());
    if let Some(reason) = reason {
        object.insert("reason".to_owned(), json!(reason.code()));
    }
    if let Some(shadow) = shadow {
        object.insert("shadow".to_owned(), json!(concluded(shadow.allowed, shadow.policies.as_ref())));
    }
    object
}

fn concluded(allowed: bool, policies: Option<&Vec<String>>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("decision".to_owned(), json!(word(allowed)));
    if let Some(policies) = policies {
        object.insert("policies".to_owned(), json!(policies));
    }
    object
}

fn covered(coverage: &Coverage) -> Value {
    let share = |share: &Share| {
        let missing: Vec<&str> = share.missing.iter().map(|(name, _)| name.as_str()).collect();
        json!({"all": share.all, "met": share.met(), "missing": missing})
    };
    json!({
        "percent": coverage.percent(),
        "policies": share(&coverage.policies),
        "shadow_policies": share(&coverage.shadows),
        "operations": share(&coverage.operations),
        "operations_never_allowed": coverage.never_allowed,
        "callers_never_used": coverage.unused_callers,
    })
}
