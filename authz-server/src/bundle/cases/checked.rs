//! Makes cases of what people wrote: tables written out, every name looked up.

use super::format::{
    Body, CallerRules, CaseRules, CasesFile, ExpectRules, Expected, ProvenCaller, RequestKeys,
};
use super::{Caller, Case, CaseFile, CaseRequest, Expectation};
use crate::bundle::entities::EntityDeclarations;
use crate::bundle::files::Role;
use crate::bundle::format::Palisade;
use crate::bundle::parsed::{Document, Parsed};
use crate::bundle::problem::{Problem, Problems};
use crate::bundle::record::{Placed, Read as _, Reader};
use crate::identity::{SpiffeError, SpiffeId};
use palisade_core::contract::{Contract, Service};
use palisade_core::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};

/// A table of thousands by thousands is a mistake; this many cases take seconds.
const CASES_MAX: usize = 100_000;

/// Headers that an HTTP client writes itself, and what to do instead.
const CLIENTS_OWN: [(&str, &str); 4] = [
    ("host", "write `host` beside `method` and `path`"),
    ("content-length", "it follows from the body"),
    ("transfer-encoding", "it follows from the body"),
    ("connection", "it follows from the other headers"),
];

/// What cases may name.
#[derive(Debug, Clone, Copy)]
pub(in crate::bundle) struct Known<'a> {
    pub(in crate::bundle) palisade: &'a Palisade,
    pub(in crate::bundle) contract: &'a Contract,
    pub(in crate::bundle) entities: &'a EntityDeclarations,
    /// The ids of all policies.
    pub(in crate::bundle) policies: &'a BTreeSet<String>,
}

pub(in crate::bundle) fn read_all(
    documents: &Parsed<'_>,
    known: Known<'_>,
    problems: &mut Problems,
) -> Vec<CaseFile> {
    let mut left = CASES_MAX;
    documents
        .with_role(Role::Tests)
        .map(|document| {
            let mut checking = Checking { reader: Reader::new(document.file), known, left };
            let cases = checking.file(document);
            left = checking.left;
            problems.extend(checking.reader.problems);
            CaseFile { path: document.file.path.clone(), cases }
        })
        .collect()
}

struct Checking<'a, 'f> {
    reader: Reader<'f>,
    known: Known<'a>,
    /// How many cases may still come.
    left: usize,
}

impl Checking<'_, '_> {
    fn file(&mut self, document: &Document<'_>) -> Vec<Case> {
        let Some(CasesFile { service, cases }) = CasesFile::read(&document.root, &mut self.reader) else {
            return Vec::new();
        };
        // A wrong name here is one mistake, not one for each request.
        if let Some(service) = &service
            && self.service(service).is_none()
        {
            return Vec::new();
        }
        let mut names = BTreeSet::new();
        let mut all = Vec::new();
        for rules in &cases {
            if !names.insert(rules.name.value.as_str()) {
                let message = format!("there is another case `{}` in this file", rules.name.value);
                self.reader.wrong(
                    rules.name.at,
                    message,
                    "give each its own name: reports and `--filter` go by it",
                );
            }
            self.case(rules, service.as_ref(), &mut all);
        }
        all
    }

    fn case(&mut self, rules: &CaseRules, service: Option<&Placed<String>>, all: &mut Vec<Case>) {
        let CaseRules { name, caller, callers, request, requests, expect } = rules;
        let callers = self.one_or_several(name, "caller", caller.as_ref(), callers);
        let requests = self.one_or_several(name, "request", request.as_ref(), requests);
        let expect = self.expectation(expect);
        let (Some((callers, callers_vary)), Some((requests, requests_vary)), Some(expect)) =
            (callers, requests, expect)
        else {
            return;
        };
        let callers: Vec<_> = callers.iter().filter_map(|rules| self.caller(name, rules)).collect();
        let requests: Vec<_> =
            requests.iter().filter_map(|rules| self.request(name, &rules.0, service)).collect();
        let count = callers.len().saturating_mul(requests.len());
        if count > self.left {
            let message = format!("with these the bundle has more than {CASES_MAX} cases");
            self.reader.wrong(
                name.at,
                message,
                "test what differs: callers of one group, and paths of one operation, do not",
            );
            return;
        }
        self.left = self.left.saturating_sub(count);
        let place = self.reader.place(name.at);
        let mut labels: BTreeMap<String, usize> = BTreeMap::new();
        for caller in &callers {
            for request in &requests {
                let mut label = name.value.clone();
                let parts = [(callers_vary, caller.to_string()), (requests_vary, request.to_string())];
                let parts: Vec<_> =
                    parts.into_iter().filter_map(|(varies, part)| varies.then_some(part)).collect();
                if !parts.is_empty() {
                    label.push_str(&format!(" [{}]", parts.join(", ")));
                }
                let seen = labels.entry(label.clone()).and_modify(|seen| *seen += 1).or_insert(1);
                if *seen > 1 {
                    label.push_str(&format!(" ({seen})"));
                }
                all.push(Case {
                    name: label,
                    place: place.clone(),
                    caller: caller.clone(),
                    request: request.clone(),
                    expect: expect.clone(),
                });
            }
        }
    }

    /// The values, and whether they were written as a list.
    fn one_or_several<'r, T>(
        &mut self,
        name: &Placed<String>,
        key: &str,
        one: Option<&'r T>,
        several: &'r [T],
    ) -> Option<(&'r [T], bool)> {
        match (one, several) {
            (Some(one), []) => Some((std::slice::from_ref(one), false)),
            (None, [_, ..]) => Some((several, true)),
            (None, []) => {
                let message = format!("case `{}` has neither `{key}` nor `{key}s`", name.value);
                self.reader.wrong(name.at, message, format!("give it a `{key}`, or a list of `{key}s`"));
                None
            }
            (Some(_), _) => {
                let message = format!("case `{}` has both `{key}` and `{key}s`", name.value);
                self.reader.wrong(name.at, message, format!("put the one into the list of `{key}s`"));
                None
            }
        }
    }

    fn caller(&mut self, case: &Placed<String>, rules: &CallerRules) -> Option<Caller> {
        let Placed { value: proven, at } = match rules {
            CallerRules::Anonymous => return Some(Caller::Anonymous),
            CallerRules::Proven(proven) => proven,
        };
        let ProvenCaller { client, workload, stranger, through } = proven;
        if let (Some(through), None) = (through, client) {
            let help = "only a client's API key travels over somebody else's connection";
            self.reader.wrong(through.at, "`through` without `client`", help);
            return None;
        }
        match (client, workload, stranger) {
            (Some(client), None, None) => {
                let through = match through {
                    Some(workload) => Some(self.spiffe_id(workload)?),
                    None => None,
                };
                self.client(client).map(|name| Caller::Client { name, through })
            }
            (None, Some(workload), None) => self.workload(workload),
            (None, None, Some(stranger)) => self.stranger(stranger),
            _ => {
                let message = format!("a caller of case `{}` is not one caller", case.value);
                let help = "name exactly one of `client`, `workload` and `stranger`, or write `anonymous`";
                self.reader.wrong(*at, message, help);
                None
            }
        }
    }

    fn client(&mut self, client: &Placed<String>) -> Option<String> {
        if self.known.palisade.identity.api_keys.is_none() {
            let help = "configure `identity.api_keys` in `palisade.yaml`";
            self.reader.wrong(client.at, "no client can prove itself: the bundle reads no API keys", help);
            return None;
        }
        let clients = &self.known.entities.clients;
        self.declared(client, clients.contains_key(&client.value), "client", clients.keys())
    }

    fn workload(&mut self, workload: &Placed<String>) -> Option<Caller> {
        let workloads = &self.known.entities.workloads;
        let known = workloads.contains_key(&workload.value);
        self.declared(workload, known, "workload", workloads.keys()).map(Caller::Workload)
    }

    fn declared<'n>(
        &mut self,
        name: &Placed<String>,
        known: bool,
        what: &str,
        all: impl Iterator<Item = &'n String>,
    ) -> Option<String> {
        if !known {
            let problem = Problem::new(
                self.reader.place(name.at),
                format!("{what} `{}` is declared nowhere", name.value),
            );
            let problem = problem.suggest(&name.value, all.map(String::as_str));
            let help = if what == "workload" {
                "declare it in `entities/*.yaml`, or write `stranger` for one that is meant to be unknown"
            } else {
                "declare it in `entities/*.yaml`"
            };
            self.reader.push(problem.help(help));
        }
        known.then(|| name.value.clone())
    }

    fn stranger(&mut self, stranger: &Placed<String>) -> Option<Caller> {
        if self.known.entities.workloads.contains_key(&stranger.value) {
            let message = format!("workload `{}` is declared, so it is no stranger", stranger.value);
            self.reader.wrong(stranger.at, message, "write `workload`");
            return None;
        }
        // One of another trust domain is worth a test too: its certificate may be genuine all the same.
        match SpiffeId::parse(&stranger.value, &self.known.palisade.trust_domains) {
            Ok(_) | Err(SpiffeError::TrustDomainUnknown { .. }) => {
                Some(Caller::Workload(stranger.value.clone()))
            }
            Err(error @ SpiffeError::Malformed) => {
                self.reader.wrong(
                    stranger.at,
                    format!("`{}` is {error}", stranger.value),
                    "without one no certificate names it",
                );
                None
            }
        }
    }

    fn spiffe_id(&mut self, workload: &Placed<String>) -> Option<String> {
        match SpiffeId::parse(&workload.value, &self.known.palisade.trust_domains) {
            Ok(_) => Some(workload.value.clone()),
            Err(error) => {
                let message = format!("workload `{}`: {error}", workload.value);
                self.reader.wrong(workload.at, message, "its certificate would not be believed");
                None
            }
        }
    }

    fn request(
        &mut self,
        case: &Placed<String>,
        rules: &RequestKeys,
        default: Option<&Placed<String>>,
    ) -> Option<CaseRequest> {
        let RequestKeys { method, path, service, host, headers, body } = rules;
        let mut good = self.sendable(method, "method", is_token);
        good &= self.sendable(path, "path", |path| path.starts_with('/') && is_visible(path));
        let host = match (host, service.as_ref().or(default)) {
            (Some(host), _) => {
                if let Some(service) = service {
                    let help = "a service is called by its first host; keep one of the two";
                    self.reader.wrong(service.at, "a request has both `service` and `host`", help);
                    return None;
                }
                good &= self.sendable(host, "host", |host| !host.is_empty() && is_visible(host));
                host.value.clone()
            }
            (None, Some(service)) => self.service(service)?,
            (None, None) => {
                let message = format!("a request of case `{}` goes nowhere", case.value);
                let help = "name a `service` or a `host`, or give the file a `service`";
                self.reader.wrong(method.at, message, help);
                return None;
            }
        };
        let mut sent: Vec<(String, String)> = Vec::new();
        for (name, values) in &headers.0 {
            let name = Placed { value: name.text.to_ascii_lowercase(), at: name.at };
            if let Some((own, instead)) = CLIENTS_OWN.iter().find(|(own, _)| *own == name.value) {
                self.reader.wrong(name.at, format!("`{own}` is written by the client itself"), *instead);
                good = false;
                continue;
            }
            good &= self.sendable(&name, "header name", is_token);
            for value in &values.0 {
                good &= self.sendable(value, "header value", is_header_value);
                sent.push((name.value.clone(), value.value.clone()));
            }
        }
        let body = match body.as_ref().map(|body| &body.value) {
            None => Vec::new(),
            Some(Body::Text(text)) => text.clone().into_bytes(),
            Some(Body::Json(json)) => {
                if sent.iter().all(|(name, _)| name != "content-type") {
                    sent.push(("content-type".to_owned(), "application/json".to_owned()));
                }
                json.clone().into_bytes()
            }
        };
        let (method, path) = (method.value.clone(), path.value.clone());
        good.then_some(CaseRequest { method, path, host, headers: sent, body })
    }

    /// The host by which a service is called.
    fn service(&mut self, service: &Placed<String>) -> Option<String> {
        let services = self.known.contract.services();
        let found = services.iter().find(|known| *known.name == *service.value);
        if let Some(host) = found.and_then(|service| service.hosts.first()) {
            return Some(host.to_string());
        }
        let problem = Problem::new(
            self.reader.place(service.at),
            format!("service `{}` is not in the bundle", service.value),
        );
        let names: Vec<&str> = own_services(services).map(|known| known.name.as_ref()).collect();
        let help = format!("the services are {}", listed(&names));
        self.reader.push(problem.suggest(&service.value, names).help(help));
        None
    }

    fn sendable(&mut self, text: &Placed<String>, what: &str, holds: impl Fn(&str) -> bool) -> bool {
        let good = holds(&text.value);
        if !good {
            let message = format!("`{}` cannot be sent as a {what}", text.value.escape_debug());
            let help = match what {
                "path" => "a path begins with a slash and holds neither spaces nor control bytes",
                "host" => "a host is not empty and holds neither spaces nor control bytes",
                "header value" => "no client sends control bytes, or spaces at the ends",
                _ => "expected letters, digits and !#$%&'*+-.^_`|~",
            };
            self.reader.wrong(text.at, message, help);
        }
        good
    }

    fn expectation(&mut self, rules: &ExpectRules) -> Option<Expectation> {
        let ExpectRules { decision, reason, policies } = rules;
        let allowed = *decision == Expected::Allow;
        let reason = match reason {
            None => None,
            Some(reason) if allowed => {
                let help = "remove it: an allowed request has policies, and no reason code";
                self.reader.wrong(reason.at, "`reason` beside `decision: allow`", help);
                return None;
            }
            Some(reason) => Some(self.reason(reason)?),
        };
        let policies = match policies {
            None => None,
            Some(policies) => {
                let known: Vec<_> = policies.iter().filter_map(|policy| self.policy(policy)).collect();
                let mut ids: Vec<String> = (known.len() == policies.len()).then_some(known)?;
                ids.sort();
                ids.dedup();
                Some(ids)
            }
        };
        Some(Expectation { allowed, reason, policies })
    }

    fn reason(&mut self, reason: &Placed<String>) -> Option<Reason> {
        let found = Reason::from_code(&reason.value);
        if found.is_none() {
            let message = format!("`{}` is not a reason code", reason.value);
            let problem = Problem::new(self.reader.place(reason.at), message)
                .suggest(&reason.value, Reason::ALL.iter().map(|reason| reason.code()))
                .help("the codes are those of the replies; the README lists them");
            self.reader.push(problem);
        }
        found
    }

    fn policy(&mut self, policy: &Placed<String>) -> Option<String> {
        let found = self.known.policies.get(&policy.value);
        if found.is_none() {
            let message = format!("there is no policy `{}`", policy.value);
            let problem = Problem::new(self.reader.place(policy.at), message)
                .suggest(&policy.value, self.known.policies.iter().map(String::as_str))
                .help("policies are named by their `@id`");
            self.reader.push(problem);
        }
        found.cloned()
    }
}

/// All services but the canary's.
fn own_services(services: &[Service]) -> impl Iterator<Item = &Service> {
    services.iter().filter(|service| *service.name != *palisade_core::canary::SERVICE)
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_visible(text: &str) -> bool {
    !text.chars().any(|letter| letter.is_control() || letter == ' ')
}

fn is_header_value(text: &str) -> bool {
    text.trim_matches([' ', '\t']) == text
        && !text.chars().any(|letter| letter.is_control() && letter != '\t')
}
