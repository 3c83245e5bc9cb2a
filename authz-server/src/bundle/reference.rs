//! The format reference: what each record of each file holds, made from the types that read them.
//!
//! INVARIANT: a key that is read stands here, and nothing else does; the README's tables are compared with this.

use super::cases::format::CasesFile;
use super::format::{EntitiesFile, Palisade, ServiceFile};
use super::lints::Lint;
use super::record::{RecordKeys, one_line};
use std::fmt::Write as _;

/// The kinds of documents, each with the record that it is.
const FILES: [&RecordKeys; 4] = [&Palisade::KEYS, &ServiceFile::KEYS, &EntitiesFile::KEYS, &CasesFile::KEYS];

/// All records, nested ones after the one that names them, as Markdown.
pub fn keys() -> String {
    let mut out = String::new();
    let mut told: Vec<&str> = Vec::new();
    for file in FILES {
        write_record(&mut out, file, &mut told);
    }
    out
}

fn write_record(out: &mut String, record: &RecordKeys, told: &mut Vec<&'static str>) {
    if told.contains(&record.name) {
        return;
    }
    told.push(record.name);
    let mut line = |text: String| {
        // Writing to a string cannot fail.
        let _written = writeln!(out, "{text}");
    };
    line(format!("{}\n", one_line(record.doc)));
    line("| Key | Value | Meaning |\n|---|---|---|".to_owned());
    for key in record.keys {
        let needed = if key.required { ", required" } else { "" };
        line(format!("| `{}` | {}{needed} | {} |", key.name, cell(key.expected), cell(&one_line(key.doc))));
    }
    line(String::new());
    for nested in record.keys.iter().filter_map(|key| (key.record)()) {
        write_record(out, nested, told);
    }
}

/// All lints, as Markdown.
pub fn lints() -> String {
    let mut out = String::from("| Lint | Why |\n|---|---|\n");
    for lint in Lint::ALL {
        let _written = writeln!(out, "| `{}` | {} |", lint.word(), cell(&lint.doc()));
    }
    out
}

/// Text within a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
