//! What was measured, for people and for programs.
//!
//! INVARIANT: figures that no arm has take no column, and what did not happen within a run is said so, never a number.

use crate::stats::Spread;
use crate::summary::{Figure, Row, Summary};
use crate::thresholds::Verdict;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// A table of medians with ranges, and the bounds below it.
pub(crate) fn text(summary: &Summary, verdicts: &[Verdict]) -> String {
    let figures: Vec<Figure> = Figure::ALL
        .into_iter()
        .filter(|figure| summary.rows.iter().any(|row| row.spread(*figure).is_some()))
        .collect();
    let mut lines = vec![heads(&figures)];
    lines.extend(summary.rows.iter().map(|row| cells(row, &figures)));
    let mut text = format!(
        "{} / {}: medians of {} runs, and their ranges\n\n",
        summary.scenario.as_str(),
        summary.trigger.as_str(),
        summary.rows.first().map_or(0, |row| row.runs)
    );
    text.push_str(&aligned(&lines));
    for row in &summary.rows {
        // Writing into a string cannot fail.
        let _written = write!(text, "\n{}: {}", row.arm.name, row.arm.what);
    }
    text.push('\n');
    for verdict in verdicts {
        let _written = write!(
            text,
            "\n{} {} of `{}` is {}: {}\n       {}",
            if verdict.held { "held  " } else { "MISSED" },
            verdict.figure.shown().0,
            verdict.arm,
            verdict.found.map_or_else(|| "not within the run".to_owned(), |found| format!("{found:.4}")),
            verdict.bound,
            verdict.because
        );
    }
    text.push('\n');
    text
}

fn heads(figures: &[Figure]) -> Vec<String> {
    let heads = figures.iter().map(|figure| figure.shown().0.to_owned());
    std::iter::once("arm".to_owned()).chain(heads).collect()
}

fn cells(row: &Row, figures: &[Figure]) -> Vec<String> {
    let cells = figures
        .iter()
        .map(|figure| row.spread(*figure).map_or_else(String::new, |spread| cell(*figure, spread)));
    std::iter::once(row.arm.name.to_owned()).chain(cells).collect()
}

fn cell(figure: Figure, spread: Spread) -> String {
    let (_, decimals) = figure.shown();
    let number =
        |value: f64| if value.is_finite() { format!("{value:.decimals$}") } else { "never".to_owned() };
    let (median, min, max) = (number(spread.median), number(spread.min), number(spread.max));
    if min == max { median } else { format!("{median} ({min}–{max})") }
}

/// Each column as wide as its widest cell.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let chars = |line: &Vec<String>, column: usize| line.get(column).map_or(0, |cell| cell.chars().count());
    let widths: Vec<usize> =
        (0..columns).map(|column| lines.iter().map(|line| chars(line, column)).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        for (cell, width) in line.iter().zip(&widths) {
            let gap = width.saturating_sub(cell.chars().count()).saturating_add(2);
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', gap));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// One document; a figure that did not happen within a run is `null`.
pub(crate) fn json(summary: &Summary, verdicts: &[Verdict]) -> Value {
    let finite = |value: f64| if value.is_finite() { json!(value) } else { Value::Null };
    let arm = |row: &Row| {
        let mut figures = Map::new();
        for (figure, spread) in &row.spreads {
            let name =
                serde_json::to_value(figure).ok().and_then(|name| name.as_str().map(ToOwned::to_owned));
            let spread = json!({
                "median": finite(spread.median), "min": finite(spread.min), "max": finite(spread.max),
            });
            figures.insert(name.unwrap_or_default(), spread);
        }
        json!({ "arm": row.arm.name, "what": row.arm.what, "runs": row.runs, "figures": figures })
    };
    json!({
        "scenario": summary.scenario.as_str(),
        "trigger": summary.trigger.as_str(),
        "arms": summary.rows.iter().map(arm).collect::<Vec<_>>(),
        "thresholds": verdicts,
    })
}

#[cfg(test)]
mod tests {
    use super::{json, text};
    use crate::plan::{ARMS, Scenario, Trigger};
    use crate::stats::Spread;
    use crate::summary::{Figure, Row, Summary};

    fn summary() -> Summary {
        let never = Spread { median: f64::INFINITY, min: 1.0, max: f64::INFINITY };
        let same = Spread { median: 0.5, min: 0.5, max: 0.5 };
        let row = Row {
            arm: &ARMS[0],
            runs: 3,
            spreads: vec![(Figure::GoodputAfter, same), (Figure::RecoveryS, never)],
        };
        Summary { scenario: Scenario::Storm, trigger: Trigger::Slow, rows: vec![row] }
    }

    #[test]
    fn what_never_came_is_no_number() {
        let text = text(&summary(), &[]);
        assert!(text.contains("arm      after  recovery s\n"), "{text}");
        assert!(text.contains("nothing  0.500  never (1–never)\n"), "{text}");
        let document = json(&summary(), &[]);
        assert!(document["arms"][0]["figures"]["recovery_s"]["median"].is_null(), "{document}");
        assert_eq!(document["arms"][0]["figures"]["goodput_after"]["max"], 0.5);
    }
}
