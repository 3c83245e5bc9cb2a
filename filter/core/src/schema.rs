//! Schemas of a contract, compiled, and bodies judged by them while they are read.
//!
//! `table` holds the schemas and says why they cannot be used, `codec` is their bytes, `plan` what applies to one value,
//! `machine` the judging. `palisade build` compiles what OpenAPI and JSON Schema say into `node`s. INVARIANT: a value
//! passes only if every rule was decided: what cannot be decided within the limits is a refusal.

mod codec;
mod format;
mod keyword;
mod machine;
mod node;
mod pattern;
mod plan;
mod table;
mod value;
mod verdict;

pub use format::Format;
pub use keyword::Keyword;
pub use machine::Bound as Exceeded;
pub use node::{
    ArrayRules, Barred, Bound, Combined, Discriminator, NamedRules, Node, NumberFormat, NumberRules,
    ObjectRules, PatternIndex, SchemaIndex, TextRules, Types, Values,
};
pub use table::{CompiledSchemas, SchemaTable, SchemasError};
pub use value::Digest;
pub use verdict::{Broken, Cause, Judge, check_document};

#[cfg(test)]
pub(crate) mod tests;
