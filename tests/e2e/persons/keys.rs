//! API keys: good for what they say, until they end or somebody ends them.

use std::process::Command;

use palisade::ledger::Proof;
use palisade::mint::Mint;
use tests::binaries;
use tests::deadline::eventually;
use tests::rig::{Options, Rig};

use super::{
    ALLOWED, NOWHERE, SHOWN, Scene, Told, ask, decision, found_in, read_orders, read_payment, refused,
};

/// Runs `palisade key` on the file that the server watches, and gives what it prints.
#[track_caller]
fn key(rig: &Rig, arguments: &[&str]) -> String {
    let mut command = Command::new(binaries::palisade());
    let output =
        command.arg("key").args(arguments).arg("--file").arg(rig.dir().join("api-keys.json")).output();
    let output = output.expect("run palisade key");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("a key is text").trim().to_owned()
}

fn with(key: &str) -> String {
    format!("x-api-key: {key}\r\n")
}

#[track_caller]
fn wait_until(rig: &Rig, what: &str, key: &str, expected: &Told) {
    eventually(what, SHOWN, || (ask(rig, &read_payment(&with(key))) == *expected).then_some(()));
}

#[test]
fn a_key_is_good_for_its_scopes_until_it_ends_or_is_revoked() {
    let scene = Scene::with_mint(&Mint::new("a").expect("make a key"));
    let rig = scene.start(Options::default());
    let invalid = refused(401, "identity_invalid");
    let new = |scope: &str, expires: &str| {
        key(&rig, &["new", "--client", "web", "--scope", scope, "--expires", expires])
    };
    let reader = new("payments:read", "90d");
    let writer = new("payments:write", "90d");
    wait_until(&rig, "the key is known", &reader, &ALLOWED);
    let allowed = rig.decisions().pop().expect("a decision");
    assert_eq!((allowed.principal.as_str(), allowed.proof), ("web", Proof::ApiKey));
    let credential = allowed.credential.as_ref().expect("it says which key it was");
    let id = credential.key_id.clone().expect("it says which key it was");
    assert_eq!(reader.split('_').nth(1), Some(id.as_str()));
    assert_eq!(credential.scopes.as_deref(), Some(&["payments:read".to_owned()][..]));

    let denied = refused(403, "policy_denied");
    assert_eq!(ask(&rig, &read_payment(&with(&writer))), denied, "another scope");
    assert_eq!(ask(&rig, &read_payment(&with(rig.api_key("web")))), denied, "no scope");
    assert_eq!(ask(&rig, &read_orders(&with(&writer))), ALLOWED);
    let last = if reader.ends_with('0') { '1' } else { '0' };
    let guessed = format!("{}{last}", reader.get(..reader.len() - 1).expect("a key"));
    assert_eq!(ask(&rig, &read_payment(&with(&guessed))), invalid, "one digit");

    let brief = new("payments:read", "10s");
    wait_until(&rig, "the brief key is known", &brief, &ALLOWED);
    wait_until(&rig, "the brief key has ended", &brief, &invalid);

    key(&rig, &["revoke", &id]);
    wait_until(&rig, "the key is revoked", &reader, &invalid);
    let why = rig.decisions().pop().expect("a decision").errors.join("; ");
    assert!(why.contains(&id) && why.contains("revoked"), "{why}");
    let count = rig.decisions().len();
    assert_eq!(ask(&rig, &read_orders(&with(&writer))), ALLOWED, "the other keys hold");
    assert_eq!(decision(&rig, count + 1).principal, "web");
    for key in [&reader, &writer, &brief] {
        let secret = key.rsplit('_').next().expect("the secret of a key");
        assert_eq!(found_in(&rig, secret), NOWHERE);
    }
}
