//! URIs and IRIs by RFC 3986 and 3987, templates by RFC 6570: the grammar, and nothing that a scheme adds to it.

use super::Scan;
use super::net::is_ipv6;

/// Which characters stand unescaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letters {
    Ascii,
    Unicode,
}

pub(super) fn is_uri(text: &str) -> bool {
    is_absolute(text, Letters::Ascii)
}

pub(super) fn is_iri(text: &str) -> bool {
    is_absolute(text, Letters::Unicode)
}

pub(super) fn is_uri_reference(text: &str) -> bool {
    is_reference(text, Letters::Ascii)
}

pub(super) fn is_iri_reference(text: &str) -> bool {
    is_reference(text, Letters::Unicode)
}

fn is_absolute(text: &str, letters: Letters) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let mut scan = Scan::of(scheme);
    let begins = scan.take(|byte| byte.is_ascii_alphabetic()).is_some();
    scan.run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    begins && scan.is_done() && is_rest(rest, letters)
}

fn is_reference(text: &str, letters: Letters) -> bool {
    let first = text.split(['/', '?', '#']).next().unwrap_or_default();
    if first.contains(':') { is_absolute(text, letters) } else { is_rest(text, letters) }
}

/// What follows a scheme: authority, path, query and fragment.
fn is_rest(text: &str, letters: Letters) -> bool {
    let (text, fragment) = cut(text, '#');
    let (text, query) = cut(text, '?');
    let (authority, path) = match text.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            (rest.get(..end), rest.get(end..).unwrap_or_default())
        }
        None => (None, text),
    };
    authority.is_none_or(|authority| is_authority(authority, letters))
        && consists_of(path, letters, b":@/")
        && fragment.is_none_or(|fragment| consists_of(fragment, letters, b":@/?"))
        && query.is_none_or(|query| is_query(query, letters))
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn is_query(query: &str, letters: Letters) -> bool {
    match letters {
        Letters::Ascii => consists_of(query, letters, b":@/?"),
        Letters::Unicode => {
            let is_private = |c: char| matches!(u32::from(c), 0xe000..=0xf8ff | 0xf_0000..=0xf_fffd | 0x10_0000..=0x10_fffd);
            query.split(is_private).all(|part| consists_of(part, letters, b":@/?"))
        }
    }
}

fn is_authority(authority: &str, letters: Letters) -> bool {
    let (user, host) = match authority.split_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (host_is_good, port) = match host.strip_prefix('[') {
        Some(literal) => {
            let Some((address, port)) = literal.split_once(']') else { return false };
            (is_ipv6(address) || is_future_address(address), port)
        }
        None => {
            let end = host.find(':').unwrap_or(host.len());
            let (name, port) = (host.get(..end).unwrap_or_default(), host.get(end..).unwrap_or_default());
            (consists_of(name, letters, b""), port)
        }
    };
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    user.is_none_or(|user| consists_of(user, letters, b":"))
        && host_is_good
        && (port.is_empty() || port.strip_prefix(':').is_some_and(digits))
}

fn is_future_address(address: &str) -> bool {
    let Some(rest) = address.strip_prefix(['v', 'V']) else { return false };
    let Some((version, address)) = rest.split_once('.') else { return false };
    !version.is_empty()
        && version.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !address.is_empty()
        && !address.contains('%')
        && consists_of(address, Letters::Ascii, b":")
}

/// Unreserved characters, sub-delimiters, escapes, and some more.
fn consists_of(text: &str, letters: Letters, more: &[u8]) -> bool {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let good = match u8::try_from(character) {
            Ok(b'%') => {
                let mut digit = || characters.next().is_some_and(|digit| digit.is_ascii_hexdigit());
                digit() && digit()
            }
            Ok(byte) if byte.is_ascii() => is_plain(byte) || more.contains(&byte),
            _ => letters == Letters::Unicode && is_ucschar(character),
        };
        if !good {
            return false;
        }
    }
    true
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

/// What RFC 3987 adds to the unreserved characters.
fn is_ucschar(character: char) -> bool {
    let code = u32::from(character);
    match code {
        0xa0..=0xd7ff | 0xf900..=0xfdcf | 0xfdf0..=0xffef => true,
        0x1_0000..=0xd_ffff => code & 0xffff <= 0xfffd,
        0xe_1000..=0xe_fffd => true,
        _ => false,
    }
}

pub(super) fn is_uri_template(text: &str) -> bool {
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        let Some((expression, after)) = after.split_once('}') else { return false };
        if !is_literal(literal) || !is_expression(expression) {
            return false;
        }
        rest = after;
    }
    is_literal(rest)
}

fn is_literal(text: &str) -> bool {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let good = match character {
            '%' => {
                let mut digit = || characters.next().is_some_and(|digit| digit.is_ascii_hexdigit());
                digit() && digit()
            }
            '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}' => false,
            ascii if ascii.is_ascii() => ascii.is_ascii_graphic(),
            other => {
                is_ucschar(other)
                    || matches!(u32::from(other), 0xe000..=0xf8ff | 0xf_0000..=0xf_fffd | 0x10_0000..=0x10_fffd)
            }
        };
        if !good {
            return false;
        }
    }
    true
}

fn is_expression(expression: &str) -> bool {
    let variables = expression
        .strip_prefix(['+', '#', '.', '/', ';', '?', '&', '=', ',', '!', '@', '|'])
        .unwrap_or(expression);
    variables.split(',').all(is_variable)
}

fn is_variable(variable: &str) -> bool {
    let (name, length) = cut(variable, ':');
    let (name, exploded) = match name.strip_suffix('*') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let is_length = |length: &str| {
        (1..=4).contains(&length.len())
            && !length.starts_with('0')
            && length.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_part = |part: &str| {
        !part.is_empty()
            && consists_of(part, Letters::Ascii, b"")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'%'))
    };
    length.is_none_or(|length| !exploded && is_length(length)) && name.split('.').all(is_part)
}
