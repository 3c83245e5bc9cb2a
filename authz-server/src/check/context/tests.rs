//! What becomes of parameters, headers and bodies, honest ones and others.

use super::super::body::Body;
use super::super::judge::Request;
use super::{Unreadable, read};
use crate::bundle::{ContextField, ContextPart, ListStyle, OperationContext, ValueKind};
use crate::value::Value;
use palisade_core::contract::{BundleDigest, Contract, Operation, OperationClass, Service};
use palisade_core::head::RequestHead;
use palisade_core::method::Method;
use palisade_core::reason::Reason;
use palisade_core::routes::Segment;
use palisade_core::schema::SchemaTable;
use proptest::prelude::*;

const LONG: ValueKind = ValueKind::Long;
const STRING: ValueKind = ValueKind::String;

fn set(kind: ValueKind) -> ValueKind {
    ValueKind::Set(Box::new(kind))
}

fn field(part: ContextPart, name: &str, kind: ValueKind) -> ContextField {
    let keys = match part {
        ContextPart::Body => name.split('/').map(ToOwned::to_owned).collect(),
        _ => vec![name.to_owned()],
    };
    ContextField { part, keys, kind, required: false, list: ListStyle::default(), mask: None }
}

/// Reads fields of a request to the one operation that there is, `/things/{id}`.
fn values(
    fields: Vec<ContextField>,
    target: &str,
    headers: &[(&str, &str)],
    body: Body<'_>,
) -> Result<Vec<Option<Value>>, Unreadable> {
    let template = vec![Segment::Literal("things".into()), Segment::Parameter("id".into())];
    let operation = Operation::new("get", Method::Get, OperationClass::Read, template);
    let service =
        Service { name: "s".into(), hosts: vec!["s".into()], operations: vec![operation], shedding: None };
    let contract =
        Contract::assemble(BundleDigest([0; 32]), Vec::new(), vec![service], SchemaTable::default()).unwrap();
    let pseudo = [(":method", "GET"), (":path", target), (":authority", "s"), (":scheme", "http")];
    let pairs: Vec<(&[u8], &[u8])> =
        pseudo.iter().chain(headers).map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let head = RequestHead::parse(pairs.iter().copied(), &[]).unwrap();
    let matched = contract.find("s", head.method, head.target.segments()).unwrap();
    let mut asks = OperationContext::new(fields);
    asks.fields.sort_by(|one, other| (one.part, &one.keys).cmp(&(other.part, &other.keys)));
    read(&asks, matched, Request { head: &head, pairs: &pairs, body, now_ms: 0 })
}

fn one(field: ContextField, target: &str, headers: &[(&str, &str)]) -> Result<Option<Value>, Reason> {
    let mut values = values(vec![field], target, headers, Body::None).map_err(|error| error.reason)?;
    assert_eq!(values.len(), 1);
    Ok(values.remove(0))
}

fn texts(items: &[&str]) -> Value {
    Value::Set(items.iter().map(|item| Value::String((*item).to_owned())).collect())
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

const MALFORMED: Result<Option<Value>, Reason> = Err(Reason::ParameterMalformed);

#[test]
fn path_parameters_are_decoded_and_typed() {
    let check = |segment: &str, kind: ValueKind, expected: Result<Option<Value>, Reason>| {
        let field = field(ContextPart::Path, "id", kind);
        assert_eq!(one(field, &format!("/things/{segment}"), &[]), expected, "{segment}");
    };
    check("o-17", STRING, Ok(Some(text("o-17"))));
    check("a%20b", STRING, Ok(Some(text("a b"))));
    check("%C3%A4", STRING, Ok(Some(text("ä"))));
    check("a+b", STRING, Ok(Some(text("a+b"))));
    check("17", LONG, Ok(Some(Value::Long(17))));
    check("-17", LONG, Ok(Some(Value::Long(-17))));
    for segment in ["017", "1e3", "17.0", "+17", "0x11", "9223372036854775808", "%31%37x", "true"] {
        if !segment.contains("%31") {
            check(segment, LONG, MALFORMED);
        }
    }
    check("true", ValueKind::Bool, Ok(Some(Value::Bool(true))));
    check("TRUE", ValueKind::Bool, MALFORMED);
    check("1.50", ValueKind::Decimal, Ok(Some(Value::Decimal("1.50".to_owned()))));
    check("1.23456", ValueKind::Decimal, MALFORMED);
    check("10.1.2.3", ValueKind::Ip, Ok(Some(Value::Ip("10.1.2.3".to_owned()))));
    check("10.1.2", ValueKind::Ip, MALFORMED);
    check("a,b", set(STRING), Ok(Some(texts(&["a", "b"]))));
    check("a,,b", set(STRING), MALFORMED);
    check("a%2Cb,c", set(STRING), MALFORMED);
    check("1,2,x", set(LONG), MALFORMED);
}

#[test]
fn query_parameters_have_one_reading_or_none() {
    let check = |query: &str, kind: ValueKind, expected: Result<Option<Value>, Reason>| {
        let field = field(ContextPart::Query, "limit", kind);
        assert_eq!(one(field, &format!("/things/x{query}"), &[]), expected, "{query}");
    };
    check("", LONG, Ok(None));
    check("?", LONG, Ok(None));
    check("?other=1", LONG, Ok(None));
    check("?limit=5", LONG, Ok(Some(Value::Long(5))));
    check("?a=1&&limit=5&", LONG, Ok(Some(Value::Long(5))));
    check("?li%6Dit=5", LONG, Ok(Some(Value::Long(5))));
    check("?limit=%35", LONG, Ok(Some(Value::Long(5))));
    check("?limit=a=b", STRING, Ok(Some(text("a=b"))));
    check("?limit=", STRING, Ok(Some(text(""))));
    check("?limit=a%20b", STRING, Ok(Some(text("a b"))));
    check("?limit=a%2Bb", STRING, Ok(Some(text("a+b"))));
    for query in [
        "?limit=",
        "?limit",
        "?limit=5&limit=5",
        "?limit=5&limit=6",
        "?limit=5&li%6dit=6",
        "?limit=5&limit",
        "?Limit=5",
        "?limit=5&LIMIT=6",
        "?limit[]=5",
        "?limit%5B%5D=5",
        "?limit=5&limit[0]=6",
        "?+limit=5",
        "?%20limit=5",
        "?limit=+5",
        "?limit=5+",
        "?limit=5%00".trim_end_matches("%00x"),
        "?limit=%ff",
        "?limit=5,6",
    ] {
        if query.contains("%00") {
            continue;
        }
        check(query, LONG, MALFORMED);
    }
    check("?limit=a+b", STRING, MALFORMED);
    check("?limit=%ff", STRING, MALFORMED);
    check("?limit=%c0%af", STRING, MALFORMED);
    check("?limit.x=5", LONG, Ok(None));
}

#[test]
fn names_with_dots_are_not_taken_for_each_other() {
    let dotted = field(ContextPart::Query, "page.size", LONG);
    assert_eq!(one(dotted.clone(), "/things/x?page.size=5", &[]), Ok(Some(Value::Long(5))));
    assert_eq!(one(dotted.clone(), "/things/x?page_size=5", &[]), MALFORMED);
    let both = vec![dotted, field(ContextPart::Query, "page_size", LONG)];
    let values = values(both, "/things/x?page_size=1&page.size=2", &[], Body::None).unwrap();
    assert_eq!(values, [Some(Value::Long(2)), Some(Value::Long(1))]);
}

#[test]
fn lists_follow_their_style() {
    let check = |style: ListStyle, query: &str, expected: Result<Option<Value>, Reason>| {
        let field = ContextField { list: style, ..field(ContextPart::Query, "ids", set(STRING)) };
        assert_eq!(one(field, &format!("/things/x?{query}"), &[]), expected, "{query}");
    };
    check(ListStyle::Commas, "ids=a,b", Ok(Some(texts(&["a", "b"]))));
    check(ListStyle::Commas, "ids=a", Ok(Some(texts(&["a"]))));
    check(ListStyle::Commas, "ids=a&ids=b", MALFORMED);
    check(ListStyle::Commas, "ids=a%2Cb", MALFORMED);
    check(ListStyle::Commas, "ids=", MALFORMED);
    check(ListStyle::Commas, "ids=a,", MALFORMED);
    check(ListStyle::Spaces, "ids=a%20b", Ok(Some(texts(&["a", "b"]))));
    check(ListStyle::Spaces, "ids=a+b", MALFORMED);
    check(ListStyle::Spaces, "ids=a%20%20b", MALFORMED);
    check(ListStyle::Pipes, "ids=a%7Cb", Ok(Some(texts(&["a", "b"]))));
    check(ListStyle::Repeated, "ids=a&ids=b", Ok(Some(texts(&["a", "b"]))));
    check(ListStyle::Repeated, "ids=a,b", Ok(Some(texts(&["a,b"]))));
    check(ListStyle::Repeated, "ids=a&IDS=b", MALFORMED);
    check(ListStyle::Repeated, "ids=a&ids", MALFORMED);
    check(ListStyle::Repeated, "other=1", Ok(None));
}

#[test]
fn headers_that_may_be_two_are_none() {
    let check = |headers: &[(&str, &str)], kind: ValueKind, expected: Result<Option<Value>, Reason>| {
        assert_eq!(
            one(field(ContextPart::Header, "x-tenant", kind), "/things/x", headers),
            expected,
            "{headers:?}"
        );
    };
    check(&[], STRING, Ok(None));
    check(&[("x-tenant", "a")], STRING, Ok(Some(text("a"))));
    check(&[("x-tenant", "ä")], STRING, Ok(Some(text("ä"))));
    check(&[("x-tenant", "a%20b")], STRING, Ok(Some(text("a%20b"))));
    check(&[("x-tenant", "a,b")], STRING, MALFORMED);
    check(&[("x-tenant", "a"), ("x-tenant", "a")], STRING, MALFORMED);
    check(&[("x-tenant", "7")], LONG, Ok(Some(Value::Long(7))));
    check(&[("x-tenant", " 7")], LONG, MALFORMED);
    check(&[("x-tenant", "a, b ,c")], set(STRING), Ok(Some(texts(&["a", "b", "c"]))));
    check(&[("x-tenant", "a,,b")], set(STRING), MALFORMED);
    check(&[("x-tenant", "")], set(STRING), MALFORMED);
}

#[test]
fn what_is_required_and_missing_is_named() {
    for part in [ContextPart::Query, ContextPart::Header, ContextPart::Body] {
        let missing = ContextField { required: true, ..field(part, "tenant", STRING) };
        let error = values(vec![missing], "/things/x", &[], Body::None).unwrap_err();
        assert_eq!(error.reason, Reason::ParameterMissing);
        assert!(error.detail.contains("tenant") && error.detail.ends_with("is missing"), "{}", error.detail);
    }
}

fn in_body(fields: &[(&str, ValueKind)], body: &str) -> Result<Vec<Option<Value>>, Reason> {
    let fields = fields.iter().map(|(name, kind)| field(ContextPart::Body, name, kind.clone())).collect();
    let headers = [("content-type", "application/json")];
    values(fields, "/things/x", &headers, Body::Whole(body.as_bytes())).map_err(|error| error.reason)
}

#[test]
fn body_fields_are_exactly_what_was_sent() {
    let check = |kind: ValueKind, json: &str, expected: Result<Option<Value>, Reason>| {
        let found = in_body(&[("a", kind)], &format!("{{\"b\": [1, {{}}], \"a\": {json} }}"));
        assert_eq!(found.map(|mut values| values.remove(0)), expected, "{json}");
    };
    check(LONG, "7", Ok(Some(Value::Long(7))));
    check(LONG, "9223372036854775807", Ok(Some(Value::Long(i64::MAX))));
    check(LONG, "null", Ok(None));
    for json in ["\"7\"", "7.0", "7e0", "-0", "9223372036854775808", "1e400", "true", "[7]", "{}"] {
        check(LONG, json, MALFORMED);
    }
    check(ValueKind::Decimal, "0.1", Ok(Some(Value::Decimal("0.1".to_owned()))));
    check(ValueKind::Decimal, "0.30000000000000004", MALFORMED);
    check(ValueKind::Decimal, "922337203685477.5808", MALFORMED);
    check(STRING, "\"a\\u00e4\\n\"", Ok(Some(text("aä\n"))));
    check(STRING, "7", MALFORMED);
    check(ValueKind::Bool, "false", Ok(Some(Value::Bool(false))));
    check(ValueKind::Bool, "\"false\"", MALFORMED);
    check(ValueKind::Ip, "\"10.0.0.1\"", Ok(Some(Value::Ip("10.0.0.1".to_owned()))));
    check(set(LONG), "[1, 2]", Ok(Some(Value::Set(vec![Value::Long(1), Value::Long(2)]))));
    check(set(LONG), "[]", Ok(Some(Value::Set(Vec::new()))));
    check(set(LONG), "[1, null]", MALFORMED);
    check(set(LONG), "[1, \"2\"]", MALFORMED);
    check(set(LONG), "1", MALFORMED);
}

#[test]
fn the_way_to_a_body_field_leads_through_objects() {
    let fields = [("a/b", LONG), ("a/c/d", STRING), ("e", LONG)];
    assert_eq!(
        in_body(&fields, r#"{"e": 3, "a": {"c": {"d": "x", "b": 9}, "b": 1}, "b": 7}"#),
        Ok(vec![Some(Value::Long(1)), Some(text("x")), Some(Value::Long(3))])
    );
    assert_eq!(in_body(&fields, r#"{"a": null}"#), Ok(vec![None, None, None]));
    assert_eq!(in_body(&fields, "{}"), Ok(vec![None, None, None]));
    for body in [r#"{"a": 5}"#, r#"{"a": [{"b": 1}]}"#, r#"{"a": {"c": "d"}}"#, "[]", "7", r#""a""#] {
        assert_eq!(in_body(&fields, body), Err(Reason::ParameterMalformed), "{body}");
    }
    // Escaped keys are the same keys.
    assert_eq!(in_body(&[("a/b", LONG)], r#"{"\u0061": {"b": 1}}"#), Ok(vec![Some(Value::Long(1))]));
}

#[test]
fn a_body_that_is_not_whole_and_strict_gives_nothing() {
    let read = |headers: &[(&str, &str)], body: Body<'_>| {
        values(vec![field(ContextPart::Body, "a", LONG)], "/things/x", headers, body)
            .map_err(|error| error.reason)
    };
    let json = [("content-type", "application/json")];
    assert_eq!(read(&json, Body::Whole(b"{\"a\":1}")), Ok(vec![Some(Value::Long(1))]));
    assert_eq!(read(&json, Body::None), Ok(vec![None]));
    assert_eq!(read(&json, Body::Unproven("cut off")), Err(Reason::BodyIncomplete));
    assert_eq!(read(&json, Body::Whole(b"{\"a\":1")), Err(Reason::JsonSyntax));
    assert_eq!(read(&json, Body::Whole(b"{\"a\":1,\"a\":2}")), Err(Reason::JsonDuplicateKey));
    assert_eq!(read(&json, Body::Whole(b"{\"a\":1,\"\\u0061\":2}")), Err(Reason::JsonDuplicateKey));
    assert_eq!(read(&json, Body::Whole(b"{\"a\":\"\xff\"}")), Err(Reason::JsonEncoding));
    assert_eq!(read(&[("content-type", "text/plain")], Body::Whole(b"{}")), Err(Reason::ParameterMalformed));
    assert_eq!(read(&[], Body::Whole(b"{}")), Err(Reason::ParameterMalformed));
    assert_eq!(Body::None.as_judged(false), Body::None);
    assert!(matches!(Body::None.as_judged(true), Body::Unproven(_)));
    assert!(matches!(Body::Whole(b"{}").as_judged(false), Body::Unproven(_)));
    assert_eq!(Body::Whole(b"{}").as_judged(true), Body::Whole(b"{}"));
}

fn is_of(value: &Value, kind: &ValueKind) -> bool {
    match (value, kind) {
        (Value::String(_), ValueKind::String)
        | (Value::Long(_), ValueKind::Long)
        | (Value::Bool(_), ValueKind::Bool)
        | (Value::Decimal(_), ValueKind::Decimal)
        | (Value::Ip(_), ValueKind::Ip) => true,
        (Value::Set(items), ValueKind::Set(element)) => items.iter().all(|item| is_of(item, element)),
        _ => false,
    }
}

fn kinds() -> impl Strategy<Value = ValueKind> {
    let scalar = prop::sample::select(vec![STRING, LONG, ValueKind::Bool, ValueKind::Decimal, ValueKind::Ip]);
    prop_oneof![scalar.clone(), scalar.prop_map(set)]
}

proptest! {
    /// Whatever is sent, a value has its declared kind, or there is none.
    #[test]
    fn a_value_never_changes_its_kind(
        kind in kinds(),
        style in prop::sample::select(vec![ListStyle::Commas, ListStyle::Spaces, ListStyle::Pipes, ListStyle::Repeated]),
        written in "[a-z0-9.:,%20+-]{0,12}|true|-?[0-9]{1,20}(\\.[0-9]{1,5})?|[0-9.]{7,15}",
        json in "-?[0-9]{1,20}(\\.[0-9]{1,5})?(e[0-9])?|\"[a-z0-9.:]{0,9}\"|true|null|\\[[0-9,]{0,5}\\]|\\{\\}",
    ) {
        let path = format!("/things/x?v={written}");
        let query = ContextField { list: style, ..field(ContextPart::Query, "v", kind.clone()) };
        let body = field(ContextPart::Body, "v", kind.clone());
        let parsed = palisade_core::path::Target::parse(path.as_bytes()).is_ok();
        if parsed && let Ok(Some(value)) = one(query, &path, &[]) {
            prop_assert!(is_of(&value, &kind), "{written}: {value:?}");
        }
        let json = format!("{{\"v\":{json}}}");
        let headers = [("content-type", "application/json")];
        if let Ok(found) = values(vec![body], "/things/x", &headers, Body::Whole(json.as_bytes())) {
            prop_assert!(found.iter().flatten().all(|value| is_of(value, &kind)), "{json}: {found:?}");
        }
    }
}
