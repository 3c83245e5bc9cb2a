//! What a queue tells of sheds and of load, and when.

use super::queue::{add, next};
use super::{BUNDLE, NOW_MS, SERVER, VM};
use crate::call_id::CallIdMint;
use crate::contract::BundleDigest;
use crate::limits::{
    LOAD_CALM_PERIOD_MS, LOAD_PERIOD_MS, QUEUE_ITEMS_MAX, SHED_PERIOD_MS, SHEDS_TOLD_PER_S_MAX,
};
use crate::reason::Reason;
use crate::report::{Item, LoadLevel, Outbox, Passed, ShedKey, Subject, Verdict};
use crate::routes::OperationIndex;
use crate::testing::universal_test;

pub(super) fn shed_at(outbox: &mut Outbox, bundle: BundleDigest, peer: &str, shadow: bool, now_ms: u64) {
    let (operation, reason) = (OperationIndex(1), Reason::ShedLoad);
    let key = ShedKey { operation, reason, peer, retry: true, shadow, limit: "" };
    let call_id = CallIdMint::new([4; 16]).mint(now_ms);
    outbox.shed(bundle, key, call_id, now_ms, || Subject::new(b"GET", b"orders", b"/orders?q", b"2"));
}

/// How many sheds the next batch tells of one by one, and in which counts.
fn sheds(outbox: &mut Outbox, now_ms: u64) -> Option<(usize, Vec<u64>)> {
    let batch = next(outbox, now_ms)?;
    let by_itself = |item: &&Item| matches!(item, Item::Refused(report) if report.verdict == Verdict::Shed && report.retry);
    let count = |item: &Item| if let Item::Shed(sheds) = item { Some(sheds.count) } else { None };
    Some((batch.items.iter().filter(by_itself).count(), batch.items.iter().filter_map(count).collect()))
}

universal_test! {
    fn the_first_sheds_of_a_second_are_told_by_themselves_and_the_others_in_counts() {
        let told = SHEDS_TOLD_PER_S_MAX as usize;
        let mut outbox = Outbox::new(VM);
        let flood = |outbox: &mut Outbox, at_ms| (0..1_000).for_each(|_| shed_at(outbox, BUNDLE, "web", false, at_ms));
        flood(&mut outbox, NOW_MS);
        assert_eq!(sheds(&mut outbox, NOW_MS), Some((told, vec![1_000 - told as u64])), "the first at once");
        outbox.acknowledged(SERVER);
        for second in 1..=5 {
            flood(&mut outbox, NOW_MS + second * 1_000);
        }
        assert_eq!(sheds(&mut outbox, NOW_MS + SHED_PERIOD_MS - 1), Some((5 * told, vec![])));
        outbox.acknowledged(SERVER);
        assert_eq!(sheds(&mut outbox, NOW_MS + SHED_PERIOD_MS), Some((0, vec![5 * (1_000 - told as u64)])));
        outbox.acknowledged(SERVER);
        let later_ms = NOW_MS + 2 * SHED_PERIOD_MS;
        (0..3).for_each(|_| shed_at(&mut outbox, BUNDLE, "web", true, later_ms));
        assert_eq!(sheds(&mut outbox, later_ms), Some((0, vec![3])), "in shadow none is told by itself");
    }
}

universal_test! {
    fn a_flood_of_sheds_is_never_lost_and_leaves_room_for_refusals() {
        let mut outbox = Outbox::new(VM);
        for second in 0..1_000 {
            let at_ms = NOW_MS + second * 1_000;
            (0..20).for_each(|_| shed_at(&mut outbox, BUNDLE, "web", false, at_ms));
        }
        assert_eq!(outbox.waiting(), (QUEUE_ITEMS_MAX / 2) as u64, "half of it, and no more");
        add(&mut outbox, Reason::HostUnknown, "/");
        let (mut shed, mut now_ms) = (0, NOW_MS + 1_000_000);
        while let Some((told, counts)) = sheds(&mut outbox, now_ms) {
            shed += told as u64 + counts.iter().sum::<u64>();
            outbox.acknowledged(SERVER);
            now_ms += SHED_PERIOD_MS;
        }
        assert_eq!((shed, outbox.waiting()), (20_000, 0));
    }
}

universal_test! {
    fn load_is_told_seldom_while_all_is_well_and_with_the_level_that_was_said_last() {
        let mut outbox = Outbox::new(VM);
        let operation = OperationIndex(1);
        let told = |outbox: &mut Outbox, at_ms, passed, limit| {
            outbox.passed(BUNDLE, operation, passed);
            outbox.level(BUNDLE, LoadLevel { operation, limit, load: 3, retry_tokens: 10 });
            let batch = next(outbox, at_ms)?;
            outbox.acknowledged(SERVER);
            let [Item::Load(load)] = batch.items.as_slice() else { panic!("{batch:?}") };
            Some((load.counts[0].admitted, load.counts[0].retries, load.levels[0].limit))
        };
        assert_eq!(told(&mut outbox, NOW_MS, Passed::First, 50), Some((1, 0, 50)));
        assert_eq!(told(&mut outbox, NOW_MS + LOAD_PERIOD_MS, Passed::First, 51), None);
        assert_eq!(told(&mut outbox, NOW_MS + LOAD_PERIOD_MS + 1, Passed::Retry, 20), Some((2, 1, 20)), "news");
        outbox.level(BUNDLE, LoadLevel { operation, limit: 9, load: 0, retry_tokens: 0 });
        assert_eq!(next(&mut outbox, NOW_MS + 2 * LOAD_CALM_PERIOD_MS), None, "a level alone is none");
    }
}
