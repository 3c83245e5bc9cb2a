//! The JSON form as it stands on disk, and what a reader makes of other forms.

use super::*;

pub(crate) fn decision(decision_id: &str) -> Entry {
    Entry::Decision(Decision {
        decision_id: decision_id.to_owned(),
        at_ms: 1_760_000_000_123,
        service: "orders".to_owned(),
        operation: "createOrder".to_owned(),
        class: "write".to_owned(),
        method: "POST".to_owned(),
        host: "orders".to_owned(),
        path: "/orders".to_owned(),
        query_present: false,
        request_id: None,
        principal: r#"Client::"web""#.to_owned(),
        proof: Proof::ApiKey,
        workload: Some("spiffe://shop.example/ns/shop/sa/web".to_owned()),
        decision: Conclusion::Allow,
        reason: "allowed".to_owned(),
        policies: vec!["orders-create".to_owned()],
        errors: Vec::new(),
        bundle_digest: "ab".repeat(32),
        epoch: Epoch { server: "server-1".to_owned(), counter: 7 },
        handoff: "current".to_owned(),
        latency_us: 412,
        shadow: None,
        candidate: None,
        verdict: None,
        attempt: None,
        request_digest: None,
        asked: None,
        credential: None,
    })
}

pub(crate) fn outcome(call_id: Option<&str>) -> Entry {
    Entry::Outcome(Outcome {
        call_id: call_id.map(str::to_owned),
        at_ms: 1_760_000_000_456,
        status: 201,
        details: "via_upstream".to_owned(),
        flags: Vec::new(),
        duration_us: 9_001,
        request_bytes: 42,
        response_bytes: 17,
        upstream: Some("service-orders".to_owned()),
        upstream_host: Some("127.0.0.1:9000".to_owned()),
        method: "POST".to_owned(),
        host: "orders".to_owned(),
        path: "/orders".to_owned(),
        filter_reason: None,
    })
}

pub(crate) fn admin(detail: &str) -> Entry {
    Entry::Admin(Admin { at_ms: 1_760_000_000_000, event: AdminEvent::Start, detail: detail.to_owned() })
}

fn stored_text(entry: &Entry) -> String {
    String::from_utf8(entry.encode().unwrap().bytes().to_vec()).unwrap()
}

fn decoded(entry: &Entry) -> Entry {
    let stored = entry.encode().unwrap();
    Entry::decode(stored.kind(), stored.version(), stored.bytes()).unwrap()
}

#[test]
fn the_stored_form_of_each_kind_is_fixed() {
    assert_eq!(
        stored_text(&decision("018f0000-0000-7000-8000-000000000001")),
        concat!(
            r#"{"decision_id":"018f0000-0000-7000-8000-000000000001","at_ms":1760000000123,"service":"orders","#,
            r#""operation":"createOrder","class":"write","method":"POST","host":"orders","path":"/orders","#,
            r#""query_present":false,"principal":"Client::\"web\"","proof":"api_key","#,
            r#""workload":"spiffe://shop.example/ns/shop/sa/web","decision":"allow","reason":"allowed","#,
            r#""policies":["orders-create"],"errors":[],"#,
            r#""bundle_digest":"abababababababababababababababababababababababababababababababab","#,
            r#""epoch":{"server":"server-1","counter":7},"handoff":"current","latency_us":412}"#,
        )
    );
    assert_eq!(
        stored_text(&outcome(Some("018f0000-0000-7000-8000-000000000001"))),
        concat!(
            r#"{"call_id":"018f0000-0000-7000-8000-000000000001","at_ms":1760000000456,"status":201,"#,
            r#""details":"via_upstream","flags":[],"duration_us":9001,"request_bytes":42,"response_bytes":17,"#,
            r#""upstream":"service-orders","upstream_host":"127.0.0.1:9000","method":"POST","host":"orders","#,
            r#""path":"/orders"}"#,
        )
    );
    assert_eq!(
        stored_text(&admin("serving")),
        r#"{"at_ms":1760000000000,"event":"start","detail":"serving"}"#
    );
}

/// One with everything that policies may be asked.
fn asked() -> Entry {
    let Entry::Decision(decision) = decision("id") else { panic!("not a decision") };
    let no_others: [&str; 0] = [];
    Entry::Decision(Decision {
        verdict: Some(Passed { body_judged: true, grpc: false, upgrade: false }),
        attempt: Some(2),
        request_digest: Some("cd".repeat(16)),
        asked: Some(Asked {
            path: BTreeMap::from([("id".into(), "o-1".into())]),
            query: BTreeMap::from([("limit".into(), 7.into())]),
            header: BTreeMap::from([(HeaderName::new("x-tenant", &no_others).unwrap(), "t".into())]),
            body: BTreeMap::from([("/tags".into(), vec!["a", "b"].into())]),
            masked: BTreeMap::from([
                ("body./note".into(), None),
                ("query.phone".into(), Some("ef".repeat(16))),
            ]),
            not_replayable: vec!["query.phone".into()],
        }),
        ..decision
    })
}

#[test]
fn the_stored_form_of_what_was_asked_is_fixed() {
    let text = stored_text(&asked());
    let expected = concat!(
        r#""verdict":{"body_judged":true,"grpc":false,"upgrade":false},"attempt":2,"#,
        r#""request_digest":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","#,
        r#""asked":{"path":{"id":"o-1"},"query":{"limit":7},"header":{"x-tenant":"t"},"body":{"/tags":["a","b"]},"#,
        r#""masked":{"body./note":null,"query.phone":"efefefefefefefefefefefefefefefef"},"#,
        r#""not_replayable":["query.phone"]}}"#,
    );
    assert!(text.ends_with(expected), "{text}");
}

fn refusal(place: Option<&str>) -> Entry {
    Entry::Refusal(Refusal {
        call_id: "018f0000-0000-7000-8000-000000000001".to_owned(),
        at_ms: 1_760_000_000_123,
        verdict: Verdict::Reject,
        reason: "json_syntax".to_owned(),
        place: place.map(str::to_owned),
        service: "orders".to_owned(),
        operation: "createOrder".to_owned(),
        method: "POST".to_owned(),
        host: "orders".to_owned(),
        path: "/orders".to_owned(),
        peer: None,
        attempt: None,
        retry: false,
        bundle_digest: "ab".repeat(32),
        vm: "cd".repeat(16),
        sequence: 3,
    })
}

/// As servers wrote it before refusals had a place.
const REFUSAL: &str = concat!(
    r#"{"call_id":"018f0000-0000-7000-8000-000000000001","at_ms":1760000000123,"verdict":"reject","#,
    r#""reason":"json_syntax","service":"orders","operation":"createOrder","method":"POST","host":"orders","#,
    r#""path":"/orders","bundle_digest":"abababababababababababababababababababababababababababababababab","#,
    r#""vm":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","sequence":3}"#,
);

#[test]
fn a_refusal_without_a_place_is_stored_as_it_always_was() {
    assert_eq!(stored_text(&refusal(None)), REFUSAL);
    assert_eq!(Entry::decode(Kind::Refusal, 1, REFUSAL.as_bytes()), Ok(refusal(None)));
    let placed = r#""reason":"json_syntax","place":"body/items/3/price","#;
    assert_eq!(
        stored_text(&refusal(Some("body/items/3/price"))),
        REFUSAL.replace(r#""reason":"json_syntax","#, placed)
    );
}

fn drift() -> Entry {
    Entry::Drift(Drift {
        side: Side::Response,
        reason: "json_syntax".to_owned(),
        place: "response/body/items/*/price".to_owned(),
        service: "orders".to_owned(),
        operation: "listOrders".to_owned(),
        status: Some(200),
        peer: Some("spiffe://shop.example/ns/shop/sa/web".to_owned()),
        count: 7,
        first_at_ms: 1_760_000_000_123,
        last_at_ms: 1_760_000_009_456,
        call_id: "018f0000-0000-7000-8000-000000000001".to_owned(),
        bundle_digest: "ab".repeat(32),
        vm: "cd".repeat(16),
        sequence: 4,
    })
}

fn judged() -> Entry {
    let count = |operation: &str, side| JudgedCount {
        service: "orders".to_owned(),
        operation: operation.to_owned(),
        side,
        count: 100,
    };
    Entry::Judged(Judged {
        at_ms: 1_760_000_009_500,
        counts: vec![count("listOrders", Side::Response), count("createOrder", Side::Request)],
        bundle_digest: "ab".repeat(32),
        vm: "cd".repeat(16),
        sequence: 5,
    })
}

#[test]
fn the_stored_form_of_drift_and_of_what_was_judged_is_fixed() {
    assert_eq!(
        stored_text(&drift()),
        concat!(
            r#"{"side":"response","reason":"json_syntax","place":"response/body/items/*/price","service":"orders","#,
            r#""operation":"listOrders","status":200,"peer":"spiffe://shop.example/ns/shop/sa/web","count":7,"#,
            r#""first_at_ms":1760000000123,"last_at_ms":1760000009456,"#,
            r#""call_id":"018f0000-0000-7000-8000-000000000001","#,
            r#""bundle_digest":"abababababababababababababababababababababababababababababababab","#,
            r#""vm":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","sequence":4}"#,
        )
    );
    assert_eq!(
        stored_text(&judged()),
        concat!(
            r#"{"at_ms":1760000009500,"counts":["#,
            r#"{"service":"orders","operation":"listOrders","side":"response","count":100},"#,
            r#"{"service":"orders","operation":"createOrder","side":"request","count":100}],"#,
            r#""bundle_digest":"abababababababababababababababababababababababababababababababab","#,
            r#""vm":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","sequence":5}"#,
        )
    );
}

fn sheds() -> Entry {
    Entry::Shed(Sheds {
        reason: "rate_limited".to_owned(),
        retry: true,
        shadow: false,
        limit: Some("per-caller".to_owned()),
        service: "orders".to_owned(),
        operation: "listOrders".to_owned(),
        peer: Some("spiffe://shop.example/ns/shop/sa/web".to_owned()),
        count: 1_234,
        first_at_ms: 1_760_000_000_123,
        last_at_ms: 1_760_000_004_456,
        call_id: "018f0000-0000-7000-8000-000000000001".to_owned(),
        bundle_digest: "ab".repeat(32),
        vm: "cd".repeat(16),
        sequence: 6,
    })
}

fn load() -> Entry {
    let (service, operation) = ("orders".to_owned(), "listOrders".to_owned());
    Entry::Load(Load {
        at_ms: 1_760_000_009_500,
        counts: vec![LoadCount {
            service: service.clone(),
            operation,
            admitted: 900,
            retries: 80,
            failed: 7,
        }],
        levels: vec![LoadLevel { service, limit: 50, load: 49, retry_tokens: 3 }],
        bundle_digest: "ab".repeat(32),
        vm: "cd".repeat(16),
        sequence: 7,
    })
}

fn storm() -> Storm {
    Storm {
        caller: "spiffe://shop.example/ns/shop/sa/web".to_owned(),
        service: "orders".to_owned(),
        operation: "listOrders".to_owned(),
        since_ms: 1_760_000_000_123,
        duration_ms: 4_000,
        first_attempts: 40,
        retries: 120,
        sheds: 100,
        amplification_percent: 400,
    }
}

#[test]
fn the_stored_form_of_load_is_fixed() {
    assert_eq!(
        stored_text(&sheds()),
        concat!(
            r#"{"reason":"rate_limited","retry":true,"shadow":false,"limit":"per-caller","service":"orders","#,
            r#""operation":"listOrders","peer":"spiffe://shop.example/ns/shop/sa/web","count":1234,"#,
            r#""first_at_ms":1760000000123,"last_at_ms":1760000004456,"#,
            r#""call_id":"018f0000-0000-7000-8000-000000000001","#,
            r#""bundle_digest":"abababababababababababababababababababababababababababababababab","#,
            r#""vm":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","sequence":6}"#,
        )
    );
    assert_eq!(
        stored_text(&load()),
        concat!(
            r#"{"at_ms":1760000009500,"counts":["#,
            r#"{"service":"orders","operation":"listOrders","admitted":900,"retries":80,"failed":7}],"#,
            r#""levels":[{"service":"orders","limit":50,"load":49,"retry_tokens":3}],"#,
            r#""bundle_digest":"abababababababababababababababababababababababababababababababab","#,
            r#""vm":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","sequence":7}"#,
        )
    );
    let begun = Admin { at_ms: 1, event: AdminEvent::StormBegan(storm()), detail: String::new() };
    assert_eq!(
        stored_text(&Entry::Admin(begun)),
        concat!(
            r#"{"at_ms":1,"event":{"storm_began":{"caller":"spiffe://shop.example/ns/shop/sa/web","#,
            r#""service":"orders","operation":"listOrders","since_ms":1760000000123,"duration_ms":4000,"#,
            r#""first_attempts":40,"retries":120,"sheds":100,"amplification_percent":400}},"detail":""}"#,
        )
    );
    let Entry::Refusal(refusal) = refusal(None) else { panic!("not a refusal") };
    let shed = Entry::Refusal(Refusal { verdict: Verdict::Shed, retry: true, ..refusal });
    assert!(
        stored_text(&shed).contains(r#""verdict":"shed""#) && stored_text(&shed).contains(r#""retry":true"#)
    );
    assert_eq!(decoded(&shed), shed);
}

#[test]
fn each_kind_reads_back_as_it_was_recorded() {
    let plain = [decision("id"), asked(), outcome(None), outcome(Some("id")), admin("a \"quoted\" détail\n")];
    for entry in plain.into_iter().chain([
        refusal(None),
        refusal(Some("query/limit")),
        drift(),
        judged(),
        sheds(),
        load(),
    ]) {
        assert_eq!(decoded(&entry), entry);
    }
}

#[test]
fn a_query_is_never_stored() {
    for path in ["/orders?token=secret", "/orders#secret", "/orders?a#secret", "/orders#a?secret"] {
        let Entry::Decision(decision) = decision("id") else { panic!("not a decision") };
        let Entry::Outcome(outcome) = outcome(None) else { panic!("not an outcome") };
        for entry in [
            Entry::Decision(Decision { path: path.to_owned(), ..decision.clone() }),
            Entry::Outcome(Outcome { path: path.to_owned(), ..outcome.clone() }),
        ] {
            let text = stored_text(&entry);
            assert!(!text.contains("secret") && text.contains(r#""path":"/orders""#), "{path}: {text}");
        }
    }
}

#[test]
fn a_field_added_within_the_version_is_ignored() {
    let stored = br#"{"at_ms":1,"event":"stop","detail":"","added":{"later":true}}"#;
    let expected = Entry::Admin(Admin { at_ms: 1, event: AdminEvent::Stop, detail: String::new() });
    assert_eq!(Entry::decode(Kind::Admin, 1, stored), Ok(expected));
}

#[test]
fn content_that_is_not_what_the_version_promises_is_refused() {
    for (stored, complaint) in [
        (&br#"{"at_ms":1,"event":"stop"}"#[..], "missing field `detail`"),
        (br#"{"at_ms":1,"event":"dance","detail":""}"#, "unknown variant `dance`"),
        (br#"{"at_ms":1,"at_ms":2,"event":"stop","detail":""}"#, "duplicate field `at_ms`"),
        (br#"{"at_ms":-1,"event":"stop","detail":""}"#, "invalid value"),
        (br#"{"at_ms":1,"event":"stop","detail":""} "x""#, "trailing characters"),
        (b"", "EOF"),
    ] {
        let message = Entry::decode(Kind::Admin, 1, stored).unwrap_err().to_string();
        assert!(message.contains("version 1 of admin entries"), "{message}");
        assert!(message.contains(complaint), "{message}");
    }
}

#[test]
fn an_unknown_version_is_refused_with_a_clear_message() {
    let message = Entry::decode(Kind::Decision, 2, b"{}").unwrap_err().to_string();
    assert!(message.starts_with("version `2` of decision entries is unknown to this palisade"), "{message}");
}

#[test]
fn an_entry_over_the_limit_is_refused() {
    let empty = stored_text(&admin("")).len();
    let fits = admin(&"x".repeat(crate::ENTRY_BYTES_MAX - empty));
    assert_eq!(fits.encode().unwrap().bytes().len(), crate::ENTRY_BYTES_MAX);
    let bytes = crate::ENTRY_BYTES_MAX + 1;
    let too_long = admin(&"x".repeat(bytes - empty));
    assert_eq!(too_long.encode(), Err(AppendError::TooLarge { bytes }));
}
