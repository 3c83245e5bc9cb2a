use clap::Parser;
use palisade::commands::build;
use std::process::ExitCode;

#[derive(Parser)]
enum Cli {
    Build(build::Args),
}

fn main() -> ExitCode {
    match Cli::parse() {
        Cli::Build(args) => build::run(args),
    }
}
