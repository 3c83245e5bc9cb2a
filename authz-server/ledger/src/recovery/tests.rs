//! Every end that a crash can leave is recovered; every other change is refused.

use super::*;
use crate::entry::tests::admin;
use crate::file::Files;
use crate::file::sim::Sim;
use crate::frame::FrameError;

const FILE: &str = "00000000.seg";

fn header() -> Header {
    Header { number: 0, first_index: 0, begun_ms: 1, previous: None }
}

/// A segment of these batches, and where each frame begins.
fn segment_of(batches: &[usize]) -> (Vec<u8>, Vec<usize>) {
    let mut segment = header().encode().to_vec();
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
    let path = Path::new(FILE);
    let sim = Sim::with_file(path, contents);
    let mut file = sim.open(path).unwrap();
    let result = look(&file, path, &header());
    let result = result.and_then(|found| mend(&mut file, path, &found).map(|()| found));
    (result, sim.contents(path))
}

/// Recovers `contents` and demands that these entries, and only zeros behind them, are left.
fn check_kept(contents: &[u8], entries: usize, end: usize) {
    let (result, left) = recovered(contents);
    let found = result.unwrap();
    let used = contents.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let expected = (entries as u64, end as u64, used.max(end) as u64 - end as u64);
    assert_eq!((found.entries, found.end, found.truncated_bytes), expected);
    assert_eq!(left[..end], contents[..end]);
    assert!(left[end..].iter().all(|byte| *byte == 0));
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
    for room in [0, 3000] {
        for at in HEADER_BYTES..segment.len() {
            let mut changed = segment.clone();
            changed.resize(segment.len() + room, 0);
            changed[at] ^= 0x20;
            let index = starts.iter().filter(|start| **start <= at).count() - 1;
            let error = check_refused(&changed, index, starts[index]);
            assert!(error.is_damage());
        }
    }
}

#[test]
fn a_lost_sector_of_the_last_batch_ends_the_ledger_before_it() {
    let (segment, mut starts) = segment_of(&[2, 9]);
    starts.push(segment.len());
    let batch_start = starts[2];
    for sector in batch_start / SECTOR_BYTES..segment.len().div_ceil(SECTOR_BYTES) {
        let lost = (sector * SECTOR_BYTES).max(batch_start)..((sector + 1) * SECTOR_BYTES).min(segment.len());
        for room in [0, 3000] {
            let mut contents = segment.clone();
            contents[lost.clone()].fill(0);
            contents.resize(segment.len() + room, 0);
            let whole = starts.iter().filter(|start| **start <= lost.start).count() - 1;
            check_kept(&contents, whole, starts[whole]);
        }
    }
}

#[test]
fn a_cut_at_every_sector_of_prepared_room_keeps_every_entry_before_it() {
    let (segment, mut starts) = segment_of(&[1, 3, 1, 9]);
    starts.push(segment.len());
    let last_batch = starts[5];
    for cut in (last_batch.next_multiple_of(SECTOR_BYTES)..segment.len()).step_by(SECTOR_BYTES) {
        let mut contents = segment.clone();
        contents[cut..].fill(0);
        contents.resize(segment.len() + 5000, 0);
        let whole = starts.iter().filter(|start| **start <= cut).count() - 1;
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
    // The first sector is lost, and the last byte of the largest batch is there.
    contents.resize(end + BATCH_BYTES_MAX, 0);
    contents[end + BATCH_BYTES_MAX - 1] = 1;
    check_kept(&contents, starts.len(), end);
    contents[end + BATCH_BYTES_MAX - 1] = 0;
    contents.push(1);
    assert_eq!(check_refused(&contents, starts.len(), end), FrameError::Missing);
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
