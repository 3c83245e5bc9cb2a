//! Rows: what is told apart, what is not any more, and that nothing is lost.

use super::{Bounds, ShedKey, ShedTable};
use crate::call_id::{CallId, CallIdMint};
use crate::contract::BundleDigest;
use crate::limits::{PLACE_BYTES_MAX, REPORT_TEXT_BYTES_MAX, SHEDS_TOLD_PER_S_MAX};
use crate::reason::Reason;
use crate::report::{Item, OTHER, SEVERAL, Sheds, Subject, Verdict};
use crate::routes::OperationIndex;
use crate::testing::{universal_properties, universal_test};
use proptest::prelude::*;

const BUNDLE: BundleDigest = BundleDigest([7; 32]);
const KEY: ShedKey<'static> = ShedKey {
    operation: OperationIndex(2),
    reason: Reason::RateLimited,
    peer: "web",
    retry: false,
    shadow: false,
    limit: "per-caller",
};

fn call(at_ms: u64) -> CallId {
    CallIdMint::new([1; 16]).mint(at_ms)
}

fn taken(table: &mut ShedTable) -> Vec<Sheds> {
    core::iter::from_fn(|| table.take())
        .map(|(_, item)| {
            let Item::Shed(sheds) = item else { panic!("{item:?}") };
            sheds
        })
        .collect()
}

universal_test! {
    fn one_row_counts_what_is_the_same_and_each_part_of_the_key_tells_apart() {
        let mut table = ShedTable::default();
        let keys = [
            KEY,
            ShedKey { operation: OperationIndex(3), ..KEY },
            ShedKey { reason: Reason::ShedLoad, ..KEY },
            ShedKey { peer: "", ..KEY },
            ShedKey { retry: true, ..KEY },
            ShedKey { shadow: true, ..KEY },
            ShedKey { limit: "", ..KEY },
        ];
        assert!(table.is_empty());
        for at_ms in [20, 30, 10] {
            for key in keys {
                table.add(BUNDLE, key, call(at_ms), at_ms);
            }
            table.add(BundleDigest([8; 32]), KEY, call(at_ms), at_ms);
        }
        assert!(!table.is_empty() && !table.is_half_full());
        let rows = taken(&mut table);
        assert_eq!(rows.len(), keys.len() + 1);
        let times = |row: &Sheds| (row.count, row.first_at_ms, row.last_at_ms, row.call_id);
        assert!(rows.iter().all(|row| times(row) == (3, 10, 30, call(20))), "the clock may be set back: {rows:?}");
        assert!(table.is_empty());
    }
}

universal_test! {
    fn many_callers_are_one_row_and_the_total_is_true() {
        let mut table = ShedTable::with_bounds(Bounds { rows: 4, folded: 2 });
        for operation in 0..4 {
            for peer in 0..10 {
                let key = ShedKey { operation: OperationIndex(operation), peer: &format!("caller{peer}"), ..KEY };
                table.add(BUNDLE, key, call(1), 1);
                table.add(BUNDLE, ShedKey { retry: true, shadow: true, ..key }, call(1), 1);
            }
        }
        assert!(table.is_half_full());
        let rows = taken(&mut table);
        let row = |row: &Sheds| (row.operation.map(|index| index.0), row.peer.clone(), row.retry, row.count);
        let mut found: Vec<_> = rows.iter().map(row).collect();
        let several = |operation, retry, count| (operation, SEVERAL.to_owned(), retry, count);
        let folded = [several(Some(0), true, 8), several(Some(0), false, 8), several(None, false, 30), several(None, true, 30)];
        assert_eq!(found.split_off(4), folded);
        assert!(found.iter().all(|(operation, _, _, count)| (*operation, *count) == (Some(0), 1)));
        let other = rows.last().unwrap();
        assert_eq!((other.reason.as_ref(), other.limit.as_str(), other.shadow), (OTHER, "", true));
    }
}

universal_test! {
    fn so_many_a_second_are_told_by_themselves_whatever_the_clock_does() {
        let mut table = ShedTable::default();
        for now_ms in [5_000, 5_999, 6_000, 4_000, u64::MAX] {
            let expected = if now_ms == 5_999 { 0 } else { SHEDS_TOLD_PER_S_MAX as usize };
            assert_eq!((0..100).filter(|_| table.may_tell(now_ms)).count(), expected, "{now_ms}");
        }
    }
}

universal_test! {
    fn a_report_is_bounded_and_names_the_limit() {
        let report = KEY.report(call(9), 9, Subject::default());
        assert_eq!((report.verdict, report.reason.as_ref()), (Verdict::Shed, "rate_limited"));
        assert_eq!((report.place.as_str(), report.retry), ("limits/per-caller", false));
        let long = "\u{9b}é".repeat(1_000);
        let key = ShedKey { peer: &long, limit: &long, retry: true, ..KEY };
        let report = key.report(call(9), 9, Subject::default());
        assert!(report.peer.len() <= REPORT_TEXT_BYTES_MAX && report.place.len() <= PLACE_BYTES_MAX && report.retry);
        assert_eq!(ShedKey { limit: "", ..KEY }.report(call(9), 9, Subject::default()).place, "");
    }
}

universal_properties! {
    fn nothing_is_lost_and_nothing_grows(
        added in prop::collection::vec((0..9_u32, 0..40_u8, any::<bool>(), any::<bool>()), 0..300),
        rows in 0..20_usize, folded in 0..5_usize,
    ) {
        let mut table = ShedTable::with_bounds(Bounds { rows, folded });
        let mut found = [0, 0];
        for (operation, peer, shadow, take) in &added {
            let key = ShedKey { operation: OperationIndex(*operation), peer: &peer.to_string(), shadow: *shadow, ..KEY };
            table.add(BUNDLE, key, call(1), 1);
            if *take && let Some((_, Item::Shed(sheds))) = table.take() {
                found[usize::from(sheds.shadow)] += sheds.count;
            }
            prop_assert!(table.rows.0.len() <= rows && table.folded.0.len() <= folded);
        }
        for sheds in taken(&mut table) {
            found[usize::from(sheds.shadow)] += sheds.count;
        }
        let shadow = added.iter().filter(|(_, _, shadow, _)| *shadow).count() as u64;
        prop_assert_eq!(found, [added.len() as u64 - shadow, shadow]);
    }
}
