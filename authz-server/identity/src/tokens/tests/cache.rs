//! What is kept of verified tokens is what verifying anew would say.

use super::{CORP, Draft, NOW_MS, NOW_S, WORLD, verify};
use crate::tokens::Verified;
use crate::tokens::cache::{By, Cache};
use crate::tokens::limits::CACHE_BYTES_MAX;
use crate::{Proof, User};
use serde_json::json;
use std::sync::Arc;

const BY: By = By { issuer: 1, generation: 1 };

fn verified(subject: &str) -> Arc<Verified> {
    let user = User {
        issuer: "corp".to_owned(),
        subject: subject.to_owned(),
        groups: [].into(),
        roles: [].into(),
        attributes: [].into(),
    };
    Arc::new(Verified { user: Arc::new(user), proof: Proof::Jwt, scopes: None, expires_at_s: NOW_S })
}

#[test]
fn a_token_is_found_again_and_no_other_is() {
    let token = Draft::of(CORP, &WORLD.es256).signed();
    let first = verify(&token).unwrap();
    assert!(Arc::ptr_eq(&first, &verify(&token).unwrap()), "the second is that of the cache");
    // Equal but for one letter, wherever it stands: never the kept one, whatever the signature is found to be.
    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(bytes).unwrap();
        assert!(other == token || verify(&other).is_err(), "place {place}");
    }
    assert!(Arc::ptr_eq(&first, &verify(&token).unwrap()), "and it is still there");
}

#[test]
fn what_is_kept_is_bound_to_text_keys_and_time() {
    let cache = Cache::default();
    // Both end alike, so both have the same place.
    let tail = "t".repeat(64);
    let (one, other) = (format!("a.{tail}"), format!("b.{tail}"));
    cache.keep(&one, &verified("one"), NOW_MS - 1000, BY);
    let find =
        |token: &str, now_ms| cache.find(token, now_ms, |by| by == BY).map(|it| it.user.subject.clone());
    assert_eq!(find(&one, NOW_MS - 1).as_deref(), Some("one"));
    assert_eq!(find(&other, NOW_MS - 1), None);
    assert_eq!(find(&one, NOW_MS - 1).as_deref(), Some("one"), "looking for another does not push it out");
    cache.keep(&other, &verified("other"), 0, BY);
    assert_eq!((find(&one, NOW_MS - 1), find(&other, NOW_MS - 1).as_deref()), (None, Some("other")));
    assert_eq!(cache.find(&other, NOW_MS - 1, |_| false), None, "other keys");
    assert_eq!((find(&other, NOW_MS - 1), cache.size()), (None, (0, 0)), "which is why it is forgotten");
    for (now_ms, kept) in [(NOW_MS - 1001, false), (NOW_MS - 1000, true), (NOW_MS - 1, true), (NOW_MS, false)]
    {
        cache.keep(&one, &verified("one"), NOW_MS - 1000, BY);
        assert_eq!(find(&one, now_ms).is_some(), kept, "at {now_ms}");
    }
}

#[test]
fn what_is_kept_has_a_bound() {
    let cache = Cache::default();
    let filling = "f".repeat(8000);
    for place in 0..20_000 {
        cache.keep(&format!("{filling}.{place:0>48}"), &verified("somebody"), 0, BY);
        let (bytes, _) = if place % 500 == 0 { cache.size() } else { (0, 0) };
        assert!(bytes <= CACHE_BYTES_MAX, "{bytes} bytes");
    }
    let (bytes, tokens) = cache.size();
    assert!(bytes > CACHE_BYTES_MAX * 9 / 10 && tokens > 7000, "{tokens} tokens, {bytes} bytes");
    // The newest are kept.
    let newest = format!("{filling}.{:0>48}", 19_999);
    assert!(cache.find(&newest, NOW_MS - 1, |_| true).is_some());
}

#[test]
fn nobody_reads_a_token_in_a_log() {
    let token = Draft::of(CORP, &WORLD.es256).claim("sub", json!("log-reader")).signed();
    assert!(verify(&token).is_ok());
    let shown = format!("{:?}", WORLD.tokens);
    assert!(!shown.contains(&token) && !shown.contains("log-reader"), "{shown}");
}
