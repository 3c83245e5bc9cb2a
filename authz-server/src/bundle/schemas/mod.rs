//! Schemas of contracts, compiled for whoever judges bodies by them: `palisade_core::schema`.
//!
//! `node` says of one schema what the core asks, `values` of a value in a contract what it is worth, `patterns` makes
//! automata. INVARIANT: a rule that cannot be kept to is refused by name, with its place and how to mend it; nothing that
//! a contract says of a value is left out but `contentEncoding` and its like, which JSON Schema calls annotations.

mod node;
mod patterns;
#[cfg(test)]
mod tests;
mod values;

use crate::bundle::openapi::{Model, Schema, SchemaId};
use palisade_core::schema::{CompiledSchemas, Node, SchemaIndex, SchemaTable, SchemasError};
use patterns::Patterns;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Which way a value goes: what is `readOnly` is not asked of requests, and what is `writeOnly` not of responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    Request,
    Response,
}

/// What becomes of a property that does not belong in its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdirected {
    /// It is judged like any other, as long as it is not missed.
    Judged,
    /// It is refused: what a service sets itself, nobody else may.
    Refused,
}

/// What a schema stands in, for whoever looks for its line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A schema that the contract names.
    Component(Box<str>),
    /// An operation, by its id.
    Operation(Box<str>),
}

/// Where a schema stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Located {
    pub service: ServiceSchemas,
    pub origin: Origin,
    /// The way to it: a component, or what the caller named, and the steps from there.
    pub way: String,
}

/// A rule that cannot be kept to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// `None`: it is about all of them.
    pub at: Option<Located>,
    pub message: String,
    pub help: &'static str,
}

/// A format that nobody knows, which JSON Schema lets pass.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unchecked {
    pub at: Located,
    pub format: Box<str>,
}

/// Collects the schemas of all services of a bundle.
#[derive(Debug, Default)]
pub struct Compiler<'m> {
    models: Vec<Source<'m>>,
    nodes: Vec<Node>,
    /// The place of each schema, for messages.
    places: Vec<Located>,
    known: HashMap<(usize, SchemaId, Direction), SchemaIndex>,
    waiting: Vec<(SchemaIndex, usize, SchemaId, Direction)>,
    patterns: Patterns,
    refused: Vec<Refused>,
    unchecked: BTreeSet<Unchecked>,
}

/// What came of all schemas.
#[derive(Debug)]
pub struct Compiled {
    pub table: Result<SchemaTable, Vec<Refused>>,
    pub unchecked: BTreeSet<Unchecked>,
}

#[derive(Debug)]
struct Source<'m> {
    model: &'m Model,
    misdirected: Misdirected,
    /// Schemas that say something else in each direction.
    directed: HashSet<SchemaId>,
}

/// A service whose schemas are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceSchemas(pub usize);

impl<'m> Compiler<'m> {
    pub fn service(&mut self, model: &'m Model, misdirected: Misdirected) -> ServiceSchemas {
        self.models.push(Source { model, misdirected, directed: directed(model) });
        ServiceSchemas(self.models.len() - 1)
    }

    /// The index of a schema and of all that it leads to. `at` says where it is asked for.
    pub fn schema(&mut self, schema: SchemaId, direction: Direction, at: &Located) -> SchemaIndex {
        let index = self.reserve(schema, direction, at);
        while let Some((index, source, schema, direction)) = self.waiting.pop() {
            let Some(model) = self.models.get(source).map(|source| source.model) else { continue };
            let node = self.node(source, model.schema(schema), direction, index);
            if let Some(slot) = usize::try_from(index.0).ok().and_then(|at| self.nodes.get_mut(at)) {
                *slot = node;
            }
        }
        index
    }

    /// A rule that cannot be kept to, beside those of schemas.
    pub fn refuse_at(&mut self, at: &Located, message: impl Into<String>, help: &'static str) {
        let refused = Refused { at: Some(at.clone()), message: message.into(), help };
        // One schema may be compiled for both directions.
        if !self.refused.contains(&refused) {
            self.refused.push(refused);
        }
    }

    /// The table of all schemas, or all that cannot be kept to.
    pub fn finish(self) -> Compiled {
        let mut refused = self.refused;
        let table = SchemaTable { nodes: self.nodes, patterns: self.patterns.finish() };
        // What the filter would refuse when it loads the contract is refused here, with a place.
        if let Err(error) = CompiledSchemas::assemble(table.clone()) {
            let at = match &error {
                SchemasError::TooManyAtOnce { schema, .. } | SchemasError::Endless { schema } => {
                    usize::try_from(schema.0).ok()
                }
                _ => None,
            };
            refused.push(Refused {
                at: at.and_then(|at| self.places.get(at)).cloned(),
                message: error.to_string(),
                help: "split the contract, or say less by `allOf`, `anyOf`, `oneOf` and `pattern`",
            });
        }
        let table = if refused.is_empty() { Ok(table) } else { Err(refused) };
        Compiled { table, unchecked: self.unchecked }
    }

    fn reserve(&mut self, schema: SchemaId, direction: Direction, at: &Located) -> SchemaIndex {
        let source = at.service.0;
        let Some(Source { model, directed, .. }) = self.models.get(source) else {
            return SchemaIndex(u32::MAX);
        };
        let direction = if directed.contains(&schema) { direction } else { Direction::Request };
        if let Some(known) = self.known.get(&(source, schema, direction)) {
            return *known;
        }
        let index = SchemaIndex(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let named = model.schemas.name(schema).map(|name| Located {
            service: at.service,
            origin: Origin::Component(name.into()),
            way: format!("schema `{name}`"),
        });
        self.nodes.push(Node::default());
        self.places.push(named.unwrap_or_else(|| at.clone()));
        self.known.insert((source, schema, direction), index);
        self.waiting.push((index, source, schema, direction));
        index
    }

    fn place(&self, index: SchemaIndex) -> Option<&Located> {
        self.places.get(usize::try_from(index.0).ok()?)
    }

    fn refuse(&mut self, at: SchemaIndex, message: impl Into<String>, help: &'static str) {
        if let Some(at) = self.place(at).cloned() {
            self.refuse_at(&at, message, help);
        }
    }
}

/// Everything that a schema leads to.
fn children(schema: &Schema) -> Vec<SchemaId> {
    let mut all = Vec::new();
    if let Some(array) = &schema.array {
        all.extend(&array.prefix);
        all.extend([array.items, array.contains, array.unevaluated].into_iter().flatten());
    }
    if let Some(object) = &schema.object {
        all.extend(object.properties.iter().chain(&object.dependent_schemas).map(|(_, id)| *id));
        all.extend(object.pattern_properties.iter().map(|(_, id)| *id));
        all.extend([object.additional, object.names, object.unevaluated].into_iter().flatten());
    }
    if let Some(combined) = &schema.combined {
        all.extend(combined.branches());
        let discriminator = combined.discriminator.iter();
        all.extend(discriminator.flat_map(|discriminator| &discriminator.mapping).map(|(_, id)| *id));
    }
    all
}

/// The schemas that differ with the direction: those with a marked property, and all that lead to one.
fn directed(model: &Model) -> HashSet<SchemaId> {
    let mut parents: BTreeMap<SchemaId, Vec<SchemaId>> = BTreeMap::new();
    let mut found = Vec::new();
    for id in model.schemas.ids() {
        let schema = model.schema(id);
        children(schema).into_iter().for_each(|child| parents.entry(child).or_default().push(id));
        let properties = schema.object.iter().flat_map(|object| &object.properties);
        if properties.into_iter().any(|(_, property)| node::mark(model, *property).is_some()) {
            found.push(id);
        }
    }
    let mut directed = HashSet::new();
    while let Some(id) = found.pop() {
        if directed.insert(id) {
            found.extend(parents.get(&id).into_iter().flatten());
        }
    }
    directed
}
