//! Which tokens are shown to a server that is asked about opaque ones, and which never are.

use super::*;
use crate::settings::{CACHE_S_DEFAULT, ClientCredentials, IntrospectionSettings, NEGATIVE_CACHE_S_DEFAULT};
use crate::tokens::Pending;
use crate::{IssuerProblem, TokensError};

fn introspection(name: &str) -> IntrospectionSettings {
    IntrospectionSettings {
        name: name.to_owned(),
        // Nobody is asked here.
        url: "http://127.0.0.1:1/introspect".to_owned(),
        client: Some(ClientCredentials::parse("palisade\nexample-secret").unwrap()),
        audiences: vec!["orders".to_owned()],
        claims: ClaimRules::default(),
        cache_s: CACHE_S_DEFAULT,
        negative_cache_s: NEGATIVE_CACHE_S_DEFAULT,
        ca: None,
    }
}

fn settings(introspection: Vec<IntrospectionSettings>, corp: &Signer) -> TokensSettings {
    let keys = KeysFrom::Text(set_of([corp.jwk()]).to_string().into());
    TokensSettings { issuers: vec![issuer("corp", CORP, &[Algorithm::Es256], keys)], introspection }
}

#[test]
fn what_an_issuer_of_the_bundle_made_is_never_shown_to_another() {
    let (corp, other) = (Signer::es256("a"), Signer::es256("a"));
    let tokens = Tokens::begin(&settings(vec![introspection("opaque")], &corp), None).unwrap();
    let alone = Tokens::begin(&settings(Vec::new(), &corp), None).unwrap();
    let draft = Draft::of(CORP, &corp);
    assert_eq!(tokens.verify(&draft.signed(), NOW_MS).unwrap().user.name(), "corp/alice");
    let refused = [
        draft.clone().by(&other).signed(),
        draft.clone().claim("exp", json!(NOW_S - 600)).signed(),
        draft.clone().claim("aud", json!("elsewhere")).signed(),
        draft.clone().claim("iss", json!([CORP])).signed(),
        draft.clone().header("kid", json!("unknown")).signed(),
        draft.clone().header("alg", json!("none")).signed(),
        draft.clone().header("alg", json!(5)).signed(),
        draft.clone().header("typ", json!("secevent+jwt")).signed(),
        draft.clone().header("crit", json!(["exp"])).signed(),
        "a".repeat(17 * 1024),
    ];
    for token in refused {
        let error = tokens.verify(&token, NOW_MS).unwrap_err();
        assert_eq!(alone.verify(&token, NOW_MS), Err(error.clone()), "{token}");
        assert!(!error.is_unavailable(), "{error}");
    }
    let shown = [
        "opaque".to_owned(),
        "a.b.c".to_owned(),
        "a.b.c.d.e".to_owned(),
        "8f14e45f-ceea-467f-a9d5-3c1b8a2f9e01".to_owned(),
        Draft::of(PARTNER, &other).signed(),
        draft.clone().without("iss").signed(),
        draft.clone().claims_text("not JSON").signed(),
    ];
    for token in shown {
        let outcome = tokens.verify(&token, NOW_MS);
        assert!(matches!(outcome, Err(TokenError::Pending(Pending::Opaque(_)))), "{token}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains(&token), "a token is a secret");
        assert!(!alone.verify(&token, NOW_MS).unwrap_err().is_unavailable(), "{token}");
    }
}

#[test]
fn settings_that_would_show_a_token_to_the_wrong_one_are_refused() {
    let corp = Signer::es256("a");
    let problems = |introspection: Vec<IntrospectionSettings>| {
        let problems = Tokens::begin(&settings(introspection, &corp), None).map(|_| ()).err();
        problems.unwrap_or_default().into_iter().map(|problem| problem.to_string()).collect::<Vec<_>>()
    };
    let good = || introspection("opaque");
    let check = |wrong: IntrospectionSettings, part: &str| {
        let problems = problems(vec![wrong]);
        assert!(problems.len() == 1 && problems[0].contains(part), "{problems:?}");
    };
    assert_eq!(problems(vec![good()]), [""; 0]);
    assert_eq!(problems(vec![IntrospectionSettings { client: None, ..good() }]), [""; 0]);
    check(introspection("corp"), "two issuers have this name");
    check(introspection("a/b"), "its name is part of its users' names");
    check(IntrospectionSettings { audiences: Vec::new(), ..good() }, "expected at least one audience");
    check(IntrospectionSettings { cache_s: 0, ..good() }, "kept for 0 s: expected 1 to 300");
    check(IntrospectionSettings { cache_s: 301, ..good() }, "kept for 301 s: expected 1 to 300");
    check(IntrospectionSettings { negative_cache_s: 61, ..good() }, "kept for 61 s: expected 1 to 60");
    let url = |url: &str| IntrospectionSettings { url: url.to_owned(), ..good() };
    check(url("http://id.example/introspect"), "without TLS, only this machine itself is asked");
    check(url("ftp://id.example"), "begins with `https://`");
    check(url("https://me:secret@id.example/"), "no user name in the address");
    let twice = Tokens::begin(&settings(vec![good(), introspection("second")], &corp), None).unwrap_err();
    let problem = IssuerProblem::IntrospectionTwice("opaque".to_owned());
    assert_eq!(twice, [TokensError { issuer: "second".to_owned(), problem }]);
}
