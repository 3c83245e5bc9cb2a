//! A bundle as objects of Kubernetes and Istio: the server, and for each workload filter, decision and default denial.
//!
//! `settings` says what a bundle cannot know → `workloads` are its services by their pods → one file a kind makes each
//! object → `layout` puts them into files, in the order in which they are applied → `output` writes the directory.
//! INVARIANT: the same bundle and settings give the same bytes; every name that an object refers to is the name of an
//! object here, of a Secret that `apply.md` makes, or of the mesh's own.

mod apply;
mod authentication;
mod authorization;
mod bundle_volume;
mod envoy_filter;
mod extension;
mod images;
mod injection;
mod layout;
mod mesh_config;
mod network;
mod object;
mod output;
mod problem;
mod server;
mod settings;
mod telemetry;
#[cfg(test)]
pub(in crate::build) mod tests;
mod workloads;

pub use output::{Written, write};
pub use problem::KubernetesProblem;
pub use settings::{Image, IstioVersion, Settings};

use super::error::BuildError;
use crate::bundle::{Bundle, BundleFile};
use palisade_core::contract::BundleDigest;
use serde_json::Value;

/// The server's name, and what the names of everything begin with.
const APP: &str = "palisade";

const AUTHZ_PORT: u16 = 9_191;
const ADMIN_PORT: u16 = 9_192;

/// The Secret that filters and server share. In the server's namespace it holds a file of one or two lines, in a
/// workload's namespace the current secret alone.
const HANDOFF_SECRET: &str = "palisade-handoff";
const HANDOFF_SERVER_KEY: &str = "secrets";
const HANDOFF_PROXY_KEY: &str = "current";

const API_KEYS_SECRET: &str = "palisade-api-keys";
const API_KEYS_FILE: &str = "api-keys.json";

/// What the filter's configuration may take of an object: etcd refuses requests over 1.5 MiB, and the agent messages over
/// 4 MiB, in which a workload has this once.
const PLUGIN_CONFIG_BYTES_MAX: usize = 1024 * 1024;

/// A file to be written, by its path inside of the directory, with slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub path: String,
    pub bytes: Vec<u8>,
}

/// All files for a cluster.
#[derive(Debug, Clone)]
pub struct Manifests {
    pub digest: BundleDigest,
    /// What is named before what names it.
    pub files: Vec<Manifest>,
}

/// Renders a bundle for a cluster. `files` are those that the bundle's digest is made of.
pub fn render(bundle: &Bundle, files: &[BundleFile], settings: &Settings) -> Result<Manifests, BuildError> {
    let mut problems = settings.check();
    problems.extend(workloads::problems(bundle, settings));
    let carrier = bundle.contract.encode_carrier()?;
    if carrier.len() > PLUGIN_CONFIG_BYTES_MAX {
        problems
            .push(KubernetesProblem::ContractTooLarge { found: carrier.len(), max: PLUGIN_CONFIG_BYTES_MAX });
    }
    let volume = match bundle_volume::bundle_volume(bundle.digest, files, settings) {
        Ok(volume) if problems.is_empty() => volume,
        Ok(_) => return Err(BuildError::Kubernetes(problems)),
        Err(more) => {
            problems.extend(more);
            return Err(BuildError::Kubernetes(problems));
        }
    };
    let plugin_config: Value = serde_json::from_str(&carrier)
        .map_err(|error| BuildError::Yaml { file: "the contract".to_owned(), detail: error.to_string() })?;
    let cluster =
        layout::Cluster { bundle, settings, workloads: workloads::workloads(bundle), volume, plugin_config };
    Ok(Manifests { digest: bundle.digest, files: cluster.manifests()? })
}
