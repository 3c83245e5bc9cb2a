//! The tables and the JSON: medians with their spread, and the ratios that are the point of it all.
//!
//! INVARIANT: a ratio is made of two numbers of the same round, and its spread is that of the rounds.

use crate::Options;
use crate::arms::{
    ALLOW, ALLOW_WRITE, BASELINE, CEDAR, ECHO, ENVOY, FILTER, FILTER_ECHO, FLOOR, FLOOR_ECHO, FLOOR_TWICE,
    NO_OUTCOMES, PALISADE, PALISADE_WRITE,
};
use crate::failure::Failure;
use crate::figures;
use crate::measure::{Measured, Series};
use crate::stats::Spread;
use crate::tracked::Tracked;
use serde::Serialize;
use std::fmt::{self, Write as _};

/// What our filter may cost on a request that passes, in floor filters.
const FILTER_PER_FLOOR_MAX: f64 = 1.5;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: u32,
    palisade: &'static str,
    cores: usize,
    /// Of one minute: before, and after.
    load_average: [Option<f64>; 2],
    rounds: u32,
    connections: u16,
    saturate_s: f64,
    open_s: f64,
    rate_per_s: u32,
    arms: Vec<Row>,
    ratios: Vec<Ratio>,
    tracked: Option<Tracked>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    what: &'static str,
    per_s: Option<Spread>,
    p50_us: Option<Spread>,
    p99_us: Option<Spread>,
    envoy_cpu_us: Option<Spread>,
    server_cpu_us: Option<Spread>,
    open_p50_us: Option<Spread>,
    open_p99_us: Option<Spread>,
    ready_ms: Option<Spread>,
    resident_mb: Option<Spread>,
    linear_mb: Option<Spread>,
    wrong: u64,
    rounds: Vec<Measured>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    what: &'static str,
    value: Spread,
    limit: Option<f64>,
}

impl Report {
    pub(crate) fn new(
        options: &Options,
        series: &[Series],
        tracked: Option<Tracked>,
        load_before: Option<f64>,
    ) -> Report {
        Report {
            version: 1,
            palisade: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            load_average: [load_before, load_average()],
            rounds: options.rounds,
            connections: options.connections,
            saturate_s: options.saturate_s,
            open_s: options.open_s,
            rate_per_s: options.rate,
            arms: series.iter().map(Row::of).collect(),
            ratios: ratios(series),
            tracked,
        }
    }

    /// Every reply was the expected one, and no limit is broken.
    pub(crate) fn is_sound(&self) -> bool {
        self.arms.iter().all(|row| row.wrong == 0)
            && self.ratios.iter().all(|ratio| ratio.limit.is_none_or(|limit| ratio.value.median <= limit))
            && self.tracked.as_ref().and_then(Tracked::is_flat) != Some(false)
    }

    pub(crate) fn json(&self) -> Result<String, Failure> {
        let mut text =
            serde_json::to_string_pretty(self).map_err(Failure::because("the report cannot be written"))?;
        text.push('\n');
        Ok(text)
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a string cannot fail.
        let _written = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let [before, after] = self.load_average.map(|load| load.unwrap_or(f64::NAN));
        writeln!(
            out,
            "\n{} rounds, {} cores, load average {before:.1} before and {after:.1} after; median (min–max)",
            self.rounds, self.cores
        )?;
        self.write_saturation(out)?;
        self.write_open(out)?;
        writeln!(out, "\nratios and differences, of the same round")?;
        for Ratio { what, value, limit } in &self.ratios {
            let verdict = match limit {
                Some(limit) if value.median <= *limit => format!("  holds: at most {limit}"),
                Some(limit) => format!("  BROKEN: at most {limit}"),
                None => String::new(),
            };
            writeln!(out, "  {what:<66} {}{verdict}", cell(Some(*value), 2))?;
        }
        self.write_tracked(out)
    }

    fn write_saturation(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "\nsaturation, {} connections; processor time in µs a request\n  {:<15}{:>24}{:>22}{:>22}{:>20}{:>20}",
            self.connections, "arm", "requests/s", "p50 µs", "p99 µs", "Envoy CPU", "server CPU"
        )?;
        for row in &self.arms {
            writeln!(
                out,
                "  {:<15}{:>24}{:>22}{:>22}{:>20}{:>20}  {}",
                row.name,
                cell(row.per_s, 0),
                cell(row.p50_us, 0),
                cell(row.p99_us, 0),
                cell(row.envoy_cpu_us, 1),
                cell(row.server_cpu_us, 1),
                if row.wrong > 0 { format!("WRONG REPLIES: {}", row.wrong) } else { row.what.to_owned() }
            )?;
        }
        Ok(())
    }

    fn write_open(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "\n{} requests/s, latency from the time when each was due; and from Envoy's start to its first reply; after all of it, Envoy's memory and that of a VM\n  {:<15}{:>24}{:>22}{:>22}{:>22}{:>22}",
            self.rate_per_s, "arm", "p50 µs", "p99 µs", "ready ms", "Envoy MB", "VM MB"
        )?;
        for row in &self.arms {
            let (p50, p99, ready) =
                (cell(row.open_p50_us, 0), cell(row.open_p99_us, 0), cell(row.ready_ms, 0));
            let (resident, linear) = (cell(row.resident_mb, 1), cell(row.linear_mb, 1));
            writeln!(out, "  {:<15}{p50:>24}{p99:>22}{ready:>22}{resident:>22}{linear:>22}", row.name)?;
        }
        Ok(())
    }

    fn write_tracked(&self, out: &mut String) -> fmt::Result {
        let Some(tracked) = &self.tracked else { return Ok(()) };
        writeln!(
            out,
            "\ntracked\n  module: {} bytes; the floor filter {}",
            tracked.filter_bytes, tracked.floor_bytes
        )?;
        for memory in &tracked.memory {
            let linear: Vec<_> =
                memory.linear_bytes.iter().map(|bytes| format!("{} kB", bytes / 1024)).collect();
            writeln!(
                out,
                "  after {:>9} requests: Envoy {} kB, linear memory of its VMs {}",
                memory.requests,
                memory.envoy_resident_bytes / 1024,
                linear.join(" and ")
            )?;
        }
        let verdict = match tracked.is_flat() {
            Some(true) => "flat",
            Some(false) => "NOT FLAT",
            None => "not found in this Envoy's memory map",
        };
        writeln!(out, "  linear memory: {verdict}")
    }
}

impl Row {
    fn of(series: &Series) -> Row {
        let spread = |value: fn(&Measured) -> Option<f64>| Spread::of(series.rounds.iter().filter_map(value));
        Row {
            name: series.arm.name,
            what: series.arm.what,
            per_s: spread(|round| Some(round.per_s)),
            p50_us: spread(|round| Some(round.p50_us)),
            p99_us: spread(|round| Some(round.p99_us)),
            envoy_cpu_us: spread(|round| Some(round.envoy_us)),
            server_cpu_us: spread(|round| round.server_us),
            open_p50_us: spread(|round| Some(round.open_p50_us)),
            open_p99_us: spread(|round| Some(round.open_p99_us)),
            ready_ms: spread(|round| Some(round.ready_ms)),
            resident_mb: spread(|round| Some(round.resident_bytes as f64 / 1e6)),
            linear_mb: spread(|round| Some(round.linear_bytes? as f64 / 1e6)),
            wrong: series.rounds.iter().map(|round| round.wrong).sum(),
            rounds: series.rounds.clone(),
        }
    }
}

/// The round of each arm, by name.
pub(crate) type Round<'a> = dyn Fn(&str) -> Option<&'a Measured> + 'a;

fn ratios(series: &[Series]) -> Vec<Ratio> {
    let rounds = series.iter().map(|series| series.rounds.len()).min().unwrap_or(0);
    let mut ratios = Vec::new();
    let mut add = |what, limit, of: &dyn Fn(&Round<'_>) -> Option<f64>| {
        let values = (0..rounds).filter_map(|round| {
            let found = move |name: &str| {
                let series = series.iter().find(|series| series.arm.name == name)?;
                series.rounds.get(round)
            };
            of(&found)
        });
        ratios.extend(Spread::of(values).map(|value| Ratio { what, value, limit }));
    };
    add("filter ÷ floor: Envoy CPU added for a request that passes", Some(FILTER_PER_FLOOR_MAX), &|round| {
        // A request that passes has a decision, and so needs no second property.
        let second_us = round(FLOOR_TWICE)?.envoy_us - round(FLOOR)?.envoy_us;
        let base_us = round(ENVOY)?.envoy_us;
        Some((round(FILTER)?.envoy_us - second_us - base_us) / (round(FLOOR)?.envoy_us - base_us))
    });
    add("filter ÷ floor: the same with the second property counted in", None, &|round| {
        added(round, FILTER, FLOOR, ENVOY)
    });
    add("filter ÷ floor: Envoy CPU added to ext_authz, with a decision", None, &|round| {
        added(round, FILTER_ECHO, FLOOR_ECHO, ECHO)
    });
    add("filter ÷ baseline: Envoy CPU added to Envoy alone", None, &|round| {
        added(round, FILTER, BASELINE, ENVOY)
    });
    let cpu = |whole, rival| move |round: &Round<'_>| Some(round(whole)?.cpu_us() / round(rival)?.cpu_us());
    add("Palisade ÷ always allow: CPU of Envoy and server", None, &cpu(PALISADE, ALLOW));
    add("Palisade without outcomes ÷ always allow: CPU of Envoy and server", None, &cpu(NO_OUTCOMES, ALLOW));
    add("Palisade ÷ Cedar by index: CPU of Envoy and server", None, &cpu(PALISADE, CEDAR));
    add("Palisade ÷ always allow: CPU of Envoy and server, writes", None, &cpu(PALISADE_WRITE, ALLOW_WRITE));
    let open =
        |whole, rival| move |round: &Round<'_>| Some(round(whole)?.open_p50_us / round(rival)?.open_p50_us);
    add("Palisade ÷ always allow: p50 at the fixed rate", None, &open(PALISADE, ALLOW));
    add("Palisade ÷ always allow: p50 at the fixed rate, writes", None, &open(PALISADE_WRITE, ALLOW_WRITE));
    let per_s = |whole, rival| move |round: &Round<'_>| Some(round(whole)?.per_s / round(rival)?.per_s);
    add("Palisade ÷ always allow: requests/s", None, &per_s(PALISADE, ALLOW));
    add("Palisade ÷ always allow: requests/s, writes", None, &per_s(PALISADE_WRITE, ALLOW_WRITE));
    for figures::Figure { what, limit, of } in figures::ALL {
        add(what, limit, &of);
    }
    ratios
}

fn added(round: &Round<'_>, ours: &str, rival: &str, base: &str) -> Option<f64> {
    let base = round(base)?.envoy_us;
    Some((round(ours)?.envoy_us - base) / (round(rival)?.envoy_us - base))
}

/// What a round found, for the line of progress.
pub(crate) fn line(measured: &Measured) -> String {
    let server = measured.server_us.map(|micros| format!(", server {micros:.1} µs")).unwrap_or_default();
    format!("{:.0} requests/s, Envoy {:.1} µs{server}", measured.per_s, measured.envoy_us)
}

fn cell(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(
        || "–".to_owned(),
        |Spread { median, min, max }| format!("{median:.digits$} ({min:.digits$}–{max:.digits$})"),
    )
}

/// Of one minute.
pub(crate) fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_ascii_whitespace().next()?.parse().ok()
}
