//! Which operations' requests pass Cedar's check by the schema, whatever a caller sends, so that they need not be
//! checked one by one.
//!
//! Why the check would say nothing new. It asks of a request whether its action is declared, whether the action applies
//! to the types of principal and resource, whether an entity of a closed type is one of those listed, and whether the
//! context has the action's type. What we ask is made here and not by callers: one action for each operation, one of four
//! types of principal, the resource by the operation's service, and a context whose attributes are those that the operation
//! declares, each made of a [`Value`] by its variant. So two requests stand for all of them, and both are put to the
//! schema itself when a bundle is loaded, by all four types of principal: one has every attribute, and in every list one
//! item; the other has only what is required, and nothing in any list.
//!
//! - Principals are asked under an id that no list of a closed type would have; so the type is an open one, and every id
//!   passes. The anonymous caller and the service are asked under the ids that they always have.
//! - Cedar's records are closed and checked attribute by attribute, by the type of the value alone. The full request
//!   passes: every attribute is known, and a value of its kind is of its type. The bare one passes: no other is required.
//!   What lies between the two passes as well, attribute for attribute.
//! - A list passes when each item does, and the full request has shown what an item may be.
//!
//! What the two requests rest on is looked at again for each request: that the operation declares what it declared then,
//! and that each value is of the variant of its kind, and is there where it is required. Whatever is not so is put to
//! the schema as before, and so is every request of an operation whose two requests did not pass.
//!
//! INVARIANT: a request that the schema would refuse is put to the schema.

use super::entities::uid;
use super::evaluate::{Told, Types, context};
use super::{names, schema};
use crate::bundle::{ContextField, OperationContext, ValueKind};
use crate::value::Value;
use cedar_policy::{EntityUid, Request, Schema};
use palisade_core::contract::{Contract, Matched};
use palisade_core::routes::OperationIndex;
use std::collections::BTreeSet;

/// The fields of each proven operation, by its index in the contract.
#[derive(Debug)]
pub(super) struct Proven(Vec<Option<Box<[ContextField]>>>);

/// What operations are proven against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Against<'a> {
    pub(super) schema: &'a Schema,
    pub(super) types: &'a Types,
    /// The action of each operation, by its index in the contract.
    pub(super) actions: &'a [EntityUid],
}

/// No declaration lists it.
const NOBODY: &str = "\u{0}nobody";

impl Proven {
    pub(super) fn of(contract: &Contract, contexts: &[OperationContext], against: Against<'_>) -> Proven {
        let operations = schema::operations(contract).zip(contexts).zip(against.actions);
        let proven = operations.map(|((matched, asks), action)| {
            against.proves(matched, asks, action).then(|| asks.fields.clone().into_boxed_slice())
        });
        Proven(proven.collect())
    }

    /// Whether a request with these values passes the schema's check without being put to it.
    pub(super) fn covers(
        &self,
        operation: OperationIndex,
        asks: &OperationContext,
        values: &[Option<Value>],
    ) -> bool {
        let place = usize::try_from(operation.0).ok();
        let Some(Some(fields)) = place.and_then(|place| self.0.get(place)) else { return false };
        **fields == *asks.fields
            && fields.len() == values.len()
            && fields.iter().zip(values).all(|(field, value)| match value {
                Some(value) => fits(value, &field.kind),
                None => !field.required,
            })
    }

    /// How many operations there are, and how many of them are proven.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.0.len(), self.0.iter().flatten().count())
    }
}

impl Against<'_> {
    fn proves(self, matched: Matched<'_>, asks: &OperationContext, action: &EntityUid) -> bool {
        let scopes = BTreeSet::from([String::new()]);
        let full: Vec<_> = asks.fields.iter().map(|field| Some(full(&field.kind))).collect();
        let bare: Vec<_> =
            asks.fields.iter().map(|field| field.required.then(|| bare(&field.kind))).collect();
        let told = Told {
            method: matched.operation.method.as_str(),
            host: "",
            path: "",
            workload: Some(""),
            scopes: Some(&scopes),
            asks,
            values: &full,
        };
        let resource = uid(&self.types.service, &matched.service.name);
        let passes = |principal: EntityUid, told: Told<'_>| {
            context(told).is_ok_and(|context| {
                Request::new(principal, action.clone(), resource.clone(), context, Some(self.schema)).is_ok()
            })
        };
        let Types { workload, client, user, anonymous, .. } = self.types;
        let principals = [(workload, NOBODY), (client, NOBODY), (user, NOBODY), (anonymous, names::ANYBODY)];
        principals.iter().all(|(kind, id)| passes(uid(kind, id), told))
            && passes(uid(workload, NOBODY), Told { workload: None, scopes: None, values: &bare, ..told })
    }
}

/// A value of a kind that has everything that one can have.
pub(super) fn full(kind: &ValueKind) -> Value {
    match kind {
        ValueKind::String => Value::String(String::new()),
        ValueKind::Long => Value::Long(0),
        ValueKind::Bool => Value::Bool(false),
        ValueKind::Decimal => Value::Decimal("0.0".to_owned()),
        ValueKind::Ip => Value::Ip("192.0.2.1".to_owned()),
        ValueKind::Set(element) => Value::Set(vec![full(element)]),
    }
}

/// The same with nothing in it.
fn bare(kind: &ValueKind) -> Value {
    match kind {
        ValueKind::Set(_) => Value::Set(Vec::new()),
        kind => full(kind),
    }
}

/// Whether a value is of the variant of a kind, its items too.
fn fits(value: &Value, kind: &ValueKind) -> bool {
    match (value, kind) {
        (Value::String(_), ValueKind::String)
        | (Value::Long(_), ValueKind::Long)
        | (Value::Bool(_), ValueKind::Bool)
        | (Value::Decimal(_), ValueKind::Decimal)
        | (Value::Ip(_), ValueKind::Ip) => true,
        (Value::Set(items), ValueKind::Set(element)) => items.iter().all(|item| fits(item, element)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
