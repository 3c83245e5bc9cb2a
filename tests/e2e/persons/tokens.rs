//! A signed token counts for what it says, as long as it is whole, in time, for us and by the key of its issuer; and neither
//! ledger nor log ever holds it.

use palisade::ledger::Proof;
use palisade::mint::{Mint, put};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::rig::{Options, Target};

use super::{ALLOWED, NOWHERE, Scene, ask, bearer, claims, found_in, now_s, read_orders, refused, token};

/// `{"alg":"none","typ":"JWT"}` in Base64.
const HEADER_NONE: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";

fn with(mut claims: Value, claim: &str, value: Value) -> Value {
    put(&mut claims, claim, value);
    claims
}

/// Tokens of which each differs in one thing from one that is let in.
fn unsound(mint: &Mint) -> Vec<(&'static str, String)> {
    let good = claims("alice", &["staff"]);
    let other = Mint::new("a").expect("make a key");
    let unknown = Mint::new("b").expect("make a key");
    let whole = token(mint, &good);
    let mallory = token(mint, &claims("mallory", &["staff"]));
    let parts: Vec<&str> = whole.split('.').collect();
    let foreign: Vec<&str> = mallory.split('.').collect();
    let mut nameless = good.clone();
    nameless.as_object_mut().expect("claims are an object").remove("sub");
    vec![
        ("forged", token(&other, &good)),
        ("of a key that nobody knows", token(&unknown, &good)),
        ("expired", token(mint, &with(good.clone(), "exp", json!(now_s() - 120)))),
        ("of the future", token(mint, &with(good.clone(), "nbf", json!(now_s() + 600)))),
        ("for another audience", token(mint, &with(good.clone(), "aud", json!("shop-admin")))),
        ("of another issuer", token(mint, &with(good.clone(), "iss", json!("https://login.shop.example/")))),
        ("of nobody", token(mint, &nameless)),
        ("with one group, not a list", token(mint, &with(good, "groups", json!("staff")))),
        ("`alg: none`, without signature", format!("{HEADER_NONE}.{}.", parts[1])),
        ("`alg: none`, with a signature", format!("{HEADER_NONE}.{}.{}", parts[1], parts[2])),
        ("with the claims of another one", format!("{}.{}.{}", parts[0], foreign[1], parts[2])),
        ("cut off", whole.get(..whole.len() - 1).expect("a token").to_owned()),
        ("without signature", format!("{}.{}.", parts[0], parts[1])),
    ]
}

#[test]
fn a_token_is_let_in_whole_or_not_at_all_and_kept_nowhere() {
    Target::ALL.into_iter().for_each(check);
}

fn check(target: Target) {
    let mint = Mint::new("a").expect("make a key");
    let scene = Scene::with_mint(&mint);
    let rig = scene.start_as(target, Options::default());
    let good = token(&mint, &claims("alice", &["staff"]));
    let without = token(&mint, &claims("alice", &["strangers"]));
    let read = |token: &str| ask(&rig, &read_orders(&bearer(token)));
    assert_eq!(read(&good), ALLOWED);
    assert_eq!(read(&without), refused(403, "policy_denied"));
    let unsound = unsound(&mint);
    for (what, token) in &unsound {
        assert_eq!(read(token), refused(401, "identity_invalid"), "{what}");
    }
    let key = format!("x-api-key: {}\r\n", rig.api_key("web"));
    for (what, headers) in [
        ("two credentials", format!("{key}{}", bearer(&good))),
        ("no bearer", format!("authorization: {good}\r\n")),
        ("two words", format!("authorization: Bearer {good} x\r\n")),
        ("another scheme", "authorization: Basic YWxpY2U6c3RhZmY=\r\n".to_owned()),
    ] {
        assert_eq!(ask(&rig, &read_orders(&headers)), refused(401, "identity_invalid"), "{what}");
    }
    assert_eq!(read(&good), ALLOWED, "what came between changes nothing");

    let decisions = rig.decisions_when(7 + unsound.len());
    let (persons, nobodies): (Vec<_>, Vec<_>) =
        decisions.iter().partition(|decision| decision.reason != "identity_invalid");
    assert_eq!((persons.len(), nobodies.len()), (3, unsound.len() + 4));
    for decision in persons {
        assert_eq!((decision.principal.as_str(), decision.proof), ("corp/alice", Proof::Jwt));
        let credential = decision.credential.as_ref().expect("it says whose token it was");
        assert_eq!(credential.issuer.as_deref(), Some("corp"));
        let group = if decision.reason == "policy_denied" { "strangers" } else { "staff" };
        assert_eq!(credential.groups, [group]);
    }
    for decision in nobodies {
        assert_eq!((decision.principal.as_str(), decision.proof), ("", Proof::None), "{decision:?}");
        assert_eq!(decision.credential, None);
    }

    assert!(!found_in(&rig, "corp/alice").is_empty(), "what the ledger holds is found");
    let shown = unsound.iter().map(|(_, token)| token).chain([&good, &without]);
    for token in shown {
        let hash: String =
            Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        // Its claims and its signature; the header is the same in all tokens.
        let parts = token.split('.').skip(1).filter(|part| !part.is_empty());
        for secret in parts.chain([token.as_str(), &hash]) {
            assert_eq!(found_in(&rig, secret), NOWHERE, "{secret}");
        }
    }
}
