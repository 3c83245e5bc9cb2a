//! How much of a body travels to the server with a Check: the gate needs one byte, a decision on a field all of them.
//!
//! INVARIANT: where an operation's policies may ask for fields of its body, the proxy hands over as much as the operation
//! accepts; a body that was cut off would be a denial.

use crate::bundle::Bundle;
use palisade_core::contract::Service;
use serde_json::{Value, json};

/// ext_authz holds the head until it has that many bytes, or the whole body, and our filter releases none before it has
/// judged all of them.
pub(super) const GATE_BYTES: u32 = 1;

/// What the operations of one service need.
pub(super) fn of_service(bundle: &Bundle, service: &Service) -> u32 {
    largest(bundle, |known| known == service.name.as_ref())
}

/// What all services need that share one ext_authz.
pub(super) fn of_all(bundle: &Bundle) -> u32 {
    largest(bundle, |_| true)
}

fn largest(bundle: &Bundle, counts: impl Fn(&str) -> bool) -> u32 {
    let read = bundle
        .operations()
        .filter(|(matched, context)| counts(&matched.service.name) && context.reads_body());
    read.filter_map(|(matched, _)| matched.operation.body.as_ref())
        .map(|body| body.bytes_max)
        .fold(GATE_BYTES, u32::max)
}

/// `with_request_body`. Bytes, because Envoy would replace what is not UTF-8 in a text.
pub(super) fn with_request_body(bytes: u32) -> Value {
    let mut settings = json!({ "max_request_bytes": bytes, "allow_partial_message": true });
    if let Some(settings) = settings.as_object_mut().filter(|_| bytes > GATE_BYTES) {
        settings.insert("pack_as_bytes".to_owned(), true.into());
    }
    settings
}

/// The same for a service behind an ext_authz that is only a gate. `None`: the gate is enough.
pub(super) fn per_service(bundle: &Bundle, service: &Service) -> Option<Value> {
    let bytes = of_service(bundle, service);
    (bytes > GATE_BYTES)
        .then(|| super::filters::per_route(json!({ "with_request_body": with_request_body(bytes) })))
}

/// The gate alone.
pub(super) fn gate() -> Value {
    with_request_body(GATE_BYTES)
}
