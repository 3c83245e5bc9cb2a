//! The ledger, as the server uses it: the package `palisade-ledger`, and what of it is measured.

pub use palisade_ledger::*;
