//! Just enough HTTP/1.1 to know where a message ends, shared by the spy and the raw client.
//!
//! Invariant: bytes stay bytes. Nothing is decoded, trimmed inside or lower-cased, because a test compares what was
//! sent with what arrived; a library parser would refuse or mend the very bytes that the corpora are about.

/// Name and value as they stood on the wire, the value without surrounding blanks.
pub type Header = (Vec<u8>, Vec<u8>);

/// The start line and headers of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    pub start_line: Vec<u8>,
    pub headers: Vec<Header>,
    /// How many bytes the head took, its empty line included.
    pub length: usize,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Empty,
    Length(usize),
    Chunked,
    UntilClose,
}

/// A complete body and what followed it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub trailers: Vec<Header>,
    /// How many bytes of the wire the body took.
    pub length: usize,
}

impl Head {
    /// `None` until the empty line has arrived.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let end = find(bytes, b"\r\n\r\n")?;
        let mut lines = split_lines(&bytes[..end]);
        let start_line = if lines.is_empty() { Vec::new() } else { lines.remove(0) };
        Some(Self {
            start_line,
            headers: lines.iter().map(|line| split_header(line)).collect(),
            length: end + 4,
        })
    }

    /// The first value of a header, its name compared without case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        header(&self.headers, name)
    }

    /// The framing of a request: without a length there is no body.
    pub fn request_framing(&self) -> Framing {
        self.declared_framing().unwrap_or(Framing::Empty)
    }

    /// The framing of a reply to a request that was not HEAD.
    pub fn reply_framing(&self, status: u16) -> Framing {
        if status < 200 || status == 204 || status == 304 {
            return Framing::Empty;
        }
        self.declared_framing().unwrap_or(Framing::UntilClose)
    }

    fn declared_framing(&self) -> Option<Framing> {
        if self
            .header("transfer-encoding")
            .is_some_and(|value| find(&value.to_ascii_lowercase(), b"chunked").is_some())
        {
            return Some(Framing::Chunked);
        }
        let length = std::str::from_utf8(self.header("content-length")?).ok()?;
        length.trim().parse().ok().map(Framing::Length)
    }
}

impl Body {
    /// `None` until the body is complete; `closed` says that no further byte will come.
    pub fn parse(bytes: &[u8], framing: Framing, closed: bool) -> Option<Self> {
        match framing {
            Framing::Empty => Some(Self::default()),
            Framing::Length(length) => {
                bytes.get(..length).map(|body| Self { bytes: body.to_vec(), trailers: Vec::new(), length })
            }
            Framing::Chunked => Self::parse_chunked(bytes),
            Framing::UntilClose => {
                closed.then(|| Self { bytes: bytes.to_vec(), trailers: Vec::new(), length: bytes.len() })
            }
        }
    }

    fn parse_chunked(bytes: &[u8]) -> Option<Self> {
        let mut body = Self::default();
        loop {
            let rest = bytes.get(body.length..)?;
            let line_end = find(rest, b"\r\n")?;
            let size_text = rest[..line_end].split(|byte| *byte == b';').next().unwrap_or_default();
            let size = usize::from_str_radix(std::str::from_utf8(size_text).ok()?.trim(), 16).ok()?;
            body.length += line_end + 2;
            if size == 0 {
                return Self::parse_trailers(bytes, body);
            }
            body.bytes.extend_from_slice(bytes.get(body.length..body.length + size)?);
            body.length += size + 2;
        }
    }

    fn parse_trailers(bytes: &[u8], mut body: Self) -> Option<Self> {
        loop {
            let rest = bytes.get(body.length..)?;
            let line_end = find(rest, b"\r\n")?;
            body.length += line_end + 2;
            if line_end == 0 {
                return Some(body);
            }
            body.trailers.push(split_header(&rest[..line_end]));
        }
    }
}

/// The first value of a header, its name compared without case.
pub fn header<'a>(headers: &'a [Header], name: &str) -> Option<&'a [u8]> {
    headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value.as_slice())
}

/// Where `needle` first stands in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn split_lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = find(rest, b"\r\n") {
        lines.push(rest[..end].to_vec());
        rest = &rest[end + 2..];
    }
    lines.push(rest.to_vec());
    lines
}

fn split_header(line: &[u8]) -> Header {
    let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let value = line.get(colon + 1..).unwrap_or_default();
    (line[..colon].to_vec(), value.trim_ascii().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_incomplete_until_its_empty_line() {
        assert_eq!(Head::parse(b"GET / HTTP/1.1\r\nhost: a\r\n"), None);
        let head = Head::parse(b"GET /\xff HTTP/1.1\r\nHost: a \r\n\r\nrest").unwrap();
        assert_eq!(head.start_line, b"GET /\xff HTTP/1.1");
        assert_eq!(head.header("host"), Some(b"a".as_slice()));
        assert_eq!(head.length, 29);
    }

    #[test]
    fn a_chunked_body_ends_after_its_trailers() {
        let wire = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 1\r\n\r\nGET";
        let body = Body::parse(wire, Framing::Chunked, false).unwrap();
        assert_eq!(body.bytes, b"abcde");
        assert_eq!(body.trailers, vec![(b"x-sum".to_vec(), b"1".to_vec())]);
        assert_eq!(body.length, wire.len() - 3);
        for cut in 0..body.length {
            assert_eq!(
                Body::parse(&wire[..cut], Framing::Chunked, false),
                None,
                "complete after {cut} bytes"
            );
        }
    }

    #[test]
    fn a_body_of_a_length_waits_for_all_of_it() {
        assert_eq!(Body::parse(b"ab", Framing::Length(3), false), None);
        assert_eq!(Body::parse(b"abcd", Framing::Length(3), false).unwrap().bytes, b"abc");
        assert_eq!(Body::parse(b"ab", Framing::UntilClose, false), None);
        assert_eq!(Body::parse(b"ab", Framing::UntilClose, true).unwrap().bytes, b"ab");
    }
}
