//! A call as text for people.
//!
//! INVARIANT: every value stands in a line of its own behind its name, and cannot break out of it.

use std::fmt::Write as _;

use super::{drift, explained, further_reports, outcomes, sheds};
use crate::audit::{Call, KeptBundle, Why, Zone, duration, visible};
use crate::cedar::PolicySummary;
use crate::ledger::{
    Asked, Candidate, Conclusion, Credential, Decision, Drift, Otherwise, Outcome, Passed, Proof, Refusal,
    Sheds, Verdict,
};
use palisade_core::reason::Reason;
use palisade_explain::Explanation;

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

pub(super) fn text(
    why: &Why,
    bundle: Option<&Result<KeptBundle, String>>,
    explanation: Option<&Result<Explanation, String>>,
    zone: &Zone,
) -> String {
    let mut lines = Lines::default();
    let call = &why.call;
    match call {
        Call::Decided { decision, .. } => add_decision(&mut lines, &decision.entry),
        Call::Refused { refusal, .. } => add_refusal(&mut lines, &refusal.entry),
        Call::Undecided { outcome } => add_undecided(&mut lines, &outcome.entry),
    }
    lines.add("when", &format!("{} ({})", zone.show(call.at_ms()), zone.name()));
    if let (Some(decision), Some(bundle)) = (call.decision(), bundle) {
        add_policies(&mut lines, &decision.entry, bundle);
    }
    if let Some(decision) = call.decision() {
        add_asked(&mut lines, &decision.entry);
        if let Some(explanation) = explanation {
            add_explanation(&mut lines, &decision.entry, explanation);
        }
    }
    lines.gap();
    if call.outcome().is_none() {
        lines.add(
            "outcome",
            "not known: the call is still under way, or its entry of the access log was lost, which is best effort",
        );
    }
    outcomes(why).for_each(|(_, outcome)| add_outcome(&mut lines, outcome));
    for (_, report) in further_reports(why).filter(|_| call.decision().is_some()) {
        lines.add("filter", &format!("reported that it refused the call all the same ({})", report.reason));
    }
    drift(why).for_each(|(_, drift)| add_drift(&mut lines, drift));
    sheds(why).for_each(|(_, sheds)| add_sheds(&mut lines, sheds));
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
        Proof::Jwt => "proven by a signed token",
        Proof::Introspection => "proven by a token that its issuer answered for",
        Proof::None => "nothing was proven",
    };
    let who = if decision.principal.is_empty() { "not established" } else { &decision.principal };
    lines.add("who", &format!("{who} ({proof})"));
    lines.add("through", decision.workload.as_deref().filter(|through| *through != who).unwrap_or_default());
    if let Some(credential) = &decision.credential {
        add_credential(lines, credential);
    }
    let query = if decision.query_present { "?…" } else { "" };
    if !decision.operation.is_empty() {
        let Decision { service, operation, class, .. } = decision;
        lines.add("what", &format!("{service}.{operation} ({class})"));
    }
    lines.add("request", &format!("{} {}{query}", decision.method, decision.path));
    lines.add("host", &decision.host);
    lines.add("request id", decision.request_id.as_deref().unwrap_or_default());
    lines.add("attempt", &attempt(decision.attempt));
    lines.add("errors", &decision.errors.join("; "));
    lines.add("handoff", &decision.handoff);
    if let Some(Passed { body_judged, grpc, upgrade }) = decision.verdict {
        let judged = if body_judged { "passed with its body judged" } else { "passed by its head alone" };
        let kind = [(grpc, ", gRPC"), (upgrade, ", an upgrade")];
        let kind: String = kind.into_iter().filter_map(|(is, name)| is.then_some(name)).collect();
        lines.add("filter", &format!("{judged}{kind}"));
    }
    lines.add("digest", decision.request_digest.as_deref().unwrap_or_default());
}

/// What the token or the key says of who it is.
fn add_credential(lines: &mut Lines, credential: &Credential) {
    let Credential { issuer, key_id, groups, roles, attributes, scopes, expires_at_s, masked } = credential;
    lines.add("issuer", issuer.as_deref().unwrap_or_default());
    lines.add("key", key_id.as_deref().unwrap_or_default());
    lines.add("groups", &groups.join(", "));
    lines.add("roles", &roles.join(", "));
    let attributes: Vec<_> = attributes.iter().map(|(name, value)| format!("{name} {value}")).collect();
    lines.add("attributes", &attributes.join(", "));
    let none = || "none".to_owned();
    let scopes = scopes.as_ref().map(|scopes| if scopes.is_empty() { none() } else { scopes.join(" ") });
    lines.add("scopes", &scopes.unwrap_or_default());
    lines.add("good until", &expires_at_s.and_then(instant).unwrap_or_default());
    let masked: Vec<_> = masked.keys().map(String::as_str).collect();
    lines.add("not told", &masked.join(", "));
}

/// Beyond the times that there are, the end of a credential is no time.
fn instant(at_s: u64) -> Option<String> {
    let at_ms = at_s.checked_mul(1000)?;
    Some(format!("{} UTC", Zone::utc().show(at_ms)))
}

/// By the word of the proxies before, and worth a line only where it is not the first.
fn attempt(attempt: Option<u32>) -> String {
    attempt.filter(|attempt| *attempt > 1).map(|attempt| attempt.to_string()).unwrap_or_default()
}

fn add_refusal(lines: &mut Lines, refusal: &Refusal) {
    let Refusal { reason, service, operation, method, host, path, .. } = refusal;
    let verdict = match refusal.verdict {
        Verdict::Reject => "REJECTED",
        Verdict::Shed => "SHED",
    };
    lines.add("decision", &format!("{verdict} ({reason})"));
    lines.add("because", explained(reason).unwrap_or_default());
    lines.add("where", &refusal.place.as_deref().map(place).unwrap_or_default());
    lines.add("by", BY_FILTER);
    let who = match &refusal.peer {
        Some(peer) => format!("{peer} (proven by the certificate of its connection)"),
        None => "not established (the filter looks at no credential but the certificate)".to_owned(),
    };
    lines.add("who", &who);
    if !operation.is_empty() {
        lines.add("what", &format!("{service}.{operation}"));
    }
    lines.add("request", &format!("{method} {path}"));
    lines.add("host", host);
    let is_unnumbered_retry = refusal.retry && refusal.attempt.is_none_or(|attempt| attempt < 2);
    let attempt = if is_unnumbered_retry { "a retry".to_owned() } else { attempt(refusal.attempt) };
    lines.add("attempt", &attempt);
    lines.add("report", &format!("number {} of filter VM {}", refusal.sequence, refusal.vm));
    lines.add("bundle", &refusal.bundle_digest);
}

/// A place in words: what it points into, and the pointer in there.
fn place(place: &str) -> String {
    let (part, rest) = match place.strip_prefix("response/") {
        Some(rest) => ("of the response, ", rest),
        None => ("", place),
    };
    let within = match rest.split_once('/') {
        Some(("body", pointer)) => format!("{part}in the body, at /{pointer}"),
        Some(("query", name)) => format!("{part}query parameter {name}"),
        Some(("path", name)) => format!("{part}path parameter {name}"),
        Some(("header", name)) => format!("{part}header {name}"),
        Some(("cookie", name)) => format!("{part}cookie {name}"),
        Some(("limits", name)) => format!("the rate limit {name} of the contract"),
        Some(_) | None => return place.to_owned(),
    };
    format!("{place} ({within})")
}

/// What the contract says of the call although it went on.
fn add_drift(lines: &mut Lines, drift: &Drift) {
    let Drift { side, reason, count, .. } = drift;
    let first = match count {
        1 => "the one that was counted",
        _ => "the first of those that were counted",
    };
    let times = if *count == 1 { String::new() } else { format!(" {count} times") };
    lines.add(
        "drift",
        &format!("{reason}: the {} broke the contract and nothing was refused; {first}{times}", side.name()),
    );
    lines.add("because", explained(reason).unwrap_or_default());
    lines.add("where", &if drift.place.is_empty() { String::new() } else { place(&drift.place) });
}

/// What the load says of the call although it has an entry of its own, or none.
fn add_sheds(lines: &mut Lines, sheds: &Sheds) {
    let Sheds { reason, shadow, count, limit, .. } = sheds;
    let what = if *shadow { "would have been shed, and went on" } else { "was shed" };
    let others = match count.saturating_sub(1) {
        0 => "alone".to_owned(),
        1 => "with one other like it".to_owned(),
        others => format!("with {others} others like it"),
    };
    lines.add("shed", &format!("{reason}: the call {what}, {others}"));
    lines.add("because", explained(reason).unwrap_or_default());
    lines.add("limit", limit.as_deref().unwrap_or_default());
}

/// What the policies were asked beside caller, operation, host and path.
fn add_asked(lines: &mut Lines, decision: &Decision) {
    let Some(asked) = &decision.asked else { return };
    let Asked { path, query, header, body, masked, not_replayable } = asked;
    let parts = [("path", path), ("query", query), ("body", body)];
    let values = parts.into_iter().flat_map(|(part, values)| {
        values.iter().map(move |(name, value)| format!("{part}.{name} = {value}"))
    });
    let headers = header.iter().map(|(name, value)| format!("header.{name} = {value}"));
    let masked = masked.iter().map(|(name, digest)| match digest {
        Some(digest) => format!("{name} is masked: only its digest {digest} was kept"),
        None => format!("{name} is masked: nothing of it was kept"),
    });
    let mut name = "asked";
    lines.gap();
    for line in values.chain(headers).chain(masked) {
        lines.add(std::mem::take(&mut name), &line);
    }
    if name == "asked" {
        lines.add("asked", "for no value of the request beside its path");
    }
    if !not_replayable.is_empty() {
        let names = not_replayable.join(", ");
        lines.add("replay", &format!("not possible from this entry: policies read {names}, which is masked"));
    }
}

/// Why policies denied. Why they allowed is told by the policies themselves.
fn add_explanation(lines: &mut Lines, decision: &Decision, explanation: &Result<Explanation, String>) {
    let by_policies = [Reason::PolicyDenied, Reason::PolicyError];
    if by_policies.iter().all(|reason| reason.code() != decision.reason) {
        return;
    }
    lines.gap();
    match explanation {
        Ok(explanation) => {
            let mut name = "explained";
            for line in explanation.to_string().lines() {
                lines.add(std::mem::take(&mut name), line);
            }
        }
        Err(why) => lines.add("explained", &format!("not possible: {why}")),
    }
}

const BY_FILTER: &str = "the filter, before the server was asked";

fn add_undecided(lines: &mut Lines, outcome: &Outcome) {
    match &outcome.filter_reason {
        Some(reason) => {
            lines.add("decision", &format!("REJECTED ({reason})"));
            lines.add("because", explained(reason).unwrap_or_default());
            lines.add("by", BY_FILTER);
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
    add_candidate(lines, decision.candidate.as_ref());
}

/// What a bundle that is tried out made of the same call.
fn add_candidate(lines: &mut Lines, candidate: Option<&Candidate>) {
    let Some(Candidate { bundle_digest, otherwise }) = candidate else { return };
    lines.gap();
    let Some(Otherwise { decision, reason, policies, errors }) = otherwise else {
        return lines.add("candidate", &format!("{bundle_digest} came to the same decision"));
    };
    let verdict = match decision {
        Conclusion::Allow => "allowed",
        Conclusion::Deny => "denied",
    };
    let by = if policies.is_empty() { String::new() } else { format!(" by {}", policies.join(", ")) };
    lines.add("candidate", &format!("{bundle_digest} would have {verdict} it ({reason}){by}"));
    lines.add("errors", &errors.join("; "));
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
    let upstream = [&outcome.upstream, &outcome.upstream_host].into_iter().flatten();
    lines.add("upstream", &upstream.map(String::as_str).collect::<Vec<_>>().join(" at "));
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
    let decision = why.call.decision().map(|decision| (decision.index, "decision"));
    let refusal = why.call.refusal().map(|refusal| (refusal.index, "refusal"));
    let outcomes = outcomes(why).map(|(position, _)| (position, "outcome"));
    let reports = further_reports(why).map(|(position, _)| (position, "refusal"));
    let drift = drift(why).map(|(position, _)| (position, "drift"));
    let all = decision.into_iter().chain(refusal).chain(outcomes).chain(reports).chain(drift);
    all.map(|(position, kind)| format!("{kind} {position}")).collect::<Vec<_>>().join(", ")
}
