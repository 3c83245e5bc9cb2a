//! The frame's bytes as they stand on disk, and every way in which they can be wrong.

use proptest::prelude::*;

use super::*;

/// Length 10, batch offset 0, admin, version 1, both checksums, `{"at_ms":1`.
const GOLDEN: &str = "0a00000000000000030144b1cbf07d786b007b2261745f6d73223a31";

fn frame_of(kind: Kind, bytes: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    encode(&Stored::new(kind, bytes.to_vec()).unwrap(), &mut framed);
    framed
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A frame whose checksums are right and whose other fields are given.
fn forged(length: u32, batch_offset: u32, code: u8, version: u8, stored: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    framed.extend_from_slice(&length.to_le_bytes());
    framed.extend_from_slice(&batch_offset.to_le_bytes());
    framed.extend_from_slice(&[code, version]);
    framed.extend_from_slice(&crc32c::crc32c(&framed).to_le_bytes());
    framed.extend_from_slice(&body_checksum(code, version, stored).to_le_bytes());
    framed.extend_from_slice(stored);
    framed
}

#[test]
fn the_bytes_of_a_frame_are_fixed() {
    let framed = frame_of(Kind::Admin, br#"{"at_ms":1"#);
    assert_eq!(hex(&framed), GOLDEN);
    let frame = Frame { kind: Kind::Admin, version: 1, batch_offset: 0, stored: br#"{"at_ms":1"# };
    assert_eq!(decode(&framed), Decoded::Frame { frame, consumed: framed.len() });
}

#[test]
fn the_codes_of_kinds_are_fixed() {
    let codes = Kind::ALL.map(|kind| (kind.code(), kind.name(), kind.version()));
    let expected = [
        (1, "decision", 1),
        (2, "outcome", 1),
        (3, "admin", 1),
        (4, "refusal", 1),
        (5, "drift", 1),
        (6, "judged", 1),
        (7, "shed", 1),
        (8, "load", 1),
    ];
    assert_eq!(codes, expected);
}

#[test]
fn an_unknown_version_is_refused_with_a_clear_message() {
    for version in [0, 2, 255] {
        let Decoded::Corrupt(error) = decode(&forged(2, 0, 1, version, b"{}")) else { panic!("read") };
        assert_eq!(error, FrameError::UnknownVersion { kind: Kind::Decision, version });
        assert_eq!(
            error.to_string(),
            format!(
                "version `{version}` of decision entries is unknown to this palisade, which reads up to version `1`; \
                 use the version that wrote it, or a later one"
            )
        );
    }
}

#[test]
fn an_unknown_kind_is_refused_with_a_clear_message() {
    for code in [0, 9, 255] {
        let Decoded::Corrupt(error) = decode(&forged(2, 0, code, 1, b"{}")) else { panic!("read") };
        assert_eq!(
            error.to_string(),
            format!(
                "entry kind `{code}` is unknown to this palisade; use the version that wrote it, or a later one"
            )
        );
    }
}

#[test]
fn an_unknown_version_is_refused_even_where_the_frame_is_torn() {
    let framed = forged(100, 0, 1, 2, b"{");
    assert_eq!(
        decode(&framed),
        Decoded::Corrupt(FrameError::UnknownVersion { kind: Kind::Decision, version: 2 })
    );
}

#[test]
fn bounds_are_refused_though_the_checksums_are_right() {
    let bytes = ENTRY_BYTES_MAX + 1;
    let framed = forged(u32::try_from(bytes).unwrap(), 0, 1, 1, b"");
    assert_eq!(decode(&framed), Decoded::Corrupt(FrameError::TooLong { bytes }));
    assert_eq!(Stored::new(Kind::Admin, vec![b' '; bytes]), Err(FrameError::TooLong { bytes }));

    let bytes = BATCH_BYTES_MAX + 1;
    let framed = forged(2, u32::try_from(bytes).unwrap(), 1, 1, b"{}");
    assert_eq!(decode(&framed), Decoded::Corrupt(FrameError::BatchOffset { bytes }));
}

#[test]
fn the_largest_entry_is_read_back() {
    let stored = vec![b'x'; ENTRY_BYTES_MAX];
    let framed = frame_of(Kind::Decision, &stored);
    let Decoded::Frame { frame, consumed } = decode(&framed) else { panic!("not read") };
    assert_eq!((frame.stored, consumed), (&stored[..], framed.len()));
}

#[test]
fn blank_bytes_are_no_frame() {
    assert_eq!(decode(&[0; 64]), Decoded::Blank);
    assert_eq!(decode(&[0; 4]), Decoded::Torn);
    assert_eq!(decode(&[]), Decoded::End);
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(&Kind::ALL[..])
}

proptest! {
    #[test]
    fn a_batch_reads_back_as_it_was_written(
        entries in prop::collection::vec((any_kind(), prop::collection::vec(any::<u8>(), 0..300)), 0..20),
    ) {
        let mut batch = Vec::new();
        for (kind, bytes) in &entries {
            encode(&Stored::new(*kind, bytes.clone()).unwrap(), &mut batch);
        }
        let mut rest = &batch[..];
        for (kind, bytes) in &entries {
            let Decoded::Frame { frame, consumed } = decode(rest) else { panic!("not read") };
            prop_assert_eq!((frame.kind, frame.version, frame.stored), (*kind, 1, &bytes[..]));
            prop_assert_eq!(frame.batch_offset as usize, batch.len() - rest.len());
            rest = &rest[consumed..];
        }
        prop_assert_eq!(decode(rest), Decoded::End);
    }

    #[test]
    fn every_changed_byte_is_found(
        kind in any_kind(),
        stored in prop::collection::vec(any::<u8>(), 0..200),
        behind in prop::collection::vec(any::<u8>(), 0..200),
        change in 1..=255_u8,
    ) {
        let framed = frame_of(kind, &stored);
        for at in 0..framed.len() {
            let mut changed = framed.clone();
            changed[at] ^= change;
            changed.extend_from_slice(&behind);
            let found = matches!(decode(&changed), Decoded::Corrupt(_));
            prop_assert!(found, "byte {}", at);
        }
    }

    #[test]
    fn every_prefix_is_torn(kind in any_kind(), stored in prop::collection::vec(any::<u8>(), 0..200)) {
        let framed = frame_of(kind, &stored);
        for length in 1..framed.len() {
            prop_assert_eq!(decode(&framed[..length]), Decoded::Torn);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_are_no_frame(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let read = matches!(decode(&bytes), Decoded::Frame { .. });
        prop_assert!(!read);
    }
}
