//! The listener and its connection manager: what is let in at all, before any filter sees it.
//!
//! INVARIANT: Envoy hands on the request as it was sent, or refuses it; it rewrites neither path nor host. So the bytes
//! that the filter judged are those that the server decides on and the service gets.

use super::clusters::{socket_address, tls_context};
use super::filters::{self, CALL_ID_STATE, Responses, SERVER_CLUSTER, millis, seconds};
use super::istio;
use super::routes::{self, has_streams};
use super::settings::{
    ACCESS_LOG_BUFFER_BYTES, ACCESS_LOG_FLUSH_MS, CONCURRENT_STREAMS_MAX, CONNECTION_IDLE_TIMEOUT_S,
    HEADERS_COUNT_MAX, HEADERS_KB_MAX, REQUEST_HEADERS_TIMEOUT_S, REQUEST_TIMEOUT_S, STREAM_IDLE_TIMEOUT_S,
    buffer_bytes, connection_window_bytes,
};
use super::typed;
use super::wiring::{MutualTls, Target, Wiring};
use crate::bundle::Bundle;
use palisade_core::contract::{Contract, Enforcement, Operation};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) const MANAGER_TYPE: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// What an access log tells of a request's headers. A handoff that is still there belongs to a call that ended without a
/// decision; it goes to the server that it is made for, and is good for this one request and a few minutes.
pub(super) const LOGGED_HEADERS: [&str; 2] = ["x-request-id", palisade_core::handoff::HEADER];

pub(super) fn listener(bundle: &Bundle, wiring: &Wiring, contract: &[u8]) -> Value {
    let manager = match wiring.target {
        Target::Envoy => manager(bundle, wiring, contract),
        Target::Sidecar => istio::manager(bundle, wiring),
    };
    let manager = json!({ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager });
    let mut chain = json!({ "filters": [manager] });
    if let (Some(tls), Some(chain)) = (&wiring.listener_tls, chain.as_object_mut()) {
        chain.insert("transport_socket".to_owned(), downstream_tls(tls));
    }
    let mut listener = json!({ "name": "inbound", "address": socket_address(wiring.listen) });
    if let Some(listener) = listener.as_object_mut() {
        if wiring.target == Target::Envoy {
            let bytes = buffer_bytes(body_bytes_max(&bundle.contract));
            listener.insert("per_connection_buffer_limit_bytes".to_owned(), bytes.into());
        }
        listener.insert("filter_chains".to_owned(), json!([chain]));
    }
    listener
}

/// The connection manager of an Envoy of our own.
///
/// On paths: `normalize_path` and `merge_slashes` would resolve `/a/../b` and `//b` silently, so that caller, filter and
/// service speak of different paths; and Envoy's own rejections carry neither reason nor decision id, nor do they
/// reach the ledger. All of it is off: the filter sees each spelling and refuses it with its reason. Should the filter
/// be missing, the first route of each service still answers 400 to every path with a second spelling (see `routes`).
/// Underscores in header names are refused by Envoy itself, because no route could do it.
/// A certificate that a caller only tells of is no identity, and services do not get to see one either. Where some
/// callers are believed, the server must see it from whoever has a certificate, and says whether it believes them.
fn forwarded_certificates(bundle: &Bundle) -> &'static str {
    match bundle.palisade.identity.forwarded_client_cert {
        Some(_) => "FORWARD_ONLY",
        None => "SANITIZE",
    }
}

fn manager(bundle: &Bundle, wiring: &Wiring, compiled: &[u8]) -> Value {
    let contract = &bundle.contract;
    let mut manager = typed(
        MANAGER_TYPE,
        json!({
            "stat_prefix": "palisade",
            "codec_type": "AUTO",
            "normalize_path": false,
            "merge_slashes": false,
            "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
            "common_http_protocol_options": {
                "idle_timeout": seconds(CONNECTION_IDLE_TIMEOUT_S),
                "max_headers_count": HEADERS_COUNT_MAX,
                "headers_with_underscores_action": "REJECT_REQUEST",
            },
            "http2_protocol_options": http2(contract),
            "max_request_headers_kb": HEADERS_KB_MAX,
            "request_headers_timeout": seconds(REQUEST_HEADERS_TIMEOUT_S),
            "stream_idle_timeout": seconds(STREAM_IDLE_TIMEOUT_S),
            // The caller is whoever holds the connection, and nobody is internal: Envoy's own headers, by which it could
            // be made to retry, are removed. `internal_address_config` must be absent for that: present and empty, it
            // counts all private addresses as internal.
            "use_remote_address": true,
            "forward_client_cert_details": forwarded_certificates(bundle),
            // A caller's request id is kept, so that its retries can be recognised in the ledger. It is an attribute and
            // joins nothing; who sends none gets one.
            "generate_request_id": true,
            "preserve_external_request_id": true,
        }),
    );
    if let Some(manager) = manager.as_object_mut() {
        if !has_streams(contract) {
            manager.insert("request_timeout".to_owned(), seconds(REQUEST_TIMEOUT_S).into());
        }
        let upgrades = upgrades(contract);
        if !upgrades.is_empty() {
            // For all routes: which operation declares it the filter knows, and it says so when it refuses.
            let on = |protocol: &&str| json!({ "upgrade_type": protocol });
            manager.insert("upgrade_configs".to_owned(), upgrades.iter().map(on).collect());
        }
        manager.insert("access_log".to_owned(), json!([access_log(true)]));
        manager.insert("route_config".to_owned(), routes::routes(bundle));
        manager.insert(
            "http_filters".to_owned(),
            filters::chain(contract, wiring, compiled, responses(contract)).into(),
        );
    }
    manager
}

/// The stream's window is also the limit of what is held of a body over HTTP/2.
fn http2(contract: &Contract) -> Value {
    http2_options(buffer_bytes(body_bytes_max(contract)), !upgrades(contract).is_empty())
}

/// Limits of HTTP/2, for every target.
pub(super) fn http2_options(stream_bytes: u32, upgrades: bool) -> Value {
    let mut options = json!({
        "max_concurrent_streams": CONCURRENT_STREAMS_MAX,
        "initial_stream_window_size": stream_bytes,
        "initial_connection_window_size": connection_window_bytes(stream_bytes),
    });
    if let (Some(options), true) = (options.as_object_mut(), upgrades) {
        // How HTTP/2 spells an upgrade.
        options.insert("allow_connect".to_owned(), true.into());
    }
    options
}

fn responses(contract: &Contract) -> Responses {
    let mut operations = contract.services().iter().flat_map(|service| &service.operations);
    if operations.any(|operation| operation.responses.body == Enforcement::Enforce) {
        Responses::Held
    } else {
        Responses::GoOn
    }
}

fn upgrades(contract: &Contract) -> BTreeSet<&str> {
    let operations = contract.services().iter().flat_map(|service| &service.operations);
    operations.filter_map(|operation| operation.upgrade.as_deref()).collect()
}

fn body_bytes_max(contract: &Contract) -> u32 {
    let operations = contract.services().iter().flat_map(|service| &service.operations);
    operations.map(held_bytes_max).max().unwrap_or(0)
}

/// The largest body of an operation that is held, of its requests or of its responses.
pub(super) fn held_bytes_max(operation: &Operation) -> u32 {
    let request = operation.body.as_ref().map_or(0, |body| body.bytes_max);
    match operation.responses.body {
        Enforcement::Enforce => request.max(operation.responses.bytes_max),
        Enforcement::Off | Enforcement::Report => request,
    }
}

/// Outcomes, streamed to the server. Dynamic metadata, and so the decision id, comes along by itself.
pub(super) fn access_log(flushed_soon: bool) -> Value {
    let mut common = json!({
        "log_name": "palisade",
        "transport_api_version": "V3",
        "grpc_service": { "envoy_grpc": { "cluster_name": SERVER_CLUSTER } },
        "filter_state_objects_to_log": [CALL_ID_STATE],
    });
    if let (Some(common), true) = (common.as_object_mut(), flushed_soon) {
        common.insert("buffer_flush_interval".to_owned(), millis(ACCESS_LOG_FLUSH_MS).into());
        common.insert("buffer_size_bytes".to_owned(), ACCESS_LOG_BUFFER_BYTES.into());
    }
    let log = typed(
        "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        json!({ "common_config": common, "additional_request_headers_to_log": LOGGED_HEADERS }),
    );
    json!({ "name": "envoy.access_loggers.http_grpc", "typed_config": log })
}

/// Callers must show a certificate of the given authorities; who they are by it the server decides.
fn downstream_tls(tls: &MutualTls) -> Value {
    let context = typed(
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({
            "require_client_certificate": true,
            "common_tls_context": tls_context(tls, &["h2", "http/1.1"]),
        }),
    );
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": context })
}
