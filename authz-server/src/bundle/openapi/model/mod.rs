//! A contract as it was read: operations, what each takes and gives, and the schemas behind it. Plain values.
//!
//! What validates requests is compiled from this, and two bundles are compared by it (`facts`). INVARIANT: nothing here
//! depends on the order in which the document lists things, except where the order means something (`prefixItems`).

mod facts;
mod json;
mod schema;

pub use json::{Decimal, Json};
pub use schema::{
    ArrayRules, Bound, Combined, Dependency, Discriminator, NumberRules, ObjectRules, Pattern, Schema,
    SchemaId, Schemas, TextRules, TypeSet,
};

use crate::bundle::problem::Problem;
use palisade_core::method::Method;
use palisade_core::routes::Segment;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One service's contract.
#[derive(Debug)]
pub struct Model {
    pub version: Version,
    /// In the order of the service's operations in the compiled contract.
    pub operations: Vec<Operation>,
    pub schemas: Schemas,
    /// By their names in the contract. Nothing is enforced by them: who a caller is, is the bundle's matter.
    pub security_schemes: BTreeMap<Box<str>, SecurityScheme>,
    /// What the reader found to be allowed and rarely meant, for the lints.
    pub(in crate::bundle) habits: Vec<Problem>,
}

/// Which dialect the contract is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V30,
    V31,
}

/// One method on one path.
#[derive(Debug)]
pub struct Operation {
    pub id: Box<str>,
    pub method: Method,
    /// Whole: the base path of the servers in front.
    pub path: Box<str>,
    pub template: Vec<Segment>,
    pub deprecated: bool,
    /// The path's and the operation's own, in the order of part, then name.
    pub parameters: Vec<Arc<Parameter>>,
    pub body: Option<Arc<RequestBody>>,
    /// In the order of their statuses.
    pub responses: Vec<(Status, Arc<Response>)>,
    /// Any one of them suffices; an empty one is nobody's. `None`: the contract says nothing.
    pub security: Option<Vec<SecurityRequirement>>,
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParameterPart {
    Path,
    Query,
    Header,
    Cookie,
}

impl ParameterPart {
    pub const fn as_str(self) -> &'static str {
        match self {
            ParameterPart::Path => "path",
            ParameterPart::Query => "query",
            ParameterPart::Header => "header",
            ParameterPart::Cookie => "cookie",
        }
    }
}

#[derive(Debug)]
pub struct Parameter {
    pub part: ParameterPart,
    /// As the contract spells it; headers in lower case.
    pub name: Box<str>,
    pub required: bool,
    pub deprecated: bool,
    /// Query only: `limit=` counts as sent.
    pub allow_empty: bool,
    pub form: ParameterForm,
}

/// How a parameter's value is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterForm {
    Styled {
        style: Style,
        explode: bool,
        allow_reserved: bool,
        schema: SchemaId,
    },
    /// One document of a media type, percent-encoded.
    Content {
        essence: Box<str>,
        schema: SchemaId,
    },
}

impl ParameterForm {
    pub fn schema(&self) -> SchemaId {
        match self {
            ParameterForm::Styled { schema, .. } | ParameterForm::Content { schema, .. } => *schema,
        }
    }
}

/// How lists and objects stand in a parameter. `matrix` and `label` are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Style {
    Simple,
    Form,
    SpaceDelimited,
    PipeDelimited,
    DeepObject,
}

impl Style {
    pub const fn as_str(self) -> &'static str {
        match self {
            Style::Simple => "simple",
            Style::Form => "form",
            Style::SpaceDelimited => "spaceDelimited",
            Style::PipeDelimited => "pipeDelimited",
            Style::DeepObject => "deepObject",
        }
    }
}

#[derive(Debug)]
pub struct RequestBody {
    pub required: bool,
    /// In the order of their media types.
    pub media: Vec<Media>,
}

/// One media type and what is in it.
#[derive(Debug)]
pub struct Media {
    /// In lower case, without parameters. In responses also a range such as `image/*`.
    pub essence: Box<str>,
    pub schema: SchemaId,
    /// Forms only: how single properties are written.
    pub encoding: Vec<(Box<str>, Encoding)>,
}

/// How one property of a form is written.
#[derive(Debug)]
pub struct Encoding {
    pub content_types: Vec<Box<str>>,
    pub style: Option<Style>,
    pub explode: Option<bool>,
    pub allow_reserved: bool,
    pub headers: Vec<Header>,
}

/// The statuses that a response is for, exact ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    Exact(u16),
    /// `4XX`: its first digit.
    Class(u8),
    Default,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Status::Exact(status) => write!(f, "{status}"),
            Status::Class(class) => write!(f, "{class}XX"),
            Status::Default => f.write_str("default"),
        }
    }
}

#[derive(Debug)]
pub struct Response {
    pub headers: Vec<Header>,
    pub media: Vec<Media>,
}

/// A header of a response, or of a part of a form.
#[derive(Debug)]
pub struct Header {
    /// In lower case.
    pub name: Box<str>,
    pub required: bool,
    pub form: ParameterForm,
}

/// How callers may prove who they are, as the contract says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecurityScheme {
    ApiKey { part: ParameterPart, name: Box<str> },
    Http { scheme: Box<str> },
    MutualTls,
    OAuth2,
    OpenIdConnect { url: Box<str> },
}

/// Schemes that are needed together, with their scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityRequirement {
    pub schemes: BTreeMap<Box<str>, Vec<Box<str>>>,
}

impl Model {
    pub fn operation(&self, id: &str) -> Option<&Operation> {
        self.operations.iter().find(|operation| &*operation.id == id)
    }

    pub fn schema(&self, id: SchemaId) -> &Schema {
        self.schemas.schema(id)
    }
}
