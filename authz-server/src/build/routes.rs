//! Routes: a virtual host for each service, the canary's, and none for anybody else.
//!
//! Routes do not decide who may pass, the filter and the server do; they say where a request goes and which operations
//! are streams, for which ext_authz must not wait.
//! INVARIANT: a route without the gate matches requests of streaming operations and no others, in the order in which the
//! core matches: a literal segment before a parameter.

use super::bodies;
use super::clusters::cluster_name;
use super::fails_open;
use super::filters::{seconds, ungated};
use super::limiter;
use super::settings::{CALL_LASTS_MAX, REQUEST_BUFFER_BYTES, RESPONSE_TIMEOUT_S};
use crate::bundle::Bundle;
use palisade_core::canary;
use palisade_core::contract::{Contract, Operation, Service};
use palisade_core::routes::Segment;
use serde_json::{Value, json};

/// Paths with a second spelling: a slash, dot, backslash, semicolon, percent sign or zero byte in disguise, an empty or a
/// dot segment. The filter refuses them and more, with a reason; this is for the day when it is missing.
const SECOND_SPELLING: &str = r".*(?://|/\.{1,2}(?:/|$)|[\\;]|%(?:00|25|2[EeFf]|3[Bb]|5[Cc])).*";

pub(super) fn has_streams(contract: &Contract) -> bool {
    contract.services().iter().flat_map(|service| &service.operations).any(Operation::is_stream)
}

/// Whether all bodies that a service takes are gRPC's, and there are some.
pub(super) fn is_grpc_only(service: &Service) -> bool {
    service.operations.iter().any(Operation::takes_grpc)
        && !service.operations.iter().any(Operation::has_body_rules)
}

/// The route table of an Envoy of our own.
pub(super) fn routes(bundle: &Bundle) -> Value {
    let hosts = bundle.contract.services().iter().map(|service| {
        let routes = if is_canary(service) { vec![canary_route()] } else { service_routes(service) };
        let mut host = virtual_host(service, routes);
        if let Some(host) = host.as_object_mut() {
            host.insert("request_body_buffer_limit".to_owned(), REQUEST_BUFFER_BYTES.into());
            if let Some(settings) = bodies::per_service(bundle, service) {
                host.insert("typed_per_filter_config".to_owned(), settings);
            }
            limit(bundle, service, host);
        }
        host
    });
    let mut table = table(hosts.chain([nobody()]).collect());
    if let (true, Some(table)) = (fails_open::some_fail_open(&bundle.contract), table.as_object_mut()) {
        // The server's answer has it removed, and where there is no answer nobody else would.
        table.insert("request_headers_to_remove".to_owned(), json!([palisade_core::handoff::HEADER]));
    }
    table
}

/// Has a virtual host say what is asked of a limiter. Our routes have nothing of their own, so that all of them do.
pub(super) fn limit(bundle: &Bundle, service: &Service, host: &mut serde_json::Map<String, Value>) {
    let settings = bundle.settings(&service.name);
    let asked = |settings| limiter::rate_limits(settings, limiter::Requests::OfService);
    let limits = settings.map(asked).unwrap_or_default();
    if !limits.is_empty() {
        host.insert("rate_limits".to_owned(), limits.into());
    }
}

pub(super) fn table(hosts: Vec<Value>) -> Value {
    json!({
        "name": "inbound",
        // A host is the same with and without its port, as for the core.
        "ignore_port_in_host_matching": true,
        "virtual_hosts": hosts,
    })
}

pub(super) fn virtual_host(service: &Service, routes: Vec<Value>) -> Value {
    json!({ "name": service.name, "domains": service.hosts, "routes": routes })
}

pub(super) fn is_canary(service: &Service) -> bool {
    service.name.as_ref() == canary::SERVICE
}

/// A request that gets here was let through by everything that should have refused it.
pub(super) fn canary_route() -> Value {
    json!({ "match": { "prefix": "/" }, "direct_response": { "status": 500 } })
}

/// Hosts of no service. The filter refuses them first. No service can have this name: theirs have no underscore.
pub(super) fn nobody() -> Value {
    json!({
        "name": "_nobody",
        "domains": ["*"],
        "routes": [{ "match": { "prefix": "/" }, "direct_response": { "status": 404 } }],
    })
}

fn service_routes(service: &Service) -> Vec<Value> {
    let mut routes = vec![json!({
        "match": { "safe_regex": { "regex": SECOND_SPELLING } },
        "direct_response": { "status": 400 },
    })];
    routes.extend(stream_routes(service));
    routes.push(json!({ "match": { "prefix": "/" }, "route": held(service) }));
    routes
}

/// Streaming operations, and those whose paths a streaming route would match, too, but which go before it.
fn stream_routes(service: &Service) -> Vec<Value> {
    let mut operations: Vec<_> = service
        .operations
        .iter()
        .map(|operation| (operation, meets_stream(service, operation)))
        .filter(|(operation, meets_stream)| operation.is_stream() || *meets_stream)
        .collect();
    operations.sort_by_key(|(operation, _)| preference(&operation.template));
    let routes = operations.into_iter().map(|(operation, meets_stream)| {
        let mut routes = ungated_routes(service, operation);
        if meets_stream {
            routes.push(json!({ "match": matcher(operation, None), "route": held(service) }));
        }
        routes
    });
    routes.flatten().collect()
}

/// Whether the route of another operation, a streaming one, matches some of its requests.
fn meets_stream(service: &Service, operation: &Operation) -> bool {
    service.operations.iter().any(|stream| {
        stream.is_stream()
            && stream.name != operation.name
            && stream.method == operation.method
            && overlap(&stream.template, &operation.template)
    })
}

/// The routes of one operation on which it streams: as gRPC, and as an upgrade.
fn ungated_routes(service: &Service, operation: &Operation) -> Vec<Value> {
    let mut routes = Vec::new();
    if operation.takes_grpc() {
        // Envoy's own predicate, which is the core's: whatever it does not count as gRPC is judged as a body.
        let mut matcher = matcher(operation, None);
        if let Some(matcher) = matcher.as_object_mut() {
            matcher.insert("grpc".to_owned(), json!({}));
        }
        let mut action = open_ended(service);
        if let Some(action) = action.as_object_mut() {
            // A caller's deadline holds; who sets none has none.
            let limit = json!({ "grpc_timeout_header_max": "0s" });
            action.insert("max_stream_duration".to_owned(), limit);
        }
        routes.push(json!({ "match": matcher, "route": action, "typed_per_filter_config": ungated() }));
    }
    if let Some(protocol) = &operation.upgrade {
        let header = json!({ "name": "upgrade", "string_match": { "exact": protocol, "ignore_case": true } });
        routes.push(json!({
            "match": matcher(operation, Some(header)),
            "route": open_ended(service),
            "typed_per_filter_config": ungated(),
        }));
    }
    routes
}

fn matcher(operation: &Operation, header: Option<Value>) -> Value {
    let method = json!({ "name": ":method", "string_match": { "exact": operation.method.as_str() } });
    let headers: Vec<_> = [method].into_iter().chain(header).collect();
    match literal_path(&operation.template) {
        Some(path) => json!({ "path": path, "headers": headers }),
        None => {
            json!({ "safe_regex": { "regex": path_regex(&operation.template) }, "headers": headers })
        }
    }
}

/// The stream as a whole is bounded here and not only by the listener's `request_timeout`, which must be absent where
/// another operation streams: a body that never ends would be held for as long.
///
/// A shorter deadline of the caller's own stays what it is. With one bound alone Envoy would tell the service the bound
/// in place of the deadline.
fn held(service: &Service) -> Value {
    let whole = seconds(CALL_LASTS_MAX.as_secs());
    json!({
        "cluster": cluster_name(service),
        "timeout": seconds(RESPONSE_TIMEOUT_S),
        "max_stream_duration": { "max_stream_duration": whole, "grpc_timeout_header_max": whole },
    })
}

/// A stream lasts as long as something moves on it.
fn open_ended(service: &Service) -> Value {
    json!({ "cluster": cluster_name(service), "timeout": "0s" })
}

fn literal_path(template: &[Segment]) -> Option<String> {
    template
        .iter()
        .map(|segment| match segment {
            Segment::Literal(text) => Some(format!("/{text}")),
            Segment::Parameter(_) => None,
        })
        .collect()
}

fn path_regex(template: &[Segment]) -> String {
    template
        .iter()
        .map(|segment| match segment {
            Segment::Literal(text) => format!("/{}", escape(text)),
            Segment::Parameter(_) => "/[^/]+".to_owned(),
        })
        .collect()
}

/// A text as a regular expression that matches itself. RE2 takes a backslash before any character that is not part of
/// a word, and an underscore is part of one.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_punctuation() && character != '_' {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// Whether some path fits both.
fn overlap(one: &[Segment], other: &[Segment]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|pair| match pair {
            (Segment::Literal(one), Segment::Literal(other)) => one == other,
            (Segment::Parameter(_), _) | (_, Segment::Parameter(_)) => true,
        })
}

/// The core's order of preference: segment by segment, a literal before a parameter.
fn preference(template: &[Segment]) -> Vec<bool> {
    template.iter().map(|segment| matches!(segment, Segment::Parameter(_))).collect()
}
