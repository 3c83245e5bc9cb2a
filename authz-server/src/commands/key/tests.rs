//! `palisade key`, as it is used and as it is misused.

use super::{Command, Said, list, new, revoke};
use crate::identity::api_keys::{ApiKeys, Drawn, Issue, KeysFile, Rotation};
use clap::Parser;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const NOW_S: u64 = 1_795_309_777;
const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// What a command line says, `FILE` being the file.
fn say(file: &Path, line: &str, now_s: u64) -> Result<Said, String> {
    let words = line.split_whitespace().map(|word| match word {
        "FILE" => file.to_str().unwrap(),
        "POLICIES" => POLICIES,
        word => word,
    });
    let line =
        Line::try_parse_from(std::iter::once("key").chain(words)).map_err(|error| error.to_string())?;
    match line.command {
        Command::New(args) => new(&args, now_s),
        Command::Revoke(args) => revoke(&args, now_s),
        Command::List(args) => list(&args, now_s),
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("keys.json");
    (place, file)
}

#[test]
fn a_new_key_is_told_once_and_lets_its_client_in() {
    let (_place, file) = place();
    let line = "new --file FILE --client web --scope orders:read --expires 90d --bundle POLICIES";
    let said = say(&file, line, NOW_S).unwrap();
    let key = said.result.strip_suffix('\n').unwrap();
    let (id, secret) = key.strip_prefix("plsd_").unwrap().split_once('_').unwrap();
    assert_eq!(
        said.note,
        format!(
            "key `{id}` of client `web`, expires 2027-02-20T01:09:37Z; it is not kept anywhere and cannot be shown again\n"
        )
    );
    let stored = fs::read_to_string(&file).unwrap();
    assert!(!stored.contains(secret) && !said.note.contains(secret));
    let keys = ApiKeys::read(&file).unwrap();
    assert_eq!(keys.client_of(key, NOW_S * 1000).unwrap().client, "web");
    let second = say(&file, "new --file FILE --client web", NOW_S).unwrap().result;
    assert_ne!(second, said.result);
}

#[test]
fn json_has_what_a_script_needs() {
    let (_place, file) = place();
    let first = say(&file, "new --file FILE --client web --scope b --scope a --json", NOW_S).unwrap();
    let first: Value = serde_json::from_str(&first.result).unwrap();
    let id = first["id"].as_str().unwrap();
    assert_eq!(first["key"].as_str().unwrap().split('_').nth(1), Some(id));
    let expected = json!({
        "id": id, "client": "web", "scopes": ["a", "b"], "created": "2026-11-22T01:09:37Z", "expires": null,
        "state": "live", "replaced": null, "revoked": null, "key": first["key"], "replaces": null,
    });
    assert_eq!(first, expected);
    let line = format!("new --file FILE --rotate {id} --overlap 1h --json");
    let second: Value = serde_json::from_str(&say(&file, &line, NOW_S).unwrap().result).unwrap();
    assert_eq!(second["replaces"], json!({"id": id, "until": "2026-11-22T02:09:37Z"}));
    assert_eq!((&second["client"], &second["scopes"]), (&first["client"], &first["scopes"]));
    let gone = say(&file, &format!("revoke {id} --file FILE --json"), NOW_S + 1).unwrap().result;
    assert_eq!(serde_json::from_str::<Value>(&gone).unwrap()["revoked"], "2026-11-22T01:09:38Z");
    let all = say(&file, "list --file FILE --json", NOW_S + 2).unwrap().result;
    let all: Vec<Value> = serde_json::from_str(&all).unwrap();
    assert_eq!((all.len(), &all[0]["state"], &all[1]["state"]), (2, &json!("revoked"), &json!("live")));
    assert!(all.iter().all(|key| key.get("key").is_none() && key.get("sha256").is_none()), "{all:?}");
}

#[test]
fn the_table_is_golden() {
    let (_place, path) = place();
    let old = ApiKeys::render([("legacy", "example-key-1")]).unwrap();
    let mut file = KeysFile::parse(old.as_bytes()).unwrap();
    let wanted = |client: &str| Issue { client: Some(client.to_owned()), ..Issue::default() };
    let drawn = |seed: u8| Drawn { id: [seed; 6], secret: [seed; 32] };
    let scopes = ["orders:read", "orders:write"].map(str::to_owned).into();
    file.issue(Issue { scopes, expires_s: Some(NOW_S + 86_400), ..wanted("web") }, &drawn(1), NOW_S).unwrap();
    file.issue(wanted("bätch"), &drawn(2), NOW_S).unwrap();
    let rotation = Some(Rotation { id: "020202020202".to_owned(), overlap_s: 3600 });
    file.issue(Issue { rotation, ..Issue::default() }, &drawn(3), NOW_S).unwrap();
    file.issue(wanted("web"), &drawn(4), NOW_S).unwrap();
    file.revoke("040404040404", NOW_S).unwrap();
    fs::write(&path, file.render().unwrap()).unwrap();
    let shown = |now_s: u64| say(&path, "list --file FILE", now_s).unwrap().result;
    let old = file.records()[0].id.clone();
    assert_eq!(
        shown(NOW_S),
        format!(
            "\
ID                CLIENT  SCOPES                    CREATED               EXPIRES               STATE
{old}  legacy  -                         -                     never                 live
010101010101      web     orders:read orders:write  2026-11-22T01:09:37Z  2026-11-23T01:09:37Z  live
020202020202      bätch   -                         2026-11-22T01:09:37Z  never                 retiring until 2026-11-22T02:09:37Z
030303030303      bätch   -                         2026-11-22T01:09:37Z  never                 live
040404040404      web     -                         2026-11-22T01:09:37Z  never                 revoked on 2026-11-22T01:09:37Z
"
        )
    );
    let later = shown(NOW_S + 86_400);
    assert!(later.contains("expired since 2026-11-23T01:09:37Z"), "{later}");
    assert!(later.contains("replaced since 2026-11-22T02:09:37Z"), "{later}");
}

#[test]
fn what_is_mistyped_is_refused_with_what_was_meant() {
    let (_place, file) = place();
    let check = |line: &str, expected: &str| {
        let error = say(&file, line, NOW_S).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    check("new --file FILE --client wbe --bundle POLICIES", "declares no client `wbe`; did you mean `web`?");
    check("new --file FILE --client nobody-here --bundle POLICIES", "; there is `support-tool`, `web`");
    check("new --file FILE", "--client");
    check("new --file FILE --client web --overlap 1h", "--rotate");
    check("new --file FILE --client web --expires soon", "`soon` is no expiry");
    check("new --file FILE --client web --rotate 010101010101 --overlap soon", "`soon` is no overlap");
    check("new --file FILE --rotate 010101010101", "does not exist: `palisade key new` makes it");
    check("revoke 010101010101 --file FILE", "does not exist");
    check("list --file FILE", "cannot read the API keys in");
    assert!(!file.exists());
    let said = say(&file, "new --file FILE --client web --json", NOW_S).unwrap();
    let id = serde_json::from_str::<Value>(&said.result).unwrap()["id"].as_str().unwrap().to_owned();
    let near = format!("{}x", id.split_at(11).0);
    check(
        &format!("revoke {near} --file FILE"),
        &format!("no key has the id `{near}`; did you mean `{id}`?"),
    );
    check(
        &format!("new --file FILE --client support-tool --rotate {id}"),
        "a rotation stays with its client",
    );
    fs::write(&file, r#"{"version":3,"keys":[]}"#).unwrap();
    check("new --file FILE --client web", "unknown version `3`");
    check("revoke 010101010101 --file FILE", "unknown version `3`");
}
