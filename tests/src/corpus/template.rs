//! Text of a corpus file: exact bytes with escapes, and placeholders that each bundle fills with its own names.
//!
//! `\r \n \t \0 \\ \xNN` are bytes. `{name}` is a value of the profile, `{name:length}` its length in decimal,
//! `{name:hex}` in hexadecimal, `{length}` the length of the message's own body. `{text*N}` is `text` N times.
//! A brace that begins none of these is a brace, so JSON can be written as it is.

use std::collections::BTreeMap;

/// The values of one bundle, by the names that corpora use.
pub type Values = BTreeMap<String, Vec<u8>>;

/// The placeholder that is not a value but the length of the body around it.
const BODY_LENGTH: &str = "length";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Bytes(Vec<u8>),
    Value { name: String, form: Form },
    BodyLength,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Itself,
    Length,
    HexLength,
}

impl Template {
    /// Reads one line's text; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut bytes = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some((braced, after)) = rest.strip_prefix('{').and_then(|tail| tail.split_once('}')) {
                if let Some(repeated) = parse_repeated(braced) {
                    bytes.extend(repeated?);
                    rest = after;
                    continue;
                }
                if let Some(part) = parse_placeholder(braced) {
                    parts.push(Part::Bytes(std::mem::take(&mut bytes)));
                    parts.push(part);
                    rest = after;
                    continue;
                }
            }
            let (byte, after) = parse_byte(rest)?;
            bytes.push(byte);
            rest = after;
        }
        parts.push(Part::Bytes(bytes));
        parts.retain(|part| !matches!(part, Part::Bytes(bytes) if bytes.is_empty()));
        Ok(Self(parts))
    }

    /// Fills in the values; the error names the one that the profile lacks.
    pub fn resolve(&self, values: &Values, body_length: usize) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        for part in &self.0 {
            match part {
                Part::Bytes(exact) => bytes.extend_from_slice(exact),
                Part::BodyLength => bytes.extend_from_slice(body_length.to_string().as_bytes()),
                Part::Value { name, form } => {
                    let value = values.get(name).ok_or_else(|| {
                        format!("the profile has no value `{name}`: add it, or give the case a `needs` line")
                    })?;
                    match form {
                        Form::Itself => bytes.extend_from_slice(value),
                        Form::Length => bytes.extend_from_slice(value.len().to_string().as_bytes()),
                        Form::HexLength => bytes.extend_from_slice(format!("{:x}", value.len()).as_bytes()),
                    }
                }
            }
        }
        Ok(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Splits at the first `separator` that stands as plain text, for `name: value` lines.
    pub fn split_once(&self, separator: &[u8], from: usize) -> Option<(Self, Self)> {
        let Some(Part::Bytes(first)) = self.0.first() else { return None };
        let at = crate::http1::find(first.get(from..)?, separator)? + from;
        let mut after = vec![Part::Bytes(first[at + separator.len()..].to_vec())];
        after.extend_from_slice(&self.0[1..]);
        Some((Self(vec![Part::Bytes(first[..at].to_vec())]), Self(after)))
    }
}

fn parse_placeholder(braced: &str) -> Option<Part> {
    let (name, form) = match braced.split_once(':') {
        None => (braced, Form::Itself),
        Some((name, "length")) => (name, Form::Length),
        Some((name, "hex")) => (name, Form::HexLength),
        Some(_) => return None,
    };
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        return None;
    }
    Some(if name == BODY_LENGTH { Part::BodyLength } else { Part::Value { name: name.to_owned(), form } })
}

fn parse_repeated(braced: &str) -> Option<Result<Vec<u8>, String>> {
    let (text, count) = braced.rsplit_once('*')?;
    let count: usize = count.parse().ok()?;
    let mut once = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        match parse_byte(rest) {
            Ok((byte, after)) => {
                once.push(byte);
                rest = after;
            }
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(once.repeat(count)))
}

/// The first byte that the text stands for, plain or escaped, and the rest.
fn parse_byte(text: &str) -> Result<(u8, &str), String> {
    let mut chars = text.chars();
    match chars.next() {
        Some('\\') => {}
        Some(plain) if plain.is_ascii() => return Ok((plain as u8, chars.as_str())),
        Some(other) => return Err(format!("expected ASCII, found `{other}`: write other bytes as `\\xNN`")),
        None => return Err("expected a byte".to_owned()),
    }
    let byte = match chars.next() {
        Some('r') => b'\r',
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('0') => 0,
        Some('\\') => b'\\',
        Some('x') => {
            let (digits, after) = chars
                .as_str()
                .split_at_checked(2)
                .ok_or_else(|| "expected two hexadecimal digits after `\\x`".to_owned())?;
            let byte = u8::from_str_radix(digits, 16)
                .map_err(|_| format!("expected two hexadecimal digits after `\\x`, found `{digits}`"))?;
            return Ok((byte, after));
        }
        Some(kind) => return Err(format!("unknown escape `\\{kind}`: expected r, n, t, 0, \\ or xNN")),
        None => return Err("a backslash ends the line: write `\\\\`".to_owned()),
    };
    Ok((byte, chars.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let values = Values::from([("path".to_owned(), b"/orders".to_vec())]);
        let resolved = Template::parse(text).and_then(|template| template.resolve(&values, 12));
        let shown =
            resolved.map_or_else(|error| format!("error: {error}"), |bytes| bytes.escape_ascii().to_string());
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn escapes_placeholders_and_plain_braces() {
        check(r"GET {path}%2f\x00\xff\\", r"GET /orders%2f\x00\xff\\");
        check("content-length: {length}", "content-length: 12");
        check("{path:length} {path:hex}", "7 7");
        check(r#"{"a":{"b":[]}} {} {A}"#, r#"{\"a\":{\"b\":[]}} {} {A}"#);
        check(r"{[*3}{x\r\n*2}", r"[[[x\r\nx\r\n");
        check("{other}", "error: the profile has no value `other`: add it, or give the case a `needs` line");
        check(r"\q", r"error: unknown escape `\q`: expected r, n, t, 0, \ or xNN");
        check(r"\x4", r"error: expected two hexadecimal digits after `\x`");
        check(r"a\", r"error: a backslash ends the line: write `\\`");
        check("ä", "error: expected ASCII, found `ä`: write other bytes as `\\xNN`");
    }

    #[test]
    fn a_header_line_splits_at_its_colon() {
        let (name, value) = Template::parse(":path: {path}?a: b").unwrap().split_once(b": ", 1).unwrap();
        let values = Values::from([("path".to_owned(), b"/p".to_vec())]);
        assert_eq!(name.resolve(&values, 0).unwrap(), b":path");
        assert_eq!(value.resolve(&values, 0).unwrap(), b"/p?a: b");
    }
}
