//! One row per way in which a call is decided; each denial beside the allow that differs in one thing.

pub(crate) mod calls;
mod candidate;
pub(crate) mod masked;
mod persons;

use super::{Body, Call, Concluded, Decider, Decision, Given, HandoffState, sources};
use crate::bundle::Bundle;
use crate::digests::Digests;
use crate::identity::{ApiKeys, Sources};
use crate::ledger::Conclusion;
use crate::secrets::HandoffSecrets;
use crate::state::{Epoch, PreviousBundle};
use palisade_core::call_id::{CallId, CallIdMint};
use palisade_core::contract::BundleDigest;
use palisade_core::handoff::{Binding, Flags, HEADER, Handoff, Secret};
use palisade_core::reason::Reason;
use palisade_core::routes::OperationIndex;
use std::path::Path;

const NOW_MS: u64 = 1_763_700_000_000;
const KEY: &str = "example-key-of-web";
const WORKLOAD: &str = "spiffe://shop.example/ns/shop/sa/web";

fn demo() -> Bundle {
    Bundle::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")).unwrap()
}

fn decider() -> Decider {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let secrets = write("secret", &format!("{}\n{}\n", "01".repeat(32), "02".repeat(32)));
    let keys = write("keys", &ApiKeys::render([("web", KEY)]).unwrap());
    let bundle = demo();
    let given = Given { api_keys: Some(ApiKeys::read(&keys).unwrap().into()), ..Given::default() };
    let identity = sources(&bundle, &given, None).unwrap();
    Decider {
        bundle: bundle.into(),
        secrets: HandoffSecrets::read(&secrets).unwrap(),
        identity,
        given,
        epoch: Epoch { server: "test".to_owned(), counter: 3 },
        previous: vec![
            PreviousBundle { digest: BundleDigest([8; 32]), replaced_at_ms: NOW_MS - 1000 },
            PreviousBundle { digest: BundleDigest([7; 32]), replaced_at_ms: NOW_MS - 2000 },
        ],
        digests: Digests::new(&[5; 32]),
        candidate: None,
    }
}

/// A request as the proxy passes it on, and the handoff that the filter gave it.
#[derive(Clone)]
struct Asked {
    method: &'static str,
    host: &'static str,
    path: &'static str,
    key: Option<&'static str>,
    peer: &'static str,
    show_certificate: bool,
    secret: [u8; 32],
    bundle: Option<BundleDigest>,
    operation: Option<u32>,
    minted_at_ms: u64,
    handoff: Option<String>,
    send_handoff: bool,
    flags: Flags,
}

impl Default for Asked {
    fn default() -> Self {
        Asked {
            method: "GET",
            host: "orders",
            path: "/orders?limit=1",
            key: Some(KEY),
            peer: "",
            show_certificate: true,
            secret: [1; 32],
            bundle: None,
            operation: None,
            minted_at_ms: NOW_MS,
            handoff: None,
            send_handoff: true,
            flags: Flags::default(),
        }
    }
}

fn call_id(minted_at_ms: u64) -> CallId {
    CallIdMint::new([7; 16]).mint(minted_at_ms)
}

fn decide(decider: &Decider, asked: &Asked) -> Concluded {
    let binding = Binding { method: asked.method, authority: asked.host, target: asked.path };
    let path = asked.path.split('?').next().unwrap();
    let method = palisade_core::method::Method::parse(asked.method.as_bytes()).unwrap();
    let found = decider
        .bundle
        .contract
        .find(asked.host, method, path.split('/').skip(1))
        .map(|matched| matched.index);
    let handoff = Handoff {
        bundle: asked.bundle.unwrap_or(decider.bundle.digest),
        operation: asked.operation.map(OperationIndex).or(found.ok()).unwrap_or(OperationIndex(0)),
        flags: asked.flags,
        call_id: call_id(asked.minted_at_ms),
    };
    let text =
        asked.handoff.clone().unwrap_or_else(|| handoff.encode(&Secret::from_bytes(asked.secret), binding));
    let mut pairs: Vec<(&[u8], &[u8])> = vec![
        (b":method", asked.method.as_bytes()),
        (b":path", asked.path.as_bytes()),
        (b":authority", asked.host.as_bytes()),
        (b":scheme", b"http"),
        (b"x-request-id", b"r-1"),
    ];
    if asked.send_handoff {
        pairs.push((HEADER.as_bytes(), text.as_bytes()));
    }
    pairs.extend(asked.key.map(|key| (&b"x-api-key"[..], key.as_bytes())));
    let fallback = CallIdMint::new([9; 16]).mint(NOW_MS);
    let peer_certificate = if asked.show_certificate { certificate_of(asked.peer) } else { String::new() };
    decider.decide(
        Call { pairs: &pairs, peer: asked.peer, peer_certificate: &peer_certificate, body: Body::None },
        NOW_MS,
        fallback,
    )
}

fn certificate_of(peer: &str) -> String {
    if peer.is_empty() {
        return String::new();
    }
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(peer.try_into().unwrap())];
    let pem = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
    percent_encoding::utf8_percent_encode(&pem, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn check(asked: Asked, expected: Result<&str, Reason>) -> Concluded {
    let concluded = decide(&decider(), &asked);
    match (&concluded.decision, expected) {
        (Decision::Allow, Ok(policy)) => {
            assert_eq!(concluded.record.policies, [policy]);
            assert_eq!(concluded.record.decision, Conclusion::Allow);
        }
        (Decision::Deny { reason }, Err(expected)) => {
            assert_eq!(*reason, expected);
            assert_eq!(concluded.record.decision, Conclusion::Deny);
            assert_eq!(concluded.record.reason, expected.code());
        }
        (found, expected) => panic!("{found:?} instead of {expected:?}"),
    }
    concluded
}

#[test]
fn an_allow_carries_its_policy_and_a_whole_record() {
    let Concluded { record, call_id: id, handoff, .. } = check(Asked::default(), Ok("storefront-orders"));
    assert_eq!(id, call_id(NOW_MS), "the call id is the filter's");
    assert_eq!(handoff, HandoffState::Current);
    let shown = (
        record.service.as_str(),
        record.operation.as_str(),
        record.class.as_str(),
        record.principal.as_str(),
    );
    assert_eq!(shown, ("orders", "listOrders", "read", "web"));
    assert_eq!((record.path.as_str(), record.query_present), ("/orders", true), "no query in the record");
    assert_eq!((record.request_id.as_deref(), record.epoch.counter), (Some("r-1"), 3));
    assert_eq!(record.decision_id, id.to_string());
}

#[test]
fn a_denied_caller_reads_the_advice_of_the_forbid_that_denies_and_of_nothing_else() {
    let decider = decider();
    let advice = |asked: Asked| decide(&decider, &asked).advice;
    let page = |path| Asked { path, ..Asked::default() };
    assert_eq!(advice(page("/orders?limit=101")).as_deref(), Some("ask for at most 100 orders at once"));
    assert_eq!(advice(page("/orders?limit=100")), None, "it is allowed, whatever a shadow says");
    assert_eq!(advice(Asked { key: None, ..Asked::default() }), None, "no policy permits it");
    let deletion = Asked { method: "DELETE", path: "/orders/7", ..Asked::default() };
    assert_eq!(advice(deletion), None, "the forbid has none");
    let grpc = Asked { flags: Flags::default().with(Flags::GRPC), ..page("/orders?limit=101") };
    assert_eq!(advice(grpc), None, "a gRPC caller reads a status message, which is fixed");
}

#[test]
fn policies_decide() {
    check(Asked { method: "DELETE", path: "/orders/7", ..Asked::default() }, Err(Reason::PolicyDenied));
    check(Asked { key: None, ..Asked::default() }, Err(Reason::PolicyDenied));
    check(Asked { key: None, peer: WORKLOAD, ..Asked::default() }, Ok("storefront-orders"));
    check(
        Asked { key: None, peer: WORKLOAD, show_certificate: false, ..Asked::default() },
        Err(Reason::IdentityInvalid),
    );
    check(
        Asked { key: None, peer: "spiffe://shop.example/ns/shop/sa/other", ..Asked::default() },
        Err(Reason::PolicyDenied),
    );
    let denied =
        check(Asked { method: "DELETE", path: "/orders/7", ..Asked::default() }, Err(Reason::PolicyDenied));
    assert_eq!(denied.record.policies, ["orders-are-kept"], "a forbid is named");
}

#[test]
fn a_credential_that_does_not_hold_is_a_denial_not_a_weaker_identity() {
    check(Asked { key: Some("wrong"), ..Asked::default() }, Err(Reason::IdentityInvalid));
    check(Asked { key: Some("wrong"), peer: WORKLOAD, ..Asked::default() }, Err(Reason::IdentityInvalid));
    check(
        Asked { key: None, peer: "spiffe://other.example/x", ..Asked::default() },
        Err(Reason::IdentityInvalid),
    );
    check(Asked { key: None, peer: "not an id", ..Asked::default() }, Err(Reason::IdentityInvalid));
    let through = check(Asked { peer: WORKLOAD, ..Asked::default() }, Ok("storefront-orders"));
    assert_eq!(
        (through.record.principal.as_str(), through.record.workload.as_deref()),
        ("web", Some(WORKLOAD))
    );
    let keyless = Decider { identity: Sources { api_keys: None, ..decider().identity }, ..decider() };
    let concluded = decide(&keyless, &Asked::default());
    assert_eq!(concluded.decision, Decision::Deny { reason: Reason::IdentityInvalid });
}

#[test]
fn only_a_genuine_handoff_leads_to_the_policies() {
    let base = Asked::default();
    check(Asked { send_handoff: false, peer: WORKLOAD, ..base.clone() }, Err(Reason::HandoffMissing));
    check(Asked { handoff: Some("forged".into()), ..base.clone() }, Err(Reason::HandoffForged));
    check(Asked { secret: [3; 32], ..base.clone() }, Err(Reason::HandoffForged));
    let previous = check(Asked { secret: [2; 32], ..base.clone() }, Ok("storefront-orders"));
    assert_eq!(previous.handoff, HandoffState::PreviousSecret);
    check(Asked { minted_at_ms: NOW_MS - 11 * 60 * 1000, ..base.clone() }, Err(Reason::HandoffStale));
    check(Asked { minted_at_ms: NOW_MS + 11 * 60 * 1000, ..base.clone() }, Err(Reason::HandoffStale));
    check(Asked { operation: Some(1), ..base.clone() }, Err(Reason::HandoffMismatch));
    check(Asked { bundle: Some(BundleDigest([9; 32])), ..base }, Err(Reason::HandoffBundleUnknown));
}

#[test]
fn a_handoff_of_another_request_is_a_forgery() {
    let binding = Binding { method: "GET", authority: "orders", target: "/orders" };
    let decider = decider();
    let handoff = Handoff {
        bundle: decider.bundle.digest,
        operation: OperationIndex(0),
        flags: Flags::default(),
        call_id: call_id(NOW_MS),
    };
    let text = handoff.encode(&Secret::from_bytes([1; 32]), binding);
    let asked = Asked { method: "DELETE", path: "/orders/7", handoff: Some(text), ..Asked::default() };
    check(asked, Err(Reason::HandoffForged));
}

#[test]
fn the_bundle_before_is_honoured_for_its_time_and_seen() {
    let older = Asked { bundle: Some(BundleDigest([7; 32])), ..Asked::default() };
    assert_eq!(check(older, Ok("storefront-orders")).handoff, HandoffState::PreviousBundle);
    let asked = Asked { bundle: Some(BundleDigest([8; 32])), operation: Some(99), ..Asked::default() };
    let concluded = check(asked.clone(), Ok("storefront-orders"));
    assert_eq!(concluded.handoff, HandoffState::PreviousBundle);
    assert_eq!(concluded.record.handoff, "previous_bundle");
    let mut late = decider();
    late.previous = vec![PreviousBundle { digest: BundleDigest([8; 32]), replaced_at_ms: NOW_MS - 600_001 }];
    assert_eq!(decide(&late, &asked).decision, Decision::Deny { reason: Reason::HandoffBundleUnknown });
}

#[test]
fn what_cannot_be_read_or_matched_is_denied_and_recorded() {
    let unknown = check(
        Asked { path: "/nothing", operation: Some(0), ..Asked::default() },
        Err(Reason::HandoffMismatch),
    );
    assert_eq!(unknown.record.path, "/nothing");
    check(Asked { path: "/orders/../x", ..Asked::default() }, Err(Reason::PathDotSegment));
    check(Asked { host: "unknown", ..Asked::default() }, Err(Reason::HandoffMismatch));
    let nothing = decider().decide(
        Call { pairs: &[], peer: "", peer_certificate: "", body: Body::None },
        NOW_MS,
        call_id(NOW_MS),
    );
    assert_eq!(nothing.decision, Decision::Deny { reason: Reason::MethodUnknown });
}

#[test]
fn the_canary_is_always_denied() {
    let canary = Asked { host: "canary.palisade.internal", path: "/.palisade/canary", ..Asked::default() };
    check(canary, Err(Reason::Canary));
}
