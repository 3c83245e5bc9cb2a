//! The one binary.

use clap::Parser;
use palisade::commands::{Cli, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(Cli::parse())
}
