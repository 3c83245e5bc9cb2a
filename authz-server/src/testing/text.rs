//! A run as a person reads it: a line for each file, each failure as a difference with what explains it, the sum.

use super::Report;
use super::coverage::{Coverage, Share};
use super::run::{CaseRun, Failure, FileRun, Hint};
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
    let failed = report.run.files.iter().flat_map(|file| {
        let of_file = file.cases.iter().filter_map(|ran| Some((ran, ran.failure.as_ref()?)));
        of_file.map(|(ran, failure)| (file.path, ran, failure))
    });
    let mut hidden = 0_usize;
    for (index, (path, ran, failure)) in failed.enumerate() {
        if index < FAILURES_SHOWN_MAX {
            out.failure(path, ran, failure);
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
        out.coverage(coverage);
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

    fn failure(&mut self, path: &str, ran: &CaseRun<'_>, failure: &Failure) {
        let case = ran.case;
        let name = self.painted(Colour::Bold, &case.name);
        let mark = self.painted(Colour::Red, "✗");
        self.line(&format!("\n{mark} {name}"));
        self.line(&format!("  at {}:{}", path, case.place.line.unwrap_or_default()));
        self.line(&format!("  {} asks {}", case.caller, case.request));
        let width = failure.differences.iter().map(|difference| difference.what.len()).max().unwrap_or(0);
        for difference in &failure.differences {
            let what = format!("{:width$}", difference.what);
            let expected = format!("    - {what}  {}", difference.expected);
            let got = format!("    + {what}  {}", difference.got);
            let (expected, got) = (self.painted(Colour::Green, &expected), self.painted(Colour::Red, &got));
            self.line(&expected);
            self.line(&got);
        }
        for hint in &failure.hints {
            let hint = self.painted(Colour::Dim, &hinted(hint));
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

    fn coverage(&mut self, coverage: &Coverage) {
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
        self.missing("policies that determined nothing", policies);
        self.missing("shadow policies that would have determined nothing", shadows);
        self.missing("operations without a test", operations);
        self.names("operations never allowed", never_allowed);
        self.names("callers never used", unused_callers);
    }

    fn missing(&mut self, what: &str, share: &Share) {
        let named = |(name, place): &(String, Option<Place>)| match place {
            Some(Place { file, line: Some(line), .. }) => format!("{name} ({file}:{line})"),
            _ => name.clone(),
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

pub(super) fn hinted(hint: &Hint) -> String {
    match hint {
        Hint::Refused { by: Judge::Filter, explains } => format!("the filter refuses it: {explains}"),
        Hint::Refused { by: Judge::Server, explains } => format!("the server refuses it: {explains}"),
        Hint::NotPermitted { operation, caller } => {
            format!("no policy permits `{operation}` to {caller}, and none forbids it")
        }
        Hint::AllowedTo { caller, policies } => format!("{caller} may do it, by {}", policies.join(", ")),
        Hint::Error(error) => format!("error: {error}"),
        Hint::Policy { id, effect, place, reason, determined } => {
            let what = match (determined, effect) {
                (true, Effect::Permit) => "permits it",
                (true, Effect::Forbid) => "forbids it",
                (false, _) => "has no part in it",
            };
            let at = match place.line {
                Some(line) => format!("{}:{line}", place.file),
                None => place.file.clone(),
            };
            match reason {
                Some(reason) => format!("{id} {what} ({at}): {reason}"),
                None => format!("{id} {what} ({at})"),
            }
        }
    }
}
