//! A client that sends exactly the bytes it is given, over HTTP/1.1, in the pieces it is given.
//!
//! Invariant: nothing is added, mended or reordered. What comes back is either a whole reply or the plain fact that the
//! peer closed or stayed silent.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::http1::{self, Body, Head, Header};

/// How long a reply may take before the outcome is `TimedOut`.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a piece waits for the peer to react before the next is sent all the same.
pub const REACTION_TIMEOUT: Duration = Duration::from_millis(150);

/// Bytes that are written at once, and what happens before the next piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub bytes: Vec<u8>,
    pub then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next piece follows at once.
    Continue,
    /// The next piece follows when the peer has said something, or after [`REACTION_TIMEOUT`].
    AwaitReaction,
    /// No further byte comes: the sending side is closed, the receiving side is read to its end.
    Finish,
}

/// A whole reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
    pub trailers: Vec<Header>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Reply(Reply),
    /// The peer closed the connection, or in HTTP/2 reset the stream, without a whole reply.
    Closed,
    TimedOut,
}

impl Reply {
    /// The first value of a header, its name compared without case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        http1::header(&self.headers, name)
    }

    /// The body as JSON, if it is that.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The reason code of a reply that Palisade made.
    pub fn reason(&self) -> Option<String> {
        self.json_text("reason")
    }

    /// The decision id of a reply that Palisade made.
    pub fn decision_id(&self) -> Option<String> {
        self.json_text("decision_id")
    }

    fn json_text(&self, key: &str) -> Option<String> {
        self.json()?.get(key)?.as_str().map(str::to_owned)
    }
}

impl Outcome {
    /// The reply, where there must be one.
    #[track_caller]
    pub fn expect_reply(self) -> Reply {
        match self {
            Self::Reply(reply) => reply,
            Self::Closed => panic!("expected a reply, but the peer closed the connection"),
            Self::TimedOut => panic!("expected a reply, but none came within {REPLY_TIMEOUT:?}"),
        }
    }
}

/// Sends one request in one piece over a new connection.
pub fn send(addr: SocketAddr, request: impl AsRef<[u8]>) -> Outcome {
    send_pieces(addr, &[Piece { bytes: request.as_ref().to_vec(), then: Then::Continue }])
}

/// Sends one request in pieces over a new connection.
pub fn send_pieces(addr: SocketAddr, pieces: &[Piece]) -> Outcome {
    match connect(addr) {
        Ok(mut stream) => exchange(&mut stream, pieces, REPLY_TIMEOUT),
        Err(_) => Outcome::Closed,
    }
}

/// Sends one request over a new connection and reads at the same time: a peer that refuses in the middle is heard at once.
/// Where there is a first part, the rest follows when the peer has said something to it, or after [`REACTION_TIMEOUT`].
pub fn send_while_reading(addr: SocketAddr, first: &[u8], rest: &[u8]) -> Outcome {
    let Ok(mut stream) = connect(addr) else { return Outcome::Closed };
    let Ok(mut writing) = stream.try_clone() else { return Outcome::Closed };
    let mut received = Received::default();
    if !first.is_empty() {
        // Where this fails the peer has closed, which reading tells.
        let _ = stream.write_all(first);
        received.read_once(&mut stream, REACTION_TIMEOUT);
    }
    let head = first.starts_with(b"HEAD ") || rest.starts_with(b"HEAD ");
    std::thread::scope(|scope| {
        scope.spawn(move || writing.write_all(rest));
        let outcome = read_reply(&mut stream, &mut received, head, REPLY_TIMEOUT);
        // The writer may still wait for a peer that wants no more.
        let _ = stream.shutdown(Shutdown::Both);
        outcome
    })
}

/// Sends one request over a new TLS connection with the identity of `config`.
pub fn send_tls(
    addr: SocketAddr,
    config: &Arc<ClientConfig>,
    server_name: &str,
    request: impl AsRef<[u8]>,
) -> Outcome {
    let name = ServerName::try_from(server_name.to_owned()).expect("a server name for TLS");
    let Ok(stream) = connect(addr) else { return Outcome::Closed };
    let session = ClientConnection::new(Arc::clone(config), name).expect("a TLS client");
    let mut tls = Tls(StreamOwned::new(session, stream));
    exchange(&mut tls, &[Piece { bytes: request.as_ref().to_vec(), then: Then::Continue }], REPLY_TIMEOUT)
}

/// A connection that stays open between requests, for tests that count or interrupt.
#[derive(Debug)]
pub struct RawConnection {
    stream: TcpStream,
}

impl RawConnection {
    pub fn open(addr: SocketAddr) -> std::io::Result<Self> {
        Ok(Self { stream: connect(addr)? })
    }

    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request and reads its reply; the connection can be used again after a reply.
    pub fn exchange(&mut self, request: &[u8]) -> Outcome {
        self.exchange_within(request, REPLY_TIMEOUT)
    }

    /// Like [`Self::exchange`] with a limit of its own.
    pub fn exchange_within(&mut self, request: &[u8], timeout: Duration) -> Outcome {
        exchange(&mut self.stream, &[Piece { bytes: request.to_vec(), then: Then::Continue }], timeout)
    }
}

fn connect(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, REPLY_TIMEOUT)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What differs between a plain and a TLS connection.
trait Wire: Read + Write {
    fn set_read_timeout(&self, timeout: Duration) -> std::io::Result<()>;
    fn finish(&mut self) -> std::io::Result<()>;
}

impl Wire for TcpStream {
    fn set_read_timeout(&self, timeout: Duration) -> std::io::Result<()> {
        Self::set_read_timeout(self, Some(timeout.max(Duration::from_millis(1))))
    }

    fn finish(&mut self) -> std::io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

struct Tls(StreamOwned<ClientConnection, TcpStream>);

impl Read for Tls {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Tls {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Wire for Tls {
    fn set_read_timeout(&self, timeout: Duration) -> std::io::Result<()> {
        Wire::set_read_timeout(&self.0.sock, timeout)
    }

    fn finish(&mut self) -> std::io::Result<()> {
        self.0.conn.send_close_notify();
        self.0.flush()
    }
}

fn exchange(wire: &mut impl Wire, pieces: &[Piece], timeout: Duration) -> Outcome {
    let mut received = Received::default();
    let head_request = pieces.first().is_some_and(|piece| piece.bytes.starts_with(b"HEAD "));
    for piece in pieces {
        // A peer that has refused already may have closed; its reply is still to be read.
        let written = wire.write_all(&piece.bytes).and_then(|()| wire.flush());
        match (written, piece.then) {
            (Err(_), _) => break,
            (Ok(()), Then::Continue) => {}
            (Ok(()), Then::AwaitReaction) => received.read_once(wire, REACTION_TIMEOUT),
            (Ok(()), Then::Finish) => {
                let _ = wire.finish();
            }
        }
    }
    read_reply(wire, &mut received, head_request, timeout)
}

fn read_reply(
    wire: &mut impl Wire,
    received: &mut Received,
    head_request: bool,
    timeout: Duration,
) -> Outcome {
    let end = Instant::now() + timeout;
    loop {
        if let Some(reply) = received.reply(head_request) {
            return Outcome::Reply(reply);
        }
        if received.closed {
            return Outcome::Closed;
        }
        match end.checked_duration_since(Instant::now()) {
            Some(left) => received.read_once(wire, left),
            None => return Outcome::TimedOut,
        }
    }
}

#[derive(Debug, Default)]
struct Received {
    bytes: Vec<u8>,
    closed: bool,
}

impl Received {
    fn read_once(&mut self, wire: &mut impl Wire, timeout: Duration) {
        let mut chunk = [0; 16 * 1024];
        if wire.set_read_timeout(timeout).is_err() {
            self.closed = true;
            return;
        }
        match wire.read(&mut chunk) {
            Ok(0) => self.closed = true,
            Ok(length) => self.bytes.extend_from_slice(&chunk[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.closed = true,
        }
    }

    /// The first final reply, if it is complete; interim ones (100, 103) are stepped over.
    fn reply(&mut self, head_request: bool) -> Option<Reply> {
        loop {
            let head = Head::parse(&self.bytes)?;
            let status = status_of(&head.start_line)?;
            if (100..200).contains(&status) && status != 101 {
                self.bytes.drain(..head.length);
                continue;
            }
            let framing = if head_request { http1::Framing::Empty } else { head.reply_framing(status) };
            let body = Body::parse(&self.bytes[head.length..], framing, self.closed)?;
            return Some(Reply { status, headers: head.headers, body: body.bytes, trailers: body.trailers });
        }
    }
}

fn status_of(start_line: &[u8]) -> Option<u16> {
    std::str::from_utf8(start_line).ok()?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spy::Spy;

    #[test]
    fn pieces_arrive_as_one_request_and_the_reply_comes_back() {
        let spy = Spy::start();
        let pieces = [
            Piece {
                bytes: b"POST /p HTTP/1.1\r\ncontent-length: 4\r\n\r\n".to_vec(),
                then: Then::AwaitReaction,
            },
            Piece { bytes: b"ab".to_vec(), then: Then::Continue },
            Piece { bytes: b"cd".to_vec(), then: Then::Continue },
        ];
        let reply = send_pieces(spy.addr(), &pieces).expect_reply();
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json().unwrap()["path"], "/p");
        assert_eq!(spy.requests()[0].body, b"abcd");
    }

    #[test]
    fn a_closed_peer_and_a_silent_one_are_told_apart() {
        let spy = Spy::start();
        spy.stay_silent(true);
        let mut connection = RawConnection::open(spy.addr()).unwrap();
        let outcome = connection.exchange_within(b"GET / HTTP/1.1\r\n\r\n", Duration::from_millis(20));
        assert_eq!(outcome, Outcome::TimedOut);
        drop(spy);
        assert_eq!(connection.exchange_within(b"", Duration::from_secs(5)), Outcome::Closed);
    }

    #[test]
    fn interim_replies_are_stepped_over() {
        let mut received = Received {
            bytes: b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            closed: false,
        };
        assert_eq!(received.reply(false).unwrap().status, 204);
    }
}
