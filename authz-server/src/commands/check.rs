//! `palisade check`: everything that is wrong with a bundle, and what is probably not meant.

use super::colours;
use crate::bundle::{Bundle, Checked, Lint, Severity};
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// No directory to check: the command was used wrongly.
const WRONG_USAGE: u8 = 2;

/// Check a bundle: its files, contracts, entities and policies, together.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bundle's directory
    #[arg(value_name = "DIR")]
    bundle: PathBuf,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,

    /// Fail on warnings, too
    #[arg(long)]
    deny_warnings: bool,

    /// A lint that shall not warn this time; may be given many times. `lints.allow` in `palisade.yaml` is for good
    #[arg(long, value_name = "LINT", value_parser = lint_parser())]
    allow: Vec<Lint>,
}

fn lint_parser() -> impl clap::builder::TypedValueParser<Value = Lint> {
    let words = Lint::ALL.iter().map(|lint| clap::builder::PossibleValue::new(lint.word()).help(lint.doc()));
    PossibleValuesParser::new(words).try_map(|word| {
        Lint::ALL.iter().copied().find(|lint| lint.word() == word).ok_or("there is no such lint")
    })
}

pub fn run(args: &Args) -> ExitCode {
    if !args.bundle.is_dir() {
        eprintln!("palisade check: `{}` is not a directory: expected a bundle", args.bundle.display());
        return ExitCode::from(WRONG_USAGE);
    }
    let mut checked = Bundle::check(&args.bundle);
    checked.problems.without(&args.allow);
    let denied = checked.bundle.is_none() || (args.deny_warnings && !checked.problems.is_empty());
    if args.json {
        println!("{}", as_json(args, &checked));
    } else {
        print_text(args, &checked);
    }
    if denied { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn print_text(args: &Args, checked: &Checked) {
    let problems = checked.problems.in_directory(&args.bundle);
    if !problems.is_empty() {
        println!("{}\n", problems.report(colours::on_stdout()));
    }
    for note in &checked.notes {
        println!("note: {note}");
    }
    println!("{}", summary(checked));
}

/// The last line.
fn summary(checked: &Checked) -> String {
    let errors = checked.problems.count(Severity::Error);
    let warnings = checked.problems.count(Severity::Warning);
    let count = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    };
    let files = count(checked.files, "file", "files");
    let errors_of = |errors| count(errors, "error", "errors");
    let warnings_of = |warnings| count(warnings, "warning", "warnings");
    match &checked.bundle {
        None if warnings == 0 => format!("✗ {} in {files}", errors_of(errors)),
        None => format!("✗ {}, {} in {files}", errors_of(errors), warnings_of(warnings)),
        Some(bundle) => {
            let size = bundle.size();
            let parts = [
                count(size.services, "service", "services"),
                count(size.operations, "operation", "operations"),
                count(size.policies, "policy", "policies"),
                if warnings == 0 { "no problems".to_owned() } else { warnings_of(warnings) },
            ];
            format!("✓ bundle {}: {}", bundle.digest, parts.join(", "))
        }
    }
}

fn as_json(args: &Args, checked: &Checked) -> Value {
    let mut object = json!({
        "sound": checked.bundle.is_some(),
        "files": checked.files,
        "problems": checked.problems.in_directory(&args.bundle).sorted(),
        "notes": checked.notes,
    });
    if let (Some(bundle), Some(fields)) = (&checked.bundle, object.as_object_mut()) {
        let size = bundle.size();
        fields.insert("digest".to_owned(), json!(bundle.digest.to_string()));
        fields.insert("services".to_owned(), json!(size.services));
        fields.insert("operations".to_owned(), json!(size.operations));
        fields.insert("policies".to_owned(), json!(size.policies));
    }
    object
}
