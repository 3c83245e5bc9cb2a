//! The flags of a cluster: what Kubernetes and Istio read.

use super::join;
use crate::build::kubernetes::{Image, IstioVersion, Settings};

const NAMESPACE: &str = "palisade-system";
const ROOT_NAMESPACE: &str = "istio-system";

/// One may be away for an upgrade and one fail, and there is still one to ask.
const REPLICAS: u16 = 3;

/// Read as text, so that all that is wrong is told at once.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "For `istio`")]
pub(super) struct ClusterArgs {
    /// The mesh's version; TrafficExtension from 1.30, WasmPlugin before
    #[arg(long, value_name = "X.Y")]
    istio_version: Option<String>,

    /// The filter's image, by digest
    #[arg(long, value_name = "HOST/NAME@sha256:…")]
    filter_image: Option<String>,

    /// The server's image, by digest
    #[arg(long, value_name = "HOST/NAME@sha256:…")]
    server_image: Option<String>,

    /// The mesh's trust domain, by which sidecars and server know each other
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<String>,

    /// Where the server runs [default: palisade-system]
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,

    /// Where istiod runs [default: istio-system]
    #[arg(long, value_name = "NAME")]
    root_namespace: Option<String>,

    /// How many servers [default: 3]
    #[arg(long, value_name = "COUNT")]
    replicas: Option<String>,

    /// The server's image holds the bundle: for one that is too large for ConfigMaps
    #[arg(long)]
    bundle_in_image: bool,
}

impl ClusterArgs {
    /// The flags that were given, for a target that has no use for them.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let flags = [
            ("--istio-version", self.istio_version.is_some()),
            ("--filter-image", self.filter_image.is_some()),
            ("--server-image", self.server_image.is_some()),
            ("--trust-domain", self.trust_domain.is_some()),
            ("--namespace", self.namespace.is_some()),
            ("--root-namespace", self.root_namespace.is_some()),
            ("--replicas", self.replicas.is_some()),
            ("--bundle-in-image", self.bundle_in_image),
        ];
        flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect()
    }

    /// What the flags say by themselves; whether names hold is checked together with the bundle.
    pub(super) fn settings(self) -> Result<Settings, String> {
        let mut problems = Vec::new();
        let istio = required(&mut problems, "--istio-version", "such as `1.30`", self.istio_version);
        let istio = parsed::<IstioVersion>(&mut problems, "--istio-version", istio);
        let by_digest = "an image by digest, `HOST/NAME@sha256:…`";
        let filter_image = required(&mut problems, "--filter-image", by_digest, self.filter_image);
        let filter_image = parsed::<Image>(&mut problems, "--filter-image", filter_image);
        let server_image = required(&mut problems, "--server-image", by_digest, self.server_image);
        let server_image = parsed::<Image>(&mut problems, "--server-image", server_image);
        let mesh = "the mesh's own, such as `cluster.local`; there is no default for whom to trust";
        let trust_domain = required(&mut problems, "--trust-domain", mesh, self.trust_domain);
        let replicas = match self.replicas.as_deref().map(str::parse) {
            None => Some(REPLICAS),
            Some(Ok(replicas)) => Some(replicas),
            Some(Err(_)) => {
                let found = self.replicas.unwrap_or_default();
                problems.push(format!("`--replicas {found}` is not a number of servers"));
                None
            }
        };
        match (istio, filter_image, server_image, trust_domain, replicas) {
            (Some(istio), Some(filter_image), Some(server_image), Some(trust_domain), Some(replicas)) => {
                Ok(Settings {
                    istio,
                    filter_image,
                    server_image,
                    namespace: self.namespace.unwrap_or_else(|| NAMESPACE.to_owned()),
                    root_namespace: self.root_namespace.unwrap_or_else(|| ROOT_NAMESPACE.to_owned()),
                    trust_domain,
                    replicas,
                    bundle_in_image: self.bundle_in_image,
                })
            }
            _ => Err(join(&problems)),
        }
    }
}

fn required(problems: &mut Vec<String>, flag: &str, expected: &str, found: Option<String>) -> Option<String> {
    if found.is_none() {
        problems.push(format!("`{flag}` is missing: expected {expected}"));
    }
    found
}

fn parsed<T: std::str::FromStr<Err = String>>(
    problems: &mut Vec<String>,
    flag: &str,
    text: Option<String>,
) -> Option<T> {
    match text?.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(format!("{flag}: {error}"));
            None
        }
    }
}
