//! The compiled contract: what each service accepts. Written by `palisade build`, read by filter and server.
//!
//! Its bytes begin with a magic and a version; what follows is checked against `limits` before it is believed.
//! A JSON carrier holds the same bytes in base64, because Istio's plugin configuration can only be JSON.
//! `parameter`, `body`, `response` and `shadow` are what it says of one operation, `shedding` what it says of load; `check`
//! refuses what could not be kept.
//! INVARIANT: a contract that was decoded is one that could have been assembled: names, hosts and routes are unique, and
//! every schema that is named is there.

mod body;
mod check;
mod codec;
mod parameter;
mod response;
mod shadow;
mod shedding;
#[cfg(test)]
pub(crate) mod tests;

pub use body::{BodyRule, Content, Form, MediaType};
pub use codec::ContractError;
pub use parameter::{Between, ObjectWriting, Parameter, Part, Properties, Scalars, Writing};
pub use response::{Enforcement, ResponseMedia, ResponseRule, ResponseRules, Status};
pub use shadow::{Rule, Shadows};
pub use shedding::{Priority, RateKey, RateLimit, ShedMode, ShedScope, Shedding};

use crate::canary;
use crate::limits::{HOSTS_MAX, OPERATIONS_MAX, SERVICES_MAX};
use crate::method::Method;
use crate::routes::{OperationIndex, RouteMatch, Routes, Segment};
use crate::schema::{CompiledSchemas, SchemaTable};

/// The identity of a bundle: SHA-256 over its files.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BundleDigest(pub [u8; 32]);

impl BundleDigest {
    /// Reads a digest as it is printed.
    pub fn parse(text: &str) -> Option<BundleDigest> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(BundleDigest(bytes))
    }
}

impl core::fmt::Display for BundleDigest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl core::fmt::Debug for BundleDigest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "BundleDigest({self})")
    }
}

/// What an operation does to data. It chooses ledger mode and fail mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum OperationClass {
    Read = 0,
    Write = 1,
    Delete = 2,
}

impl OperationClass {
    pub const ALL: [OperationClass; 3] =
        [OperationClass::Read, OperationClass::Write, OperationClass::Delete];

    pub const fn as_str(self) -> &'static str {
        match self {
            OperationClass::Read => "read",
            OperationClass::Write => "write",
            OperationClass::Delete => "delete",
        }
    }
}

/// One method on one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub name: Box<str>,
    pub method: Method,
    pub class: OperationClass,
    pub template: Vec<Segment>,
    /// The protocol to which this operation may be upgraded, in lower case.
    pub upgrade: Option<Box<str>>,
    /// In the order of part, then name.
    pub parameters: Box<[Parameter]>,
    /// None: the operation takes no body.
    pub body: Option<BodyRule>,
    pub responses: Box<ResponseRules>,
    pub shadows: Shadows,
    pub priority: Priority,
    /// A call goes on also where the server that decides cannot be reached.
    pub fails_open: bool,
}

/// gRPC's media type, as Envoy knows it.
pub(crate) const GRPC: &str = "application/grpc";

impl Operation {
    /// One without parameters and body, whose responses nobody looks at.
    pub fn new(name: &str, method: Method, class: OperationClass, template: Vec<Segment>) -> Operation {
        let responses =
            ResponseRules { head: Enforcement::Off, body: Enforcement::Off, ..ResponseRules::default() };
        Operation {
            name: name.into(),
            method,
            class,
            template,
            upgrade: None,
            parameters: Box::default(),
            body: None,
            responses: Box::new(responses),
            shadows: Shadows::default(),
            priority: Priority::default(),
            fails_open: false,
        }
    }

    /// Its parameters that stand in one part of a request.
    pub fn parameters_in(&self, part: Part) -> impl Iterator<Item = &Parameter> + Clone {
        self.parameters.iter().filter(move |parameter| parameter.part == part)
    }

    pub fn takes_grpc(&self) -> bool {
        self.media_types().any(|essence| essence == GRPC)
    }

    /// Whether a body must be held until it was judged.
    pub fn has_body_rules(&self) -> bool {
        self.media_types().any(|essence| essence != GRPC)
    }

    /// Whether its requests may go on before they have ended.
    pub fn is_stream(&self) -> bool {
        self.takes_grpc() || self.upgrade.is_some()
    }

    pub fn media_types(&self) -> impl Iterator<Item = &str> {
        self.body.iter().flat_map(|body| &body.media_types).map(|known| known.essence.as_ref())
    }
}

impl Service {
    /// Whether a target that has one gate for all operations of a service must leave this one without: it has streams,
    /// and no body that must be held.
    pub fn is_ungated(&self) -> bool {
        self.operations.iter().any(Operation::is_stream)
            && !self.operations.iter().any(Operation::has_body_rules)
    }
}

/// One service and the names by which it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub name: Box<str>,
    /// In lower case, without port.
    pub hosts: Vec<Box<str>>,
    pub operations: Vec<Operation>,
    /// `None`: nothing is said of load.
    pub shedding: Option<Box<Shedding>>,
}

/// A contract ready to be asked.
#[derive(Debug, Clone)]
pub struct Contract {
    digest: BundleDigest,
    identity_headers: Vec<Box<str>>,
    /// The canary's service is the last one; it is in every contract and in no bytes.
    services: Vec<Service>,
    /// Sorted by host; the index is that of the service.
    hosts: Vec<(Box<str>, usize)>,
    routes: Vec<Routes>,
    /// For each operation its service and its place there.
    operations: Vec<(usize, usize)>,
    schemas: CompiledSchemas,
}

/// An operation that a request was matched to.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'a> {
    pub index: OperationIndex,
    pub service: &'a Service,
    pub operation: &'a Operation,
}

/// Why a request matches no operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatched {
    Host,
    Path,
    Method,
}

impl Contract {
    /// Indexes the services, the canary's among them.
    pub fn assemble(
        digest: BundleDigest,
        identity_headers: Vec<Box<str>>,
        mut services: Vec<Service>,
        schemas: SchemaTable,
    ) -> Result<Contract, ContractError> {
        let schemas = CompiledSchemas::assemble(schemas)?;
        services.push(canary::service());
        if services.len() > SERVICES_MAX {
            return Err(ContractError::TooMany {
                what: "services",
                found: services.len(),
                max: SERVICES_MAX,
            });
        }
        let mut contract = Contract {
            digest,
            identity_headers,
            services: Vec::new(),
            hosts: Vec::new(),
            routes: Vec::new(),
            operations: Vec::new(),
            schemas,
        };
        for service in services {
            contract.add(service)?;
        }
        contract.hosts.sort();
        let twice = contract.hosts.array_windows().find(|[(one, _), (other, _)]| one == other);
        if let Some([(host, _), _]) = twice {
            return Err(ContractError::HostTaken { host: host.clone() });
        }
        Ok(contract)
    }

    fn add(&mut self, service: Service) -> Result<(), ContractError> {
        let at = self.services.len();
        if self.services.iter().any(|known| known.name == service.name) {
            return Err(ContractError::ServiceTaken { service: service.name });
        }
        if service.hosts.len() > HOSTS_MAX {
            return Err(ContractError::TooMany { what: "hosts", found: service.hosts.len(), max: HOSTS_MAX });
        }
        if let Some(shedding) = &service.shedding {
            check::shedding(shedding, &service, &self.identity_headers)?;
        }
        self.hosts.extend(service.hosts.iter().map(|host| (host.clone(), at)));
        let mut routes = Routes::default();
        for (place, operation) in service.operations.iter().enumerate() {
            let index = self.operations.len();
            if index >= OPERATIONS_MAX {
                return Err(ContractError::TooMany { what: "operations", found: index, max: OPERATIONS_MAX });
            }
            check::operation(operation, self.schemas.len())?;
            let index = OperationIndex(u32::try_from(index).unwrap_or(u32::MAX));
            if routes.insert(operation.method, &operation.template, index).is_err() {
                return Err(ContractError::RouteTaken {
                    service: service.name.clone(),
                    operation: operation.name.clone(),
                });
            }
            self.operations.push((at, place));
        }
        self.routes.push(routes);
        self.services.push(service);
        Ok(())
    }

    pub const fn digest(&self) -> BundleDigest {
        self.digest
    }

    /// Headers that carry an identity: they may come only once.
    pub fn identity_headers(&self) -> &[Box<str>] {
        &self.identity_headers
    }

    /// All schemas that operations name.
    pub const fn schemas(&self) -> &CompiledSchemas {
        &self.schemas
    }

    /// All services, the canary's at the end.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The first operation of a service, by which the service can be named where operations are.
    pub fn first_operation(&self, service: &str) -> Option<OperationIndex> {
        let service = self.services.iter().position(|known| &*known.name == service)?;
        let place = self.operations.iter().position(|(of, _)| *of == service)?;
        u32::try_from(place).ok().map(OperationIndex)
    }

    pub fn operation(&self, index: OperationIndex) -> Option<Matched<'_>> {
        let (service, place) = self.operations.get(usize::try_from(index.0).ok()?)?;
        let service = self.services.get(*service)?;
        Some(Matched { index, service, operation: service.operations.get(*place)? })
    }

    /// The operation of a request. Hosts are compared without regard to case, everything else byte by byte.
    pub fn find<'p>(
        &self,
        host: &str,
        method: Method,
        segments: impl Iterator<Item = &'p str> + Clone,
    ) -> Result<Matched<'_>, Unmatched> {
        let service = self.service_of(host).ok_or(Unmatched::Host)?;
        match self.routes.get(service).map(|routes| routes.find(method, segments)) {
            Some(RouteMatch::Operation(index)) => self.operation(index).ok_or(Unmatched::Path),
            Some(RouteMatch::MethodNotDeclared) => Err(Unmatched::Method),
            Some(RouteMatch::Unknown) | None => Err(Unmatched::Path),
        }
    }

    fn service_of(&self, host: &str) -> Option<usize> {
        let compare = |known: &str| known.bytes().cmp(host.bytes().map(|byte| byte.to_ascii_lowercase()));
        let place = self.hosts.binary_search_by(|(known, _)| compare(known)).ok()?;
        self.hosts.get(place).map(|(_, service)| *service)
    }
}
