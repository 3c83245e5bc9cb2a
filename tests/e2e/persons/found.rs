//! What a person did is found again by name, explained with what would have let it through, and decided anew from its entry.

use std::path::Path;
use std::process::{Command, Output};

use palisade::mint::Mint;
use serde_json::Value;
use tests::binaries;
use tests::rig::Options;

use super::{ALLOWED, Scene, ask, bearer, claims, read_orders, refused, token};

#[track_caller]
fn run(words: &[&str], state: &Path) -> Output {
    let output = Command::new(binaries::palisade()).args(words).arg(state).output().expect("run palisade");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_a_person_did_is_found_explained_and_decided_again() {
    let mint = Mint::new("a").expect("make a key");
    let rig = Scene::with_mint(&mint).start(Options::default());
    let read =
        |who: &str, group: &str| ask(&rig, &read_orders(&bearer(&token(&mint, &claims(who, &[group])))));
    let known = rig.decisions().len();
    assert_eq!(read("alice", "staff"), ALLOWED);
    assert_eq!(read("bob", "strangers"), refused(403, "policy_denied"));
    let decisions = rig.decisions_when(known + 2).split_off(known);
    let state = rig.dir().join("state");

    for (who, verdict) in [("corp/alice", "allow"), ("corp/bob", "deny")] {
        let rows = text(&run(&["audit", "--json", "--who", who, "--state"], &state));
        let rows: Vec<Value> =
            rows.lines().map(|line| serde_json::from_str(line).expect("a JSON object in a line")).collect();
        assert_eq!(rows.len(), 1, "{who}: {rows:?}");
        assert!(rows[0].to_string().contains(verdict), "{rows:?}");
    }
    let why = |id: &str| text(&run(&["why", id, "--state"], &state));
    let allowed = why(&decisions[0].decision_id);
    for part in ["ALLOWED (policy_allowed)", "corp/alice", "staff-reads-orders"] {
        assert!(allowed.contains(part), "`{part}` in {allowed}");
    }
    let denied = why(&decisions[1].decision_id);
    for part in ["DENIED (policy_denied)", "corp/bob", "staff-reads-orders", "Group::\"staff\""] {
        assert!(denied.contains(part), "`{part}` in {denied}");
    }

    let again = text(&run(&["ledger", "replay", "--json"], &state));
    let counts = &serde_json::from_str::<Value>(&again).expect("JSON")["counts"];
    assert!(counts["same"].as_u64() >= Some(2), "{counts}");
    assert_eq!((&counts["different"], &counts["masked"]), (&0.into(), &0.into()), "{counts}");
}
