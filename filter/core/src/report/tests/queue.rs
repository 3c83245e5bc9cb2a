//! A queue that neither forgets nor repeats.

use super::sheds::shed_at;
use super::{BUNDLE, NOW_MS, SERVER, VM, report, secret, verify};
use crate::call_id::CallIdMint;
use crate::contract::BundleDigest;
use crate::limits::{
    BATCH_ITEMS_MAX, DRIFT_PERIOD_MS, JUDGED_PERIOD_MS, QUEUE_BYTES_MAX, QUEUE_ITEMS_MAX, REPORT_GIVEN_UP_MS,
    REPORT_PAUSE_MS_MAX,
};
use crate::reason::Reason;
use crate::report::outbox::Bounds;
use crate::report::{Batch, DriftKey, Item, Outbox, Passed, Report, ServerId, Side, Verdict};
use crate::routes::OperationIndex;
use crate::testing::{universal_properties, universal_test};
use proptest::prelude::*;

pub(super) fn add(outbox: &mut Outbox, reason: Reason, path: &str) -> bool {
    outbox.add(BUNDLE, reason, || Report { reason: reason.code().into(), ..report(path) })
}

/// The next batch as a server reads it.
pub(super) fn next(outbox: &mut Outbox, now_ms: u64) -> Option<Batch> {
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
                    item @ (Item::Drifted(_) | Item::Judged(_) | Item::Shed(_) | Item::Load(_)) => panic!("{item:?}"),
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

fn drift_at(outbox: &mut Outbox, bundle: BundleDigest, place: &str, now_ms: u64) {
    let (operation, side, reason) = (OperationIndex(1), Side::Request, Reason::JsonSyntax);
    let key = DriftKey { operation, side, reason, place, status: None, peer: "" };
    outbox.judged(bundle, operation, side);
    outbox.drifted(bundle, key, CallIdMint::new([4; 16]).mint(now_ms), now_ms);
}

/// How often each of the items of the next batch drifted; 0 is a count of what was judged.
fn drift_counts(outbox: &mut Outbox, now_ms: u64) -> Option<Vec<u64>> {
    let batch = next(outbox, now_ms)?;
    let count = |item| match item {
        Item::Drifted(drift) => drift.count,
        Item::Judged(_) => 0,
        item @ (Item::Refused(_) | Item::Lost(_) | Item::Shed(_) | Item::Load(_)) => panic!("{item:?}"),
    };
    Some(batch.items.into_iter().map(count).collect())
}

universal_test! {
    fn drift_is_told_in_its_time_and_counted_until_then() {
        let mut outbox = Outbox::new(VM);
        drift_at(&mut outbox, BUNDLE, "body/a", NOW_MS);
        assert_eq!(drift_counts(&mut outbox, NOW_MS), Some(vec![1, 0]), "the first at once");
        outbox.acknowledged(SERVER);
        for _ in 0..5 {
            drift_at(&mut outbox, BUNDLE, "body/a", NOW_MS + 1);
        }
        assert_eq!(drift_counts(&mut outbox, NOW_MS + DRIFT_PERIOD_MS - 1), None);
        assert_eq!(drift_counts(&mut outbox, NOW_MS + DRIFT_PERIOD_MS), Some(vec![5, 0]));
        outbox.failed(NOW_MS + DRIFT_PERIOD_MS);
        let mut now_ms = NOW_MS + DRIFT_PERIOD_MS;
        for _ in 0..3 {
            drift_at(&mut outbox, BUNDLE, "body/a", now_ms);
            now_ms += DRIFT_PERIOD_MS;
            assert_eq!(drift_counts(&mut outbox, now_ms), Some(vec![5, 0]), "what was told once does not change");
            outbox.failed(now_ms);
        }
        assert!(next(&mut outbox, now_ms + REPORT_PAUSE_MS_MAX).is_some());
        outbox.acknowledged(SERVER);
        assert_eq!(drift_counts(&mut outbox, now_ms + REPORT_PAUSE_MS_MAX), Some(vec![3, 0]), "what came meanwhile");
    }
}

universal_test! {
    fn much_drift_is_told_before_its_time_and_takes_no_room_from_refusals() {
        let mut outbox = Outbox::new(VM);
        drift_at(&mut outbox, BUNDLE, "body", NOW_MS);
        assert!(next(&mut outbox, NOW_MS).is_some());
        outbox.acknowledged(SERVER);
        (0..256).for_each(|key| drift_at(&mut outbox, BUNDLE, &format!("body/x{key}"), NOW_MS + 1));
        for _ in 0..QUEUE_ITEMS_MAX / 2 {
            add(&mut outbox, Reason::HostUnknown, "/");
        }
        let batch = next(&mut outbox, NOW_MS + 1).unwrap();
        assert!(batch.items.iter().all(|item| matches!(item, Item::Refused(_))), "half of the queue is for refusals");
        outbox.acknowledged(SERVER);
        // Now there is room, and later ones come.
        assert_eq!(outbox.waiting(), (QUEUE_ITEMS_MAX / 2 - BATCH_ITEMS_MAX) as u64);
        assert!(next(&mut outbox, NOW_MS + 2).is_some());
        assert_eq!(outbox.waiting(), (QUEUE_ITEMS_MAX / 2 - BATCH_ITEMS_MAX) as u64 + 256);
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
    Drift {
        place: u8,
        bundle: u8,
    },
    /// A request that is shed, beside one that is let through.
    Shed {
        peer: u8,
        bundle: u8,
        shadow: bool,
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
        3 => (any::<u8>(), 0..2_u8).prop_map(|(place, bundle)| Step::Drift { place, bundle }),
        6 => (any::<u8>(), 0..2_u8, any::<bool>())
            .prop_map(|(peer, bundle, shadow)| Step::Shed { peer, bundle, shadow }),
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
    drifted: u64,
    judged: u64,
    shed: u64,
    shed_in_shadow: u64,
    admitted: u64,
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
                    Item::Refused(report) if report.verdict == Verdict::Shed => self.shed += 1,
                    Item::Refused(_) => self.refused += 1,
                    Item::Shed(sheds) if sheds.shadow => self.shed_in_shadow += sheds.count,
                    Item::Shed(sheds) => self.shed += sheds.count,
                    Item::Load(load) => {
                        self.admitted += load.counts.iter().map(|count| count.admitted).sum::<u64>();
                    }
                    Item::Lost(_) => self.lost += item.numbers(),
                    Item::Drifted(drift) => self.drifted += drift.count,
                    Item::Judged(judged) => {
                        self.judged += judged.counts.iter().map(|count| count.count).sum::<u64>()
                    }
                }
            }
            at = end;
        }
    }
}

universal_properties! {
    fn stored_and_lost_are_what_was_refused_and_what_is_counted_is_never_lost(
        steps in prop::collection::vec(step(), 0..400), items in 1..40_usize,
    ) {
        let mut outbox = Outbox::with_bounds(VM, Bounds { items, bytes: 40 * 400 });
        let (mut store, mut refused, mut drifted, mut now_ms) = (Store::default(), 0, 0, NOW_MS);
        let mut shed = [0, 0];
        for step in steps {
            match step {
                Step::Refuse { reason, path_bytes, bundle } => {
                    refused += 1;
                    let path = "a".repeat(path_bytes);
                    outbox.add(BundleDigest([bundle; 32]), reason, || report(&path));
                }
                Step::Drift { place, bundle } => {
                    drifted += 1;
                    drift_at(&mut outbox, BundleDigest([bundle; 32]), &format!("body/{place}x"), now_ms);
                }
                Step::Shed { peer, bundle, shadow } => {
                    shed[usize::from(shadow)] += 1;
                    let bundle = BundleDigest([bundle; 32]);
                    outbox.passed(bundle, OperationIndex(1), Passed::First);
                    shed_at(&mut outbox, bundle, &peer.to_string(), shadow, now_ms);
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
            prop_assert!(outbox.waiting() <= refused + 2 * drifted + 2 * (shed[0] + shed[1]));
        }
        // Long enough for a batch that failed, and for drift that waits for its time.
        let mut idle = 0;
        while idle < 2 {
            now_ms += JUDGED_PERIOD_MS;
            idle += 1;
            if let Some(batch) = next(&mut outbox, now_ms) {
                store.take(&batch);
                outbox.acknowledged(SERVER);
                idle = 0;
            }
        }
        prop_assert_eq!(outbox.waiting(), 0);
        prop_assert_eq!(store.refused + store.lost, refused);
        prop_assert_eq!((store.drifted, store.judged), (drifted, drifted));
        prop_assert_eq!([store.shed, store.shed_in_shadow, store.admitted], [shed[0], shed[1], shed[0] + shed[1]]);
    }
}
