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
use std::collections::{BTreeMap, HashMap, HashSet};

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

/// A rule that cannot be kept to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The way to the schema: a component, or what the caller named, and the steps from there.
    pub place: String,
    pub message: String,
    pub help: &'static str,
}

/// Collects the schemas of all services of a bundle.
#[derive(Debug)]
pub struct Compiler<'m> {
    misdirected: Misdirected,
    models: Vec<Source<'m>>,
    nodes: Vec<Node>,
    /// The place of each schema, for messages.
    places: Vec<String>,
    known: HashMap<(usize, SchemaId, Direction), SchemaIndex>,
    waiting: Vec<(SchemaIndex, usize, SchemaId, Direction)>,
    patterns: Patterns,
    refused: Vec<Refused>,
}

#[derive(Debug)]
struct Source<'m> {
    model: &'m Model,
    /// Schemas that say something else in each direction.
    directed: HashSet<SchemaId>,
}

/// A service whose schemas are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceSchemas(usize);

impl<'m> Compiler<'m> {
    pub fn new(misdirected: Misdirected) -> Compiler<'m> {
        Compiler {
            misdirected,
            models: Vec::new(),
            nodes: Vec::new(),
            places: Vec::new(),
            known: HashMap::new(),
            waiting: Vec::new(),
            patterns: Patterns::default(),
            refused: Vec::new(),
        }
    }

    pub fn service(&mut self, model: &'m Model) -> ServiceSchemas {
        self.models.push(Source { model, directed: directed(model) });
        ServiceSchemas(self.models.len() - 1)
    }

    /// The index of a schema and of all that it leads to. `place` says where it is asked for.
    pub fn schema(
        &mut self,
        service: ServiceSchemas,
        schema: SchemaId,
        direction: Direction,
        place: &str,
    ) -> SchemaIndex {
        let index = self.reserve(service.0, schema, direction, place);
        while let Some((index, source, schema, direction)) = self.waiting.pop() {
            let Some(model) = self.models.get(source).map(|source| source.model) else { continue };
            let node = self.node(source, model.schema(schema), direction, index);
            if let Some(slot) = usize::try_from(index.0).ok().and_then(|at| self.nodes.get_mut(at)) {
                *slot = node;
            }
        }
        index
    }

    /// The table of all schemas, or all that cannot be kept to.
    pub fn finish(self) -> Result<SchemaTable, Vec<Refused>> {
        let mut refused = self.refused;
        let table = SchemaTable { nodes: self.nodes, patterns: self.patterns.finish() };
        // What the filter would refuse when it loads the contract is refused here, with a place.
        if let Err(error) = CompiledSchemas::assemble(table.clone()) {
            let at = match &error {
                SchemasError::TooManyAtOnce { schema, .. } | SchemasError::Endless { schema } => schema.0,
                _ => 0,
            };
            let place = usize::try_from(at).ok().and_then(|at| self.places.get(at)).cloned();
            refused.push(Refused {
                place: place.unwrap_or_default(),
                message: error.to_string(),
                help: "split the contract, or say less by `allOf`, `anyOf`, `oneOf` and `pattern`",
            });
        }
        if refused.is_empty() { Ok(table) } else { Err(refused) }
    }

    fn reserve(&mut self, source: usize, schema: SchemaId, direction: Direction, place: &str) -> SchemaIndex {
        let Some(Source { model, directed }) = self.models.get(source) else { return SchemaIndex(u32::MAX) };
        let direction = if directed.contains(&schema) { direction } else { Direction::Request };
        if let Some(known) = self.known.get(&(source, schema, direction)) {
            return *known;
        }
        let index = SchemaIndex(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let place = model.schemas.name(schema).map_or(place.to_owned(), |name| format!("schema `{name}`"));
        self.nodes.push(Node::default());
        self.places.push(place);
        self.known.insert((source, schema, direction), index);
        self.waiting.push((index, source, schema, direction));
        index
    }

    fn place(&self, index: SchemaIndex) -> String {
        usize::try_from(index.0).ok().and_then(|at| self.places.get(at)).cloned().unwrap_or_default()
    }

    fn refuse(&mut self, at: SchemaIndex, message: impl Into<String>, help: &'static str) {
        let refused = Refused { place: self.place(at), message: message.into(), help };
        // One schema may be compiled for both directions.
        if !self.refused.contains(&refused) {
            self.refused.push(refused);
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
