//! What a connection must show before anything is asked of it.
//!
//! `RequestAuthentication` will stand here, one for each workload, when `palisade.yaml` can declare who issues tokens.
//! Until then there is nothing that one could say.

use super::super::yaml::Document;
use super::authorization::API;
use super::object::{object, said};
use super::settings::Settings;
use super::workloads::Workload;
use serde_json::{Value, json};

/// Without mutual TLS a caller's certificate is empty, and any pod could come past its own sidecar.
pub(super) fn workload(workload: &Workload<'_>) -> Document {
    said(
        &["Callers come with a certificate of the mesh, or not at all."],
        strict(&workload.object_name(), workload.namespace, &workload.labels()),
    )
}

pub(super) fn server(settings: &Settings) -> Document {
    said(
        &["Sidecars show their certificate to the server's sidecar."],
        strict(super::APP, &settings.namespace, &super::server::labels()),
    )
}

fn strict(name: &str, namespace: &str, labels: &Value) -> Value {
    let spec = json!({ "selector": { "matchLabels": labels }, "mtls": { "mode": "STRICT" } });
    object(API, "PeerAuthentication", name, Some(namespace), json!({ "spec": spec }))
}
