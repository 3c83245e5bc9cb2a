//! What is masked stands in no byte of an entry, whichever decision it is of; what is not masked, and what nobody may
//! ever write, likewise.

use super::calls::{Calls, edited};
use crate::bundle::Bundle;
use crate::check::tests::{Asked, NOW_MS, decide, decider};
use crate::check::{Body, Call, Concluded, Decision};
use crate::ledger::{Durability, Entry};
use palisade_core::call_id::CallIdMint;
use std::collections::BTreeMap;

/// It fails on numbers near the end.
const DOUBLED: &str = "\n@id(\"doubled\")\nforbid (principal, action == Action::\"payments.refundPayment\", resource)\nwhen { context.body.amount_cents * 2 > 9000000000000000000 };\n";

/// A shadow that asks for a masked header.
const NO_STRANGERS: &str = "\n@id(\"no-strangers\")\n@mode(\"shadow\")\nforbid (principal, action == Action::\"orders.listOrders\", resource)\nwhen { context.header has \"x-customer\" && context.header[\"x-customer\"] like \"secret*\" };\n";

/// The demo bundle with policies that fail on numbers near the end, and everything masked that they ask for.
pub(crate) fn masked_demo() -> tempfile::TempDir {
    edited(
        "policies",
        &[
            ("support.cedar", "", DOUBLED),
            ("support.cedar", "", NO_STRANGERS),
            (
                "palisade.yaml",
                "      x-customer: digest\n",
                "      x-customer: digest\n      x-request-id: drop\n",
            ),
            (
                "services/payments/service.yaml",
                "        /note: drop\n",
                "        /note: digest\n        /amount_cents: drop\n",
            ),
        ],
    )
}

fn stored(concluded: &Concluded) -> String {
    let stored = Entry::Decision(concluded.record.clone()).encode().unwrap();
    String::from_utf8(stored.bytes().to_vec()).unwrap()
}

#[test]
fn values_in_masked_fields_stand_in_no_byte_of_an_entry() {
    const CALLS: usize = 20_000;
    let folder = masked_demo();
    let mut calls = Calls::of(Bundle::load(folder.path()).unwrap_or_else(|error| panic!("{error}")), 3);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut secrets = 0;
    for _ in 0..CALLS {
        let concluded = calls.next();
        let text = stored(&concluded);
        for secret in &calls.secrets {
            assert!(!text.contains(secret.as_str()), "`{secret}` stands in {text}");
        }
        assert!(!text.contains("that-nobody-guesses"), "an API key stands in {text}");
        secrets += calls.secrets.len();
        *reasons.entry(concluded.record.reason.clone()).or_default() += 1;
    }
    // Each way out of a decision, those with errors among them.
    for reason in [
        "policy_allowed",
        "policy_denied",
        "policy_error",
        "parameter_malformed",
        "handoff_missing",
        "handoff_forged",
        "path_dot_segment",
        "canary",
        "json_syntax",
        "identity_invalid",
    ] {
        assert!(reasons.get(reason).is_some_and(|count| *count >= 10), "{reason}: {reasons:?}");
    }
    assert!(secrets > CALLS, "{secrets} values in masked fields");
    // Without a mask the same policy tells the number that it failed on, so there was something to hide.
    let open = edited(
        "policies",
        &[
            ("support.cedar", "", DOUBLED),
            ("services/payments/service.yaml", "    mask:\n      body:\n        /note: drop\n", ""),
        ],
    );
    let mut calls = Calls::of(Bundle::load(open.path()).unwrap(), 3);
    let failed =
        (0..CALLS).map(|_| calls.next().record).find(|record| record.reason == "policy_error").unwrap();
    let number = failed.asked.unwrap().body["/amount_cents"].to_string();
    assert!(failed.errors.concat().contains(number.trim_start_matches('-')), "{:?}", failed.errors);
    println!("{CALLS} calls, {secrets} masked values, none stored: {reasons:?}");
}

#[test]
fn what_policies_were_asked_is_recorded_by_name() {
    let decided = |target: &'static str| decide(&decider(), &Asked { path: target, ..Asked::default() });
    let allowed = decided("/orders?limit=7&phone=%2B49301").record;
    let asked = allowed.asked.unwrap();
    assert_eq!(asked.query.get("limit"), Some(&7.into()));
    assert_eq!(asked.masked.get("query.phone"), Some(&None), "dropped");
    assert!(asked.not_replayable.is_empty(), "no policy asks for it");
    let denied = decided("/orders?limit=101").record;
    assert_eq!(denied.asked.unwrap().query.get("limit"), Some(&101.into()), "also of a denial");
    let unreadable = decided("/orders?limit=many").record;
    assert_eq!((unreadable.reason.as_str(), unreadable.asked), ("parameter_malformed", None));
    let order = decided("/orders/o-17").record.asked.unwrap();
    assert_eq!(order.path.get("orderId"), Some(&"o-17".into()));
}

#[test]
fn a_masked_value_that_a_policy_reads_cannot_be_decided_on_again() {
    let folder = masked_demo();
    let decider = crate::check::Decider { bundle: Bundle::load(folder.path()).unwrap().into(), ..decider() };
    let field = |operation: &str, label: &str| {
        let found = decider.bundle.operations().find(|(matched, _)| &*matched.operation.name == operation);
        let recording = decider.bundle.recordings.operation(Some(found.unwrap().0.index));
        recording.fields.iter().find(|field| &*field.label == label).map(|field| field.is_read)
    };
    assert_eq!(field("listOrders", "header.x-customer"), Some(true), "a shadow reads it");
    assert_eq!(field("listOrders", "query.phone"), Some(false));
    assert_eq!(field("refundPayment", "body./amount_cents"), Some(true));
    assert_eq!(field("refundPayment", "body./note"), Some(false));
    let whole = edited(
        "policies",
        &[(
            "support.cedar",
            "",
            "\n@id(\"whole\")\nforbid (principal, action == Action::\"orders.listOrders\", resource)\nwhen { context.query == context.query };\n",
        )],
    );
    let bundle = Bundle::load(whole.path()).unwrap_or_else(|error| panic!("{error}"));
    let listed = bundle.operations().find(|(matched, _)| &*matched.operation.name == "listOrders").unwrap().0;
    let read = |label: &str| {
        let fields = &bundle.recordings.operation(Some(listed.index)).fields;
        fields.iter().find(|field| &*field.label == label).unwrap().is_read
    };
    assert!(read("query.phone") && !read("header.x-customer"), "a record that is asked for as a whole");
}

#[test]
fn equal_masked_values_join_and_equal_requests_too() {
    let decider = decider();
    let with = |customer: &str, path: &'static str| {
        let headers: [(&[u8], &[u8]); 6] = [
            (b":method", b"GET"),
            (b":path", path.as_bytes()),
            (b":authority", b"orders"),
            (b"x-customer", customer.as_bytes()),
            (b"x-envoy-attempt-count", b"3"),
            (b"x-palisade-handoff", b""),
        ];
        let text = {
            let binding =
                palisade_core::handoff::Binding { method: "GET", authority: "orders", target: path };
            let flags = palisade_core::handoff::Flags::GRPC;
            let handoff = palisade_core::handoff::Handoff {
                bundle: decider.bundle.digest,
                operation: decider
                    .bundle
                    .contract
                    .find("orders", palisade_core::method::Method::Get, ["orders"].into_iter())
                    .unwrap()
                    .index,
                flags,
                call_id: super::call_id(NOW_MS),
            };
            handoff.encode(&palisade_core::handoff::Secret::from_bytes([1; 32]), binding)
        };
        let mut pairs = headers.to_vec();
        pairs[5].1 = text.as_bytes();
        let call = Call { pairs: &pairs, peer: "", peer_certificate: "", body: Body::None };
        decider.decide(call, NOW_MS, CallIdMint::new([9; 16]).mint(NOW_MS)).record
    };
    let (one, same, other) = (with("c-1", "/orders"), with("c-1", "/orders?limit=2"), with("c-2", "/orders"));
    let digest = |record: &crate::ledger::Decision| {
        record.asked.as_ref().unwrap().masked.get("header.x-customer").cloned().unwrap().unwrap()
    };
    assert_eq!((digest(&one), digest(&one).len()), (digest(&same), 32));
    assert_ne!(digest(&one), digest(&other));
    assert_eq!(one.request_digest, other.request_digest, "the digest is of method, host, target and body");
    assert_ne!(one.request_digest, same.request_digest);
    assert_eq!(one.request_digest.as_ref().map(String::len), Some(32));
    assert_eq!(one.attempt, Some(3));
    let verdict = one.verdict.unwrap();
    assert!(verdict.grpc && !verdict.body_judged && !verdict.upgrade);
}

#[test]
fn a_denial_is_durable_whatever_its_class_is_allowed_to_be() {
    let folder = edited("policies", &[("palisade.yaml", "    read: durable\n", "    read: buffered\n")]);
    let decider = crate::check::Decider { bundle: Bundle::load(folder.path()).unwrap().into(), ..decider() };
    let durability = |asked: &Asked| {
        let concluded = decide(&decider, asked);
        (concluded.decision == Decision::Allow, concluded.durability)
    };
    let asked = Asked::default();
    assert_eq!(durability(&asked), (true, Durability::Buffered));
    assert_eq!(
        durability(&Asked { path: "/orders?limit=101", ..asked.clone() }),
        (false, Durability::Durable)
    );
    assert_eq!(durability(&Asked { send_handoff: false, ..asked.clone() }), (false, Durability::Durable));
    assert_eq!(durability(&Asked { path: "/nothing", ..asked.clone() }), (false, Durability::Durable));
    assert_eq!(
        durability(&Asked { method: "DELETE", path: "/orders/o-1", ..asked }),
        (false, Durability::Durable)
    );
}
