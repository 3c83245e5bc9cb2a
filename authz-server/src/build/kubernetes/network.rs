//! The ways to the server and from it, in the mesh and below it.
//!
//! INVARIANT: each way is closed twice: by the mesh, which knows certificates, and by the network, which knows addresses.

use super::super::yaml::Document;
use super::object::{object, said};
use super::settings::Settings;
use super::{APP, AUTHZ_PORT};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const ISTIO: &str = "networking.istio.io/v1";

/// istiod's port for configuration and certificates, over TLS.
const ISTIOD_PORT: u16 = 15_012;

pub(super) fn namespace(settings: &Settings) -> Document {
    said(&["The server's own place."], object("v1", "Namespace", &settings.namespace, None, json!({})))
}

/// Below the mesh. What the node itself sends, as probes do, comes in all the same.
pub(super) fn policy(settings: &Settings, namespaces: &BTreeSet<&str>) -> Document {
    let of = |namespace: &str| json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } } });
    let callers: Vec<Value> = namespaces.iter().map(|namespace| of(namespace)).collect();
    let port = |protocol: &str, port: u16| json!({ "protocol": protocol, "port": port });
    let spec = json!({
        "podSelector": { "matchLabels": super::server::labels() },
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{ "from": callers, "ports": [port("TCP", AUTHZ_PORT)] }],
        "egress": [
            { "ports": [port("UDP", 53), port("TCP", 53)] },
            { "to": [of(&settings.root_namespace)], "ports": [port("TCP", ISTIOD_PORT)] },
        ],
    });
    said(
        &["In from the workloads' namespaces; out to names and to istiod, which the server's sidecar needs."],
        object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            APP,
            Some(&settings.namespace),
            json!({ "spec": spec }),
        ),
    )
}

/// The server listens on loopback, where only its own sidecar can reach it.
pub(super) fn sidecar(settings: &Settings) -> Document {
    let port = json!({ "number": AUTHZ_PORT, "name": "grpc-authz", "protocol": "GRPC" });
    let spec = json!({
        "workloadSelector": { "labels": super::server::labels() },
        "ingress": [{ "port": port, "defaultEndpoint": format!("127.0.0.1:{AUTHZ_PORT}") }],
        "egress": [{ "hosts": ["~/*"] }],
        "outboundTrafficPolicy": { "mode": "REGISTRY_ONLY" },
    });
    said(
        &[
            "The server takes calls on loopback only, so that nobody can come past its sidecar; it calls nobody.",
        ],
        object(ISTIO, "Sidecar", APP, Some(&settings.namespace), json!({ "spec": spec })),
    )
}

/// A sidecar that finds no mutual TLS at the server must not fall back to plaintext, nor believe another workload.
pub(super) fn destination_rule(settings: &Settings) -> Document {
    let server = format!("spiffe://{}/ns/{}/sa/{APP}", settings.trust_domain, settings.namespace);
    let spec = json!({
        "host": settings.server_host(),
        "trafficPolicy": { "tls": { "mode": "ISTIO_MUTUAL", "subjectAltNames": [server] } },
    });
    said(
        &["Sidecars believe a decision only from the server's own certificate."],
        object(ISTIO, "DestinationRule", APP, Some(&settings.namespace), json!({ "spec": spec })),
    )
}
