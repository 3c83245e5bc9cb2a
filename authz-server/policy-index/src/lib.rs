//! Cedar policies by their scope: which of them can matter to a request, without asking all of them. A table of contents.
//!
//! INVARIANT: what is left out could not have changed the answer.
