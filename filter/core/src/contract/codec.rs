//! The bytes of a compiled contract.
//!
//! Layout, version 3: magic `PLSC`, version u16, digest 32 bytes, identity headers, services, and behind a u32 count the
//! bytes of the schemas; each list behind a u32 count, each text behind a u16 length, all integers big-endian; nothing may
//! follow. `operation` is what stands of one operation, `parameter` how a value is written, `shedding` what is said of load.

mod operation;
mod parameter;
mod shedding;

use super::{BundleDigest, Contract, Service};
use crate::limits::{
    CONTRACT_BYTES_MAX, HOSTS_MAX, IDENTITY_HEADERS_MAX, NAME_BYTES_MAX, OPERATIONS_MAX, SERVICES_MAX,
};
use crate::schema::{SchemaTable, SchemasError};
use crate::wire::{Reader, WireError, Writer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use operation::{read_operation, write_operation};
use serde::{Deserialize, Serialize};
use shedding::{read_shedding, write_shedding};

const MAGIC: &[u8; 4] = b"PLSC";
const VERSION: u16 = 3;
const CARRIER_VERSION: u32 = 1;

/// Why bytes are not a contract, or services cannot make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContractError {
    NotAContract,
    UnknownVersion {
        found: u16,
    },
    UnknownCarrierVersion {
        found: u32,
    },
    Carrier {
        detail: String,
    },
    TooLarge {
        found: usize,
        max: usize,
    },
    Wire(WireError),
    TooMany {
        what: &'static str,
        found: usize,
        max: usize,
    },
    HostTaken {
        host: Box<str>,
    },
    ServiceTaken {
        service: Box<str>,
    },
    RouteTaken {
        service: Box<str>,
        operation: Box<str>,
    },
    Schemas(SchemasError),
    NoSuchSchema {
        operation: Box<str>,
        schema: u32,
    },
    /// What is looked up does not stand in its order.
    Disordered {
        operation: Box<str>,
    },
    /// A rate limit that nobody could keep to as it is written.
    LimitUnsound {
        service: Box<str>,
        limit: Box<str>,
        why: &'static str,
    },
    /// A parameter in a part of a request where it cannot be written so.
    Unwritable {
        operation: Box<str>,
        name: Box<str>,
    },
}

impl core::fmt::Display for ContractError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            ContractError::NotAContract => {
                f.write_str("this is not a compiled contract: expected what `palisade build` writes")
            }
            ContractError::UnknownVersion { found } => write!(
                f,
                "unknown contract version `{found}`: this build reads version {VERSION}; use filter, server and `palisade build` of one release"
            ),
            ContractError::UnknownCarrierVersion { found } => {
                write!(
                    f,
                    "unknown version `{found}` of the contract's JSON carrier: this build reads version {CARRIER_VERSION}"
                )
            }
            ContractError::Carrier { detail } => {
                write!(f, "the JSON carrier of the contract cannot be read: {detail}")
            }
            ContractError::TooLarge { found, max } => {
                write!(f, "a contract of {found} bytes is over the limit of {max}")
            }
            ContractError::Wire(error) => write!(f, "the compiled contract is damaged: {error}"),
            ContractError::TooMany { what, found, max } => {
                write!(f, "{found} {what} are over the limit of {max}")
            }
            ContractError::HostTaken { host } => write!(f, "host `{host}` belongs to two services"),
            ContractError::ServiceTaken { service } => write!(f, "service `{service}` is declared twice"),
            ContractError::RouteTaken { service, operation } => {
                write!(
                    f,
                    "operation `{operation}` of service `{service}` has the method and route of another operation"
                )
            }
            ContractError::Schemas(error) => error.fmt(f),
            ContractError::NoSuchSchema { operation, schema } => {
                write!(f, "operation `{operation}` names schema {schema}, which is not there")
            }
            ContractError::Disordered { operation } => {
                write!(f, "a list of operation `{operation}` is not in its order")
            }
            ContractError::LimitUnsound { service, limit, why } => {
                write!(f, "limit `{limit}` of service `{service}` {why}")
            }
            ContractError::Unwritable { operation, name } => {
                write!(f, "parameter `{name}` of operation `{operation}` cannot be written where it stands")
            }
        }
    }
}

impl std::error::Error for ContractError {}

impl From<WireError> for ContractError {
    fn from(error: WireError) -> Self {
        ContractError::Wire(error)
    }
}

impl From<SchemasError> for ContractError {
    fn from(error: SchemasError) -> Self {
        ContractError::Schemas(error)
    }
}

/// What stands in a plugin configuration that can only be JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Carrier {
    palisade: u32,
    contract: String,
}

impl Contract {
    /// Reads either form: bytes, or the JSON carrier.
    pub fn decode(bytes: &[u8]) -> Result<Contract, ContractError> {
        if bytes.len() > CONTRACT_BYTES_MAX {
            return Err(ContractError::TooLarge { found: bytes.len(), max: CONTRACT_BYTES_MAX });
        }
        if bytes.starts_with(b"{") {
            return decode_bytes(&open_carrier(bytes)?);
        }
        decode_bytes(bytes)
    }

    pub fn encode(&self) -> Result<Vec<u8>, ContractError> {
        let mut out = Writer::default();
        out.bytes(MAGIC);
        out.u16(VERSION);
        out.bytes(&self.digest.0);
        write_texts(&mut out, &self.identity_headers, IDENTITY_HEADERS_MAX)?;
        // The canary is assembled anew by each reader.
        let (_, services) = self.services.split_last().ok_or(ContractError::NotAContract)?;
        out.count(services.len(), SERVICES_MAX)?;
        for service in services {
            out.text(&service.name, NAME_BYTES_MAX)?;
            write_texts(&mut out, &service.hosts, HOSTS_MAX)?;
            out.count(service.operations.len(), OPERATIONS_MAX)?;
            for operation in &service.operations {
                write_operation(&mut out, operation)?;
            }
            out.u8(u8::from(service.shedding.is_some()));
            service.shedding.iter().try_for_each(|shedding| write_shedding(&mut out, shedding))?;
        }
        let schemas = self.schemas.encode()?;
        out.count(schemas.len(), CONTRACT_BYTES_MAX)?;
        out.bytes(&schemas);
        Ok(out.finish())
    }

    pub fn encode_carrier(&self) -> Result<String, ContractError> {
        let carrier = Carrier { palisade: CARRIER_VERSION, contract: STANDARD.encode(self.encode()?) };
        serde_json::to_string(&carrier).map_err(|error| ContractError::Carrier { detail: error.to_string() })
    }
}

fn open_carrier(bytes: &[u8]) -> Result<Vec<u8>, ContractError> {
    let fail = |detail: String| ContractError::Carrier { detail };
    let carrier: Carrier = serde_json::from_slice(bytes).map_err(|error| fail(error.to_string()))?;
    if carrier.palisade != CARRIER_VERSION {
        return Err(ContractError::UnknownCarrierVersion { found: carrier.palisade });
    }
    STANDARD.decode(carrier.contract).map_err(|error| fail(error.to_string()))
}

fn decode_bytes(bytes: &[u8]) -> Result<Contract, ContractError> {
    let mut input = Reader::new(bytes);
    if input.bytes(MAGIC.len()).map(|magic| magic == MAGIC) != Ok(true) {
        return Err(ContractError::NotAContract);
    }
    let found = input.u16()?;
    if found != VERSION {
        return Err(ContractError::UnknownVersion { found });
    }
    let digest = BundleDigest(input.array()?);
    let identity_headers = read_texts(&mut input, IDENTITY_HEADERS_MAX)?;
    let count = input.count(SERVICES_MAX)?;
    let mut services = Vec::with_capacity(count);
    for _ in 0..count {
        services.push(read_service(&mut input)?);
    }
    let length = input.count(CONTRACT_BYTES_MAX)?;
    let schemas = SchemaTable::decode(input.bytes(length)?)?;
    input.end()?;
    Contract::assemble(digest, identity_headers, services, schemas)
}

fn read_service(input: &mut Reader<'_>) -> Result<Service, WireError> {
    let name = input.text(NAME_BYTES_MAX)?.into();
    let hosts = read_texts(input, HOSTS_MAX)?;
    let count = input.count(OPERATIONS_MAX)?;
    // A small guess: the count was checked, the size of an operation was not.
    let mut operations = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        operations.push(read_operation(input)?);
    }
    let has_shedding = read_known(input, "presence of rules on load", read_bool)?;
    let shedding = if has_shedding { Some(Box::new(read_shedding(input)?)) } else { None };
    Ok(Service { name, hosts, operations, shedding })
}

const fn read_bool(code: u8) -> Option<bool> {
    match code {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn read_known<T>(
    input: &mut Reader<'_>,
    what: &'static str,
    decode: impl Fn(u8) -> Option<T>,
) -> Result<T, WireError> {
    let at = input.at();
    let code = input.u8()?;
    decode(code).ok_or(WireError::Unknown { at, what, found: u64::from(code) })
}

fn write_texts(out: &mut Writer, texts: &[Box<str>], max: usize) -> Result<(), WireError> {
    out.count(texts.len(), max)?;
    texts.iter().try_for_each(|text| out.text(text, NAME_BYTES_MAX))
}

fn read_texts(input: &mut Reader<'_>, max: usize) -> Result<Vec<Box<str>>, WireError> {
    let count = input.count(max)?;
    (0..count).map(|_| input.text(NAME_BYTES_MAX).map(Into::into)).collect()
}
