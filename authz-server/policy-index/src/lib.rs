//! Cedar policies by their scope: which of them can matter to a request, without asking all of them. A table of contents.
//!
//! `scope` says which scopes match an entity, `index` which policies, `answer` evaluates their conditions and draws
//! Cedar's conclusion. `person` and `slice` are for callers that no store holds. INVARIANT: what is left out could not
//! have changed the answer.

mod answer;
mod index;
mod memo;
mod person;
mod reach;
mod scope;
mod slice;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Conclusion, Failure};
pub use index::{Caller, Index, IndexError};
pub use memo::Memo;
pub use person::{Person, PersonError};
pub use slice::CallerError;
