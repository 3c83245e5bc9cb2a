//! Responses and what is said of them, through one `check`.

use super::{ResponseHead, ResponsePlan, Sampler, check_body, check_head};
use crate::contract::{
    Content, Enforcement, Parameter, Part, ResponseMedia, ResponseRule, ResponseRules, Scalars, Status,
    Writing,
};
use crate::reason::Reason;
use crate::schema::{CompiledSchemas, Node, SchemaIndex, SchemaTable, Types};
use crate::testing::universal_test;
use crate::violation::Violation;

const TEXT: SchemaIndex = SchemaIndex(0);
const OBJECT: SchemaIndex = SchemaIndex(1);
const INTEGER: SchemaIndex = SchemaIndex(2);

fn schemas() -> CompiledSchemas {
    let node = |types| Node { types, ..Node::default() };
    let nodes = vec![node(Types::STRING), node(Types::OBJECT), node(Types::INTEGER)];
    CompiledSchemas::assemble(SchemaTable { nodes, patterns: Vec::new() }).unwrap()
}

fn rules() -> ResponseRules {
    let header = |name: &str, required, scalars, schema| Parameter {
        part: Part::Header,
        name: name.into(),
        required,
        allow_empty: false,
        writing: Writing::Scalar(scalars),
        schema,
    };
    let media = |range: &str, content| ResponseMedia { range: range.into(), content };
    let ok = ResponseRule {
        headers: vec![
            header("etag", true, Scalars::TEXT, TEXT),
            header("x-count", false, Scalars::INTEGER, INTEGER),
        ],
        media: vec![
            media("application/json", Content::Json { schema: Some(OBJECT) }),
            media("image/*", Content::Opaque),
        ],
    };
    ResponseRules {
        head: Enforcement::Report,
        body: Enforcement::Report,
        sample: 1,
        bytes_max: 1000,
        declared: vec![(Status::Exact(200), ok), (Status::Class(4), ResponseRule::default())],
        never_headers: vec!["x-debug".into()],
        never_properties: vec!["secret".into()],
        ..ResponseRules::default()
    }
}

/// All that is found, as `reason place`, and the plan.
fn found(
    rules: &ResponseRules,
    pairs: &[(&str, &str)],
    ends_here: bool,
) -> (Vec<String>, Option<ResponsePlan>) {
    let bytes: Vec<(&[u8], &[u8])> =
        pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let head = ResponseHead::parse(bytes.iter().copied(), ends_here).unwrap();
    let mut all = Vec::new();
    let told = |enforcement, violation: Violation| {
        all.push(format!("{} {}", violation.reason.code(), violation.place));
        if enforcement == Enforcement::Enforce { Err(violation) } else { Ok(()) }
    };
    let plan = check_head(rules, &schemas(), &head, bytes.iter().copied(), told);
    (all, plan.ok())
}

fn check(pairs: &[(&str, &str)], expected: &[&str]) {
    let (all, plan) = found(&rules(), pairs, false);
    assert_eq!(all, expected, "{pairs:?}");
    assert!(plan.is_some(), "what is reported ends nothing: {pairs:?}");
    let enforced = ResponseRules { head: Enforcement::Enforce, body: Enforcement::Enforce, ..rules() };
    let (first, plan) = found(&enforced, pairs, false);
    assert_eq!(first, expected.iter().take(1).copied().collect::<Vec<_>>(), "{pairs:?}");
    assert_eq!(plan.is_some(), expected.is_empty(), "{pairs:?}");
    let off = ResponseRules { head: Enforcement::Off, body: Enforcement::Off, ..rules() };
    assert_eq!(found(&off, pairs, false), (vec![], Some(ResponsePlan::Pass)), "{pairs:?}");
}

const JSON: (&str, &str) = ("content-type", "application/json");
const ETAG: (&str, &str) = ("etag", "x");

universal_test! {
    fn heads_are_what_their_contract_says() {
        let ok = (":status", "200");
        check(&[ok, JSON, ETAG], &[]);
        check(&[ok, ("content-type", "Application/JSON; charset=utf-8"), ETAG], &[]);
        check(&[ok, ("content-type", "application/json; profile=x"), ETAG], &[]);
        check(&[ok, ("content-type", "image/png"), ETAG], &[]);
        check(&[ok, JSON, ETAG, ("x-count", "3")], &[]);
        check(&[ok, JSON, ("etag", "a, b")], &[]);
        check(&[ok, JSON], &["parameter_missing header/etag"]);
        check(&[ok, JSON, ETAG, ("x-count", "x")], &["schema_type header/x-count"]);
        check(&[ok, JSON, ETAG, ("x-debug", "1")], &["response_forbidden header/x-debug"]);
        check(&[ok, ("content-type", "text/html"), ETAG], &["response_content_type "]);
        check(&[ok, ETAG], &["response_content_type "]);
        check(&[ok, JSON, ETAG, ("content-encoding", "gzip")], &["response_encoded "]);
        check(&[ok, JSON, ETAG, ("content-encoding", "identity")], &[]);
        check(&[(":status", "404"), ("content-length", "0")], &[]);
        check(&[(":status", "404"), JSON], &["response_content_type "]);
        check(&[(":status", "500")], &["response_not_declared status/500"]);
        check(&[(":status", "101")], &[]);
        check(
            &[ok, ("content-type", "text/html"), ("x-debug", "1")],
            &["response_forbidden header/x-debug", "parameter_missing header/etag", "response_content_type "],
        );
    }
}

universal_test! {
    fn only_json_is_looked_into_and_only_where_there_is_a_body() {
        let head = [(":status", "200"), JSON, ETAG];
        let plan = |rules: &ResponseRules, pairs: &[(&str, &str)], ends_here| found(rules, pairs, ends_here).1;
        assert!(matches!(plan(&rules(), &head, false), Some(ResponsePlan::Copy(_))));
        assert_eq!(plan(&rules(), &head, true), Some(ResponsePlan::Pass));
        let image = [(":status", "200"), ("content-type", "image/png"), ETAG];
        assert_eq!(plan(&rules(), &image, false), Some(ResponsePlan::Pass));
        let enforced = ResponseRules { body: Enforcement::Enforce, ..rules() };
        assert!(matches!(plan(&enforced, &head, false), Some(ResponsePlan::Hold(_))));
        let off = ResponseRules { body: Enforcement::Off, ..rules() };
        assert_eq!(plan(&off, &head, false), Some(ResponsePlan::Pass));
    }
}

universal_test! {
    fn a_body_that_no_rule_is_known_for_does_not_pass_where_bodies_are_enforced() {
        let enforced = |head| ResponseRules { head, body: Enforcement::Enforce, ..rules() };
        for head in [Enforcement::Off, Enforcement::Report] {
            let judge = |pairs: &[(&str, &str)], ends_here| found(&enforced(head), pairs, ends_here).1;
            assert_eq!(judge(&[(":status", "500"), JSON], false), None, "{head:?}");
            assert_eq!(judge(&[(":status", "500")], true), Some(ResponsePlan::Pass), "{head:?}");
            assert_eq!(judge(&[(":status", "404"), JSON], false), None, "{head:?}");
            assert_eq!(judge(&[(":status", "200"), ("content-type", "text/html"), ETAG], false), None, "{head:?}");
            let silent = ResponseRules { declared: Vec::new(), ..enforced(head) };
            assert_eq!(found(&silent, &[(":status", "200"), JSON], false).1, None, "{head:?}");
        }
        let silent = ResponseRules { declared: Vec::new(), ..rules() };
        assert_eq!(found(&silent, &[(":status", "200"), JSON], false), (vec![], Some(ResponsePlan::Pass)));
    }
}

universal_test! {
    fn bodies_are_what_their_contract_says() {
        let rules = rules();
        let (_, plan) = found(&rules, &[(":status", "200"), JSON, ETAG], false);
        let Some(ResponsePlan::Copy(at)) = plan else { panic!("a body is copied") };
        let check = |body: &str, expected: &[&str]| {
            let mut all = Vec::new();
            let told = |violation: Violation| {
                all.push(format!("{} {}", violation.reason.code(), violation.place));
                Ok(())
            };
            check_body(&rules, at, &schemas(), body.as_bytes(), told).unwrap();
            assert_eq!(all, expected, "{body}");
            let first = check_body(&rules, at, &schemas(), body.as_bytes(), Err);
            assert_eq!(first.is_ok(), expected.is_empty(), "{body}");
        };
        check("{}", &[]);
        check("[]", &["schema_type body"]);
        check("{", &["json_syntax body"]);
        check(r#"{"a":[{"secret":1}]}"#, &["response_forbidden body/**/secret"]);
        check(r#"{"a":[{"\u0073ecret":1}]}"#, &["response_forbidden body/**/secret"]);
        check(r#"["secret"]"#, &["schema_type body"]);
        check(r#"[{"secret":1}]"#, &["response_forbidden body/**/secret", "schema_type body"]);
    }
}

universal_test! {
    fn a_head_that_is_none_is_told() {
        let head = |pairs: &[(&'static [u8], &'static [u8])]| ResponseHead::parse(pairs.iter().copied(), false).map(|head| head.status);
        assert_eq!(head(&[(b":status", b"x")]), Err(Reason::ResponseNotDeclared));
        assert_eq!(head(&[(b":status", b"200"), (b"content-type", b"\xff")]), Err(Reason::ResponseContentType));
        assert_eq!(head(&[]), Ok(0));
    }
}

universal_test! {
    fn a_sample_begins_with_the_first_of_each_operation() {
        let mut sampler = Sampler::default();
        let taken: Vec<bool> = (0..9).map(|_| sampler.takes(3, 4)).collect();
        assert_eq!(taken, [true, false, false, false, true, false, false, false, true]);
        assert!(sampler.takes(0, 4), "another operation counts for itself");
        assert!((0..3).all(|_| sampler.takes(1, 1)) && (0..3).all(|_| sampler.takes(2, 0)));
    }
}
