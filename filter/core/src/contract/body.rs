//! What an operation accepts as body, and what of it is judged.

use super::parameter::Writing;
use crate::json::Numbers;
use crate::schema::SchemaIndex;

/// What an operation accepts as body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyRule {
    /// Whether a request without a body is refused.
    pub required: bool,
    pub bytes_max: u32,
    pub numbers: Numbers,
    pub media_types: Vec<MediaType>,
}

/// A media type that an operation accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// In lower case, without parameters.
    pub essence: Box<str>,
    pub content: Content,
}

/// What a body of a media type must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nobody looks into it: only its length and that it is there whole are judged.
    Opaque,
    /// One document; without a schema, any.
    Json { schema: Option<SchemaIndex> },
    /// A form as browsers encode it.
    Form { form: Box<Form>, schema: SchemaIndex },
}

/// How the fields of a form are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Form {
    /// In the order of their names.
    pub fields: Box<[(Box<str>, Writing)]>,
}

impl Form {
    /// How a field is written. A field that is not declared is one text, and the schema says whether it may be there.
    pub fn field(&self, name: &str) -> Option<&Writing> {
        let at = self.fields.binary_search_by(|(known, _)| known.as_ref().cmp(name)).ok()?;
        self.fields.get(at).map(|(_, writing)| writing)
    }
}
