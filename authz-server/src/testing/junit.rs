//! A run as JUnit XML, which CI systems read: a suite for each file, a failure with its difference and what explains it.
//!
//! INVARIANT: whatever names and headers hold, the document is well-formed: what XML cannot hold is replaced.

use super::Report;
use super::run::{CaseRun, Difference, FileRun};
use super::text::hinted;
use std::fmt::{self, Write as _};

pub fn junit(report: Report<'_>) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a string cannot fail.
    let _written = suites(&mut out, report);
    out
}

fn suites(out: &mut String, report: Report<'_>) -> fmt::Result {
    let run = report.run;
    let took_s = report.took.as_secs_f64();
    writeln!(
        out,
        "<testsuites name=\"palisade test\" tests=\"{}\" failures=\"{}\" errors=\"0\" time=\"{took_s:.3}\">",
        run.count(),
        run.failed()
    )?;
    for file in &run.files {
        suite(out, report, file)?;
    }
    writeln!(out, "</testsuites>")
}

fn suite(out: &mut String, report: Report<'_>, file: &FileRun<'_>) -> fmt::Result {
    let path = report.path(file.path);
    let (shown, all, failed) = (Escaped(&path), file.cases.len(), file.failed());
    writeln!(
        out,
        "  <testsuite name=\"{shown}\" tests=\"{all}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\">"
    )?;
    for ran in &file.cases {
        case(out, report, &path, ran)?;
    }
    writeln!(out, "  </testsuite>")
}

fn case(out: &mut String, report: Report<'_>, path: &str, ran: &CaseRun<'_>) -> fmt::Result {
    let (name, path) = (Escaped(&ran.case.name), Escaped(path));
    let line = ran.case.place.line.unwrap_or_default();
    write!(out, "    <testcase name=\"{name}\" classname=\"{path}\" file=\"{path}\" line=\"{line}\"")?;
    let Some(failure) = &ran.failure else { return writeln!(out, "/>") };
    let said = |difference: &Difference| {
        let Difference { what, expected, got } = difference;
        format!("{what}: expected {expected}, got {got}")
    };
    let differences: Vec<String> = failure.differences.iter().map(said).collect();
    let message = differences.join("; ");
    let mut detail = format!("{} asks {}", ran.case.caller, ran.case.request);
    for line in differences.into_iter().chain(failure.hints.iter().map(|hint| hinted(report, hint))) {
        detail.push('\n');
        detail.push_str(&line);
    }
    writeln!(out, ">")?;
    let (message, detail) = (Escaped(&message), Escaped(&detail));
    writeln!(out, "      <failure type=\"difference\" message=\"{message}\">{detail}</failure>")?;
    writeln!(out, "    </testcase>")
}

/// A text for a value or an attribute in double quotes.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\n' => f.write_str("&#10;")?,
                '\t' => f.write_str("&#9;")?,
                '\r' => f.write_str("&#13;")?,
                // No document of XML 1.0 can hold these, escaped or not.
                '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => f.write_char('\u{fffd}')?,
                _ => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}
