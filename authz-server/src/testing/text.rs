//! A run as a person reads it: a line for each file, each failure as a difference with what explains it, the sum.

use super::Report;
use super::coverage::{Coverage, Share};
use super::run::{CaseRun, Failure, FileRun, Hint, Part};
use crate::bundle::Place;
use crate::cedar::Effect;
use crate::check::Judge;
use std::fmt::Write as _;
use std::time::Duration;

/// Failures beyond these are counted, not shown; `--json` has all.
const FAILURES_SHOWN_MAX: usize = 50;

/// Names beyond these are counted in a line of the coverage.
const NAMES_SHOWN_MAX: usize = 12;

pub fn text(report: Report<'_>, colours: bool) -> String {
    let mut out = Out { text: String::new(), colours };
    let path_width = report.run.files.iter().map(|file| file.path.chars().count()).max().unwrap_or(0);
    for file in &report.run.files {
        out.file(file, path_width);
    }
    let failed = report
        .run
        .files
        .iter()
        .flat_map(|file| file.cases.iter().filter_map(|ran| Some((ran, ran.failure.as_ref()?))));
    let mut hidden = 0_usize;
    for (index, (ran, failure)) in failed.enumerate() {
        if index < FAILURES_SHOWN_MAX {
            out.failure(report, ran, failure);
        } else {
            hidden += 1;
        }
    }
    if hidden > 0 {
        out.line(&format!("\n{hidden} more failures are not shown; `--json` has them all"));
    }
    out.line("");
    out.sum(report);
    if let Some(coverage) = report.coverage {
        out.coverage(report, coverage);
    }
    out.text
}

#[derive(Clone, Copy)]
enum Colour {
    Green,
    Red,
    Dim,
    Bold,
}

struct Out {
    text: String,
    colours: bool,
}

impl Out {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn painted(&self, colour: Colour, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Green => "32",
            Colour::Red => "31",
            Colour::Dim => "2",
            Colour::Bold => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    fn file(&mut self, file: &FileRun<'_>, path_width: usize) {
        let (all, failed) = (file.cases.len(), file.failed());
        let (mark, colour, counts) = match failed {
            0 => ("✓", Colour::Green, format!("{all} passed")),
            _ => ("✗", Colour::Red, format!("{failed} of {all} failed")),
        };
        let mark = self.painted(colour, mark);
        self.line(&format!("{mark} {:path_width$}  {counts}", file.path));
    }

    fn failure(&mut self, report: Report<'_>, ran: &CaseRun<'_>, failure: &Failure) {
        let case = ran.case;
        let name = self.painted(Colour::Bold, &case.name);
        let mark = self.painted(Colour::Red, "✗");
        self.line(&format!("\n{mark} {name}"));
        self.line(&format!("  at {}", report.place(&case.place)));
        self.line(&format!("  {} asks {}", case.caller, case.request));
        let width = failure.differences.iter().map(|difference| difference.what.len()).max().unwrap_or(0);
        for difference in &failure.differences {
            let expected = self.painted(Colour::Green, &difference.expected);
            let got = self.painted(Colour::Red, &difference.got);
            self.line(&format!("    {:width$}  expected  {expected}", difference.what));
            self.line(&format!("    {:width$}       got  {got}", ""));
        }
        for hint in &failure.hints {
            let hint = self.painted(Colour::Dim, &hinted(report, hint));
            self.line(&format!("    {hint}"));
        }
    }

    fn sum(&mut self, report: Report<'_>) {
        let (all, failed) = (report.run.count(), report.run.failed());
        let took = shown_duration(report.took);
        let counts = match failed {
            0 => self.painted(Colour::Green, &format!("{} passed", cases(all))),
            _ => self.painted(Colour::Red, &format!("{failed} of {} failed", cases(all))),
        };
        self.line(&format!("{counts} in {took}"));
    }

    fn coverage(&mut self, report: Report<'_>, coverage: &Coverage) {
        let Coverage { policies, shadows, operations, never_allowed, unused_callers } = coverage;
        let colour = if coverage.percent() == 100 { Colour::Green } else { Colour::Red };
        let percent = self.painted(colour, &format!("{} %", coverage.percent()));
        self.line(&format!(
            "coverage {percent}: {} of {} policies determined an answer, {} of {} operations were decided on",
            policies.met(),
            policies.all,
            operations.met(),
            operations.all
        ));
        if shadows.all > 0 {
            let (met, all) = (shadows.met(), shadows.all);
            self.line(&format!("  {met} of {all} shadow policies would have determined one"));
        }
        self.missing(report, "policies that determined nothing", policies);
        self.missing(report, "shadow policies that would have determined nothing", shadows);
        self.missing(report, "operations without a test", operations);
        self.names("operations never allowed", never_allowed);
        self.names("callers never used", unused_callers);
    }

    fn missing(&mut self, report: Report<'_>, what: &str, share: &Share) {
        let named = |(name, place): &(String, Option<Place>)| match place {
            Some(place) => format!("{name} ({})", report.place(place)),
            None => name.clone(),
        };
        let names: Vec<String> = share.missing.iter().map(named).collect();
        self.names(what, &names);
    }

    fn names(&mut self, what: &str, names: &[String]) {
        if names.is_empty() {
            return;
        }
        let shown: Vec<&str> = names.iter().take(NAMES_SHOWN_MAX).map(String::as_str).collect();
        let mut line = format!("  {what}: {}", shown.join(", "));
        if let Some(more) = names.len().checked_sub(NAMES_SHOWN_MAX).filter(|more| *more > 0) {
            // Writing to a string cannot fail.
            let _written = write!(line, " and {more} more");
        }
        self.line(&line);
    }
}

fn cases(count: usize) -> String {
    if count == 1 { "1 case".to_owned() } else { format!("{count} cases") }
}

/// Seconds where they matter, milliseconds below.
fn shown_duration(took: Duration) -> String {
    if took.as_secs() > 0 {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        format!("{} ms", took.as_millis())
    }
}

pub(super) fn hinted(report: Report<'_>, hint: &Hint) -> String {
    match hint {
        Hint::Refused { by: Judge::Filter, explains } => format!("the filter refuses it: {explains}"),
        Hint::Refused { by: Judge::Server, explains } => format!("the server refuses it: {explains}"),
        Hint::NotPermitted { operation, caller } => {
            format!("no policy permits `{operation}` to {caller}, and none forbids it")
        }
        Hint::AllowedTo { caller, policies } => format!("{caller} may do it, by {}", policies.join(", ")),
        Hint::Error(error) => format!("error: {error}"),
        Hint::Policy { id, place, reason, part } => {
            let what = match part {
                Part::Determined(Effect::Permit) => "permits it",
                Part::Determined(Effect::Forbid) => "forbids it",
                Part::WouldHave(Effect::Permit) => "would permit it",
                Part::WouldHave(Effect::Forbid) => "would forbid it",
                Part::None => "has no part in it",
            };
            let at = report.place(place);
            match reason {
                Some(reason) => format!("{id} {what} ({at}): {reason}"),
                None => format!("{id} {what} ({at})"),
            }
        }
    }
}
