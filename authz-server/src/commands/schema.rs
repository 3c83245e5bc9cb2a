//! `palisade schema`: the Cedar schema that a bundle's contracts and fragments give, for editors and for people.

use super::{colours, failed};
use crate::bundle::Bundle;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bundle's directory
    #[arg(value_name = "DIR")]
    bundle: PathBuf,
    /// Cedar's JSON form instead of its own syntax
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> ExitCode {
    let bundle = match Bundle::load(&args.bundle) {
        Ok(bundle) => bundle,
        Err(problems) => {
            eprintln!("{}", colours::problems(&problems, &args.bundle));
            return ExitCode::FAILURE;
        }
    };
    if !args.json {
        print!("{}", bundle.policies.schema_text());
        return ExitCode::SUCCESS;
    }
    match bundle.policies.schema_json() {
        Ok(json) => {
            println!("{json:#}");
            ExitCode::SUCCESS
        }
        Err(error) => failed("schema", &error),
    }
}
