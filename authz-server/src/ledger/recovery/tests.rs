//! Every end that a crash can leave is recovered; every other change is refused.

use std::path::PathBuf;

use super::super::entry::tests::admin;
use super::super::file::sim::Sim;
use super::super::frame::FrameError;
use super::super::segment::HEADER_BYTES;
use super::*;

/// A segment of these batches, and where each frame begins.
fn segment_of(batches: &[usize]) -> (Vec<u8>, Vec<usize>) {
    let mut segment = segment::header().to_vec();
    let mut starts = Vec::new();
    for entries in batches {
        let mut batch = Vec::new();
        for _ in 0..*entries {
            starts.push(segment.len() + batch.len());
            let detail = format!("entry {} {}", starts.len() - 1, "x".repeat(300));
            frame::encode(&admin(&detail).encode().unwrap(), &mut batch);
        }
        segment.extend_from_slice(&batch);
    }
    (segment, starts)
}

fn recovered(contents: &[u8]) -> (Result<Recovered, LedgerError>, Vec<u8>) {
    let mut sim = Sim::with_contents(contents);
    let result = recover(&mut sim, &PathBuf::from("00000000.seg"));
    (result, sim.contents())
}

/// Recovers `contents` and demands that these entries, and exactly the bytes before `end`, are left.
fn check_kept(contents: &[u8], entries: usize, end: usize) {
    let (result, left) = recovered(contents);
    let expected = Recovered {
        entries: entries as u64,
        end: end as u64,
        truncated_bytes: (contents.len() - end) as u64,
    };
    assert_eq!(result.unwrap(), expected);
    assert_eq!(left, contents[..end]);
}

/// Demands that `contents` are refused at the entry, and not touched.
fn check_refused(contents: &[u8], index: usize, offset: usize) -> FrameError {
    let (result, left) = recovered(contents);
    assert!(left == contents, "a refused segment was changed");
    let Err(LedgerError::Corrupt(corruption)) = result else { panic!("recovered as {result:?}") };
    assert_eq!((corruption.index, corruption.offset), (index as u64, offset as u64));
    corruption.error
}

#[test]
fn an_empty_file_becomes_a_segment() {
    let (result, left) = recovered(b"");
    assert_eq!(result.unwrap(), Recovered { entries: 0, end: HEADER_BYTES as u64, truncated_bytes: 0 });
    assert_eq!(left, segment::header());
}

#[test]
fn an_unfinished_header_is_written_again() {
    for length in 0..HEADER_BYTES {
        let mut contents = segment::header()[..length].to_vec();
        assert_eq!(recovered(&contents).1, segment::header());
        contents.resize(HEADER_BYTES, 0);
        assert_eq!(recovered(&contents).1, segment::header());
    }
}

#[test]
fn a_cut_at_every_byte_keeps_every_entry_before_it() {
    let (segment, mut starts) = segment_of(&[1, 3, 1, 1]);
    starts.push(segment.len());
    for cut in HEADER_BYTES..=segment.len() {
        let whole = starts.iter().filter(|start| **start <= cut).count() - 1;
        check_kept(&segment[..cut], whole, starts[whole]);
    }
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    // The last batch has no later one that vouches for it, but a changed byte is no lost sector.
    let (segment, starts) = segment_of(&[1, 2, 1, 3]);
    for at in HEADER_BYTES..segment.len() {
        let mut changed = segment.clone();
        changed[at] ^= 0x20;
        let index = starts.iter().filter(|start| **start <= at).count() - 1;
        let error = check_refused(&changed, index, starts[index]);
        assert!(error.is_damage());
    }
}

#[test]
fn a_lost_sector_of_the_last_batch_ends_the_ledger_before_it() {
    let (segment, mut starts) = segment_of(&[2, 9]);
    starts.push(segment.len());
    let batch_start = starts[2];
    for sector in batch_start / SECTOR_BYTES..segment.len().div_ceil(SECTOR_BYTES) {
        let lost = (sector * SECTOR_BYTES).max(batch_start)..((sector + 1) * SECTOR_BYTES).min(segment.len());
        let mut contents = segment.clone();
        contents[lost.clone()].fill(0);
        let whole = starts.iter().filter(|start| **start <= lost.start).count() - 1;
        check_kept(&contents, whole, starts[whole]);
    }
}

#[test]
fn a_lost_batch_ends_the_ledger_before_it() {
    let (segment, starts) = segment_of(&[2, 9]);
    let mut contents = segment.clone();
    contents[starts[2]..].fill(0);
    check_kept(&contents, 2, starts[2]);
}

#[test]
fn a_lost_sector_before_the_last_batch_is_refused() {
    let (segment, starts) = segment_of(&[2, 9, 1]);
    let mut contents = segment.clone();
    let sector = starts[5].div_ceil(SECTOR_BYTES);
    contents[sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES].fill(0);
    let index = starts.iter().filter(|start| **start <= sector * SECTOR_BYTES).count() - 1;
    check_refused(&contents, index, starts[index]);
}

#[test]
fn what_is_longer_than_a_batch_is_no_unfinished_write() {
    let (mut contents, starts) = segment_of(&[2]);
    let end = contents.len();
    contents.resize(end + super::super::limits::BATCH_BYTES_MAX, 0);
    check_kept(&contents, starts.len(), end);
    contents.push(0);
    check_refused(&contents, starts.len(), end);
}

#[test]
fn an_unknown_version_is_refused_also_at_the_end() {
    let (mut contents, starts) = segment_of(&[2]);
    let end = contents.len();
    let mut newer = vec![2, 0, 0, 0, 0, 0, 0, 0, 3, 9];
    newer.extend_from_slice(&crc32c::crc32c(&newer).to_le_bytes());
    newer.extend_from_slice(&crc32c::crc32c(&[3, 9, b'{', b'}']).to_le_bytes());
    newer.extend_from_slice(b"{}");
    contents.extend_from_slice(&newer);
    for blank_bytes in [0, 2 * SECTOR_BYTES] {
        contents.resize(contents.len() + blank_bytes, 0);
        let error = check_refused(&contents, starts.len(), end);
        assert!(error.to_string().starts_with("version `9` of admin entries is unknown"), "{error}");
    }
}

#[test]
fn an_unknown_segment_format_is_refused_with_a_clear_message() {
    let mut contents = segment::header().to_vec();
    contents[8] = 2;
    let checksum = crc32c::crc32c(&contents[..12]).to_le_bytes();
    contents[12..].copy_from_slice(&checksum);
    let message = recovered(&contents).0.unwrap_err().to_string();
    assert_eq!(
        message,
        "`00000000.seg` has segment format `2`, and this palisade reads format `1`; use the version that wrote it, or \
         a later one"
    );
}

#[test]
fn a_file_that_is_no_segment_is_refused_and_not_touched() {
    let (segment, _) = segment_of(&[2]);
    let mut blank_header = segment.clone();
    blank_header[..HEADER_BYTES].fill(0);
    for contents in [&b"#!/bin/sh\necho this is not a ledger\n"[..], b"x", &blank_header] {
        let (result, left) = recovered(contents);
        let message = result.unwrap_err().to_string();
        assert!(message.contains("does not begin as a ledger segment does"), "{message}");
        assert_eq!(left, contents);
    }
}

#[test]
fn the_refusal_says_where_and_what_to_do() {
    let (mut contents, starts) = segment_of(&[1, 1, 1]);
    contents[starts[1] + 40] ^= 1;
    let message = recovered(&contents).0.unwrap_err().to_string();
    let place = format!(
        "entry 1 at byte {} of `00000000.seg` cannot be read: the checksum of its content",
        starts[1]
    );
    assert!(message.starts_with(&place), "{message}");
    assert!(message.ends_with("or move the directory away to start a new ledger"), "{message}");
}
