//! One file a subcommand.

pub mod build;
