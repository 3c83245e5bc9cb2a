//! `just storm`: does the service recover from a storm of retries, with Palisade and with its rivals, on real Envoys?
//!
//! INVARIANT: a number is only compared with another one of the same run, against bounds that stood in a file before it;
//! everything that is started here listens on loopback, has a bound in count or time, and is ended by its process id.

mod backend;
mod client_side;
mod counters;
mod dice;
#[path = "../../failure.rs"]
mod failure;
mod figures;
mod identities;
mod load;
mod measure;
mod plan;
mod plot;
mod rig;
mod server_side;
mod setup;
#[path = "../../stats.rs"]
mod stats;
mod summary;
mod table;
mod thresholds;
mod update;

use clap::Parser;
use failure::Failure;
use measure::Program;
use palisade::dev::progress::Progress;
use plan::{ADAPTIVE, ARMS, Arm, FILTER, NOTHING, OURS, Phases, RATE, Scenario, Trigger};
use setup::Setup;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use thresholds::Thresholds;

/// Let a storm of retries come over a service, and see which guard ends it.
#[derive(Debug, Parser)]
#[command(name = "storm")]
struct Options {
    /// Which question is asked
    #[arg(long, value_enum, default_value_t = Scenario::Storm)]
    scenario: Scenario,
    /// What goes wrong, where the scenario leaves the choice
    #[arg(long, value_enum, value_delimiter = ',')]
    trigger: Vec<Trigger>,
    /// Only these arms, named as in the table
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    arms: Vec<String>,
    /// How often every arm is measured, in turn with the others
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20))]
    runs: Option<u32>,
    /// How long the healthy scenario lasts
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(10..=7200))]
    seconds: u32,
    /// Requests a second; the service can do 400
    #[arg(long, value_name = "PER_S", default_value_t = RATE, value_parser = rate)]
    rate: f64,
    /// Whose arrivals: run by run, all arms get the same
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Nothing and ours, once, for a few seconds: does everything work?
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// All arms, all triggers, five runs
    #[arg(long)]
    full: bool,
    /// Say what was missed, and end well all the same
    #[arg(long)]
    report_only: bool,
    /// One JSON document on standard output instead of the table; so it is where that is no terminal
    #[arg(long)]
    json: bool,
    /// The table also where standard output is no terminal
    #[arg(long, conflicts_with = "json")]
    table: bool,
}

/// More than the processors of a small machine can carry would measure the machine.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (1.0..=500.0).contains(&rate) => Ok(rate),
        _ => Err("expected a number of requests a second from 1 to 500".to_owned()),
    }
}

impl Options {
    fn program(&self) -> Result<Program, Failure> {
        let mut triggers: Vec<Trigger> = match (self.trigger.is_empty(), self.full) {
            (true, true) => Trigger::ALL.to_vec(),
            (true, false) => vec![Trigger::Slow],
            (false, _) => self.trigger.clone(),
        };
        for trigger in &mut triggers {
            *trigger = self.scenario.trigger(*trigger);
        }
        triggers.dedup();
        let phases = match (self.scenario, self.quick) {
            (Scenario::Healthy, _) => Phases::healthy(self.seconds),
            (_, true) => Phases::quick(),
            (_, false) => Phases::usual(),
        };
        let runs = match (self.quick, self.full) {
            (true, _) => 1,
            (_, true) => 5,
            (false, false) => 3,
        };
        Ok(Program {
            scenario: self.scenario,
            triggers,
            arms: self.arms()?,
            phases,
            runs: self.runs.unwrap_or(runs),
            rate: self.rate,
            seed: self.seed,
        })
    }

    fn arms(&self) -> Result<Vec<&'static Arm>, Failure> {
        if self.arms.is_empty() {
            let wanted = |arm: &&Arm| match (self.quick, self.full, self.scenario) {
                (true, _, _) => arm.name == NOTHING || arm.name == OURS,
                (_, true, _) => true,
                // What shedding costs is the difference between these.
                (_, _, Scenario::Healthy) => matches!(arm.name, NOTHING | ADAPTIVE | FILTER | OURS),
                _ => arm.usual,
            };
            return Ok(ARMS.iter().filter(wanted).collect());
        }
        let find = |name: &String| {
            ARMS.iter().find(|arm| arm.name == name).ok_or_else(|| {
                let names: Vec<_> = ARMS.iter().map(|arm| arm.name).collect();
                Failure::new(format!("there is no arm `{name}`: expected one of `{}`", names.join("`, `")))
            })
        };
        self.arms.iter().map(find).collect()
    }
}

fn main() -> ExitCode {
    // Children are this same program, so that one command builds everything that is measured.
    if matches!(std::env::args().nth(1).as_deref(), Some("serve" | "exec-tied")) {
        return palisade::commands::run(palisade::commands::Cli::parse());
    }
    storm(&Options::parse()).unwrap_or_else(|failure| {
        eprintln!("storm: {failure}");
        ExitCode::FAILURE
    })
}

fn storm(options: &Options) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::because("the runtime cannot be started"))?;
    // On this thread, which ends last: the children are tied to it.
    runtime.block_on(async {
        tokio::select! {
            outcome = measured(options) => outcome,
            _ = tokio::signal::ctrl_c() => Err(Failure::new("interrupted; nothing is left running")),
        }
    })
}

async fn measured(options: &Options) -> Result<ExitCode, Failure> {
    let program = options.program()?;
    let mut progress = Progress::human();
    let setup = Setup::prepare(&program.arms, &mut progress)?;
    // Read before anything is measured, so that no bound is made to fit.
    let thresholds = Thresholds::read(&setup.root)?;
    let runs = measure::all(&program, &setup, &mut progress).await?;
    let mut missed = false;
    for trigger in &program.triggers {
        let of_trigger = || runs.iter().filter(|run| run.trigger == *trigger);
        let summary = summary::Summary::of(&program, *trigger, of_trigger());
        let verdicts = thresholds.judge(&summary, options.quick);
        missed |= verdicts.iter().any(|verdict| !verdict.held);
        let picture = plot::write(&setup.root, &program, *trigger, of_trigger())?;
        if options.json || !(options.table || std::io::stdout().is_terminal()) {
            println!("{}", table::json(&summary, &verdicts));
        } else {
            println!("{}", table::text(&summary, &verdicts));
        }
        eprintln!("goodput over time: `{}`", picture.display());
    }
    Ok(if missed && !options.report_only { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
