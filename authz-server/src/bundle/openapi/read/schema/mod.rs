//! Schemas: each is read once, whoever refers to it, and what is written twice gets one id.
//!
//! A reference only reserves an id; what it leads to is read later, from a list. INVARIANT: so the depth of reading is the
//! depth of the document, however long a chain of references is, and a schema may contain itself.

mod loops;
mod objects;
mod rules;
mod values;

use super::references::{Kind, is_pure, reference};
use super::{Fields, Reading, is_extension, keys};
use crate::bundle::openapi::model::{Combined, Schema, SchemaId, Schemas, TypeSet, Version};
use crate::bundle::yaml::{Node, Span, Value};
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The schemas that were read, and those that wait for it.
#[derive(Default)]
pub(super) struct Arena<'d> {
    schemas: Schemas,
    written: HashMap<u64, SchemaId>,
    reserved: HashMap<Span, SchemaId>,
    places: HashMap<SchemaId, Span>,
    waiting: Vec<(SchemaId, &'d Node)>,
}

impl<'d> Arena<'d> {
    fn add(&mut self, schema: Schema) -> SchemaId {
        // A document is bounded to fewer values than this has numbers.
        let id = SchemaId(u32::try_from(self.schemas.all.len()).unwrap_or(u32::MAX));
        self.schemas.all.push(schema);
        id
    }

    /// The id of a schema that is complete.
    fn intern(&mut self, schema: Schema) -> SchemaId {
        let mut hasher = DefaultHasher::new();
        schema.hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(known) = self.written.get(&hash)
            && *self.schemas.schema(*known) == schema
        {
            return *known;
        }
        let id = self.add(schema);
        self.written.entry(hash).or_insert(id);
        id
    }

    /// The id of a schema that is read later.
    fn reserve(&mut self, node: &'d Node) -> SchemaId {
        if let Some(known) = self.reserved.get(&node.at) {
            return *known;
        }
        let id = self.add(Schema::default());
        self.reserved.insert(node.at, id);
        self.places.insert(id, node.at);
        self.waiting.push((id, node));
        id
    }

    fn set(&mut self, id: SchemaId, schema: Schema) {
        if let Some(place) = usize::try_from(id.0).ok().and_then(|at| self.schemas.all.get_mut(at)) {
            *place = schema;
        }
    }

    pub(super) fn take(&mut self) -> Schemas {
        std::mem::take(&mut self.schemas)
    }
}

/// How a schema stands in its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// On its own: what it does not say is not said.
    Whole,
    /// One of several that apply to the same value, of which another may say the type.
    Branch,
}

impl<'d> Reading<'d> {
    /// The schema that stands here, or that a reference here leads to.
    pub(super) fn schema(&mut self, node: &'d Node) -> SchemaId {
        self.schema_as(node, Role::Whole)
    }

    fn branch(&mut self, node: &'d Node) -> SchemaId {
        self.schema_as(node, Role::Branch)
    }

    /// The schema of an object that has none: everything.
    pub(super) fn schema_in(&mut self, fields: Fields<'d>) -> SchemaId {
        match fields.find("schema") {
            Some(node) => self.schema(node),
            None => self.any(),
        }
    }

    pub(super) fn any(&mut self) -> SchemaId {
        self.arena.intern(Schema::default())
    }

    pub(super) fn nothing(&mut self) -> SchemaId {
        self.arena.intern(Schema { types: TypeSet::NONE, ..Schema::default() })
    }

    fn schema_as(&mut self, node: &'d Node, role: Role) -> SchemaId {
        match node.value {
            Value::Bool(accepts) if self.version == Version::V31 => {
                if accepts {
                    self.any()
                } else {
                    self.nothing()
                }
            }
            Value::Bool(accepts) => {
                let help = if accepts { "write `{}`" } else { "write `not: {}`" };
                self.wrong(node.at, format!("OpenAPI 3.0 has no schema `{accepts}`"), help);
                self.nothing()
            }
            Value::Map(_) if reference(node).is_some() => self.referred(node, role),
            Value::Map(_) => {
                let schema = self.schema_content(node, role);
                self.arena.intern(schema)
            }
            Value::Null | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                self.expected(node, "a schema, which is a map");
                self.nothing()
            }
        }
    }

    /// Where a schema's reference leads.
    fn referred(&mut self, node: &'d Node, role: Role) -> SchemaId {
        let mut at = node;
        let mut seen = BTreeSet::new();
        while let Some(target) = reference(at) {
            let fields = Fields { at: at.at, entries: at.as_map().unwrap_or_default() };
            if !is_pure(fields, self.version) {
                break;
            }
            self.check_schema_siblings(fields);
            let Some(written) = self.text(target) else { return self.nothing() };
            if !seen.insert(written) {
                let message = format!("`{written}` leads back to itself");
                self.wrong(target.at, message, "a reference must end at a schema");
                return self.nothing();
            }
            let Some(next) = self.resolve(target, written, Kind::Schema) else { return self.nothing() };
            at = next;
        }
        if std::ptr::eq(at, node) {
            let schema = self.schema_content(node, role);
            return self.arena.intern(schema);
        }
        match at.value {
            Value::Map(_) => self.arena.reserve(at),
            _ => self.schema_as(at, role),
        }
    }

    /// In 3.0 a reference has no siblings: a rule beside it would be lost.
    fn check_schema_siblings(&mut self, fields: Fields<'d>) {
        for (key, _) in fields.entries {
            let name = key.text.as_str();
            if name == "$ref" || is_extension(name) || keys::ANNOTATIONS.contains(&name) {
                continue;
            }
            let message = format!("`{name}` beside a `$ref` has no effect in OpenAPI 3.0");
            let help = match name {
                "nullable" => "write `nullable: true` in the schema itself, or use OpenAPI 3.1",
                _ => "write `allOf` with the reference in it, and the rest beside `allOf`",
            };
            self.wrong(key.at, message, help);
        }
    }

    /// Reads what references reserved, until nothing waits.
    pub(super) fn read_waiting(&mut self) {
        while let Some((id, node)) = self.arena.waiting.pop() {
            let schema = self.schema_content(node, Role::Whole);
            self.arena.set(id, schema);
        }
    }

    /// The schemas under `components`, whether anything refers to them or not.
    pub(super) fn named_schemas(&mut self, components: Fields<'d>) {
        for (name, node) in self.named(components.find("schemas"), "the schemas") {
            let id = match node.value {
                Value::Map(_) if reference(node).is_none() => self.arena.reserve(node),
                _ => self.schema(node),
            };
            let known = self.arena.schemas.names.entry(id).or_insert_with(|| name.text.as_str().into());
            // Two names for one schema: the first in the alphabet, whatever the order of the document.
            if name.text.as_str() < &**known {
                *known = name.text.as_str().into();
            }
        }
    }

    fn schema_content(&mut self, node: &'d Node, role: Role) -> Schema {
        let Some(fields) = self.object(node, &keys::SCHEMA) else { return Schema::default() };
        let types = self.types(fields);
        let mut combined = self.combined(fields);
        if let Some(target) = fields.find("$ref") {
            let base = self.text(target).and_then(|written| self.resolve(target, written, Kind::Schema));
            let base = match base {
                Some(base) if matches!(base.value, Value::Map(_)) && reference(base).is_none() => {
                    self.arena.reserve(base)
                }
                Some(base) if !std::ptr::eq(base, node) => self.branch(base),
                _ => self.nothing(),
            };
            let combined: &mut Combined = combined.get_or_insert_default();
            combined.all_of = std::iter::once(base).chain(combined.all_of.iter().copied()).collect();
        }
        let schema = Schema {
            types,
            values: self.values(fields, types),
            number: self.number_rules(fields, types),
            text: self.text_rules(fields, types),
            array: self.array_rules(fields),
            object: self.object_rules(fields),
            combined: combined.map(Box::new),
            read_only: self.flag(fields, "readOnly"),
            write_only: self.flag(fields, "writeOnly"),
            deprecated: self.flag(fields, "deprecated"),
        };
        if schema.read_only && schema.write_only {
            let message = "a schema cannot be `readOnly` and `writeOnly`";
            self.wrong(Span::start_of(fields.at), message, "remove one: nobody could send or receive it");
        }
        self.check_effects(fields, &schema, role);
        self.check_default(fields, &schema);
        schema
    }
}
