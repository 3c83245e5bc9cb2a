//! A strict JSON reader over bytes: one document, with one structure and one text for each string.
//!
//! `check` says whether a body is that; `events` gives what is in it, piece by piece, to whoever judges it while it is
//! read; `place` says where in a document something stands. Keys that differ in case are different keys.
//! INVARIANT: it builds no tree, does not recurse, and each byte is looked at a bounded number of times.

mod events;
mod keys;
mod place;
mod text;

pub use events::{Event, Events, Fault, Numbers};
pub use place::pointer_to;
pub(crate) use place::push_step;
pub use text::{Text, text_hash};

use crate::reason::Reason;

/// Refuses everything that RFC 8259 does not allow, and what it allows but parsers disagree about.
///
/// What a number is worth it does not judge: readers differ beyond the range and precision of a double, and no rule that
/// this is asked for rests on it.
pub fn check(bytes: &[u8]) -> Result<(), Reason> {
    let mut events = Events::new(bytes, Numbers::Any).map_err(Fault::reason)?;
    while events.next().map_err(Fault::reason)?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests;
