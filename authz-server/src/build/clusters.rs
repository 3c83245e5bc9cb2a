//! The peers behind the proxy: each service, and the authorization server.

use super::filters::{SERVER_CLUSTER, millis, seconds};
use super::limiter;
use super::routes::is_grpc_only;
use super::settings::{
    CONNECT_TIMEOUT_MS, SERVER_KEEPALIVE_INTERVAL_S, SERVER_KEEPALIVE_TIMEOUT_S, UPSTREAM_CONNECTIONS_MAX,
    UPSTREAM_IDLE_TIMEOUT_S, UPSTREAM_REQUESTS_MAX,
};
use super::typed;
use super::wiring::{Address, MutualTls, Server, ServerLink, Target, Upstream, UpstreamProtocol, Wiring};
use crate::bundle::Bundle;
use palisade_core::contract::Service;
use serde_json::{Value, json};

/// A service's cluster. The prefix keeps a service from taking the server's name.
pub(super) fn cluster_name(service: &Service) -> String {
    format!("service-{}", service.name)
}

pub(super) fn clusters(bundle: &Bundle, wiring: &Wiring) -> Vec<Value> {
    let services = bundle.contract.services().iter().filter_map(|service| {
        let upstream = wiring.upstreams.get(service.name.as_ref())?;
        Some(service_cluster(service, upstream, wiring.target))
    });
    services.chain([server_cluster(&wiring.server)]).chain(limiter_cluster(bundle)).collect()
}

/// The limiter, where something is asked of it.
fn limiter_cluster(bundle: &Bundle) -> Option<Value> {
    let limiter = bundle.palisade.rate_limit_service.as_ref().filter(|_| limiter::is_asked(bundle))?;
    Some(cluster(limiter::LIMITER_CLUSTER, &limiter::address(limiter)?, spoken_to_servers()))
}

/// HTTP/2 by which a peer that hangs is noticed.
fn spoken_to_servers() -> Value {
    json!({
        "explicit_http_config": {
            "http2_protocol_options": {
                "connection_keepalive": {
                    "interval": seconds(SERVER_KEEPALIVE_INTERVAL_S),
                    "timeout": seconds(SERVER_KEEPALIVE_TIMEOUT_S),
                },
            },
        },
    })
}

fn service_cluster(service: &Service, upstream: &Upstream, target: Target) -> Value {
    let http2 = match upstream.protocol {
        UpstreamProtocol::Http2 => true,
        UpstreamProtocol::ByContract => is_grpc_only(service),
    };
    let protocol =
        if http2 { json!({ "http2_protocol_options": {} }) } else { json!({ "http_protocol_options": {} }) };
    let protocol = json!({
        "common_http_protocol_options": { "idle_timeout": seconds(UPSTREAM_IDLE_TIMEOUT_S) },
        "explicit_http_config": protocol,
    });
    let mut cluster = cluster(&cluster_name(service), &upstream.address, protocol);
    let limits = cluster.pointer_mut("/circuit_breakers/thresholds/0").and_then(Value::as_object_mut);
    if let (Some(limits), Target::Envoy) = (limits, target) {
        // Whatever a route says one day, a request is delivered once for one decision.
        limits.insert("max_retries".to_owned(), 0.into());
    }
    cluster
}

/// There is no health check: with one server there is nothing to choose from, a refused connection is noticed at once,
/// the keep-alive notices one that hangs, and a check would only delay the first decision after a restart.
fn server_cluster(server: &Server) -> Value {
    let mut cluster = cluster(SERVER_CLUSTER, &server.address, spoken_to_servers());
    if let (ServerLink::Mutual { tls, server_name }, Some(cluster)) = (&server.link, cluster.as_object_mut())
    {
        cluster.insert("transport_socket".to_owned(), upstream_tls(tls, server_name));
    }
    cluster
}

fn cluster(name: &str, address: &Address, protocol: Value) -> Value {
    let discovery = match address {
        Address::Socket(_) | Address::Unix(_) => "STATIC",
        Address::Name { .. } => "STRICT_DNS",
    };
    let protocol = typed("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", protocol);
    json!({
        "name": name,
        "type": discovery,
        "connect_timeout": millis(CONNECT_TIMEOUT_MS),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol,
        },
        "circuit_breakers": {
            "thresholds": [{
                "max_connections": UPSTREAM_CONNECTIONS_MAX,
                "max_pending_requests": UPSTREAM_REQUESTS_MAX,
                "max_requests": UPSTREAM_REQUESTS_MAX,
            }],
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": endpoint(address) } }] }],
        },
    })
}

fn endpoint(address: &Address) -> Value {
    match address {
        Address::Socket(socket) => socket_address(*socket),
        Address::Name { host, port } => json!({ "socket_address": { "address": host, "port_value": port } }),
        Address::Unix(path) => json!({ "pipe": { "path": path.display().to_string() } }),
    }
}

pub(super) fn socket_address(socket: std::net::SocketAddr) -> Value {
    json!({ "socket_address": { "address": socket.ip().to_string(), "port_value": socket.port() } })
}

fn upstream_tls(tls: &MutualTls, server_name: &str) -> Value {
    let kind = if server_name.starts_with("spiffe://") { "URI" } else { "DNS" };
    let mut context = tls_context(tls, &["h2"]);
    if let Some(validation) = context.get_mut("validation_context").and_then(Value::as_object_mut) {
        // A certificate of the right authority is not enough: it must be the server's own.
        let name = json!([{ "san_type": kind, "matcher": { "exact": server_name } }]);
        validation.insert("match_typed_subject_alt_names".to_owned(), name);
    }
    let mut socket = json!({ "common_tls_context": context });
    if let (Some(socket), "DNS") = (socket.as_object_mut(), kind) {
        socket.insert("sni".to_owned(), server_name.into());
    }
    let socket = typed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", socket);
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": socket })
}

/// What both sides of TLS have in common.
pub(super) fn tls_context(tls: &MutualTls, protocols: &[&str]) -> Value {
    let file = |path: &std::path::Path| json!({ "filename": path.display().to_string() });
    json!({
        "tls_params": { "tls_minimum_protocol_version": "TLSv1_2" },
        "alpn_protocols": protocols,
        "tls_certificates": [{ "certificate_chain": file(&tls.certificate), "private_key": file(&tls.key) }],
        "validation_context": { "trusted_ca": file(&tls.peer_ca) },
    })
}
