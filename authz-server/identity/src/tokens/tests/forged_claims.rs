//! Forged claims and forged texts, by class; the other classes, and how a row is judged, are in `forged`.

use super::forged::{Row, check, corp, row};
use super::{CORP, Draft, NOW_MS, NOW_S, WORLD, verify};
use crate::{ClaimFault, ClaimValue, Malformed, TokenError};
use serde_json::{Value, json};

/// A claim, what is wrong with its value, and a value that is not wrong.
fn claim_rows() -> Vec<(&'static str, Value, ClaimFault, Value)> {
    let (time, type_) = (ClaimFault::Time, ClaimFault::Type);
    let mut rows = Vec::new();
    for name in ["exp", "nbf", "iat"] {
        let good = json!(if name == "exp" { NOW_S + 60 } else { NOW_S - 60 });
        let text = json!((NOW_S + 60).to_string());
        for bad in [
            text,
            json!(NOW_S as f64 + 60.5),
            json!(NOW_S as f64),
            json!(-1),
            json!(-(NOW_S as i64)),
            json!(1e300),
            json!(u64::MAX),
            json!(253_402_300_800_u64),
            json!(NOW_MS),
            Value::Null,
            json!(true),
            json!([NOW_S + 60]),
            json!({"seconds": NOW_S}),
            json!(""),
        ] {
            rows.push((name, bad, time, good.clone()));
        }
    }
    let words = |count: usize, bytes: usize| {
        let word = |place: usize| format!("{place:0>bytes$}");
        json!((0..count).map(word).collect::<Vec<String>>())
    };
    let long = |bytes: usize| json!("a".repeat(bytes));
    for bad in [json!(1), json!(true), Value::Null, json!(["alice"]), json!({"sub": "alice"})] {
        rows.push(("sub", bad, type_, json!("alice")));
    }
    rows.push(("sub", json!(""), ClaimFault::Empty, json!("a")));
    rows.push(("sub", long(257), ClaimFault::TooLong(256), long(256)));
    for bad in ["al\nice", "alice\u{0}", "\u{1b}[31malice", "alice\u{85}"] {
        rows.push(("sub", json!(bad), ClaimFault::Control, json!("al ice")));
    }
    for bad in [
        json!("admins"),
        json!(1),
        Value::Null,
        json!({"0": "admins"}),
        json!(["a", 1]),
        json!([["a"]]),
        json!([null]),
    ] {
        rows.push(("groups", bad, type_, json!(["admins"])));
    }
    rows.push(("groups", json!([""]), ClaimFault::Empty, json!([])));
    rows.push(("groups", words(257, 3), ClaimFault::TooMany(256), words(256, 3)));
    rows.push(("groups", words(2, 257), ClaimFault::TooLong(256), words(2, 256)));
    rows.push(("groups", json!(["a\tb"]), ClaimFault::Control, json!(["a b"])));
    rows.push(("scope", json!(1), type_, json!("read write")));
    rows.push(("scope", json!({"read": true}), type_, json!(["read", "write"])));
    rows.push(("scope", json!("read\nwrite"), ClaimFault::Control, json!("")));
    rows.push(("department", json!(7), type_, json!("")));
    rows.push(("department", long(1025), ClaimFault::TooLong(1024), long(1024)));
    for bad in [json!("3"), json!(3.5), json!(u64::MAX), json!(true), Value::Null] {
        rows.push(("level", bad, type_, json!(-3)));
    }
    for bad in [json!("true"), json!(1), Value::Null] {
        rows.push(("on_call", bad, type_, json!(false)));
    }
    rows.push(("tenant", json!(["north"]), type_, json!("south")));
    rows
}

#[test]
fn claim_type() {
    let by_es = corp(&WORLD.es256);
    let rows = claim_rows().into_iter().map(|(name, bad, fault, good)| {
        let forged = by_es.clone().claim(name, bad.clone()).signed();
        let twin = by_es.clone().claim(name, good);
        row(&format!("{name}: {bad}"), forged, &twin, TokenError::claim(name, fault))
    });
    let mut rows: Vec<Row> = rows.collect();
    for name in ["exp", "sub", "tenant"] {
        let forged = by_es.clone().without(name).signed();
        rows.push(row(
            &format!("{name} absent"),
            forged,
            &by_es,
            TokenError::claim(name, ClaimFault::Missing),
        ));
    }
    let deep = |name: &str, value: Value| by_es.clone().claim(name, value);
    let roles = "/realm_access/roles";
    let fault = TokenError::claim(roles, ClaimFault::Type);
    let twin = deep("realm_access", json!({"roles": ["clerk"]}));
    rows.push(row(
        "roles: text",
        deep("realm_access", json!({"roles": "clerk"})).signed(),
        &twin,
        fault.clone(),
    ));
    rows.push(row("roles: an object", deep("realm_access", json!({"roles": {}})).signed(), &twin, fault));
    // Numbers that readers round differently.
    for text in ["1e300", "1763700060.0", "1.76370006e9", "-0", "0x69", "1763700060e0"] {
        let forged = by_es.clone().without("exp").claims_and(&format!("\"exp\":{text}"));
        let error = if text == "0x69" {
            TokenError::Malformed(Malformed::ClaimsJson)
        } else {
            TokenError::claim("exp", ClaimFault::Time)
        };
        rows.push(row(&format!("exp as {text}"), forged.signed(), &by_es, error));
    }
    check("claim type", &rows);
}

#[test]
fn structure() {
    let by_es = corp(&WORLD.es256);
    let token = by_es.signed();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let parts = TokenError::Malformed(Malformed::Parts);
    let json_of = json!({"protected": header, "payload": claims, "signature": signature}).to_string();
    let whole =
        json!({"payload": claims, "signatures": [{"protected": header, "signature": signature}]}).to_string();
    let standard = |text: &str| text.replace('-', "+").replace('_', "/");
    // Signatures are drawn until one has a letter that the two alphabets write differently.
    let special = std::iter::repeat_with(|| by_es.signed()).find(|token| token.contains(['-', '_'])).unwrap();
    let mut rows: Vec<Row> = [
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("two parts", message.to_owned()),
        ("a dot at the end", format!("{token}.")),
        ("a dot before it", format!(".{token}")),
        ("four parts", format!("{token}.{signature}")),
        ("five parts", format!("{header}.{signature}.{signature}.{claims}.{signature}")),
        ("no header", format!(".{claims}.{signature}")),
        ("no claims", format!("{header}..{signature}")),
        ("no signature", format!("{message}.")),
        ("JSON, flattened", json_of),
        ("JSON, general", whole),
        ("a space before it", format!(" {token}")),
        ("a space after it", format!("{token} ")),
        ("a line after it", format!("{token}\n")),
        ("a space in it", token.replacen('.', ". ", 1)),
        ("a tab in it", token.replacen('.', ".\t", 1)),
        ("a word before it", format!("Bearer {token}")),
        ("a padded part", format!("{header}.{claims}.{signature}==")),
        ("the other alphabet", standard(&special)),
        ("a percent", token.replacen('.', "%2e", 1)),
        ("two tokens", format!("{token},{token}")),
        ("a wide letter", format!("{token}é")),
        ("a zero byte", format!("{token}\0")),
    ]
    .into_iter()
    .map(|(name, forged)| row(name, forged, &by_es, parts.clone()))
    .collect();
    // 64 bytes leave four bits of the last letter unused; a lenient reader would not look at them.
    let last = signature.chars().last().unwrap();
    for other in ['B', 'R', 'h', 'x'].into_iter().filter(|other| *other != last) {
        let forged = format!("{message}.{}{other}", signature.strip_suffix(last).unwrap());
        rows.push(row("unused bits", forged, &by_es, TokenError::Signature));
    }
    rows.extend(json_rows(&by_es));
    rows.extend(header_rows(&by_es));
    check("structure", &rows);
}

/// Documents that readers disagree about, each signed by the right key.
fn json_rows(by_es: &Draft) -> Vec<Row> {
    let header = |text: &str| by_es.clone().header_text(text).signed();
    let claims = |text: &str| by_es.clone().claims_text(text).signed();
    let (h, c) = (by_es.header.to_string(), by_es.claims.to_string());
    let (no_header, no_claims) =
        (TokenError::Malformed(Malformed::HeaderJson), TokenError::Malformed(Malformed::ClaimsJson));
    let mut rows = Vec::new();
    for (name, text) in [
        ("an array", format!("[{h}]")),
        ("text", "\"alg\"".to_owned()),
        ("more after it", format!("{h}{h}")),
        ("a comma at the end", h.replace('}', ",}")),
        ("a comment", h.replace('{', "{/**/")),
        ("not UTF-16 either", h.replace("es-1", "\\ud800")),
        ("a mark before it", format!("\u{feff}{h}")),
        ("nothing in it", " ".to_owned()),
    ] {
        rows.push(row(&format!("header: {name}"), header(&text), by_es, no_header.clone()));
    }
    for (name, text) in [
        ("an array", format!("[{c}]")),
        ("a token in it", format!("\"{}\"", by_es.signed())),
        ("more after it", format!("{c} {c}")),
        ("cut short", c.strip_suffix('}').unwrap().to_owned()),
        ("quotes of the other kind", c.replace('"', "'")),
        ("not a number", c.replace(&(NOW_S + 600).to_string(), "NaN")),
        ("endless", c.replace(&(NOW_S + 600).to_string(), "Infinity")),
        ("a zero before a number", c.replace(&(NOW_S + 600).to_string(), &format!("0{}", NOW_S + 600))),
        ("a line in a text", c.replace("alice", "al\nice")),
        ("deep", format!("{{\"x\":{}{}}}", "[".repeat(70), "]".repeat(70))),
    ] {
        rows.push(row(&format!("claims: {name}"), claims(&text), by_es, no_claims.clone()));
    }
    let not_utf8 = by_es.clone().claims_text([c.as_bytes(), b"\xff"].concat()).signed();
    rows.push(row("claims: no UTF-8", not_utf8, by_es, no_claims.clone()));
    // Equal keys, also where one is written with escapes. The twin writes a key so, and has it once.
    let escaped = by_es.clone().without("sub").claims_and(r#""\u0073ub":"alice""#);
    for more in [
        r#""sub":"admin""#,
        r#""\u0073ub":"admin""#,
        r#""exp":9999999999"#,
        r#""e\u0078p":9999999999"#,
        r#""aud":"orders""#,
        r#""iss":"https://id.example/corp""#,
        r#""realm_access":{"roles":[],"roles":["root"]}"#,
    ] {
        rows.push(row(
            &format!("twice: {more}"),
            by_es.clone().claims_and(more).signed(),
            &escaped,
            no_claims.clone(),
        ));
    }
    for more in [r#""alg":"none""#, r#""\u0061lg":"ES256""#, r#""kid":"es-1""#] {
        rows.push(row(
            &format!("twice: {more}"),
            by_es.clone().header_and(more).signed(),
            &escaped,
            no_header.clone(),
        ));
    }
    rows
}

/// Headers that demand something, or say that this is no token.
fn header_rows(by_es: &Draft) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("enc", json!("A256GCM")),
        ("zip", json!("DEF")),
    ] {
        let forged = by_es.clone().header(name, value.clone()).signed();
        rows.push(row(
            &format!("{name}: {value}"),
            forged,
            by_es,
            TokenError::Malformed(Malformed::Critical),
        ));
    }
    for (bad, good) in [
        (json!("JWE"), json!("jwt")),
        (json!("JOSE+JSON"), json!("at+jwt")),
        (json!("dpop+jwt"), json!("AT+JWT")),
        (json!("logout+jwt"), json!("application/at+jwt")),
        (json!(""), json!("application/jwt")),
        (json!(1), json!("JWT")),
        (Value::Null, json!("JWT")),
    ] {
        let (forged, twin) =
            (by_es.clone().header("typ", bad.clone()).signed(), by_es.clone().header("typ", good));
        rows.push(row(&format!("typ: {bad}"), forged, &twin, TokenError::Malformed(Malformed::Type)));
    }
    let padded = |part: &str, bytes: usize| {
        let filling = "x".repeat(bytes);
        if part == "header" {
            by_es.clone().header("x", json!(filling))
        } else {
            by_es.clone().claim("x", json!(filling))
        }
    };
    let limit = |what, max| TokenError::Limit { what, max };
    rows.push(row(
        "a huge header",
        padded("header", 6200).signed(),
        &padded("header", 5900),
        limit("its header is", 6144),
    ));
    rows.push(row(
        "huge claims",
        by_es.clone().header_text("{}").claims_text("x").signed() + &"A".repeat(17_000),
        &padded("claims", 11_000),
        limit("it is", 16_384),
    ));
    rows
}

#[test]
fn time() {
    let by_es = corp(&WORLD.es256);
    let at = |name: &str, time_s: u64| by_es.clone().claim(name, json!(time_s));
    // Thirty seconds of leeway: the second at the edge is refused, the one before it is let in.
    let rows = [
        row("exp at the edge", at("exp", NOW_S - 30).signed(), &at("exp", NOW_S - 29), TokenError::Expired),
        row(
            "exp a second later",
            at("exp", NOW_S - 31).signed(),
            &at("exp", NOW_S - 29),
            TokenError::Expired,
        ),
        row("exp a minute ago", at("exp", NOW_S - 60).signed(), &at("exp", NOW_S), TokenError::Expired),
        row(
            "exp an hour ago",
            at("exp", NOW_S - 3600).signed(),
            &at("exp", NOW_S + 3600),
            TokenError::Expired,
        ),
        row("exp at zero", at("exp", 0).signed(), &at("exp", NOW_S + 1), TokenError::Expired),
        row("exp at one", at("exp", 1).signed(), &at("exp", 253_402_300_799), TokenError::Expired),
        row(
            "nbf at the edge",
            at("nbf", NOW_S + 31).signed(),
            &at("nbf", NOW_S + 30),
            TokenError::NotYetValid,
        ),
        row(
            "nbf tomorrow",
            at("nbf", NOW_S + 86_400).signed(),
            &at("nbf", NOW_S + 29),
            TokenError::NotYetValid,
        ),
        row(
            "nbf at the end of time",
            at("nbf", 253_402_300_799).signed(),
            &at("nbf", 0),
            TokenError::NotYetValid,
        ),
        row(
            "iat at the edge",
            at("iat", NOW_S + 31).signed(),
            &at("iat", NOW_S + 30),
            TokenError::IssuedInFuture,
        ),
        row(
            "iat tomorrow",
            at("iat", NOW_S + 86_400).signed(),
            &at("iat", NOW_S),
            TokenError::IssuedInFuture,
        ),
        row(
            "nbf and exp both to come",
            at("nbf", NOW_S + 500).signed(),
            &by_es.clone().without("nbf"),
            TokenError::NotYetValid,
        ),
        row(
            "iat to come, nbf not",
            at("iat", NOW_S + 500).signed(),
            &by_es.clone().without("iat"),
            TokenError::IssuedInFuture,
        ),
    ];
    check("time edge", &rows);
    // The clock goes over the edge while the token is known: the last millisecond, and the first that is too late.
    let token = at("exp", NOW_S + 10).signed();
    let edge_ms = NOW_MS + 40_000;
    for (now_ms, held) in
        [(NOW_MS, true), (edge_ms - 1, true), (edge_ms, false), (edge_ms + 1, false), (edge_ms - 1, true)]
    {
        let outcome = WORLD.tokens.verify(&token, now_ms);
        assert_eq!(outcome.is_ok(), held, "at {now_ms}: {outcome:?}");
    }
}

#[test]
fn claims_become_a_user() {
    let draft = corp(&WORLD.rsa)
        .claim("groups", json!(["payments", "support", "payments"]))
        .claim("realm_access", json!({"roles": ["clerk"]}))
        .claim("scope", json!("orders.read  orders.write"))
        .claim("department", json!("sales"))
        .claim("level", json!(-3))
        .claim("on_call", json!(true))
        .claim("shop.example/regions", json!(["eu"]))
        .claim("ignored", json!({"anything": [1, 2.5, null]}));
    let verified = verify(&draft.signed()).unwrap();
    let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let user = &verified.user;
    assert_eq!(user.name(), "corp/alice");
    assert_eq!((&user.groups, &user.roles), (&set(&["payments", "support"]), &set(&["clerk"])));
    assert_eq!(verified.scopes.as_deref(), Some(&set(&["orders.read", "orders.write"])));
    assert_eq!(verified.expires_at_s, NOW_S + 630);
    let attributes: Vec<(&str, ClaimValue)> =
        user.attributes.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let expected = [
        ("department", ClaimValue::Text("sales".to_owned())),
        ("level", ClaimValue::Long(-3)),
        ("onCall", ClaimValue::Bool(true)),
        ("regions", ClaimValue::Texts(set(&["eu"]))),
        ("tenant", ClaimValue::Text("north".to_owned())),
    ];
    assert_eq!(attributes, expected);
    // What is absent is absent, and no scopes are not an empty set of them.
    let bare = verify(&Draft::of(CORP, &WORLD.ed).signed()).unwrap();
    assert_eq!((bare.user.groups.len(), bare.user.roles.len(), bare.user.attributes.len()), (0, 0, 1));
    assert_eq!(bare.scopes, None);
}
