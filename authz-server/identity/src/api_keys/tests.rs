//! Keys that are issued, used, rotated, revoked and ended, and files that are not understood.

use super::file::{ChangeRefused, Drawn, Issue, KeyState, KeysFile, Rotation};
use super::{ApiKeyError, ApiKeys};
use std::collections::BTreeSet;

mod stopped;

const NOW_S: u64 = 1_795_309_777;
const HOUR_S: u64 = 3600;

fn drawn(seed: u8) -> Drawn {
    Drawn { id: [seed; 6], secret: [seed; 32] }
}

fn wanted(client: &str) -> Issue {
    Issue { client: Some(client.to_owned()), ..Issue::default() }
}

fn scopes(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn read(file: &KeysFile) -> ApiKeys {
    ApiKeys::parse(file.render().unwrap().as_bytes()).unwrap()
}

/// Client, id and scopes of a key, or why it proves nothing.
fn told(file: &KeysFile, key: &str, at_s: u64) -> Result<String, String> {
    let keys = read(file);
    let holder = keys.client_of(key, at_s * 1000).map_err(|error| error.to_string())?;
    let scopes = holder.scopes.map(|scopes| scopes.iter().cloned().collect::<Vec<_>>().join(" "));
    Ok(format!("{} {} {}", holder.client, holder.id, scopes.unwrap_or("-".to_owned())))
}

#[test]
fn a_key_of_version_1_leads_to_its_client_and_nothing_else_does() {
    let text = ApiKeys::render([("web", "example-key-1"), ("support", "example-key-2")]).unwrap();
    assert!(!text.contains("example-key"), "{text}");
    let keys = ApiKeys::parse(text.as_bytes()).unwrap();
    assert_eq!(keys.client_of("example-key-1", 0).unwrap().client, "web");
    assert_eq!(keys.client_of("example-key-2", 0).unwrap().client, "support");
    for wrong in ["example-key-", "example-key-11", "EXAMPLE-KEY-1", "plsd"] {
        assert_eq!(keys.client_of(wrong, 0), Err(ApiKeyError::Unknown), "{wrong}");
    }
}

#[test]
fn a_new_key_leads_to_its_client_and_no_other_text_does() {
    let mut file = KeysFile::default();
    let issue = Issue { scopes: scopes(&["orders:write", "orders:read"]), ..wanted("web") };
    let key = file.issue(issue, &drawn(0xa1), NOW_S).unwrap();
    let other = file.issue(wanted("batch"), &drawn(0xb2), NOW_S).unwrap();
    assert_eq!(key, format!("plsd_a1a1a1a1a1a1_{}", "a1".repeat(32)));
    assert!(!file.render().unwrap().contains(&"a1".repeat(32)), "the secret is stored");
    assert_eq!(told(&file, &key, NOW_S).unwrap(), "web a1a1a1a1a1a1 orders:read orders:write");
    assert_eq!(told(&file, &other, NOW_S).unwrap(), "batch b2b2b2b2b2b2 -");

    let keys = read(&file);
    let check = |key: &str, expected: ApiKeyError| {
        assert_eq!(keys.client_of(key, NOW_S * 1000), Err(expected), "{key}");
    };
    let secret = "a1".repeat(32);
    check("", ApiKeyError::Malformed);
    check(&"x".repeat(513), ApiKeyError::Malformed);
    check("plsd_", ApiKeyError::Malformed);
    check("plsd_a1a1a1a1a1a1", ApiKeyError::Malformed);
    check("plsd_a1a1a1a1a1a1_", ApiKeyError::Malformed);
    check(&format!("plsd_a1a1a1a1a1a1_{secret}0"), ApiKeyError::Malformed);
    check(&format!("plsd_a1a1a1a1a1a1_{secret} "), ApiKeyError::Malformed);
    check(&format!("plsd_A1A1A1A1A1A1_{secret}"), ApiKeyError::Malformed);
    check(&format!("plsd_a1a1a1a1a1a1_{}", secret.to_uppercase()), ApiKeyError::Malformed);
    check(&format!("plsd_a1a1a1a1a1a1_{}", "b2".repeat(32)), ApiKeyError::Unknown);
    check(&format!("plsd_b2b2b2b2b2b2_{secret}"), ApiKeyError::Unknown);
    check(&format!("plsd_c3c3c3c3c3c3_{}", "00".repeat(32)), ApiKeyError::Unknown);
    check(&format!("PLSD_a1a1a1a1a1a1_{secret}"), ApiKeyError::Unknown);
    check(&"x".repeat(512), ApiKeyError::Unknown);
}

#[test]
fn a_key_ends_at_its_second_and_not_before() {
    let mut file = KeysFile::default();
    let issue = Issue { expires_s: Some(NOW_S + HOUR_S), ..wanted("web") };
    let key = file.issue(issue, &drawn(1), NOW_S).unwrap();
    let keys = read(&file);
    let ends_ms = (NOW_S + HOUR_S) * 1000;
    assert_eq!(keys.client_of(&key, ends_ms - 1).unwrap().client, "web");
    let error = keys.client_of(&key, ends_ms).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the API key `010101010101` of client `web` expired on 2026-11-22T02:09:37Z"
    );
}

#[test]
fn two_keys_are_good_until_the_overlap_ends() {
    let mut file = KeysFile::default();
    let issue = Issue { scopes: scopes(&["a"]), ..wanted("web") };
    let before = file.issue(issue, &drawn(1), NOW_S).unwrap();
    let rotation = Some(Rotation { id: "010101010101".to_owned(), overlap_s: HOUR_S });
    let after = file.issue(Issue { rotation, ..Issue::default() }, &drawn(2), NOW_S).unwrap();
    let end_s = NOW_S + HOUR_S;
    assert_eq!(told(&file, &before, end_s - 1).unwrap(), "web 010101010101 a");
    assert_eq!(told(&file, &after, end_s - 1).unwrap(), "web 020202020202 a");
    assert_eq!(
        told(&file, &before, end_s).unwrap_err(),
        "the API key `010101010101` of client `web` was replaced by `020202020202`, and could be used until 2026-11-22T02:09:37Z"
    );
    assert_eq!(told(&file, &after, end_s).unwrap(), "web 020202020202 a");
    let states: Vec<_> = file.records().iter().map(|record| record.state(NOW_S)).collect();
    assert_eq!(states, [KeyState::Retiring { until_s: end_s }, KeyState::Live]);
}

#[test]
fn a_revoked_key_stays_as_a_tombstone_that_only_its_holder_meets() {
    let mut file = KeysFile::default();
    let key = file.issue(wanted("web"), &drawn(1), NOW_S).unwrap();
    let revoked = file.revoke("010101010101", NOW_S + 5).unwrap();
    assert_eq!(revoked.client, "web");
    // Even at a time before: a clock that went back brings no key back.
    for at_s in [NOW_S, NOW_S + 5, NOW_S + HOUR_S] {
        let error = told(&file, &key, at_s).unwrap_err();
        assert_eq!(error, "the API key `010101010101` of client `web` was revoked on 2026-11-22T01:09:42Z");
    }
    let guess = format!("plsd_010101010101_{}", "00".repeat(32));
    assert_eq!(told(&file, &guess, NOW_S).unwrap_err(), "the API key is none of those issued");
}

#[test]
fn a_key_of_version_1_can_be_rotated_and_revoked_by_the_id_that_it_gets() {
    let text = ApiKeys::render([("web", "example-key-1"), ("support", "example-key-2")]).unwrap();
    let mut file = KeysFile::parse(text.as_bytes()).unwrap();
    let ids: Vec<String> = file.records().iter().map(|record| record.id.to_string()).collect();
    assert!(ids.iter().all(|id| id.starts_with("old-") && id.len() == 16), "{ids:?}");
    let rotation = Some(Rotation { id: ids[0].clone(), overlap_s: HOUR_S });
    let after = file.issue(Issue { rotation, ..Issue::default() }, &drawn(2), NOW_S).unwrap();
    file.revoke(&ids[1], NOW_S).unwrap();
    assert!(file.render().unwrap().contains("\"version\": 2"));
    assert_eq!(told(&file, "example-key-1", NOW_S).unwrap(), format!("web {} -", ids[0]));
    assert_eq!(told(&file, &after, NOW_S).unwrap(), "web 020202020202 -");
    assert!(told(&file, "example-key-1", NOW_S + HOUR_S).unwrap_err().contains("was replaced by"));
    assert!(told(&file, "example-key-2", NOW_S).unwrap_err().contains("was revoked on"));
}

#[test]
fn a_change_that_makes_no_sense_changes_nothing() {
    let mut file = KeysFile::default();
    let issue = Issue { expires_s: Some(NOW_S + HOUR_S), ..wanted("web") };
    file.issue(issue, &drawn(1), NOW_S).unwrap();
    file.issue(wanted("batch"), &drawn(2), NOW_S).unwrap();
    file.revoke("020202020202", NOW_S).unwrap();
    let before = file.clone();
    let rotate = |id: &str| Some(Rotation { id: id.to_owned(), overlap_s: 0 });
    let mut check = |issue: Issue, at_s: u64, expected: &str| {
        let error = file.issue(issue, &drawn(3), at_s).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(file, before);
    };
    check(Issue::default(), NOW_S, "whose key is it? name its client");
    let issue = Issue { rotation: rotate("030303030303"), ..Issue::default() };
    check(issue, NOW_S, "no key has the id `030303030303`");
    let issue = Issue { rotation: rotate("010101010101"), ..wanted("batch") };
    check(issue, NOW_S, "key `010101010101` is that of client `web`: a rotation stays with its client");
    let issue = Issue { rotation: rotate("010101010101"), ..wanted("web") };
    check(issue.clone(), NOW_S, "key `010101010101` expires: say when the one that follows it does");
    check(
        issue,
        NOW_S + HOUR_S,
        "key `010101010101` is not live: expired since 2026-11-22T02:09:37Z; issue a new one instead",
    );
    let issue = Issue { rotation: rotate("020202020202"), ..Issue::default() };
    check(
        issue,
        NOW_S,
        "key `020202020202` is not live: revoked on 2026-11-22T01:09:37Z; issue a new one instead",
    );
    let issue = Issue { scopes: scopes(&["a b"]), ..wanted("web") };
    check(
        issue,
        NOW_S,
        "`a b` is no scope: expected 1 to 128 printable characters without space, `\"` and `\\`",
    );
    check(
        wanted("a\nb"),
        NOW_S,
        "the client of key `030303030303` has no proper name: expected 1 to 256 bytes without control characters",
    );
    assert_eq!(file.issue(wanted("web"), &drawn(1), NOW_S), Err(ChangeRefused::IdTaken));
    let error = file.revoke("020202020202", NOW_S + 1).unwrap_err();
    assert!(matches!(error, ChangeRefused::NotLive { state: KeyState::Revoked { at_s: NOW_S }, .. }));
    let ChangeRefused::IdUnknown { known, .. } = file.revoke("01", NOW_S).unwrap_err() else { panic!() };
    assert_eq!(known.len(), 2);
    assert_eq!(file, before);
}

#[test]
fn the_file_is_written_in_its_golden_form() {
    let mut file = KeysFile::default();
    let issue = Issue { scopes: scopes(&["b", "a"]), expires_s: Some(NOW_S + HOUR_S), ..wanted("web") };
    file.issue(issue, &drawn(1), NOW_S).unwrap();
    let rotation = Some(Rotation { id: "010101010101".to_owned(), overlap_s: 60 });
    let issue = Issue { rotation, expires_s: Some(NOW_S + 2 * HOUR_S), ..Issue::default() };
    file.issue(issue, &drawn(2), NOW_S).unwrap();
    file.revoke("020202020202", NOW_S + 1).unwrap();
    let expected = r#"{
  "version": 2,
  "keys": [
    {
      "id": "010101010101",
      "client": "web",
      "sha256": "SHA1",
      "scopes": [
        "a",
        "b"
      ],
      "created": "2026-11-22T01:09:37Z",
      "expires": "2026-11-22T02:09:37Z",
      "replaced": {
        "by": "020202020202",
        "not_after": "2026-11-22T01:10:37Z"
      }
    },
    {
      "id": "020202020202",
      "client": "web",
      "sha256": "SHA2",
      "scopes": [
        "a",
        "b"
      ],
      "created": "2026-11-22T01:09:37Z",
      "expires": "2026-11-22T03:09:37Z",
      "revoked": "2026-11-22T01:09:38Z"
    }
  ]
}
"#;
    let digits = |index: usize| hex::encode(file.records()[index].sha256);
    let expected = expected.replace("SHA1", &digits(0)).replace("SHA2", &digits(1));
    assert_eq!(file.render().unwrap(), expected);
    assert_eq!(KeysFile::parse(expected.as_bytes()).unwrap(), file);
}

#[test]
fn a_file_that_is_not_understood_is_refused() {
    let check = |text: &str, part: &str| {
        let error = ApiKeys::parse(text.as_bytes()).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    check("", "EOF");
    check(r#"{"version":3,"keys":[]}"#, "unknown version `3`: this build reads versions 1 and 2");
    check(r#"{"version":1,"keys":[],"more":1}"#, "unknown field `more`");
    check(r#"{"version":1,"keys":[{"client":"web","sha256":"+1"}]}"#, "not 64 hexadecimal digits");
    let twice = ApiKeys::render([("a", "k"), ("b", "k")]).unwrap();
    check(&twice, "the key of client `b` is issued twice");

    // Version 2: one good entry, and what one edit makes of it.
    let mut file = KeysFile::default();
    let issue = Issue { scopes: scopes(&["a"]), expires_s: Some(NOW_S + HOUR_S), ..wanted("web") };
    file.issue(issue, &drawn(1), NOW_S).unwrap();
    let good = file.render().unwrap();
    let edit = |from: &str, to: &str, part: &str| {
        assert!(good.contains(from), "{from}");
        check(&good.replace(from, to), part);
    };
    edit("\"version\": 2", "\"version\": 1", "unknown field `id`");
    edit("\"id\"", "\"identity\"", "unknown field `identity`");
    edit("\"id\"", "\"client\": \"web\", \"id\"", "duplicate field `client`");
    edit("010101010101", "01010101010G", "`01010101010G` is no id of a key");
    edit("010101010101", "old-01010101", "does not fit the key's `sha256`");
    edit("\"web\"", "\"\"", "no proper name");
    edit("\"web\"", "\"w\\u0000eb\"", "no proper name");
    edit("\"a\"", "", "has 0 scopes");
    edit("\"a\"", "\"a\\\"\"", "is no scope");
    edit("2026-11-22T01:09:37Z", "yesterday", "`created` of key `010101010101` is `yesterday`");
    edit("2026-11-22T02:09:37Z", "2026-11-22", "`expires` of key `010101010101` is `2026-11-22`");
    edit("\"created\"", "\"revoked\": 5, \"created\"", "invalid type: integer `5`");
    let (_, entries) = good.split_once("\"keys\": [\n").unwrap();
    let (entry, _) = entries.rsplit_once("  ]").unwrap();
    check(&good.replace(entry, &format!("{entry},{entry}")), "is issued twice");
    let other = entry.replace(&hex::encode(file.records()[0].sha256), &"ab".repeat(32));
    check(&good.replace(entry, &format!("{entry},{other}")), "two keys have the id `010101010101`");
}
