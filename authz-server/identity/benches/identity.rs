//! What a token costs: verified for the first time (cold), and known already (warm).
//!
//! Run by `just bench-identity`; a word after `--` chooses the algorithms that contain it. Cold, each token of a few hundred
//! is verified once by tokens that know nothing yet; warm, each of them again and again. A line is the median of the
//! slices for one token, with the fastest and the slowest.
#![expect(
    clippy::unwrap_used,
    reason = "a bench whose inputs do not hold must not print numbers; nothing here is on a request path"
)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use palisade_identity::{
    Algorithm, Claim, ClaimRules, IssuerSettings, KeysFrom, LEEWAY_S_DEFAULT, Tokens, TokensSettings,
};
use ring::rand::SystemRandom;
use ring::signature::{self as rings, KeyPair as _};
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::{Duration, Instant};

const NOW_MS: u64 = 1_763_700_000_000;

const TOKENS: usize = 256;

const SLICES: usize = 25;

/// How often each token is looked up in a slice that is warm.
const AGAIN: usize = 64;

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

fn main() {
    // Cargo hands on options such as `--bench`; a word without a dash is ours.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    println!("{:<44}{:>12}{:>24}", "case", "ns", "min–max");
    for (algorithm, key) in [
        (Algorithm::Rs256, rs256 as fn() -> (Value, Sign)),
        (Algorithm::Es256, es256),
        (Algorithm::EdDsa, ed25519),
    ] {
        let name = algorithm.as_str();
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            measure(algorithm, key());
        }
    }
}

fn measure(algorithm: Algorithm, (jwk, sign): (Value, Sign)) {
    let tokens: Vec<String> = (0..TOKENS).map(|number| token(algorithm, number, &sign)).collect();
    let settings = settings(algorithm, jwk);
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..SLICES {
        let known = Tokens::begin(&settings, None).unwrap();
        let all = || {
            for token in &tokens {
                black_box(known.verify(black_box(token), NOW_MS).unwrap());
            }
        };
        cold.push(each_ns(1, all));
        warm.push(each_ns(AGAIN, all));
    }
    let bytes = tokens.first().map_or(0, String::len);
    line(&format!("{}: {bytes} bytes, cold", algorithm.as_str()), cold);
    line(&format!("{}: {bytes} bytes, warm", algorithm.as_str()), warm);
}

fn each_ns(times: usize, all: impl Fn()) -> f64 {
    let began = Instant::now();
    (0..times).for_each(|_| all());
    let took: Duration = began.elapsed();
    took.as_secs_f64() * 1e9 / (times * TOKENS) as f64
}

fn line(name: &str, mut each_ns: Vec<f64>) {
    each_ns.sort_by(f64::total_cmp);
    let at = |place: usize| each_ns.get(place).copied().unwrap_or(f64::NAN);
    let spread = format!("{:.0}–{:.0}", at(0), at(SLICES - 1));
    println!("{name:<44}{:>12.0}{spread:>24}", at(SLICES / 2));
}

fn settings(algorithm: Algorithm, mut jwk: Value) -> TokensSettings {
    *jwk.get_mut("kid").unwrap() = json!("2026-11");
    let issuer = IssuerSettings {
        name: "corp".to_owned(),
        issuer: "https://id.shop.example/corp".to_owned(),
        audiences: vec!["orders".to_owned()],
        algorithms: vec![algorithm],
        keys: KeysFrom::Text(json!({"keys": [jwk]}).to_string().into()),
        claims: ClaimRules { groups: Some(Claim::parse("groups").unwrap()), ..ClaimRules::default() },
        leeway_s: LEEWAY_S_DEFAULT,
    };
    TokensSettings { issuers: vec![issuer], ..TokensSettings::default() }
}

/// Of the size that an issuer's tokens have.
fn token(algorithm: Algorithm, number: usize, sign: &Sign) -> String {
    let header = json!({"typ": "at+jwt", "alg": algorithm.as_str(), "kid": "2026-11"});
    let claims = json!({
        "iss": "https://id.shop.example/corp", "aud": ["orders", "payments"], "sub": format!("user-{number:06}"),
        "iat": NOW_MS / 1000 - 60, "nbf": NOW_MS / 1000 - 60, "exp": NOW_MS / 1000 + 3600, "jti": format!("{number:032x}"),
        "scope": "openid profile orders.read orders.write", "client_id": "storefront", "email": "ada@shop.example",
        "groups": ["support", "payments-writers", "eu", "on-call"],
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(&claims));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(sign(message.as_bytes())))
}

fn rs256() -> (Value, Sign) {
    let private = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
    let pair = rings::RsaKeyPair::from_pkcs8(private.to_pkcs8_der().unwrap().as_bytes()).unwrap();
    let number = |bytes: Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({
        "kid": "", "kty": "RSA", "n": number(private.n().to_bytes_be()), "e": number(private.e().to_bytes_be()),
    });
    let sign = move |message: &[u8]| {
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(&rings::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    };
    (jwk, Box::new(sign))
}

fn es256() -> (Value, Sign) {
    let (random, curve) = (SystemRandom::new(), &rings::ECDSA_P256_SHA256_FIXED_SIGNING);
    let der = rings::EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
    let pair = rings::EcdsaKeyPair::from_pkcs8(curve, der.as_ref(), &random).unwrap();
    let (x, y) = pair.public_key().as_ref().split_first().unwrap().1.split_at(32);
    let jwk = json!({
        "kid": "", "kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    });
    (jwk, Box::new(move |message| pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()))
}

fn ed25519() -> (Value, Sign) {
    let der = rings::Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = rings::Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let jwk = json!({"kid": "", "kty": "OKP", "crv": "Ed25519", "x": x});
    (jwk, Box::new(move |message| pair.sign(message).as_ref().to_vec()))
}
