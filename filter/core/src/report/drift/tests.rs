//! Rows: what is told apart, what is not any more, and that nothing is lost.

use super::{Bounds, DriftKey, DriftTable, OTHER, SEVERAL, general_place};
use crate::call_id::{CallId, CallIdMint};
use crate::contract::BundleDigest;
use crate::limits::{JUDGED_COUNTS_MAX, PLACE_BYTES_MAX};
use crate::reason::Reason;
use crate::report::{Drift, Item, Judged, JudgedCount, Side};
use crate::routes::OperationIndex;
use crate::testing::{universal_properties, universal_test};
use proptest::prelude::*;

const BUNDLE: BundleDigest = BundleDigest([7; 32]);
const KEY: DriftKey<'static> = DriftKey {
    operation: OperationIndex(2),
    side: Side::Response,
    reason: Reason::JsonSyntax,
    place: "response/body/items/3/price",
    status: Some(200),
    peer: "web",
};

fn call(at_ms: u64) -> CallId {
    CallIdMint::new([1; 16]).mint(at_ms)
}

fn taken(table: &mut DriftTable) -> (Vec<Drift>, Vec<Judged>) {
    let (mut rows, mut judged) = (Vec::new(), Vec::new());
    while let Some((_, item)) = table.take(99) {
        match item {
            Item::Drifted(drift) => rows.push(drift),
            Item::Judged(counts) => judged.push(counts),
            Item::Refused(_) | Item::Lost(_) | Item::Shed(_) | Item::Load(_) => panic!("{item:?}"),
        }
    }
    (rows, judged)
}

universal_test! {
    fn numbers_in_places_are_one() {
        for (place, general) in [
            ("", ""),
            ("body", "body"),
            ("body/items/3/price", "body/items/*/price"),
            ("body/0", "body/*"),
            ("response/body/0/12/a1/1a/x", "response/body/*/*/a1/1a/x"),
            ("body/a//9", "body/a//*"),
            ("query/limit", "query/limit"),
            ("body/-1/1.5/٣", "body/-1/1.5/٣"),
            ("7/7", "7/*"),
            ("body/a\u{1b}[31m/4", "body/a\u{fffd}[31m/*"),
        ] {
            assert_eq!(general_place(place), general, "{place}");
            assert_eq!(general_place(general), general, "{general} is general");
        }
        assert!(general_place(&"é".repeat(PLACE_BYTES_MAX)).len() <= PLACE_BYTES_MAX);
    }
}

universal_test! {
    fn one_row_counts_what_is_the_same() {
        let mut table = DriftTable::default();
        assert!(!table.has_drift());
        table.add(BUNDLE, KEY, call(20), 20);
        table.add(BUNDLE, DriftKey { place: "response/body/items/77/price", ..KEY }, call(30), 30);
        table.add(BUNDLE, KEY, call(10), 10);
        assert!(table.has_drift() && !table.is_half_full());
        let expected = Drift {
            operation: Some(OperationIndex(2)),
            side: Side::Response,
            reason: "json_syntax".into(),
            place: "response/body/items/*/price".to_owned(),
            status: Some(200),
            peer: "web".to_owned(),
            count: 3,
            first_at_ms: 10,
            last_at_ms: 30,
            call_id: call(20),
        };
        assert_eq!(taken(&mut table), (vec![expected], Vec::new()), "the clock may be set back");
        assert!(!table.has_drift());
    }
}

universal_test! {
    fn each_part_of_the_key_tells_apart() {
        let mut table = DriftTable::default();
        let keys = [
            KEY,
            DriftKey { operation: OperationIndex(3), ..KEY },
            DriftKey { side: Side::Request, ..KEY },
            DriftKey { reason: Reason::JsonDepth, ..KEY },
            DriftKey { place: "response/body/items/3", ..KEY },
            DriftKey { status: None, ..KEY },
            DriftKey { peer: "", ..KEY },
        ];
        for _ in 0..2 {
            for key in keys {
                table.add(BUNDLE, key, call(1), 1);
            }
            table.add(BundleDigest([8; 32]), KEY, call(1), 1);
        }
        let (rows, _) = taken(&mut table);
        assert_eq!(rows.len(), keys.len() + 1);
        assert!(rows.iter().all(|row| row.count == 2));
    }
}

universal_test! {
    fn invented_places_are_one_row_and_the_total_is_true() {
        let mut table = DriftTable::with_bounds(Bounds { rows: 4, folded: 2, judged: 3 });
        for operation in 0..5 {
            for place in 0..10 {
                let (operation, place) = (OperationIndex(operation), format!("body/key{place}"));
                table.add(BUNDLE, DriftKey { operation, place: &place, ..KEY }, call(1), 1);
            }
        }
        assert!(table.is_half_full());
        let (rows, _) = taken(&mut table);
        let row = |row: &Drift| (row.operation.map(|index| index.0), row.place.clone(), row.count);
        let several = |operation, count| (operation, SEVERAL.to_owned(), count);
        let mut found: Vec<_> = rows.iter().map(row).collect();
        assert_eq!(found.split_off(4), [several(Some(1), 10), several(Some(0), 6), several(None, 30)]);
        assert!(found.iter().all(|(operation, _, count)| (*operation, *count) == (Some(0), 1)));
        let other = rows.last().unwrap();
        assert_eq!((other.reason.as_ref(), other.peer.as_str(), other.status), (OTHER, "", None));
    }
}

universal_test! {
    fn what_was_judged_is_counted_by_operation_and_side() {
        let mut table = DriftTable::with_bounds(Bounds { rows: 4, folded: 2, judged: 3 });
        for operation in [1, 2, 1, 3, 4, 5] {
            table.judged(BUNDLE, OperationIndex(operation), Side::Request);
        }
        table.judged(BUNDLE, OperationIndex(1), Side::Response);
        assert!(!table.has_drift(), "that is none");
        let (_, judged) = taken(&mut table);
        let count = |operation: Option<u32>, side, count| JudgedCount { operation: operation.map(OperationIndex), side, count };
        let named = [(1, 2), (2, 1), (3, 1)].map(|(operation, times)| count(Some(operation), Side::Request, times));
        let others = vec![count(None, Side::Request, 2), count(None, Side::Response, 1)];
        assert_eq!(judged, [Judged { at_ms: 99, counts: named.into() }, Judged { at_ms: 99, counts: others }]);
    }
}

universal_test! {
    fn counts_of_many_operations_are_several_items_of_one_bundle_each() {
        let mut table = DriftTable::default();
        let many = u32::try_from(JUDGED_COUNTS_MAX).unwrap() + 10;
        for operation in 0..many {
            table.judged(BUNDLE, OperationIndex(operation), Side::Request);
        }
        table.judged(BundleDigest([8; 32]), OperationIndex(0), Side::Request);
        let items: Vec<_> = core::iter::from_fn(|| table.take(1)).collect();
        let sizes = items.iter().map(|(bundle, item)| match item {
            Item::Judged(judged) => (*bundle, judged.counts.len()),
            item @ (Item::Refused(_) | Item::Lost(_) | Item::Drifted(_) | Item::Shed(_) | Item::Load(_)) => panic!("{item:?}"),
        });
        assert_eq!(sizes.collect::<Vec<_>>(), [(BUNDLE, JUDGED_COUNTS_MAX), (BUNDLE, 10), (BundleDigest([8; 32]), 1)]);
    }
}

universal_properties! {
    fn nothing_is_lost_and_nothing_grows(
        added in prop::collection::vec((0..9_u32, 0..40_u8, any::<bool>()), 0..300), rows in 0..20_usize, folded in 0..5_usize,
    ) {
        let mut table = DriftTable::with_bounds(Bounds { rows, folded, judged: rows });
        let (mut found, mut judged) = (0, 0);
        for (index, (operation, place, take)) in added.iter().enumerate() {
            let (operation, place) = (OperationIndex(*operation), format!("body/k{place}"));
            let side = if index % 2 == 0 { Side::Request } else { Side::Response };
            table.judged(BUNDLE, operation, side);
            table.add(BUNDLE, DriftKey { operation, side, place: &place, ..KEY }, call(1), 1);
            if *take && let Some((_, Item::Drifted(drift))) = table.take(1) {
                found += drift.count;
            }
            let distinct = table.rows.0.len() + table.folded.0.len();
            prop_assert!(distinct <= rows + folded && table.judged.len() <= rows);
            prop_assert!(table.rows.0.is_sorted_by_key(|row| (row.of.operation, row.of.side, row.of.place.clone())));
        }
        let (left, counts) = taken(&mut table);
        found += left.iter().map(|row| row.count).sum::<u64>();
        judged += counts.iter().flat_map(|counts| &counts.counts).map(|count| count.count).sum::<u64>();
        prop_assert_eq!((found, judged), (added.len() as u64, added.len() as u64));
    }

    fn general_places_stay_what_they_are(place in "(body|query)?(/([0-9]{1,3}|[a-z]{0,3}|\\PC{1,4}|\u{0}))*") {
        let general = general_place(&place);
        prop_assert_eq!(general_place(&general), general.clone());
        prop_assert_eq!(general.split('/').count(), place.split('/').count());
    }
}
