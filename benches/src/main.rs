//! `just bench`: what a request costs with Palisade, beside what it costs with its rivals, in one run.
//!
//! INVARIANT: a number is only ever compared with another one of the same run, and everything that is started here
//! listens on loopback, has a bound in count or time, and is ended by its process id.

mod arms;
mod bootstrap;
mod cpu;
mod crowd;
mod document;
mod failure;
mod figures;
mod issuer;
mod large;
mod load;
mod measure;
mod report;
mod requests;
mod rivals;
mod service;
mod setup;
mod stack;
mod stats;
mod tracked;

use clap::Parser;
use failure::Failure;
use std::process::ExitCode;

/// Measure Palisade and its rivals side by side, on loopback.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub(crate) struct Options {
    /// How often every arm is measured, in turn with the others
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// How long one arm is saturated, each time
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    saturate_s: f64,
    /// How long requests are sent at a fixed rate, each time
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    open_s: f64,
    /// The fixed rate
    #[arg(long, value_name = "PER_S", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// Connections that saturate
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Measure only these arms, named as in the table, or groups of them: heads, bodies, responses, start, decisions, shedding
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// An earlier build of the filter, to be measured beside this one
    #[arg(long, value_name = "WASM")]
    baseline: Option<std::path::PathBuf>,
    /// One short round: to see that everything works, not to compare
    #[arg(long)]
    quick: bool,
    /// A million requests for the memory's flatness instead of a hundred thousand
    #[arg(long)]
    full: bool,
    /// Where the ledger is kept while it is measured, on the kind of disk that matters; else the system's temporary directory
    #[arg(long, value_name = "DIR")]
    state_in: Option<std::path::PathBuf>,
    /// Leave the tracked numbers (module, start, memory) out
    #[arg(long)]
    no_tracked: bool,
    /// One JSON document on standard output instead of the tables
    #[arg(long)]
    json: bool,
}

impl Options {
    fn settled(mut self) -> Options {
        if self.quick {
            self.rounds = 1;
            self.saturate_s = self.saturate_s.min(0.5);
            self.open_s = self.open_s.min(0.5);
        }
        self.saturate_s = self.saturate_s.clamp(0.1, 60.0);
        self.open_s = self.open_s.clamp(0.1, 60.0);
        self
    }
}

/// What this program is started as by itself: the server of an arm.
#[derive(Debug, Parser)]
#[command(name = "bench", hide = true)]
enum Inner {
    /// A rival's ext_authz server
    Rival(rivals::Args),
}

fn main() -> ExitCode {
    // Children are this same program, so that one command builds everything that is measured.
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("serve" | "build" | "exec-tied") => {
            return palisade::commands::run(palisade::commands::Cli::parse());
        }
        Some("rival") => {
            let Inner::Rival(args) = Inner::parse();
            rivals::serve(&args).map(|()| ExitCode::SUCCESS)
        }
        _ => bench(Options::parse().settled()),
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("bench: {failure}");
        ExitCode::FAILURE
    })
}

fn bench(options: Options) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::because("the runtime cannot be started"))?;
    // On this thread, which ends last: the children are tied to it.
    runtime.block_on(async {
        tokio::select! {
            outcome = measure::run(&options) => outcome,
            _ = tokio::signal::ctrl_c() => Err(Failure::new("interrupted; nothing is left running")),
        }
    })
}
