//! Outcomes: the access log of a workload, streamed to the server.

use super::super::yaml::Document;
use super::mesh_config::OUTCOMES;
use super::object::{object, said};
use super::workloads::Workload;
use serde_json::json;

pub(super) fn telemetry(workload: &Workload<'_>) -> Document {
    let spec = json!({
        "selector": { "matchLabels": workload.labels() },
        "accessLogging": [{ "match": { "mode": "SERVER" }, "providers": [{ "name": OUTCOMES }] }],
    });
    said(
        &[
            "What became of each request goes to the server, which joins it to its decision. Istio takes the access",
            "logging of the nearest Telemetry alone: a provider that the mesh names for all has to be named here, too.",
        ],
        object(
            "telemetry.istio.io/v1",
            "Telemetry",
            &workload.object_name(),
            Some(workload.namespace),
            json!({ "spec": spec }),
        ),
    )
}
