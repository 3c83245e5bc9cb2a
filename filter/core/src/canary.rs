//! The canary: a service in every contract that nobody may call, by which a listener is shown to be guarded.
//!
//! A request to it is refused by the filter (unknown path, broken body) or by the server (always). If one passes, or is
//! refused for another reason than expected, a part of the wiring is missing, and the reason says which.

use crate::contract::{BodyRule, Content, MediaType, Operation, OperationClass, Service};
use crate::json::Numbers;
use crate::method::Method;
use crate::routes::Segment;

/// The canary's name, reserved in bundles.
pub const SERVICE: &str = "palisade-canary";

/// A host that no real service can have: `internal` is reserved for private use.
pub const HOST: &str = "canary.palisade.internal";

/// The one declared path.
pub const PATH: &str = "/.palisade/canary";

pub(crate) fn service() -> Service {
    let template = || PATH.split('/').skip(1).map(|part| Segment::Literal(part.into())).collect();
    let json = MediaType { essence: "application/json".into(), content: Content::Json { schema: None } };
    let operation = |name: &str, method, class, body| Operation {
        body,
        ..Operation::new(name, method, class, template())
    };
    let body = BodyRule { required: true, bytes_max: 1024, numbers: Numbers::Any, media_types: vec![json] };
    Service {
        name: SERVICE.into(),
        hosts: vec![HOST.into()],
        operations: vec![
            operation("head", Method::Get, OperationClass::Read, None),
            operation("body", Method::Post, OperationClass::Write, Some(body)),
        ],
        shedding: None,
    }
}
