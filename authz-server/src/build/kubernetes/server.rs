//! The server: a StatefulSet, because each replica is the only writer of a ledger that must outlive its pod.
//!
//! A Deployment would give all replicas one volume, which the ledger's lock refuses, or none that lasts; a decision is
//! durable or it is a refusal, so both would be an outage or a loss.
//! INVARIANT: decisions are taken on loopback only. Whoever asks comes through the pod's own sidecar, which has checked
//! certificate and policy; without a sidecar nobody can ask.

use super::super::yaml::Document;
use super::bundle_volume::BundleVolume;
use super::object::{insert, object, said};
use super::settings::Settings;
use super::{
    ADMIN_PORT, API_KEYS_FILE, API_KEYS_SECRET, APP, AUTHZ_PORT, HANDOFF_SECRET, HANDOFF_SERVER_KEY,
};
use crate::bundle::Bundle;
use serde_json::{Value, json};

pub(super) const BUNDLE_DIRECTORY: &str = "/etc/palisade/bundle";
const HANDOFF_DIRECTORY: &str = "/etc/palisade/handoff";
const API_KEYS_DIRECTORY: &str = "/etc/palisade/api-keys";

/// The volume's root belongs to whoever formatted it; the server's own directory stands inside.
const STATE_VOLUME: &str = "/var/lib/palisade";
pub(super) const STATE_DIRECTORY: &str = "/var/lib/palisade/state";

/// Nobody in particular, and not root.
pub(super) const USER: u32 = 65_532;

/// Room for the ledger of one replica. A start, to be patched by whoever knows the traffic.
const STATE_STORAGE: &str = "20Gi";

/// The server ends when its calls have; this is for one that does not.
const TERMINATION_GRACE_S: u32 = 30;

/// A ledger is checked whole at start, and a long one takes its time: ten minutes.
const STARTUP_PROBES_MAX: u32 = 120;
const PROBE_PERIOD_S: u32 = 5;

/// By which everything finds the server's pods.
pub(super) fn labels() -> Value {
    json!({ "app.kubernetes.io/name": APP })
}

pub(super) fn documents(bundle: &Bundle, settings: &Settings, volume: &BundleVolume) -> Vec<Document> {
    let namespace = Some(settings.namespace.as_str());
    let account =
        object("v1", "ServiceAccount", APP, namespace, json!({ "automountServiceAccountToken": false }));
    let port =
        json!({ "name": "grpc-authz", "port": AUTHZ_PORT, "targetPort": AUTHZ_PORT, "appProtocol": "grpc" });
    let service = json!({ "selector": labels(), "ports": [port] });
    let service = object("v1", "Service", APP, namespace, json!({ "spec": service }));
    let pods = json!({ "clusterIP": "None", "selector": labels() });
    let pods = object("v1", "Service", &pods_service(), namespace, json!({ "spec": pods }));
    let budget = json!({ "maxUnavailable": 1, "selector": { "matchLabels": labels() } });
    let budget = object("policy/v1", "PodDisruptionBudget", APP, namespace, json!({ "spec": budget }));
    vec![
        said(&["The server has no business with the API of Kubernetes."], account),
        said(&["Where sidecars ask for decisions and report outcomes."], service),
        said(&["Gives each replica its name."], pods),
        said(&["One at a time may be taken away on purpose."], budget),
        said(
            &[
                "Each replica has a ledger of its own on a volume of its own, and takes calls from its own sidecar only:",
                "where the mesh injects by revision, add the label `istio.io/rev` to the pods.",
                "Storage, processors and memory are starting points: patch them by what you measure.",
            ],
            stateful_set(bundle, settings, volume),
        ),
    ]
}

fn pods_service() -> String {
    format!("{APP}-pods")
}

fn stateful_set(bundle: &Bundle, settings: &Settings, volume: &BundleVolume) -> Value {
    let with_keys = bundle.palisade.identity.api_keys.is_some();
    let claim = json!({
        "metadata": { "name": "state" },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": STATE_STORAGE } },
        },
    });
    let spec = json!({
        "serviceName": pods_service(),
        "replicas": settings.replicas,
        // Replicas know nothing of each other.
        "podManagementPolicy": "Parallel",
        "selector": { "matchLabels": labels() },
        "template": { "metadata": pod_metadata(), "spec": pod(settings, volume, with_keys) },
        "volumeClaimTemplates": [claim],
    });
    object("apps/v1", "StatefulSet", APP, Some(&settings.namespace), json!({ "spec": spec }))
}

fn pod_metadata() -> Value {
    let mut labels = labels();
    insert(&mut labels, "sidecar.istio.io/inject", "true".into());
    json!({
        "labels": labels,
        "annotations": {
            // The agent adds them to its own, so that the administration port needs no door in the mesh.
            "prometheus.io/scrape": "true",
            "prometheus.io/port": ADMIN_PORT.to_string(),
            "prometheus.io/path": "/metrics",
        },
    })
}

fn pod(settings: &Settings, volume: &BundleVolume, with_keys: bool) -> Value {
    let secret = |name: &str, secret: &str, key: &str| json!({ "name": name, "secret": { "secretName": secret, "items": [{ "key": key, "path": key }] } });
    let mut volumes: Vec<Value> = volume.volume.iter().cloned().collect();
    volumes.push(secret("handoff", HANDOFF_SECRET, HANDOFF_SERVER_KEY));
    if with_keys {
        volumes.push(secret("api-keys", API_KEYS_SECRET, API_KEYS_FILE));
    }
    json!({
        "serviceAccountName": APP,
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": TERMINATION_GRACE_S,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "topologySpreadConstraints": [{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": labels() },
        }],
        "containers": [container(settings, volume, with_keys)],
        "volumes": volumes,
    })
}

fn container(settings: &Settings, volume: &BundleVolume, with_keys: bool) -> Value {
    let read_only = |name: &str, path: &str| json!({ "name": name, "mountPath": path, "readOnly": true });
    let mut mounts = vec![json!({ "name": "state", "mountPath": STATE_VOLUME })];
    mounts.extend(volume.volume.iter().map(|_| read_only("bundle", BUNDLE_DIRECTORY)));
    mounts.push(read_only("handoff", HANDOFF_DIRECTORY));
    if with_keys {
        mounts.push(read_only("api-keys", API_KEYS_DIRECTORY));
    }
    let probe = |path: &str, failures: u32| {
        json!({
            "httpGet": { "path": path, "port": "admin" },
            "periodSeconds": PROBE_PERIOD_S,
            "failureThreshold": failures,
        })
    };
    json!({
        "name": "server",
        "image": settings.server_image.to_string(),
        "imagePullPolicy": "IfNotPresent",
        "args": arguments(with_keys),
        "ports": [
            { "name": "grpc-authz", "containerPort": AUTHZ_PORT },
            { "name": "admin", "containerPort": ADMIN_PORT },
        ],
        "startupProbe": probe("/livez", STARTUP_PROBES_MAX),
        "livenessProbe": probe("/livez", 6),
        "readinessProbe": probe("/readyz", 1),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "resources": {
            "requests": { "cpu": "500m", "memory": "256Mi" },
            "limits": { "memory": "1Gi" },
        },
        "volumeMounts": mounts,
    })
}

/// What the command line of `palisade serve` takes.
fn arguments(with_keys: bool) -> Vec<String> {
    let mut arguments: Vec<String> = [
        ("serve", String::new()),
        ("--bundle", BUNDLE_DIRECTORY.to_owned()),
        ("--listen", format!("127.0.0.1:{AUTHZ_PORT}")),
        // Probes and the agent come to the pod's address.
        ("--admin", format!("0.0.0.0:{ADMIN_PORT}")),
        ("--state", STATE_DIRECTORY.to_owned()),
        ("--handoff-secret-file", format!("{HANDOFF_DIRECTORY}/{HANDOFF_SERVER_KEY}")),
        ("--log-format", "json".to_owned()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .filter(|argument| !argument.is_empty())
    .collect();
    if with_keys {
        arguments.extend(["--api-keys".to_owned(), format!("{API_KEYS_DIRECTORY}/{API_KEYS_FILE}")]);
    }
    arguments
}
