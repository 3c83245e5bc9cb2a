//! Counts of what was let through: each once, and within the bounds.

use super::{Bounds, LoadTable, Passed};
use crate::contract::BundleDigest;
use crate::limits::LOAD_COUNTS_MAX;
use crate::report::{Item, Load, LoadCount, LoadLevel};
use crate::routes::OperationIndex;
use crate::testing::{universal_properties, universal_test};
use proptest::prelude::*;

const BUNDLE: BundleDigest = BundleDigest([7; 32]);
const OTHER_BUNDLE: BundleDigest = BundleDigest([8; 32]);

fn level(operation: u32, limit: u32) -> LoadLevel {
    LoadLevel { operation: OperationIndex(operation), limit, load: 1, retry_tokens: 0 }
}

fn taken(table: &mut LoadTable) -> Vec<(BundleDigest, Load)> {
    core::iter::from_fn(|| table.take(99))
        .map(|(bundle, item)| {
            let Item::Load(load) = item else { panic!("{item:?}") };
            (bundle, load)
        })
        .collect()
}

universal_test! {
    fn what_passed_is_counted_by_operation_and_told_with_the_newest_levels() {
        let mut table = LoadTable::default();
        for (operation, passed) in [(1, Passed::First), (2, Passed::First), (1, Passed::First)] {
            table.add(BUNDLE, OperationIndex(operation), passed);
        }
        assert!(!table.is_troubled() && !table.is_empty());
        table.add(BUNDLE, OperationIndex(2), Passed::Retry);
        table.add(BUNDLE, OperationIndex(2), Passed::Failed);
        assert!(table.is_troubled());
        for (bundle, level) in [(BUNDLE, level(1, 50)), (OTHER_BUNDLE, level(1, 7)), (BUNDLE, level(1, 40))] {
            table.level(bundle, level);
        }
        let count = |operation, admitted, retries, failed| LoadCount {
            operation: Some(OperationIndex(operation)), admitted, retries, failed,
        };
        let load = Load { at_ms: 99, counts: vec![count(1, 2, 0, 0), count(2, 2, 1, 1)], levels: vec![level(1, 40)] };
        assert_eq!(taken(&mut table), [(BUNDLE, load)]);
        assert!(!table.is_troubled() && table.is_empty(), "a level alone is no news");
    }
}

universal_test! {
    fn many_operations_are_several_items_and_the_rest_is_one_count() {
        let mut table = LoadTable::default();
        for operation in 0..LOAD_COUNTS_MAX as u32 + 10 {
            table.add(BUNDLE, OperationIndex(operation), Passed::First);
        }
        table.add(OTHER_BUNDLE, OperationIndex(0), Passed::First);
        let sizes = taken(&mut table).into_iter().map(|(bundle, load)| (bundle, load.counts.len()));
        assert_eq!(sizes.collect::<Vec<_>>(), [(BUNDLE, LOAD_COUNTS_MAX), (BUNDLE, 10), (OTHER_BUNDLE, 1)]);
        let mut table = LoadTable::with_bounds(Bounds { rows: 1, levels: 2 });
        for operation in 1..=4 {
            table.add(BUNDLE, OperationIndex(operation), Passed::Retry);
            table.level(BUNDLE, level(operation, operation));
        }
        let taken = taken(&mut table);
        assert_eq!(taken.len(), 2);
        assert_eq!(taken[0].1.levels, [level(3, 3), level(4, 4)], "the newest");
        let others = LoadCount { operation: None, admitted: 3, retries: 3, failed: 0 };
        assert_eq!(taken[1], (BundleDigest([0; 32]), Load { at_ms: 99, counts: vec![others], levels: Vec::new() }));
    }
}

universal_properties! {
    fn nothing_is_lost(
        added in prop::collection::vec((0..9_u32, 0..3_u8, 0..2_u8, any::<bool>()), 0..300), rows in 0..12_usize,
    ) {
        let mut table = LoadTable::with_bounds(Bounds { rows, levels: 1 });
        let (mut expected, mut found) = ([0, 0, 0], [0, 0, 0]);
        let mut note = |load: &Load| for LoadCount { admitted, retries, failed, .. } in &load.counts {
            found = [found[0] + admitted, found[1] + retries, found[2] + failed];
        };
        for (operation, passed, bundle, take) in &added {
            let passed = [Passed::First, Passed::Retry, Passed::Failed][usize::from(*passed)];
            let more = match passed {
                Passed::First => [1, 0, 0],
                Passed::Retry => [1, 1, 0],
                Passed::Failed => [0, 0, 1],
            };
            expected.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            table.add(BundleDigest([*bundle; 32]), OperationIndex(*operation), passed);
            prop_assert!(table.rows.len() <= rows);
            if *take && let Some((_, Item::Load(load))) = table.take(1) {
                note(&load);
            }
        }
        taken(&mut table).iter().for_each(|(_, load)| note(load));
        prop_assert_eq!(expected, found);
    }
}
