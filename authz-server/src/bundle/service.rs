//! One folder under `services/`: a contract and the rules that go with it.

use super::callers::{self, Identity};
use super::compiled::settings::Terms;
use super::context::{CONTEXT_BODY_BYTES_MAX, OperationContext};
use super::files::Role;
use super::format::{Class, OperationRules, ReadOnly, ServiceFile, Workload};
use super::masks;
use super::openapi::{self, Model};
use super::parsed::{Document, Parsed};
use super::problem::{Place, Problem, Problems};
use super::record::{Named, Placed, Read as _, Reader};
use super::shedding::format::PriorityWord;
use super::shedding::{self, GlobalLimit, Load};
use crate::identity::Accepted;
use palisade_core::canary;
use palisade_core::contract::{Operation, OperationClass, Service};
use palisade_core::limits::BODY_BYTES_MAX;
use std::collections::{BTreeMap, HashMap};

/// Names that a service cannot have, because the Cedar schema uses them for groups of actions.
const RESERVED: [&str; 4] = ["read", "write", "delete", canary::SERVICE];

/// What the contract does not hold of a service.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    pub name: String,
    pub workload: Workload,
    pub owner: String,
    pub read_only: ReadOnly,
    /// How its callers may prove who they are.
    pub accepted: Accepted,
    /// What a limiter counts for all proxies together.
    pub global_limits: Vec<GlobalLimit>,
}

/// All services of a bundle.
#[derive(Debug)]
pub(super) struct ServicesRead {
    pub(super) services: Vec<ServiceRead>,
    /// Whether all operations are what their authors wrote, so that policies can be judged by them. An owner who is
    /// missing does not matter to that.
    pub(super) operations_hold: bool,
}

/// One service of a bundle: its contract, its settings, and what policies may ask of each operation.
#[derive(Debug)]
pub(super) struct ServiceRead {
    pub(super) settings: ServiceSettings,
    /// Each host with its place.
    hosts: Vec<(String, Place)>,
    operations_hold: bool,
    pub(super) service: Service,
    /// How its contract is kept to.
    pub(super) terms: Terms,
    /// In the order of the service's operations.
    pub(super) contexts: Vec<OperationContext>,
    pub(super) model: Model,
}

/// Reads all services. What stands in the headers of `credentials` is never recorded.
pub(super) fn read_all(
    files: &Parsed<'_>,
    (credentials, identity): (&[Box<str>], Option<&Identity>),
    problems: &mut Problems,
) -> ServicesRead {
    let mut folders: BTreeMap<&str, (Option<&Document<'_>>, Vec<&Document<'_>>)> = BTreeMap::new();
    for document in files.with_role(Role::Service) {
        folders.entry(folder(&document.file.path)).or_default().0 = Some(document);
    }
    for document in files.with_role(Role::OpenApi) {
        folders.entry(folder(&document.file.path)).or_default().1.push(document);
    }
    if folders.is_empty() {
        problems.push(
            Problem::new(Place::directory("services"), "the bundle has no services")
                .help("a service is a folder `services/<name>/` with `service.yaml` and `openapi.yaml`"),
        );
    }
    let mut services = Vec::new();
    let count = folders.len();
    for (name, parts) in folders {
        let missing = |file: &str| {
            Problem::new(
                Place::file(&format!("services/{name}/{file}")),
                format!("service `{name}` has no `{file}`"),
            )
        };
        match (parts.0, parts.1.as_slice()) {
            (Some(service), [contract]) => {
                services.extend(read(name, service, contract, (credentials, identity), problems));
            }
            (None, _) => problems.push(missing("service.yaml")),
            (_, []) => problems.push(missing("openapi.yaml")),
            (_, [_, second, ..]) => problems.push(
                Problem::new(Place::file(&second.file.path), format!("service `{name}` has two contracts"))
                    .help("keep one of `openapi.yaml`, `openapi.yml` and `openapi.json`"),
            ),
        }
    }
    check_hosts(&mut services, problems);
    let operations_hold = services.len() == count && services.iter().all(|service| service.operations_hold);
    ServicesRead { services, operations_hold }
}

/// A host belongs to one service, and once. One that does not is reported and left out, so that the rest can be judged.
fn check_hosts(services: &mut [ServiceRead], problems: &mut Problems) {
    let mut known: HashMap<String, (String, Place)> = HashMap::new();
    for service in services {
        let name = service.settings.name.clone();
        let mut kept = Vec::new();
        for (host, place) in std::mem::take(&mut service.hosts) {
            if host == canary::HOST {
                let problem = Problem::new(place, format!("host `{host}` belongs to the canary"));
                problems
                    .push(problem.help("requests to it show that the proxy is whole; choose another name"));
            } else if let Some((other, first)) = known.get(&host) {
                let message = if *other == name {
                    format!("host `{host}` is written twice")
                } else {
                    format!("host `{host}` belongs to service `{other}` already")
                };
                let help = format!("the other one is at {first}; a request is for one service");
                problems.push(Problem::new(place, message).help(help));
            } else {
                kept.push(host.as_str().into());
                known.insert(host, (name.clone(), place));
            }
        }
        service.service.hosts = kept;
    }
}

pub(super) fn read(
    name: &str,
    service: &Document<'_>,
    contract: &Document<'_>,
    (credentials, identity): (&[Box<str>], Option<&Identity>),
    problems: &mut Problems,
) -> Option<ServiceRead> {
    let mut reader = Reader::new(service.file);
    let settings = ServiceFile::read(&service.root, &mut reader);
    let stated = settings.as_ref().and_then(|settings| settings.base_path.as_ref());
    let base = stated.and_then(|written| {
        let (base, wrong) = openapi::base_path(service, written);
        problems.extend(wrong);
        base
    });
    let (model, wrong) = openapi::read(contract, base);
    // Beside a contract that could not be read as a whole, an operation that is missing may be one that is wrong.
    let whole = !wrong.has_errors();
    problems.extend(wrong);
    let rules_hold = whole && rules_hold(service, &reader);
    let joined = match (settings, model) {
        (Some(settings), Some(model)) => {
            let mut joined = join(name, settings, (model, whole), (credentials, identity), &mut reader);
            joined.operations_hold &= rules_hold;
            Some(joined)
        }
        _ => None,
    };
    problems.extend(reader.problems);
    joined
}

/// Whether the rules by operation could be read, whatever is wrong with the keys beside them.
fn rules_hold(service: &Document<'_>, reader: &Reader<'_>) -> bool {
    let Some(rules) = service.root.find("operations") else {
        return reader.problems.iter().all(|problem| problem.suggestion.as_deref() != Some("operations"));
    };
    let mut again = Reader::new(service.file);
    let read = Named::<OperationRules>::read(rules, &mut again);
    read.is_some() && !again.problems.has_errors()
}

fn folder(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or(path)
}

fn join(
    name: &str,
    settings: ServiceFile,
    (model, whole): (Model, bool),
    (credentials, identity): (&[Box<str>], Option<&Identity>),
    reader: &mut Reader<'_>,
) -> ServiceRead {
    let mut operations = openapi::operations(&model);
    let named = !RESERVED.contains(&name) && is_name(name);
    if !named {
        let place = Place::directory(&format!("services/{name}"));
        let message = format!("`{name}` cannot be the name of a service");
        let help = "expected lower-case letters, digits and hyphens, and none of `read`, `write`, `delete`, `palisade-canary`";
        reader.push(Problem::new(place, message).help(help));
    }
    if let Some(Placed { value: hosts, at }) = &settings.hosts.0
        && hosts.is_empty()
    {
        reader.wrong(*at, "`hosts` is empty", "name at least one host by which callers reach the service");
    }
    let hosts = settings.hosts.0.clone().unwrap_or_default().value;
    for host in hosts.iter().filter(|host| !is_host(&host.value)) {
        reader.wrong(
            host.at,
            format!("`{}` is not a host", host.value),
            "expected a name in lower case without port, such as `orders.shop.svc.cluster.local`",
        );
    }
    let judged = reader.problems.clone();
    for (key, rules) in &settings.operations.0 {
        match operations.iter_mut().find(|operation| *operation.name == *key.text) {
            Some(operation) => apply(operation, rules, reader),
            None if !whole => {}
            None => {
                let known = operations.iter().map(|operation| operation.name.as_ref());
                let problem = Problem::new(
                    reader.place(key.at),
                    format!("operation `{}` is not in the contract of `{name}`", key.text),
                );
                reader.push(problem.suggest(&key.text, known).help("the key is an `operationId`"));
            }
        }
    }
    let mut contexts = contexts(&model, &operations, &settings.operations, credentials, reader);
    let placed = hosts.iter().map(|host| (host.value.clone(), reader.place(host.at))).collect();
    let hosts = hosts.iter().map(|host| host.value.as_str().into()).collect();
    let operations_hold = named && reader.problems == judged;
    // What policies are judged by does not depend on masks.
    for (declared, context) in model.operations.iter().zip(&mut contexts) {
        let rules = settings.operations.0.iter().find(|(key, _)| *key.text == *declared.id);
        if let Some((_, rules)) = rules {
            masks::of_operation((&model, declared), &rules.mask, credentials, context, reader);
        }
    }
    let rules_of =
        |id: &str| settings.operations.0.iter().find(|(key, _)| key.text == id).map(|(_, rules)| rules);
    let rules = operations.iter().map(|operation| (operation.class, rules_of(&operation.name)));
    let terms = Terms::read(&settings, rules, reader);
    let known = shedding::Known { service: name, operations: &operations, whole, credentials };
    let Load { shedding, global: global_limits } = shedding::read(&settings, known, reader);
    // Beside a `palisade.yaml` that could not be read nobody can say which issuers there are.
    let ways = settings.identity.as_deref();
    let accepted = identity.map_or(Accepted::ALL, |identity| callers::accepted(ways, identity, reader));
    // Where one of these is missing, that was reported, and no bundle is made of the rest.
    let nothing = Workload { namespace: String::new(), labels: BTreeMap::new() };
    ServiceRead {
        settings: ServiceSettings {
            name: name.to_owned(),
            workload: settings.workload.0.unwrap_or(nothing),
            owner: settings.owner.0.unwrap_or_default(),
            read_only: settings.read_only,
            accepted,
            global_limits,
        },
        hosts: placed,
        operations_hold,
        service: Service { name: name.into(), hosts, operations, shedding },
        terms,
        contexts,
        model,
    }
}

fn contexts(
    model: &Model,
    operations: &[Operation],
    rules: &Named<OperationRules>,
    credentials: &[Box<str>],
    reader: &mut Reader<'_>,
) -> Vec<OperationContext> {
    let mut contexts = Vec::with_capacity(operations.len());
    for (declared, operation) in model.operations.iter().zip(operations) {
        let rules = rules.0.iter().find(|(key, _)| *key.text == *operation.name).map(|(_, rules)| rules);
        let asked = rules.map(|rules| &rules.context);
        let context = openapi::context(model, declared, asked, credentials, reader);
        if let Some(Placed { value: bytes_max, at }) = rules.and_then(|rules| rules.body_bytes_max.as_ref())
            && context.reads_body()
            && *bytes_max > CONTEXT_BODY_BYTES_MAX
        {
            reader.wrong(
                *at,
                format!("`body_bytes_max: {bytes_max}` is too much for a body whose fields policies ask for"),
                format!("the server sees such bodies whole, up to {CONTEXT_BODY_BYTES_MAX} bytes"),
            );
        }
        contexts.push(context);
    }
    contexts
}

fn apply(operation: &mut Operation, rules: &OperationRules, reader: &mut Reader<'_>) {
    let OperationRules { class, body_bytes_max, upgrade, priority, .. } = rules;
    operation.priority = priority.map(PriorityWord::compiled).unwrap_or_default();
    if let Some(class) = class {
        operation.class = match class {
            Class::Read => OperationClass::Read,
            Class::Write => OperationClass::Write,
            Class::Delete => OperationClass::Delete,
        };
    }
    if let Some(Placed { value: bytes_max, at }) = body_bytes_max {
        match operation.body.as_mut() {
            _ if *bytes_max > BODY_BYTES_MAX => reader.wrong(
                *at,
                format!("`body_bytes_max: {bytes_max}` is over the limit of {BODY_BYTES_MAX}"),
                "that is what a proxy can hold of a request that came by HTTP/1.1",
            ),
            Some(body) => body.bytes_max = *bytes_max,
            None => reader.wrong(
                *at,
                format!("operation `{}` has no request body in its contract", operation.name),
                "declare a `requestBody` in the contract, or remove `body_bytes_max`",
            ),
        }
    }
    if let Some(Placed { value: protocol, at }) = upgrade {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if protocol.is_empty() || !protocol.bytes().all(allowed) {
            reader.wrong(
                *at,
                format!("`{protocol}` is not the name of a protocol"),
                "expected it in lower case, such as `websocket`",
            );
        } else if operation.body.is_some() {
            reader.wrong(
                *at,
                format!("operation `{}` has a request body and an upgrade", operation.name),
                "an upgraded request is not held until its body was judged, so it cannot have body rules",
            );
        }
        operation.upgrade = Some(protocol.as_str().into());
    }
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
