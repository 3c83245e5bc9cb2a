//! Schemas that apply to a value whatever they contain are no help if they contain themselves: nothing would end.
//!
//! A list of lists of lists is recursive and fine, because each step goes deeper into the value. `A: {allOf: [A]}` is not.

use super::Reading;
use crate::bundle::openapi::model::{Schema, SchemaId};
use std::collections::HashMap;

/// Where a walk is with a schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Done,
}

/// Schemas that apply to the same value.
fn same_value(schema: &Schema) -> impl Iterator<Item = SchemaId> {
    let combined = schema.combined.iter().flat_map(|combined| combined.branches());
    let dependent = schema.object.iter().flat_map(|object| &object.dependent_schemas).map(|(_, id)| *id);
    combined.chain(dependent)
}

impl Reading<'_> {
    pub(in crate::bundle::openapi::read) fn check_loops(&mut self) {
        let mut states = HashMap::new();
        let mut loops = Vec::new();
        let mut starts: Vec<SchemaId> = self.arena.places.keys().copied().collect();
        starts.sort();
        for start in starts {
            // Each step has the branches that are not walked yet: a stack of our own, since chains may be long.
            let mut open = vec![(start, Vec::new())];
            if states.contains_key(&start) {
                continue;
            }
            states.insert(start, State::Open);
            if let Some((_, branches)) = open.last_mut() {
                *branches = same_value(self.arena.schemas.schema(start)).collect();
            }
            while let Some((id, branches)) = open.last_mut() {
                let Some(next) = branches.pop() else {
                    states.insert(*id, State::Done);
                    open.pop();
                    continue;
                };
                match states.get(&next) {
                    Some(State::Open) => loops.push(next),
                    Some(State::Done) => {}
                    None => {
                        states.insert(next, State::Open);
                        open.push((next, same_value(self.arena.schemas.schema(next)).collect()));
                    }
                }
            }
        }
        for id in loops {
            if let Some(at) = self.arena.places.get(&id).copied() {
                let message = "this schema contains itself without going deeper into the value";
                let help = "a schema may contain itself in `properties` or `items`; remove the reference from `allOf`, `oneOf` or `anyOf`";
                self.wrong(crate::bundle::yaml::Span::start_of(at), message, help);
            }
        }
    }
}
