//! The question that is asked of a body, and its answer: the first rule that it breaks, and where, never with what.

use super::keyword::Keyword;
use super::machine::{Bound, Failure, Machine, Stop};
use super::node::{Discriminator, SchemaIndex};
use super::table::CompiledSchemas;
use super::value::Digest;
use crate::json::{Event, Events, Fault, Numbers, pointer_to};
use crate::limits::{JSON_DEPTH_MAX, SCHEMA_STEPS_BASE, SCHEMA_STEPS_PER_BYTE};

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
        let refusal = match judge(self, schema, body, numbers, Extent::Document) {
            Ok(()) => return Ok(()),
            Err(Refusal::Schema(failure)) => Refusal::Schema(self.meant(body, numbers, failure)),
            Err(other) => other,
        };
        let (cause, at) = refusal.told();
        Err(Broken { cause, pointer: pointer_to(body, at) })
    }

    /// Where a discriminator says which branch of a choice was meant, what that branch refuses. What is refused is
    /// refused whatever it says.
    fn meant(&self, body: &[u8], numbers: Numbers, mut failure: Failure) -> Failure {
        for _ in 0..JSON_DEPTH_MAX {
            let combined =
                failure.choice.and_then(|at| self.node(at)).and_then(|node| node.combined.as_ref());
            let discriminator = combined.and_then(|combined| combined.discriminator.as_ref());
            let value = body.get(failure.at..).unwrap_or_default();
            let branch = discriminator.and_then(|discriminator| selected(discriminator, value));
            let Some(branch) = branch else { break };
            match judge(self, branch, value, numbers, Extent::Value) {
                Err(Refusal::Schema(inner)) => {
                    failure = Failure { at: failure.at.saturating_add(inner.at), ..inner };
                }
                Err(Refusal::Json(..) | Refusal::Exceeds(..)) | Ok(()) => break,
            }
        }
        failure
    }
}

/// Whether a body is one document that everybody reads alike, whatever is in it.
pub fn check_document(body: &[u8], numbers: Numbers) -> Result<(), Broken> {
    let fault = |fault, at| Broken { cause: Cause::Json(fault), pointer: pointer_to(body, at) };
    let mut events = Events::new(body, numbers).map_err(|found| fault(found, 0))?;
    loop {
        match events.next() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(found) => return Err(fault(found, events.start())),
        }
    }
}

/// The branch that an object names.
fn selected(discriminator: &Discriminator, value: &[u8]) -> Option<SchemaIndex> {
    let mut events = Events::new(value, Numbers::Any).ok()?;
    let (mut depth, mut is_named, mut scratch) = (0_usize, false, String::new());
    while let Some(event) = events.next().ok()? {
        match event {
            Event::ObjectStart | Event::ArrayStart => depth = depth.saturating_add(1),
            Event::ObjectEnd | Event::ArrayEnd => depth = depth.saturating_sub(1),
            Event::Key(key, _) => {
                is_named = depth == 1 && key.decode(&mut scratch) == &*discriminator.property;
                continue;
            }
            Event::Text(text) if is_named => {
                let kind = text.decode(&mut scratch);
                return discriminator.mapping.iter().find(|(known, _)| **known == *kind).map(|(_, at)| *at);
            }
            Event::Text(_) | Event::Number(_) | Event::Bool(_) | Event::Null => {}
        }
        if depth == 0 {
            return None;
        }
        is_named = false;
    }
    None
}

/// How much of the bytes is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All of them: one document.
    Document,
    /// The value that they begin with.
    Value,
}

enum Refusal {
    Json(Fault, usize),
    Schema(Failure),
    Exceeds(Bound, usize),
}

impl Refusal {
    const fn told(self) -> (Cause, usize) {
        match self {
            Refusal::Json(fault, at) => (Cause::Json(fault), at),
            Refusal::Schema(failure) => (Cause::Schema(failure.keyword), failure.at),
            Refusal::Exceeds(bound, at) => (Cause::Exceeds(bound), at),
        }
    }
}

impl From<Stop> for Refusal {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Broken(failure) => Refusal::Schema(failure),
            Stop::Bound { bound, at } => Refusal::Exceeds(bound, at),
        }
    }
}

fn judge(
    schemas: &CompiledSchemas,
    schema: SchemaIndex,
    bytes: &[u8],
    numbers: Numbers,
    extent: Extent,
) -> Result<(), Refusal> {
    let mut events = Events::new(bytes, numbers).map_err(|fault| Refusal::Json(fault, 0))?;
    let mut judge = Judge::new(schemas, schema, bytes.len());
    let mut depth = 0_usize;
    loop {
        let event = events.next().map_err(|fault| Refusal::Json(fault, events.start()))?;
        let Some(event) = event else { return Ok(()) };
        judge.machine.event(event, events.start())?;
        match event {
            Event::ObjectStart | Event::ArrayStart => depth = depth.saturating_add(1),
            Event::ObjectEnd | Event::ArrayEnd => depth = depth.saturating_sub(1),
            Event::Key(..) | Event::Text(_) | Event::Number(_) | Event::Bool(_) | Event::Null => {}
        }
        if depth == 0 && extent == Extent::Value {
            return Ok(());
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
        self.machine.event(event, at).map_err(|stop| Refusal::from(stop).told())
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
