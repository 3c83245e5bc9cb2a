//! Opaque tokens: asked about once, believed only when the answer says so, and nobody is let in when there is none.

use palisade::ledger::Proof;
use serde_json::{Value, json};
use tests::deadline::eventually;
use tests::rig::{Options, Rig, random_hex};
use tests::spy::Spy;

use super::{
    ALLOWED, NOWHERE, SHOWN, Scene, Told, answer, ask, bearer, decision, found_in, now_s, read_orders,
    refused,
};

const CALLERS: usize = 16;

/// A server of introspection, and a rig that asks it.
fn start() -> (Spy, Rig, String, Scene) {
    let spy = Spy::start();
    let scene = Scene::new(&format!(
        "  introspection:
    opaque:
      url: \"http://{}/introspect\"
      audiences: [shop]
      claims: {{groups: groups}}
",
        spy.addr()
    ));
    let secret = random_hex();
    let file = scene.home.path().join("introspection");
    std::fs::write(&file, format!("palisade\n{secret}\n")).expect("write the secret");
    let argument = format!("opaque={}", file.display());
    let rig = scene.start(Options::default().server_args(&["--introspection-secret", &argument]));
    (spy, rig, secret, scene)
}

fn active(groups: &[&str]) -> Value {
    json!({"active": true, "sub": "bob", "aud": "shop", "exp": now_s() + 600, "groups": groups})
}

fn read(rig: &Rig, token: &str) -> Told {
    ask(rig, &read_orders(&bearer(token)))
}

#[test]
fn an_opaque_token_is_asked_about_once_and_is_what_the_answer_says() {
    let (spy, rig, secret, _scene) = start();
    let token = random_hex();
    answer(&spy, 200, &active(&["staff"]).to_string());
    std::thread::scope(|scope| {
        let send = || rig.send(read_orders(&bearer(&token))).expect_reply().status;
        let calls: Vec<_> = (0..CALLERS).map(|_| scope.spawn(send)).collect();
        for call in calls {
            assert_eq!(call.join().expect("a caller"), 200);
        }
    });
    for _ in 0..CALLERS {
        assert_eq!(read(&rig, &token), ALLOWED);
    }
    let questions = spy.requests();
    assert_eq!(questions.len(), 1, "one question for all calls with one token");
    assert_eq!(questions[0].method, b"POST");
    assert!(questions[0].header("authorization").is_some_and(|value| value.starts_with(b"Basic ")));
    assert!(String::from_utf8_lossy(&questions[0].body).contains(&format!("token={token}")));
    let allowed = decision(&rig, 2 * CALLERS);
    assert_eq!((allowed.principal.as_str(), allowed.proof), ("opaque/bob", Proof::Introspection));
    let credential = allowed.credential.expect("it says whose token it was");
    assert_eq!((credential.issuer.as_deref(), credential.groups), (Some("opaque"), vec!["staff".to_owned()]));
    assert!(!found_in(&rig, "opaque/bob").is_empty(), "what the ledger holds is found");
    for text in [&token, &secret] {
        assert_eq!(found_in(&rig, text), NOWHERE);
    }
}

#[test]
fn whatever_is_not_a_good_answer_lets_nobody_in() {
    let (spy, rig, _secret, _scene) = start();
    let (invalid, unavailable) = (refused(401, "identity_invalid"), refused(503, "identity_unavailable"));
    let mut other = active(&["staff"]);
    other["aud"] = json!("shop-admin");
    let mut text = active(&["staff"]);
    text["active"] = json!("true");
    let good = active(&["staff"]).to_string();
    for (what, status, body, expected) in [
        ("active", 200, good.clone(), ALLOWED),
        ("another group", 200, active(&["strangers"]).to_string(), refused(403, "policy_denied")),
        ("inactive", 200, json!({"active": false}).to_string(), invalid.clone()),
        ("for another audience", 200, other.to_string(), invalid),
        ("`active` is a text", 200, text.to_string(), unavailable.clone()),
        ("no JSON", 200, good.get(..good.len() - 1).expect("an answer").to_owned(), unavailable.clone()),
        ("an error", 500, good.clone(), unavailable.clone()),
        ("a redirect", 302, good.clone(), unavailable.clone()),
    ] {
        answer(&spy, status, &body);
        assert_eq!(read(&rig, &random_hex()), expected, "{what}");
    }
    answer(&spy, 200, &good);
    let known = random_hex();
    assert_eq!(read(&rig, &known), ALLOWED);
    let addr = spy.addr();
    drop(spy);
    let unknown = random_hex();
    assert_eq!(read(&rig, &unknown), unavailable, "nobody can be asked");
    assert_eq!(read(&rig, &known), ALLOWED, "what was answered holds for a while");
    let back = Spy::start_at(addr);
    answer(&back, 200, &good);
    eventually("it is asked again", SHOWN, || (read(&rig, &unknown) == ALLOWED).then_some(()));
}
