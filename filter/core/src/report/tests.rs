//! Reports: what is read of a request, the format, and a queue that neither forgets nor repeats.

use super::outbox::Bounds;
use super::{
    Batch, BatchError, Item, Kept, Outbox, Report, ServerId, Subject, Verdict, VmId, read_message,
    read_reply, write_message, write_reply,
};
use crate::call_id::CallIdMint;
use crate::contract::BundleDigest;
use crate::handoff::{Secret, SecretSlot};
use crate::headers::encode as encode_headers;
use crate::limits::{
    BATCH_AGE_MS_MAX, BATCH_BYTES_MAX, BATCH_ITEMS_MAX, QUEUE_BYTES_MAX, QUEUE_ITEMS_MAX, REPORT_GIVEN_UP_MS,
    REPORT_PAUSE_MS_MAX, REPORT_TEXT_BYTES_MAX,
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
    }
}

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

fn verify(bytes: &[u8], secret: &Secret, now_ms: u64) -> Result<Batch, BatchError> {
    Batch::verify(bytes, [(SecretSlot::Current, secret)], now_ms).map(|(batch, _)| batch)
}

universal_test! {
    fn a_batch_is_read_back_with_either_secret() {
        let (old, new) = (Secret::from_bytes([1; 32]), Secret::from_bytes([2; 32]));
        let secrets = [(SecretSlot::Current, &new), (SecretSlot::Previous, &old)];
        for (secret, slot) in [(&new, SecretSlot::Current), (&old, SecretSlot::Previous)] {
            let bytes = batch().encode(secret).unwrap();
            assert_eq!(Batch::verify(&bytes, secrets, NOW_MS), Ok((batch(), slot)));
        }
        assert_eq!(batch().end(), 41 + 1 + 6 + 1);
    }
}

universal_test! {
    fn every_changed_bit_is_a_forgery() {
        let bytes = batch().encode(&secret()).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let expected = if at == 0 { BatchError::UnknownVersion { found: changed[0] } } else { BatchError::Forged };
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
        let long = Report { peer: "a".repeat(REPORT_TEXT_BYTES_MAX + 1), ..report("/") };
        assert!(with(Item::Refused(long)).encode(&secret()).is_err(), "what nobody reads is not written");
    }
}

universal_test! {
    fn the_format_of_version_1_stays() {
        let bytes = hex::encode(batch().encode(&secret()).unwrap());
        assert_eq!(bytes, include_str!("fixture-v1.hex").trim());
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

fn add(outbox: &mut Outbox, reason: Reason, path: &str) -> bool {
    outbox.add(BUNDLE, reason, || Report { reason: reason.code().into(), ..report(path) })
}

/// The next batch as a server reads it.
fn next(outbox: &mut Outbox, now_ms: u64) -> Option<Batch> {
    outbox.next_batch(&secret(), now_ms).map(|bytes| verify(&bytes, &secret(), now_ms).unwrap())
}

universal_test! {
    fn one_batch_is_under_way_and_is_sent_until_it_is_acknowledged() {
        let mut outbox = Outbox::new(VM);
        assert_eq!(next(&mut outbox, NOW_MS), None, "nothing to tell");
        for _ in 0..3 {
            add(&mut outbox, Reason::HostUnknown, "/a");
        }
        let first = next(&mut outbox, NOW_MS).unwrap();
        assert_eq!((first.first, first.items.len(), first.acknowledged_by), (0, 3, ServerId::default()));
        assert_eq!(next(&mut outbox, NOW_MS + 1), None, "one is under way");
        add(&mut outbox, Reason::HostUnknown, "/b");
        outbox.failed(NOW_MS + 2);
        assert_eq!(next(&mut outbox, NOW_MS + 3), None, "it waits before it tries again");
        let again = next(&mut outbox, NOW_MS + 1_002).unwrap();
        assert_eq!((again.first, again.items.len()), (0, 4));
        outbox.acknowledged(SERVER);
        assert_eq!((outbox.waiting(), outbox.failures()), (0, 0));
        add(&mut outbox, Reason::HostUnknown, "/c");
        let last = next(&mut outbox, NOW_MS + 1_003).unwrap();
        assert_eq!((last.first, last.items.len(), last.acknowledged_by), (4, 1, SERVER));
    }
}

universal_test! {
    fn pauses_grow_to_a_bound_and_a_clock_that_was_set_back_ends_them() {
        let mut outbox = Outbox::new(VM);
        add(&mut outbox, Reason::HostUnknown, "/a");
        let mut now_ms = NOW_MS;
        for _ in 0..20 {
            assert!(next(&mut outbox, now_ms).is_some());
            outbox.failed(now_ms);
            assert_eq!(next(&mut outbox, now_ms + 500), None);
            now_ms += REPORT_PAUSE_MS_MAX;
        }
        assert!(next(&mut outbox, NOW_MS - 1_000_000).is_some());
        assert_eq!(next(&mut outbox, NOW_MS - 999_999), None);
        let given_up = NOW_MS - 1_000_000 + REPORT_GIVEN_UP_MS;
        assert_eq!(next(&mut outbox, given_up), None, "its answer never came: it has failed");
        assert_eq!(outbox.failures(), 21);
        assert!(next(&mut outbox, given_up + REPORT_PAUSE_MS_MAX).is_some());
    }
}

universal_test! {
    fn a_full_queue_tells_how_many_of_what_were_lost() {
        let mut outbox = Outbox::new(VM);
        let mut hurried = 0;
        for _ in 0..QUEUE_ITEMS_MAX {
            hurried += usize::from(add(&mut outbox, Reason::JsonSyntax, "/orders"));
        }
        assert_eq!(hurried, 1, "somebody was told once that half of it is full");
        for _ in 0..10_000 {
            add(&mut outbox, Reason::HostUnknown, "/");
            add(&mut outbox, Reason::JsonDepth, "/");
        }
        assert_eq!(outbox.waiting(), (QUEUE_ITEMS_MAX + 20_000) as u64);
        let (mut refused, mut lost) = (0, Vec::new());
        while let Some(batch) = next(&mut outbox, NOW_MS) {
            assert_eq!(batch.first, refused);
            assert!(batch.items.len() <= BATCH_ITEMS_MAX);
            for item in batch.items {
                match item {
                    Item::Refused(_) => refused += 1,
                    Item::Lost(reasons) => lost.extend(reasons),
                }
            }
            outbox.acknowledged(SERVER);
        }
        assert_eq!(refused, QUEUE_ITEMS_MAX as u64);
        assert_eq!(lost, [("host_unknown".into(), 10_000), ("json_depth".into(), 10_000)]);
    }
}

universal_test! {
    fn a_flood_of_long_paths_meets_the_bound_of_bytes() {
        let mut outbox = Outbox::new(VM);
        let path = format!("/{}", "a".repeat(5_000));
        for _ in 0..QUEUE_ITEMS_MAX {
            add(&mut outbox, Reason::PathTooLong, &path);
        }
        let kept = std::iter::from_fn(|| {
            let batch = next(&mut outbox, NOW_MS)?;
            outbox.acknowledged(SERVER);
            Some(batch.items.iter().filter(|item| matches!(item, Item::Refused(_))).count())
        });
        let kept: usize = kept.sum();
        assert!(kept < QUEUE_ITEMS_MAX && kept > QUEUE_BYTES_MAX / 1_000, "{kept}");
    }
}

universal_test! {
    fn a_batch_is_of_one_bundle() {
        let mut outbox = Outbox::new(VM);
        let other = BundleDigest([5; 32]);
        for bundle in [BUNDLE, BUNDLE, other, BUNDLE] {
            outbox.add(bundle, Reason::HostUnknown, || report("/"));
        }
        for (bundle, items) in [(BUNDLE, 2), (other, 1), (BUNDLE, 1)] {
            let batch = next(&mut outbox, NOW_MS).unwrap();
            assert_eq!((batch.bundle, batch.items.len()), (bundle, items));
            outbox.acknowledged(SERVER);
        }
    }
}

/// What may happen to an outbox, and what comes of the batch under way.
#[derive(Debug, Clone, Copy)]
enum Step {
    Refuse {
        reason: Reason,
        path_bytes: usize,
        bundle: u8,
    },
    /// The server stores the batch; whether the filter hears of it is another question.
    Send {
        stored: bool,
        heard: bool,
    },
    Wait {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let reasons = vec![Reason::HostUnknown, Reason::JsonSyntax, Reason::Internal];
    prop_oneof![
        6 => (prop::sample::select(reasons), 0..900_usize, 0..2_u8)
            .prop_map(|(reason, path_bytes, bundle)| Step::Refuse { reason, path_bytes, bundle }),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(stored, heard)| Step::Send { stored, heard }),
        1 => (0..20_000_u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// A server that stores each number once.
#[derive(Debug, Default)]
struct Store {
    next: u64,
    refused: u64,
    lost: u64,
    repeated: u64,
}

impl Store {
    fn take(&mut self, batch: &Batch) {
        let mut at = batch.first;
        assert!(at <= self.next, "nothing is missing between batches: {at} after {}", self.next);
        for item in &batch.items {
            let end = at + item.numbers();
            if at < self.next {
                assert!(end <= self.next, "what was told once has the same numbers again");
                self.repeated += item.numbers();
            } else {
                self.next = end;
                match item {
                    Item::Refused(_) => self.refused += 1,
                    Item::Lost(_) => self.lost += item.numbers(),
                }
            }
            at = end;
        }
    }
}

universal_properties! {
    fn stored_and_lost_are_what_was_refused(steps in prop::collection::vec(step(), 0..400), items in 1..40_usize) {
        let mut outbox = Outbox::with_bounds(VM, Bounds { items, bytes: 40 * 400 });
        let (mut store, mut refused, mut now_ms) = (Store::default(), 0, NOW_MS);
        for step in steps {
            match step {
                Step::Refuse { reason, path_bytes, bundle } => {
                    refused += 1;
                    let path = "a".repeat(path_bytes);
                    outbox.add(BundleDigest([bundle; 32]), reason, || report(&path));
                }
                Step::Send { stored, heard } => {
                    let Some(batch) = next(&mut outbox, now_ms) else { continue };
                    prop_assert!(!batch.items.is_empty());
                    prop_assert_eq!(next(&mut outbox, now_ms), None);
                    if stored {
                        store.take(&batch);
                    }
                    if stored && heard { outbox.acknowledged(SERVER) } else { outbox.failed(now_ms) }
                }
                Step::Wait { ms } => now_ms += ms,
            }
            prop_assert!(outbox.waiting() <= refused);
        }
        while outbox.waiting() > 0 {
            now_ms += REPORT_PAUSE_MS_MAX;
            if let Some(batch) = next(&mut outbox, now_ms) {
                store.take(&batch);
                outbox.acknowledged(SERVER);
            }
        }
        prop_assert_eq!(store.refused + store.lost, refused);
        prop_assert_eq!(store.next, refused);
    }

    fn any_bytes_with_a_proof_are_read_without_panic(
        body in prop::collection::vec(any::<u8>(), 0..400), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let secret = secret();
        // Whatever stands behind the version, and a good batch with one byte changed, each with a proof that holds.
        let good = batch().encode(&secret).unwrap();
        let mut changed = good[..good.len() - 32].to_vec();
        let at = 1 + place.index(changed.len() - 1);
        changed[at] = byte;
        for signed in [[&[1], &body[..]].concat(), changed] {
            let mut out = crate::wire::Writer::default();
            out.bytes(&signed);
            let bytes = super::batch::prove(&secret, out);
            match verify(&bytes, &secret, NOW_MS) {
                Ok(batch) => prop_assert_eq!(batch.encode(&secret).unwrap(), bytes, "what is read is what is written"),
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
