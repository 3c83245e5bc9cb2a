//! Every way in which people and programs change a directory: what is good comes into force, what is not is told.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;

use palisade::ledger::AdminEvent;
use tests::deadline::eventually;
use tests::rig::{BundleUnderTest, Options, Rig, Target, admin};

use super::{Live, SHOWN, digest, metric, order, read, save};
use crate::handoff::copy_dir;

const MORE: &str =
    "\n@id(\"more\") permit (principal in Group::\"support\", action in Action::\"read\", resource);\n";

/// A change that leaves a good bundle.
#[track_caller]
fn good(live: &Live, what: &str, change: impl FnOnce(&Path)) {
    let before = live.digest_in_force();
    change(&live.bundle_dir());
    let saved = Instant::now();
    live.wait_until_in_force();
    println!("{what}: in force after {} ms", saved.elapsed().as_millis());
    assert_ne!(live.digest_in_force(), before, "{what}");
    assert_eq!(metric(&live.rig, "palisade_bundle_last_load_successful"), Some(1.0), "{what}");
}

/// A change that leaves a bad one: nothing changes for callers, and everybody who looks is told.
#[track_caller]
fn bad(live: &Live, what: &str, place: &str, change: impl FnOnce(&Path)) {
    let (before, refused) = (live.digest_in_force(), live.entries(AdminEvent::BundleRefused).len());
    change(&live.bundle_dir());
    let saved = Instant::now();
    let attempt = live.wait_until_refused(place);
    println!("{what}: told after {} ms", saved.elapsed().as_millis());
    assert_eq!(
        (attempt["result"].as_str(), attempt["sources"]["bundle"].as_str()),
        (Some("refused"), Some("refused"))
    );
    assert_eq!(live.digest_in_force(), before, "{what}");
    let ready = admin(live.rig.server_admin(), "/readyz").expect("an answer");
    assert_eq!(ready.status, 200, "{what}");
    assert_eq!(ready.json().expect("JSON")["degraded"]["bundle"], "refused", "{what}");
    assert_eq!(metric(&live.rig, "palisade_bundle_last_load_successful"), Some(0.0), "{what}");
    assert!(live.rig.server.log().contains(place), "{what}: the log does not say `{place}`");
    let entries = live.entries(AdminEvent::BundleRefused);
    assert!(
        entries.len() > refused && entries.last().is_some_and(|entry| entry.detail.contains(place)),
        "{what}"
    );
    assert_eq!(live.rig.send(live.rig.read_request()).expect_reply().status, 200, "{what}");
}

#[test]
fn each_change_comes_into_force_or_is_told() {
    let live = Live::start();
    let guardrails = read(&live.at("bundle/guardrails.cedar"));
    let settings = read(&live.at("bundle/palisade.yaml"));

    good(&live, "an editor's rename", |bundle| {
        save(&bundle.join("guardrails.cedar"), &(guardrails.clone() + MORE))
    });
    good(&live, "written in place", |bundle| {
        fs::write(bundle.join("guardrails.cedar"), &guardrails).expect("write a file");
    });
    good(&live, "a file more", |bundle| fs::write(bundle.join("more.cedar"), MORE).expect("write a file"));
    good(&live, "a file less", |bundle| fs::remove_file(bundle.join("more.cedar")).expect("remove a file"));
    good(&live, "a folder more", |bundle| {
        copy_dir(&bundle.join("services/payments"), &bundle.join("services/returns"));
        let file = bundle.join("services/returns/service.yaml");
        let rules = read(&file).replace("payments", "returns").replace("orders", "returns");
        save(&file, &rules);
    });
    good(&live, "a folder less", |bundle| {
        fs::remove_dir_all(bundle.join("services/returns")).expect("remove a folder");
    });
    bad(&live, "an unknown key", "palisade.yaml:2:1", |bundle| {
        save(
            &bundle.join("palisade.yaml"),
            &settings.replacen("palisade: 1\n", "surprise: 1\npalisade: 1\n", 1),
        );
    });
    bad(&live, "another mistake while one is there", "guardrails.cedar:3:", |bundle| {
        save(&bundle.join("palisade.yaml"), &settings);
        save(&bundle.join("guardrails.cedar"), "// A policy\n// that ends\npermit (principal\n");
    });
    good(&live, "mended, with something new", |bundle| {
        save(&bundle.join("guardrails.cedar"), &(guardrails.clone() + MORE));
    });
    bad(&live, "no settings", "palisade.yaml", |bundle| {
        fs::remove_file(bundle.join("palisade.yaml")).expect("remove a file");
    });
    save(&live.at("bundle/palisade.yaml"), &settings);
    live.wait_until_in_force();
    bad(&live, "a file that cannot be read", "gone.cedar", |bundle| {
        symlink("nowhere", bundle.join("gone.cedar")).expect("make a link");
    });
    fs::remove_file(live.at("bundle/gone.cedar")).expect("remove a link");
    live.wait_until_in_force();
    bad(&live, "a file that is no text", "latin.cedar", |bundle| {
        fs::write(bundle.join("latin.cedar"), b"// caf\xe9").expect("write a file");
    });
    fs::remove_file(live.at("bundle/latin.cedar")).expect("remove a file");
    live.wait_until_in_force();
    bad(&live, "the directory is gone", "there is no such directory", |bundle| {
        fs::rename(bundle, bundle.with_file_name("aside")).expect("rename a directory");
    });
    fs::rename(live.at("aside"), live.bundle_dir()).expect("rename a directory");
    live.wait_until_in_force();
    good(&live, "another directory in its place", |bundle| {
        let (other, old) = (bundle.with_file_name("other"), bundle.with_file_name("old"));
        copy_dir(bundle, &other);
        fs::write(other.join("guardrails.cedar"), &guardrails).expect("write a file");
        fs::rename(bundle, old).expect("rename a directory");
        fs::rename(other, bundle).expect("rename a directory");
    });
    let loaded = live.entries(AdminEvent::BundleLoaded);
    assert!(loaded.len() >= 8, "{loaded:?}");
    palisade::ledger::verify(&live.rig.ledger_dir()).expect("the ledger is whole");
}

#[test]
fn a_config_map_is_followed_through_its_links() {
    let home = tempfile::tempdir().expect("make a directory");
    let mount = home.path().join("mount");
    for (folder, more) in [("..one", ""), ("..two", MORE), ("..three", "permit (principal\n")] {
        copy_dir(&tests::binaries::workspace_dir().join("policies"), &mount.join(folder));
        let file = mount.join(folder).join("guardrails.cedar");
        fs::write(&file, read(&file) + more).expect("write a file");
    }
    let point_to = |folder: &str| {
        symlink(folder, mount.join("..data_tmp")).expect("make a link");
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("swap the link");
    };
    point_to("..one");
    let names = fs::read_dir(mount.join("..one")).expect("list a directory");
    for name in names.map(|entry| entry.expect("list a directory").file_name()) {
        symlink(Path::new("..data").join(&name), mount.join(&name)).expect("make a link");
    }
    let rig = Rig::start_with(Target::Envoy, BundleUnderTest::Demo, Options::default().bundle_dir(&mount));
    let in_force = |folder: &str| {
        let expected = digest(&mount.join(folder));
        eventually(&format!("{folder} is in force"), SHOWN, || {
            (super::digest_in_force(&rig) == expected).then_some(())
        });
    };
    in_force("..one");
    point_to("..two");
    in_force("..two");
    point_to("..three");
    eventually("the third is refused", SHOWN, || {
        let problems = super::told(&rig)["last_attempt"]["problems"].take();
        super::text(problems.get(0)?, "place").starts_with("guardrails.cedar:").then_some(())
    });
    in_force("..two");
    point_to("..one");
    in_force("..one");
}

/// Without its `forbid` the bundle parses, and permits more. Whoever writes it slowly must not have it read half.
#[test]
fn a_file_that_is_being_written_is_not_read_even_if_it_would_parse() {
    let live = Live::start();
    let before = live.digest_in_force();
    let path = live.at("bundle/guardrails.cedar");
    let whole = read(&path) + MORE;
    let mut file = File::create(&path).expect("open a file for writing, which empties it");
    digest(&live.bundle_dir());
    // Nothing is loaded for as long as it is open, and after a while that is said.
    eventually("it is said that the file is being written", SHOWN, || {
        assert_eq!(live.digest_in_force(), before);
        let attempt = live.told()["last_attempt"].take();
        let message = super::text(attempt["problems"].get(0)?, "message");
        (attempt["result"] == "unsettled" && message.contains("`guardrails.cedar` is still being written"))
            .then_some(())
    });
    file.write_all(whole.as_bytes()).expect("write the rest");
    drop(file);
    live.wait_until_in_force();
    assert_eq!(read(&path), whole);
    let loaded = live.entries(AdminEvent::BundleLoaded);
    assert_eq!(loaded.len(), 1, "nothing was in force between: {loaded:?}");
}

#[test]
fn a_burst_of_saves_is_one_load_and_a_save_without_change_is_none() {
    let live = Live::start();
    let path = live.at("bundle/guardrails.cedar");
    let text = read(&path);
    for count in 0..30 {
        save(&path, &format!("{text}// {count}\n"));
    }
    live.wait_until_in_force();
    let loaded = || live.entries(AdminEvent::BundleLoaded).len();
    let after_burst = loaded();
    assert!(after_burst <= 3, "30 saves were {after_burst} loads");
    let unchanged = || metric(&live.rig, "palisade_bundle_load_total{result=\"unchanged\"}");
    let epoch = live.told()["epoch"].take();
    save(&path, &read(&path));
    // What would come of it would be there by then: the order is answered after it.
    assert_eq!(order(&live.rig).json().expect("JSON")["result"], "unchanged");
    assert_eq!((loaded(), unchanged(), live.told()["epoch"].take()), (after_burst, Some(1.0), epoch));
}

#[test]
fn an_order_is_answered_with_what_came_of_it() {
    let live = Live::start();
    let path = live.at("bundle/guardrails.cedar");
    let text = read(&path);
    save(&path, &(text.clone() + MORE));
    let reply = order(&live.rig);
    let attempt = reply.json().expect("JSON");
    // The watch may have been quicker.
    assert!(["loaded", "unchanged"].contains(&super::text(&attempt, "result").as_str()), "{attempt}");
    assert_eq!((reply.status, super::text(&attempt, "digest")), (200, digest(&live.bundle_dir())));
    assert_eq!(live.digest_in_force(), digest(&live.bundle_dir()));

    save(&path, "permit (principal\n");
    let reply = order(&live.rig);
    let attempt = reply.json().expect("JSON");
    assert_eq!((reply.status, super::text(&attempt, "result").as_str()), (422, "refused"));
    assert!(super::text(&attempt["problems"][0], "place").starts_with("guardrails.cedar:"), "{attempt}");
    assert_eq!(super::text(&attempt, "digest"), live.digest_in_force());

    // The bundle that is in force comes back, which ends the alarm and begins no epoch.
    let epoch = live.told()["epoch"].take();
    save(&path, &(text + MORE));
    assert_eq!(order(&live.rig).json().expect("JSON")["result"], "unchanged");
    assert_eq!((live.told()["degraded"].take(), live.told()["epoch"].take()), (false.into(), epoch));
    assert_eq!(admin(live.rig.server_admin(), "/reload").expect("an answer").status, 405);
}

#[test]
fn sighup_reads_everything_anew() {
    let live = Live::start();
    let asked = || metric(&live.rig, "palisade_bundle_load_total{result=\"unchanged\"}").unwrap_or_default();
    let before = asked();
    live.rig.server.hang_up();
    eventually("the signal is answered", SHOWN, || (asked() > before).then_some(()));
    assert_eq!(live.told()["last_attempt"]["trigger"], "signal");
    assert_eq!(live.rig.send(live.rig.read_request()).expect_reply().status, 200);
}

#[test]
fn every_bundle_that_decided_is_kept_and_why_says_so() {
    let live = Live::start();
    let path = live.at("bundle/guardrails.cedar");
    let text = read(&path);
    for count in 0..3 {
        save(&path, &format!("{text}// {count}\n"));
        live.wait_until_in_force();
        assert_eq!(live.rig.send(live.rig.read_request()).expect_reply().status, 200);
    }
    let state = live.rig.dir().join("state");
    let bundles = palisade::state::Bundles::of(&state);
    for decision in live.rig.decisions() {
        let digest = palisade_core::contract::BundleDigest::parse(&decision.bundle_digest).expect("a digest");
        let kept = bundles.find(digest).expect("every bundle that decided is kept");
        assert_eq!(super::digest(&kept), decision.bundle_digest);
    }
    let decision = live.rig.decisions().pop().expect("a decision");
    let why = || {
        let mut command = std::process::Command::new(tests::binaries::palisade());
        let output = command.args(["why", "--json", &decision.decision_id, "--state"]).arg(&state).output();
        let output = output.expect("run palisade why").stdout;
        serde_json::from_slice::<serde_json::Value>(&output).expect("JSON")["bundle"].take()
    };
    assert_eq!(why()["kept"], true);
    fs::remove_dir_all(state.join("bundles").join(&decision.bundle_digest)).expect("lose a bundle");
    assert_eq!(why()["kept"], false);
}
