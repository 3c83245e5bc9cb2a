//! Numbers: what is stored, what is repeated, what is lost, and what a server after a crash knows of it.

use super::known::{Busy, Known, VMS_MAX};
use super::names::Names;
use super::{Told, store, tail, tell_of};
use crate::audit::tests::sample;
use crate::bundle::Bundle;
use crate::ledger::{AdminEvent, AppendError, Entries, Entry, Judged, Ledger, Refusal, Side, Verdict};
use crate::telemetry::Metrics;
use palisade_core::call_id::CallIdMint;
use palisade_core::contract::BundleDigest;
use palisade_core::report::{self, Batch, Item, JudgedCount, Report, ServerId, Subject, VmId};
use palisade_core::routes::OperationIndex;
use std::path::Path;

const VM: VmId = VmId([0xab; 16]);
const OURS: ServerId = ServerId([1; 16]);
const OTHERS: ServerId = ServerId([2; 16]);

fn refused(operation: Option<u32>) -> Item {
    Item::Refused(Report {
        call_id: CallIdMint::new([4; 16]).mint(1_763_700_000_000),
        at_ms: 1_763_700_000_001,
        verdict: report::Verdict::Reject,
        retry: false,
        reason: "json_syntax".into(),
        operation: operation.map(OperationIndex),
        subject: Subject::new(b"POST", b"orders", b"/orders?secret", b"2"),
        peer: "spiffe://shop.test/web".to_owned(),
        place: "body/items/0".to_owned(),
    })
}

fn drifted(operation: Option<u32>) -> Item {
    Item::Drifted(report::Drift {
        operation: operation.map(OperationIndex),
        side: report::Side::Response,
        reason: "json_syntax".into(),
        place: "response/body/items/*".to_owned(),
        status: Some(200),
        peer: String::new(),
        count: 4,
        first_at_ms: 1_763_700_000_000,
        last_at_ms: 1_763_700_000_001,
        call_id: CallIdMint::new([4; 16]).mint(1_763_700_000_000),
    })
}

fn lost(count: u64) -> Item {
    Item::Lost(vec![("host_unknown".into(), count)])
}

fn batch(first: u64, acknowledged_by: ServerId, items: Vec<Item>) -> Batch {
    Batch { vm: VM, bundle: BundleDigest([7; 32]), acknowledged_by, sent_at_ms: 0, first, items }
}

/// Of each entry what it tells of: a refusal's number, or a loss from a number and of so many.
fn told(batch: &Batch, next: Option<u64>) -> Vec<(u64, u64)> {
    let number = |told: Told| match told.entry {
        Entry::Refusal(refusal) => (refusal.sequence, 0),
        Entry::Drift(drift) => (drift.sequence, 0),
        Entry::Admin(admin) => match admin.event {
            AdminEvent::ReportsLost { from, count, vm } if vm == VM.to_string() => (from, count),
            event => panic!("{event:?}"),
        },
        entry => panic!("{entry:?}"),
    };
    tell_of(batch, next, OURS, None).into_iter().map(number).collect()
}

#[test]
fn what_was_stored_is_not_stored_again() {
    let items = || vec![refused(None), lost(5), drifted(None), refused(None)];
    let batch = batch(10, OURS, items());
    let all = [(10, 0), (11, 5), (16, 0), (17, 0)];
    assert_eq!(told(&batch, None), all, "a VM that nobody knows is believed");
    assert_eq!(told(&batch, Some(10)), all);
    assert_eq!(told(&batch, Some(11)), all[1..]);
    assert_eq!(
        told(&batch, Some(13)),
        [(13, 3), (16, 0), (17, 0)],
        "of a loss that was told in part, the rest"
    );
    assert_eq!(told(&batch, Some(17)), all[3..]);
    for next in [18, 19, u64::MAX] {
        assert_eq!(told(&batch, Some(next)), []);
    }
}

#[test]
fn a_hole_is_a_loss_where_we_ourselves_acknowledged_what_is_missing() {
    let with = |by| batch(10, by, vec![refused(None)]);
    assert_eq!(told(&with(OURS), Some(7)), [(7, 3), (10, 0)]);
    assert_eq!(told(&with(OTHERS), Some(7)), [(10, 0)], "another server has it");
    assert_eq!(told(&with(ServerId::default()), Some(7)), [(10, 0)]);
    assert_eq!(told(&with(OURS), None), [(10, 0)], "of a VM that was forgotten nothing is claimed");
}

#[test]
fn an_entry_has_all_that_was_reported() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let bundle = Bundle::load(&directory).unwrap_or_else(|problems| panic!("{problems}"));
    let names = Names::of(&bundle.contract);
    let first = bundle.contract.operation(OperationIndex(0)).unwrap();
    let entry = |operation| {
        let told = tell_of(&batch(3, OURS, vec![refused(operation)]), None, OURS, Some(&names));
        match told.into_iter().next().map(|told| told.entry) {
            Some(Entry::Refusal(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    };
    let refusal = entry(Some(0));
    let expected = Refusal {
        call_id: refusal.call_id.clone(),
        at_ms: 1_763_700_000_001,
        verdict: Verdict::Reject,
        reason: "json_syntax".to_owned(),
        place: Some("body/items/0".to_owned()),
        service: first.service.name.to_string(),
        operation: first.operation.name.to_string(),
        method: "POST".to_owned(),
        host: "orders".to_owned(),
        path: "/orders".to_owned(),
        peer: Some("spiffe://shop.test/web".to_owned()),
        attempt: Some(2),
        bundle_digest: "07".repeat(32),
        vm: "ab".repeat(16),
        sequence: 3,
    };
    assert_eq!(refusal, expected);
    let entries =
        |items| tell_of(&batch(3, OURS, items), None, OURS, Some(&names)).into_iter().map(|told| told.entry);
    let judged = |operation| JudgedCount { operation, side: report::Side::Response, count: 9 };
    let counts = vec![judged(Some(OperationIndex(0))), judged(None)];
    let items = vec![drifted(Some(0)), drifted(None), Item::Judged(report::Judged { at_ms: 7, counts })];
    let names_of = |entry| match entry {
        Entry::Drift(drift) => vec![(drift.service, drift.operation, drift.count, drift.sequence)],
        Entry::Judged(Judged { counts, sequence, .. }) => {
            counts.into_iter().map(|count| (count.service, count.operation, count.count, sequence)).collect()
        }
        entry => panic!("{entry:?}"),
    };
    let (service, operation) = (first.service.name.to_string(), first.operation.name.to_string());
    let known = |count, sequence| (service.clone(), operation.clone(), count, sequence);
    let several = |count, sequence| (String::new(), String::new(), count, sequence);
    let found: Vec<_> = entries(items).flat_map(names_of).collect();
    assert_eq!(found, [known(4, 3), several(4, 4), known(9, 5), several(9, 5)]);
    for senseless in [None, Some(1_000_000)] {
        let refusal = entry(senseless);
        assert_eq!((refusal.service.as_str(), refusal.operation.as_str()), ("", ""), "{senseless:?}");
    }
}

#[test]
fn of_one_vm_one_batch_is_stored_at_a_time() {
    let mut known = Known::default();
    assert_eq!(known.begin(VM), Ok(None));
    assert_eq!(known.begin(VM), Err(Busy));
    assert_eq!(known.begin(VmId([1; 16])), Ok(None));
    known.end(VM, Some(5));
    assert_eq!(known.begin(VM), Ok(Some(5)));
    known.end(VM, None);
    assert_eq!(known.begin(VM), Ok(Some(5)), "what failed changes nothing");
}

#[test]
fn those_who_were_silent_for_longest_are_forgotten() {
    let mut known = Known::default();
    let vm = |index: usize| VmId(u128::try_from(index).unwrap().to_be_bytes());
    assert_eq!(known.begin(vm(0)), Ok(None), "it is being stored for all of this test");
    for index in 1..VMS_MAX {
        known.stored(vm(index), 1);
    }
    known.stored(vm(1), 2);
    for index in VMS_MAX..VMS_MAX + 10 {
        assert_eq!(known.begin(vm(index)), Ok(None));
    }
    assert_eq!(known.len(), VMS_MAX);
    assert_eq!(known.begin(vm(0)), Err(Busy));
    assert_eq!(known.begin(vm(1)), Ok(Some(2)));
    assert_eq!(known.begin(vm(2)), Ok(None), "forgotten");
}

async fn stored(ledger: &Ledger, batch: &Batch, next: &mut Option<u64>) -> Result<(), AppendError> {
    store(ledger, tell_of(batch, *next, OURS, None), next, |_entry| {}).await
}

#[tokio::test]
async fn a_server_after_a_crash_knows_what_was_stored() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(directory.path()).unwrap();
    let (mut next, mut none) = (None, None);
    let judged = report::Judged { at_ms: 7, counts: Vec::new() };
    let items = vec![lost(4), refused(None), drifted(None), Item::Judged(judged)];
    stored(&ledger, &batch(0, ServerId::default(), items), &mut next).await.unwrap();
    let tail = Batch { vm: VmId([1; 16]), ..batch(40, OTHERS, vec![lost(9)]) };
    stored(&ledger, &tail, &mut none).await.unwrap();
    assert_eq!(next, Some(7));
    let mut known = tail::read(directory.path(), ledger.entries());
    assert_eq!(known.begin(VM), Ok(Some(7)));
    assert_eq!(known.begin(VmId([1; 16])), Ok(Some(49)));
    let mut known = tail::read(directory.path(), 3);
    assert_eq!(known.begin(VM), Ok(Some(6)), "only what was there when the server started");
    let mut known = tail::read(&directory.path().join("none"), 2);
    assert_eq!(known.begin(VM), Ok(None));
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn what_the_ledger_refuses_comes_again() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(directory.path()).unwrap();
    let mut next = Some(0);
    let large = Item::Lost(vec![("x".repeat(600_000).into(), 1)]);
    let items = vec![refused(None), refused(None), large, refused(None)];
    let error = stored(&ledger, &batch(0, OURS, items), &mut next).await;
    assert!(matches!(error, Err(AppendError::TooLarge { .. })), "{error:?}");
    assert_eq!(next, Some(2), "what stands before it is stored, and nothing after it");
    let again = batch(0, OURS, vec![refused(None); 4]);
    stored(&ledger, &again, &mut next).await.unwrap();
    assert_eq!(next, Some(4));
    let sequences: Vec<u64> = Entries::open(directory.path())
        .unwrap()
        .filter_map(|recorded| match recorded.unwrap().entry {
            Entry::Refusal(refusal) => Some(refusal.sequence),
            _ => None,
        })
        .collect();
    assert_eq!(sequences, [0, 1, 2, 3]);
    ledger.close().await.unwrap();
    let (ledger, _) = Ledger::open(directory.path()).unwrap();
    ledger.clone().close().await.unwrap();
    assert!(stored(&ledger, &again, &mut Some(0)).await.is_err(), "a closed ledger stores nothing");
}

fn metric(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn drift_is_counted_with_labels_that_nobody_can_invent() {
    let metrics = Metrics::default();
    let drift = |reason: &str| crate::ledger::Drift { reason: reason.to_owned(), ..sample::drift("id", 0) };
    for reason in ["json_syntax", "json_syntax", "invented_by_somebody", "other"] {
        metrics.reports.drift.drifted(&drift(reason));
    }
    let counts = vec![crate::ledger::JudgedCount {
        service: "orders".to_owned(),
        operation: "listOrders".to_owned(),
        side: Side::Response,
        count: 100,
    }];
    let (bundle_digest, vm) = Default::default();
    metrics.reports.drift.judged(&Judged { at_ms: 0, counts, bundle_digest, vm, sequence: 0 });
    let text = metrics.render().unwrap();
    let labels = r#"service="orders",operation="listOrders",side="response""#;
    let drifted =
        |reason: &str| metric(&text, &format!("palisade_drift_total{{{labels},reason=\"{reason}\"}}"));
    assert_eq!(
        (drifted("json_syntax"), drifted("other"), drifted("invented_by_somebody")),
        (Some(14), Some(14), None)
    );
    assert_eq!(metric(&text, &format!("palisade_drift_judged_total{{{labels}}}")), Some(100));
    let rows = |side: &str| metric(&text, &format!("palisade_drift_reports_total{{side=\"{side}\"}}"));
    assert_eq!((rows("request"), rows("response")), (Some(0), Some(4)), "both are there from the start");
}
