//! Workloads: the services of a bundle by the pods that serve them.
//!
//! INVARIANT: no pod is chosen by the selectors of two workloads, so none is configured twice.

use super::super::error::WiringProblem;
use super::super::istio::{fail_mode_problem, response_problems};
use super::super::limiter;
use super::super::listener::held_bytes_max;
use super::problem::KubernetesProblem;
use super::settings::{Settings, is_label};
use crate::bundle::{Bundle, ServiceSettings};
use palisade_core::canary;
use palisade_core::contract::{Contract, Operation, Service};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Pods with one selector, and the services that they serve.
#[derive(Debug)]
pub(super) struct Workload<'a> {
    /// That of its first service.
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    labels: &'a BTreeMap<String, String>,
    pub(super) owners: BTreeSet<&'a str>,
    services: Vec<&'a Service>,
    canary: Option<&'a Service>,
}

impl<'a> Workload<'a> {
    pub(super) fn labels(&self) -> Value {
        json!(self.labels)
    }

    pub(super) fn object_name(&self) -> String {
        format!("{}-{}", super::APP, self.name)
    }

    /// For one line of a comment.
    pub(super) fn described(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let services: Vec<_> = self.services.iter().map(|service| service.name.as_ref()).collect();
        let owners: Vec<_> = self.owners.iter().copied().collect();
        format!(
            "Workload {} in namespace {}, serving {}; owned by {}.",
            labels.join(","),
            self.namespace,
            services.join(", "),
            owners.join(", "),
        )
    }

    pub(super) fn serves(&self, service: &str) -> bool {
        self.services.iter().any(|served| *served.name == *service)
    }

    fn operations(&self) -> impl Iterator<Item = (&'a Service, &'a Operation)> {
        self.services
            .iter()
            .flat_map(|service| service.operations.iter().map(|operation| (*service, operation)))
    }

    pub(super) fn has_streams(&self) -> bool {
        self.operations().any(|(_, operation)| operation.is_stream())
    }

    pub(super) fn has_upgrades(&self) -> bool {
        self.operations().any(|(_, operation)| operation.upgrade.is_some())
    }

    /// Whether bodies are held until they were judged. Streams would wait for ever; `problems` sees to it that no
    /// workload has both.
    pub(super) fn is_gated(&self) -> bool {
        !self.has_streams() || self.operations().any(|(_, operation)| operation.has_body_rules())
    }

    /// The largest body that is held, the canary's among them.
    pub(super) fn body_bytes_max(&self) -> u32 {
        let canary = self.canary.iter().flat_map(|service| &service.operations);
        let own = self.operations().map(|(_, operation)| operation);
        own.chain(canary).map(held_bytes_max).max().unwrap_or(0)
    }

    fn response_problems(&self) -> Vec<KubernetesProblem> {
        let problems = self.services.iter().flat_map(|service| response_problems(service));
        problems.map(KubernetesProblem::Workload).collect()
    }

    fn stream_problems(&self) -> Vec<KubernetesProblem> {
        let Some((of, body)) = self.operations().find(|(_, operation)| operation.has_body_rules()) else {
            return Vec::new();
        };
        let shown = |service: &Service, operation: &Operation| match self.services.len() {
            1 => operation.name.to_string(),
            _ => format!("{}.{}", service.name, operation.name),
        };
        let streams = self.operations().filter(|(_, operation)| operation.is_stream());
        let problems = streams.map(|(service, stream)| {
            KubernetesProblem::Workload(WiringProblem::StreamBesideBody {
                service: service.name.to_string(),
                stream: shown(service, stream),
                body: shown(of, body),
            })
        });
        problems.collect()
    }
}

/// The workloads in the order of their first services.
pub(super) fn workloads(bundle: &Bundle) -> Vec<Workload<'_>> {
    let mut workloads: Vec<Workload<'_>> = Vec::new();
    for settings in &bundle.services {
        let Some(service) = service_named(&bundle.contract, &settings.name) else { continue };
        let of = &settings.workload;
        let known = workloads
            .iter_mut()
            .find(|workload| workload.namespace == of.namespace && *workload.labels == of.labels);
        match known {
            Some(workload) => {
                workload.services.push(service);
                workload.owners.insert(&settings.owner);
            }
            None => workloads.push(Workload {
                name: &settings.name,
                namespace: &of.namespace,
                labels: &of.labels,
                owners: BTreeSet::from([settings.owner.as_str()]),
                services: vec![service],
                canary: service_named(&bundle.contract, canary::SERVICE),
            }),
        }
    }
    workloads
}

fn service_named<'a>(contract: &'a Contract, name: &str) -> Option<&'a Service> {
    contract.services().iter().find(|service| service.name.as_ref() == name)
}

/// All that keeps services from being workloads.
pub(super) fn problems(bundle: &Bundle, settings: &Settings) -> Vec<KubernetesProblem> {
    let mut problems: Vec<_> =
        bundle.services.iter().flat_map(|service| named_wrong(service, settings)).collect();
    let fails_open = bundle.contract.services().iter().find_map(fail_mode_problem);
    problems.extend(fails_open.map(KubernetesProblem::Workload));
    let workloads = workloads(bundle);
    for (at, one) in workloads.iter().enumerate() {
        let meets = |other: &&Workload<'_>| {
            one.namespace == other.namespace
                // Only a label with two values keeps two selectors apart.
                && !one.labels.iter().any(|(key, value)| other.labels.get(key).is_some_and(|found| found != value))
        };
        problems.extend(workloads.iter().skip(at + 1).filter(meets).map(|other| {
            KubernetesProblem::SelectorsMeet {
                service: one.name.to_owned(),
                other: other.name.to_owned(),
                namespace: one.namespace.to_owned(),
            }
        }));
        problems.extend(one.stream_problems());
        problems.extend(one.response_problems());
        problems.extend(limit_problems(bundle, one));
    }
    problems
}

/// What keeps global limits from being asked for. A workload's virtual hosts are made by port, and so the same for all
/// services behind it.
fn limit_problems(bundle: &Bundle, workload: &Workload<'_>) -> Vec<KubernetesProblem> {
    let limited = |service: &&ServiceSettings| !service.global_limits.is_empty();
    let mut limited = bundle.services.iter().filter(|service| workload.serves(&service.name)).filter(limited);
    let (Some(one), limiter) = (limited.next(), &bundle.palisade.rate_limit_service) else {
        return Vec::new();
    };
    let address = limiter.as_ref().filter(|limiter| limiter::cluster_in_mesh(limiter).is_none());
    let outside = address.map(|limiter| KubernetesProblem::LimiterOutsideMesh {
        service: one.name.clone(),
        address: limiter.address.value.clone(),
    });
    let other = limited.next().map(|other| KubernetesProblem::LimitsOfTwoServices {
        service: one.name.clone(),
        other: other.name.clone(),
    });
    outside.into_iter().chain(other).collect()
}

fn named_wrong(service: &ServiceSettings, settings: &Settings) -> Vec<KubernetesProblem> {
    let mut problems = Vec::new();
    let name = || service.name.clone();
    if !is_label(&service.workload.namespace) {
        problems.push(KubernetesProblem::NotAName {
            what: format!("the namespace of service `{}`", service.name),
            name: service.workload.namespace.clone(),
        });
    }
    if service.workload.namespace == settings.namespace {
        problems
            .push(KubernetesProblem::ServesItself { service: name(), namespace: settings.namespace.clone() });
    }
    if !is_label(&service.name) {
        problems.push(KubernetesProblem::NotAName {
            what: "the folder of a service, after which objects are named".to_owned(),
            name: name(),
        });
    }
    if service.workload.labels.is_empty() {
        problems.push(KubernetesProblem::LabelsMissing { service: name() });
    }
    let wrong =
        service.workload.labels.iter().filter(|(key, value)| !is_label_key(key) || !is_label_value(value));
    problems.extend(wrong.map(|(key, value)| KubernetesProblem::LabelInvalid {
        service: name(),
        label: format!("{key}: {value}"),
    }));
    problems
}

fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((domain, name)) => domain.len() <= 253 && domain.split('.').all(is_label) && is_word(name),
        None => is_word(text),
    }
}

/// An empty value is allowed by Kubernetes. As the selector of a policy it is a slip.
fn is_label_value(text: &str) -> bool {
    is_word(text)
}

fn is_word(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && edge(text.bytes().next())
        && edge(text.bytes().last())
}
