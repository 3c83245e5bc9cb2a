//! Who decides for a workload, and the twin by which nothing passes that was not decided on.
//!
//! A CUSTOM policy alone is open in three ways: it can be deleted, its provider can be set to fail open, and another
//! answer than ours can be an allow. (A provider that does not exist is none of them: istiod then denies all.) The twin
//! closes all: it denies every request that does not carry our server's word `allow` in the metadata that ext_authz
//! leaves. A DENY policy cannot be outvoted by an ALLOW policy of anybody else.
//! INVARIANT: the twin is applied before everything that changes a workload, and removed after it.

use super::super::filters::EXT_AUTHZ_FILTER;
use super::super::yaml::Document;
use super::mesh_config::provider_of;
use super::object::{object, said};
use super::settings::Settings;
use super::workloads::Workload;
use super::{APP, AUTHZ_PORT};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) const API: &str = "security.istio.io/v1";

/// All that the server speaks over its port.
const SERVER_METHODS: [&str; 3] = [
    "/envoy.service.auth.v3.Authorization/Check",
    "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
    "/palisade.filter.v1.Reports/Submit",
];

/// Every request of the workload goes to the server, also what is not HTTP: it has no operation and is denied.
pub(super) fn custom(workload: &Workload<'_>) -> Document {
    let spec = json!({
        "selector": { "matchLabels": workload.labels() },
        "action": "CUSTOM",
        "provider": { "name": provider_of(workload) },
        "rules": [{}],
    });
    said(
        &["Asks the server about every request. The provider stands in `istiod/values.yaml`."],
        policy(&format!("{}-decide", workload.object_name()), workload.namespace, spec),
    )
}

/// A matcher on metadata that is absent does not match, and `notValues` turns that around.
pub(super) fn default_deny(workload: &Workload<'_>) -> Document {
    let decided =
        json!({ "key": format!("experimental.{EXT_AUTHZ_FILTER}[decision]"), "notValues": ["allow"] });
    let spec = json!({
        "selector": { "matchLabels": workload.labels() },
        "action": "DENY",
        "rules": [{ "when": [decided] }],
    });
    said(
        &[
            "Denies everything that the server did not allow, by the word that it leaves with its decision. First in,",
            "last out: while it stands, no part that is missing opens the workload.",
        ],
        policy(&format!("{}-default-deny", workload.object_name()), workload.namespace, spec),
    )
}

/// Who may ask the server: sidecars of the workloads' namespaces. Which service accounts they have no bundle knows.
pub(super) fn server(settings: &Settings, namespaces: &BTreeSet<&str>) -> Document {
    let principal = |namespace: &&str| format!("{}/ns/{namespace}/sa/*", settings.trust_domain);
    let principals: Vec<_> = namespaces.iter().map(principal).collect();
    let spec = json!({
        "selector": { "matchLabels": super::server::labels() },
        "action": "ALLOW",
        "rules": [{
            "from": [{ "source": { "principals": principals } }],
            "to": [{ "operation": { "ports": [AUTHZ_PORT.to_string()], "paths": SERVER_METHODS } }],
        }],
    });
    said(
        &[
            "Who may ask for decisions, and report refusals and outcomes: sidecars of the workloads' namespaces, by certificate.",
            "Everything else is denied, the administration port included.",
        ],
        policy(APP, &settings.namespace, spec),
    )
}

fn policy(name: &str, namespace: &str, spec: Value) -> Value {
    object(API, "AuthorizationPolicy", name, Some(namespace), json!({ "spec": spec }))
}
