//! Which keys are used, and for what.

use super::signer::{Signer, base64, rsa_jwk, set_of};
use super::{CORP, WORLD, issuer, text};
use crate::settings::{Algorithm, IssuerProblem, TokensSettings};
use crate::tokens::Tokens;
use crate::tokens::keys::{Found, KeyFault, KeySet, KeySetError};
use crate::{KeysFrom, KeysUrl};
use serde_json::{Value, json};

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(name);
    jwk
}

fn read(set: &Value, algorithms: &[Algorithm]) -> Result<KeySet, KeySetError> {
    KeySet::read(set.to_string().as_bytes(), algorithms)
}

#[test]
fn a_key_is_for_one_algorithm() {
    let (rsa, es) = (WORLD.rsa.jwk(), WORLD.es256.jwk());
    let es384 = Signer::es384("es-3");
    let check = |jwk: &Value, algorithms: &[Algorithm], expected: Result<Algorithm, KeyFault>| {
        let found = match read(&set_of([jwk.clone()]), algorithms) {
            Ok(set) => {
                let kid = jwk["kid"].as_str();
                let fits = |it: &Algorithm| matches!(set.find(kid, *it), Found::Key(_));
                let fitting: Vec<Algorithm> = Algorithm::ALL.into_iter().filter(fits).collect();
                assert_eq!(fitting.len(), 1, "{jwk}");
                Ok(fitting[0])
            }
            Err(KeySetError::NoneUsable(left_out)) => Err(left_out[0].fault),
            Err(error) => panic!("{jwk}: {error}"),
        };
        assert_eq!(found, expected, "{jwk}");
    };
    let all = &Algorithm::ALL[..];
    check(&rsa, all, Ok(Algorithm::Rs256));
    check(&es, all, Ok(Algorithm::Es256));
    check(&es384.jwk(), all, Ok(Algorithm::Es384));
    check(&without(es384.jwk(), "alg"), all, Ok(Algorithm::Es384));
    check(&WORLD.ed.jwk(), all, Ok(Algorithm::EdDsa));
    check(&with(rsa.clone(), "alg", json!("PS512")), all, Ok(Algorithm::Ps512));
    // Without its own word, the bundle's must leave exactly one.
    let unsaid = without(rsa.clone(), "alg");
    check(&unsaid, &[Algorithm::Rs256, Algorithm::Es256], Ok(Algorithm::Rs256));
    check(&unsaid, &[Algorithm::Rs256, Algorithm::Ps256], Err(KeyFault::Ambiguous));
    check(&unsaid, &[Algorithm::Es256], Err(KeyFault::OtherAlgorithm));
    check(&rsa, &[Algorithm::Ps256], Err(KeyFault::OtherAlgorithm));
    check(&with(rsa.clone(), "alg", json!("ES256")), all, Err(KeyFault::Numbers));
    check(&with(es.clone(), "alg", json!("ES384")), all, Err(KeyFault::Numbers));
    check(&with(rsa.clone(), "alg", json!("HS256")), all, Err(KeyFault::OtherAlgorithm));
    check(&with(rsa.clone(), "alg", json!("RSA-OAEP")), all, Err(KeyFault::OtherAlgorithm));
    check(&with(rsa.clone(), "use", json!("enc")), all, Err(KeyFault::OtherUse));
    check(&with(rsa.clone(), "key_ops", json!(["sign"])), all, Err(KeyFault::OtherUse));
    check(&with(rsa.clone(), "key_ops", json!(["verify"])), all, Ok(Algorithm::Rs256));
    check(&with(es.clone(), "d", json!("AAAA")), all, Err(KeyFault::Private));
    check(&with(rsa.clone(), "p", json!("AAAA")), all, Err(KeyFault::Private));
    check(&json!({"kty": "oct", "k": "AAAA", "alg": "HS256"}), all, Err(KeyFault::Shared));
    check(&with(es.clone(), "crv", json!("secp256k1")), all, Err(KeyFault::Kind));
    check(&with(es.clone(), "crv", json!("P-521")), all, Err(KeyFault::Kind));
    check(&json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}), all, Err(KeyFault::Kind));
    check(&with(es.clone(), "x", json!("AAAA")), all, Err(KeyFault::Numbers));
    check(&with(es.clone(), "y", json!("not base64")), all, Err(KeyFault::Numbers));
    check(&with(rsa.clone(), "kid", json!("")), all, Err(KeyFault::Kid));
    check(&with(rsa.clone(), "kid", json!(7)), all, Err(KeyFault::Kid));
    for exponent in [&[1][..], &[2], &[0], &[], &[1, 0, 0, 0, 1]] {
        check(&with(rsa.clone(), "e", json!(base64(exponent))), all, Err(KeyFault::Numbers));
    }
    check(&rsa_jwk(1024), all, Err(KeyFault::Ambiguous));
    check(&rsa_jwk(1024), &[Algorithm::Rs256], Err(KeyFault::RsaBits(1024)));
    check(&with(rsa_jwk(2040), "alg", json!("RS256")), all, Err(KeyFault::RsaBits(2040)));
    // Written with the zero of a sign, and used all the same.
    let signed = [&[0][..], &WORLD.rsa.public_bytes()].concat();
    check(&with(rsa, "n", json!(base64(&signed))), all, Ok(Algorithm::Rs256));
}

#[test]
fn a_set_is_strict_as_a_whole() {
    let (rsa, es) = (WORLD.rsa.jwk(), WORLD.es256.jwk());
    let check = |text: &str, part: &str| {
        let error = KeySet::read(text.as_bytes(), &Algorithm::ALL).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    check("", "one JSON object");
    check("{\"keys\":[],\"keys\":[]}", "one JSON object");
    check("[]", "an array `keys`");
    check("{\"keys\":{}}", "an array `keys`");
    check("{\"keys\":[1]}", "an array `keys`");
    check("{\"keys\":[]}", "no key can be used");
    check(&set_of((0..65).map(|_| es.clone())).to_string(), "65 keys are over the limit of 64");
    check(&set_of([es.clone(), es.clone()]).to_string(), "two keys have the name \"es-1\"");
    check(&format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(256 * 1024)), "over the limit of 262144");
    // A name may stand for keys of two algorithms, and what is for others is passed over.
    let shared = with(WORLD.ed.jwk(), "kid", json!("es-1"));
    let encrypting = with(with(rsa, "use", json!("enc")), "alg", json!("RSA-OAEP"));
    let set = read(&set_of([es, shared, encrypting]), &Algorithm::ALL).unwrap();
    assert!(matches!(set.find(Some("es-1"), Algorithm::Es256), Found::Key(_)));
    assert!(matches!(set.find(Some("es-1"), Algorithm::EdDsa), Found::Key(_)));
    assert_eq!(set.left_out(), ["the key \"rs-1\": it is not for verifying signatures"]);
}

#[test]
fn settings_say_what_is_wrong_with_them() {
    let keys = || text(&set_of([WORLD.es256.jwk()]));
    let good = || issuer("corp", CORP, &[Algorithm::Es256], keys());
    let url = |url: &str, refresh_s, max_age_s| {
        KeysFrom::Url(KeysUrl { url: url.to_owned(), refresh_s, max_age_s, ca: None })
    };
    let begin = |issuers: Vec<crate::IssuerSettings>| {
        Tokens::begin(&TokensSettings { issuers, ..TokensSettings::default() }, None)
    };
    let check = |change: &dyn Fn(&mut crate::IssuerSettings), part: &str| {
        let mut settings = good();
        change(&mut settings);
        let errors = begin(vec![settings]).unwrap_err();
        let told = errors.iter().map(ToString::to_string).collect::<Vec<String>>().join("\n");
        assert!(told.contains(part), "{told}");
    };
    assert!(begin(vec![good()]).is_ok());
    for name in ["", "a/b", "a b", "é", &"n".repeat(65)] {
        check(&|it| it.name = name.to_owned(), "its name is part of its users' names");
    }
    check(&|it| it.issuer.clear(), "`issuer` is the claim `iss` of its tokens");
    check(&|it| it.audiences.clear(), "expected at least one audience");
    check(&|it| it.audiences.push(String::new()), "none that is empty");
    check(&|it| it.algorithms.clear(), "expected at least one algorithm");
    check(&|it| it.leeway_s = 61, "a leeway of 61 s: expected at most 60");
    check(&|it| it.keys = url("https://id.example/keys", 9, 60), "a refresh each 9 s: expected at least 10");
    check(&|it| it.keys = url("https://id.example/keys", 60, 59), "at least the time between refreshes");
    check(&|it| it.keys = url("https://id.example/keys", 60, 604_801), "at most 604800");
    check(
        &|it| it.keys = url("http://id.example/keys", 60, 600),
        "without TLS, only this machine itself is asked",
    );
    check(&|it| it.keys = url("file:///etc/keys", 60, 600), "it is not a URL with a host");
    check(&|it| it.keys = KeysFrom::Text("{}".into()), "expected a JWK set");
    // In a file of the bundle a key that must be mended is not passed over, even beside a good one.
    let weak = set_of([WORLD.es256.jwk(), with(rsa_jwk(1024), "kid", json!("weak"))]);
    check(
        &|it| {
            it.algorithms = vec![Algorithm::Es256, Algorithm::Rs256];
            it.keys = text(&weak);
        },
        "the key \"weak\": it has 1024 bits, expected 2048 to 8192",
    );
    let twice = |change: &dyn Fn(&mut crate::IssuerSettings)| {
        let mut other = good();
        change(&mut other);
        begin(vec![good(), other]).unwrap_err().remove(0).problem
    };
    assert_eq!(twice(&|it| it.issuer = "https://other".to_owned()), IssuerProblem::NameTwice);
    assert_eq!(twice(&|it| it.name = "other".to_owned()), IssuerProblem::IssuerTwice("corp".to_owned()));
}
