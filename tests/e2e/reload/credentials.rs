//! Secrets and keys are rotated while the server runs, by the same rules as bundles.

use palisade::ledger::AdminEvent;
use tests::deadline::eventually;
use tests::raw_client::Reply;
use tests::rig::{BundleUnderTest, Rig, Target, random_hex};

use super::{SHOWN, admin_entries, metric, order, save, text, told};

fn ask(rig: &Rig) -> Reply {
    rig.send(rig.read_request()).expect_reply()
}

#[track_caller]
fn eventually_answered(rig: &Rig, what: &str, reason: Option<&str>) {
    eventually(what, SHOWN, || (ask(rig).reason().as_deref() == reason).then_some(()));
}

#[track_caller]
fn eventually_degraded(rig: &Rig, source: &str) {
    eventually(&format!("{source} is told to be refused"), SHOWN, || {
        (told(rig)["degraded"][source] == "refused").then_some(())
    });
}

#[test]
fn a_handoff_secret_is_rotated_without_a_restart() {
    let rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    let file = rig.dir().join("handoff-secret");
    let (old, new) = (rig.secret().to_owned(), random_hex());

    let epoch = told(&rig)["epoch"]["counter"].as_u64();
    save(&file, &format!("{new}\n{old}\n"));
    eventually("the new secret is in force", SHOWN, || {
        (metric(&rig, "palisade_credentials_load_total{source=\"handoff_secrets\",result=\"loaded\"}")
            == Some(2.0))
        .then_some(())
    });
    assert_eq!(ask(&rig).status, 200, "Envoy still has the previous one");
    assert_eq!(rig.decisions().pop().map(|decision| decision.handoff).as_deref(), Some("previous_secret"));
    assert!(told(&rig)["epoch"]["counter"].as_u64() > epoch, "who is believed is part of what decides");

    // Half a file is no secret, and everybody goes on with those that are known.
    save(&file, new.get(..40).expect("half a secret"));
    eventually_degraded(&rig, "handoff_secrets");
    assert_eq!(ask(&rig).status, 200);
    let problem = told(&rig)["last_attempt"]["problems"][0].take();
    assert!(text(&problem, "message").contains("line 1 is not a secret"), "{problem}");
    for secret in [&old, &new] {
        let shown = secret.get(..16).expect("the beginning of a secret");
        assert!(!rig.server.log().contains(shown) && !told(&rig).to_string().contains(shown));
    }
    assert_eq!(
        metric(&rig, "palisade_credentials_last_load_successful{source=\"handoff_secrets\"}"),
        Some(0.0)
    );
    assert_eq!(metric(&rig, "palisade_bundle_last_load_successful"), Some(1.0));

    save(&file, &format!("{new}\n"));
    eventually_answered(&rig, "the old secret is worth nothing any more", Some("handoff_forged"));
    save(&file, &format!("{old}\n"));
    eventually_answered(&rig, "and it can be put back", None);
    assert_eq!(told(&rig)["degraded"], false);
    assert!(!admin_entries(&rig, AdminEvent::CredentialsRefused).is_empty());
    assert!(admin_entries(&rig, AdminEvent::CredentialsLoaded).len() >= 3);
}

#[test]
fn an_api_key_is_revoked_and_issued_without_a_restart() {
    let rig = Rig::start(Target::Envoy, BundleUnderTest::Demo);
    let file = rig.dir().join("api-keys.json");
    let keys = super::read(&file);
    assert_eq!(ask(&rig).status, 200);
    save(&file, r#"{"version":1,"keys":[]}"#);
    eventually_answered(&rig, "the key is revoked", Some("identity_invalid"));
    save(&file, "{");
    eventually_degraded(&rig, "api_keys");
    assert_eq!(ask(&rig).reason().as_deref(), Some("identity_invalid"), "what was in force stays");
    save(&file, &keys);
    assert_eq!(order(&rig).status, 200);
    assert_eq!(ask(&rig).status, 200);
    let entries = admin_entries(&rig, AdminEvent::CredentialsRefused);
    assert!(entries.iter().any(|entry| entry.detail.contains("api_keys")), "{entries:?}");
}
