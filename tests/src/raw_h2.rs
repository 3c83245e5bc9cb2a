//! A client that sends exactly the HTTP/2 frames it is given: any pseudo header, any byte, any end of stream.
//!
//! Invariant: frames are written by hand because a proper client refuses most of what the corpora need; only the header
//! codec is a library's. One request for each connection, stream 1.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::http1::Header;
use crate::raw_client::{Outcome, REACTION_TIMEOUT, REPLY_TIMEOUT, Reply};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;
const FRAME_PAYLOAD_BYTES_MAX: usize = 16_384;
const WINDOW_BYTES_DEFAULT: i64 = 65_535;
const STREAM: u32 = 1;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const SETTING_INITIAL_WINDOW: u16 = 4;

/// One request: header fields in order (pseudo headers among them), DATA payloads, trailers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct H2Request {
    pub headers: Vec<Header>,
    pub data: Vec<Vec<u8>>,
    /// How many bytes of padding the frames get, in their order and then from the beginning again; empty means none, and 0
    /// a padded frame whose padding is empty.
    pub padding: Vec<u8>,
    pub trailers: Vec<Header>,
    /// After so many payloads the rest waits until the peer has ended the stream, or for [`REACTION_TIMEOUT`].
    pub halts_after: Option<usize>,
    /// Leaves the stream open: no frame carries END_STREAM.
    pub open: bool,
}

/// Sends one request over a new connection and reads until the stream has ended.
pub fn send(addr: SocketAddr, request: &H2Request) -> Outcome {
    let stream = match TcpStream::connect_timeout(&addr, REPLY_TIMEOUT) {
        Ok(stream) if stream.set_nodelay(true).is_ok() => stream,
        _ => return Outcome::Closed,
    };
    let mut exchange = Exchange::new(stream);
    // A peer that has refused already may have closed; its reply is still to be read.
    let _ = exchange.write_request(request);
    exchange.read_to_end()
}

/// Sends what there is of a request and keeps the connection open without reading: the caller may go at any time.
pub fn open(addr: SocketAddr, request: &H2Request) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, REPLY_TIMEOUT)?;
    stream.set_nodelay(true)?;
    let mut exchange = Exchange::new(stream);
    exchange.write_request(request)?;
    Ok(exchange.stream)
}

struct Exchange {
    stream: TcpStream,
    decoder: loona_hpack::Decoder<'static>,
    end: Instant,
    received: Vec<u8>,
    block: Vec<u8>,
    reply: Reply,
    has_head: bool,
    ended: bool,
    closed: bool,
    stream_window: i64,
    connection_window: i64,
    initial_window: i64,
    padding: std::iter::Cycle<std::vec::IntoIter<u8>>,
}

impl Exchange {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            decoder: loona_hpack::Decoder::new(),
            end: Instant::now() + REPLY_TIMEOUT,
            received: Vec::new(),
            block: Vec::new(),
            reply: Reply::default(),
            has_head: false,
            ended: false,
            closed: false,
            stream_window: WINDOW_BYTES_DEFAULT,
            connection_window: WINDOW_BYTES_DEFAULT,
            initial_window: WINDOW_BYTES_DEFAULT,
            padding: Vec::new().into_iter().cycle(),
        }
    }

    fn write_request(&mut self, request: &H2Request) -> std::io::Result<()> {
        let mut start = PREFACE.to_vec();
        start.extend_from_slice(&frame(SETTINGS, 0, 0, &[]));
        let mut encoder = loona_hpack::Encoder::new();
        let body_follows = request.open || !request.data.is_empty() || !request.trailers.is_empty();
        write_block(&mut start, &encode(&mut encoder, &request.headers), !body_follows);
        self.stream.write_all(&start)?;
        self.padding = request.padding.clone().into_iter().cycle();
        for (index, data) in request.data.iter().enumerate() {
            if request.halts_after == Some(index) {
                self.await_reaction();
            }
            let last = index + 1 == request.data.len() && request.trailers.is_empty() && !request.open;
            self.write_data(data, last)?;
        }
        if !request.trailers.is_empty() {
            let mut end = Vec::new();
            write_block(&mut end, &encode(&mut encoder, &request.trailers), !request.open);
            self.stream.write_all(&end)?;
        }
        Ok(())
    }

    /// Sends one payload as the peer's windows allow; an empty one is an empty frame.
    fn write_data(&mut self, data: &[u8], last: bool) -> std::io::Result<()> {
        let mut rest = data;
        loop {
            let padding = self.padding.next();
            // Padding and the byte that tells its length count against the windows as well.
            let extra = padding.map_or(0, |padding| usize::from(padding) + 1);
            while self.window() < extra + usize::from(!rest.is_empty()) {
                if self.ended || self.closed || Instant::now() >= self.end {
                    return Err(ErrorKind::ConnectionAborted.into());
                }
                self.read_frames();
            }
            let length = rest.len().min(self.window().min(FRAME_PAYLOAD_BYTES_MAX) - extra);
            let (now, later) = rest.split_at(length);
            let flags = if last && later.is_empty() { END_STREAM } else { 0 };
            let frame = match padding {
                None => frame(DATA, flags, STREAM, now),
                Some(padding) => {
                    let payload = [&[padding], now, &vec![0; usize::from(padding)]].concat();
                    frame(DATA, flags | PADDED, STREAM, &payload)
                }
            };
            self.stream.write_all(&frame)?;
            let sent = i64::try_from(length + extra).unwrap_or(0);
            self.stream_window -= sent;
            self.connection_window -= sent;
            rest = later;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn await_reaction(&mut self) {
        let end = Instant::now() + REACTION_TIMEOUT;
        while !self.ended && !self.closed && Instant::now() < end {
            self.read_frames();
        }
    }

    fn window(&self) -> usize {
        usize::try_from(self.stream_window.min(self.connection_window)).unwrap_or(0)
    }

    fn read_to_end(mut self) -> Outcome {
        while !self.ended && !self.closed && Instant::now() < self.end {
            self.read_frames();
        }
        match (self.ended && self.has_head, self.closed) {
            (true, _) => Outcome::Reply(self.reply),
            (false, true) => Outcome::Closed,
            (false, false) => Outcome::TimedOut,
        }
    }

    /// Reads once from the socket and takes every whole frame.
    fn read_frames(&mut self) {
        let mut chunk = [0; 16 * 1024];
        let timeout = REACTION_TIMEOUT;
        let read = self.stream.set_read_timeout(Some(timeout)).and_then(|()| self.stream.read(&mut chunk));
        match read {
            Ok(0) => self.closed = true,
            Ok(length) => self.received.extend_from_slice(&chunk[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.closed = true,
        }
        while let Some((kind, flags, stream, payload)) = self.take_frame() {
            self.take(kind, flags, stream, &payload);
        }
    }

    fn take_frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let head = self.received.get(..FRAME_HEAD_BYTES)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let payload = self.received.get(FRAME_HEAD_BYTES..FRAME_HEAD_BYTES + length)?.to_vec();
        self.received.drain(..FRAME_HEAD_BYTES + length);
        Some((kind, flags, stream, payload))
    }

    fn take(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        match kind {
            DATA => {
                let length = u32::try_from(payload.len()).unwrap_or(0);
                self.reply.body.extend_from_slice(unpadded(flags, payload));
                if length > 0 {
                    // Both windows are given back at once, so that a long reply never stalls.
                    self.answer(&frame(WINDOW_UPDATE, 0, 0, &length.to_be_bytes()));
                    self.answer(&frame(WINDOW_UPDATE, 0, STREAM, &length.to_be_bytes()));
                }
                self.ended |= flags & END_STREAM != 0;
            }
            HEADERS => {
                let mut fragment = unpadded(flags, payload);
                if flags & PRIORITY != 0 {
                    fragment = fragment.get(5..).unwrap_or_default();
                }
                self.block.extend_from_slice(fragment);
                // The end of the stream stands on the HEADERS frame even where CONTINUATION follows.
                let ends_stream = flags & END_STREAM != 0;
                if flags & END_HEADERS != 0 {
                    self.take_block();
                }
                self.ended |= ends_stream;
            }
            CONTINUATION => {
                self.block.extend_from_slice(payload);
                if flags & END_HEADERS != 0 {
                    self.take_block();
                }
            }
            SETTINGS if flags & ACK == 0 => {
                self.take_settings(payload);
                self.answer(&frame(SETTINGS, ACK, 0, &[]));
            }
            PING if flags & ACK == 0 => self.answer(&frame(PING, ACK, 0, payload)),
            WINDOW_UPDATE => {
                let increment = i64::from(u32_at(payload, 0) & 0x7fff_ffff);
                if stream == 0 {
                    self.connection_window += increment;
                } else {
                    self.stream_window += increment;
                }
            }
            // A reset after a whole reply only says that the rest of the request is not wanted.
            RST_STREAM => self.closed |= !self.ended,
            GOAWAY => self.closed |= !self.has_head,
            _ => {}
        }
    }

    fn take_settings(&mut self, payload: &[u8]) {
        for setting in payload.chunks_exact(6) {
            if u16::from_be_bytes([setting[0], setting[1]]) == SETTING_INITIAL_WINDOW {
                let window = i64::from(u32_at(setting, 2));
                self.stream_window += window - self.initial_window;
                self.initial_window = window;
            }
        }
    }

    fn take_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        let fields = self.decoder.decode(&block).expect("the peer's header block can be decoded");
        if self.has_head {
            self.reply.trailers = fields;
            return;
        }
        let status =
            crate::http1::header(&fields, ":status").and_then(|value| std::str::from_utf8(value).ok());
        let status = status.and_then(|value| value.parse().ok()).unwrap_or(0);
        if (100..200).contains(&status) {
            return;
        }
        self.has_head = true;
        self.reply.status = status;
        self.reply.headers = fields.into_iter().filter(|(name, _)| name != b":status").collect();
    }

    fn answer(&mut self, bytes: &[u8]) {
        // Where this fails the peer has closed, which the next read tells.
        let _ = self.stream.write_all(bytes);
    }
}

pub(crate) fn encode(encoder: &mut loona_hpack::Encoder<'_>, headers: &[Header]) -> Vec<u8> {
    encoder.encode(headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())))
}

/// A header block as one HEADERS frame and as many CONTINUATION frames as it takes.
fn write_block(wire: &mut Vec<u8>, block: &[u8], ends_stream: bool) {
    let mut chunks = block.chunks(FRAME_PAYLOAD_BYTES_MAX).peekable();
    let mut kind = HEADERS;
    let mut flags = if ends_stream { END_STREAM } else { 0 };
    if chunks.peek().is_none() {
        wire.extend_from_slice(&frame(HEADERS, flags | END_HEADERS, STREAM, &[]));
    }
    while let Some(chunk) = chunks.next() {
        if chunks.peek().is_none() {
            flags |= END_HEADERS;
        }
        wire.extend_from_slice(&frame(kind, flags, STREAM, chunk));
        (kind, flags) = (CONTINUATION, 0);
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn unpadded(flags: u8, payload: &[u8]) -> &[u8] {
    if flags & PADDED == 0 {
        return payload;
    }
    let padding = payload.first().copied().map_or(0, usize::from);
    payload.get(1..payload.len().saturating_sub(padding)).unwrap_or_default()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |slice| u32::from_be_bytes([slice[0], slice[1], slice[2], slice[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spy::Spy;

    fn request(path: &str) -> H2Request {
        let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "spy"), (":path", path)];
        H2Request {
            headers: fields
                .iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect(),
            ..H2Request::default()
        }
    }

    #[test]
    fn a_request_with_data_and_trailers_arrives_whole() {
        let spy = Spy::start();
        let mut request = request("/a/b");
        request.data = vec![b"one".to_vec(), Vec::new(), vec![b'x'; 100_000]];
        request.trailers = vec![(b"x-sum".to_vec(), b"1".to_vec())];
        let reply = send(spy.addr(), &request).expect_reply();
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json().unwrap()["path"], "/a/b");
        let seen = &spy.requests()[0];
        assert_eq!(seen.body.len(), 100_003);
        assert_eq!(seen.trailers, request.trailers);
    }

    #[test]
    fn padded_frames_carry_the_same_body() {
        let spy = Spy::start();
        let mut request = request("/a");
        request.data = vec![vec![b'x'; 40_000], Vec::new(), b"end".to_vec()];
        request.padding = vec![0, 255, 7];
        assert_eq!(send(spy.addr(), &request).expect_reply().status, 200);
        assert_eq!(spy.requests()[0].body, [vec![b'x'; 40_000], b"end".to_vec()].concat());
    }

    #[test]
    fn what_the_peer_refuses_is_closed_and_not_a_reply() {
        let spy = Spy::start();
        let mut request = request("/a");
        request.headers.push((b"Upper".to_vec(), b"case".to_vec()));
        assert_eq!(send(spy.addr(), &request), Outcome::Closed);
        assert!(spy.requests().is_empty());
        assert!(spy.bytes_seen() > 0, "the frame of the refused head was not recorded");
    }

    #[test]
    fn a_grpc_call_gets_its_status_in_the_trailers() {
        let spy = Spy::start();
        let mut request = request("/pkg.Service/Call");
        request.headers.push((b"content-type".to_vec(), b"application/grpc".to_vec()));
        request.data = vec![vec![0, 0, 0, 0, 0]];
        let reply = send(spy.addr(), &request).expect_reply();
        assert_eq!(reply.trailers, vec![(b"grpc-status".to_vec(), b"0".to_vec())]);
    }
}
