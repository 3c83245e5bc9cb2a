//! Sound bundles with a byte or a line out of place: whatever is said of them, nothing panics, and every place that is
//! named is in the file that is named.

use super::corpus::Scene;
use super::workspace;
use crate::bundle::{Bundle, Place};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::path::Path;

/// What a slip of the hand does to a file.
#[derive(Debug, Clone)]
enum Slip {
    Byte { at: Index, byte: u8 },
    LostByte { at: Index },
    LostLine { at: Index },
    LineTwice { at: Index },
    LinesSwapped { one: Index, other: Index },
    Inserted { at: Index, text: &'static str },
}

/// Pieces that mean something to one of the formats.
const PIECES: [&str; 16] = [
    "{",
    "}",
    "[",
    "]",
    ": ",
    "- ",
    "\"",
    "'",
    "&a ",
    "*a",
    "<<: ",
    "\t",
    "\u{feff}",
    "ä",
    "?principal",
    "//",
];

fn slip() -> impl Strategy<Value = Slip> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Slip::Byte { at, byte }),
        any::<Index>().prop_map(|at| Slip::LostByte { at }),
        any::<Index>().prop_map(|at| Slip::LostLine { at }),
        any::<Index>().prop_map(|at| Slip::LineTwice { at }),
        (any::<Index>(), any::<Index>()).prop_map(|(one, other)| Slip::LinesSwapped { one, other }),
        (any::<Index>(), select(&PIECES)).prop_map(|(at, text)| Slip::Inserted { at, text }),
    ]
}

impl Slip {
    fn applied(&self, text: &[u8]) -> Vec<u8> {
        let mut bytes = text.to_vec();
        let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        match self {
            Slip::Byte { at, byte } => bytes[at.index(text.len())] = *byte,
            Slip::LostByte { at } => drop(bytes.remove(at.index(text.len()))),
            Slip::Inserted { at, text: piece } => {
                let at = at.index(text.len());
                bytes.splice(at..at, piece.bytes());
            }
            Slip::LostLine { at } => {
                lines.remove(at.index(lines.len()));
                return lines.concat();
            }
            Slip::LineTwice { at } => {
                let at = at.index(lines.len());
                lines.insert(at, lines[at]);
                return lines.concat();
            }
            Slip::LinesSwapped { one, other } => {
                let (one, other) = (one.index(lines.len()), other.index(lines.len()));
                lines.swap(one, other);
                return lines.concat();
            }
        }
        bytes
    }
}

/// Whether a place is one: its line is in its file, its column in that line, its excerpt stands there.
fn exists(directory: &Path, place: &Place) -> bool {
    let path = directory.join(&place.file);
    let Ok(bytes) = std::fs::read(&path) else {
        // What is missing, and folders, have no lines.
        return place.line.is_none() && place.column.is_none();
    };
    let (Some(line), Some(column), Some(excerpt)) = (place.line, place.column, &place.excerpt) else {
        return true;
    };
    let text = String::from_utf8_lossy(&bytes);
    // A file that ends with a line's end has one more, which is empty.
    let Some(found) = text.split('\n').nth(line as usize - 1) else { return false };
    let shown = excerpt.text.trim_matches('…');
    let marked = excerpt.text.get(excerpt.from..excerpt.to);
    column as usize <= found.chars().count() + 1
        && marked.is_some()
        && (std::str::from_utf8(&bytes).is_err() || found.contains(shown.trim_end_matches('\r')))
}

proptest! {
    #[test]
    fn a_slip_anywhere_is_told_at_a_place_that_exists(
        bundle in select(&["policies", "tests/bundles/second", "tests/bundles/sound"]),
        file in any::<Index>(),
        slips in prop::collection::vec(slip(), 1..4),
    ) {
        let scene = Scene::copy(&workspace().join(bundle));
        let files = scene.files();
        let path = file.get(&files);
        let mut bytes = scene.read(path).into_bytes();
        for slip in slips {
            if !bytes.is_empty() {
                bytes = slip.applied(&bytes);
            }
        }
        scene.write(path, &bytes);
        let checked = Bundle::check(scene.path());
        let report = checked.problems.report(true);
        prop_assert_eq!(checked.problems.is_empty(), report.is_empty());
        prop_assert_eq!(checked.bundle.is_none(), checked.problems.has_errors());
        for problem in checked.problems.iter() {
            prop_assert!(exists(scene.path(), &problem.place), "{:?}", problem);
        }
    }
}
