//! The proxy of the callers: one Envoy that stands for all their sidecars, with a cluster for each.
//!
//! INVARIANT: a caller shares neither connections nor certificate nor limits with another one, so that twenty clusters here
//! are to the service what twenty sidecars are. Limits and retries are a mesh's defaults unless an arm says otherwise.

use crate::identities::{Identities, caller_name, workload};
use crate::plan::{Arm, DEADLINE, Manners, Scenario, TRIES, TRY_TIMEOUT};
use palisade::build::MutualTls;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// By which the load says for whom it asks; only the callers' proxy reads it.
pub(crate) const CALLER_HEADER: &str = "x-storm-caller";

/// How callers address the service.
pub(crate) const HOST: &str = "work";

/// Answers that a proxy asks again for: what does not come, breaks off, or is a gateway's error, of which 503 is one.
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,reset,gateway-error";

/// A mesh sets no limit where nobody asks for one.
const NO_LIMIT: u32 = u32::MAX;

/// Streams of the load on one of its connections.
const STREAMS_MAX: u32 = 100_000;

/// Where it listens, and what it leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The proxy in front of the service.
    pub(crate) service: SocketAddr,
}

pub(crate) fn bootstrap(arm: &Arm, scenario: Scenario, places: Places, identities: &Identities) -> Value {
    let callers = || identities.callers.iter().enumerate();
    let routes: Vec<Value> = callers().map(|(caller, _)| route(caller, scenario.manners(caller))).collect();
    let clusters: Vec<Value> =
        callers().map(|(caller, tls)| cluster(caller, arm, places.service, tls)).collect();
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "callers",
        "codec_type": "HTTP2",
        "http2_protocol_options": { "max_concurrent_streams": STREAMS_MAX },
        "route_config": { "name": "callers", "virtual_hosts": [{
            "name": "work",
            "domains": ["*"],
            "include_request_attempt_count": true,
            "routes": routes,
        }] },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        }],
    });
    json!({
        "node": { "id": "callers", "cluster": "callers" },
        "admin": { "address": address(places.admin) },
        "static_resources": {
            "listeners": [{
                "name": "callers",
                "address": address(places.listen),
                "filter_chains": [{ "filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager,
                }] }],
            }],
            "clusters": clusters,
        },
    })
}

fn route(caller: usize, manners: Manners) -> Value {
    let name = caller_name(caller);
    let matched =
        json!({ "prefix": "/", "headers": [{ "name": CALLER_HEADER, "string_match": { "exact": name } }] });
    let route = match manners {
        Manners::Polite => json!({
            "cluster": name,
            "timeout": seconds(DEADLINE),
            "retry_policy": {
                "retry_on": RETRY_ON,
                "num_retries": TRIES.saturating_sub(1),
                "per_try_timeout": seconds(TRY_TIMEOUT),
            },
        }),
        // The application counts its tries itself.
        Manners::Rude { .. } => json!({ "cluster": name, "timeout": seconds(TRY_TIMEOUT) }),
    };
    json!({ "match": matched, "route": route, "request_headers_to_remove": [CALLER_HEADER] })
}

fn cluster(caller: usize, arm: &Arm, service: SocketAddr, tls: &MutualTls) -> Value {
    let name = caller_name(caller);
    let mut limits = json!({
        "max_connections": NO_LIMIT,
        "max_pending_requests": NO_LIMIT,
        "max_requests": NO_LIMIT,
        "max_retries": NO_LIMIT,
    });
    if let (true, Some(limits)) = (arm.budget, limits.as_object_mut()) {
        let budget = json!({ "budget_percent": { "value": 20 }, "min_retry_concurrency": 3 });
        limits.insert("retry_budget".to_owned(), budget);
    }
    let file = |path: &std::path::Path| json!({ "filename": path.display().to_string() });
    let service_name = json!([{ "san_type": "URI", "matcher": { "exact": workload("work") } }]);
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": { "thresholds": [limits] },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    "tls_certificates": [{
                        "certificate_chain": file(&tls.certificate),
                        "private_key": file(&tls.key),
                    }],
                    "validation_context": {
                        "trusted_ca": file(&tls.peer_ca),
                        "match_typed_subject_alt_names": service_name,
                    },
                },
            },
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(service) } }] }],
        },
    })
}

pub(crate) fn address(socket: SocketAddr) -> Value {
    json!({ "socket_address": { "address": socket.ip().to_string(), "port_value": socket.port() } })
}

/// As Envoy spells a duration.
pub(crate) fn seconds(duration: std::time::Duration) -> String {
    format!("{:.3}s", duration.as_secs_f64())
}
