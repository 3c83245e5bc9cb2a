//! Answers that let nobody in, each beside one that does and differs in the same place.

use super::*;

fn claim(name: &str, fault: ClaimFault) -> TokenError {
    TokenError::claim(name, fault)
}

/// The good answer with one member as it is given; without it for `null`.
fn with(name: &str, value: &Value) -> String {
    let mut answer = good();
    match value {
        Value::Null => answer.as_object_mut().unwrap().remove(name),
        value => answer.as_object_mut().unwrap().insert(name.to_owned(), value.clone()),
    };
    answer.to_string()
}

#[tokio::test]
async fn each_member_is_what_it_must_be_or_nobody_is_let_in() {
    let other_kind = |claim: &'static str| TokenError::OtherKind { claim };
    let kind = ClaimFault::Type;
    let rows: Vec<(&str, Value, Value, TokenError)> = vec![
        ("active", json!(true), json!(false), TokenError::Inactive),
        ("exp", json!(NOW_S + 600), json!(NOW_S), TokenError::Expired),
        ("exp", Value::Null, json!(-1), claim("exp", ClaimFault::Time)),
        ("exp", json!(NOW_S + 600), json!((NOW_S + 600).to_string()), claim("exp", ClaimFault::Time)),
        ("exp", json!(NOW_S + 600), json!(NOW_S as f64 + 600.5), claim("exp", ClaimFault::Time)),
        ("exp", json!(NOW_S + 600), json!(NOW_MS + 600_000), claim("exp", ClaimFault::Time)),
        ("nbf", json!(NOW_S + 29), json!(NOW_S + 600), TokenError::NotYetValid),
        ("nbf", json!(NOW_S), json!([NOW_S]), claim("nbf", ClaimFault::Time)),
        ("iat", json!(NOW_S + 29), json!(NOW_S + 600), TokenError::IssuedInFuture),
        ("aud", json!("shop"), json!("shopping"), TokenError::Audience),
        ("aud", json!(["other", "shop"]), json!(["other"]), TokenError::Audience),
        ("aud", json!(["shop"]), json!(["shop", 1]), claim("aud", kind)),
        ("aud", json!("shop"), Value::Null, claim("aud", ClaimFault::Missing)),
        ("sub", json!("bob"), json!(7), claim("sub", kind)),
        ("sub", json!("bob"), Value::Null, claim("sub", ClaimFault::Missing)),
        ("sub", json!("bob"), json!(""), claim("sub", ClaimFault::Empty)),
        ("sub", json!("bob"), json!("b\u{0}b"), claim("sub", ClaimFault::Control)),
        ("iss", Value::Null, json!(["https://idp.corp.example"]), claim("iss", kind)),
        ("client_id", Value::Null, json!({"id": "spa"}), claim("client_id", kind)),
        ("username", Value::Null, json!(true), claim("username", kind)),
        ("scope", json!("a b"), json!(5), claim("scope", kind)),
        ("scope", json!(["a", "b"]), json!(["a", null]), claim("scope", kind)),
        ("groups", json!([]), json!("staff"), claim("groups", kind)),
        ("tier", Value::Null, json!("3"), claim("tier", kind)),
        ("token_type", json!("bearer"), json!("DPoP"), other_kind("token_type")),
        ("token_type", Value::Null, json!(["Bearer"]), claim("token_type", kind)),
        ("token_use", json!("access_token"), json!("refresh_token"), other_kind("token_use")),
        ("typ", json!("Bearer"), json!("Refresh"), other_kind("typ")),
        ("cnf", Value::Null, json!({"x5t#S256": "abc"}), other_kind("cnf")),
        ("more", json!({"anything": [1, null]}), json!("\u{1F600}"), TokenError::Inactive),
    ];
    let server = Server::start().await;
    let introspection = asking(&server, QUESTIONS_MAX, LIMITS);
    for (index, (name, accepted, refused, error)) in rows.into_iter().enumerate() {
        let (yes, no) = (format!("yes-{index}"), format!("no-{index}"));
        server.answer(&yes, Answer::Json(with(name, &accepted)));
        server.answer(&no, Answer::Json(with(name, &refused)));
        let verified = judged(&introspection, &yes, NOW_MS).await;
        assert!(verified.is_ok(), "{name}: {verified:?}");
        let outcome = judged(&introspection, &no, NOW_MS).await;
        if name == "more" {
            assert!(outcome.is_ok(), "what nobody asks for may be anything: {outcome:?}");
        } else {
            assert_eq!(outcome, Err(error), "{name}: {refused}");
            assert_eq!(introspection.verify(&no, NOW_MS + 1), outcome, "it is remembered");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_understood_is_none() {
    let bodies = [
        "",
        "true",
        "null",
        "[]",
        r#"[{"active":true}]"#,
        r#"{"active":"true","sub":"alice","aud":"shop"}"#,
        r#"{"active":1,"sub":"alice","aud":"shop"}"#,
        r#"{"active":null,"sub":"alice","aud":"shop"}"#,
        r#"{"Active":true,"sub":"alice","aud":"shop"}"#,
        r#"{"sub":"alice","aud":"shop"}"#,
        r#"{"active":false,"active":true,"sub":"alice","aud":"shop"}"#,
        r#"{"active":true,"sub":"alice","sub":"root","aud":"shop"}"#,
        r#"{"active":true,"sub":"alice","aud":"shop"} x"#,
        r#"{"active":true,"sub":"alice","aud":"shop""#,
        r#"{"active":true,"sub":"alice","aud":"shop",}"#,
        "<html>active: true</html>",
    ];
    let server = Server::start().await;
    let introspection = asking(&server, QUESTIONS_MAX, LIMITS);
    for (index, body) in bodies.into_iter().enumerate() {
        let token = format!("token-{index}");
        server.answer(&token, Answer::Json(body.to_owned()));
        let error = judged(&introspection, &token, NOW_MS).await.unwrap_err();
        assert!(error.is_unavailable(), "{body}: {error}");
        assert!(error.to_string().contains("the answer is not understood"), "{error}");
    }
    let twin = r#"{"active":true,"sub":"alice","aud":"shop"}"#;
    server.answer("twin", Answer::Json(twin.to_owned()));
    assert!(judged(&introspection, "twin", NOW_MS).await.is_ok());
}

#[tokio::test]
async fn a_server_that_fails_lets_nobody_in_and_is_asked_again_soon() {
    let (server, elsewhere) = (Server::start().await, Server::start().await);
    let (roomy, short) = (asking(&server, QUESTIONS_MAX, LIMITS), asking(&server, QUESTIONS_MAX, SHORT));
    let body = good().to_string();
    let status = |line: &str| {
        let head = format!("HTTP/1.1 {line}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        Answer::Raw([head.as_bytes(), body.as_bytes()].concat())
    };
    let redirect = |code: &str| status(&format!("{code} Found\r\nlocation: {}", elsewhere.url));
    let huge = format!("HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n{}", " ".repeat(70_000));
    let rows: [(&str, Answer, &str); 13] = [
        ("created", status("201 Created"), "the status 201, expected 200"),
        ("nothing", status("204 No Content"), "the status 204"),
        ("denied", status("401 Unauthorized"), "the status 401"),
        ("broken", status("500 Internal Server Error"), "the status 500"),
        ("moved", redirect("301"), "a redirect (301)"),
        ("found", redirect("302"), "a redirect (302)"),
        ("kept", redirect("307"), "a redirect (307)"),
        ("huge", Answer::Raw(huge.into_bytes()), "over the limit of 65536 bytes"),
        ("endless", Answer::Endless, "over the limit of 65536 bytes"),
        ("silent", Answer::Held(body.clone()), "no whole answer within 300 ms"),
        ("half", Answer::Half(body.clone()), "no whole answer within 300 ms"),
        ("closed", Answer::Raw(Vec::new()), "the connection failed"),
        ("nonsense", Answer::Raw(b"active: true\r\n\r\n".to_vec()), "the connection failed"),
    ];
    let count = rows.len();
    for (token, answer, part) in rows {
        server.answer(token, answer);
        let introspection = if part.contains("300 ms") { &short } else { &roomy };
        let error = judged(introspection, token, NOW_MS).await.unwrap_err();
        assert!(error.is_unavailable(), "{token}: {error}");
        assert!(error.to_string().contains(part), "{token}: {error}");
        assert_eq!(introspection.verify(token, NOW_MS), Err(error), "not asked at once again");
        // Its twin: the same token when the server is well again.
        server.answer(token, Answer::Json(body.clone()));
        let later_ms = NOW_MS + 30_000;
        assert!(is_pending(introspection.verify(token, later_ms)), "{token}");
        assert!(judged(&roomy, token, later_ms).await.is_ok(), "{token}");
    }
    assert_eq!(server.asked().len(), 2 * count);
    assert_eq!(elsewhere.asked(), [], "nobody is led elsewhere");
}

#[tokio::test]
async fn what_no_token_can_be_is_not_asked_about() {
    let server = Server::start().await;
    let introspection = asking(&server, QUESTIONS_MAX, LIMITS);
    for text in ["", "=", "a b", "a=b", "a\n", "a\0", "ä", "a,b", "a\"", "<a>"] {
        assert_eq!(
            introspection.verify(text, NOW_MS),
            Err(TokenError::Malformed(Malformed::Opaque)),
            "{text}"
        );
    }
    let limit = introspection.verify(&"a".repeat(16 * 1024 + 1), NOW_MS);
    assert!(matches!(limit, Err(TokenError::Limit { .. })));
    assert!(is_pending(introspection.verify(&"a".repeat(16 * 1024), NOW_MS)));
    assert_eq!(server.asked(), []);
}

#[tokio::test]
async fn without_credentials_nothing_is_asked() {
    let server = Server::start().await;
    let settings = IntrospectionSettings { client: None, ..settings(&server) };
    let introspection = Introspection::begin(&settings, None).unwrap();
    let why = NoAnswer::NoCredentials;
    let error = TokenError::NoAnswer { issuer: "corp".to_owned(), why };
    assert!(error.is_unavailable());
    assert_eq!(judged(&introspection, "token", NOW_MS).await, Err(error));
    assert_eq!(server.asked(), []);
}
