//! One row per header rule, each refusal with an accepted twin.

use super::RequestHead;
use crate::media::ContentType;
use crate::method::Method;
use crate::reason::Reason;
use crate::testing::{universal_properties, universal_test};
use proptest::prelude::*;

type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

fn base<'a>() -> Pairs<'a> {
    vec![(b":method", b"POST"), (b":path", b"/orders"), (b":authority", b"orders"), (b":scheme", b"http")]
}

fn parse<'a>(pairs: &Pairs<'a>) -> Result<RequestHead<'a>, Reason> {
    RequestHead::parse(pairs.iter().copied(), &["x-api-key".into()])
}

fn check_added(added: &[(&'static [u8], &'static [u8])], expected: Result<(), Reason>) {
    let pairs: Pairs<'_> = base().into_iter().chain(added.iter().copied()).collect();
    let shown: Vec<_> = added
        .iter()
        .map(|(name, value)| format!("{}: {}", name.escape_ascii(), value.escape_ascii()))
        .collect();
    assert_eq!(parse(&pairs).map(drop), expected, "{shown:?}");
}

fn check_replaced(name: &[u8], value: Option<&'static [u8]>, expected: Result<(), Reason>) {
    let mut pairs = base();
    pairs.retain(|(known, _)| *known != name);
    let name: &'static [u8] = match name {
        b":method" => b":method",
        b":path" => b":path",
        b":authority" => b":authority",
        _ => b":scheme",
    };
    pairs.extend(value.map(|value| (name, value)));
    assert_eq!(parse(&pairs).map(drop), expected, "{} {value:?}", name.escape_ascii());
}

universal_test! {
    fn reads_what_later_steps_need() {
        let mut pairs = base();
        pairs.extend([
            (&b"content-type"[..], &b"application/json"[..]), (b"content-length", b"12"), (b"x-request-id", b"r-1"),
            (b"x-palisade-handoff", b"forged"), (b"x-api-key", b"k"), (b"accept", b"\xc3\xa4"), (b"content-encoding", b"identity"),
        ]);
        let head = parse(&pairs).unwrap();
        assert_eq!((head.method, head.target.path(), head.authority.host()), (Method::Post, "/orders", "orders"));
        assert_eq!(head.content_type, Some(ContentType::Media("application/json")));
        assert_eq!((head.content_length, head.request_id, head.content_encoded), (Some(12), Some("r-1"), false));
        assert_eq!(head.own_header("x-palisade-handoff"), Some("forged"));
        assert!(!head.is_grpc());
    }
}

universal_test! {
    fn each_header_rule_has_its_reason_and_an_accepted_twin() {
        use Reason::*;
        check_added(&[], Ok(()));
        for name in [&b"x-user_id"[..], b"X-User", b"a b", b"", b"x\xff", b":protocol", b"x\0"] {
            let pairs: Pairs<'_> = base().into_iter().chain([(name, &b"x"[..])]).collect();
            assert_eq!(parse(&pairs).err(), Some(HeaderNameInvalid), "{}", name.escape_ascii());
        }
        check_added(&[(b"x-user-id", b"x")], Ok(()));
        for value in [&b"\xff"[..], b"a\0b", b"a\x7f", b"\x1b[0m", b"a\r\nb", b"\xc3"] {
            let pairs: Pairs<'_> = base().into_iter().chain([(&b"x-note"[..], value)]).collect();
            assert_eq!(parse(&pairs).err(), Some(HeaderValueInvalid), "{}", value.escape_ascii());
        }
        check_added(&[(b"x-note", b"a\tb \xc3\xa4")], Ok(()));
        for name in [&b"content-type"[..], b"content-length", b"authorization", b"x-api-key", b"x-request-id", b"upgrade", b"idempotency-key", b"proxy-authorization", b"transfer-encoding", b"if-unmodified-since"] {
            let value: &[u8] = match name { b"content-type" => b"text/plain", b"content-length" => b"1", _ => b"v" };
            let twice: Pairs<'_> = base().into_iter().chain([(name, value), (name, value)]).collect();
            assert_eq!(parse(&twice).err(), Some(HeaderDuplicate), "{}", name.escape_ascii());
            let single: Pairs<'_> = base().into_iter().chain([(name, value)]).collect();
            assert!(parse(&single).is_ok(), "{}", name.escape_ascii());
        }
        check_added(&[(b"accept", b"a"), (b"accept", b"b")], Ok(()));
        check_added(&[(b"host", b"payments")], Err(HeaderDuplicate));
        check_added(&[(b"x-http-methods", b"DELETE")], Ok(()));
        for length in [&b""[..], b"-1", b"+1", b"1,1", b"0x1", b"99999999999999999999", b" 1"] {
            let pairs: Pairs<'_> = base().into_iter().chain([(&b"content-length"[..], length)]).collect();
            assert_eq!(parse(&pairs).err(), Some(ContentLengthInvalid), "{}", length.escape_ascii());
        }
        check_added(&[(b"content-length", b"0")], Ok(()));
        check_added(&[(b"content-type", b"application/grpc-web")], Err(ContentTypeNearGrpc));
        check_added(&[(b"content-type", b"application/grpc")], Ok(()));
    }
}

/// Headers by which somebody behind the proxy lets a caller change what the proxy judged.
const OVERRIDES: &[&str] = &[
    "x-http-method",
    "x-http-method-override",
    "x-http-verb",
    "x-http-verb-override",
    "x-method",
    "x-method-override",
    "x-override-method",
    "method-override",
    "http-method-override",
    "x-original-method",
    "x-original-path",
    "x-original-uri",
    "x-original-url",
    "x-override-url",
    "x-rewrite-uri",
    "x-rewrite-url",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-forwarded-url",
    "x-middleware-subrequest",
    "x-accel-mapping",
    "x-sendfile-type",
];

/// Headers that a router obeys.
const CONTROLS: &[&str] = &[
    "x-envoy-max-retries",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-stream-duration-ms",
    "x-envoy-original-dst-host",
    "x-envoy-force-trace",
    "x-envoy-fault-abort-request",
    "x-envoy-fault-delay-request",
];

/// What proxies of a mesh, load balancers and tracers set, and names that only resemble the ones above.
const ORDINARY: &[&str] = &[
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-client-cert",
    "x-real-ip",
    "x-envoy-attempt-count",
    "x-envoy-internal",
    "x-envoy-external-address",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-decorator-operation",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-envoy-original-path",
    "x-b3-traceid",
    "traceparent",
    "x-http-methods",
    "x-methods",
    "x-envoy-max-retrie",
    "x-envoy-faul",
    "x-",
    "x",
    "x-hosts",
    "x-original-hosts",
    "expects",
    "if-matches",
    "forwarder",
];

/// With one more header, as a proxy would hand it on.
fn with(name: &str, value: &str) -> Result<(), Reason> {
    parse(&base().into_iter().chain([(name.as_bytes(), value.as_bytes())]).collect()).map(drop)
}

universal_test! {
    fn what_frameworks_and_proxies_obey_is_refused_and_what_proxies_tell_is_not() {
        for (names, expected) in [
            (OVERRIDES, Err(Reason::HeaderMethodOverride)), (CONTROLS, Err(Reason::HeaderProxyControl)), (ORDINARY, Ok(())),
        ] {
            for name in names {
                assert_eq!(with(name, "DELETE"), expected, "{name}");
            }
        }
    }
}

universal_test! {
    fn a_claimed_host_is_the_hosts_own_or_refused() {
        for name in ["x-forwarded-host", "x-host", "x-host-override", "x-http-host-override", "x-original-host"] {
            assert_eq!(with(name, "orders"), Ok(()), "{name}");
            assert_eq!(with(name, "Orders"), Ok(()), "{name}");
            for claimed in ["payments", "orders.", "orders:80", "orders,orders", "orders, payments", ""] {
                assert_eq!(with(name, claimed), Err(Reason::HeaderHostOverride), "{name}: {claimed}");
            }
        }
        check_added(&[(b"x-host", b"orders"), (b"x-forwarded-host", b"ORDERS")], Ok(()));
        check_added(&[(b"x-host", b"orders"), (b"x-forwarded-host", b"payments")], Err(Reason::HeaderHostOverride));
        check_added(&[(b"x-host", b"payments"), (b"x-forwarded-host", b"orders")], Err(Reason::HeaderHostOverride));
        assert_eq!(with("forwarded", "for=192.0.2.1;proto=https"), Ok(()));
        assert_eq!(with("forwarded", "for=192.0.2.1;host=payments"), Err(Reason::HeaderHostOverride));
    }
}

universal_test! {
    fn values_that_a_proxy_joined_count_as_two() {
        use Reason::HeaderDuplicate;
        for (name, one, joined) in [
            ("authorization", "Bearer a", "Bearer a,Bearer b"),
            ("proxy-authorization", "Basic eA==", "Basic eA==,Basic eQ=="),
            ("x-api-key", "a", "a,b"),
            ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT,Sun, 06 Nov 1994 08:49:37 GMT"),
            ("if-none-match", "\"a\",\"b\"", "*,\"a\""),
        ] {
            assert_eq!(with(name, one), Ok(()), "{name}");
            assert_eq!(with(name, joined), Err(HeaderDuplicate), "{name}");
        }
        check_added(&[(b"if-match", b"\"a\""), (b"if-match", b"\"b\"")], Ok(()));
        check_added(&[(b"if-none-match", b"\"a\""), (b"if-none-match", b"\"b\"")], Ok(()));
        // An identity in a header that has parameters keeps the rule of that header.
        let digest: Pairs<'_> = base().into_iter().chain([(&b"authorization"[..], &b"Digest a=b, c=d"[..])]).collect();
        let read = |header: &str| RequestHead::parse(digest.iter().copied(), &[header.into()]).map(drop);
        assert_eq!(read("authorization"), Ok(()));
    }
}

universal_test! {
    fn expectations_early_data_and_connections_have_one_meaning() {
        assert_eq!(with("expect", "100-Continue"), Ok(()));
        for other in ["", "100-continue,100-continue", "200-ok", "100-continue "] {
            assert_eq!(with("expect", other), Err(Reason::ExpectInvalid), "{other}");
        }
        assert_eq!(with("early-data", "1"), Err(Reason::EarlyData));
        for (method, expected) in [(&b"GET"[..], Ok(())), (b"HEAD", Ok(())), (b"OPTIONS", Ok(())), (b"PUT", Err(Reason::EarlyData))] {
            let mut pairs = base();
            pairs[0].1 = method;
            pairs.push((b"early-data", b"1"));
            assert_eq!(parse(&pairs).map(drop), expected, "{}", method.escape_ascii());
        }
        assert_eq!(with("connection", "keep-alive, Upgrade"), Ok(()));
        assert_eq!(with("connection", "upgrade, x-api-key"), Err(Reason::HeaderConnection));
    }
}

universal_test! {
    fn a_byte_is_judged_alike_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            // A byte above ASCII is no UTF-8 by itself.
            let value_allowed = matches!(byte, b' '..=b'~' | b'\t');
            let name_allowed = matches!(byte, b'a'..=b'z' | b'0'..=b'9') || b"-.!#$%&'*+^`|~".contains(&byte);
            for at in 0..19 {
                let mut value = [b'v'; 19];
                value[at] = byte;
                let mut name = *b"x-some-longer-name-";
                name[at] = byte;
                let with = |name, value| parse(&base().into_iter().chain([(name, value)]).collect()).map(drop);
                let expected = if value_allowed { Ok(()) } else { Err(Reason::HeaderValueInvalid) };
                assert_eq!(with(b"x-note", &value[..]), expected, "value, {byte:#x} at {at}");
                let expected = if name_allowed { Ok(()) } else { Err(Reason::HeaderNameInvalid) };
                assert_eq!(with(&name[..], b"v"), expected, "name, {byte:#x} at {at}");
            }
        }
    }
}

universal_test! {
    fn pseudo_headers_must_be_there_once_and_valid() {
        use Reason::*;
        for method in [&b"get"[..], b"CONNECT", b"TRACE", b"", b"POST ", b"PROPFIND"] {
            let mut pairs = base();
            pairs[0].1 = method;
            assert_eq!(parse(&pairs).err(), Some(MethodUnknown), "{}", method.escape_ascii());
        }
        check_replaced(b":method", None, Err(MethodUnknown));
        check_replaced(b":path", None, Err(PathMissing));
        check_replaced(b":authority", None, Err(HostMissing));
        check_replaced(b":authority", Some(b"orders."), Err(HostTrailingDot));
        check_replaced(b":scheme", None, Ok(()));
        for scheme in [&b"HTTP"[..], b"hTTps", b"ftp", b""] {
            let mut pairs = base();
            pairs[3].1 = scheme;
            assert_eq!(parse(&pairs).err(), Some(SchemeInvalid), "{}", scheme.escape_ascii());
        }
        for pair in base() {
            let twice: Pairs<'_> = base().into_iter().chain([pair]).collect();
            assert_eq!(parse(&twice).err(), Some(HeaderDuplicate), "{}", pair.0.escape_ascii());
        }
    }
}

universal_test! {
    fn the_number_of_headers_is_bounded_exactly() {
        let filled = |count: usize| -> Pairs<'static> { base().into_iter().chain((4..count).map(|_| (&b"accept"[..], &b"x"[..]))).collect() };
        assert!(parse(&filled(128)).is_ok());
        assert_eq!(parse(&filled(129)).err(), Some(Reason::HeaderTooMany));
        let ours = |count: usize| -> Pairs<'static> { base().into_iter().chain((0..count).map(|_| (&b"x-palisade-x"[..], &b"x"[..]))).collect() };
        assert!(parse(&ours(8)).is_ok());
        assert_eq!(parse(&ours(9)).err(), Some(Reason::HeaderTooMany));
    }
}

/// One set of credentials, as clients write it.
fn credential() -> impl Strategy<Value = String> {
    let scheme =
        prop::sample::select(vec!["Bearer", "basic", "Digest", "AWS4-HMAC-SHA256", "Negotiate", "Own"]);
    let token = "[A-Za-z0-9._~+/-]{1,12}={0,2}";
    let parameter = prop_oneof!["[a-z]{1,5}=[a-z0-9/;-]{1,8}", "[a-z]{1,5}=\"[a-z ,=]{0,8}\""];
    prop_oneof![
        (scheme.clone(), token).prop_map(|(scheme, token)| format!("{scheme} {token}")),
        (scheme, prop::collection::vec(parameter, 2..4))
            .prop_map(|(scheme, parameters)| format!("{scheme} {}", parameters.join(", "))),
    ]
}

universal_properties! {
    // Whatever a caller adds: the request is the same one, or it is refused.
    fn a_further_header_never_changes_what_a_request_is(name in "(x-envoy-|x-forwarded-|x-|)[a-z-]{1,20}", value in "[ -~]{0,20}") {
        let plain = base();
        let more: Pairs<'_> = base().into_iter().chain([(name.as_bytes(), value.as_bytes())]).collect();
        let plain = parse(&plain).unwrap();
        if let Ok(more) = parse(&more) {
            prop_assert_eq!((more.method, more.target, more.authority), (plain.method, plain.target, plain.authority));
        }
    }

    fn two_credentials_in_one_value_are_never_one(first in credential(), second in credential(), blank in " ?") {
        prop_assert_eq!(with("authorization", &format!("{first},{blank}{second}")), Err(Reason::HeaderDuplicate));
    }

    fn a_credential_with_parameters_passes(scheme in "(Digest|OAuth|Signature)", parameters in prop::collection::vec("[a-z]{1,5}=(\"[a-z ,=]{0,8}\"|[a-z0-9/;-]{1,8})", 1..5)) {
        prop_assert_eq!(with("authorization", &format!("{scheme} {}", parameters.join(","))), Ok(()));
    }
}
