//! What is said of opaque tokens, by a server that is asked, and what becomes of calls with them.

use super::{FetchLimits, Introspection, QUESTIONS_MAX};
use crate::settings::{
    AttributeRule, CACHE_S_DEFAULT, Claim, ClaimKind, ClaimRules, ClientCredentials, IntrospectionSettings,
    NEGATIVE_CACHE_S_DEFAULT,
};
use crate::tokens::error::{ClaimFault, Malformed, NoAnswer};
use crate::{ClaimValue, Pending, Proof, TokenError, Verified};
use serde_json::{Value, json};
use server::{Answer, Server};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

mod bounds;
mod refused;
mod server;

const NOW_S: u64 = 1_795_309_777;
const NOW_MS: u64 = NOW_S * 1000;

/// Nothing here takes as long, unless it hangs.
const TIME_MAX: Duration = Duration::from_secs(60);

/// As in production, but for a machine that has much else to do.
const LIMITS: FetchLimits = FetchLimits { time_max: Duration::from_secs(20), body_bytes_max: 64 * 1024 };

/// Where a test waits for the limit.
const SHORT: FetchLimits = FetchLimits { time_max: Duration::from_millis(300), body_bytes_max: 64 * 1024 };

fn settings(server: &Server) -> IntrospectionSettings {
    let claim = |name: &str| Claim::parse(name).unwrap();
    let tier = AttributeRule { claim: claim("tier"), kind: ClaimKind::Long, required: false };
    IntrospectionSettings {
        name: "corp".to_owned(),
        url: server.url.clone(),
        client: Some(ClientCredentials::parse("pali sade\nex:ample&secret\n").unwrap()),
        audiences: vec!["shop".to_owned()],
        claims: ClaimRules {
            groups: Some(claim("groups")),
            attributes: BTreeMap::from([("tier".to_owned(), tier)]),
            ..ClaimRules::default()
        },
        cache_s: CACHE_S_DEFAULT,
        negative_cache_s: NEGATIVE_CACHE_S_DEFAULT,
        ca: None,
    }
}

fn asking(server: &Server, questions_max: usize, limits: FetchLimits) -> Arc<Introspection> {
    Arc::new(Introspection::with_bounds(&settings(server), questions_max, limits).unwrap())
}

fn good() -> Value {
    json!({
        "active": true, "sub": "alice", "aud": "shop", "exp": NOW_S + 600, "iat": NOW_S - 60, "scope": "read write",
        "client_id": "spa", "username": "alice", "token_type": "Bearer", "iss": "https://idp.corp.example",
        "groups": ["staff"], "tier": 3,
    })
}

/// Judges a token as the server does: what is known, else a question and what is known then.
async fn judged(
    introspection: &Arc<Introspection>,
    token: &str,
    now_ms: u64,
) -> Result<Arc<Verified>, TokenError> {
    match introspection.verify(token, now_ms) {
        Err(TokenError::Pending(Pending::Opaque(pending))) => {
            tokio::time::timeout(TIME_MAX, introspection.fetch(pending)).await.unwrap();
            introspection.verify(token, now_ms)
        }
        known => known,
    }
}

fn is_pending(outcome: Result<Arc<Verified>, TokenError>) -> bool {
    matches!(outcome, Err(TokenError::Pending(_)))
}

#[tokio::test]
async fn an_active_token_names_its_user() {
    let server = Server::start().await;
    let introspection = asking(&server, QUESTIONS_MAX, LIMITS);
    server.answer("opaque+/token==", Answer::Json(good().to_string()));
    let verified = judged(&introspection, "opaque+/token==", NOW_MS).await.unwrap();
    assert_eq!(verified.user.name(), "corp/alice");
    assert_eq!(verified.user.groups, BTreeSet::from(["staff".to_owned()]));
    assert_eq!(verified.user.attributes["tier"], ClaimValue::Long(3));
    assert_eq!(verified.proof, Proof::Introspection);
    let scopes = ["read", "write"].map(str::to_owned);
    assert_eq!(verified.scopes.as_deref(), Some(&BTreeSet::from(scopes)));
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].head.starts_with("POST /introspect HTTP/1.1\r\n"), "{}", asked[0].head);
    assert!(asked[0].head.contains("content-type: application/x-www-form-urlencoded\r\n"));
    assert_eq!(asked[0].form, "token=opaque%2B%2Ftoken%3D%3D&token%5Ftype%5Fhint=access%5Ftoken");
    assert_eq!(asked[0].client, "pali sade:ex:ample&secret");
    assert!(!format!("{introspection:?}").contains("secret"));
}

#[tokio::test]
async fn an_answer_counts_until_the_token_ends_and_no_longer() {
    let server = Server::start().await;
    let introspection = asking(&server, QUESTIONS_MAX, LIMITS);
    let short = json!({"active": true, "sub": "alice", "aud": "shop", "exp": NOW_S + 10});
    server.answer("short", Answer::Json(short.to_string()));
    assert!(judged(&introspection, "short", NOW_MS).await.is_ok());
    assert!(introspection.verify("short", NOW_MS + 9_999).is_ok());
    assert_eq!(server.asked().len(), 1);
    assert!(is_pending(introspection.verify("short", NOW_MS + 10_000)));
    // The server still says that it is active, which it is not.
    assert_eq!(judged(&introspection, "short", NOW_MS + 10_000).await, Err(TokenError::Expired));
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn an_answer_counts_no_longer_than_the_bundle_says() {
    let server = Server::start().await;
    let introspection = asking(&server, QUESTIONS_MAX, LIMITS);
    let without_end = json!({"active": true, "sub": "alice", "aud": "shop"});
    for (token, answer) in [("with-end", good()), ("without-end", without_end)] {
        server.answer(token, Answer::Json(answer.to_string()));
        assert!(judged(&introspection, token, NOW_MS).await.is_ok());
        assert!(introspection.verify(token, NOW_MS + 29_999).is_ok());
        // What the question itself took is added.
        let late_ms = NOW_MS + 30_000 + 21_000;
        assert!(is_pending(introspection.verify(token, late_ms)));
        server.answer(token, Answer::Json(r#"{"active":false}"#.to_owned()));
        assert_eq!(judged(&introspection, token, late_ms).await, Err(TokenError::Inactive));
        assert_eq!(introspection.verify(token, late_ms + 4_999), Err(TokenError::Inactive));
        assert!(is_pending(introspection.verify(token, late_ms + 5_000 + 20_000)));
    }
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn settings_that_stay_keep_what_is_known_and_others_do_not() {
    let server = Server::start().await;
    let before = Introspection::begin(&settings(&server), None).unwrap();
    server.answer("token", Answer::Json(good().to_string()));
    assert!(judged(&before, "token", NOW_MS).await.is_ok());
    let same = Introspection::begin(&settings(&server), Some(&before)).unwrap();
    assert!(same.verify("token", NOW_MS).is_ok());
    let others = [
        IntrospectionSettings { audiences: vec!["other".to_owned()], ..settings(&server) },
        IntrospectionSettings { claims: ClaimRules::default(), ..settings(&server) },
        IntrospectionSettings { client: None, ..settings(&server) },
        IntrospectionSettings { cache_s: 1, ..settings(&server) },
    ];
    for other in others {
        let other = Introspection::begin(&other, Some(&before)).unwrap();
        assert!(other.verify("token", NOW_MS).unwrap_err().is_unavailable());
    }
}
