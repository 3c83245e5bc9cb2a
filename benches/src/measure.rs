//! The run: in each round all arms are started afresh, then saturated in turn, slice by slice, then sent requests at a
//! fixed rate. What else the machine does falls on all arms alike, and so does the luck of where memory lies.
//!
//! INVARIANT: both snapshots of processor time are taken while no request of the arm is under way, so that every request
//! that is counted was paid for between them.

use crate::arms::{ARMS, Arm, BASELINE, Group};
use crate::cpu::{linear_memories_bytes, resident_bytes};
use crate::failure::Failure;
use crate::load::{Connections, Seen, open_loop};
use crate::report::{self, Report};
use crate::setup::{self, Setup};
use crate::stack::Stack;
use crate::stats::percentile;
use crate::{Options, tracked};
use palisade::dev::progress::Progress;
use serde::Serialize;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// Requests before anything is timed: connections are up, code is compiled, caches are warm.
///
/// V8 compiles hot functions a second time, on threads of Envoy's own: half a second of a slow machine.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long one arm is saturated before it is the next one's turn: long against a scheduler's, short against a
/// neighbour's work.
const SLICE: Duration = Duration::from_millis(200);

/// One arm in one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) ready_ms: f64,
    pub(crate) requests: u64,
    pub(crate) per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Of processor time, for each request.
    pub(crate) envoy_us: f64,
    pub(crate) server_us: Option<f64>,
    pub(crate) open_p50_us: f64,
    pub(crate) open_p99_us: f64,
    /// Of Envoy, after both loads; and the largest linear memory of its VMs, where there is one.
    pub(crate) resident_bytes: u64,
    pub(crate) linear_bytes: Option<u64>,
    /// Replies with another status than expected, in both loads.
    pub(crate) wrong: u64,
}

impl Measured {
    /// What the whole machine pays for a request, the caller apart.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.envoy_us + self.server_us.unwrap_or(0.0)
    }
}

/// An arm and what each round found.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) arm: Arm,
    pub(crate) rounds: Vec<Measured>,
}

pub(crate) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let mut progress = Progress::human();
    let setup = setup::prepare(options, &mut progress).await?;
    let load_before = report::load_average();
    let mut series: Vec<Series> = ARMS
        .iter()
        .filter(|arm| is_chosen(arm, options))
        .map(|arm| Series { arm: *arm, rounds: Vec::new() })
        .collect();
    if series.is_empty() {
        let groups = Group::ALL.iter().map(|group| group.as_str());
        let names: Vec<_> = groups.chain(ARMS.iter().map(|arm| arm.name)).collect();
        return Err(Failure::new(format!("`--only` names no arm: expected some of {}", names.join(", "))));
    }
    for round in 1..=options.rounds {
        let mut running = Vec::new();
        let outcome = measure(round, options, &setup, &series, &mut running, &mut progress).await;
        let outcome = outcome.map_err(|failure| explain(&failure, &running));
        for Running { stack, .. } in running {
            stack.stop().await;
        }
        for (Series { rounds, .. }, measured) in series.iter_mut().zip(outcome?) {
            rounds.push(measured);
        }
    }
    let tracked =
        if options.no_tracked { None } else { Some(tracked::run(options, &setup, &mut progress).await?) };
    let report = Report::new(options, &series, tracked, load_before);
    let text = if options.json { report.json()? } else { report.text() };
    // Whoever reads may have gone; there is nobody else to tell.
    let _told = std::io::stdout().write_all(text.as_bytes());
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_chosen(arm: &Arm, options: &Options) -> bool {
    let possible = arm.name != BASELINE || options.baseline.is_some();
    possible && (options.only.is_empty() || options.only.iter().any(|word| arm.is_named(word)))
}

/// An arm that is up.
struct Running {
    arm: Arm,
    stack: Stack,
    connections: Connections,
    closed: Seen,
    envoy_us: f64,
    server_us: Option<f64>,
}

async fn measure(
    round: u32,
    options: &Options,
    setup: &Setup,
    series: &[Series],
    running: &mut Vec<Running>,
    progress: &mut Progress,
) -> Result<Vec<Measured>, Failure> {
    let of = |what| format!("round {round}/{}: {what}", options.rounds);
    let mut step = progress.step(&of("start and warm up"));
    for Series { arm, .. } in series {
        step.line(arm.name);
        running.push(Running::start(arm, setup, options).await?);
    }
    step.done("");

    let mut step = progress.step(&of("saturate"));
    let slices = (options.saturate_s / SLICE.as_secs_f64()).round().max(1.0) as u32;
    for slice in 1..=slices {
        for arm in &mut *running {
            step.line(&format!("slice {slice}/{slices}, {}", arm.arm.name));
            arm.saturate(SLICE).await?;
        }
    }
    step.done("");

    let mut measured = Vec::new();
    for arm in &mut *running {
        let step = progress.step(&of(arm.arm.name));
        let found = arm.finish(options).await?;
        step.done(&report::line(&found));
        measured.push(found);
    }
    Ok(measured)
}

impl Running {
    async fn start(arm: &Arm, setup: &Setup, options: &Options) -> Result<Running, Failure> {
        let stack = Stack::start(arm, setup).await?;
        let mut connections =
            Connections::open(stack.listen, arm.kind.connections(options.connections)).await?;
        connections.saturate(stack.asks(arm), WARM_UP).await?;
        Ok(Running { arm: *arm, stack, connections, closed: Seen::default(), envoy_us: 0.0, server_us: None })
    }

    async fn saturate(&mut self, lasting: Duration) -> Result<(), Failure> {
        let asks = self.stack.asks(&self.arm);
        // The caches hold another arm's code and data: these requests are not counted.
        self.connections.saturate(asks.clone(), lasting / 10).await?;
        let before = self.stack.used()?;
        let seen = self.connections.saturate(asks, lasting).await?;
        let (envoy_us, server_us) = self.stack.used()?.since(&before);
        self.envoy_us += envoy_us;
        self.server_us = server_us.map(|used| used + self.server_us.unwrap_or(0.0));
        self.closed.lasted += seen.lasted;
        self.closed.add(seen);
        Ok(())
    }

    async fn finish(&mut self, options: &Options) -> Result<Measured, Failure> {
        let (listen, ask, rate) =
            (self.stack.listen, self.stack.ask(&self.arm), self.arm.kind.rate(options.rate));
        let lasting = Duration::from_secs_f64(options.open_s);
        let open = tokio::task::spawn_blocking(move || open_loop(listen, &ask, rate, lasting));
        let open = open.await.map_err(Failure::because("the load at a fixed rate failed"))??;
        let closed = std::mem::take(&mut self.closed);
        let wrong = closed.wrong.saturating_add(open.wrong);
        if closed.latencies_ns.is_empty() || open.latencies_ns.is_empty() {
            let first = closed.first_wrong.or(open.first_wrong).unwrap_or_else(|| "none came".to_owned());
            return Err(Failure::new(format!(
                "`{}` gave no good reply; the first was {first}",
                self.arm.name
            )));
        }
        let requests = closed.latencies_ns.len() as u64;
        let per_s = requests as f64 / closed.lasted.as_secs_f64();
        let all = requests.saturating_add(closed.wrong) as f64;
        let (p50_us, p99_us) = percentiles_us(closed);
        let (open_p50_us, open_p99_us) = percentiles_us(open);
        Ok(Measured {
            ready_ms: self.stack.ready.as_secs_f64() * 1e3,
            requests,
            per_s,
            p50_us,
            p99_us,
            envoy_us: self.envoy_us / all,
            server_us: self.server_us.map(|used| used / all),
            open_p50_us,
            open_p99_us,
            resident_bytes: resident_bytes(self.stack.envoy_pid)?,
            linear_bytes: linear_memories_bytes(self.stack.envoy_pid)?.last().copied(),
            wrong,
        })
    }
}

/// With the logs of all that was up: who failed is not always who is to blame.
fn explain(failure: &Failure, running: &[Running]) -> Failure {
    let mut text = failure.to_string();
    for Running { arm, stack, .. } in running {
        for line in stack.log_lines() {
            text.push_str(&format!("\n    {}: {line}", arm.name));
        }
    }
    Failure::new(text)
}

fn percentiles_us(seen: Seen) -> (f64, f64) {
    let mut sorted = seen.latencies_ns;
    sorted.sort_unstable();
    (percentile(&sorted, 0.5) / 1e3, percentile(&sorted, 0.99) / 1e3)
}
