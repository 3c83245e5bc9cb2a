//! What policies may ask of a request: the typed context that a contract gives to each operation.
//!
//! The OpenAPI reader makes these from parameters and body schemas, the Cedar mapping makes a schema of them, and the
//! decision fills them from the request. INVARIANT: a value that is not of its declared kind is never made into one.

use super::format::Mask;
use super::recording::ALWAYS_RECORDED;

/// The largest body of an operation whose policies ask for its fields: the whole body then travels in the call to the
/// server, which holds as many of them as calls are under way.
pub const CONTEXT_BODY_BYTES_MAX: u32 = 512 * 1024;

/// Which part of a request a field stands in, and under which name policies find it: `context.path.orderId`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContextPart {
    Path,
    Query,
    Header,
    Body,
}

impl ContextPart {
    pub const ALL: [ContextPart; 4] =
        [ContextPart::Path, ContextPart::Query, ContextPart::Header, ContextPart::Body];

    /// The attribute of the context that holds the part.
    pub fn name(self) -> &'static str {
        match self {
            ContextPart::Path => "path",
            ContextPart::Query => "query",
            ContextPart::Header => "header",
            ContextPart::Body => "body",
        }
    }
}

/// One value that policies may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextField {
    pub part: ContextPart,
    /// Path, query and header: one name, as the contract spells it (headers in lower case). Body: the way to the field,
    /// key by key.
    pub keys: Vec<String>,
    pub kind: ValueKind,
    /// Whether every request that the contract accepts has it. Otherwise policies ask `context.query has limit` first.
    pub required: bool,
    /// Parameters only: how a list is written.
    pub list: ListStyle,
    /// What stands in entries instead of it; else it is recorded as it is.
    pub mask: Option<Mask>,
}

impl ContextField {
    /// The JSON pointer of a body field.
    pub fn pointer(&self) -> String {
        self.keys.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1"))).collect()
    }
}

/// How a list stands in one parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListStyle {
    /// `a,b`: `simple` in path and header, `form` without explode in a query.
    #[default]
    Commas,
    /// `a b`: `spaceDelimited`.
    Spaces,
    /// `a|b`: `pipeDelimited`.
    Pipes,
    /// `key=a&key=b`: `form` with explode.
    Repeated,
}

/// The kinds of values that Cedar and HTTP have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueKind {
    /// Also numbers that Cedar cannot hold exactly are not offered as text: they are not offered at all.
    String,
    /// A whole number of 64 bits.
    Long,
    Bool,
    /// A number with at most four digits after the point.
    Decimal,
    /// An address by `format: ipv4` or `format: ipv6`.
    Ip,
    /// A list, whose order and repetitions Cedar does not see.
    Set(Box<ValueKind>),
}

/// What policies may ask of one operation's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationContext {
    /// In the order of part, then keys; none is inside of another.
    pub fields: Vec<ContextField>,
    /// What stands in entries instead of headers that are recorded whether or not policies may ask for them.
    pub always_recorded: [(&'static str, Option<Mask>); 2],
}

impl OperationContext {
    pub fn new(fields: Vec<ContextField>) -> OperationContext {
        OperationContext { fields, always_recorded: ALWAYS_RECORDED.map(|header| (header, None)) }
    }

    /// What stands in entries instead of a header that is always recorded.
    pub fn mask_of(&self, header: &str) -> Option<Mask> {
        self.always_recorded.iter().find(|(name, _)| *name == header).and_then(|(_, mask)| *mask)
    }

    pub fn part(&self, part: ContextPart) -> impl Iterator<Item = &ContextField> {
        self.fields.iter().filter(move |field| field.part == part)
    }

    /// Whether the server must see the operation's bodies.
    pub fn reads_body(&self) -> bool {
        self.part(ContextPart::Body).next().is_some()
    }
}
