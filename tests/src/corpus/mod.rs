//! Corpora: files of raw requests, each with the expected reply and with what the service may see.
//!
//! `format` reads the files, `template` their text, `profile` gives each bundle's names, `check` runs one case.

pub mod format;
pub mod template;
