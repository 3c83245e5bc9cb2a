//! What keeps a bundle from becoming objects of a cluster, said so that it can be mended.

use super::super::error::WiringProblem;
use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KubernetesProblem {
    NotAName {
        what: String,
        name: String,
    },
    NotATrustDomain {
        name: String,
    },
    Replicas {
        found: u16,
        max: u16,
    },
    LabelsMissing {
        service: String,
    },
    LabelInvalid {
        service: String,
        label: String,
    },
    /// Two selectors that could choose the same pod.
    SelectorsMeet {
        service: String,
        other: String,
        namespace: String,
    },
    ServesItself {
        service: String,
        namespace: String,
    },
    /// What no workload of Istio can do.
    Workload(WiringProblem),
    /// A limiter that a sidecar has no cluster for.
    LimiterOutsideMesh {
        service: String,
        address: String,
    },
    /// Both behind the ports of one workload, whose requests one list of limits is asked for.
    LimitsOfTwoServices {
        service: String,
        other: String,
    },
    ContractTooLarge {
        found: usize,
        max: usize,
    },
    BundleTooLarge {
        found: usize,
        max: usize,
    },
    FileTooLarge {
        path: String,
        found: usize,
        max: usize,
    },
    PathTooLong {
        path: String,
    },
}

impl fmt::Display for KubernetesProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KubernetesProblem::NotAName { what, name } => write!(
                f,
                "{what}: `{name}` is not a name in Kubernetes: expected at most 63 lower-case letters, digits and hyphens, with no hyphen at either end"
            ),
            KubernetesProblem::NotATrustDomain { name } => write!(
                f,
                "--trust-domain: `{name}` is not a trust domain: expected the mesh's own, such as `cluster.local` or `shop.example`"
            ),
            KubernetesProblem::Replicas { found, max } => {
                write!(f, "--replicas: {found} servers cannot be meant: expected 1 to {max}")
            }
            KubernetesProblem::LabelsMissing { service } => write!(
                f,
                "service `{service}` has no `workload.labels`: without them it would be every pod of its namespace"
            ),
            KubernetesProblem::LabelInvalid { service, label } => write!(
                f,
                "service `{service}`: `{label}` is not a label in Kubernetes: expected a key such as `app` or `example.com/app`, and a value of at most 63 letters, digits, `.`, `-`, `_` that begins and ends with a letter or digit"
            ),
            KubernetesProblem::SelectorsMeet { service, other, namespace } => write!(
                f,
                "the labels of services `{service}` and `{other}` in namespace `{namespace}` could select the same pod, which would then be configured twice: give both the same labels if they are one workload, or one label with different values if they are two"
            ),
            KubernetesProblem::ServesItself { service, namespace } => write!(
                f,
                "service `{service}` runs in namespace `{namespace}`, where the server is to run: choose another one by `--namespace`"
            ),
            KubernetesProblem::Workload(problem) => problem.fmt(f),
            KubernetesProblem::LimiterOutsideMesh { service, address } => write!(
                f,
                "service `{service}` has global limits, and the limiter's address `{address}` is no service of the mesh: write its full name into `rate_limit_service`, such as `ratelimit.limits.svc.cluster.local:8081`, so that the mesh protects the way to it"
            ),
            KubernetesProblem::LimitsOfTwoServices { service, other } => write!(
                f,
                "services `{service}` and `{other}` are one workload, and both have global limits: a sidecar cannot tell which of them a port serves; let the limits of one of them be of `scope: proxy`, or run it in a workload of its own"
            ),
            KubernetesProblem::ContractTooLarge { found, max } => write!(
                f,
                "the compiled contract takes {found} bytes in the filter's configuration, and {max} fit into one object of Kubernetes beside the rest: divide the bundle, one for each group of services with a server of its own"
            ),
            KubernetesProblem::BundleTooLarge { found, max } => write!(
                f,
                "the bundle's files take {found} bytes, and {max} are the most that ConfigMaps should carry: build them into the server's image and say `--bundle-in-image`"
            ),
            KubernetesProblem::FileTooLarge { path, found, max } => write!(
                f,
                "`{path}` takes {found} bytes, and a ConfigMap holds {max}: divide the file, or build the bundle into the server's image and say `--bundle-in-image`"
            ),
            KubernetesProblem::PathTooLong { path } => write!(
                f,
                "`{path}` is too long for the key of a ConfigMap: shorten it, or build the bundle into the server's image and say `--bundle-in-image`"
            ),
        }
    }
}
