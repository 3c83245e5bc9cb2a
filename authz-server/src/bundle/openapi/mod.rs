//! Contracts as teams write them: OpenAPI 3.0 and 3.1, in YAML or JSON.
//!
//! `read` makes a `model` out of a document's tree, `context` says what policies may ask of each operation, and
//! `operations` is what the filter and the server match requests by.
//!
//! For whoever compares or compiles contracts: [`Model::operations`] lists what there is in the order of the compiled
//! contract, [`Model::schema`] leads from an id to a schema, and [`Model::facts`] says of one operation, line by line and
//! whatever the order of the document, what a request must be: `query limit` is `integer, 1 to 100, optional`.
//! INVARIANT: a contract is read whole or not at all, and nothing outside of its document is.

mod context;
mod model;
mod read;
#[cfg(test)]
mod tests;

pub(super) use context::{body_pointer, context};
pub use model::*;
pub(super) use read::{base_path, read};

use palisade_core::contract::{BodyRule, Content, MediaType, Operation as Matchable, OperationClass};
use palisade_core::json::Numbers;
use palisade_core::limits::BODY_BYTES_MAX_DEFAULT;
use palisade_core::media;
use palisade_core::method::Method;

/// The operations as requests are matched to them, before `service.yaml` has its say.
pub(super) fn operations(model: &Model) -> Vec<Matchable> {
    model.operations.iter().map(matchable).collect()
}

fn matchable(operation: &Operation) -> Matchable {
    let class = match operation.method {
        Method::Get | Method::Head | Method::Options => OperationClass::Read,
        Method::Post | Method::Put | Method::Patch => OperationClass::Write,
        Method::Delete => OperationClass::Delete,
    };
    let body = operation.body.as_ref().map(|body| BodyRule {
        required: body.required,
        bytes_max: BODY_BYTES_MAX_DEFAULT,
        numbers: Numbers::Double,
        media_types: body
            .media
            .iter()
            .map(|media| MediaType { essence: media.essence.clone(), content: unjudged(&media.essence) })
            .collect(),
    });
    Matchable { body, ..Matchable::new(&operation.id, operation.method, class, operation.template.clone()) }
}

/// What a body must be before schemas are compiled.
fn unjudged(essence: &str) -> Content {
    if media::is_json(essence) { Content::Json { schema: None } } else { Content::Opaque }
}
