//! The spy upstream: a service that records every byte that reaches it, and answers so that a caller can go on.
//!
//! Invariant: a byte is recorded before anything is made of it, so "the service saw nothing" is a statement about the
//! socket and not about what a parser understood.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::deadline::eventually;
use crate::http1::{self, Body, Framing, Head, Header};
use crate::spy_h2;

/// How long a spy that stops may take to leave its port.
const BIND_TIMEOUT: Duration = Duration::from_secs(5);

/// What one spy has seen since it started or was last reset.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub connections: Vec<Connection>,
    pub requests: Vec<SeenRequest>,
}

#[derive(Debug, Default, Clone)]
pub struct Connection {
    pub bytes: Vec<u8>,
    pub closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// A request that arrived whole.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// The index of its connection.
    pub connection: usize,
    pub protocol: Protocol,
    pub method: Vec<u8>,
    /// The target as it stood on the wire (of HTTP/2 the `:path`).
    pub target: Vec<u8>,
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
    pub trailers: Vec<Header>,
}

impl Seen {
    /// Bytes over all connections.
    pub fn bytes(&self) -> usize {
        self.connections.iter().map(|connection| connection.bytes.len()).sum()
    }
}

impl SeenRequest {
    /// The first value of a header, its name compared without case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        http1::header(&self.headers, name)
    }
}

/// A running spy; it stops and closes its connections when dropped.
#[derive(Debug)]
pub struct Spy {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
    streams: Mutex<Vec<TcpStream>>,
    silent: AtomicBool,
    speaks_first: AtomicBool,
    /// What is answered to every request of HTTP/1.1, in place of an echo.
    answer: Mutex<Option<Vec<u8>>>,
    stopping: AtomicBool,
}

impl Spy {
    /// Listens on a free loopback port and answers every request with 200.
    pub fn start() -> Self {
        Self::listen(TcpListener::bind(("127.0.0.1", 0)).expect("bind a loopback port for a spy"))
    }

    /// Listens where those who ask it expect it, also where another spy has just stopped.
    #[track_caller]
    pub fn start_at(addr: SocketAddr) -> Self {
        Self::listen(eventually("the port of a spy is free", BIND_TIMEOUT, || TcpListener::bind(addr).ok()))
    }

    fn listen(listener: TcpListener) -> Self {
        let addr = listener.local_addr().expect("read the port of a spy");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Self { addr, shared }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// While silent, the spy reads and records but answers nothing.
    pub fn stay_silent(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::SeqCst);
    }

    /// A spy that speaks first answers a gRPC call with a message before the caller has sent any.
    pub fn speak_first(&self, first: bool) {
        self.shared.speaks_first.store(first, Ordering::SeqCst);
    }

    /// Answers every request of HTTP/1.1 with these bytes; `None`: with an echo.
    pub fn answer_with(&self, answer: Option<&[u8]>) {
        *self.shared.answer() = answer.map(<[u8]>::to_vec);
    }

    pub fn seen(&self) -> Seen {
        self.shared.seen().clone()
    }

    pub fn bytes_seen(&self) -> usize {
        self.shared.seen().bytes()
    }

    pub fn requests(&self) -> Vec<SeenRequest> {
        self.shared.seen().requests.clone()
    }

    /// Forgets what was seen; open connections stay and keep their index.
    pub fn reset(&self) {
        let mut seen = self.shared.seen();
        seen.requests.clear();
        for connection in &mut seen.connections {
            connection.bytes.clear();
        }
    }

    /// Waits until `condition` holds of what was seen; false when the deadline passed first.
    pub fn wait_until(&self, condition: impl Fn(&Seen) -> bool, deadline: Duration) -> bool {
        let end = Instant::now() + deadline;
        let mut seen = self.shared.seen();
        while !condition(&seen) {
            let Some(left) = end.checked_duration_since(Instant::now()) else { return false };
            seen = self.shared.changed.wait_timeout(seen, left).expect("the lock of a spy").0;
        }
        true
    }
}

impl Drop for Spy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for stream in self.shared.streams.lock().expect("the lock of a spy").iter() {
            // A connection that is closed already is what we want.
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The accept loop waits for a connection: this one tells it to look at the flag.
        let _ = TcpStream::connect(self.addr);
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("the lock of a spy")
    }

    fn answer(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.answer.lock().expect("the lock of a spy")
    }

    fn open(&self, stream: &TcpStream) -> usize {
        if let Ok(stream) = stream.try_clone() {
            self.streams.lock().expect("the lock of a spy").push(stream);
        }
        let mut seen = self.seen();
        seen.connections.push(Connection::default());
        self.changed.notify_all();
        seen.connections.len() - 1
    }

    pub(crate) fn record(&self, connection: usize, bytes: &[u8]) {
        self.seen().connections[connection].bytes.extend_from_slice(bytes);
        self.changed.notify_all();
    }

    pub(crate) fn record_request(&self, request: SeenRequest) {
        self.seen().requests.push(request);
        self.changed.notify_all();
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::SeqCst)
    }

    pub(crate) fn speaks_first(&self) -> bool {
        self.speaks_first.load(Ordering::SeqCst)
    }

    fn close(&self, connection: usize) {
        self.seen().connections[connection].closed = true;
        self.changed.notify_all();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            let connection = shared.open(&stream);
            // An upstream connection may end at any byte; what matters has been recorded by then.
            let _ = if speaks_http2(&stream) {
                spy_h2::serve(stream, connection, &shared)
            } else {
                serve_http1(stream, connection, &shared)
            };
            shared.close(connection);
        });
    }
}

/// Looks at the first bytes without taking them: HTTP/2 with prior knowledge begins with a fixed preface.
fn speaks_http2(stream: &TcpStream) -> bool {
    let mut start = [0; 3];
    matches!(stream.peek(&mut start), Ok(3)) && &start == b"PRI"
}

fn serve_http1(mut stream: TcpStream, connection: usize, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut pending = Vec::new();
    let mut chunk = [0; 16 * 1024];
    let mut upgraded = false;
    loop {
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        shared.record(connection, &chunk[..length]);
        if upgraded {
            continue;
        }
        pending.extend_from_slice(&chunk[..length]);
        while let Some((request, used, upgrade)) = parse_request(&pending, connection) {
            pending.drain(..used);
            let own = shared.answer().clone();
            let reply =
                own.unwrap_or_else(|| if upgrade { switch_protocols(&request) } else { echo(&request) });
            upgraded = upgrade;
            shared.record_request(request);
            if !shared.is_silent() {
                stream.write_all(&reply)?;
            }
        }
    }
}

fn parse_request(bytes: &[u8], connection: usize) -> Option<(SeenRequest, usize, bool)> {
    let head = Head::parse(bytes)?;
    let upgrade = head.header("upgrade").is_some();
    let framing = if upgrade { Framing::Empty } else { head.request_framing() };
    let body = Body::parse(&bytes[head.length..], framing, false)?;
    let mut words = head.start_line.splitn(2, |byte| *byte == b' ');
    let method = words.next().unwrap_or_default().to_vec();
    let rest = words.next().unwrap_or_default();
    // The version is the last word, so a target with a space in it still shows whole.
    let target_end = rest.iter().rposition(|byte| *byte == b' ').unwrap_or(rest.len());
    let request = SeenRequest {
        connection,
        protocol: Protocol::Http1,
        method,
        target: rest[..target_end].to_vec(),
        headers: head.headers,
        body: body.bytes,
        trailers: body.trailers,
    };
    Some((request, head.length + body.length, upgrade))
}

/// The body of the spy's replies: what it was asked, as far as text can say it.
pub(crate) fn echo_body(method: &[u8], target: &[u8]) -> Vec<u8> {
    serde_json::json!({
        "method": String::from_utf8_lossy(method),
        "path": String::from_utf8_lossy(target),
    })
    .to_string()
    .into_bytes()
}

fn echo(request: &SeenRequest) -> Vec<u8> {
    let body = echo_body(&request.method, &request.target);
    let mut reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if request.method != b"HEAD" {
        reply.extend_from_slice(&body);
    }
    reply
}

fn switch_protocols(request: &SeenRequest) -> Vec<u8> {
    let protocol = request.header("upgrade").unwrap_or(b"websocket");
    let mut reply = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ".to_vec();
    reply.extend_from_slice(protocol);
    reply.extend_from_slice(b"\r\n\r\n");
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_recorded_and_each_request_is_answered() {
        let spy = Spy::start();
        let mut stream = TcpStream::connect(spy.addr()).unwrap();
        let sent = b"POST /a%2fb HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}GET /x HT";
        stream.write_all(sent).unwrap();
        assert!(spy.wait_until(|seen| seen.requests.len() == 1, Duration::from_secs(5)));
        assert_eq!(spy.requests()[0].target, b"/a%2fb");
        assert_eq!(spy.requests()[0].body, b"{}");
        assert!(
            spy.wait_until(|seen| seen.bytes() == sent.len(), Duration::from_secs(5)),
            "{:?}",
            spy.seen()
        );
        stream.write_all(b"TP/1.1\r\n\r\n").unwrap();
        let mut reply = [0; 12];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"HTTP/1.1 200");
        assert!(spy.wait_until(|seen| seen.requests.len() == 2, Duration::from_secs(5)));
        spy.reset();
        assert_eq!(spy.bytes_seen(), 0);
        drop(stream);
        assert!(spy.wait_until(|seen| seen.connections[0].closed, Duration::from_secs(5)));
    }

    #[test]
    fn a_silent_spy_reads_and_says_nothing() {
        let spy = Spy::start();
        spy.stay_silent(true);
        let mut stream = TcpStream::connect(spy.addr()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert!(spy.wait_until(|seen| seen.requests.len() == 1, Duration::from_secs(5)));
        drop(spy);
        let mut rest = Vec::new();
        // Whether it ends or is reset, not a byte was said.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
}
