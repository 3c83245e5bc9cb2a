//! Forged tokens, by class, each beside a twin that differs in what is forged and is let in.
//!
//! INVARIANT: every row states why it is refused. A token that is refused for another reason proves nothing.

use super::signer::Signer;
use super::{CORP, Draft, PARTNER, SOLO, WORLD, verify};
use crate::settings::Algorithm;
use crate::{ClaimFault, Malformed, TokenError};
use ring::hmac;
use serde_json::{Value, json};

/// What is forged, the forged token, its twin, and why it is refused.
pub(super) struct Row {
    name: String,
    forged: String,
    twin: String,
    error: TokenError,
}

const ROWS_MIN: usize = 8;

/// The one way that a class is judged.
pub(super) fn check(class: &str, rows: &[Row]) {
    assert!(rows.len() >= ROWS_MIN, "{class} has {} rows", rows.len());
    for Row { name, forged, twin, error } in rows {
        // The twin first: with it in the cache, a mistake in what is compared would show.
        assert!(verify(twin).is_ok(), "{class}, twin of {name}: {:?}\n{twin}", verify(twin));
        assert_ne!(forged, twin, "{class}, {name}: the twin is the same");
        assert_eq!(verify(forged).err().as_ref(), Some(error), "{class}, {name}\n{forged}");
        // Not at second sight either.
        assert!(verify(forged).is_err(), "{class}, {name}: let in at second sight");
    }
    println!("{class}: {} forged, each refused for its reason; {} twins let in", rows.len(), rows.len());
}

pub(super) fn row(name: &str, forged: impl Into<String>, twin: &Draft, error: TokenError) -> Row {
    Row { name: name.to_owned(), forged: forged.into(), twin: twin.signed(), error }
}

pub(super) fn corp(by: &Signer) -> Draft {
    Draft::of(CORP, by)
}

/// A token with a MAC where a signature should be.
fn with_mac(draft: &Draft, secret: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    draft.with_signature(hmac::sign(&key, draft.message().as_bytes()).as_ref())
}

#[test]
fn algorithm() {
    let (rsa, es, ed) = (&WORLD.rsa, &WORLD.es256, &WORLD.ed);
    let (by_rsa, by_es, by_ed) = (corp(rsa), corp(es), corp(ed));
    let alg = |draft: &Draft, name: &str| draft.clone().header("alg", json!(name));
    let none = |name: &str| format!("{}.", alg(&by_rsa, name).message());
    let no_parts = TokenError::Malformed(Malformed::Parts);
    let no_member = TokenError::Malformed(Malformed::HeaderMember);
    let hs = alg(&by_rsa, "HS256");
    let pem = |der: &[u8]| {
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        format!("-----BEGIN RSA PUBLIC KEY-----\n{text}\n-----END RSA PUBLIC KEY-----\n")
    };
    let swapped = |draft: &Draft, algorithm: Algorithm, by: &Signer| {
        draft.clone().header("alg", json!(algorithm.as_str())).by(by).signed()
    };
    let mut rows = vec![
        row("none, no signature", none("none"), &by_rsa, no_parts),
        row("none, a signature", alg(&by_rsa, "none").signed(), &by_rsa, TokenError::Algorithm),
        row("None", alg(&by_rsa, "None").signed(), &by_rsa, TokenError::Algorithm),
        row("NONE", alg(&by_rsa, "NONE").signed(), &by_rsa, TokenError::Algorithm),
        row("HS256 by the modulus", with_mac(&hs, &rsa.public_bytes()), &by_rsa, TokenError::Algorithm),
        row("HS256 by the DER", with_mac(&hs, &rsa.public_der()), &by_rsa, TokenError::Algorithm),
        row(
            "HS256 by the PEM",
            with_mac(&hs, pem(&rsa.public_der()).as_bytes()),
            &by_rsa,
            TokenError::Algorithm,
        ),
        row(
            "HS256 by the point",
            with_mac(&alg(&by_es, "HS256"), &es.public_bytes()),
            &by_es,
            TokenError::Algorithm,
        ),
        row("HS256 by nothing", with_mac(&hs, b""), &by_rsa, TokenError::Algorithm),
        row(
            "ES256 said of the RSA key",
            swapped(&by_rsa, Algorithm::Es256, es),
            &by_rsa,
            TokenError::Algorithm,
        ),
        row(
            "RS256 said of the EC key",
            swapped(&by_es, Algorithm::Rs256, rsa),
            &by_es,
            TokenError::Algorithm,
        ),
        row("EdDSA said of the EC key", swapped(&by_es, Algorithm::EdDsa, ed), &by_es, TokenError::Algorithm),
        row("ES256 said of the Ed key", swapped(&by_ed, Algorithm::Es256, es), &by_ed, TokenError::Algorithm),
        row(
            "a MAC under the name of RS256",
            with_mac(&by_rsa, &rsa.public_der()),
            &by_rsa,
            TokenError::Signature,
        ),
        row(
            "a MAC under the name of ES256",
            with_mac(&by_es, &es.public_bytes()),
            &by_es,
            TokenError::Signature,
        ),
        row("alg absent", by_rsa.clone().without_header("alg").signed(), &by_rsa, no_member.clone()),
        row("lower case", alg(&by_rsa, "rs256").signed(), &by_rsa, TokenError::Algorithm),
        row("a space", alg(&by_rsa, "RS256 ").signed(), &by_rsa, TokenError::Algorithm),
        row("empty", alg(&by_rsa, "").signed(), &by_rsa, TokenError::Algorithm),
    ];
    // By the right key, and yet not by what the bundle lists.
    for other in [Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256, Algorithm::Ps384, Algorithm::Ps512] {
        let forged = swapped(&by_rsa, other, &rsa.with(other));
        rows.push(row(other.as_str(), forged, &by_rsa, TokenError::Algorithm));
        // And under the name of the algorithm that is listed.
        let disguised = by_rsa.clone().by(&rsa.with(other)).signed();
        rows.push(row(&format!("{} as RS256", other.as_str()), disguised, &by_rsa, TokenError::Signature));
    }
    for (name, value) in [("a number", json!(256)), ("null", Value::Null), ("an array", json!(["RS256"]))] {
        rows.push(row(name, by_rsa.clone().header("alg", value).signed(), &by_rsa, no_member.clone()));
    }
    check("algorithm", &rows);
}

#[test]
fn key() {
    let (rsa, es, ed, partner, solo) = (&WORLD.rsa, &WORLD.es256, &WORLD.ed, &WORLD.partner, &WORLD.solo);
    let (other_rsa, other_es, other_ed) =
        (Signer::rsa("rs-1"), Signer::es256("es-1"), Signer::ed25519("ed-1"));
    let carried = |name: &str, value: Value| corp(&other_es).header(name, value);
    let chain = rcgen::generate_simple_self_signed(vec!["id.example".to_owned()]).unwrap();
    let chain = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, chain.cert.der().as_ref());
    let link = "http://127.0.0.1:9/keys";
    let with_header = |name: &str, value: Value| corp(es).header(name, value);
    let rows = [
        row("another RSA key of that name", corp(&other_rsa).signed(), &corp(rsa), TokenError::Signature),
        row("another EC key of that name", corp(&other_es).signed(), &corp(es), TokenError::Signature),
        row("another Ed key of that name", corp(&other_ed).signed(), &corp(ed), TokenError::Signature),
        row("the partner's key for corp", corp(partner).signed(), &corp(es), TokenError::Signature),
        row(
            "corp's key for the partner",
            Draft::of(PARTNER, es).signed(),
            &Draft::of(PARTNER, partner),
            TokenError::Signature,
        ),
        row(
            "a nameless key for corp",
            corp(solo).header("kid", json!("ed-1")).signed(),
            &corp(ed),
            TokenError::Signature,
        ),
        row(
            "the key in the token",
            carried("jwk", other_es.jwk()).signed(),
            &with_header("jwk", es.jwk()),
            TokenError::Signature,
        ),
        row(
            "a chain in the token",
            carried("x5c", json!([chain])).signed(),
            &with_header("x5c", json!([chain])),
            TokenError::Signature,
        ),
        row(
            "a link to keys",
            carried("jku", json!(link)).signed(),
            &with_header("jku", json!(link)),
            TokenError::Signature,
        ),
        row(
            "a link to certificates",
            carried("x5u", json!(link)).signed(),
            &with_header("x5u", json!(link)),
            TokenError::Signature,
        ),
        row(
            "a thumbprint",
            carried("x5t#S256", json!("AAAA")).signed(),
            &with_header("x5t#S256", json!("AAAA")),
            TokenError::Signature,
        ),
    ];
    check("key", &rows);
}

#[test]
fn signature() {
    let (by_rsa, by_es, by_ed) = (corp(&WORLD.rsa), corp(&WORLD.es256), corp(&WORLD.ed));
    let good = |draft: &Draft| draft.by.sign(draft.message().as_bytes());
    let (rsa, es, ed) = (good(&by_rsa), good(&by_es), good(&by_ed));
    // The order of the group: 1 and 0 once it is taken away.
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let one: Vec<u8> = [0; 31].into_iter().chain([1]).collect();
    let der = |r: &[u8], s: &[u8]| [&[0x30, 68, 2, 32], r, &[2, 32], s].concat();
    let flipped = |bytes: &[u8], place: usize| {
        let mut bytes = bytes.to_vec();
        bytes[place] ^= 1;
        bytes
    };
    let (r, s) = es.split_at(32);
    let of_another = good(&by_es.clone().claim("sub", json!("bob")));
    let cases: Vec<(&str, &Draft, Vec<u8>)> = vec![
        ("ES256: zeros", &by_es, vec![0; 64]),
        ("ES256: r is zero", &by_es, [&[0; 32], s].concat()),
        ("ES256: s is zero", &by_es, [r, &[0; 32]].concat()),
        ("ES256: r is the order", &by_es, [&order, s].concat()),
        ("ES256: s is the order", &by_es, [r, &order].concat()),
        ("ES256: both are the order", &by_es, [&order[..], &order].concat()),
        ("ES256: ones", &by_es, [&one[..], &one].concat()),
        ("ES256: DER", &by_es, der(r, s)),
        ("ES256: DER of zeros", &by_es, vec![0x30, 6, 2, 1, 0, 2, 1, 0]),
        ("ES256: a byte too few", &by_es, es[..63].to_vec()),
        ("ES256: a byte too many", &by_es, [&es[..], &[0]].concat()),
        ("ES256: a zero before it", &by_es, [&[0], &es[..]].concat()),
        ("ES256: halves swapped", &by_es, [s, r].concat()),
        ("ES256: twice", &by_es, [&es[..], &es].concat()),
        ("ES256: one bit of r", &by_es, flipped(&es, 0)),
        ("ES256: one bit of s", &by_es, flipped(&es, 63)),
        ("ES256: of another token", &by_es, of_another),
        ("RS256: zeros", &by_rsa, vec![0; 256]),
        ("RS256: one", &by_rsa, [vec![0; 255], vec![1]].concat()),
        ("RS256: the modulus", &by_rsa, WORLD.rsa.public_bytes()),
        ("RS256: a byte too few", &by_rsa, rsa[1..].to_vec()),
        ("RS256: a zero before it", &by_rsa, [&[0], &rsa[..]].concat()),
        ("RS256: one bit", &by_rsa, flipped(&rsa, 255)),
        ("EdDSA: zeros", &by_ed, vec![0; 64]),
        ("EdDSA: the neutral point", &by_ed, [&[1][..], &[0; 63]].concat()),
        ("EdDSA: one bit of R", &by_ed, flipped(&ed, 0)),
        ("EdDSA: one bit of S", &by_ed, flipped(&ed, 40)),
        ("EdDSA: S is not reduced", &by_ed, [&ed[..32], &[0xff; 32]].concat()),
    ];
    let rows: Vec<Row> = cases
        .into_iter()
        .map(|(name, draft, bytes)| row(name, draft.with_signature(&bytes), draft, TokenError::Signature))
        .collect();
    check("signature", &rows);
}

#[test]
fn kid() {
    let by_es = corp(&WORLD.es256);
    let named = |kid: Value| by_es.clone().header("kid", kid).signed();
    let unknown = [
        "../../../../dev/null",
        "/dev/null",
        "es-1' OR '1'='1",
        "es-1; DROP TABLE keys",
        "es-1 ",
        " es-1",
        "ES-1",
        "es‑1",
        "es-1\u{0}",
        "es-1/../es-1",
        "",
        "*",
        "%65s-1",
        "http://127.0.0.1:9/keys",
        "e\u{301}s-1",
    ];
    let mut rows: Vec<Row> =
        unknown.iter().map(|kid| row(kid, named(json!(kid)), &by_es, TokenError::KeyUnknown)).collect();
    let long = |bytes| json!("k".repeat(bytes));
    rows.push(row("at the limit", named(long(256)), &by_es, TokenError::KeyUnknown));
    let limit = TokenError::Limit { what: "its `kid` is", max: 256 };
    rows.push(row("over the limit", named(long(257)), &by_es, limit.clone()));
    rows.push(row("very long", named(long(4000)), &by_es, limit));
    for (name, value) in [
        ("a number", json!(1)),
        ("null", Value::Null),
        ("an array", json!(["es-1"])),
        ("an object", json!({})),
    ] {
        rows.push(row(name, named(value), &by_es, TokenError::Malformed(Malformed::HeaderMember)));
    }
    // Without a name, the one key that fits: the twin of the solo issuer has none.
    let nameless = Draft::of(SOLO, &WORLD.solo).without_header("kid");
    let other = Signer::ed25519("x");
    rows.push(row(
        "nameless, another key",
        nameless.clone().by(&other).signed(),
        &nameless,
        TokenError::Signature,
    ));
    let es = Draft::of(SOLO, &WORLD.es256).without_header("kid").signed();
    rows.push(row("nameless, and none fits", es, &nameless, TokenError::KeyUnnamed));
    rows.push(row(
        "named, and the key is not",
        Draft::of(SOLO, &WORLD.solo).signed(),
        &nameless,
        TokenError::KeyUnknown,
    ));
    check("kid", &rows);
}

#[test]
fn issuer() {
    let by_es = corp(&WORLD.es256);
    let says = |issuer: Value| by_es.clone().claim("iss", issuer).signed();
    let others = [
        "https://id.example/corp/",
        "https://id.example/CORP",
        "https://id.example",
        "https://id.example/cor",
        " https://id.example/corp",
        "https://id.example/corp ",
        "http://id.example/corp",
        "corp",
        "",
        "https://id.example/corp#",
        "https://id.example//corp",
        "https://evil.example/corp",
    ];
    let mut rows: Vec<Row> = others
        .iter()
        .map(|issuer| row(issuer, says(json!(issuer)), &by_es, TokenError::IssuerUnknown))
        .collect();
    let fault = |fault| TokenError::claim("iss", fault);
    for (name, value) in [
        ("a number", json!(1)),
        ("null", Value::Null),
        ("an array with it", json!([CORP])),
        ("an object", json!({"iss": CORP})),
    ] {
        rows.push(row(name, says(value), &by_es, fault(ClaimFault::Type)));
    }
    rows.push(row("absent", by_es.clone().without("iss").signed(), &by_es, fault(ClaimFault::Missing)));
    let long = format!("https://{}", "x".repeat(505));
    rows.push(row("over the limit", says(json!(long)), &by_es, fault(ClaimFault::TooLong(512))));
    let partner = Draft::of(PARTNER, &WORLD.partner);
    rows.push(row("the partner by corp's key", says(json!(PARTNER)), &partner, TokenError::Signature));
    rows.push(row(
        "corp by the partner's key",
        partner.clone().claim("iss", json!(CORP)).signed(),
        &partner,
        TokenError::Signature,
    ));
    check("issuer", &rows);
}

#[test]
fn audience() {
    let by_es = corp(&WORLD.es256);
    let for_ = |audience: Value| by_es.clone().claim("aud", audience);
    let many = |count: usize| {
        let others = (1..count).map(|place| format!("other-{place}"));
        for_(json!(others.chain(["orders".to_owned()]).collect::<Vec<String>>()))
    };
    let mut rows: Vec<Row> =
        ["billing", "Orders", "orders ", " orders", "order", "orders2", "", "*", "orders payments"]
            .iter()
            .map(|audience| row(audience, for_(json!(audience)).signed(), &by_es, TokenError::Audience))
            .collect();
    let ours = for_(json!(["billing", "payments"]));
    let fault = |fault| TokenError::claim("aud", fault);
    for (name, value, error) in [
        ("an empty array", json!([]), TokenError::Audience),
        ("an array of others", json!(["billing", "stock"]), TokenError::Audience),
        ("a number", json!(1), fault(ClaimFault::Type)),
        ("null", Value::Null, fault(ClaimFault::Type)),
        ("an object", json!({"orders": true}), fault(ClaimFault::Type)),
        ("an array in an array", json!([["orders"]]), fault(ClaimFault::Type)),
        ("ours and a number", json!(["orders", 1]), fault(ClaimFault::Type)),
    ] {
        rows.push(row(name, for_(value).signed(), &ours, error));
    }
    rows.push(row("absent", by_es.clone().without("aud").signed(), &by_es, fault(ClaimFault::Missing)));
    rows.push(row("too many", many(65).signed(), &many(64), fault(ClaimFault::TooMany(64))));
    check("audience", &rows);
}
