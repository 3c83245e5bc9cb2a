//! The object that loads the filter into a workload's sidecars: TrafficExtension, or WasmPlugin before Istio 1.30.
//!
//! It names no place: istiod puts CUSTOM authorization before every phase that it could name, so `envoy_filter` takes
//! what istiod inserts for it and puts it first. What stays here is all that only istiod and the agent can do: fetch the
//! image with its digest, verify it, and refuse everything while it cannot be had.
//! INVARIANT: no way to fail opens: the module missing, broken or trapped is a refusal.

use super::super::filters::{PALISADE_FILTER, SECRET_VARIABLE};
use super::super::yaml::Document;
use super::object::{object, said};
use super::settings::{IstioVersion, Settings};
use super::workloads::Workload;
use palisade_core::report::CLUSTER_VARIABLE;
use serde_json::{Value, json};

const API: &str = "extensions.istio.io/v1alpha1";

/// What istiod calls the filter in listeners and in extension discovery.
pub(super) fn resource_name(istio: IstioVersion, workload: &Workload<'_>) -> String {
    let kind = if istio.has_traffic_extension() { "trafficextension" } else { "wasmplugin" };
    format!("extensions.istio.io/{kind}/{}.{}", workload.namespace, workload.object_name())
}

/// `plugin_config` is the contract in its JSON carrier.
pub(super) fn extension(workload: &Workload<'_>, settings: &Settings, plugin_config: &Value) -> Document {
    let selector = json!({ "matchLabels": workload.labels() });
    // Without it the filter would also judge what the workload itself calls.
    let inbound = json!([{ "mode": "SERVER" }]);
    let (name, namespace) = (workload.object_name(), Some(workload.namespace));
    if settings.istio.has_traffic_extension() {
        let wasm = module(settings, "FAIL_RELOAD", plugin_config);
        let spec = json!({ "selector": selector, "match": inbound, "phase": "AUTHN", "wasm": wasm });
        let fields = json!({ "spec": spec });
        return said(
            &[
                "Loads the filter. FAIL_RELOAD: a trap restarts it, and until then requests are refused; an image that",
                "cannot be had, or has another digest, is answered by the agent with a rule that denies everything.",
                "The EnvoyFilter below moves it: left where this phase puts it, it would come after the decision.",
            ],
            object(API, "TrafficExtension", &name, namespace, fields),
        );
    }
    let mut spec = json!({ "selector": selector, "match": inbound, "phase": "AUTHN" });
    if let (Some(spec), Value::Object(mut module)) =
        (spec.as_object_mut(), module(settings, "FAIL_CLOSE", plugin_config))
    {
        spec.append(&mut module);
    }
    said(
        &[
            "Loads the filter. FAIL_CLOSE: after a trap, requests are refused until the proxy restarts (Istio 1.30 can",
            "reload it). An image that cannot be had, or has another digest, is answered by the agent with a rule that",
            "denies everything. The EnvoyFilter below moves it: left where this phase puts it, it would come after the",
            "decision.",
        ],
        object(API, "WasmPlugin", &name, namespace, json!({ "spec": spec })),
    )
}

/// There is no VM id to set, and none is needed: istiod sets none either, and a VM is shared only by plugins of the same
/// id and the same code. Of this code a sidecar has one.
fn module(settings: &Settings, fail_strategy: &str, plugin_config: &Value) -> Value {
    json!({
        "url": format!("oci://{}", settings.filter_image),
        "sha256": settings.filter_image.sha256(),
        "imagePullPolicy": "IfNotPresent",
        "type": "HTTP",
        "failStrategy": fail_strategy,
        "pluginName": PALISADE_FILTER,
        "vmConfig": { "env": [
            // The secret is in the environment of the sidecar's container; see `workloads/kustomization.yaml`.
            { "name": SECRET_VARIABLE, "valueFrom": "HOST" },
            // What the filter itself refuses, it reports to the server.
            { "name": CLUSTER_VARIABLE, "valueFrom": "INLINE", "value": settings.server_cluster() },
        ] },
        "pluginConfig": plugin_config,
    })
}
