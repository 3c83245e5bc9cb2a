//! How the values of each operation's requests stand in entries: under which names, and which of them not at all.
//!
//! INVARIANT: what a bundle masks is known here, and nowhere is an entry filled past it. Everything is worked out when a
//! bundle is loaded; a decision only looks it up.

use super::context::{ContextField, ContextPart, OperationContext};
use super::format::{Durability, FailMode, LedgerSettings, Mask, Palisade};
use super::masks;
use crate::cedar::Policies;
use crate::ledger::{self, HeaderName, UnrecordableHeader};
use palisade_core::canary;
use palisade_core::contract::{Contract, OperationClass};
use palisade_core::routes::OperationIndex;
use std::sync::Arc;

pub(super) const REQUEST_ID: &str = "x-request-id";
pub const ATTEMPT: &str = "x-envoy-attempt-count";

/// Headers that every entry holds, whatever contracts declare.
pub(super) const ALWAYS_RECORDED: [&str; 2] = [REQUEST_ID, ATTEMPT];

/// How requests are recorded, by the operation's index in the contract.
#[derive(Debug)]
pub struct Recordings {
    operations: Vec<Recording>,
    /// Where no operation is known.
    unknown: Recording,
}

/// How requests of one operation are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// In the order of the operation's context.
    pub fields: Vec<RecordedField>,
    pub request_id: Option<Mask>,
    pub attempt: Option<Mask>,
    /// Whether a value is masked that policies may ask, so that their errors may not quote values.
    pub conceals: bool,
    /// When an allow counts as recorded.
    pub durability: ledger::Durability,
    /// What becomes of a call where the server cannot decide or record in time.
    pub fail_mode: FailMode,
}

/// How one value that policies may ask is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedField {
    pub slot: Slot,
    /// Its name among what is masked: `query.token`, `body./customer/id`.
    pub label: Arc<str>,
    pub mask: Option<Mask>,
    /// Of what is masked: whether a policy that may apply to the operation asks for it.
    pub is_read: bool,
}

/// Where a value stands in an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    Path(Arc<str>),
    Query(Arc<str>),
    Header(HeaderName),
    Body(Arc<str>),
}

impl Recordings {
    pub(super) fn of(
        contract: &Contract,
        contexts: &[OperationContext],
        policies: &Policies,
        palisade: &Palisade,
    ) -> Result<Recordings, UnrecordableHeader> {
        let Palisade { ledger: settings, failure, .. } = palisade;
        let always = |header| masks::everywhere(&settings.mask.headers, header);
        let unknown = Recording {
            fields: Vec::new(),
            request_id: always(REQUEST_ID),
            attempt: always(ATTEMPT),
            conceals: false,
            durability: ledger::Durability::Durable,
            fail_mode: FailMode::Closed,
        };
        let mut operations = Vec::with_capacity(contexts.len());
        for (index, context) in (0..).map(OperationIndex).zip(contexts) {
            let read = policies.masked_and_read(index);
            let field = |(place, field): (usize, &ContextField)| {
                let is_read = read.contains(&place);
                RecordedField::of(field, is_read, contract.identity_headers())
            };
            let fields: Vec<RecordedField> =
                context.fields.iter().enumerate().map(field).collect::<Result<_, _>>()?;
            let matched = contract.operation(index);
            let class = matched.map(|matched| matched.operation.class);
            // The canary is denied always, or it would prove nothing.
            let may_fail_open = matched.filter(|matched| *matched.service.name != *canary::SERVICE);
            operations.push(Recording {
                conceals: fields.iter().any(|field| field.mask.is_some()),
                fields,
                request_id: context.mask_of(REQUEST_ID),
                attempt: context.mask_of(ATTEMPT),
                durability: class.map_or(ledger::Durability::Durable, |class| settings.durability(class)),
                fail_mode: may_fail_open
                    .map_or(FailMode::Closed, |matched| failure.mode(matched.operation.class)),
            });
        }
        Ok(Recordings { operations, unknown })
    }

    pub fn operation(&self, index: Option<OperationIndex>) -> &Recording {
        let index = index.and_then(|index| usize::try_from(index.0).ok());
        index.and_then(|index| self.operations.get(index)).unwrap_or(&self.unknown)
    }
}

impl RecordedField {
    fn of(
        field: &ContextField,
        is_read: bool,
        credentials: &[Box<str>],
    ) -> Result<RecordedField, UnrecordableHeader> {
        let name: Arc<str> = match field.part {
            ContextPart::Body => field.pointer().into(),
            ContextPart::Path | ContextPart::Query | ContextPart::Header => field.keys.concat().into(),
        };
        let label = format!("{}.{name}", field.part.name()).into();
        let slot = match field.part {
            ContextPart::Path => Slot::Path(name),
            ContextPart::Query => Slot::Query(name),
            ContextPart::Header => Slot::Header(HeaderName::new(&name, credentials)?),
            ContextPart::Body => Slot::Body(name),
        };
        Ok(RecordedField { slot, label, mask: field.mask, is_read })
    }
}

impl LedgerSettings {
    /// When an allowed call of this class counts as recorded.
    pub fn durability(&self, class: OperationClass) -> ledger::Durability {
        let written = match class {
            OperationClass::Read => &self.durability.read,
            OperationClass::Write => &self.durability.write,
            OperationClass::Delete => &self.durability.delete,
        };
        match written.value {
            Durability::Durable => ledger::Durability::Durable,
            Durability::Buffered => ledger::Durability::Buffered,
        }
    }
}
