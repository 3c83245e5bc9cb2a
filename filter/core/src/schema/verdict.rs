//! The question that is asked of a body, and its answer: the first rule that it breaks, and where, never with what.

use super::keyword::Keyword;
use super::machine::{Bound, Failure, Machine, Stop};
use super::node::SchemaIndex;
use super::table::CompiledSchemas;
use super::value::Digest;
use crate::json::{Event, Events, Fault, Numbers, pointer_to};
use crate::limits::{SCHEMA_STEPS_BASE, SCHEMA_STEPS_PER_BYTE};

/// Why a value is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It is no document that everybody reads alike.
    Json(Fault),
    Schema(Keyword),
    /// It would cost more to judge than a document may.
    Exceeds(Bound),
}

/// A refusal, and the JSON pointer of the value that caused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub cause: Cause,
    pub pointer: String,
}

impl CompiledSchemas {
    /// Judges a whole body, while it is read.
    pub fn validate(&self, schema: SchemaIndex, body: &[u8], numbers: Numbers) -> Result<(), Broken> {
        judge(self, schema, body, numbers)
            .map_err(|(cause, at)| Broken { cause, pointer: pointer_to(body, at) })
    }
}

fn judge(
    schemas: &CompiledSchemas,
    schema: SchemaIndex,
    body: &[u8],
    numbers: Numbers,
) -> Result<(), (Cause, usize)> {
    let mut events = Events::new(body, numbers).map_err(|fault| (Cause::Json(fault), 0))?;
    let mut judge = Judge::new(schemas, schema, body.len());
    loop {
        match events.next() {
            Ok(Some(event)) => judge.event(event, events.start())?,
            Ok(None) => return Ok(()),
            Err(fault) => return Err((Cause::Json(fault), events.start())),
        }
    }
}

/// Judges a value that comes in events: of a document, or of whoever reads parameters and forms.
///
/// The events must be such as `Events` gives: whole, each key once in its object, numbers in JSON's grammar.
#[derive(Debug)]
pub struct Judge<'s> {
    machine: Machine<'s>,
}

impl<'s> Judge<'s> {
    /// `length` is what the value has in bytes; it bounds the work.
    pub fn new(schemas: &'s CompiledSchemas, schema: SchemaIndex, length: usize) -> Judge<'s> {
        let steps = SCHEMA_STEPS_PER_BYTE.saturating_mul(length as u64).saturating_add(SCHEMA_STEPS_BASE);
        Judge { machine: Machine::new(schemas, schema, steps) }
    }

    /// `at` is where the event begins; a refusal names the place that it is about in the same way.
    pub fn event(&mut self, event: Event<'_>, at: usize) -> Result<(), (Cause, usize)> {
        self.machine.event(event, at).map_err(|stop| match stop {
            Stop::Broken(Failure { at, keyword }) => (Cause::Schema(keyword), at),
            Stop::Bound { bound, at } => (Cause::Exceeds(bound), at),
        })
    }
}

impl Digest {
    /// What a document is worth. `None`: it is none, or too large to say.
    pub fn of_document(document: &[u8]) -> Option<Digest> {
        let mut events = Events::new(document, Numbers::Any).ok()?;
        let mut worth = super::machine::Worth::default();
        while let Some(event) = events.next().ok()? {
            worth.event(event)?;
        }
        worth.finish()
    }
}
