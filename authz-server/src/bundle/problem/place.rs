//! Where something stands in a bundle, with the line that it stands on.

use serde::Serialize;
use std::fmt;
use std::ops::Range;

/// How many bytes of a long line are kept on each side of a place; a minified document is one line.
const EXCERPT_BYTES_MAX: usize = 100;

/// A place in a bundle. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    pub file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<Excerpt>,
}

/// The line of a place, or what is around it in a long one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Excerpt {
    pub text: String,
    /// Which bytes of `text` are meant; none where `from` is `to`.
    pub from: usize,
    pub to: usize,
}

impl Place {
    pub fn file(file: &str) -> Place {
        Place { file: file.to_owned(), line: None, column: None, excerpt: None }
    }

    pub fn directory(directory: &str) -> Place {
        Place::file(&format!("{directory}/"))
    }

    /// The place of a byte offset in a text.
    pub fn of_offset(file: &str, text: &str, offset: usize) -> Place {
        Place::of_range(file, text, offset..offset)
    }

    /// The place of a range of bytes; what of it is beyond its first line is not marked.
    pub fn of_range(file: &str, text: &str, range: Range<usize>) -> Place {
        let start = floor_boundary(text, range.start);
        let (before, after) = text.split_at_checked(start).unwrap_or((text, ""));
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() as u64 + 1;
        let on_line = before.get(line_start..).unwrap_or_default();
        let rest = after.split(['\n', '\r']).next().unwrap_or_default();
        let marked = floor_boundary(rest, range.end.saturating_sub(start));
        Place {
            file: file.to_owned(),
            line: Some(line),
            column: Some(on_line.chars().count() as u64 + 1),
            excerpt: Some(excerpt(on_line, rest, marked)),
        }
    }
}

/// The lines of a text, for whoever needs places of thousands of things in it.
#[derive(Debug)]
pub(crate) struct Lines<'t> {
    file: &'t str,
    text: &'t str,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn of(file: &'t str, text: &'t str) -> Lines<'t> {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Lines { file, text, starts: std::iter::once(0).chain(newlines).collect() }
    }

    /// The same as `Place::of_range`, without reading the text from its beginning.
    pub(crate) fn place(&self, range: Range<usize>) -> Place {
        let line = self.starts.partition_point(|start| *start <= range.start).saturating_sub(1);
        let start = self.starts.get(line).copied().unwrap_or_default();
        let end = self.starts.get(line + 1).copied().unwrap_or(self.text.len());
        let on_line = self.text.get(start..end).unwrap_or_default();
        let mut place =
            Place::of_range(self.file, on_line, range.start - start..range.end.saturating_sub(start));
        place.line = Some(line as u64 + 1);
        place
    }
}

/// Cuts a line to what is around its marked part.
fn excerpt(before: &str, rest: &str, marked: usize) -> Excerpt {
    let cut = ceil_boundary(before, before.len().saturating_sub(EXCERPT_BYTES_MAX));
    let kept = before.get(cut..).unwrap_or_default();
    let end = floor_boundary(rest, EXCERPT_BYTES_MAX);
    let mut text = String::from(if cut > 0 { "…" } else { "" });
    text.push_str(kept);
    let from = text.len();
    text.push_str(rest.get(..end).unwrap_or_default());
    let to = from + marked.min(end);
    if end < rest.len() {
        text.push('…');
    }
    Excerpt { text, from, to }
}

fn floor_boundary(text: &str, offset: usize) -> usize {
    let offset = offset.min(text.len());
    (0..=offset).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn ceil_boundary(text: &str, offset: usize) -> usize {
    (offset..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, Place};

    #[test]
    fn both_ways_to_a_place_lead_to_the_same() {
        for text in ["", "a", "a\n", "ab\ncä d\n", "\r\n\nx: [1,\n 2]\n"] {
            let lines = Lines::of("f", text);
            for start in 0..text.len() {
                for end in start..=text.len() {
                    let found = lines.place(start..end);
                    assert_eq!(found, Place::of_range("f", text, start..end), "{text:?} {start}..{end}");
                }
            }
        }
    }

    #[test]
    fn offsets_become_lines_and_columns() {
        let text = "ab\ncä d\n";
        let place = |offset| Place::of_offset("f", text, offset).to_string();
        assert_eq!(place(0), "f:1:1");
        assert_eq!(place(3), "f:2:1");
        assert_eq!(place(6), "f:2:3");
        assert_eq!(place(999), "f:3:1");
    }

    #[test]
    fn the_line_comes_with_the_place() {
        let marked = |text: &str, range| {
            let excerpt = Place::of_range("f", text, range).excerpt.unwrap();
            (excerpt.text.get(excerpt.from..excerpt.to).unwrap().to_owned(), excerpt.text)
        };
        assert_eq!(marked("a: 1\nbc: 2\r\nd: 3", 5..7), ("bc".to_owned(), "bc: 2".to_owned()));
        assert_eq!(marked("a: [1,\n 2]", 3..9), ("[1,".to_owned(), "a: [1,".to_owned()));
        assert_eq!(marked("a: ä", 4..5), ("ä".to_owned(), "a: ä".to_owned()), "never half of a letter");
        let long = format!("{}key{}", "ä".repeat(5_000), "x".repeat(5_000));
        let (mark, text) = marked(&long, 10_000..10_003);
        assert_eq!(mark, "key");
        assert!(text.len() < 300 && text.starts_with('…') && text.ends_with('…'), "{text}");
    }
}
