//! Persons: what a token proves, and what policies make of it; each denial beside the allow that differs in one thing.

use super::super::{Body, Call, Concluded, Decider, Decision, Given, sources};
use super::{NOW_MS, WORKLOAD, call_id, certificate_of};
use crate::bundle::Bundle;
use crate::digests::Digests;
use crate::ledger;
use crate::mint::{Mint, put};
use crate::secrets::HandoffSecrets;
use crate::state::Epoch;
use palisade_core::call_id::CallIdMint;
use palisade_core::handoff::{Binding, Flags, HEADER, Handoff, Secret};
use palisade_core::reason::Reason;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const PALISADE: &str = "palisade: 1
trust_domains: [shop.example]
identity:
  jwt:
    corp:
      issuer: https://login.shop.example
      audiences: [shop]
      algorithms: [EdDSA]
      keys: {file: keys/corp.json}
      claims: {groups: groups, roles: /realm_access/roles, attributes: {department: department}}
    partner:
      issuer: https://login.partner.example
      audiences: [shop]
      algorithms: [EdDSA]
      keys: {file: keys/partner.json}
      claims: {groups: groups}
ledger: {mask: {claims: {department: digest}}}
handoff: {previous_bundle_accepted_s: 600}
";

const SERVICE: &str = "owner: x\nworkload: {namespace: n, labels: {app: x}}\n";

const POLICIES: &str = r#"
@id("staff-reads") permit (principal is User in Group::"staff", action in Action::"read", resource);
@id("writers-by-web") permit (principal in Role::"writer", action == Action::"things.createThing", resource)
when { context has workload && context.workload == "spiffe://shop.example/ns/shop/sa/web" };
@id("sales") permit (principal is User, action == Action::"things.listThings", resource)
when { principal has department && principal.department == "sales" };
@id("auditors") permit (principal is User, action == Action::"things.listThings", resource)
when { context has scopes && context.scopes.contains("audit") };
"#;

struct Scene {
    _folder: TempDir,
    decider: Decider,
    corp: Mint,
    partner: Mint,
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn scene_with(palisade: &str) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let (corp, partner) = (Mint::new("a").unwrap(), Mint::new("b").unwrap());
    let at = |path: &str, text: &str| write(folder.path(), path, text);
    at("palisade.yaml", palisade);
    at("keys/corp.json", &Mint::set([&corp]).to_string());
    at("keys/partner.json", &Mint::set([&partner]).to_string());
    at("policies.cedar", POLICIES);
    at("users.cedarschema", "type UserAttributes = { department?: String };");
    at(
        "entities/all.yaml",
        "groups: {staff: {}}\nroles: {writer: {}}\nusers: {corp/bob: {groups: [staff]}}\n",
    );
    let operation = |id: &str, more: &str| {
        format!("operationId: {id}\n      responses: {{'200': {{description: x}}}}\n{more}")
    };
    let body = "      requestBody:\n        required: true\n        content:\n          application/json:\n            schema: {type: object, properties: {n: {type: integer}}, additionalProperties: false}\n";
    let contract = |name: &str| {
        format!(
            "openapi: 3.0.3\ninfo: {{title: x, version: '1'}}\npaths:\n  /{name}:\n    get:\n      {}    post:\n      {}",
            operation(&format!("list{}", title(name)), ""),
            operation(&format!("create{}", title(name).trim_end_matches('s')), body)
        )
    };
    for (name, more) in [("things", ""), ("vaults", "identity: [mtls, jwt.corp]\n")] {
        at(&format!("services/{name}/service.yaml"), &format!("hosts: [{name}]\n{SERVICE}{more}"));
        at(&format!("services/{name}/openapi.yaml"), &contract(name));
    }
    let bundle = Bundle::load(folder.path()).unwrap_or_else(|problems| panic!("{problems}"));
    let given = Given::default();
    let identity = sources(&bundle, &given, None).unwrap();
    let decider = Decider {
        bundle: bundle.into(),
        secrets: HandoffSecrets::only(Secret::from_bytes([1; 32])),
        identity,
        given,
        epoch: Epoch { server: "test".to_owned(), counter: 1 },
        previous: Vec::new(),
        digests: Digests::new(&[5; 32]),
        candidate: None,
    };
    Scene { _folder: folder, decider, corp, partner }
}

fn title(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().unwrap().to_uppercase().chain(letters).collect()
}

fn claims(issuer: &str, subject: &str) -> Value {
    let now_s = NOW_MS / 1000;
    json!({"iss": issuer, "aud": "shop", "sub": subject, "iat": now_s, "exp": now_s + 300})
}

fn corp(subject: &str) -> Value {
    claims("https://login.shop.example", subject)
}

#[derive(Clone, Copy)]
struct Asked<'a> {
    method: &'static str,
    host: &'static str,
    path: &'static str,
    authorization: Option<&'a str>,
    peer: &'a str,
    handoff: bool,
    body: Body<'a>,
}

const READ: Asked<'static> = Asked {
    method: "GET",
    host: "things",
    path: "/things",
    authorization: None,
    peer: "",
    handoff: true,
    body: Body::None,
};

impl Scene {
    fn decide(&self, asked: Asked<'_>) -> Concluded {
        let method = palisade_core::method::Method::parse(asked.method.as_bytes()).unwrap();
        let contract = &self.decider.bundle.contract;
        let found = contract.find(asked.host, method, asked.path.split('/').skip(1)).unwrap();
        let judged = if asked.body == Body::None { Flags::default() } else { Flags::BODY_JUDGED };
        let handoff = Handoff {
            bundle: self.decider.bundle.digest,
            operation: found.index,
            flags: judged,
            call_id: call_id(NOW_MS),
        };
        let binding = Binding { method: asked.method, authority: asked.host, target: asked.path };
        let text = handoff.encode(&Secret::from_bytes([1; 32]), binding);
        let mut pairs: Vec<(&[u8], &[u8])> = vec![
            (b":method", asked.method.as_bytes()),
            (b":path", asked.path.as_bytes()),
            (b":authority", asked.host.as_bytes()),
            (b":scheme", b"http"),
        ];
        if asked.method == "POST" {
            pairs.push((b"content-type", b"application/json"));
        }
        if asked.handoff {
            pairs.push((HEADER.as_bytes(), text.as_bytes()));
        }
        pairs.extend(asked.authorization.map(|value| (&b"authorization"[..], value.as_bytes())));
        let peer_certificate = if asked.peer.is_empty() { String::new() } else { certificate_of(asked.peer) };
        let call =
            Call { pairs: &pairs, peer: asked.peer, peer_certificate: &peer_certificate, body: asked.body };
        self.decider.decide(call, NOW_MS, CallIdMint::new([9; 16]).mint(NOW_MS))
    }

    fn with(&self, claims: &Value, asked: Asked<'_>) -> Concluded {
        let header = format!("Bearer {}", self.corp.token(claims).unwrap());
        self.decide(Asked { authorization: Some(&header), ..asked })
    }
}

fn reason(concluded: &Concluded) -> Option<Reason> {
    match concluded.decision {
        Decision::Allow => None,
        Decision::Deny { reason } => Some(reason),
    }
}

#[test]
fn what_a_token_says_counts_beside_what_the_bundle_says() {
    let scene = scene_with(PALISADE);
    let read = |claims: &Value| reason(&scene.with(claims, READ));
    assert_eq!(read(&corp("alice")), Some(Reason::PolicyDenied));
    assert_eq!(read(&corp("bob")), None, "the bundle puts bob into a group");
    for (claim, value) in [
        ("groups", json!(["staff", "unheard-of"])),
        ("department", json!("sales")),
        ("scope", json!("audit x")),
    ] {
        let mut more = corp("alice");
        put(&mut more, claim, value);
        assert_eq!(read(&more), None, "{claim}");
    }
    for (claim, value) in
        [("groups", json!(["Staff"])), ("department", json!("Sales")), ("scope", json!("audits"))]
    {
        let mut more = corp("alice");
        put(&mut more, claim, value);
        assert_eq!(read(&more), Some(Reason::PolicyDenied), "{claim}");
    }
    let mut expired = corp("bob");
    put(&mut expired, "exp", json!(NOW_MS / 1000 - 60));
    assert_eq!(read(&expired), Some(Reason::IdentityInvalid));
    let forged = format!("Bearer {}", scene.partner.token(&corp("bob")).unwrap());
    let forged = scene.decide(Asked { authorization: Some(&forged), ..READ });
    assert_eq!(reason(&forged), Some(Reason::IdentityInvalid));
    assert!(forged.record.principal.is_empty() && forged.record.credential.is_none());
    for value in ["Basic Ym9iOmJvYg==", "Bearer", "Bearer  x", "bob"] {
        let concluded = scene.decide(Asked { authorization: Some(value), ..READ });
        assert_eq!(reason(&concluded), Some(Reason::IdentityInvalid), "{value}");
    }
}

#[test]
fn a_policy_can_require_both_the_person_and_the_workload() {
    let scene = scene_with(PALISADE);
    let mut writer = corp("alice");
    put(&mut writer, "/realm_access/roles", json!(["writer"]));
    let write = Asked { method: "POST", body: Body::Whole(b"{\"n\":1}"), peer: WORKLOAD, ..READ };
    let allowed = scene.with(&writer, write);
    assert_eq!(reason(&allowed), None);
    assert_eq!(allowed.record.workload.as_deref(), Some(WORKLOAD));
    assert_eq!(reason(&scene.with(&corp("alice"), write)), Some(Reason::PolicyDenied), "no role");
    let other = "spiffe://shop.example/ns/shop/sa/other";
    assert_eq!(reason(&scene.with(&writer, Asked { peer: other, ..write })), Some(Reason::PolicyDenied));
    assert_eq!(reason(&scene.with(&writer, Asked { peer: "", ..write })), Some(Reason::PolicyDenied));
    assert_eq!(reason(&scene.decide(write)), Some(Reason::PolicyDenied), "the workload alone");
}

#[test]
fn a_service_accepts_only_the_ways_that_it_names() {
    let scene = scene_with(PALISADE);
    let vaults = Asked { host: "vaults", path: "/vaults", ..READ };
    let mut staff = corp("alice");
    put(&mut staff, "groups", json!(["staff"]));
    assert_eq!(reason(&scene.with(&staff, vaults)), None);
    let mut partner = claims("https://login.partner.example", "eve");
    put(&mut partner, "groups", json!(["staff"]));
    let header = format!("Bearer {}", scene.partner.token(&partner).unwrap());
    let by_partner = |asked| reason(&scene.decide(Asked { authorization: Some(&header), ..asked }));
    assert_eq!(by_partner(READ), None);
    assert_eq!(by_partner(vaults), Some(Reason::IdentityNotAccepted));
}

#[test]
fn nothing_is_proven_before_the_handoff_holds() {
    let scene = scene_with(PALISADE);
    let concluded = scene.with(&corp("bob"), Asked { handoff: false, ..READ });
    assert_eq!(reason(&concluded), Some(Reason::HandoffMissing));
    assert!(concluded.record.principal.is_empty());
    assert_eq!(concluded.record.proof, ledger::Proof::None);
}

#[test]
fn without_a_filter_the_server_judges_alone_where_the_bundle_says_so() {
    let optional = PALISADE.replace("handoff: {", "handoff: {mode: optional, ");
    let scene = scene_with(&optional);
    let bare = Asked { handoff: false, ..READ };
    let concluded = scene.with(&corp("bob"), bare);
    assert_eq!(reason(&concluded), None);
    assert_eq!(concluded.record.handoff, "not_required");
    let mut writer = corp("alice");
    put(&mut writer, "/realm_access/roles", json!(["writer"]));
    let write = |body: &'static [u8]| {
        let asked = Asked { method: "POST", body: Body::Whole(body), peer: WORKLOAD, ..bare };
        reason(&scene.with(&writer, asked))
    };
    assert_eq!(write(b"{\"n\":1}"), None);
    assert_eq!(write(b"{\"n\":1,\"n\":2}"), Some(Reason::JsonDuplicateKey));
    assert_eq!(write(b"{\"m\":1}"), Some(Reason::SchemaUndeclared));
    assert!(scene_with(PALISADE).decide(bare).record.reason == "handoff_missing");
}

#[test]
fn entries_hold_what_a_token_says_but_for_what_is_masked() {
    let scene = scene_with(PALISADE);
    let mut told = corp("bob");
    put(&mut told, "groups", json!(["staff"]));
    put(&mut told, "department", json!("sales-of-secrets"));
    put(&mut told, "scope", json!("audit"));
    let token = scene.corp.token(&told).unwrap();
    let record = scene.with(&told, READ).record;
    assert_eq!((record.principal.as_str(), record.proof), ("corp/bob", ledger::Proof::Jwt));
    let credential = record.credential.clone().unwrap();
    assert_eq!(credential.issuer.as_deref(), Some("corp"));
    assert_eq!(credential.groups, ["staff"]);
    assert_eq!(credential.scopes.as_deref(), Some(&["audit".to_owned()][..]));
    assert!(credential.expires_at_s.is_some_and(|at_s| at_s >= NOW_MS / 1000 + 300));
    assert_eq!(credential.attributes, BTreeMap::new());
    assert!(credential.masked["department"].is_some());
    let stored = ledger::Entry::Decision(record).encode().unwrap();
    let stored = std::str::from_utf8(stored.bytes()).unwrap();
    assert!(stored.contains("corp/bob"), "{stored}");
    let signature = token.rsplit('.').next().unwrap();
    for secret in [token.as_str(), signature, "sales-of-secrets"] {
        assert!(!stored.contains(secret), "{secret}");
    }
}
