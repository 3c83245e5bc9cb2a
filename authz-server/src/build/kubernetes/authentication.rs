//! What a connection must show before anything is asked of it.
//!
//! There is no `RequestAuthentication`, also where the bundle names issuers of tokens: tokens are judged once, by the
//! server, with whatever keys it was given. Sidecars that judged them too would need keys of their own, and where the two
//! readings differ, one of them would be wrong.

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
