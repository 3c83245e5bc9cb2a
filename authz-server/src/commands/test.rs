//! `palisade test`: runs the tests of a bundle, and says what they leave out.
//!
//! Ends with 0 when all passed and enough is covered, with 1 when not, with 2 when nothing could be run.

use super::colours;
use crate::bundle::{Bundle, Problems};
use crate::reload::Changes;
use crate::testing::{self, Coverage, Proxy, Report};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Clears the screen and what scrolled off it, and goes to its first line.
const CLEAR: &str = "\u{1b}[2J\u{1b}[3J\u{1b}[H";

/// Nothing could be run: the bundle is broken, or there is no such test.
const NOTHING_RAN: u8 = 2;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bundle's directory
    #[arg(value_name = "DIR")]
    bundle: PathBuf,
    /// Run only the cases whose name or file holds this text; coverage is then not told
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["coverage_min", "require_full_coverage"])]
    filter: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Write the results as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Fail when policies and operations are covered to less than this percentage
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    coverage_min: Option<u8>,
    /// Fail when any policy determined nothing or any operation has no test
    #[arg(long, conflicts_with = "coverage_min")]
    require_full_coverage: bool,
    /// Print who may do what instead: every caller times every operation, as the requests of the tests come out
    #[arg(long, conflicts_with_all = ["filter", "json", "junit", "coverage_min", "require_full_coverage"])]
    matrix: bool,
    /// Run again whenever the bundle changes, until it is interrupted
    #[arg(long)]
    watch: bool,
}

pub fn run(args: &Args) -> ExitCode {
    if !args.watch {
        return run_once(args);
    }
    let mut changes = match Changes::of(&args.bundle) {
        Ok(changes) => changes,
        Err(error) => return nothing_ran(&format!("`{}` cannot be watched: {error}", args.bundle.display())),
    };
    loop {
        if !args.json && std::io::stdout().is_terminal() {
            print(CLEAR);
        }
        // Whatever it says, the next change may mend it; the interrupt that ends this ends the process.
        let _code = run_once(args);
        eprintln!("\nwaiting for changes in `{}`; Ctrl-C ends", args.bundle.display());
        changes.wait();
    }
}

fn run_once(args: &Args) -> ExitCode {
    let began = Instant::now();
    let bundle = match Bundle::load(&args.bundle) {
        Ok(bundle) => bundle,
        Err(problems) => return broken(args, &problems),
    };
    let proxy = match Proxy::new(bundle) {
        Ok(proxy) => proxy,
        Err(error) => return nothing_ran(&error),
    };
    if args.matrix {
        let matrix = testing::Matrix::of(&proxy);
        print(&matrix.to_string());
        return if matrix.gaps().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let run = testing::run(&proxy, args.filter.as_deref());
    if run.count() == 0 {
        return match &args.filter {
            Some(filter) => nothing_ran(&format!("no case has `{filter}` in its name or file")),
            None => nothing_ran(&"the bundle has no tests: write cases into `tests/*.yaml`"),
        };
    }
    let coverage = args.filter.is_none().then(|| Coverage::of(proxy.bundle(), &run));
    let report =
        Report { run: &run, coverage: coverage.as_ref(), took: began.elapsed(), directory: &args.bundle };
    if let Some(path) = &args.junit
        && let Err(error) = write_file(path, &testing::junit(report))
    {
        return nothing_ran(&format!("`{}` cannot be written: {error}", path.display()));
    }
    if args.json {
        print(&format!("{}\n", testing::json(report)));
    } else {
        print(&testing::text(report, colours::on_stdout()));
    }
    conclude(args, report)
}

fn conclude(args: &Args, report: Report<'_>) -> ExitCode {
    let wanted = if args.require_full_coverage { 100 } else { args.coverage_min.unwrap_or(0) };
    let short = report.coverage.filter(|coverage| coverage.percent() < usize::from(wanted));
    if let Some(coverage) = short {
        let found = coverage.percent();
        eprintln!("palisade test: {found} % are covered, and {wanted} % are demanded");
    }
    if report.run.failed() > 0 || short.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn broken(args: &Args, problems: &Problems) -> ExitCode {
    if args.json {
        // A directory that is not there is named by its own path.
        let within = args.bundle.is_dir().then(|| problems.in_directory(&args.bundle));
        let problems = within.as_ref().unwrap_or(problems);
        print(&format!("{}\n", serde_json::json!({"problems": problems.sorted()})));
    } else {
        eprintln!("{}\n", colours::problems(problems, &args.bundle));
    }
    nothing_ran(&"the bundle does not load, so that nothing was run")
}

fn nothing_ran(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("palisade test: {why}");
    ExitCode::from(NOTHING_RAN)
}

/// Unlike `println`, it does not panic when the reader of a pipe has left.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn write_file(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(path, text)
}
