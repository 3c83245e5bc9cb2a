//! Reads one reply from the front of a buffer, strictly: one status line, one length, exactly that many bytes.

use crate::failure::Failure;
use crate::requests::Ask;

/// Replies here are a few hundred bytes; more means that something else answers.
pub(super) const REPLY_BYTES_MAX: usize = 16 * 1024;

const HEADERS_MAX: usize = 32;

/// Bytes that came and are not judged yet.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.bytes.len().saturating_add(bytes.len()) > REPLY_BYTES_MAX {
            return Err(Failure::new("a reply is longer than any that was expected"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Judges a reply once it is whole. `None`: more bytes are needed. The inner error is a reply that is not the
    /// expected one; the outer one is no reply at all.
    pub(super) fn take_reply(&mut self, ask: &Ask) -> Result<Option<Result<(), String>>, Failure> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(&self.bytes).map_err(Failure::because("a reply is not HTTP/1.1"))?;
        let httparse::Status::Complete(head_bytes) = parsed else { return Ok(None) };
        let mut lengths =
            head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length: usize = match (lengths.next(), lengths.next()) {
            (Some(length), None) => std::str::from_utf8(length.value)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| Failure::new("a reply's length is not a number"))?,
            (None, _) | (Some(_), Some(_)) => return Err(Failure::new("a reply has no single length")),
        };
        let status = head.code.unwrap_or(0);
        let whole = head_bytes.saturating_add(length);
        match self.bytes.len().cmp(&whole) {
            std::cmp::Ordering::Less => return Ok(None),
            std::cmp::Ordering::Greater => {
                return Err(Failure::new("bytes follow a reply that nobody asked for"));
            }
            std::cmp::Ordering::Equal => {}
        }
        let body = self.bytes.get(head_bytes..).unwrap_or_default();
        let good = status == ask.status && (status != 200 || body == ask.answer.as_bytes());
        let wrong = || format!("status {status}, `{}`", String::from_utf8_lossy(body).trim_end());
        let judged = if good { Ok(()) } else { Err(wrong()) };
        self.bytes.clear();
        Ok(Some(judged))
    }
}

#[cfg(test)]
mod tests {
    use super::Buffer;
    use crate::requests::{ANSWER, Ask};

    #[test]
    fn a_reply_is_taken_when_it_is_whole_and_judged_by_status_and_body() {
        let ask = Ask { bytes: Vec::new(), status: 200, answer: ANSWER };
        let good = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len());
        let mut buffer = Buffer::default();
        for byte in good.as_bytes() {
            assert!(buffer.take_reply(&ask).unwrap().is_none());
            buffer.add(&[*byte]).unwrap();
        }
        assert_eq!(buffer.take_reply(&ask).unwrap(), Some(Ok(())));
        let denied = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
        buffer.add(denied.as_bytes()).unwrap();
        assert_eq!(buffer.take_reply(&ask).unwrap(), Some(Err("status 403, `no`".to_owned())));
        for odd in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nmore",
            "nonsense\r\n\r\n",
        ] {
            let mut buffer = Buffer::default();
            buffer.add(odd.as_bytes()).unwrap();
            assert!(buffer.take_reply(&ask).is_err(), "{odd}");
        }
    }
}
