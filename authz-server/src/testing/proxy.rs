//! The whole proxy in one process: the filter's engine, the handoff, and the server's decider, joined as Envoy joins them.
//!
//! INVARIANT: nothing here decides. A case is answered by the code that answers requests, so that a test tells what the
//! proxy will do; what stands here is only what clients and Envoy do to a request on its way.

use crate::bundle::Bundle;
use crate::bundle::callers::token_scheme;
use crate::bundle::cases::{Caller, Case, CaseFile, CaseRequest, CaseUser};
use crate::check::{Body, Call, Decider, Decision, Given, Judge, Shadow, claim_json, sources};
use crate::digests::Digests;
use crate::identity::api_keys::{Drawn, Issue, KeysFile};
use crate::identity::{Algorithm, ApiKeys, KeysFrom, Sources, Tokens, TokensError};
use crate::mint::{Mint, Said, TokenForm};
use crate::secrets::HandoffSecrets;
use crate::state::Epoch;
use palisade_core::call_id::CallIdMint;
use palisade_core::contract::Contract;
use palisade_core::exchange::{BodyStep, Engine, Exchange, HeadStep, Refusal};
use palisade_core::handoff::{self, Secret};
use palisade_core::headers;
use palisade_core::reason::Reason;
use palisade_core::violation::Violation;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rcgen::{CertificateParams, KeyPair, SanType};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Every case is made at this moment, so that no answer depends on when the tests run.
const NOW_MS: u64 = 1_767_225_600_000;

/// Every token was just issued.
const TOKEN_LIVES_S: u64 = 300;

/// It joins the two halves within this process and goes nowhere else.
const SECRET: [u8; 32] = [1; 32];

/// Nothing that is minted leaves the process.
const MINT_SEED: [u8; 16] = [1; 16];

/// Headers of which Envoy makes one, with commas, when they are sent several times: the filter sees one header. Of all
/// others it sees each.
const JOINED_BY_ENVOY: [&str; 7] = [
    "authorization",
    "content-type",
    "expect",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "x-request-id",
];

/// A bundle with everything that its callers need to prove who they are.
#[derive(Debug)]
pub struct Proxy {
    engine: Engine,
    decider: Decider,
    /// By client, and what they are good for.
    keys: BTreeMap<(String, Option<BTreeSet<String>>), String>,
    /// All issuers of the bundle at once.
    mint: Mint,
    /// What their tokens look like.
    forms: BTreeMap<String, TokenForm>,
    /// By SPIFFE id, as Envoy passes them on.
    certificates: BTreeMap<String, String>,
}

/// What came out for one request, with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub by: Judge,
    pub decision: Decision,
    /// Sorted. On a denial by the server, none: no policy permits.
    pub policies: Vec<String>,
    pub errors: Vec<String>,
    /// What the shadow policies would have made of it, where there are any and they were asked.
    pub shadow: Option<Shadow>,
    /// The operation that the server decided on, as policies call it.
    pub operation: Option<String>,
}

/// Why the callers of a bundle cannot be played.
#[derive(Debug)]
pub struct ProxyError(String);

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the callers of the tests cannot be equipped: {}", self.0)
    }
}

impl std::error::Error for ProxyError {}

impl Answer {
    fn refused(violation: Violation) -> Answer {
        let Violation { reason, place, .. } = violation;
        let errors = if place.is_empty() { Vec::new() } else { vec![format!("at `{place}`")] };
        Answer {
            by: Judge::Filter,
            decision: Decision::Deny { reason },
            policies: Vec::new(),
            errors,
            shadow: None,
            operation: None,
        }
    }

    pub fn reason(&self) -> Option<Reason> {
        match self.decision {
            Decision::Allow => None,
            Decision::Deny { reason } => Some(reason),
        }
    }
}

impl Proxy {
    pub fn new(bundle: Bundle) -> Result<Proxy, ProxyError> {
        // As the filter gets it: encoded.
        let encoded = bundle.contract.encode();
        let contract = encoded
            .and_then(|bytes| Contract::decode(&bytes))
            .map_err(|error| ProxyError(format!("the contract does not survive its encoding: {error}")))?;
        let secret = Secret::from_bytes(SECRET);
        let (keys, api_keys) = keys(&bundle)?;
        let certificates = certificates(&bundle)?;
        let engine = Engine { contract, secret: secret.clone() };
        let given = Given { api_keys: Some(Arc::new(api_keys)), ..Given::default() };
        let mint = Mint::new("palisade-test").map_err(|error| ProxyError(error.to_string()))?;
        let forms = TokenForm::of(&bundle);
        let identity = Sources { tokens: tokens(&bundle, &mint)?, ..sources_of(&bundle, &given)? };
        let decider = Decider {
            bundle: Arc::new(bundle),
            secrets: HandoffSecrets::only(secret),
            identity,
            given,
            epoch: Epoch { server: "palisade-test".to_owned(), counter: 1 },
            previous: Vec::new(),
            // Nothing that is recorded here is kept.
            digests: Digests::new(&SECRET),
            candidate: None,
        };
        Ok(Proxy { engine, decider, keys, mint, forms, certificates })
    }

    pub fn bundle(&self) -> &Bundle {
        &self.decider.bundle
    }

    /// The answer to one request of one caller.
    pub fn answer(&self, caller: &Caller, request: &CaseRequest) -> Answer {
        let mut mint = CallIdMint::new(MINT_SEED);
        let head = self.head(caller, request);
        let pairs: Vec<(&str, &str)> =
            head.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (remove, handoff) = match self.filtered(&pairs, &request.body, &mut mint) {
            Ok(passed) => passed,
            Err(violation) => return Answer::refused(violation),
        };
        // A Check joins whatever is repeated.
        let mut joined: Vec<(String, String)> = Vec::with_capacity(head.len());
        for (name, value) in pairs.iter().filter(|(name, _)| remove.iter().all(|removed| removed != name)) {
            add(&mut joined, name, value, true);
        }
        add(&mut joined, handoff::HEADER, &handoff, false);
        let passed: Vec<(&[u8], &[u8])> =
            joined.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let peer = caller.peer();
        let certificate = peer.and_then(|peer| self.certificates.get(peer));
        let call = Call {
            pairs: &passed,
            peer: peer.unwrap_or_default(),
            peer_certificate: certificate.map_or("", String::as_str),
            body: if request.body.is_empty() { Body::None } else { Body::Whole(&request.body) },
        };
        let concluded = self.decider.decide(call, NOW_MS, mint.mint(NOW_MS));
        let record = concluded.record;
        Answer {
            by: Judge::Server,
            decision: concluded.decision,
            policies: record.policies,
            errors: record.errors,
            shadow: concluded.shadow,
            operation: Some(format!("{}.{}", record.service, record.operation)),
        }
    }

    /// The head as Envoy shows it to the filter: with what clients and Envoy write themselves.
    fn head(&self, caller: &Caller, request: &CaseRequest) -> Vec<(String, String)> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut head = vec![
            pair(":authority", &request.host),
            pair(":path", &request.path),
            pair(":method", &request.method),
            pair(":scheme", "https"),
        ];
        for (name, value) in &request.headers {
            let joined = JOINED_BY_ENVOY.contains(&name.as_str());
            add(&mut head, name, value, joined);
        }
        if !request.body.is_empty() {
            head.push(pair("content-length", &request.body.len().to_string()));
        }
        let identity = &self.bundle().palisade.identity;
        if let (Caller::Client { name, scopes, .. }, Some(settings)) = (caller, &identity.api_keys)
            && let Some(key) = self.keys.get(&(name.clone(), scopes.clone()))
        {
            head.push(pair(&settings.header.value, key));
        }
        if let (Caller::User(person), Some(header)) = (caller, identity.token_header())
            && let Some(token) = self.token(person)
        {
            let scheme = token_scheme(header);
            head.push(pair(header, &format!("{scheme}{token}")));
        }
        head
    }

    /// A token of the person's issuer that says all of this and holds now.
    fn token(&self, person: &CaseUser) -> Option<String> {
        let form = self.forms.get(&person.user.issuer)?;
        let claims = form.claims(&said_of(person), NOW_MS / 1000, TOKEN_LIVES_S).ok()?;
        self.mint.token(&claims).ok()
    }

    /// What the filter lets on: the headers that it takes away, and the handoff that it sets.
    fn filtered(
        &self,
        pairs: &[(&str, &str)],
        body: &[u8],
        mint: &mut CallIdMint,
    ) -> Result<(Vec<String>, String), Violation> {
        let refused =
            |refusal: Refusal| Violation { reason: refusal.reason, place: refusal.place, rule: None };
        let mut exchange = Exchange::default();
        let map = headers::encode(pairs);
        let head = exchange.request_head(Some(&self.engine), mint, NOW_MS, Some(&map), body.is_empty());
        let passed = match head {
            HeadStep::Pass { remove, handoff } => (remove, handoff),
            HeadStep::Refuse(refusal) => return Err(refused(refusal)),
        };
        if body.is_empty() {
            return Ok(passed);
        }
        let mut step = exchange.request_body(body.len(), usize::MAX, true, mint, NOW_MS);
        if step == BodyStep::Judge {
            step = exchange.judge(Some(&self.engine), Some(body), Some(body.len()), mint, NOW_MS);
        }
        match step {
            BodyStep::Pass => Ok(passed),
            BodyStep::Refuse(refusal) => Err(refused(refusal)),
            // The body has ended, so nothing is left to wait for.
            BodyStep::Hold | BodyStep::Judge => Err(Reason::Internal.into()),
        }
    }
}

/// Adds a header, to the one of the same name if `joined`.
fn add(headers: &mut Vec<(String, String)>, name: &str, value: &str, joined: bool) {
    match headers.iter_mut().find(|(known, _)| joined && known == name) {
        Some((_, values)) => {
            values.push(',');
            values.push_str(value);
        }
        None => headers.push((name.to_owned(), value.to_owned())),
    }
}

/// A workload of the bundle's own trust domain that it does not list. None: it trusts no domain.
pub(super) fn stranger(bundle: &Bundle) -> Option<String> {
    let domain = bundle.palisade.trust_domains.first()?;
    Some(format!("spiffe://{}/ns/nowhere/sa/stranger", domain.value))
}

type Keys = BTreeMap<(String, Option<BTreeSet<String>>), String>;

/// A key for each client, and one for each set of scopes that a case calls with.
fn keys(bundle: &Bundle) -> Result<(Keys, ApiKeys), ProxyError> {
    let fail = |error: &dyn fmt::Display| ProxyError(error.to_string());
    let cases = bundle.cases.iter().flat_map(|file: &CaseFile| &file.cases);
    let scoped = cases.filter_map(|case| match &case.caller {
        Caller::Client { name, scopes, .. } => Some((name.clone(), scopes.clone())),
        Caller::Anonymous | Caller::Workload(_) | Caller::User(_) => None,
    });
    let plain = bundle.entities.clients.keys().map(|name| (name.clone(), None));
    let wanted: BTreeSet<_> = plain.chain(scoped).collect();
    let (mut keys, mut file) = (Keys::new(), KeysFile::default());
    for (number, (client, scopes)) in (1_u32..).zip(wanted) {
        let mut drawn = Drawn { id: [0; 6], secret: SECRET };
        for (place, byte) in drawn.id.iter_mut().zip(number.to_be_bytes()) {
            *place = byte;
        }
        let wanted = Issue {
            client: Some(client.clone()),
            scopes: scopes.clone().unwrap_or_default(),
            expires_s: None,
            rotation: None,
        };
        let key = file.issue(wanted, &drawn, NOW_MS / 1000).map_err(|error| fail(&error))?;
        keys.insert((client, scopes), key);
    }
    let text = file.render().map_err(|error| fail(&error))?;
    Ok((keys, ApiKeys::parse(text.as_bytes()).map_err(ProxyError)?))
}

/// What a token says of the person of a case.
pub fn said_of(person: &CaseUser) -> Said {
    let CaseUser { user, scopes, .. } = person;
    let attributes = user.attributes.iter().map(|(name, value)| (name.clone(), claim_json(value)));
    Said {
        subject: user.subject.clone(),
        groups: user.groups.iter().cloned().collect(),
        roles: user.roles.iter().cloned().collect(),
        scopes: scopes.as_ref().map(|scopes| scopes.iter().cloned().collect()),
        attributes: attributes.collect(),
    }
}

/// Tokens as the bundle reads them, but for the keys: all issuers sign with ours.
fn tokens(bundle: &Bundle, mint: &Mint) -> Result<Option<Arc<Tokens>>, ProxyError> {
    let mut settings = bundle.issuers(&BTreeMap::new(), &BTreeMap::new());
    for issuer in &mut settings.issuers {
        issuer.algorithms = vec![Algorithm::EdDsa];
        issuer.keys = KeysFrom::Text(Mint::set([mint]).to_string().into());
    }
    let fail = |errors: Vec<TokensError>| {
        ProxyError(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    let takes = bundle.palisade.identity.takes_tokens();
    takes.then(|| Tokens::begin(&settings, None).map(Arc::new)).transpose().map_err(fail)
}

fn sources_of(bundle: &Bundle, given: &Given) -> Result<Sources, ProxyError> {
    sources(bundle, given, None).map_err(ProxyError)
}

/// A genuine certificate for each workload that calls or carries a call.
fn certificates(bundle: &Bundle) -> Result<BTreeMap<String, String>, ProxyError> {
    let fail = |error: rcgen::Error| ProxyError(error.to_string());
    let key = KeyPair::generate().map_err(fail)?;
    let mut certificates = BTreeMap::new();
    let callers = bundle.cases.iter().flat_map(|file: &CaseFile| &file.cases).map(|case: &Case| &case.caller);
    let called = callers.filter_map(Caller::peer);
    let stranger = stranger(bundle);
    let known = bundle.entities.workloads.keys().map(String::as_str);
    for id in called.chain(known).chain(stranger.as_deref()) {
        if certificates.contains_key(id) {
            continue;
        }
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.try_into().map_err(fail)?)];
        let certificate = params.self_signed(&key).map_err(fail)?;
        let escaped = utf8_percent_encode(&certificate.pem(), NON_ALPHANUMERIC).to_string();
        certificates.insert(id.to_owned(), escaped);
    }
    Ok(certificates)
}
