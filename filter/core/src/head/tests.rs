//! One row per header rule, each refusal with an accepted twin.

use super::RequestHead;
use crate::media::ContentType;
use crate::method::Method;
use crate::reason::Reason;
use crate::testing::universal_test;

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
        for name in [&b"content-type"[..], b"content-length", b"authorization", b"x-api-key", b"x-request-id", b"upgrade", b"idempotency-key", b"if-match"] {
            let value: &[u8] = match name { b"content-type" => b"text/plain", b"content-length" => b"1", _ => b"v" };
            let twice: Pairs<'_> = base().into_iter().chain([(name, value), (name, value)]).collect();
            assert_eq!(parse(&twice).err(), Some(HeaderDuplicate), "{}", name.escape_ascii());
            let single: Pairs<'_> = base().into_iter().chain([(name, value)]).collect();
            assert!(parse(&single).is_ok(), "{}", name.escape_ascii());
        }
        check_added(&[(b"accept", b"a"), (b"accept", b"b")], Ok(()));
        check_added(&[(b"host", b"payments")], Err(HeaderDuplicate));
        for name in super::OVERRIDE_HEADERS {
            let pairs: Pairs<'_> = base().into_iter().chain([(name, &b"DELETE"[..])]).collect();
            assert_eq!(parse(&pairs).err(), Some(HeaderMethodOverride), "{}", name.escape_ascii());
        }
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
