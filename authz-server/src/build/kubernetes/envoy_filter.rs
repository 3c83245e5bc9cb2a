//! What no object of Istio can say, as patches of a workload's inbound listener.
//!
//! istiod's order is: metadata exchange, CUSTOM authorization, phase AUTHN, its own authentication, phase AUTHZ,
//! DENY and ALLOW policies, phase STATS. The filter must be before CUSTOM authorization, for the gate and the handoff. So
//! the instance that istiod inserted is taken out, and one of the same name is put before everything; istiod serves its
//! configuration by that name, wherever it stands.
//! INVARIANT: a merge of istiod's cannot set a value to false, zero or empty, so no patch tries to: what could not be
//! changed must be sound as istiod has it.

use super::super::filters::{EXT_AUTHZ_FILTER, EXT_AUTHZ_TYPE, RBAC_TYPE, WASM_TYPE, seconds};
use super::super::limiter;
use super::super::listener::{MANAGER_TYPE, http2_options};
use super::super::settings::{
    CONNECTION_IDLE_TIMEOUT_S, HEADERS_COUNT_MAX, HEADERS_KB_MAX, REQUEST_HEADERS_TIMEOUT_S,
    REQUEST_TIMEOUT_S, STREAM_IDLE_TIMEOUT_S, buffer_bytes,
};
use super::super::typed;
use super::super::yaml::Document;
use super::extension::resource_name;
use super::object::{insert, object, said};
use super::settings::Settings;
use super::workloads::Workload;
use crate::bundle::Bundle;
use palisade_core::canary;
use serde_json::{Value, json};

const ROUTER: &str = "envoy.filters.http.router";

const MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// Patches of a higher priority are applied later, so that what they insert first is first.
const PRIORITY: u32 = 1_000;

pub(super) fn envoy_filter(bundle: &Bundle, workload: &Workload<'_>, settings: &Settings) -> Document {
    let filter = resource_name(settings.istio, workload);
    let mut patches = vec![
        patch(
            "LISTENER",
            "MERGE",
            None,
            json!({
                // Held bodies must fit, and a little more: what is too large gets our refusal and not Envoy's.
                "per_connection_buffer_limit_bytes": buffer_bytes(workload.body_bytes_max()),
            }),
        ),
        patch("NETWORK_FILTER", "MERGE", Some(json!({ "name": MANAGER })), manager(workload)),
        removal(&filter),
        patch("HTTP_FILTER", "INSERT_FIRST", Some(json!({ "name": MANAGER })), discovered(&filter)),
        patch("HTTP_FILTER", "MERGE", Some(sub_filter(EXT_AUTHZ_FILTER)), ext_authz()),
    ];
    patches.extend(limits(bundle, workload));
    patches.push(patch("VIRTUAL_HOST", "ADD", None, canary_host()));
    let spec = json!({
        "workloadSelector": { "labels": workload.labels() },
        "priority": PRIORITY,
        "configPatches": patches,
    });
    said(
        &[
            "Puts the filter before CUSTOM authorization, which no phase of a TrafficExtension or WasmPlugin can: the",
            "instance that Istio inserted is taken out, and the same one put first. Without this object the server",
            "finds no handoff and denies every call. The rest are limits that Istio has no fields for, and",
            "`include_peer_certificate`, without which no workload is believed to be who it is.",
            "Paths: a normalised path stays as the mesh normalises it (a merge cannot switch that off, and other",
            "workloads' policies may rely on it); filter, server and service see the same one.",
        ],
        object(
            "networking.istio.io/v1alpha3",
            "EnvoyFilter",
            &workload.object_name(),
            Some(workload.namespace),
            json!({ "spec": spec }),
        ),
    )
}

fn patch(apply_to: &str, operation: &str, filter: Option<Value>, value: Value) -> Value {
    json!({
        "applyTo": apply_to,
        "match": inbound(filter),
        "patch": { "operation": operation, "value": value },
    })
}

fn removal(filter: &str) -> Value {
    json!({
        "applyTo": "HTTP_FILTER",
        "match": inbound(Some(sub_filter(filter))),
        "patch": { "operation": "REMOVE" },
    })
}

fn sub_filter(name: &str) -> Value {
    json!({ "name": MANAGER, "subFilter": { "name": name } })
}

fn inbound(filter: Option<Value>) -> Value {
    let mut matched = json!({ "context": "SIDECAR_INBOUND" });
    if let Some(filter) = filter {
        insert(&mut matched, "listener", json!({ "filterChain": { "filter": filter } }));
    }
    matched
}

/// As for an Envoy of our own, as far as a merge can say it.
fn manager(workload: &Workload<'_>) -> Value {
    let mut manager = json!({
        // Should the mesh unescape slashes, this workload does not.
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "common_http_protocol_options": {
            "idle_timeout": seconds(CONNECTION_IDLE_TIMEOUT_S),
            "max_headers_count": HEADERS_COUNT_MAX,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http2_protocol_options": http2_options(buffer_bytes(workload.body_bytes_max()), workload.has_upgrades()),
        "max_request_headers_kb": HEADERS_KB_MAX,
        "request_headers_timeout": seconds(REQUEST_HEADERS_TIMEOUT_S),
        "stream_idle_timeout": seconds(STREAM_IDLE_TIMEOUT_S),
        // The service sees the certificate of this connection, and none that a caller only tells of.
        "forward_client_cert_details": "SANITIZE_SET",
    });
    if !workload.has_streams() {
        insert(&mut manager, "request_timeout", seconds(REQUEST_TIMEOUT_S).into());
    }
    json!({ "name": MANAGER, "typed_config": typed(MANAGER_TYPE, manager) })
}

/// As istiod itself writes it, and so the same in every respect but its place: the listener waits for the first
/// configuration, and the agent may answer with a rule that denies all.
fn discovered(name: &str) -> Value {
    json!({
        "name": name,
        "config_discovery": {
            "config_source": {
                "ads": {},
                "initial_fetch_timeout": "0s",
                "resource_api_version": "V3",
            },
            "type_urls": [
                format!("type.googleapis.com/{WASM_TYPE}"),
                format!("type.googleapis.com/{RBAC_TYPE}"),
            ],
        },
    })
}

/// Those that ask a limiter go before the router, so behind all that may refuse a call; what they ask by stands in each
/// virtual host that istiod makes of the workload's ports. The mesh's own cluster is used, and so its certificates.
fn limits(bundle: &Bundle, workload: &Workload<'_>) -> Vec<Value> {
    let service = bundle
        .services
        .iter()
        .find(|service| workload.serves(&service.name) && !service.global_limits.is_empty());
    let (Some(service), Some(limiter)) = (service, &bundle.palisade.rate_limit_service) else {
        return Vec::new();
    };
    let Some(cluster) = limiter::cluster_in_mesh(limiter) else { return Vec::new() };
    let before_router = |filter| patch("HTTP_FILTER", "INSERT_BEFORE", Some(sub_filter(ROUTER)), filter);
    let filters = limiter::filters(Some(limiter), std::iter::once(service), &cluster);
    let mut patches: Vec<_> = filters.into_iter().map(before_router).collect();
    let asked = json!({ "rate_limits": limiter::rate_limits(service, limiter::Requests::OfPort) });
    patches.push(patch("VIRTUAL_HOST", "MERGE", None, asked));
    patches
}

fn ext_authz() -> Value {
    let settings =
        typed(EXT_AUTHZ_TYPE, json!({ "include_peer_certificate": true, "validate_mutations": true }));
    json!({ "name": EXT_AUTHZ_FILTER, "typed_config": settings })
}

/// A canary that everything let through must not reach the service.
fn canary_host() -> Value {
    json!({
        "name": canary::SERVICE,
        "domains": [canary::HOST, format!("{}:*", canary::HOST)],
        "routes": [{ "match": { "prefix": "/" }, "direct_response": { "status": 500 } }],
    })
}
