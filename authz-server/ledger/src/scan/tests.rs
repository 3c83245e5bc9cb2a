//! The walk across buffers, growing files and prepared room.

use super::*;
use crate::entry::tests::admin;
use crate::file::sim::{Sim, SimFile};
use crate::file::{Files, WriteAt};

const FILE: &str = "00000000.seg";

fn framed(details: &[&str]) -> Vec<u8> {
    let mut batch = Vec::new();
    for detail in details {
        frame::encode(&admin(detail).encode().unwrap(), &mut batch);
    }
    batch
}

fn header() -> Vec<u8> {
    Header { number: 0, first_index: 0, begun_ms: 1, previous: None }.encode().to_vec()
}

/// The file, open for writing, and a walk over it.
fn scanned(contents: &[u8], sealed_at: Option<u64>) -> (SimFile, Scanner<SimFile>) {
    let path = Path::new(FILE);
    let sim = Sim::with_file(path, contents);
    let file = sim.open(path).unwrap();
    (file.clone(), Scanner::new(file, path, 0, sealed_at))
}

fn count(scanner: &mut Scanner<SimFile>) -> (u64, u64) {
    loop {
        match scanner.step().unwrap() {
            Step::Frame(_) => {}
            Step::End => return (scanner.index(), 0),
            Step::Torn { bytes } => return (scanner.index(), bytes),
            Step::Corrupt(error) => panic!("{error}"),
        }
    }
}

#[test]
fn frames_larger_than_the_buffer_are_read() {
    let long = "x".repeat(READ_BYTES + 1000);
    let mut contents = header();
    for _ in 0..5 {
        contents.extend_from_slice(&framed(&["short", &long, "short"]));
    }
    assert_eq!(count(&mut scanned(&contents, None).1), (15, 0));
    contents.resize(contents.len() + 10_000, 0);
    assert_eq!(count(&mut scanned(&contents, None).1), (15, 0));
}

#[test]
fn a_walk_goes_on_where_the_file_grew_by_any_piece() {
    let batch = framed(&["first", "second"]);
    for room in [0, 4096] {
        for cut in 0..batch.len() {
            let mut contents = header();
            contents.resize(contents.len() + room, 0);
            let (mut file, mut scanner) = scanned(&contents, None);
            assert_eq!(count(&mut scanner), (0, 0));
            if room == 0 {
                file.write_all_at(&batch[..cut], HEADER_BYTES as u64).unwrap();
                count(&mut scanner);
            }
            file.write_all_at(&batch, HEADER_BYTES as u64).unwrap();
            assert_eq!(count(&mut scanner), (2, 0));
        }
    }
}

#[test]
fn a_walk_forgets_an_unfinished_part_that_recovery_replaced() {
    let (mut file, mut scanner) = scanned(&header(), None);
    let torn = &framed(&["never finished"])[..40];
    file.write_all_at(torn, HEADER_BYTES as u64).unwrap();
    assert_eq!(count(&mut scanner), (0, 40));
    file.write_all_at(&[0; 40], HEADER_BYTES as u64).unwrap();
    file.write_all_at(&framed(&["another"]), HEADER_BYTES as u64).unwrap();
    assert_eq!(count(&mut scanner), (1, 0));
}

#[test]
fn a_sealed_segment_ends_where_the_next_one_says() {
    let mut contents = header();
    contents.extend_from_slice(&framed(&["one", "two"]));
    let end = contents.len() as u64;
    // What a failed write left behind the end is not looked at.
    contents.extend_from_slice(&framed(&["never stored"]));
    assert_eq!(count(&mut scanned(&contents, Some(end)).1), (2, 0));

    let missing = |contents: &[u8], sealed_at: u64| {
        let (_, mut scanner) = scanned(contents, Some(sealed_at));
        while matches!(scanner.step().unwrap(), Step::Frame(_)) {}
        let error = matches!(scanner.step().unwrap(), Step::Corrupt(FrameError::Missing));
        (error, scanner.index())
    };
    assert_eq!(missing(&contents, end - 1), (true, 1));
    contents.truncate(usize::try_from(end).unwrap());
    assert_eq!(missing(&contents, end + 1), (true, 2));
    contents.resize(contents.len() + 1000, 0);
    assert_eq!(missing(&contents, end + 1), (true, 2));
}
