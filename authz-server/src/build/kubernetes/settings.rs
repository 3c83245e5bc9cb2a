//! What a cluster's objects need beside the bundle: versions, images, names.
//!
//! INVARIANT: nothing about trust has a default: images stand by digest, and the mesh's trust domain was named.

use super::problem::KubernetesProblem;
use crate::identity::is_trust_domain;
use std::fmt;
use std::str::FromStr;

/// WasmPlugins of earlier ones have other resource names, by which the filter could not be put before authorization.
const OLDEST_MINOR: u32 = 26;

/// The first that has TrafficExtension and `FAIL_RELOAD`.
const TRAFFIC_EXTENSION_MINOR: u32 = 30;

/// Each replica keeps its own ledger on its own volume; beyond this a mistake is likelier than a need.
const REPLICAS_MAX: u16 = 100;

/// A version of Istio, as far as objects depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IstioVersion {
    minor: u32,
}

impl FromStr for IstioVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<IstioVersion, String> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let minor =
            text.strip_prefix("1.").filter(|minor| digits(minor)).and_then(|minor| minor.parse().ok());
        match minor {
            Some(minor) if minor >= OLDEST_MINOR => Ok(IstioVersion { minor }),
            Some(_) => Err(format!("Istio `{text}` is too old: expected 1.{OLDEST_MINOR} or newer")),
            None => {
                Err(format!("`{text}` is not a version of Istio: expected major and minor, such as `1.30`"))
            }
        }
    }
}

impl fmt::Display for IstioVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

impl IstioVersion {
    pub(super) fn has_traffic_extension(self) -> bool {
        self.minor >= TRAFFIC_EXTENSION_MINOR
    }
}

/// An image by its digest: what was pushed is what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    name: String,
    sha256: String,
}

impl FromStr for Image {
    type Err = String;

    fn from_str(text: &str) -> Result<Image, String> {
        let wrong = || {
            format!(
                "`{text}` is not an image by digest: expected `HOST/NAME@sha256:` and 64 hexadecimal digits"
            )
        };
        let (name, sha256) = text.split_once("@sha256:").ok_or_else(wrong)?;
        let (host, path) = name.split_once('/').ok_or_else(wrong)?;
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let part_holds = |part: &str| !part.is_empty() && part.bytes().all(of_name);
        let host_holds = match host.split_once(':') {
            Some((host, port)) => part_holds(host) && port.parse::<u16>().is_ok_and(|port| port > 0),
            None => part_holds(host),
        };
        // A tag beside the digest would say nothing that is checked.
        if host_holds
            && path.split('/').all(part_holds)
            && sha256.len() == 64
            && sha256.bytes().all(hexadecimal)
        {
            Ok(Image { name: name.to_owned(), sha256: sha256.to_owned() })
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@sha256:{}", self.name, self.sha256)
    }
}

impl Image {
    pub(super) fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// All that the objects need beside the bundle.
#[derive(Debug, Clone)]
pub struct Settings {
    pub istio: IstioVersion,
    pub filter_image: Image,
    pub server_image: Image,
    /// Where the server runs.
    pub namespace: String,
    /// Where istiod runs.
    pub root_namespace: String,
    /// The mesh's own, by which sidecars know the server and the server knows sidecars.
    pub trust_domain: String,
    pub replicas: u16,
    /// The server's image holds the bundle, because no ConfigMap could.
    pub bundle_in_image: bool,
}

impl Settings {
    pub(super) fn check(&self) -> Vec<KubernetesProblem> {
        let mut problems = Vec::new();
        for (flag, name) in [("--namespace", &self.namespace), ("--root-namespace", &self.root_namespace)] {
            if !is_label(name) {
                problems.push(KubernetesProblem::NotAName { what: flag.to_owned(), name: name.clone() });
            }
        }
        if !is_trust_domain(&self.trust_domain) {
            problems.push(KubernetesProblem::NotATrustDomain { name: self.trust_domain.clone() });
        }
        if self.replicas == 0 || self.replicas > REPLICAS_MAX {
            problems.push(KubernetesProblem::Replicas { found: self.replicas, max: REPLICAS_MAX });
        }
        problems
    }

    /// The server's name in the cluster's DNS.
    pub(super) fn server_host(&self) -> String {
        format!("{}.{}.svc.cluster.local", super::APP, self.namespace)
    }

    /// What istiod calls the server's port in the proxies' clusters.
    pub(super) fn server_cluster(&self) -> String {
        format!("outbound|{}||{}", super::AUTHZ_PORT, self.server_host())
    }
}

/// What Kubernetes takes as the name of a namespace, and everywhere else as the strictest form of a name.
pub(super) fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
