//! Filter and server do not change at the same moment: whoever is first, nobody is denied whom either bundle alone
//! would not deny.

use std::path::Path;

use tests::deadline::eventually;
use tests::rig::{BundleUnderTest, Options, Rig, Target};

use super::{Live, SHOWN, digest, digest_in_force, read, save, told};
use crate::handoff::{Forger, copy_dir, reason};

/// Makes a bundle another one, with the same meaning.
fn annotate(bundle: &Path, note: &str) {
    let file = bundle.join("palisade.yaml");
    save(&file, &format!("{}# {note}\n", read(&file)));
}

/// The reason for which a filter with that bundle is denied by the server; empty when it is not.
fn ask_as(rig: &Rig, bundle: &Path) -> String {
    let mut filter = Forger::of(rig, bundle);
    let handoff = filter.genuine();
    let signed = filter.sign(handoff, rig.secret());
    reason(rig, filter.request(Some(signed)))
}

#[test]
fn filters_that_lag_by_several_bundles_are_honoured() {
    let live = Live::start();
    let older: Vec<_> = (0..4)
        .map(|count| {
            let copy = live.at(&format!("copy-{count}"));
            copy_dir(&live.bundle_dir(), &copy);
            annotate(&live.bundle_dir(), &format!("version {count}"));
            live.wait_until_in_force();
            copy
        })
        .collect();
    for bundle in &older {
        assert_ne!(digest(bundle), live.digest_in_force());
        assert_eq!(ask_as(&live.rig, bundle), "");
    }
    let decisions = live.rig.decisions_when(older.len());
    assert!(decisions.iter().all(|decision| decision.handoff == "previous_bundle"), "{decisions:?}");
    // Envoy's own filter has the first of them.
    assert_eq!(live.rig.send(live.rig.read_request()).expect_reply().status, 200);
    // To and fro: the first one is current again, and the one that was is the last before it.
    let was = live.digest_in_force();
    save(&live.at("bundle/palisade.yaml"), &read(&older[0].join("palisade.yaml")));
    live.wait_until_in_force();
    assert_eq!(live.digest_in_force(), digest(&older[0]));
    assert_eq!(told(&live.rig)["previous"][0]["digest"].as_str(), Some(was.as_str()));
    assert_eq!(ask_as(&live.rig, &older[3]), "");
    assert_eq!(ask_as(&live.rig, &older[0]), "");
    assert_eq!(live.rig.decisions().pop().map(|decision| decision.handoff).as_deref(), Some("current"));
}

/// The filter has the new bundle, the server has it in its directory and has not noticed yet.
#[test]
fn a_filter_that_is_ahead_has_the_server_look() {
    let live = Live::start();
    for round in 0..5 {
        let ahead = live.at(&format!("ahead-{round}"));
        copy_dir(&live.bundle_dir(), &ahead);
        annotate(&ahead, &format!("round {round}"));
        annotate(&live.bundle_dir(), &format!("round {round}"));
        // At once: the server waits for files to settle for longer than this takes.
        assert_eq!(ask_as(&live.rig, &ahead), "", "round {round}");
        let decision = live.rig.decisions().pop().expect("a decision");
        assert_eq!((decision.handoff.as_str(), decision.bundle_digest), ("current", digest(&ahead)));
    }
}

/// What the server cannot have is denied, soon and with the reason; asking again and again does not keep it busy.
#[test]
fn a_filter_with_a_bundle_that_never_comes_is_denied_and_costs_little() {
    let live = Live::start();
    let elsewhere = live.at("elsewhere");
    copy_dir(&live.bundle_dir(), &elsewhere);
    annotate(&elsewhere, "for another server");
    let before = live.digest_in_force();
    for _ in 0..20 {
        assert_eq!(ask_as(&live.rig, &elsewhere), "handoff_bundle_unknown");
    }
    let slow = live.rig.decisions().iter().filter(|decision| decision.latency_us > 50_000).count();
    assert!(slow <= 10, "{slow} of 20 calls waited for a look");
    assert_eq!(live.digest_in_force(), before);
    assert_eq!(live.rig.send(live.rig.read_request()).expect_reply().status, 200, "others do not notice");
}

/// A rollout through Envoy, operation by operation: the new bundle has one operation more and one less. What only one of
/// them declares is denied as that bundle alone would deny it, and what both declare passes at every moment.
#[test]
fn during_a_rollout_only_that_is_denied_which_a_bundle_alone_would_deny() {
    let home = tempfile::tempdir().expect("make a directory");
    let (bundle, filters) = (home.path().join("bundle"), home.path().join("filters"));
    copy_dir(&tests::binaries::workspace_dir().join("policies"), &bundle);
    copy_dir(&bundle, &filters);
    let options = Options::default().bundle_dir(&filters).server_bundle_dir(&bundle);
    let rig = Rig::start_with(Target::Envoy, BundleUnderTest::Demo, options);
    let outcome = |method: &str, path: &str| {
        let key = rig.api_key("web");
        let reply = rig.send(format!("{method} {path} HTTP/1.1\r\nhost: orders\r\nx-api-key: {key}\r\n\r\n"));
        let reply = reply.expect_reply();
        (reply.status, reply.reason().unwrap_or_default())
    };
    let passed = (200, String::new());
    let refused = |status, reason: &str| (status, reason.to_owned());
    assert_eq!(outcome("GET", "/orders"), passed);
    assert_eq!(outcome("GET", "/orders/o-1"), passed);
    assert_eq!(outcome("GET", "/order-book"), refused(404, "operation_unknown"));

    // The server goes first: `getOrder` has another path now, under which the old filter does not know it.
    let openapi = bundle.join("services/orders/openapi.yaml");
    let moved = read(&openapi).replace("/orders/{orderId}:", "/order-book/{orderId}:");
    assert_ne!(read(&openapi), moved);
    save(&openapi, &moved);
    let expected = digest(&bundle);
    eventually("the server has the new bundle", SHOWN, || {
        assert_eq!(outcome("GET", "/orders"), passed, "what both declare passes at every moment");
        (digest_in_force(&rig) == expected).then_some(())
    });
    assert_eq!(outcome("GET", "/orders"), passed);
    assert_eq!(
        outcome("GET", "/orders/o-1"),
        refused(404, "operation_unknown"),
        "the new bundle has it no more"
    );
    assert_eq!(
        outcome("GET", "/order-book/o-1"),
        refused(404, "operation_unknown"),
        "the old one had it not yet"
    );
    let decisions = rig.decisions();
    let seen: Vec<_> = decisions.iter().map(|decision| decision.handoff.as_str()).collect();
    assert!(seen.contains(&"current") && seen.contains(&"previous_bundle"), "{seen:?}");
    assert!(seen.iter().all(|state| ["current", "previous_bundle"].contains(state)), "{seen:?}");
}
