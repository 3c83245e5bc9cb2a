//! `palisade test` tells the truth: every case of both bundles, sent to a real Envoy with filter and server, is answered
//! as the command says.
//!
//! No case is left out: what can not be sent fails. What the ledger holds of it must agree, too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use palisade::bundle::Bundle;
use palisade::bundle::cases::{Caller, CaseRequest, CaseUser};
use palisade::check::Judge;
use palisade::ledger::{Conclusion, Decision, Entry};
use palisade::mint::{Mint, TokenForm};
use palisade::testing::{Answer, Proxy, run, said_of};
use palisade_core::reason::Reason;
use tempfile::TempDir;
use tests::binaries::workspace_dir;
use tests::corpus::profile::Profile;
use tests::deadline::eventually;
use tests::http1;
use tests::pki::Identity;
use tests::raw_client::{self, Outcome, Reply};
use tests::raw_h2::{self, H2Request};
use tests::rig::{BundleUnderTest, LEDGER_TIMEOUT, Options, Rig, Target};

#[test]
fn the_demo_bundle_on_envoy() {
    every_case_is_answered_as_foretold(Target::Envoy, BundleUnderTest::Demo);
}

#[test]
fn the_demo_bundle_on_istio() {
    every_case_is_answered_as_foretold(Target::Istio, BundleUnderTest::Demo);
}

#[test]
fn the_second_bundle_on_envoy() {
    every_case_is_answered_as_foretold(Target::Envoy, BundleUnderTest::Second);
}

#[test]
fn the_second_bundle_on_istio() {
    every_case_is_answered_as_foretold(Target::Istio, BundleUnderTest::Second);
}

fn every_case_is_answered_as_foretold(target: Target, bundle: BundleUnderTest) {
    let directory = workspace_dir().join(Profile::load(bundle).bundle);
    let bundle_read = Bundle::load(&directory).unwrap_or_else(|problems| panic!("{problems}"));
    let issuers = Rc::new(Issuers::of(&bundle_read));
    let proxy = Proxy::new(bundle_read).expect("equip the callers");
    let foretold = run(&proxy, None);
    assert!(foretold.count() >= 50, "{} cases prove little", foretold.count());
    // A listener with TLS wants a certificate of everybody, so that there is one for those who have none.
    let start = |options| Stage::start(Rig::start_with(target, bundle, options), issuers.clone());
    let mut plain = start(issuers.options());
    let mut mutual = start(issuers.options().tls());
    let mut wrong = Vec::new();
    for ran in foretold.cases() {
        let stage = if workload(&ran.case.caller).is_some() { &mut mutual } else { &mut plain };
        if let Err(error) = stage.check(&ran.case.caller, &ran.case.request, &ran.answer) {
            wrong.push(format!("{}: `{}`: {error}", ran.case.place, ran.case.name));
        }
    }
    assert!(plain.sent > 0 && mutual.sent > 0, "each way to call is used");
    assert!(wrong.is_empty(), "on {}:\n{}", target.name(), wrong.join("\n"));
    for stage in [plain, mutual] {
        assert_eq!(
            decisions(&stage.rig).len(),
            stage.decided,
            "the server decided on what the filter refused"
        );
    }
}

/// Envoy makes one of some repeated headers before anybody sees them, so that they are not two.
#[test]
fn a_header_that_is_sent_twice_is_what_envoy_makes_of_it() {
    let bundle = BundleUnderTest::Demo;
    let directory = workspace_dir().join(Profile::load(bundle).bundle);
    let bundle_read = Bundle::load(&directory).unwrap_or_else(|problems| panic!("{problems}"));
    let issuers = Rc::new(Issuers::of(&bundle_read));
    let proxy = Proxy::new(bundle_read).expect("equip the callers");
    let caller = Caller::Client { name: "web".to_owned(), scopes: None, through: None };
    for target in Target::ALL {
        let mut stage = Stage::start(Rig::start(target, bundle), issuers.clone());
        let mut wrong = Vec::new();
        for name in [
            "accept",
            "authorization",
            "content-type",
            "cookie",
            "expect",
            "forwarded",
            "idempotency-key",
            "if-match",
            "if-modified-since",
            "if-none-match",
            "if-unmodified-since",
            "origin",
            "proxy-authorization",
            "te",
            "user-agent",
            "x-api-key",
            "x-forwarded-for",
            "x-own",
            "x-request-id",
        ] {
            let headers = ["a", "b"].map(|value| (name.to_owned(), value.to_owned())).to_vec();
            let request = CaseRequest {
                method: "GET".to_owned(),
                path: "/orders".to_owned(),
                host: "orders".to_owned(),
                headers,
                body: Vec::new(),
            };
            let foretold = proxy.answer(&caller, &request);
            if let Err(error) = stage.check(&caller, &request, &foretold) {
                wrong.push(format!("`{name}`: {error}"));
            }
        }
        assert!(wrong.is_empty(), "on {}:\n{}", target.name(), wrong.join("\n"));
    }
}

/// The workload whose connection carries the call.
fn workload(caller: &Caller) -> Option<&str> {
    match caller {
        Caller::Anonymous => None,
        Caller::Workload(id) => Some(id),
        Caller::Client { through, .. } => through.as_deref(),
        Caller::User(person) => person.through.as_deref(),
    }
}

/// Whoever vouches for the persons of the cases, in place of the bundle's issuers.
struct Issuers {
    mint: Mint,
    forms: BTreeMap<String, TokenForm>,
    home: TempDir,
}

impl Issuers {
    fn of(bundle: &Bundle) -> Issuers {
        let mint = Mint::new("cases").expect("make a key");
        let home = tempfile::tempdir().expect("make a directory");
        fs::write(home.path().join("keys.json"), Mint::set([&mint]).to_string()).expect("write the keys");
        Issuers { mint, forms: TokenForm::of(bundle), home }
    }

    fn options(&self) -> Options {
        let keys = self.home.path().join("keys.json");
        let keys: Vec<String> =
            self.forms.keys().map(|issuer| format!("--issuer-keys={issuer}={}", keys.display())).collect();
        Options::default().server_args(&keys.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn token(&self, person: &CaseUser) -> Result<String, String> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_secs();
        let form = self.forms.get(&person.user.issuer).ok_or("the issuer signs no tokens")?;
        let claims = form.claims(&said_of(person), now_s, 600).map_err(|error| format!("{error:?}"))?;
        self.mint.token(&claims).map_err(|error| error.to_string())
    }
}

struct Stage {
    rig: Rig,
    issuers: Rc<Issuers>,
    /// Decisions that the ledger must have by now.
    decided: usize,
    sent: usize,
    certificates: BTreeMap<String, Identity>,
}

impl Stage {
    fn start(rig: Rig, issuers: Rc<Issuers>) -> Stage {
        let decided = decisions(&rig).len();
        Stage { rig, issuers, decided, sent: 0, certificates: BTreeMap::new() }
    }

    fn check(&mut self, caller: &Caller, request: &CaseRequest, foretold: &Answer) -> Result<(), String> {
        let checked = self.check_one(caller, request, foretold);
        if checked.is_err() {
            // What came unforetold must not count as the next one's.
            self.decided = decisions(&self.rig).len();
        }
        checked
    }

    fn check_one(&mut self, caller: &Caller, request: &CaseRequest, foretold: &Answer) -> Result<(), String> {
        self.rig.reset_spies();
        self.sent += 1;
        let reply = match self.send(caller, request)? {
            Outcome::Reply(reply) => reply,
            outcome => return Err(format!("expected a reply, got {outcome:?}")),
        };
        let seen = self.rig.bytes_seen();
        match foretold.reason() {
            None if !matches!(reply.status, 200 | 101) || seen == 0 => {
                return Err(format!(
                    "foretold: allowed; the service saw {seen} bytes, the reply is {}",
                    shown(&reply)
                ));
            }
            Some(reason) if !says(&reply, reason) || seen > 0 => {
                let reason = reason.code();
                return Err(format!(
                    "foretold: {reason}; the service saw {seen} bytes, the reply is {}",
                    shown(&reply)
                ));
            }
            _ => {}
        }
        match foretold.by {
            Judge::Filter => Ok(()),
            Judge::Server => self.check_recorded(foretold),
        }
    }

    fn check_recorded(&mut self, foretold: &Answer) -> Result<(), String> {
        self.decided += 1;
        let decisions = eventually("the ledger shows the decision", LEDGER_TIMEOUT, || {
            Some(decisions(&self.rig)).filter(|decisions| decisions.len() >= self.decided)
        });
        let recorded = decisions.last().ok_or("the ledger is empty")?;
        let operation = format!("{}.{}", recorded.service, recorded.operation);
        let agrees = decisions.len() == self.decided
            && (recorded.decision == Conclusion::Allow) == foretold.reason().is_none()
            && foretold.reason().is_none_or(|reason| reason.code() == recorded.reason)
            && recorded.policies == foretold.policies
            && recorded.errors == foretold.errors
            && shadow_agrees(foretold, recorded)
            && Some(operation) == foretold.operation;
        if agrees { Ok(()) } else { Err(format!("foretold: {foretold:?}\n    recorded: {recorded:?}")) }
    }

    fn send(&mut self, caller: &Caller, request: &CaseRequest) -> Result<Outcome, String> {
        let content_type = request.headers.iter().find(|(name, _)| name == "content-type");
        let is_grpc = content_type.is_some_and(|(_, value)| value.starts_with("application/grpc"));
        let credential = match caller {
            Caller::Client { name, .. } => Some(("x-api-key", self.rig.api_key(name).to_owned())),
            Caller::User(person) => {
                Some(("authorization", format!("Bearer {}", self.issuers.token(person)?)))
            }
            Caller::Anonymous | Caller::Workload(_) => None,
        };
        let credential = credential.as_ref().map(|(name, value)| (*name, value.as_str()));
        match (workload(caller), is_grpc) {
            (None, true) => Ok(raw_h2::send(self.rig.addr(), &on_http2(request, credential))),
            (None, false) => Ok(raw_client::send(self.rig.addr(), on_http1(request, credential))),
            (Some(workload), false) => {
                let request = on_http1(request, credential);
                if !self.certificates.contains_key(workload) {
                    let file = format!("workload-{}", self.certificates.len());
                    let identity = self.rig.pki().client(&file, &[workload]);
                    self.certificates.insert(workload.to_owned(), identity);
                }
                Ok(self.rig.send_as(self.certificates.get(workload), request))
            }
            (Some(_), true) => Err("gRPC over TLS cannot be sent here".to_owned()),
        }
    }
}

/// A shadow is recorded where it would have decided otherwise.
fn shadow_agrees(foretold: &Answer, recorded: &Decision) -> bool {
    let foretold = foretold.shadow.as_ref().filter(|shadow| shadow.decision != foretold.decision);
    match (foretold, &recorded.shadow) {
        (None, None) => true,
        (Some(foretold), Some(recorded)) => {
            foretold.policies == recorded.policies && foretold.errors == recorded.errors
        }
        _ => false,
    }
}

/// Those on canaries included.
fn decisions(rig: &Rig) -> Vec<Decision> {
    let decision = |entry| match entry {
        Entry::Decision(decision) => Some(decision),
        Entry::Outcome(_)
        | Entry::Refusal(_)
        | Entry::Admin(_)
        | Entry::Drift(_)
        | Entry::Judged(_)
        | Entry::Shed(_)
        | Entry::Load(_) => None,
    };
    rig.ledger_entries().into_iter().filter_map(decision).collect()
}

fn on_http1(request: &CaseRequest, credential: Option<(&str, &str)>) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", request.method, request.path, request.host);
    let mut header = |name: &str, value: &str| {
        write!(head, "{name}: {value}\r\n").expect("write to a string");
    };
    for (name, value) in &request.headers {
        header(name, value);
    }
    if request.headers.iter().any(|(name, _)| name == "upgrade") {
        header("connection", "upgrade");
    }
    if !request.body.is_empty() {
        header("content-length", &request.body.len().to_string());
    }
    if let Some((name, value)) = credential {
        header(name, value);
    }
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&request.body);
    bytes
}

fn on_http2(request: &CaseRequest, credential: Option<(&str, &str)>) -> H2Request {
    let pseudo = [
        (":method", request.method.as_str()),
        (":scheme", "http"),
        (":authority", &request.host),
        (":path", &request.path),
    ];
    let own = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let headers = pseudo.into_iter().chain(own).chain(credential);
    let headers = headers.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    H2Request { headers: headers.collect(), data: vec![request.body.clone()], ..H2Request::default() }
}

/// Whether a reply names this reason, to a caller of HTTP or of gRPC.
fn says(reply: &Reply, reason: Reason) -> bool {
    let field = |name| {
        let value = reply.header(name).or_else(|| http1::header(&reply.trailers, name));
        value.map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    };
    if reply.header("content-type").is_some_and(|value| value.starts_with(b"application/grpc")) {
        let status = (reason.grpc_status() as u8).to_string();
        return field("grpc-status") == status && field("grpc-message").contains(reason.code());
    }
    reply.status == reason.status() && reply.reason().as_deref() == Some(reason.code())
}

fn shown(reply: &Reply) -> String {
    format!("{} `{}`", reply.status, String::from_utf8_lossy(&reply.body))
}
