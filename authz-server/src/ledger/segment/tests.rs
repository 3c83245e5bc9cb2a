//! The header as it stands on disk, and the walk across buffers and growing files.

use super::super::entry::tests::admin;
use super::super::file::WriteAt;
use super::super::file::sim::Sim;
use super::*;

fn framed(details: &[&str]) -> Vec<u8> {
    let mut batch = Vec::new();
    for detail in details {
        frame::encode(&admin(detail).encode().unwrap(), &mut batch);
    }
    batch
}

fn count(scanner: &mut Scanner<Sim>) -> (u64, u64) {
    loop {
        match scanner.step().unwrap() {
            Step::Frame(_) => {}
            Step::End { torn_bytes } => return (scanner.index(), torn_bytes),
            Step::Corrupt(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_bytes_of_the_header_are_fixed() {
    let hex: String = header().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "50414c495345470a01000000643d2d65");
}

#[test]
fn segments_sort_by_name() {
    assert_eq!(path(Path::new("ledger"), 0), Path::new("ledger/00000000.seg"));
    assert_eq!(path(Path::new("ledger"), 12), Path::new("ledger/00000012.seg"));
}

#[test]
fn frames_larger_than_the_buffer_are_read() {
    let long = "x".repeat(READ_BYTES + 1000);
    let mut contents = header().to_vec();
    for _ in 0..5 {
        contents.extend_from_slice(&framed(&["short", &long, "short"]));
    }
    assert_eq!(count(&mut Scanner::new(Sim::with_contents(&contents))), (15, 0));
}

#[test]
fn a_walk_goes_on_where_the_file_grew_by_any_piece() {
    let batch = framed(&["first", "second"]);
    for cut in 0..batch.len() {
        let mut sim = Sim::with_contents(&header());
        let mut scanner = Scanner::new(sim.clone());
        assert_eq!(count(&mut scanner), (0, 0));
        sim.write_all_at(&batch[..cut], HEADER_BYTES as u64).unwrap();
        count(&mut scanner);
        sim.write_all_at(&batch, HEADER_BYTES as u64).unwrap();
        assert_eq!(count(&mut scanner), (2, 0));
    }
}

#[test]
fn a_walk_forgets_an_unfinished_part_that_recovery_replaced() {
    let mut sim = Sim::with_contents(&header());
    let mut scanner = Scanner::new(sim.clone());
    let torn = &framed(&["never finished"])[..40];
    sim.write_all_at(torn, HEADER_BYTES as u64).unwrap();
    assert_eq!(count(&mut scanner), (0, 40));
    sim.truncate(HEADER_BYTES as u64).unwrap();
    sim.write_all_at(&framed(&["another"]), HEADER_BYTES as u64).unwrap();
    assert_eq!(count(&mut scanner), (1, 0));
}
