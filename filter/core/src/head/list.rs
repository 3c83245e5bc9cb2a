//! Whether a value is one value, or several that a proxy joined with commas before anybody here could count them.
//!
//! INVARIANT: the quick answer for values without a comma is one look at each byte; nothing is allocated.

/// One set of credentials: a scheme and a token, or a scheme and parameters, which commas may separate (`Digest`, AWS
/// signatures). Two sets show by what stands behind a comma: it is no parameter.
pub(super) fn is_one_credential(value: &[u8]) -> bool {
    if !value.contains(&b',') {
        return true;
    }
    let Some(end) = value.iter().position(|byte| *byte == b' ') else { return false };
    let Some((scheme, parameters)) = value.split_at_checked(end) else { return false };
    // These have a token and nothing else.
    let has_parameters = !scheme.eq_ignore_ascii_case(b"bearer") && !scheme.eq_ignore_ascii_case(b"basic");
    has_parameters && !scheme.contains(&b',') && elements(parameters).all(is_parameter)
}

/// One date in any of the three spellings of HTTP: a comma stands behind the day's name or nowhere.
pub(super) fn is_one_date(value: &[u8]) -> bool {
    const DAY_BYTES_MAX: usize = b"Wednesday".len();
    let mut commas = value.iter().enumerate().filter(|(_, byte)| **byte == b',').map(|(at, _)| at);
    match (commas.next(), commas.next()) {
        (None, _) => true,
        (Some(at), None) => (3..=DAY_BYTES_MAX).contains(&at),
        (Some(_), Some(_)) => false,
    }
}

/// Entity tags: a list of them, or an asterisk alone.
pub(super) fn are_entity_tags(value: &[u8]) -> bool {
    !value.contains(&b',') || elements(value).all(|element| element != b"*")
}

/// Whether a `connection` header names only what belongs to the connection. Whatever it names the next party removes: a
/// caller could have a credential removed behind us, or a header on which the service rests.
pub(super) fn names_only_the_connection(value: &[u8]) -> bool {
    const OWN: [&[u8]; 6] =
        [b"upgrade", b"keep-alive", b"close", b"te", b"http2-settings", b"proxy-connection"];
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .all(|token| token.is_empty() || OWN.iter().any(|known| token.eq_ignore_ascii_case(known)))
}

/// Whether a `forwarded` header has a `host` parameter, wherever it stands: in quotes it is none, and refused as well.
pub(super) fn claims_host(value: &[u8]) -> bool {
    let mut rest = value;
    while let Some((first, after)) = rest.split_first_chunk::<4>() {
        if first.eq_ignore_ascii_case(b"host") && after.trim_ascii_start().first() == Some(&b'=') {
            return true;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}

/// The pieces between commas outside quotes, without blanks around them. A quote that does not end has one piece.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    let is_comma = move |byte: &u8| {
        match (*byte, quoted, escaped) {
            (_, true, true) => escaped = false,
            (b'\\', true, false) => escaped = true,
            (b'"', _, _) => quoted = !quoted,
            (b',', false, _) => return true,
            _ => {}
        }
        false
    };
    value.split(is_comma).map(<[u8]>::trim_ascii)
}

/// `name=value`, with a token for a name and a value without blanks or in quotes.
fn is_parameter(element: &[u8]) -> bool {
    let Some(at) = element.iter().position(|byte| *byte == b'=') else { return false };
    let Some((name, value)) = element.split_at_checked(at) else { return false };
    let name = name.trim_ascii_end();
    let value = value.get(1..).unwrap_or_default().trim_ascii_start();
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let is_name = !name.is_empty() && name.iter().all(is_token);
    let is_plain = !value.is_empty() && !value.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'"'));
    is_name && (is_plain || is_quoted(value))
}

/// One text in quotes, and no quote inside that is not escaped.
fn is_quoted(value: &[u8]) -> bool {
    let [b'"', inside @ .., b'"'] = value else { return false };
    let mut escaped = false;
    for byte in inside {
        match (*byte, escaped) {
            (_, true) => escaped = false,
            (b'\\', false) => escaped = true,
            (b'"', false) => return false,
            _ => {}
        }
    }
    !escaped
}

#[cfg(test)]
mod tests {
    use super::{are_entity_tags, claims_host, is_one_credential, is_one_date, names_only_the_connection};
    use crate::testing::universal_test;

    fn check(rule: fn(&[u8]) -> bool, holds: &[&str], fails: &[&str]) {
        for (values, expected) in [(holds, true), (fails, false)] {
            for value in values {
                assert_eq!(rule(value.as_bytes()), expected, "{value}");
            }
        }
    }

    universal_test! {
        fn credentials_that_were_joined_are_told_from_one_with_parameters() {
            check(
                is_one_credential,
                &[
                    "", "abc", "Bearer abc.def-_~+/==", "Basic eA==", "Negotiate YII=",
                    r#"Digest username="a, b", realm="r", nc=00000001, response="x\",y""#,
                    "AWS4-HMAC-SHA256 Credential=AK/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;range, Signature=fe5f",
                    r#"Signature keyId="k",algorithm="rsa-sha256",headers="(request-target) date",signature="b64==""#,
                    r#"OAuth realm="Example", oauth_version = "1.0""#,
                ],
                &[
                    "Bearer a,Bearer b", "Basic eA==,Basic eQ==", "Bearer a,", ",Bearer a", "Bearer a, b=c", "bEARER a,x=y", "a,b",
                    r#"Digest a="x",Bearer y"#, r#"Digest a="x", Digest b="y""#, r#"Bearer y,Digest a="x""#, r#"Digest a="x","#,
                    r#"Digest a="x", b"#, r#"Digest a="x", b="#, r#"Digest a="x, b="y""#, "Negotiate YII=,Negotiate YII=", "Bearer,Basic a=b",
                ],
            );
        }
    }

    universal_test! {
        fn a_date_has_its_comma_behind_the_day() {
            check(
                is_one_date,
                &["Sun, 06 Nov 1994 08:49:37 GMT", "Wednesday, 09-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", ""],
                &[
                    "Sun, 06 Nov 1994 08:49:37 GMT,Sun, 06 Nov 1994 08:49:37 GMT", "Sun Nov  6 08:49:37 1994,Sun Nov  6 08:49:37 1994",
                    ",Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT,", ",Sun Nov  6 08:49:37 1994",
                ],
            );
        }
    }

    universal_test! {
        fn entity_tags_are_a_list_and_an_asterisk_is_alone() {
            check(are_entity_tags, &["*", r#""a""#, r#""a", W/"b","*""#, r#""a,*,b", "c""#], &["*,*", r#"*, "a""#, r#""a",*, "b""#]);
        }
    }

    universal_test! {
        fn a_connection_names_its_own_headers_only() {
            check(
                names_only_the_connection,
                &["", "upgrade", "Upgrade, HTTP2-Settings", "keep-alive,,close", "te"],
                &["upgrade, x-api-key", "x-api-key", "keep-alive, authorization", "close x"],
            );
        }
    }

    universal_test! {
        fn a_claimed_host_is_found_wherever_it_stands() {
            check(
                claims_host,
                &["host=a", "for=1.2.3.4;HOST=a", "for=1;host =a", "for=1, host=\"a\"", "for=\"x;host=a\"", "host=", "hosthost=a"],
                &["", "for=1.2.3.4;proto=https;by=203.0.113.43", "for=host", "host", "for=hosts=1", "hos"],
            );
        }
    }
}
