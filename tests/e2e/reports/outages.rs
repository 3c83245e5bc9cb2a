//! Servers that are killed, hang and stay away; configurations that change meanwhile.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use palisade::ledger::{Entry, Follow};
use tests::binaries;
use tests::deadline::{eventually, poll};
use tests::raw_client::RawConnection;
use tests::rig::{BundleUnderTest, Rig, START_TIMEOUT, Target, admin};

use super::{AFTER_AN_OUTAGE, SOON, Told, all_told, flood, metric, refused, size};
use crate::handoff::copy_dir;

/// `PALISADE_REPORTS` and `PALISADE_REPORT_KILLS` make it more.
const REPORTS: usize = 6_000;
const KILLS: usize = 3;

/// How many refusals may be on their way at once: fewer than one VM keeps, whichever VM gets them.
const ON_THEIR_WAY: usize = 3_000;

const CALLERS: usize = 4;

#[test]
fn a_killed_server_loses_nothing_and_stores_nothing_twice() {
    let (reports, kills) = (size("PALISADE_REPORTS", REPORTS), size("PALISADE_REPORT_KILLS", KILLS));
    let mut rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    let (sent, stored) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (sent, stored) = (&sent, &stored);
    let (host, addr) = (rig.profile.value("host").to_owned(), rig.addr());
    let host = host.as_str();
    let mut killed = 0;
    let ids: BTreeSet<String> = std::thread::scope(|scope| {
        let call = move || {
            let mut connection = RawConnection::open(addr).expect("connect to the listener");
            let mut ids = Vec::new();
            while sent.fetch_add(1, Ordering::SeqCst) < reports {
                let behind = || sent.load(Ordering::SeqCst).saturating_sub(stored.load(Ordering::SeqCst));
                let has_room = poll(AFTER_AN_OUTAGE, || (behind() < ON_THEIR_WAY).then_some(()));
                assert!(has_room.is_some(), "reports do not arrive: {} are on their way", behind());
                ids.push(refused(&mut connection, host));
            }
            ids
        };
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
        let mut follow = Follow::from_start(&rig.ledger_dir());
        while stored.load(Ordering::SeqCst) < reports {
            let now = sent.load(Ordering::SeqCst);
            if killed < kills && now > (killed + 1) * reports / (kills + 1) {
                rig.server.kill();
                rig.server.restart();
                rig.wait_until_server_is_ready();
                // What a crash leaves unfinished is cut off, and whoever read on begins again.
                follow = Follow::from_start(&rig.ledger_dir());
                stored.store(0, Ordering::SeqCst);
                killed += 1;
            }
            let more = poll(AFTER_AN_OUTAGE, || {
                let count = refusals(&mut follow);
                (count > 0).then_some(count)
            });
            let Some(more) = more else { break };
            stored.fetch_add(more, Ordering::SeqCst);
        }
        callers.into_iter().flat_map(|caller| caller.join().expect("a caller")).collect()
    });
    let told = all_told(&rig, &ids, AFTER_AN_OUTAGE);
    let vms = told.assert_without_holes();
    let lost = told.lost();
    println!(
        "{} refusals of {vms} VMs, {killed} kills: {} stored, {lost} lost, none twice",
        ids.len(),
        told.refusals.len()
    );
    assert!(ids.len() >= reports && killed >= kills, "below the floor");
    assert_eq!(lost, 0);
}

/// How many refusals were recorded since the last look.
fn refusals(follow: &mut Follow) -> usize {
    let polled = follow.poll().expect("read the ledger");
    polled.iter().filter(|recorded| matches!(recorded.entry, Entry::Refusal(_))).count()
}

#[test]
fn an_overflow_is_counted_exactly() {
    let count = (size("PALISADE_REPORTS", REPORTS) / 4).max(12_000);
    let mut rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    let before = flood(&rig, 10, 2);
    all_told(&rig, &before, SOON);
    rig.server.kill();
    let refused = flood(&rig, count, CALLERS);
    rig.server.restart();
    rig.wait_until_server_is_ready();
    let all = count as u64 + 10;
    let told = eventually("stored and lost are what was refused", AFTER_AN_OUTAGE, || {
        let told = Told::of(&rig);
        (told.refusals.len() as u64 + told.lost() >= all).then_some(told)
    });
    let (stored, lost) = (told.refusals.len() as u64, told.lost());
    let vms = told.assert_without_holes();
    println!("{all} refusals of {vms} VMs, above what they keep: {stored} stored, {lost} lost");
    assert_eq!(stored + lost, all);
    assert!(lost >= all - 10 - 2 * 4096 && stored > 4096, "two workers keep 4096 each");
    assert!(told.call_ids().is_subset(&refused.union(&before).cloned().collect()));
    assert_eq!(told.call_ids().len() as u64, stored, "none twice");
    assert_eq!(metric(&rig, "palisade_reports_lost_total"), lost);
    assert!(rig.server.log().contains("reports of a filter were lost"));
    let details = rig.ledger_entries().into_iter().find_map(|entry| match entry {
        Entry::Admin(admin) if admin.detail.starts_with("the filter's queue was full") => Some(admin.detail),
        _ => None,
    });
    assert!(details.expect("a loss is an entry").contains("operation_unknown "));
    // And it goes on as before.
    let after = flood(&rig, 10, 2);
    eventually("later ones are stored", AFTER_AN_OUTAGE, || {
        after.is_subset(&Told::of(&rig).call_ids()).then_some(())
    });
    Told::of(&rig).assert_without_holes();
}

/// A batch under way hangs for seconds with the server. No caller may notice.
#[test]
fn no_refusal_waits_for_a_report() {
    const LONGEST: Duration = Duration::from_secs(1);
    /// Beyond the proxy's timeout for a batch.
    const HANGS: Duration = Duration::from_secs(7);
    let mut rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    rig.server.pause();
    let mut connection = RawConnection::open(rig.addr()).expect("connect to the listener");
    let (began, mut slowest, mut ids) = (Instant::now(), Duration::ZERO, BTreeSet::new());
    let mut call = || {
        let sent = Instant::now();
        ids.insert(refused(&mut connection, rig.profile.value("host")));
        slowest = slowest.max(sent.elapsed());
    };
    // More than half of what one VM keeps, and then no more than it keeps: one call in each interval of the poll.
    (0..2_500).for_each(|_| call());
    let hung = poll(2 * HANGS, || {
        call();
        (began.elapsed() > HANGS).then_some(())
    });
    assert!(hung.is_some());
    rig.server.resume();
    println!(
        "{} refusals while the server hung for {HANGS:?}, the slowest answered within {slowest:?}",
        ids.len()
    );
    assert!(slowest < LONGEST, "{slowest:?}");
    let told = all_told(&rig, &ids, AFTER_AN_OUTAGE);
    told.assert_without_holes();
    assert_eq!(told.lost(), 0);
}

/// Puts another bundle into the file that extension discovery reads; its digest.
fn put_in_force(rig: &Rig, bundle: &Path) -> String {
    let out = tempfile::tempdir().expect("make a directory");
    let mut build = Command::new(binaries::palisade());
    build.arg("build").arg(bundle).args(["--target", "sidecar", "--out"]).arg(out.path());
    build.arg("--listen").arg(rig.addr().to_string()).arg("--server").arg(rig.server_addr().to_string());
    build.arg("--filter").arg(binaries::filter());
    for (service, spy) in &rig.spies {
        build.args(["--upstream", &format!("{service}={}", spy.addr())]);
    }
    let output = build.output().expect("run palisade build");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let digest = match palisade::bundle::Bundle::load(bundle) {
        Ok(bundle) => bundle.digest.to_string(),
        Err(problems) => panic!("{problems}"),
    };
    let file = rig.dir().join("out/ecds.yaml");
    let unfinished = file.with_extension("unfinished");
    std::fs::copy(out.path().join("ecds.yaml"), &unfinished).expect("copy an extension");
    std::fs::rename(&unfinished, &file).expect("put an extension in place");
    eventually("the proxy has the other bundle", START_TIMEOUT, || {
        let dump = admin(rig.envoy_admin(), "/config_dump?resource=ecds_filters")?;
        String::from_utf8_lossy(&dump.body).contains(&digest).then_some(())
    });
    digest
}

#[test]
fn another_configuration_takes_over_what_waits() {
    let mut rig = Rig::start(Target::Istio, BundleUnderTest::Demo);
    let mut ids = flood(&rig, 10, 2);
    all_told(&rig, &ids, SOON);
    rig.server.kill();
    ids.extend(flood(&rig, 300, CALLERS));
    let other = tempfile::tempdir().expect("make a directory");
    copy_dir(&binaries::workspace_dir().join("policies"), other.path());
    let settings = other.path().join("palisade.yaml");
    let text = std::fs::read_to_string(&settings).expect("read the settings");
    std::fs::write(&settings, format!("{text}\n# Another bundle.\n")).expect("write the settings");
    let digest = put_in_force(&rig, other.path());
    ids.extend(flood(&rig, 300, CALLERS));
    rig.server.restart();
    rig.wait_until_server_is_ready();
    let told = all_told(&rig, &ids, AFTER_AN_OUTAGE);
    let vms = told.assert_without_holes();
    let by_the_other = told.refusals.iter().filter(|refusal| refusal.bundle_digest == digest).count();
    println!(
        "{} refusals of {vms} VMs, {by_the_other} by the second configuration, {} lost",
        ids.len(),
        told.lost()
    );
    assert_eq!(by_the_other, 300);
    assert!(vms <= 2, "the workers' VMs are the same ones");
    assert_eq!(told.lost(), 0);
}
