//! Reports: what is read of a request, and the format. `queue` is about what waits, `sheds` about what is
//! told of load.

mod queue;
mod sheds;

use super::{
    Batch, BatchError, Drift, Item, Judged, JudgedCount, Kept, Load, LoadCount, LoadLevel, Report, ServerId,
    Sheds, Side, Subject, Verdict, VmId, read_message, read_reply, write_message, write_reply,
};
use crate::call_id::CallIdMint;
use crate::contract::BundleDigest;
use crate::handoff::{Secret, SecretSlot};
use crate::headers::encode as encode_headers;
use crate::limits::{
    BATCH_AGE_MS_MAX, BATCH_BYTES_MAX, JUDGED_COUNTS_MAX, LOAD_COUNTS_MAX, LOAD_LEVELS_MAX, PLACE_BYTES_MAX,
    REPORT_TEXT_BYTES_MAX,
};
use crate::reason::Reason;
use crate::routes::OperationIndex;
use crate::testing::{universal_properties, universal_test};
use crate::wire::WireError;
use proptest::prelude::*;

const NOW_MS: u64 = 1_763_700_000_000;
const VM: VmId = VmId([3; 16]);
const SERVER: ServerId = ServerId([8; 16]);
const BUNDLE: BundleDigest = BundleDigest([7; 32]);

fn secret() -> Secret {
    Secret::from_bytes([1; 32])
}

fn report(path: &str) -> Report {
    Report {
        call_id: CallIdMint::new([4; 16]).mint(NOW_MS),
        at_ms: NOW_MS,
        verdict: Verdict::Reject,
        reason: Reason::JsonSyntax.code().into(),
        operation: Some(OperationIndex(2)),
        subject: Subject::new(b"POST", b"orders", path.as_bytes(), b"3"),
        peer: "spiffe://shop.test/ns/shop/sa/web".to_owned(),
        place: String::new(),
        retry: false,
    }
}

/// What a filter could tell in version 1.
fn batch() -> Batch {
    let bare = Report {
        verdict: Verdict::Shed,
        operation: None,
        subject: Subject::default(),
        peer: String::new(),
        ..report("/")
    };
    Batch {
        vm: VM,
        bundle: BUNDLE,
        acknowledged_by: SERVER,
        sent_at_ms: NOW_MS,
        first: 41,
        items: vec![
            Item::Refused(report("/orders")),
            Item::Lost(vec![("host_unknown".into(), 5), ("a_reason_of_the_future".into(), 1)]),
            Item::Refused(bare),
        ],
    }
}

fn drift() -> Drift {
    Drift {
        operation: Some(OperationIndex(2)),
        side: Side::Response,
        reason: Reason::JsonSyntax.code().into(),
        place: "response/body/items/*/price".to_owned(),
        status: Some(200),
        peer: "spiffe://shop.test/ns/shop/sa/web".to_owned(),
        count: 7,
        first_at_ms: NOW_MS - 9_000,
        last_at_ms: NOW_MS,
        call_id: CallIdMint::new([4; 16]).mint(NOW_MS),
    }
}

/// The same with all that came in version 2.
fn batch_v2() -> Batch {
    let count = |operation, side| JudgedCount { operation, side, count: 100 };
    let counts = vec![count(Some(OperationIndex(2)), Side::Response), count(None, Side::Request)];
    let bare = Drift { operation: None, side: Side::Request, status: None, peer: String::new(), ..drift() };
    let mut batch = batch();
    batch.items.extend([
        Item::Refused(Report { place: "body/items/3/price".to_owned(), ..report("/orders") }),
        Item::Drifted(drift()),
        Item::Drifted(bare),
        Item::Judged(Judged { at_ms: NOW_MS, counts }),
    ]);
    batch
}

fn sheds() -> Sheds {
    Sheds {
        operation: Some(OperationIndex(2)),
        reason: Reason::RateLimited.code().into(),
        retry: true,
        shadow: false,
        limit: "per-caller".to_owned(),
        peer: "spiffe://shop.test/ns/shop/sa/web".to_owned(),
        count: 1_234,
        first_at_ms: NOW_MS - 4_000,
        last_at_ms: NOW_MS,
        call_id: CallIdMint::new([4; 16]).mint(NOW_MS),
    }
}

fn load() -> Load {
    let count = |operation| LoadCount { operation, admitted: 900, retries: 80, failed: 7 };
    let level = LoadLevel { operation: OperationIndex(2), limit: 50, load: 49, retry_tokens: 3 };
    Load { at_ms: NOW_MS, counts: vec![count(Some(OperationIndex(2))), count(None)], levels: vec![level] }
}

/// The same with all that came in version 3.
fn batch_v3() -> Batch {
    let bare = Sheds {
        operation: None,
        retry: false,
        shadow: true,
        limit: String::new(),
        peer: String::new(),
        ..sheds()
    };
    let mut batch = batch_v2();
    batch.items.extend([
        Item::Refused(Report { verdict: Verdict::Shed, retry: true, ..report("/orders") }),
        Item::Shed(sheds()),
        Item::Shed(bare),
        Item::Load(load()),
        Item::Load(Load { counts: Vec::new(), levels: Vec::new(), ..load() }),
    ]);
    batch
}

/// These bytes as a batch, whatever they are.
fn proven(signed: &[u8]) -> Vec<u8> {
    let mut out = crate::wire::Writer::default();
    out.bytes(signed);
    super::batch::prove(&secret(), out)
}

fn verify(bytes: &[u8], secret: &Secret, now_ms: u64) -> Result<Batch, BatchError> {
    Batch::verify(bytes, [(SecretSlot::Current, secret)], now_ms).map(|(batch, _)| batch)
}

universal_test! {
    fn a_batch_is_read_back_with_either_secret() {
        let (old, new) = (Secret::from_bytes([1; 32]), Secret::from_bytes([2; 32]));
        let secrets = [(SecretSlot::Current, &new), (SecretSlot::Previous, &old)];
        for (secret, slot) in [(&new, SecretSlot::Current), (&old, SecretSlot::Previous)] {
            let bytes = batch_v3().encode(secret).unwrap();
            assert_eq!(Batch::verify(&bytes, secrets, NOW_MS), Ok((batch_v3(), slot)));
        }
        assert_eq!(batch_v3().end(), 41 + 1 + 6 + 1 + 4 + 5);
    }
}

universal_test! {
    fn every_changed_bit_is_a_forgery() {
        let bytes = batch().encode(&secret()).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let is_known = [1, 2, 3].contains(&changed[0]);
                let expected = if is_known { BatchError::Forged } else { BatchError::UnknownVersion { found: changed[0] } };
                assert_eq!(verify(&changed, &secret(), NOW_MS), Err(expected), "byte {at}, bit {bit}");
            }
        }
        for end in 1..bytes.len() {
            assert!(verify(&bytes[..end], &secret(), NOW_MS).is_err(), "cut at {end}");
        }
    }
}

universal_test! {
    fn a_batch_is_of_no_use_at_another_time_or_with_another_secret() {
        let bytes = batch().encode(&secret()).unwrap();
        assert_eq!(verify(&bytes, &Secret::from_bytes([9; 32]), NOW_MS), Err(BatchError::Forged));
        assert!(verify(&bytes, &secret(), NOW_MS + BATCH_AGE_MS_MAX).is_ok());
        for now_ms in [NOW_MS + BATCH_AGE_MS_MAX + 1, NOW_MS - BATCH_AGE_MS_MAX - 1] {
            assert_eq!(verify(&bytes, &secret(), now_ms), Err(BatchError::Stale { sent_at_ms: NOW_MS }));
        }
        let long = vec![1; BATCH_BYTES_MAX + 1];
        assert!(matches!(verify(&long, &secret(), NOW_MS), Err(BatchError::Malformed(WireError::TooLarge { .. }))));
    }
}

universal_test! {
    fn bytes_with_a_proof_are_still_checked() {
        let refused = |batch: Batch| {
            let bytes = batch.encode(&secret()).unwrap();
            assert!(matches!(verify(&bytes, &secret(), NOW_MS), Err(BatchError::Malformed(_))), "{batch:?}");
        };
        let with = |item: Item| Batch { items: vec![item], ..batch() };
        refused(with(Item::Lost(Vec::new())));
        refused(with(Item::Lost(vec![("host_unknown".into(), 0)])));
        refused(with(Item::Lost(vec![("host_unknown".into(), u64::MAX), ("internal".into(), 1)])));
        refused(Batch { first: u64::MAX, ..batch() });
        refused(with(Item::Refused(Report { reason: "".into(), ..report("/") })));
        refused(with(Item::Refused(Report { reason: "Bad\n".into(), ..report("/") })));
        refused(with(Item::Refused(Report { peer: "a\u{1b}[31m".to_owned(), ..report("/") })));
        refused(with(Item::Refused(Report { place: "body/a\n".to_owned(), ..report("/") })));
        refused(with(Item::Drifted(Drift { count: 0, ..drift() })));
        refused(with(Item::Drifted(Drift { place: "body/\u{9b}".to_owned(), ..drift() })));
        let none = JudgedCount { operation: None, side: Side::Request, count: 0 };
        refused(with(Item::Judged(Judged { at_ms: 0, counts: vec![none] })));
        refused(with(Item::Shed(Sheds { count: 0, ..sheds() })));
        refused(with(Item::Shed(Sheds { limit: "a\n".to_owned(), ..sheds() })));
        let idle = LoadCount { operation: None, admitted: 0, retries: 0, failed: 0 };
        for count in [idle, LoadCount { retries: 1, failed: 1, ..idle }] {
            refused(with(Item::Load(Load { counts: vec![count], ..load() })));
        }
        for long in [
            Item::Shed(Sheds { peer: "a".repeat(REPORT_TEXT_BYTES_MAX + 1), ..sheds() }),
            Item::Load(Load { counts: vec![idle; LOAD_COUNTS_MAX + 1], ..load() }),
            Item::Load(Load { levels: vec![load().levels[0]; LOAD_LEVELS_MAX + 1], ..load() }),
            Item::Refused(Report { peer: "a".repeat(REPORT_TEXT_BYTES_MAX + 1), ..report("/") }),
            Item::Refused(Report { place: "a".repeat(PLACE_BYTES_MAX + 1), ..report("/") }),
            Item::Judged(Judged { at_ms: 0, counts: vec![none; JUDGED_COUNTS_MAX + 1] }),
        ] {
            assert!(with(long).encode(&secret()).is_err(), "what nobody reads is not written");
        }
    }
}

universal_test! {
    fn the_format_of_version_3_stays() {
        let bytes = hex::encode(batch_v3().encode(&secret()).unwrap());
        assert_eq!(bytes, include_str!("fixture-v3.hex").trim());
    }
}

universal_test! {
    fn versions_of_filters_before_are_read_and_have_nothing_of_later_ones() {
        for (fixture, batch) in [
            (include_str!("fixture-v1.hex"), batch()),
            (include_str!("fixture-v2.hex"), batch_v2()),
        ] {
            assert_eq!(verify(&hex::decode(fixture.trim()).unwrap(), &secret(), NOW_MS), Ok(batch));
        }
        let judged = Item::Judged(Judged { at_ms: NOW_MS, counts: Vec::new() });
        for (item, since) in [
            (Item::Drifted(drift()), 2), (judged, 2), (Item::Shed(sheds()), 3), (Item::Load(load()), 3),
        ] {
            let mut signed = Batch { items: vec![item], ..batch() }.encode(&secret()).unwrap();
            signed.truncate(signed.len() - 32);
            for version in 1..=3 {
                signed[0] = version;
                let read = verify(&proven(&signed), &secret(), NOW_MS);
                let is_refused = matches!(read, Err(BatchError::Malformed(WireError::Unknown { what: "item", .. })));
                assert_eq!((is_refused, read.is_ok()), (version < since, version >= since), "{read:?}");
            }
        }
    }
}

universal_test! {
    fn what_is_kept_of_a_request_is_bounded_and_has_no_query() {
        let long = "a".repeat(50_000);
        let subject = |path: &str, host: &str, attempt: &str| {
            let pairs = encode_headers(&[
                (":method", "GET"), (":authority", host), (":path", path), ("x-envoy-attempt-count", attempt),
            ]);
            let subject = Subject::of_headers(&pairs).unwrap();
            assert_eq!(Kept::of_headers(&pairs).subject(), subject, "the same is known later");
            subject
        };
        let found = subject(&format!("/{long}?key=secret"), &long, "2");
        assert_eq!((found.path.len(), found.host.len(), found.attempt), (512, 512, Some(2)));
        let found = subject("/a?key=secret#x", "shop\u{1b}[31m\u{9b}", "-1");
        assert_eq!((found.path.as_str(), found.host.as_str()), ("/a", "shop\u{fffd}[31m\u{fffd}"));
        assert_eq!(found.attempt, None);
        for attempt in ["", "0", "1x", "+1", "99999999999999999999"] {
            assert_eq!(subject("/", "a", attempt).attempt, None, "{attempt}");
        }
        let raw = Subject::new(&[0xff; 40], b"h", &[0xff; 600], b"");
        assert!(raw.method.len() <= 32 && raw.path.len() <= 512, "replaced bytes are longer: {raw:?}");
        assert_eq!(Subject::of_headers(&[1]), None);
        assert_eq!(Kept::of_headers(&[1]).subject(), Subject::default());
        assert_eq!(Subject::of_headers(&[]), Some(Subject::default()));
    }
}

universal_test! {
    fn messages_and_replies_are_read_back() {
        for length in [0, 1, 127, 128, 16_383, 16_384, BATCH_BYTES_MAX] {
            let batch = vec![7; length];
            assert_eq!(read_message(&write_message(&batch)), Some(&batch[..]), "{length}");
        }
        assert_eq!(read_reply(&write_reply(SERVER)), Some(SERVER));
        for other in [&b""[..], b"\x0a", b"\x0a\x00", b"\x0a\xff\xff\xff\xff\xff", b"\x12\x01a", b"\x0a\x01ab"] {
            assert_eq!(read_reply(other), None, "{other:?}");
        }
    }
}

universal_properties! {
    fn any_bytes_with_a_proof_are_read_without_panic(
        body in prop::collection::vec(any::<u8>(), 0..400), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let secret = secret();
        // Whatever stands behind the version, and a good batch with one byte changed, each with a proof that holds.
        let good = batch_v3().encode(&secret).unwrap();
        let mut changed = good[..good.len() - 32].to_vec();
        let at = 1 + place.index(changed.len() - 1);
        changed[at] = byte;
        for signed in [[&[1], &body[..]].concat(), [&[2], &body[..]].concat(), [&[3], &body[..]].concat(), changed] {
            let bytes = proven(&signed);
            match verify(&bytes, &secret, NOW_MS) {
                Ok(batch) => prop_assert!(bytes[0] < 3 || batch.encode(&secret).unwrap() == bytes, "what is read is written"),
                Err(error) => prop_assert_ne!(error, BatchError::Forged),
            }
        }
        let _ = verify(&body, &secret, NOW_MS);
        let _ = read_message(&body);
        let _ = read_reply(&body);
        let _ = Subject::of_headers(&body);
        let _ = Kept::of_headers(&body).subject();
        let _ = Subject::new(&body, &body, &body, &body);
    }
}
