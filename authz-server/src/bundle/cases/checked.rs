//! Makes cases of what people wrote: tables written out, every name looked up.

use super::format::{Body, CaseRules, CasesFile, RequestFile, RequestKeys};
use super::{Caller, Case, CaseFile, CaseRequest};
use crate::bundle::entities::EntityDeclarations;
use crate::bundle::files::{File, Role};
use crate::bundle::format::Palisade;
use crate::bundle::parsed::Parsed;
use crate::bundle::problem::{Problem, Problems};
use crate::bundle::record::{Placed, Read as _, Reader};
use crate::bundle::yaml;
use crate::cedar::{Mode, Policies};
use palisade_core::contract::{Contract, Service};
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
    pub(in crate::bundle) policies: &'a Policies,
}

/// A file as it was written: no name in it was looked up yet.
#[derive(Debug)]
pub(in crate::bundle) struct WrittenCases<'f> {
    file: &'f File,
    /// `None`: what is wrong was reported.
    written: Option<CasesFile>,
}

pub(in crate::bundle) fn read_all<'f>(
    documents: &Parsed<'f>,
    problems: &mut Problems,
) -> Vec<WrittenCases<'f>> {
    let mut all = Vec::new();
    for document in documents.with_role(Role::Tests) {
        let mut reader = Reader::new(document.file);
        let written = CasesFile::read(&document.root, &mut reader);
        problems.extend(reader.problems);
        all.push(WrittenCases { file: document.file, written });
    }
    all
}

/// Looks up every name, and writes tables out.
pub(in crate::bundle) fn check_all(
    files: &[WrittenCases<'_>],
    known: Known<'_>,
    problems: &mut Problems,
) -> Vec<CaseFile> {
    let policies = known.policies.all().map(|policy| (policy.id.as_str(), policy.mode)).collect();
    let mut left = CASES_MAX;
    let mut all = Vec::new();
    for WrittenCases { file, written } in files {
        let mut checking = Checking { reader: Reader::new(file), known, policies: &policies, left };
        let cases = written.as_ref().map(|written| checking.file(written)).unwrap_or_default();
        left = checking.left;
        problems.extend(checking.reader.problems);
        all.push(CaseFile { path: file.path.clone(), cases });
    }
    all
}

/// Reads one request that stands in a file by itself.
pub(in crate::bundle) fn read_one(file: &File, known: Known<'_>) -> Result<(Caller, CaseRequest), Problems> {
    let root = yaml::parse(file).map_err(Problems::from)?;
    let mut reader = Reader::new(file);
    let written = RequestFile::read(&root, &mut reader);
    let policies = BTreeMap::new();
    let mut checking = Checking { reader, known, policies: &policies, left: 1 };
    let name = Placed { value: file.path.clone(), at: root.at };
    let read = written.as_ref().map(|RequestFile { service, caller, request }| {
        let caller = checking.caller(&name, caller);
        (caller, checking.request(&name, &request.0, service.as_ref()))
    });
    match read {
        Some((Some(caller), Some(request))) if !checking.reader.problems.has_errors() => {
            Ok((caller, request))
        }
        _ => Err(checking.reader.problems),
    }
}

/// One file while it is looked through; `callers` and `expected` hold more of it.
pub(super) struct Checking<'a, 'f> {
    pub(super) reader: Reader<'f>,
    pub(super) known: Known<'a>,
    pub(super) policies: &'a BTreeMap<&'a str, Mode>,
    /// How many cases may still come.
    left: usize,
}

impl Checking<'_, '_> {
    fn file(&mut self, CasesFile { service, cases }: &CasesFile) -> Vec<Case> {
        // A wrong name here is one mistake, not one for each request.
        if let Some(service) = service
            && self.service(service).is_none()
        {
            return Vec::new();
        }
        let mut names = BTreeSet::new();
        let mut all = Vec::new();
        for rules in cases {
            if rules.name.value.trim().is_empty() || rules.name.value.chars().any(char::is_control) {
                let help = "one line that says what the case shows";
                self.reader.wrong(rules.name.at, "this is not a name for a case", help);
            }
            if !names.insert(rules.name.value.as_str()) {
                let message = format!("there is another case `{}` in this file", rules.name.value);
                let help = "give each its own name: reports and `--filter` go by it";
                self.reader.wrong(rules.name.at, message, help);
            }
            self.case(rules, service.as_ref(), &mut all);
        }
        all
    }

    fn case(&mut self, rules: &CaseRules, service: Option<&Placed<String>>, all: &mut Vec<Case>) {
        let CaseRules { name, caller, callers, request, requests, expect } = rules;
        let callers = self.one_or_several(name, "caller", caller.as_ref(), callers);
        let requests = self.one_or_several(name, "request", request.as_ref(), requests);
        // All parts are looked at before one that failed ends it.
        let callers = callers.map(|(callers, vary)| {
            let callers = callers.iter().filter_map(|rules| self.caller(name, rules));
            (callers.collect::<Vec<_>>(), vary)
        });
        let requests = requests.map(|(requests, vary)| {
            let requests = requests
                .iter()
                .filter_map(|rules| Some((self.request(name, &rules.0, service)?, rules.0.method.at)));
            (requests.collect::<Vec<_>>(), vary)
        });
        let expect = self.expectation(expect);
        let (Some((callers, callers_vary)), Some((requests, requests_vary)), Some(expect)) =
            (callers, requests, expect)
        else {
            return;
        };
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
        let mut labels: BTreeMap<String, usize> = BTreeMap::new();
        for caller in &callers {
            for (request, at) in &requests {
                let at = if requests_vary { *at } else { name.at };
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
                    place: self.reader.place(at),
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

    fn request(
        &mut self,
        case: &Placed<String>,
        rules: &RequestKeys,
        default: Option<&Placed<String>>,
    ) -> Option<CaseRequest> {
        let RequestKeys { method, path, service: _, host: _, headers, body } = rules;
        let mut good = self.sendable(method, "method", is_token);
        good &= self.sendable(path, "path", |path| path.starts_with('/') && is_visible(path));
        let host = self.host(case, rules, default);
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
        host.filter(|_| good).map(|host| CaseRequest { method, path, host, headers: sent, body })
    }

    fn host(
        &mut self,
        case: &Placed<String>,
        rules: &RequestKeys,
        default: Option<&Placed<String>>,
    ) -> Option<String> {
        match (&rules.host, rules.service.as_ref(), default) {
            (Some(_), Some(service), _) => {
                let help = "a service is called by its first host; keep one of the two";
                self.reader.wrong(service.at, "a request has both `service` and `host`", help);
                None
            }
            (Some(host), None, _) => {
                let good = self.sendable(host, "host", |host| !host.is_empty() && is_visible(host));
                good.then(|| host.value.clone())
            }
            (None, Some(service), _) | (None, None, Some(service)) => self.service(service),
            (None, None, None) => {
                let message = format!("a request of case `{}` goes nowhere", case.value);
                let help = "name a `service` or a `host`, or give the file a `service`";
                self.reader.wrong(rules.method.at, message, help);
                None
            }
        }
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
