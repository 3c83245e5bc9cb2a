//! The HTTP filters, in the order that everything hangs on: ours, ext_authz as decision and gate, limiter, router.

use super::bodies;
use super::fails_open;
use super::limiter;
use super::settings::CHECK_TIMEOUT_MS;
use super::typed;
use super::wiring::Wiring;
use crate::bundle::Bundle;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_core::report::CLUSTER_VARIABLE;
use serde_json::{Value, json};

/// Our filter's place in the chain, and its name in extension discovery.
pub const PALISADE_FILTER: &str = "palisade";

/// Dynamic metadata of decisions stands under this name, too.
pub const EXT_AUTHZ_FILTER: &str = "envoy.filters.http.ext_authz";

/// Where the proxy's environment holds the handoff secret. It is never in a configuration.
pub const SECRET_VARIABLE: &str = "PALISADE_HANDOFF_SECRET";

/// The filter state in which access logs find the call id. The host puts `wasm.` before the filter's own name for it.
pub const CALL_ID_STATE: &str = "wasm.palisade_call_id";

/// Cluster of the authorization server.
pub(super) const SERVER_CLUSTER: &str = "palisade-server";

pub(super) const WASM_TYPE: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";

/// What stands in for the filter where its module cannot be had: a rule that denies everything.
pub(super) const RBAC_TYPE: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";

pub(super) const EXT_AUTHZ_TYPE: &str = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";

/// For an Envoy of our own.
pub(super) fn chain(bundle: &Bundle, wiring: &Wiring, compiled: &[u8], responses: Responses) -> Vec<Value> {
    let configuration = typed("google.protobuf.BytesValue", json!({ "value": STANDARD.encode(compiled) }));
    // Services whose decisions need bodies say so themselves; all others do not send them to the server.
    let mut ext_authz = ext_authz(&bodies::gate());
    if let Some(settings) = ext_authz.as_object_mut() {
        // A decision never changes the route: what was decided on is what is routed.
        settings.insert("clear_route_cache".to_owned(), false.into());
        settings.insert("validate_mutations".to_owned(), true.into());
    }
    let mut vm = vm(wiring);
    if let Some(vm) = vm.as_object_mut() {
        // A trap takes down every plugin of its VM; nobody else may share ours.
        vm.insert("vm_id".to_owned(), PALISADE_FILTER.into());
    }
    let mut chain =
        vec![json!({ "name": PALISADE_FILTER, "typed_config": wasm(vm, configuration, responses) })];
    chain.extend(fails_open::filters(&bundle.contract, ext_authz));
    chain.extend(limits(bundle));
    chain.push(router());
    chain
}

/// Those that ask a limiter, where the bundle has limits for one.
pub(super) fn limits(bundle: &Bundle) -> Vec<Value> {
    let limiter = bundle.palisade.rate_limit_service.as_ref();
    limiter::filters(limiter, bundle.services.iter(), limiter::LIMITER_CLUSTER)
}

/// How Envoy calls a server of ours.
pub(super) fn rpc_cluster(cluster: &str, timeout: &str) -> Value {
    json!({ "envoy_grpc": { "cluster_name": cluster }, "timeout": timeout })
}

/// Whether the plugin can keep a response back until its body was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Responses {
    GoOn,
    Held,
}

/// The plugin. A trap restarts its VM; until then, and whenever it cannot run, requests are refused.
///
/// For requests `allow_on_headers_stop_iteration` is not needed: ext_authz holds the head, and a proxy that does not know
/// the field would silently not hold it. Nothing else holds a response, so that it is on where bodies of responses are
/// enforced, in an Envoy of our own, whose version is known.
pub(super) fn wasm(vm: Value, configuration: Value, responses: Responses) -> Value {
    let mut config = json!({
        "name": PALISADE_FILTER,
        "root_id": PALISADE_FILTER,
        "failure_policy": "FAIL_RELOAD",
        "vm_config": vm,
        "configuration": configuration,
    });
    if let (Responses::Held, Some(config)) = (responses, config.as_object_mut()) {
        config.insert("allow_on_headers_stop_iteration".to_owned(), true.into());
    }
    typed(WASM_TYPE, json!({ "config": config }))
}

pub(super) fn vm(wiring: &Wiring) -> Value {
    json!({
        "runtime": "envoy.wasm.runtime.v8",
        "code": { "local": { "filename": wiring.filter.display().to_string() } },
        "environment_variables": {
            "host_env_keys": [SECRET_VARIABLE],
            "key_values": { CLUSTER_VARIABLE: SERVER_CLUSTER },
        },
    })
}

/// What all targets have in common: the fields that Istio's mesh configuration can express.
pub(super) fn ext_authz(with_request_body: &Value) -> Value {
    typed(
        EXT_AUTHZ_TYPE,
        json!({
            "transport_api_version": "V3",
            "grpc_service": rpc_cluster(SERVER_CLUSTER, &millis(CHECK_TIMEOUT_MS)),
            // The server demands exactly one name in a peer's certificate, and the proxy's word for it is only the first.
            // Istio's provider has no such field: there the EnvoyFilter that puts our filter first merges it in.
            "include_peer_certificate": true,
            "failure_mode_allow": false,
            // No server, no decision: a refusal. 503 would be truer to the cause, but callers retry it, and an outage of
            // the one server that all proxies share is when a storm of retries hurts most. The access log tells the two
            // apart: its details are `ext_authz_error` here, `ext_authz_denied` for a decision.
            "status_on_error": { "code": "Forbidden" },
            // The gate. It is always there: the canary, which every contract has, is an operation with a body.
            "with_request_body": with_request_body,
        }),
    )
}

/// For operations that are streams: ext_authz decides on the head and holds nothing.
pub(super) fn ungated() -> Value {
    per_route(json!({ "disable_request_body_buffering": true }))
}

/// What ext_authz does differently for one route, or for all of a virtual host.
pub(super) fn per_route(check_settings: Value) -> Value {
    let per_route = typed(
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
        json!({ "check_settings": check_settings }),
    );
    json!({ EXT_AUTHZ_FILTER: per_route })
}

pub(super) fn router() -> Value {
    let router = typed("envoy.extensions.filters.http.router.v3.Router", json!({}));
    json!({ "name": "envoy.filters.http.router", "typed_config": router })
}

/// A duration in the notation of protocol buffers' JSON.
pub(super) fn millis(milliseconds: u64) -> String {
    match milliseconds % 1_000 {
        0 => format!("{}s", milliseconds / 1_000),
        rest => format!("{}.{rest:03}s", milliseconds / 1_000),
    }
}

pub(super) fn seconds(seconds: u64) -> String {
    format!("{seconds}s")
}
