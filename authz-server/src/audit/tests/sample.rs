//! Ledgers for tests: entries that resemble real ones, and the real writer.

use std::path::Path;

use futures_util::future::join_all;

use crate::ledger::{
    Admin, AdminEvent, Conclusion, Decision, Drift, Entry, Epoch, Ledger, Outcome, Proof, Refusal, Side,
    Verdict,
};
use crate::state::LEDGER_DIRECTORY;

/// 2026-11-21T10:00:00Z.
pub(crate) const NOON_MS: u64 = 1_795_255_200_000;

/// A call id that was minted at this time.
pub(crate) fn id(at_ms: u64, number: u64) -> String {
    let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        "{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}",
        at_ms >> 16,
        at_ms & 0xffff,
        random >> 52,
        number & 0xfff,
        random & 0xffff_ffff_ffff
    )
}

pub(crate) fn decision(id: &str, at_ms: u64) -> Decision {
    Decision {
        decision_id: id.to_owned(),
        at_ms,
        service: "orders".to_owned(),
        operation: "getOrder".to_owned(),
        class: "read".to_owned(),
        method: "GET".to_owned(),
        host: "orders".to_owned(),
        path: "/orders/o-1".to_owned(),
        query_present: false,
        request_id: None,
        principal: "web".to_owned(),
        proof: Proof::ApiKey,
        workload: None,
        decision: Conclusion::Allow,
        reason: "policy_allowed".to_owned(),
        policies: vec!["storefront-reads".to_owned()],
        errors: Vec::new(),
        bundle_digest: "28".repeat(32),
        epoch: Epoch { server: "45".repeat(16), counter: 1 },
        handoff: "current".to_owned(),
        latency_us: 83,
        shadow: None,
        candidate: None,
        verdict: None,
        attempt: None,
        request_digest: None,
        asked: None,
        credential: None,
    }
}

pub(crate) fn denied(id: &str, at_ms: u64) -> Decision {
    Decision {
        operation: "deleteOrder".to_owned(),
        class: "delete".to_owned(),
        method: "DELETE".to_owned(),
        decision: Conclusion::Deny,
        reason: "policy_denied".to_owned(),
        policies: vec!["orders-are-kept".to_owned()],
        ..decision(id, at_ms)
    }
}

pub(crate) fn outcome(id: Option<&str>, at_ms: u64, status: u32) -> Outcome {
    Outcome {
        call_id: id.map(ToOwned::to_owned),
        at_ms,
        status,
        details: "via_upstream".to_owned(),
        flags: Vec::new(),
        duration_us: 1_370,
        request_bytes: 120,
        response_bytes: 300,
        upstream: Some("orders".to_owned()),
        upstream_host: Some("10.0.0.7:8080".to_owned()),
        method: "GET".to_owned(),
        host: "orders".to_owned(),
        path: "/orders/o-1".to_owned(),
        filter_reason: None,
    }
}

pub(crate) fn rejected(id: &str, at_ms: u64) -> Outcome {
    Outcome {
        details: "palisade_json_syntax".to_owned(),
        filter_reason: Some("json_syntax".to_owned()),
        upstream: None,
        upstream_host: None,
        ..outcome(Some(id), at_ms, 400)
    }
}

/// What the filter reports of the same call.
pub(crate) fn refusal(id: &str, at_ms: u64) -> Refusal {
    Refusal {
        call_id: id.to_owned(),
        at_ms,
        verdict: Verdict::Reject,
        reason: "json_syntax".to_owned(),
        place: None,
        service: "orders".to_owned(),
        operation: "createOrder".to_owned(),
        method: "POST".to_owned(),
        host: "orders".to_owned(),
        path: "/orders".to_owned(),
        peer: Some("spiffe://shop.example/web".to_owned()),
        attempt: None,
        retry: false,
        bundle_digest: "28".repeat(32),
        vm: "6b".repeat(8),
        sequence: 7,
    }
}

/// What the filter counted, with the call as the first one.
pub(crate) fn drift(id: &str, at_ms: u64) -> Drift {
    Drift {
        side: Side::Response,
        reason: "json_syntax".to_owned(),
        place: "response/body/items/*/price".to_owned(),
        service: "orders".to_owned(),
        operation: "listOrders".to_owned(),
        status: Some(200),
        peer: Some("spiffe://shop.example/web".to_owned()),
        count: 7,
        first_at_ms: at_ms.saturating_sub(9_000),
        last_at_ms: at_ms,
        call_id: id.to_owned(),
        bundle_digest: "28".repeat(32),
        vm: "6b".repeat(8),
        sequence: 8,
    }
}

pub(crate) fn admin(at_ms: u64) -> Entry {
    Entry::Admin(Admin { at_ms, event: AdminEvent::Start, detail: "epoch 1".to_owned() })
}

/// Records entries behind those that are there.
pub(crate) fn record(state: &Path, entries: &[Entry]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (ledger, _) = Ledger::open(&state.join(LEDGER_DIRECTORY)).unwrap();
    for entries in entries.chunks(1000) {
        let receipts = entries.iter().map(|entry| ledger.append(entry));
        for receipt in runtime.block_on(join_all(receipts)) {
            receipt.unwrap();
        }
    }
    runtime.block_on(ledger.close()).unwrap();
}
