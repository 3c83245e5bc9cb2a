//! The index beside Cedar's own evaluation over all policies: on random worlds, on Cedar's published tests, and on what
//! random worlds would not think of.

mod cases;
mod compare;
mod equals;
mod published;
mod words;
mod world;
