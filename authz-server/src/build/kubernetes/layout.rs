//! Which object stands in which file. Directories are numbered in the order in which they are applied.
//!
//! INVARIANT: a stage needs nothing of a later one, and after each of them every workload is as it was or closed.

use super::super::alerts::{self, ALERTS_FILE};
use super::super::error::BuildError;
use super::super::limits_files;
use super::super::yaml::{self, Document};
use super::bundle_volume::BundleVolume;
use super::object::said;
use super::settings::Settings;
use super::workloads::Workload;
use super::{
    Manifest, apply, authentication, authorization, envoy_filter, extension, images, injection, mesh_config,
    network, server, telemetry,
};
use crate::bundle::Bundle;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const MESH: &str = "istiod/values.yaml";
const WORKLOADS: &str = "workloads";
const KUSTOMIZATION: &str = "kustomization.yaml";

/// A step of what is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Server,
    Closed,
    Filter,
    Decide,
}

impl Stage {
    const ALL: [Stage; 4] = [Stage::Server, Stage::Closed, Stage::Filter, Stage::Decide];

    const fn directory(self) -> &'static str {
        match self {
            Stage::Server => "1-server",
            Stage::Closed => "2-closed",
            Stage::Filter => "3-filter",
            Stage::Decide => "4-decide",
        }
    }
}

/// Everything that files are made of.
#[derive(Debug)]
pub(super) struct Cluster<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) settings: &'a Settings,
    pub(super) workloads: Vec<Workload<'a>>,
    pub(super) volume: BundleVolume,
    pub(super) plugin_config: Value,
}

impl Cluster<'_> {
    pub(super) fn manifests(&self) -> Result<Vec<Manifest>, BuildError> {
        let mut files = Vec::new();
        for stage in Stage::ALL {
            let mut names = Vec::new();
            for (name, about, documents) in self.stage(stage) {
                files.push(self.yaml(&format!("{}/{name}", stage.directory()), &about, &documents)?);
                names.push(name);
            }
            let path = format!("{}/{KUSTOMIZATION}", stage.directory());
            files.push(self.yaml(&path, "", &[kustomization(&names)])?);
        }
        let stages: Vec<_> = Stage::ALL.iter().map(|stage| stage.directory().to_owned()).collect();
        let whole =
            "All stages, for a cluster in which they were applied one after the other before; see apply.md.";
        files.push(self.yaml(KUSTOMIZATION, whole, &[kustomization(&stages)])?);
        let workloads = format!("{WORKLOADS}/{KUSTOMIZATION}");
        files.push(self.yaml(&workloads, "", &[injection::component(&self.workloads)])?);
        let values = mesh_config::values(self.bundle, &self.workloads, self.settings);
        files.push(self.yaml(MESH, "", &[said(&apply::MESH_COMMENT, values)])?);
        // Prometheus' own file of rules, and no object: who has its operator puts `groups` under `spec` of a PrometheusRule.
        let alerts = yaml::document(ALERTS_FILE, &alerts::comment(), &alerts::rules())?;
        files.push(Manifest { path: ALERTS_FILE.to_owned(), bytes: alerts });
        // Its limiter's own files, and no objects either.
        let limits = limits_files::files(self.bundle)?.into_iter();
        files.extend(limits.map(|file| Manifest { path: file.name.to_owned(), bytes: file.bytes }));
        files.push(text("images/Containerfile.filter", images::filter()));
        files.push(text("images/Containerfile.server", images::server(self.settings)));
        files.push(text("apply.md", apply::apply(self)));
        Ok(files)
    }

    pub(super) fn namespaces(&self) -> BTreeSet<&str> {
        self.workloads.iter().map(|workload| workload.namespace).collect()
    }

    /// The files of a stage: name, what to say above it, documents.
    fn stage(&self, stage: Stage) -> Vec<(String, String, Vec<Document>)> {
        let settings = self.settings;
        let of_workloads = |documents: &dyn Fn(&Workload<'_>) -> Vec<Document>| {
            let file = |workload: &Workload<'_>| {
                let name = format!("{}.{}.yaml", workload.namespace, workload.name);
                (name, workload.described(), documents(workload))
            };
            self.workloads.iter().map(file).collect()
        };
        match stage {
            Stage::Server => {
                let file = |name: &str, documents: Vec<Document>| (name.to_owned(), String::new(), documents);
                let mut files = vec![
                    file("namespace.yaml", vec![network::namespace(settings)]),
                    file(
                        "network.yaml",
                        vec![
                            authentication::server(settings),
                            authorization::server(settings, &self.namespaces()),
                            network::sidecar(settings),
                            network::destination_rule(settings),
                            network::policy(settings, &self.namespaces()),
                        ],
                    ),
                ];
                if !self.volume.config_maps.is_empty() {
                    files.push(file("bundle.yaml", self.volume.config_maps.clone()));
                }
                files.push(file("server.yaml", server::documents(self.bundle, settings, &self.volume)));
                files
            }
            Stage::Closed => of_workloads(&|workload| {
                vec![authorization::default_deny(workload), authentication::workload(workload)]
            }),
            Stage::Filter => of_workloads(&|workload| {
                vec![
                    extension::extension(workload, settings, &self.plugin_config),
                    envoy_filter::envoy_filter(self.bundle, workload, settings),
                    telemetry::telemetry(workload),
                ]
            }),
            Stage::Decide => of_workloads(&|workload| vec![authorization::custom(workload)]),
        }
    }

    fn yaml(&self, path: &str, about: &str, documents: &[Document]) -> Result<Manifest, BuildError> {
        let mut comment = vec![format!(
            "Generated by `palisade build` from bundle {}, for Istio {}.",
            self.bundle.digest, self.settings.istio
        )];
        comment.push("Change the bundle, not this file.".to_owned());
        if !about.is_empty() {
            comment.push(about.to_owned());
        }
        Ok(Manifest { path: path.to_owned(), bytes: yaml::documents(path, &comment, documents)? })
    }
}

fn kustomization(resources: &[String]) -> Document {
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "sortOptions": { "order": "fifo" },
        "resources": resources,
    });
    said(&[], kustomization)
}

fn text(path: &str, text: String) -> Manifest {
    Manifest { path: path.to_owned(), bytes: text.into_bytes() }
}
