//! Contracts as teams write them, with what is read out of them or what their authors are told.

mod public;
