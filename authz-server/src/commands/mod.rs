//! One file a subcommand. A command's result goes to standard output, everything else to standard error.

pub mod audit;
pub mod build;
pub mod check;
mod colours;
pub mod dev;
pub mod diff;
pub mod drift;
pub mod explain;
pub mod key;
pub mod ledger;
mod replay;
pub mod schema;
pub mod serve;
pub mod shadow;
pub mod storm;
pub mod test;
pub mod why;

use clap::Parser;
use std::io::Write as _;
use std::process::ExitCode;

/// A microservices access proxy for Envoy and Istio.
#[derive(Debug, Parser)]
#[command(name = "palisade", version, about)]
pub enum Cli {
    /// Run the whole proxy on this machine, the same as in production
    Dev(dev::Args),
    /// Run the ext_authz server
    Serve(serve::Args),
    /// Say everything that is wrong with a bundle
    Check(check::Args),
    /// Say what changed from one bundle to another
    Diff(diff::Args),
    /// Run the tests of a bundle through the whole proxy, and say what they leave out
    Test(test::Args),
    /// Print the Cedar schema that a bundle's contracts give
    Schema(schema::Args),
    /// Write everything that Envoy reads, from a bundle
    Build(build::Args),
    /// Show what became of a call, by the decision id that its caller was told
    Why(why::Args),
    /// Say how a bundle decides a request that is described in a file, and what would change that
    Explain(explain::Args),
    /// Find calls again: who called, what was asked for, what became of it
    Audit(audit::Args),
    /// Show what broke the contract without being refused: rules in shadow, and responses
    Drift(drift::Args),
    /// Show what a candidate bundle and shadow policies would have decided otherwise
    #[command(subcommand)]
    Shadow(shadow::Command),
    /// Watch the load: what is shed, who asks again and again, and storms under way
    Storm(storm::Args),
    /// Issue, revoke and list API keys
    #[command(subcommand)]
    Key(key::Command),
    /// Look into a ledger, or check it
    #[command(subcommand)]
    Ledger(ledger::Command),
    #[command(hide = true)]
    ExecTied(dev::ExecTiedArgs),
}

pub fn run(cli: Cli) -> ExitCode {
    match cli {
        Cli::Dev(args) => dev::run(args),
        Cli::Serve(args) => serve::run(args),
        Cli::Check(args) => check::run(&args),
        Cli::Diff(args) => diff::run(&args),
        Cli::Test(args) => test::run(&args),
        Cli::Schema(args) => schema::run(&args),
        Cli::Build(args) => build::run(args),
        Cli::Why(args) => why::run(&args),
        Cli::Explain(args) => explain::run(&args),
        Cli::Audit(args) => audit::run(&args),
        Cli::Drift(args) => drift::run(&args),
        Cli::Shadow(command) => shadow::run(&command),
        Cli::Storm(args) => storm::run(&args),
        Cli::Key(command) => key::run(&command),
        Cli::Ledger(command) => ledger::run(&command),
        Cli::ExecTied(args) => dev::run_exec_tied(&args),
    }
}

/// Ends a command that failed, with what went wrong.
fn failed(command: &str, error: &dyn std::fmt::Display) -> ExitCode {
    // Where not even this can be written, as on a full disk, the exit code still says it.
    let _told = writeln!(std::io::stderr(), "palisade {command}: {error}");
    ExitCode::FAILURE
}
