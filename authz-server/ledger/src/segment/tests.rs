//! The header as it stands on disk, and what a reader makes of others.

use super::*;

fn header() -> Header {
    let previous = Previous { end: 4096, header: Hash::new([0xaa; 32]), entries: Hash::new([0xbb; 32]) };
    Header { number: 7, first_index: 1_000, begun_ms: 1_760_000_000_123, previous: Some(previous) }
}

fn decode(bytes: &[u8]) -> Result<Beginning, FormatError> {
    Header::decode(bytes, Path::new("00000007.seg"))
}

#[test]
fn the_bytes_of_the_header_are_fixed() {
    let hex: String = header().encode().iter().map(|byte| format!("{byte:02x}")).collect();
    let (fields, rest) = hex.split_at(104 * 2);
    let expected = [
        "50414c495345470a0200000007000000e8030000000000007bc02cc8990100000010000000000000",
        &"aa".repeat(32),
        &"bb".repeat(32),
    ];
    assert_eq!(fields, expected.concat());
    let (zeros, checksum) = rest.split_at(rest.len() - 8);
    assert!(zeros.bytes().all(|digit| digit == b'0'));
    assert_eq!(checksum, "dc5c4904");
}

#[test]
fn a_header_reads_back_as_it_was_written() {
    assert_eq!(decode(&header().encode()).unwrap(), Beginning::Sound(header()));
    let first = Header { number: 0, first_index: 0, previous: None, ..header() };
    assert_eq!(decode(&first.encode()).unwrap(), Beginning::Sound(first));
}

#[test]
fn every_changed_byte_is_found() {
    for at in 0..HEADER_BYTES {
        let mut changed = header().encode();
        changed[at] ^= 0x40;
        assert!(decode(&changed).is_err(), "byte {at}");
    }
}

#[test]
fn a_header_that_was_cut_off_is_unfinished() {
    let whole = header().encode();
    for length in 0..HEADER_BYTES - 4 {
        assert_eq!(decode(&whole[..length]).unwrap(), Beginning::Unfinished, "{length} bytes");
    }
    assert_eq!(decode(&[0; 2 * HEADER_BYTES]).unwrap(), Beginning::Unfinished);
}

#[test]
fn other_formats_are_refused_with_a_clear_message() {
    let mut newer = header().encode();
    newer[8] = 3;
    let checksum = crc32c::crc32c(&newer[..508]).to_le_bytes();
    newer[508..].copy_from_slice(&checksum);
    // Format 1 had 16 bytes: magic, format, checksum.
    let mut older = b"PALISEG\n\x01\0\0\0\x64\x3d\x2d\x65".to_vec();
    older.extend_from_slice(&[7; 600]);
    for (contents, format) in [(newer.to_vec(), 3), (older, 1)] {
        let message = decode(&contents).unwrap_err().to_string();
        let expected = format!(
            "`00000007.seg` has segment format `{format}`, and this palisade reads format `2`; use the version that \
             wrote it, or a later one"
        );
        assert_eq!(message, expected);
    }
}

#[test]
fn a_file_that_is_no_segment_is_refused() {
    for contents in [&b"#!/bin/sh\necho this is not a ledger\n"[..], b"x", &[0xff; 600]] {
        let message = decode(contents).unwrap_err().to_string();
        assert!(message.contains("does not begin as a ledger segment does"), "{message}");
    }
}

#[test]
fn segments_sort_by_name() {
    assert_eq!(path(Path::new("ledger"), 0), Path::new("ledger/00000000.seg"));
    assert_eq!(path(Path::new("ledger"), 12), Path::new("ledger/00000012.seg"));
    assert_eq!(number_of("00000012.seg"), Some(12));
    for other in ["12.seg", "00000012.seg.new", "+0000012.seg", "checkpoint", "00000012.unfinished-1"] {
        assert_eq!(number_of(other), None);
    }
}
