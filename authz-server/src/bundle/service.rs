//! One folder under `services/`: a contract and the rules that go with it.

use super::contracts;
use super::files::{Files, Role};
use super::format::{Class, OperationRules, ServiceFile, Workload, parse_yaml};
use super::problem::{Place, Problem, Problems};
use palisade_core::canary;
use palisade_core::contract::{OperationClass, Service};
use palisade_core::limits::BODY_BYTES_MAX;
use std::collections::BTreeMap;

/// Names that a service cannot have, because the Cedar schema uses them for groups of actions.
const RESERVED: [&str; 4] = ["read", "write", "delete", canary::SERVICE];

/// What the contract does not hold of a service.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    pub name: String,
    pub workload: Workload,
    pub owner: String,
}

pub(super) fn read_all(files: &Files, problems: &mut Problems) -> Vec<(ServiceSettings, Service)> {
    let mut folders: BTreeMap<&str, (Option<_>, Option<_>)> = BTreeMap::new();
    for file in files.with_role(Role::Service) {
        folders.entry(folder(&file.path)).or_default().0 = Some(file);
    }
    for file in files.with_role(Role::OpenApi) {
        folders.entry(folder(&file.path)).or_default().1 = Some(file);
    }
    if folders.is_empty() {
        problems.push(
            Problem::new(Place::directory("services"), "the bundle has no services")
                .help("a service is a folder `services/<name>/` with `service.yaml` and `openapi.yaml`"),
        );
    }
    let mut services = Vec::new();
    for (name, parts) in folders {
        let missing = |file: &str| {
            Problem::new(
                Place::file(&format!("services/{name}/{file}")),
                format!("service `{name}` has no `{file}`"),
            )
        };
        match parts {
            (Some(service), Some(openapi)) => {
                let settings = problems.keep(parse_yaml::<ServiceFile>(service));
                let operations = problems.keep(contracts::read(openapi));
                if let (Some(settings), Some(operations)) = (settings, operations) {
                    services.extend(problems.keep(join(name, &service.path, settings, operations)));
                }
            }
            (None, _) => problems.push(missing("service.yaml")),
            (_, None) => problems.push(missing("openapi.yaml")),
        }
    }
    services
}

fn folder(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or(path)
}

fn join(
    name: &str,
    file: &str,
    settings: ServiceFile,
    mut operations: Vec<palisade_core::contract::Operation>,
) -> Result<(ServiceSettings, Service), Problems> {
    let mut problems = Problems::default();
    let mut wrong =
        |message: String, help: &str| problems.push(Problem::new(Place::file(file), message).help(help));
    if RESERVED.contains(&name) || !is_name(name) {
        wrong(
            format!("`{name}` cannot be the name of a service"),
            "expected lower-case letters, digits and hyphens, and none of `read`, `write`, `delete`, `palisade-canary`",
        );
    }
    if settings.hosts.is_empty() {
        wrong("`hosts` is empty".to_owned(), "name at least one host by which callers reach the service");
    }
    for host in settings.hosts.iter().filter(|host| !is_host(host)) {
        wrong(
            format!("`{host}` is not a host"),
            "expected a name in lower case without port, such as `orders.shop.svc.cluster.local`",
        );
    }
    for (id, rules) in &settings.operations {
        match operations.iter_mut().find(|operation| operation.name.as_ref() == id.as_str()) {
            None => wrong(
                format!("operation `{id}` is not in `openapi.yaml`"),
                "the key is an `operationId` of the contract",
            ),
            Some(operation) => {
                if let Err(message) = apply(operation, rules) {
                    wrong(format!("operation `{id}`: {message}"), "see the format reference in the README");
                }
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let hosts = settings.hosts.iter().map(|host| host.as_str().into()).collect();
    let service = Service { name: name.into(), hosts, operations };
    Ok((
        ServiceSettings { name: name.to_owned(), workload: settings.workload, owner: settings.owner },
        service,
    ))
}

fn apply(operation: &mut palisade_core::contract::Operation, rules: &OperationRules) -> Result<(), String> {
    let OperationRules { class, body_bytes_max, upgrade } = rules;
    if let Some(class) = class {
        operation.class = match class {
            Class::Read => OperationClass::Read,
            Class::Write => OperationClass::Write,
            Class::Delete => OperationClass::Delete,
        };
    }
    if let Some(bytes_max) = body_bytes_max {
        let body = operation
            .body
            .as_mut()
            .ok_or("`body_bytes_max` on an operation whose contract has no request body")?;
        if *bytes_max > BODY_BYTES_MAX {
            return Err(format!(
                "`body_bytes_max: {bytes_max}` is over the limit of {BODY_BYTES_MAX}, what a proxy can hold for HTTP/1.1"
            ));
        }
        body.bytes_max = *bytes_max;
    }
    if let Some(protocol) = upgrade {
        if protocol.is_empty()
            || !protocol
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        {
            return Err(format!(
                "`upgrade: {protocol}` is not a protocol in lower case, such as `websocket`"
            ));
        }
        if operation.body.is_some() {
            return Err(
                "an upgraded request is not held until its body was judged, so it cannot have body rules"
                    .to_owned(),
            );
        }
        operation.upgrade = Some(protocol.as_str().into());
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 63 && text.bytes().all(allowed)
}

fn is_host(text: &str) -> bool {
    // An address in brackets would need two spellings, one for Envoy and one for us; services have names.
    let one_spelling = !text.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'[');
    one_spelling
        && palisade_core::authority::Authority::parse(text.as_bytes()).is_ok_and(|read| read.port().is_none())
}
