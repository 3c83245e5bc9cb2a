//! Whatever our JSON reader accepts, the readers of Python and Node take for the same value: so what those two, or one of
//! them and we, would read differently is refused. Full size: `just json-readers`.
//!
//! A document's value is compared as the hash of one canonical form, which each side makes by itself: members sorted by
//! the bytes of their keys, texts as UTF-8, numbers as doubles. Where numbers must fit a double, Python's decimals say
//! whether the double, written again, is the number that stood there.

mod canonical;
mod documents;
mod readers;

use std::time::Instant;

use palisade_core::json::Numbers;
use tests::dice::Dice;

use readers::{Question, Reader};

const BATCH: usize = 2_000;

fn asked(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[derive(Debug, Default)]
struct Totals {
    accepted: usize,
    fits_double: usize,
    changed_by_double: usize,
    bytes: usize,
}

#[test]
fn what_we_accept_others_read_as_the_same_value() {
    let (count, seed) = (asked("PALISADE_JSON_DOCUMENTS", 20_000), asked("PALISADE_JSON_SEED", 1));
    let begun = Instant::now();
    let (mut python, mut node) = (Reader::python(), Reader::node());
    let mut totals = Totals::default();
    let mut batch = Vec::new();
    for document in 0..count {
        // Each document has a seed of its own, so that one alone can be made again.
        let bytes = documents::document(&mut Dice::new(seed.wrapping_add(document)));
        totals.bytes += bytes.len();
        if let Ok(any) = canonical::of(&bytes, Numbers::Any) {
            let fits_double = match canonical::of(&bytes, Numbers::Double) {
                Ok(same) => {
                    assert_eq!(same, any, "one document, two values: {}", bytes.escape_ascii());
                    true
                }
                Err(_) => false,
            };
            totals.accepted += 1;
            totals.fits_double += usize::from(fits_double);
            totals.changed_by_double += usize::from(!fits_double);
            batch.push((Question { document: bytes, fits_double }, any));
        }
        if batch.len() == BATCH || document + 1 == count {
            compare(&mut python, &batch);
            compare(&mut node, &batch);
            batch.clear();
        }
    }
    println!("{count} documents from seed {seed} in {:?}: {totals:?}, no difference", begun.elapsed());
    let share = totals.accepted as f64 / count as f64;
    assert!((0.2..0.9).contains(&share), "documents that say little: {totals:?}");
    assert!(totals.changed_by_double * 200 > totals.accepted, "too few numbers at the edge: {totals:?}");
}

fn compare(reader: &mut Reader, batch: &[(Question, canonical::Hash)]) {
    let answers = reader.read(batch.iter().map(|(question, _)| question));
    for ((question, ours), theirs) in batch.iter().zip(answers) {
        let document = question.document.escape_ascii();
        match theirs {
            Ok(theirs) => assert_eq!(*ours, theirs, "{} reads another value: {document}", reader.name()),
            Err(why) => panic!("{} {why}: {document}", reader.name()),
        }
    }
}
