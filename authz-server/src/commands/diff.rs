//! `palisade diff`: what changed from one bundle to another, like `diff(1)`: 0 the same, 1 different, 2 trouble.

use super::colours;
use crate::bundle::Bundle;
use crate::bundle::diff::Difference;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const DIFFERENT: u8 = 1;

const TROUBLE: u8 = 2;

/// Compare two bundles: operations, validation, policies, callers, and who may do what.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bundle before
    #[arg(value_name = "A")]
    before: PathBuf,

    /// The bundle after
    #[arg(value_name = "B")]
    after: PathBuf,

    /// Print one JSON object instead of text
    #[arg(long, conflicts_with = "markdown")]
    json: bool,

    /// Print Markdown, for a comment under a proposed change
    #[arg(long)]
    markdown: bool,
}

pub fn run(args: &Args) -> ExitCode {
    let (Some(before), Some(after)) = (load(&args.before), load(&args.after)) else {
        return ExitCode::from(TROUBLE);
    };
    let difference = Difference::of(&before, &after);
    if args.json {
        match serde_json::to_string(&difference) {
            Ok(json) => println!("{json}"),
            Err(error) => {
                eprintln!("palisade diff: {error}");
                return ExitCode::from(TROUBLE);
            }
        }
    } else if args.markdown {
        print!("{}", difference.markdown());
    } else {
        print!("{}", difference.text(colours::on_stdout()));
    }
    if difference.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) }
}

fn load(directory: &Path) -> Option<Bundle> {
    match Bundle::load(directory) {
        Ok(bundle) => Some(bundle),
        Err(problems) => {
            eprintln!("{}", colours::problems(&problems, directory));
            eprintln!("palisade diff: `{}` is not a sound bundle", directory.display());
            None
        }
    }
}
