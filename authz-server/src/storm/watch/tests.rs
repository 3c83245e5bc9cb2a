//! What is seen as the present, whose it is, and when it was.

use super::*;
use crate::audit::tests::sample;
use crate::bundle::format::FailMode;
use crate::check::Decision;
use crate::ledger::{Durability, LoadLevel};
use palisade_core::call_id::CallIdMint;

fn concluded(handoff: HandoffState, record: crate::ledger::Decision) -> Concluded {
    Concluded {
        decision: Decision::Allow,
        call_id: CallIdMint::new([9; 16]).mint(0),
        handoff,
        record,
        shadow: None,
        comparison: None,
        awaits: None,
        durability: Durability::Durable,
        advice: None,
        fail_mode: FailMode::Closed,
        failed_open: None,
        stages: None,
        is_retry: true,
    }
}

#[test]
fn a_decision_waits_for_no_look_and_no_view() {
    let watch = StormWatch::default();
    let looking = (locked(&watch.0.known), locked(&watch.0.levels));
    watch.decided(&concluded(HandoffState::Current, sample::decision("id", 0)));
    drop(looking);
    assert_eq!(watch.unlooked(), 1);
}

#[test]
fn a_caller_is_named_where_a_handoff_proves_them_or_none_is_required() {
    const WEB: &str = "spiffe://shop.example/web";
    for (handoff, expected) in [
        (HandoffState::Current, WEB),
        (HandoffState::PreviousSecret, WEB),
        (HandoffState::PreviousBundle, WEB),
        (HandoffState::NotRequired, WEB),
        (HandoffState::Missing, UNKNOWN),
        (HandoffState::Forged, UNKNOWN),
        (HandoffState::Stale, UNKNOWN),
        (HandoffState::UnknownVersion, UNKNOWN),
        (HandoffState::BundleUnknown, UNKNOWN),
        (HandoffState::Mismatch, UNKNOWN),
    ] {
        let mut record = sample::decision("id", 0);
        record.workload = Some(WEB.to_owned());
        let watch = StormWatch::default();
        watch.decided(&concluded(handoff, record));
        let fresh = locked(&watch.0.fresh);
        let callers: Vec<_> = fresh.flows.values().map(|flow| &*flow.caller).collect();
        assert_eq!(callers, [expected], "{handoff:?}");
    }
}

/// What a filter tells of 1,000 sheds between two times, so long ago: what is seen of it as the present.
#[track_caller]
fn check_late(first_ago_ms: u64, last_ago_ms: u64, expected: u64) {
    let metrics = Metrics::default();
    let now = metrics.storms.now();
    let between = (now.epoch_ms.saturating_sub(first_ago_ms), now.epoch_ms.saturating_sub(last_ago_ms));
    let (service, operation, reason) = ("orders", "listOrders", "shed_retry");
    let shed = Shed { service, operation, reason, retry: true, shadow: false, count: 1_000 };
    metrics.storms.shed(Some("web"), &shed, between, (now, &metrics));
    let seen = {
        let fresh = locked(&metrics.storms.0.fresh);
        assert_eq!(fresh.sheds.values().sum::<u64>(), expected);
        fresh.flows.values().map(|flow| flow.counts.sheds).sum::<u64>()
    };
    assert_eq!(seen, expected);
    // Late or not, each of them is counted once.
    let findings = metrics.storms.look(now, &metrics);
    assert_eq!(findings, []);
    let text = metrics.render().unwrap();
    let attempts = r#"palisade_attempts_total{service="orders",operation="listOrders",attempt="retry"} 1000"#;
    assert!(text.contains(attempts), "{text}");
    let sheds = r#"reason="shed_retry",mode="enforce"} 1000"#;
    assert!(text.contains(sheds), "{text}");
}

#[test]
fn only_what_came_lately_is_a_sign_of_the_present() {
    check_late(5_000, 0, 1_000);
    check_late(FADE_MS, 1_000, 1_000);
    check_late(60_000, FADE_MS, 0);
    check_late(3_600_000, 1_800_000, 0);
    // A tenth of it.
    check_late(FADE_MS * 10, 0, 100);
    check_late(FADE_MS * 10 + FADE_MS / 2, FADE_MS / 2, 50);
}

#[test]
fn how_shedders_stood_long_ago_is_not_how_they_stand() {
    let metrics = Metrics::default();
    let load = |at_ms, limit| Load {
        at_ms,
        counts: Vec::new(),
        levels: vec![LoadLevel { service: "orders".to_owned(), limit, load: 1, retry_tokens: 1 }],
        bundle_digest: String::new(),
        vm: "a".to_owned(),
        sequence: 0,
    };
    let limit = || metrics.storms.view(1).services.first().map(|service| service.limit);
    metrics.storms.load(&load(now_ms() - 600_000, 7), &metrics);
    assert_eq!(limit(), None);
    metrics.storms.load(&load(now_ms(), 9), &metrics);
    assert_eq!(limit(), Some(9));
}

#[test]
fn times_are_told_by_the_clock_as_it_goes_now() {
    const DAY_MS: u64 = 86_400_000;
    // The server began at noon by a clock that was set an hour forward since.
    let now = Now { ms: 60_000, epoch_ms: DAY_MS + 3_600_000 };
    for (ms, expected) in [(60_000, now.epoch_ms), (50_000, now.epoch_ms - 10_000), (70_000, now.epoch_ms)] {
        assert_eq!(now.told(ms), expected);
    }
    assert_eq!(Now { ms: 5, epoch_ms: 0 }.told(0), 0);
}

#[test]
fn a_storm_is_told_with_the_time_at_which_it_began() {
    let metrics = Metrics::default();
    let flow = Flow { caller: "web", service: "orders", operation: "listOrders" };
    let mut told = Vec::new();
    for second in 0..60 {
        if second < 5 {
            locked(&metrics.storms.0.fresh).observe(flow, Counts { firsts: 100, retries: 300, sheds: 0 });
        }
        // The clock of the day is set back by an hour in the third second, and is then behind by a part of one.
        let hour_ms = if second < 3 { 3_600_000 } else { 7 };
        let now = Now { ms: second * 1_000, epoch_ms: 90_000_000 + hour_ms + second * 1_000 };
        told.extend(metrics.storms.look(now, &metrics));
    }
    let [Finding::Begins(begun), Finding::Ends(ended)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((begun.since_ms, begun.duration_ms), (90_000_007, 3_000));
    assert_eq!(ended.since_ms, begun.since_ms);
    assert!(metrics.storms.0.known.lock().unwrap().began.is_empty());
}
