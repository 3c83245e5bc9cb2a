//! Only a filter that holds the secret is believed, and only once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use palisade_core::call_id::CallIdMint;
use palisade_core::contract::BundleDigest;
use palisade_core::handoff::Secret;
use palisade_core::reason::Reason;
use palisade_core::report::{Batch, Item, Report, ServerId, Subject, Verdict, VmId};
use tests::deadline::eventually;
use tests::reporter::submit;
use tests::rig::{BundleUnderTest, Options, Rig, Target, random_hex};
use tonic::Code;

use super::{SOON, Told, flood, metric};

pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    u64::try_from(now.as_millis()).expect("the clock is before the year 584 million")
}

fn batch(first: u64, count: u64, acknowledged_by: ServerId) -> Batch {
    let mut mint = CallIdMint::new([5; 16]);
    let report = |_| {
        Item::Refused(Report {
            call_id: mint.mint(now_ms()),
            at_ms: now_ms(),
            verdict: Verdict::Reject,
            retry: false,
            reason: Reason::HostUnknown.code().into(),
            operation: None,
            subject: Subject::new(b"GET", b"nobody", b"/", b""),
            peer: String::new(),
            place: String::new(),
        })
    };
    Batch {
        vm: VmId([0x5a; 16]),
        bundle: BundleDigest([1; 32]),
        acknowledged_by,
        sent_at_ms: now_ms(),
        first,
        items: (0..count).map(report).collect(),
    }
}

fn signed(batch: &Batch, secret: &str) -> Vec<u8> {
    batch.encode(&Secret::parse(secret).expect("a secret")).expect("a batch")
}

#[test]
fn a_forged_batch_changes_nothing_and_is_counted() {
    let rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    let genuine = batch(0, 3, ServerId::default());
    let server = submit(rig.server_addr(), &signed(&genuine, rig.secret())).expect("it is acknowledged");
    assert_eq!(Told::of(&rig).refusals.len(), 3);
    let refused = |bytes: &[u8], code: Code, cause: &str| {
        let name = format!("palisade_report_batches_not_taken_total{{cause=\"{cause}\"}}");
        let before = metric(&rig, &name);
        assert_eq!(submit(rig.server_addr(), bytes), Err(code), "{cause}");
        assert_eq!(metric(&rig, &name), before + 1, "{cause}");
    };
    let next = batch(3, 3, server);
    refused(&signed(&next, &random_hex()), Code::PermissionDenied, "forged");
    let mut changed = signed(&next, rig.secret());
    changed[60] ^= 1;
    refused(&changed, Code::PermissionDenied, "forged");
    let old = Batch { sent_at_ms: now_ms() - 60 * 60 * 1000, ..next.clone() };
    refused(&signed(&old, rig.secret()), Code::FailedPrecondition, "stale");
    refused(&[9; 200], Code::Unimplemented, "malformed");
    refused(&[4; 200], Code::Unimplemented, "malformed");
    refused(&[], Code::InvalidArgument, "malformed");
    refused(&[1; 65_540], Code::InvalidArgument, "malformed");
    // What cannot be a batch is not even read.
    assert_eq!(submit(rig.server_addr(), &[1; 70_000]), Err(Code::OutOfRange));
    assert_eq!(Told::of(&rig).refusals.len(), 3);
    assert!(rig.server.log().contains("reports of a filter were not taken"));
    // The genuine one is stored all the same.
    submit(rig.server_addr(), &signed(&next, rig.secret())).expect("it is acknowledged");
    assert_eq!(Told::of(&rig).assert_without_holes(), 1);
}

#[test]
fn what_was_stored_before_a_crash_is_not_stored_again() {
    let mut rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    let genuine = batch(0, 5, ServerId::default());
    let bytes = signed(&genuine, rig.secret());
    let server = submit(rig.server_addr(), &bytes).expect("it is acknowledged");
    assert_eq!(submit(rig.server_addr(), &bytes), Ok(server), "and again, because nobody heard");
    assert_eq!(metric(&rig, "palisade_reports_repeated_total"), 5);
    rig.server.kill();
    rig.server.restart();
    rig.wait_until_server_is_ready();
    let again = eventually("the server knows what it has", SOON, || submit(rig.server_addr(), &bytes).ok());
    assert_eq!(again, server, "it is the same server");
    let told = Told::of(&rig);
    assert_eq!((told.refusals.len(), told.lost()), (5, 0));
    // It acknowledged 5 to 8, so the filter says, and it does not have them.
    submit(rig.server_addr(), &signed(&batch(9, 1, server), rig.secret())).expect("it is acknowledged");
    assert_eq!(Told::of(&rig).lost, [("5a".repeat(16), 5, 4)]);
    // Those before 20 another server has.
    submit(rig.server_addr(), &signed(&batch(20, 1, ServerId([9; 16])), rig.secret()))
        .expect("it is acknowledged");
    assert_eq!(Told::of(&rig).lost.len(), 1);
}

#[test]
fn a_filter_with_another_secret_reports_in_vain() {
    let options = Options::default().unready().envoy_secret(&random_hex());
    let mut rig = Rig::start_with(Target::Envoy, BundleUnderTest::Demo, options);
    rig.wait_until_server_is_ready();
    rig.wait_until_envoy_is_ready();
    flood(&rig, 20, 2);
    eventually("the server counts it", SOON + Duration::from_secs(5), || {
        (metric(&rig, "palisade_report_batches_not_taken_total{cause=\"forged\"}") > 0).then_some(())
    });
    eventually("the filter says so", SOON, || {
        rig.envoy.log().contains("the server did not take reports (status 7)").then_some(())
    });
    assert_eq!(Told::of(&rig).refusals.len(), 0);
}
