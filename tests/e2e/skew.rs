//! A rollout of a bundle, in both orders: the server first denies nobody, the filter first is denied and named.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tests::binaries::workspace_dir;
use tests::deadline::eventually;
use tests::raw_client::Outcome;
use tests::rig::{BundleUnderTest, LEDGER_TIMEOUT, Options, Rig, START_TIMEOUT, Target};

use crate::handoff::copy_dir;

const REQUESTS: usize = 5;

/// Two versions of the second bundle, which differ in a comment: enough for another digest.
struct Versions {
    dir: TempDir,
}

impl Versions {
    fn make() -> Self {
        let versions = Self { dir: tempfile::tempdir().expect("make a directory for two bundles") };
        for version in [versions.older(), versions.newer()] {
            copy_dir(&workspace_dir().join("tests/bundles/second"), &version);
        }
        let file = versions.newer().join("palisade.yaml");
        let mut text = std::fs::read_to_string(&file).expect("read the settings");
        writeln!(text, "# One line more is another bundle.").expect("write to a string");
        std::fs::write(&file, text).expect("write the settings");
        versions
    }

    fn older(&self) -> PathBuf {
        self.dir.path().join("old")
    }

    fn newer(&self) -> PathBuf {
        self.dir.path().join("new")
    }
}

/// The server starts again with another bundle; the proxy stays as it is.
fn roll_out_to_server(rig: &mut Rig, bundle: &Path) {
    rig.server.relaunch_with(|launch| {
        let at = launch.args.iter().position(|arg| arg == "--bundle").expect("the server is given a bundle");
        launch.args[at + 1] = bundle.into();
    });
    rig.server.restart();
    rig.wait_until_server_is_ready();
    // Envoy's connection to the server comes back by itself; until then it refuses without a reason.
    eventually("Envoy reaches the server again", START_TIMEOUT, || match rig.send(rig.read_request()) {
        Outcome::Reply(reply) if reply.status == 200 || reply.reason().is_some() => Some(()),
        _ => None,
    });
}

/// The sum over the lines of the server's metrics that begin like this.
fn metric(rig: &Rig, begins: &str) -> usize {
    let metrics = rig.server_metrics();
    let lines = metrics.lines().filter(|line| line.starts_with(begins));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}

fn server_first(target: Target) {
    let versions = Versions::make();
    let options = Options::default().bundle_dir(&versions.older());
    let mut rig = Rig::start_with(target, BundleUnderTest::Second, options);
    roll_out_to_server(&mut rig, &versions.newer());

    let (decided, skewed) = (rig.decisions().len(), metric(&rig, "palisade_bundle_skew_total "));
    for _ in 0..REQUESTS {
        for request in [rig.read_request(), rig.write_request()] {
            let reply = rig.send(&request).expect_reply();
            assert_eq!(reply.status, 200, "{:?}", reply.reason());
        }
    }
    let decisions = rig.decisions_when(decided + 2 * REQUESTS);
    assert!(decisions[decided..].iter().all(|decision| decision.handoff == "previous_bundle"));
    assert_eq!(metric(&rig, "palisade_bundle_skew_total "), skewed + 2 * REQUESTS);
    assert_eq!(metric(&rig, "palisade_handoffs_not_genuine_total{"), 0);
}

fn filter_first(target: Target) {
    let versions = Versions::make();
    let options =
        Options::default().bundle_dir(&versions.newer()).server_bundle_dir(&versions.older()).unready();
    let mut rig = Rig::start_with(target, BundleUnderTest::Second, options);
    rig.wait_until_server_is_ready();
    rig.wait_until_envoy_is_ready();
    let reply = eventually("the server is asked", START_TIMEOUT, || match rig.send(rig.write_request()) {
        Outcome::Reply(reply) if reply.reason().is_some() => Some(reply),
        _ => None,
    });
    assert_eq!(reply.reason().as_deref(), Some("handoff_bundle_unknown"), "{reply:?}");
    assert_eq!(rig.bytes_seen(), 0);
    assert!(metric(&rig, "palisade_handoffs_not_genuine_total{") > 0, "{}", rig.server_metrics());
    assert!(rig.server_metrics().contains("state=\"bundle_unknown\""), "{}", rig.server_metrics());
    let id = reply.decision_id().expect("a denial has an id");
    // The first such call is told at once; that may have been the canary's.
    eventually("the log tells of such calls", LEDGER_TIMEOUT, || {
        let log = rig.server.log();
        let told =
            |line: &&str| line.contains("without a genuine handoff") && line.contains("bundle_unknown");
        log.lines().find(told).map(|_| ())
    });
    assert!(rig.decisions().iter().any(|decision| decision.decision_id == id), "{id} was not recorded");
    assert!(rig.decisions().iter().all(|decision| decision.handoff == "bundle_unknown"));

    // What ends it is the server's own part of the rollout.
    roll_out_to_server(&mut rig, &versions.newer());
    assert_eq!(rig.send(rig.write_request()).expect_reply().status, 200);
    assert_eq!(metric(&rig, "palisade_bundle_skew_total "), 0, "both have the same bundle now");
}

#[test]
fn the_server_first_denies_nobody_and_counts_on_envoy() {
    server_first(Target::Envoy);
}

#[test]
fn the_server_first_denies_nobody_and_counts_on_istio() {
    server_first(Target::Istio);
}

#[test]
fn the_filter_first_is_denied_and_named_on_envoy() {
    filter_first(Target::Envoy);
}

#[test]
fn the_filter_first_is_denied_and_named_on_istio() {
    filter_first(Target::Istio);
}
