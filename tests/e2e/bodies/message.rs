//! A request with a body, and the ways in which it can be sent.
//!
//! INVARIANT: what is sent is only what is said here; nothing is added but the framing and the key.

use std::fmt::Write as _;
use std::net::SocketAddr;

use sha2::{Digest as _, Sha256};
use tests::http1::Header;
use tests::raw_client::{self, Outcome};
use tests::raw_h2::{self, H2Request};

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length,
    Chunked,
    ChunkedTrailers,
    Http2Length,
    Http2,
    Http2Trailers,
}

impl Framing {
    pub(super) const ALL: [Self; 6] = [
        Self::Length,
        Self::Chunked,
        Self::ChunkedTrailers,
        Self::Http2Length,
        Self::Http2,
        Self::Http2Trailers,
    ];

    pub(super) const fn is_http2(self) -> bool {
        matches!(self, Self::Http2Length | Self::Http2 | Self::Http2Trailers)
    }

    pub(super) const fn has_trailers(self) -> bool {
        matches!(self, Self::ChunkedTrailers | Self::Http2Trailers)
    }

    pub(super) const fn has_length(self) -> bool {
        matches!(self, Self::Length | Self::Http2Length)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) method: &'static str,
    pub(super) host: &'static str,
    pub(super) path: String,
    pub(super) headers: Vec<Header>,
    pub(super) framing: Framing,
    pub(super) body: Vec<u8>,
    /// Lengths of the chunks or frames, from the beginning again when they are used up; empty: the body is one.
    pub(super) pieces: Vec<usize>,
    /// Of HTTP/2 frames.
    pub(super) padding: Vec<u8>,
    pub(super) trailers: Vec<Header>,
    /// In the middle of the body, or behind the head of an empty one, the caller waits for an answer that should not come.
    pub(super) halts: bool,
}

impl Message {
    /// A JSON body to a path; with trailers, if the framing has any.
    pub(super) fn post(
        host: &'static str,
        path: &str,
        framing: Framing,
        body: impl Into<Vec<u8>>,
    ) -> Message {
        let message = Message {
            method: "POST",
            host,
            path: path.to_owned(),
            headers: Vec::new(),
            framing,
            body: body.into(),
            pieces: Vec::new(),
            padding: Vec::new(),
            trailers: Vec::new(),
            halts: false,
        };
        let message = message.header("content-type", "application/json");
        if framing.has_trailers() {
            message.trailer("x-sum", "17").trailer("x-seal", "a=b; c")
        } else {
            message
        }
    }

    /// Nothing but a head.
    pub(super) fn bare(method: &'static str, host: &'static str, path: &str, framing: Framing) -> Message {
        let message = Message::post(host, path, framing, "");
        Message { method, headers: Vec::new(), trailers: Vec::new(), ..message }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Message {
        self.headers.push(header(name, value));
        self
    }

    pub(super) fn trailer(mut self, name: &str, value: &str) -> Message {
        self.trailers.push(header(name, value));
        self
    }

    pub(super) fn in_pieces(mut self, pieces: &[usize]) -> Message {
        self.pieces = pieces.to_vec();
        self
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        digest(&self.body)
    }

    pub(super) fn send(&self, addr: SocketAddr, key: &str) -> Outcome {
        if self.framing.is_http2() {
            raw_h2::send(addr, &self.on_http2(key))
        } else {
            let (head, body) = (self.head(key), self.framed_body());
            let (first, rest) = body.split_at(if self.halts { body.len() / 2 } else { 0 });
            if self.halts {
                raw_client::send_while_reading(addr, &[&head, first].concat(), rest)
            } else {
                raw_client::send_while_reading(addr, &[], &[&head, rest].concat())
            }
        }
    }

    /// The head as HTTP/1.1 spells it.
    pub(super) fn head(&self, key: &str) -> Vec<u8> {
        let mut head =
            format!("{} {} HTTP/1.1\r\nhost: {}\r\nx-api-key: {key}\r\n", self.method, self.path, self.host);
        let length = self.body.len();
        let written = match self.framing {
            Framing::Length => write!(head, "content-length: {length}\r\n"),
            _ => write!(head, "transfer-encoding: chunked\r\n"),
        };
        written.expect("write to a string");
        let mut head = head.into_bytes();
        for (name, value) in &self.headers {
            head.extend([name.as_slice(), b": ", value, b"\r\n"].concat());
        }
        head.extend(b"\r\n");
        head
    }

    /// Everything behind the head, as HTTP/1.1 spells it.
    pub(super) fn framed_body(&self) -> Vec<u8> {
        if self.framing == Framing::Length {
            return self.body.clone();
        }
        let mut framed = Vec::with_capacity(self.body.len() + 1024);
        for piece in self.cut().into_iter().filter(|piece| !piece.is_empty()) {
            framed.extend(format!("{:x}\r\n", piece.len()).bytes());
            framed.extend_from_slice(&piece);
            framed.extend(b"\r\n");
        }
        framed.extend(b"0\r\n");
        for (name, value) in &self.trailers {
            framed.extend([name.as_slice(), b": ", value, b"\r\n"].concat());
        }
        framed.extend(b"\r\n");
        framed
    }

    pub(super) fn on_http2(&self, key: &str) -> H2Request {
        let fixed = [
            (":method", self.method),
            (":scheme", "http"),
            (":authority", self.host),
            (":path", &self.path),
            ("x-api-key", key),
        ];
        let mut headers: Vec<Header> = fixed.map(|(name, value)| header(name, value)).into();
        if self.framing.has_length() {
            headers.push(header("content-length", &self.body.len().to_string()));
        }
        headers.extend(self.headers.iter().cloned());
        let data = self.cut();
        H2Request {
            headers,
            halts_after: self.halts.then_some(data.len() / 2),
            data,
            padding: self.padding.clone(),
            trailers: self.trailers.clone(),
            open: false,
        }
    }

    fn cut(&self) -> Vec<Vec<u8>> {
        let mut rest = self.body.as_slice();
        let mut pieces = Vec::new();
        let mut lengths = self.pieces.iter().cycle();
        while !rest.is_empty() {
            let length = lengths.next().copied().unwrap_or(rest.len()).min(rest.len());
            let (piece, later) = rest.split_at(length);
            pieces.push(piece.to_vec());
            rest = later;
        }
        pieces
    }
}

/// A parcel of exactly so many bytes.
pub(super) fn parcel(bytes: usize) -> Vec<u8> {
    let (before, after) = (r#"{"label":""#, r#""}"#);
    let fill = bytes.checked_sub(before.len() + after.len()).expect("room for a parcel");
    [before, &"p".repeat(fill), after].concat().into_bytes()
}

pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn header(name: &str, value: &str) -> Header {
    (name.as_bytes().to_vec(), value.as_bytes().to_vec())
}
