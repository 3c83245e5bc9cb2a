//! What people write: the keys of `palisade.yaml`, `service.yaml` and `entities/*.yaml`.
//!
//! INVARIANT: an unknown key is an error everywhere, and nothing about trust has a default.

use super::files::File;
use super::problem::{Place, Problem, Problems};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// The version of the directory layout that this build reads.
pub const FORMAT_VERSION: u32 = 1;

/// The longest time for which the bundle before this one may still be honoured.
const PREVIOUS_BUNDLE_ACCEPTED_S_MAX: u64 = 24 * 60 * 60;

/// `palisade.yaml`: what holds for all services.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Palisade {
    /// The version of the bundle's layout.
    pub palisade: u32,
    /// SPIFFE trust domains whose workloads may be callers. No default; an empty list trusts none.
    pub trust_domains: Vec<String>,
    /// Where identities come from.
    pub identity: Identity,
    /// How filter and server change from one bundle to the next.
    pub handoff: HandoffSettings,
}

/// `identity`: the sources beside the workload's own certificate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Absent: no API keys are read.
    pub api_keys: Option<ApiKeys>,
}

/// `identity.api_keys`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeys {
    /// The header that carries the key, in lower case.
    pub header: String,
}

/// `handoff`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandoffSettings {
    /// For how long after a change filters may still work with the bundle before.
    pub previous_bundle_accepted_s: u64,
}

/// `services/<name>/service.yaml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceFile {
    /// Names by which callers reach the service, without port.
    pub hosts: Vec<String>,
    /// Which workload it is, for Istio's selectors.
    pub workload: Workload,
    /// Who is asked about it.
    pub owner: String,
    /// Rules by operationId; an operation that needs none is left out.
    #[serde(default)]
    pub operations: BTreeMap<String, OperationRules>,
}

/// `workload`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
}

/// `operations.<operationId>`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationRules {
    /// `read`, `write` or `delete`. Absent: by method.
    pub class: Option<Class>,
    /// The largest body that is accepted. Absent: 65536.
    pub body_bytes_max: Option<u32>,
    /// The protocol to which the operation may be upgraded, for example `websocket`.
    pub upgrade: Option<String>,
}

/// The class of an operation as it is written.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    Read,
    Write,
    Delete,
}

/// `entities/*.yaml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntitiesFile {
    #[serde(default)]
    pub groups: BTreeMap<String, Member>,
    #[serde(default)]
    pub clients: BTreeMap<String, Member>,
    /// By SPIFFE id.
    #[serde(default)]
    pub workloads: BTreeMap<String, Member>,
}

/// What an entity belongs to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    #[serde(default)]
    pub groups: Vec<String>,
}

/// Reads a document with its place in every error.
pub(super) fn parse_yaml<T: DeserializeOwned>(file: &File) -> Result<T, Problems> {
    serde_saphyr::from_str(&file.text).map_err(|error| {
        let place = match error.location() {
            Some(location) => Place::at(&file.path, location.line(), location.column()),
            None => Place::file(&file.path),
        };
        Problem::new(place, first_line(&error.without_snippet().to_string())).into()
    })
}

/// The parser's message without the place, which stands before it.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or(text);
    line.split(" at line ").next().unwrap_or(line).to_owned()
}

impl Palisade {
    pub(super) fn check(&self, file: &str) -> Result<(), Problems> {
        let mut problems = Problems::default();
        let mut wrong =
            |message: String, help: &str| problems.push(Problem::new(Place::file(file), message).help(help));
        if self.palisade != FORMAT_VERSION {
            wrong(
                format!("unknown bundle version `{}`", self.palisade),
                "this build reads `palisade: 1`; use the release that wrote the bundle",
            );
        }
        for domain in self.trust_domains.iter().filter(|domain| !is_trust_domain(domain)) {
            wrong(
                format!("`{domain}` is not a trust domain"),
                "expected a name such as `shop.example`: lower-case letters, digits, `.`, `-`, `_`",
            );
        }
        if let Some(keys) = &self.identity.api_keys
            && !is_header_name(&keys.header)
        {
            wrong(
                format!("`{}` cannot carry an API key", keys.header),
                "expected a header name in lower case without underscore, such as `x-api-key`",
            );
        }
        if self.handoff.previous_bundle_accepted_s > PREVIOUS_BUNDLE_ACCEPTED_S_MAX {
            wrong(
                format!(
                    "`previous_bundle_accepted_s: {}` is longer than a day",
                    self.handoff.previous_bundle_accepted_s
                ),
                "a rollout takes minutes; an old bundle is honoured only for that long",
            );
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

/// SPIFFE's own rule for a trust domain.
pub(crate) fn is_trust_domain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(allowed)
}

fn is_header_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 64 && text.bytes().all(allowed) && !text.starts_with("x-palisade-")
}
