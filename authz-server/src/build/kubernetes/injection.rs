//! The handoff secret in the environment of a workload's sidecar.
//!
//! The filter reads it from Envoy's environment, which is that of the container `istio-proxy`. `proxyMetadata` and plugin
//! environments hold plain text only, so it must come from a Secret, by the way in which Istio lets a pod change its
//! injected container: a container of that name with the image `auto`, over which the injector merges its own. That holds
//! for sidecars as containers and as init containers.
//! INVARIANT: no secret is generated, and a pod without the Secret does not start.

use super::super::filters::SECRET_VARIABLE;
use super::super::yaml::Document;
use super::object::said;
use super::workloads::Workload;
use super::{HANDOFF_PROXY_KEY, HANDOFF_SECRET};
use serde_json::{Value, json};

/// A component, to be named where the workloads' own manifests are put together.
pub(super) fn component(workloads: &[Workload<'_>]) -> Document {
    let patches: Vec<Value> = workloads.iter().map(patch).collect();
    let component = json!({
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "patches": patches,
    });
    said(
        &[
            "For the manifests of your workloads: name this directory under `components` of their kustomization, or copy",
            "the container. Istio merges its sidecar into it; `auto` stands for its own image.",
        ],
        component,
    )
}

fn patch(workload: &Workload<'_>) -> Value {
    let selector: Vec<String> = match workload.labels() {
        Value::Object(labels) => labels
            .iter()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect(),
        _ => Vec::new(),
    };
    let patch = format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: any
spec:
  template:
    spec:
      containers:
      - name: istio-proxy
        image: auto
        env:
        - name: {SECRET_VARIABLE}
          valueFrom:
            secretKeyRef:
              name: {HANDOFF_SECRET}
              key: {HANDOFF_PROXY_KEY}
"
    );
    json!({
        "target": {
            "kind": "Deployment|StatefulSet|DaemonSet",
            "namespace": workload.namespace,
            "labelSelector": selector.join(","),
        },
        "patch": patch,
    })
}
