//! The request target, read strictly: what has two readings is refused, nothing is normalised.
//!
//! INVARIANT: an accepted path is ASCII, has one spelling, and its bytes are the ones that the service receives.

use crate::limits::{PATH_BYTES_MAX, PATH_SEGMENTS_MAX};
use crate::reason::Reason;
use std::borrow::Cow;

/// A request target with one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    raw: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    pub fn parse(raw: &'a [u8]) -> Result<Target<'a>, Reason> {
        if raw.is_empty() {
            return Err(Reason::PathMissing);
        }
        if raw.len() > PATH_BYTES_MAX {
            return Err(Reason::PathTooLong);
        }
        if raw.first() != Some(&b'/') {
            return Err(Reason::PathNotAbsolute);
        }
        if !raw.is_ascii() {
            return Err(Reason::PathNotAscii);
        }
        let raw = core::str::from_utf8(raw).map_err(|_| Reason::PathNotAscii)?;
        if raw.as_bytes().contains(&b'#') {
            return Err(Reason::PathFragment);
        }
        let (path, query) = match raw.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (raw, None),
        };
        check_path(path)?;
        query.map_or(Ok(()), check_query)?;
        Ok(Target { raw, path, query })
    }

    /// Path and query, as they were sent.
    pub const fn raw(&self) -> &'a str {
        self.raw
    }

    /// The path alone: rules never look at path and query together.
    pub const fn path(&self) -> &'a str {
        self.path
    }

    pub const fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// The query's parameters as they were sent: the name, and the value where an equals sign stands before it.
    pub fn query_pairs(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let parameters = self.query.into_iter().flat_map(|query| query.split('&'));
        parameters.filter(|parameter| !parameter.is_empty()).map(|parameter| {
            match parameter.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (parameter, None),
            }
        })
    }

    /// The segments after the first slash. A path that ends in a slash has an empty last segment, and `/` has only that.
    pub fn segments(&self) -> impl Iterator<Item = &'a str> + Clone {
        self.path.split('/').skip(1)
    }
}

fn check_path(path: &str) -> Result<(), Reason> {
    // INVARIANT: the path begins with a slash, so that the first piece of the split is the empty one before it.
    let mut segments = path.split('/').skip(1).peekable();
    let mut count = 0_usize;
    while let Some(segment) = segments.next() {
        count = count.saturating_add(1);
        if count > PATH_SEGMENTS_MAX {
            return Err(Reason::PathTooDeep);
        }
        if segment.is_empty() && segments.peek().is_some() {
            return Err(Reason::PathEmptySegment);
        }
        check_segment(segment.as_bytes())?;
    }
    Ok(())
}

fn check_segment(segment: &[u8]) -> Result<(), Reason> {
    let mut dots = 0_usize;
    let mut others = 0_usize;
    let mut encoded_dot = false;
    let mut encoded_high = false;
    let mut rest = segment;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'.' => dots = dots.saturating_add(1),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => others = others.saturating_add(1),
            b'-' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'='
            | b':' | b'@' => others = others.saturating_add(1),
            b'%' => {
                let (decoded, after) = escape(rest).ok_or(Reason::PathPercentInvalid)?;
                rest = after;
                if decoded == b'.' {
                    dots = dots.saturating_add(1);
                    encoded_dot = true;
                } else {
                    check_escape(decoded)?;
                    others = others.saturating_add(1);
                    encoded_high |= !decoded.is_ascii();
                }
            }
            b'\\' => return Err(Reason::PathBackslash),
            b';' => return Err(Reason::PathMatrixParameter),
            _ => return Err(Reason::PathCharacter),
        }
    }
    if others == 0 && (dots == 1 || dots == 2) {
        return Err(Reason::PathDotSegment);
    }
    if encoded_dot {
        return Err(Reason::PathEncodedUnreserved);
    }
    if encoded_high && !decodes_to_utf8(segment) {
        return Err(Reason::PathNotUtf8);
    }
    Ok(())
}

const fn check_escape(decoded: u8) -> Result<(), Reason> {
    match decoded {
        b'/' | b'\\' => Err(Reason::PathEncodedSeparator),
        b'%' => Err(Reason::PathEncodedPercent),
        b';' => Err(Reason::PathMatrixParameter),
        0..=0x1f | 0x7f => Err(Reason::PathEncodedControl),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => Err(Reason::PathEncodedUnreserved),
        _ => Ok(()),
    }
}

fn check_query(query: &str) -> Result<(), Reason> {
    let mut rest = query.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (decoded, after) = escape(rest).ok_or(Reason::QueryCharacter)?;
                rest = after;
                if decoded == 0 {
                    return Err(Reason::QueryCharacter);
                }
            }
            // A semicolon separates parameters for some services and is data for others.
            0..=b' ' | 0x7f.. | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b';' => {
                return Err(Reason::QueryCharacter);
            }
            _ => {}
        }
    }
    for parameter in query.split('&') {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        if is_method_override(name) {
            return Err(Reason::QueryMethodOverride);
        }
    }
    Ok(())
}

/// Query parameters by which frameworks let a caller change the method.
const METHOD_OVERRIDES: [&[u8]; 5] =
    [b"_method", b"_httpmethod", b"x-http-method-override", b"x-http-method", b"x-method-override"];

/// Whether some framework takes a query parameter or a form's field of this name for the method.
pub(crate) fn is_method_override(name: &str) -> bool {
    METHOD_OVERRIDES.iter().any(|hidden| leniently(name).eq(hidden.iter().copied()))
}

/// A parameter's name as the most lenient reader takes it: PHP drops leading spaces, reads a dot, a space or a bracket as
/// an underscore, and what stands in brackets as a key of its own.
pub(crate) fn leniently(name: &str) -> impl Iterator<Item = u8> {
    folded(name)
        .map(|byte| if byte == b'+' { b' ' } else { byte })
        .skip_while(|byte| *byte == b' ' || byte.is_ascii_control())
        .enumerate()
        .take_while(|(at, byte)| *at == 0 || *byte != b'[')
        .map(|(_, byte)| if matches!(byte, b'.' | b' ' | b'[') { b'_' } else { byte })
}

/// The byte behind a percent sign, and what follows it.
const fn escape(rest: &[u8]) -> Option<(u8, &[u8])> {
    match rest {
        [high, low, after @ ..] => match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => Some((high << 4 | low, after)),
            _ => None,
        },
        _ => None,
    }
}

#[expect(clippy::arithmetic_side_effects, reason = "each arm's range bounds the subtraction")]
const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The bytes of a text whose escapes were found valid.
fn decode(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text;
    core::iter::from_fn(move || {
        let (&byte, after) = rest.split_first()?;
        let (decoded, after) = match byte {
            b'%' => escape(after).unwrap_or((byte, after)),
            _ => (byte, after),
        };
        rest = after;
        Some(decoded)
    })
}

fn decodes_to_utf8(segment: &[u8]) -> bool {
    let decoded: Vec<u8> = decode(segment).collect();
    core::str::from_utf8(&decoded).is_ok()
}

/// A piece of an accepted target with its escapes decoded; a plus stays a plus. `None`: it is not UTF-8.
pub fn decoded(piece: &str) -> Option<String> {
    String::from_utf8(decode(piece.as_bytes()).collect()).ok()
}

/// The same, without a copy where there is nothing to decode.
pub(crate) fn read(piece: &str) -> Option<Cow<'_, str>> {
    if piece.as_bytes().contains(&b'%') { decoded(piece).map(Cow::Owned) } else { Some(Cow::Borrowed(piece)) }
}

/// Whether each percent sign stands before two hexadecimal digits that are not zero.
pub(crate) fn has_sound_escapes(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        match escape(rest.get(at.saturating_add(1)..).unwrap_or_default()) {
            Some((1.., after)) => rest = after,
            Some((0, _)) | None => return false,
        }
    }
    true
}

/// Whether some reader takes a query parameter's name for another one, though it is not the same: by its case, by a
/// bracket, or by a character that it reads as an underscore.
pub fn alike(name: &str, other: &str) -> bool {
    // A name that holds a bracket itself is only ever the name before the bracket to such a reader.
    leniently(name).eq(leniently(other))
}

/// A text as readers see it who decode its escapes and make no difference between upper and lower case.
pub(crate) fn folded(text: &str) -> impl Iterator<Item = u8> {
    decode(text.as_bytes()).map(|byte| byte.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::Target;
    use crate::reason::Reason;
    use crate::testing::universal_test;

    fn check(raw: &str, expected: Result<&str, Reason>) {
        check_bytes(raw.as_bytes(), expected);
    }

    fn check_bytes(raw: &[u8], expected: Result<&str, Reason>) {
        let found = Target::parse(raw).map(|target| target.path());
        assert_eq!(found, expected, "{}", raw.escape_ascii());
    }

    universal_test! {
        fn accepts_paths_with_one_reading() {
            for path in ["/", "/orders", "/orders/", "/orders/a-b_c~d.e", "/a/b,c", "/a/b:c@d", "/a/...", "/a/b*", "/a/%20", "/a/%C3%A4", "/a/x.y"] {
                check(path, Ok(path));
            }
            check("/orders?limit=1&filter[x]=%2F..", Ok("/orders"));
            check("/orders?", Ok("/orders"));
            check("/orders?x=/public", Ok("/orders"));
        }
    }

    universal_test! {
        fn refuses_each_second_spelling_with_its_reason() {
            check("", Err(Reason::PathMissing));
            check("*", Err(Reason::PathNotAbsolute));
            check("orders", Err(Reason::PathNotAbsolute));
            check("http://orders/", Err(Reason::PathNotAbsolute));
            check("/orders#x", Err(Reason::PathFragment));
            check("/orders?a=1#x", Err(Reason::PathFragment));
            for path in ["/a%2Fb", "/a%2fb", "/a%5Cb", "/a%5cb", "/%2F", "/a%2F..%2Fadmin"] {
                check(path, Err(Reason::PathEncodedSeparator));
            }
            check("/a\\b", Err(Reason::PathBackslash));
            for path in ["/.", "/..", "/a/../b", "/a/./b", "/a/..", "/%2e", "/%2E%2e/x", "/.%2e/x", "/a/%2e."] {
                check(path, Err(Reason::PathDotSegment));
            }
            for path in ["/a;b", "/..;/admin", "/admin;x=y", "/a%3Bb", "/;"] {
                check(path, Err(Reason::PathMatrixParameter));
            }
            for path in ["//", "//admin", "/a//b", "/a/b//"] {
                check(path, Err(Reason::PathEmptySegment));
            }
            for path in ["/%", "/%4", "/%zz", "/a%2", "/a%%41"] {
                check(path, Err(Reason::PathPercentInvalid));
            }
            for path in ["/%6frders", "/%41", "/a%2db", "/a%5f", "/a%7E", "/a%2eb"] {
                check(path, Err(Reason::PathEncodedUnreserved));
            }
            check("/a%252e", Err(Reason::PathEncodedPercent));
            for path in ["/a%00", "/a%0d%0a", "/a%7f"] {
                check(path, Err(Reason::PathEncodedControl));
            }
            for path in ["/a%ff", "/a%c0%af", "/a%ed%a0%80", "/a%C3"] {
                check(path, Err(Reason::PathNotUtf8));
            }
            for path in ["/a b", "/a\"b", "/a<b", "/a^b", "/a{b}", "/a|b", "/a[b]", "/a\tb", "/a\0b"] {
                check(path, Err(Reason::PathCharacter));
            }
            check_bytes(b"/a\xc3\xa4", Err(Reason::PathNotAscii));
            check(&format!("/{}", "a".repeat(8192)), Err(Reason::PathTooLong));
            check(&"/a".repeat(33), Err(Reason::PathTooDeep));
            check(&"/a".repeat(32), Ok(&"/a".repeat(32)));
        }
    }

    universal_test! {
        fn refuses_queries_that_change_the_method_or_hide_bytes() {
            for query in ["_method=DELETE", "a=1&_METHOD=x", "%5fmethod=DELETE", "_method", "X-HTTP-Method-Override=PUT", ".method=DELETE", "%2Emethod=DELETE", "+_method=DELETE", "%20_method=x", "%09_method=x", "[method=DELETE", "a=1&+%20.method=x", "_method[]=DELETE", "_method%5Bx%5D=DELETE", "_method%5b]"] {
                check(&format!("/orders?{query}"), Err(Reason::QueryMethodOverride));
            }
            for query in ["a b", "a=%", "a=%0", "a=%00", "a;b", "a={}", "a=\u{7f}"] {
                check(&format!("/orders?{query}"), Err(Reason::QueryCharacter));
            }
            for query in ["method=DELETE&x=_method", "x.method=1", "filter[method]=x", "a_method=1", "+method=x", "_methods=1"] {
                check(&format!("/orders?{query}"), Ok("/orders"));
            }
        }
    }
}
