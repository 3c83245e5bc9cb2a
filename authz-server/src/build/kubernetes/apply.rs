//! `apply.md`: the order in which everything is applied, how it is checked, and the way back.
//!
//! The text stands in `apply.template.md`, with a word in capitals between two at signs for each name of a bundle.

use super::images::{FILTER_COMMAND, FILTER_CONTEXT, SERVER_COMMAND, SERVER_CONTEXT};
use super::layout::Cluster;
use super::server::STATE_DIRECTORY;
use super::{
    ADMIN_PORT, API_KEYS_FILE, API_KEYS_SECRET, APP, HANDOFF_PROXY_KEY, HANDOFF_SECRET, HANDOFF_SERVER_KEY,
};

const TEMPLATE: &str = include_str!("apply.template.md");

/// Above the values for istiod.
pub(super) const MESH_COMMENT: [&str; 6] = [
    "Values of istiod's Helm chart; with istioctl, `meshConfig` goes under `spec` of the IstioOperator file.",
    "Helm replaces lists: add the providers that your mesh has already.",
    "`pathNormalization` is the mesh's and left alone: policies of other workloads may rely on it, and no workload of",
    "this bundle does, because filter, server and service see the same path, whichever it is.",
    "A policy that names a provider which is not here denies everything, so this goes in before `4-decide`.",
    "Requests are refused, and never let through, while the server cannot be asked.",
];

/// The text, with the names that the objects have.
pub(super) fn apply(cluster: &Cluster<'_>) -> String {
    let names = [
        ("@DIGEST@", cluster.bundle.digest.to_string()),
        ("@ISTIO@", cluster.settings.istio.to_string()),
        ("@FILTER_COMMAND@", FILTER_COMMAND.to_owned()),
        ("@FILTER_CONTEXT@", FILTER_CONTEXT.to_owned()),
        ("@SERVER_COMMAND@", SERVER_COMMAND.to_owned()),
        ("@SERVER_CONTEXT@", SERVER_CONTEXT.to_owned()),
        ("@SECRETS@", secrets(cluster).join("\n")),
        ("@WORKLOADS@", workloads(cluster)),
        ("@SETTLED@", settled(cluster).to_owned()),
        ("@NAMESPACE@", cluster.settings.namespace.clone()),
        ("@APP@", APP.to_owned()),
        ("@ADMIN_PORT@", ADMIN_PORT.to_string()),
        ("@STATE@", STATE_DIRECTORY.to_owned()),
    ];
    names.iter().fold(TEMPLATE.to_owned(), |text, (placeholder, name)| text.replace(placeholder, name))
}

fn secrets(cluster: &Cluster<'_>) -> Vec<String> {
    let create = |name: &str, namespace: &str, from: &str| {
        format!("kubectl create secret generic {name} -n {namespace} --from-file={from}")
    };
    let server = &cluster.settings.namespace;
    let mut commands = vec![create(HANDOFF_SECRET, server, &format!("{HANDOFF_SERVER_KEY}=handoff"))];
    let current = format!("{HANDOFF_PROXY_KEY}=handoff");
    commands.extend(cluster.namespaces().iter().map(|namespace| create(HANDOFF_SECRET, namespace, &current)));
    if cluster.bundle.palisade.identity.api_keys.is_some() {
        commands.push(create(API_KEYS_SECRET, server, API_KEYS_FILE));
    }
    commands
}

fn workloads(cluster: &Cluster<'_>) -> String {
    let lines: Vec<_> =
        cluster.workloads.iter().map(|workload| format!("- {}", workload.described())).collect();
    lines.join("\n")
}

/// When the servers have a new bundle.
fn settled(cluster: &Cluster<'_>) -> &'static str {
    match (&cluster.volume.volume, cluster.volume.config_maps.len()) {
        (None, _) => "wait for the rollout, because this bundle is part of the image",
        (Some(_), 1) => "wait until every replica tells the new digest, which takes about a minute",
        (Some(_), _) => "wait for the rollout, because this bundle takes several ConfigMaps",
    }
}
