//! Calls and counts as text for people.
//!
//! INVARIANT: what a caller sent cannot break out of its cell: no control character, and nothing that turns the
//! direction of writing, reaches a terminal.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::Value;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::call::{Call, Shape, Verdict};
use super::count_by::CountBy;
use super::when::{self, Zone};

/// No text is cut to less than this, even where the terminal is narrow.
const TEXT_WIDTH_MIN: usize = 8;

/// An id cut to this still has its milliseconds and a counter, and `palisade why` takes it.
const ID_WIDTH_MIN: usize = 18;

const GAP: &str = "  ";
const BAR_WIDTH: usize = 24;

/// Calls in lines of columns that are as wide as those before and those at hand need.
#[derive(Debug)]
pub struct Table {
    zone: Zone,
    is_coloured: bool,
    /// Of the terminal; without one nothing is cut.
    width: Option<usize>,
    /// How wide the columns would be with room enough; empty before the first line.
    needed: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Time,
    Decision,
    Who,
    Operation,
    Why,
    Status,
    Took,
    Id,
}

const COLUMNS: [Column; 8] = [
    Column::Time,
    Column::Decision,
    Column::Who,
    Column::Operation,
    Column::Why,
    Column::Status,
    Column::Took,
    Column::Id,
];

impl Table {
    pub fn new(zone: Zone, width: Option<usize>, is_coloured: bool) -> Table {
        Table { zone, is_coloured, width, needed: Vec::new() }
    }

    /// Writes a line for each call, and the names of the columns before the first one.
    pub fn write(&mut self, calls: &[Call], out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<Vec<String>> =
            calls.iter().map(|call| COLUMNS.map(|column| self.cell(column, call)).into()).collect();
        let names = COLUMNS.map(|column| self.name(column));
        let is_first = self.needed.is_empty();
        self.needed.resize(COLUMNS.len(), 0);
        for (index, needed) in self.needed.iter_mut().enumerate() {
            let cells = names.get(index).into_iter().chain(rows.iter().filter_map(|row| row.get(index)));
            *needed = cells.map(|cell| cell.width()).fold(*needed, usize::max);
        }
        let columns = fit(self.needed.clone(), self.width);
        if is_first {
            writeln!(out, "{}", self.line(&names, &columns, None))?;
        }
        for (call, row) in calls.iter().zip(&rows) {
            writeln!(out, "{}", self.line(row, &columns, Some(call.shape().verdict)))?;
        }
        Ok(())
    }

    fn name(&self, column: Column) -> String {
        match column {
            Column::Time => format!("time ({})", self.zone.name()),
            Column::Decision => "decision".to_owned(),
            Column::Who => "who".to_owned(),
            Column::Operation => "operation".to_owned(),
            Column::Why => "because".to_owned(),
            Column::Status => "status".to_owned(),
            Column::Took => "took".to_owned(),
            Column::Id => "id".to_owned(),
        }
    }

    fn cell(&self, column: Column, call: &Call) -> String {
        let shape = call.shape();
        let (method, host, path) = call.request();
        let outcome = call.outcome().map(|outcome| &outcome.entry);
        let text = match column {
            Column::Time => self.zone.show(call.at_ms()),
            Column::Decision => shape.verdict.name().to_owned(),
            Column::Who => shape.who,
            Column::Operation if shape.operation.is_empty() => format!("{method} {host}{path}"),
            Column::Operation => shape.operation_in_full(),
            Column::Why => because(shape, call.place()),
            Column::Status => outcome.map_or_else(String::new, |outcome| outcome.status.to_string()),
            Column::Took => outcome.map_or_else(String::new, |outcome| when::duration(outcome.duration_us)),
            Column::Id => call.id().unwrap_or_default().to_owned(),
        };
        if text.is_empty() { "-".to_owned() } else { visible(&text) }
    }

    fn line(&self, cells: &[String], widths: &[usize], verdict: Option<Verdict>) -> String {
        let mut line = String::new();
        for ((cell, width), column) in cells.iter().zip(widths).zip(COLUMNS) {
            let cut = match self.width {
                Some(_) => cut(cell, *width),
                None => cell.clone(),
            };
            let blank = " ".repeat(width.saturating_sub(cut.width()));
            let colour = verdict.filter(|_| self.is_coloured && column == Column::Decision).map(colour);
            let (begin, end) =
                if colour.is_some() { (colour.unwrap_or_default(), "\x1b[0m") } else { ("", "") };
            let text = match column {
                Column::Took | Column::Status => format!("{blank}{cut}"),
                _ => format!("{begin}{cut}{end}{blank}"),
            };
            line.push_str(if line.is_empty() { "" } else { GAP });
            line.push_str(&text);
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Of a permission the policies say all, and of a refusal the reason comes first.
fn because(shape: Shape, place: Option<&str>) -> String {
    let Shape { verdict, reason, policies, shadow, .. } = shape;
    let mut because = match verdict {
        Verdict::Allow if !policies.is_empty() => policies,
        Verdict::Allow | Verdict::Deny | Verdict::Reject | Verdict::Shed | Verdict::None => {
            [&[reason], policies.as_slice()].concat()
        }
    };
    because.extend(place.map(|place| format!("at {place}")));
    because.extend(shadow.map(|shadow| format!("(shadow: {})", shadow.name())));
    because.join(" ")
}

fn colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "\x1b[32m",
        Verdict::Deny => "\x1b[31m",
        Verdict::Reject | Verdict::Shed => "\x1b[33m",
        Verdict::None => "\x1b[35m",
    }
}

/// Cuts the widest of the texts, and the id at last, until a line has room.
fn fit(mut widths: Vec<usize>, room: Option<usize>) -> Vec<usize> {
    let Some(room) = room else { return widths };
    let gaps = GAP.len() * COLUMNS.len().saturating_sub(1);
    let excess = |widths: &[usize]| (widths.iter().sum::<usize>() + gaps).saturating_sub(room);
    let texts = [Column::Who, Column::Operation, Column::Why];
    while excess(&widths) > 0 {
        let widest = widths
            .iter_mut()
            .enumerate()
            .filter(|(index, width)| {
                COLUMNS.get(*index).is_some_and(|column| texts.contains(column)) && **width > TEXT_WIDTH_MIN
            })
            .max_by_key(|(_, width)| **width);
        if let Some((_, width)) = widest {
            *width -= 1;
            continue;
        }
        match widths.last_mut().filter(|id| **id > ID_WIDTH_MIN) {
            Some(id) => *id = ID_WIDTH_MIN,
            None => break,
        }
    }
    widths
}

/// What fits, with a sign that there is more. An id is cut without one, so that it can be copied.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let is_id = text.len() == 36 && width == ID_WIDTH_MIN;
    let room = if is_id { width } else { width.saturating_sub(1) };
    let mut used = 0;
    let mut kept = String::new();
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > room {
            break;
        }
        kept.push(character);
    }
    if !is_id {
        kept.push('…');
    }
    kept
}

/// What calls were counted by, the most frequent first or in the order of time.
#[derive(Debug)]
pub struct Counts {
    by: CountBy,
    rows: Vec<(String, u64)>,
}

impl Counts {
    pub fn new(by: CountBy, counts: BTreeMap<String, u64>, limit: Option<u64>) -> Counts {
        let mut rows: Vec<(String, u64)> = counts.into_iter().collect();
        if !by.is_time() {
            rows.sort_by(|(one, few), (other, many)| many.cmp(few).then_with(|| one.cmp(other)));
        }
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        if by.is_time() {
            rows.drain(..rows.len().saturating_sub(limit));
        } else {
            rows.truncate(limit);
        }
        Counts { by, rows }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// `calls`, and the key under its own name; null where nothing is known.
    pub fn objects(&self) -> impl Iterator<Item = Value> {
        self.rows.iter().map(|(key, calls)| {
            let key = (!key.is_empty()).then(|| match self.by {
                CountBy::Status => key.parse::<u32>().map_or_else(|_| Value::from(key.as_str()), Value::from),
                _ => Value::from(key.as_str()),
            });
            serde_json::json!({self.by.name(): key, "calls": calls})
        })
    }

    pub fn write(&self, zone: &Zone, out: &mut dyn Write) -> io::Result<()> {
        let shown: Vec<(String, u64)> = self
            .rows
            .iter()
            .map(|(key, calls)| (if key.is_empty() { "-".to_owned() } else { visible(key) }, *calls))
            .collect();
        let name = match self.by.is_time() {
            true => format!("{} ({})", self.by.name(), zone.name()),
            false => self.by.name().to_owned(),
        };
        let key_width = shown.iter().map(|(key, _)| key.width()).fold(name.width(), usize::max);
        let most = shown.iter().map(|(_, calls)| *calls).max().unwrap_or(1).max(1);
        let calls_width = most.to_string().len().max("calls".len());
        let blank = |text: &str| " ".repeat(key_width.saturating_sub(text.width()));
        writeln!(out, "{name}{}{GAP}{:>calls_width$}", blank(&name), "calls")?;
        for (key, calls) in &shown {
            let bar = (u128::from(*calls) * BAR_WIDTH as u128).div_ceil(u128::from(most));
            let bar = "█".repeat(usize::try_from(bar).unwrap_or(BAR_WIDTH));
            writeln!(out, "{key}{}{GAP}{calls:>calls_width$}{GAP}{bar}", blank(key))?;
        }
        Ok(())
    }
}

/// Text without anything that could move the cursor, begin a line or turn what is around it.
pub fn visible(text: &str) -> String {
    text.chars().map(|character| if is_hidden(character) { '\u{fffd}' } else { character }).collect()
}

fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A JSON text in one line of which no character is hidden: JSON itself escapes only some of them.
pub fn json_line(value: &Value) -> String {
    let mut line = String::new();
    for character in value.to_string().chars() {
        if is_hidden(character) {
            // All of them are below U+10000, so that one escape is enough.
            line.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            line.push(character);
        }
    }
    line
}
