//! What istiod must know of the server: providers of decisions and of access logs, as values of istiod's Helm chart.
//!
//! INVARIANT: no provider fails open, and each that a policy or a Telemetry names is here.

use super::super::bodies;
use super::super::filters::{CALL_ID_STATE, millis};
use super::super::listener::LOGGED_HEADERS;
use super::super::settings::CHECK_TIMEOUT_MS;
use super::AUTHZ_PORT;
use super::settings::Settings;
use super::workloads::Workload;
use crate::bundle::Bundle;
use serde_json::{Value, json};

/// Decides on the head and holds the body. No provider's name begins with another's: istiod tells them apart by prefix.
const GATED: &str = "palisade-gated";

/// Decides on the head, and holds nothing: for workloads that stream.
const STREAMING: &str = "palisade-streaming";

/// Takes access logs.
pub(super) const OUTCOMES: &str = "palisade-outcomes";

/// Who decides for a workload.
pub(super) fn provider_of(workload: &Workload<'_>) -> &'static str {
    if workload.is_gated() { GATED } else { STREAMING }
}

pub(super) fn values(bundle: &Bundle, workloads: &[Workload<'_>], settings: &Settings) -> Value {
    let mut providers = Vec::new();
    for name in [GATED, STREAMING] {
        if workloads.iter().any(|workload| provider_of(workload) == name) {
            providers
                .push(json!({ "name": name, "envoyExtAuthzGrpc": authz(name == GATED, bundle, settings) }));
        }
    }
    let log = json!({
        "service": settings.server_host(),
        "port": AUTHZ_PORT,
        "logName": super::APP,
        "filterStateObjectsToLog": [CALL_ID_STATE],
        "additionalRequestHeadersToLog": LOGGED_HEADERS,
    });
    providers.push(json!({ "name": OUTCOMES, "envoyHttpAls": log }));
    json!({ "meshConfig": { "extensionProviders": providers } })
}

fn authz(gated: bool, bundle: &Bundle, settings: &Settings) -> Value {
    let mut provider = json!({
        "service": settings.server_host(),
        "port": AUTHZ_PORT,
        // Istio's own default is ten minutes.
        "timeout": millis(CHECK_TIMEOUT_MS),
        "failOpen": false,
        "statusOnError": "403",
    });
    if gated {
        let bytes = bodies::of_all(bundle);
        let mut gate = json!({ "maxRequestBytes": bytes, "allowPartialMessage": true });
        if bytes > bodies::GATE_BYTES {
            super::object::insert(&mut gate, "packAsBytes", true.into());
        }
        super::object::insert(&mut provider, "includeRequestBodyInCheck", gate);
    }
    provider
}
