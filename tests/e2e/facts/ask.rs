//! Requests with a tag, a script for the probe and an answer for the stand-in server, for HTTP/1.1 and HTTP/2.
//!
//! INVARIANT: every tag is new, so that many facts share one Envoy at the same time and each finds its own traces.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::authz::ANSWER_HEADER;

/// A request in the making.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) tag: String,
    pub(super) method: &'static str,
    pub(super) host: &'static str,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Ask {
    /// A request to the service that is reached over HTTP/1.1, whose bytes can be searched.
    pub(super) fn new(method: &'static str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let tag = format!("tag{:05}", NEXT.fetch_add(1, Ordering::Relaxed));
        let path = format!("/{tag}");
        let headers = vec![("x-tag".to_owned(), tag.clone())];
        Self { tag, method, host: "orders", path, headers }
    }

    pub(super) fn get() -> Self {
        Self::new("GET")
    }

    pub(super) fn post() -> Self {
        Self::new("POST")
    }

    /// The same request to the service that is reached over HTTP/2.
    pub(super) fn grpc() -> Self {
        Self { host: "payments", ..Self::new("POST") }
            .header("content-type", "application/grpc")
            .header("te", "trailers")
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What the probe does with it.
    pub(super) fn script(self, script: &str) -> Self {
        self.header("x-probe", script)
    }

    /// What the stand-in server answers.
    pub(super) fn answer(self, answer: &str) -> Self {
        self.header(ANSWER_HEADER, answer)
    }

    pub(super) fn path(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// The head in HTTP/1.1; `framing` is a header line without its end, or nothing.
    pub(super) fn head(&self, framing: &str) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", self.method, self.path, self.host);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !framing.is_empty() {
            head.push_str(&format!("{framing}\r\n"));
        }
        head + "\r\n"
    }

    pub(super) fn chunked(&self) -> String {
        self.head("transfer-encoding: chunked")
    }

    /// The whole request with a length.
    pub(super) fn with_body(&self, body: &str) -> Vec<u8> {
        (self.head(&format!("content-length: {}", body.len())) + body).into_bytes()
    }
}

/// One chunk; an empty one ends the body.
pub(super) fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// A connection that shows the bytes that came, also those of half a reply.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    pub(super) bytes: Vec<u8>,
    pub(super) closed: bool,
}

impl Wire {
    pub(super) fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("connect to a listener");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, bytes: Vec::new(), closed: false }
    }

    /// A peer that has closed takes no more bytes, which is for the test to find out from what it reads.
    pub(super) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Reads until the text has come, the peer closed or the deadline passed; says whether the text has come.
    pub(super) fn read_until(&mut self, text: &str, timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        let mut chunk = [0; 16 * 1024];
        loop {
            if !text.is_empty() && tests::http1::find(&self.bytes, text.as_bytes()).is_some() {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if self.closed || left.is_zero() {
                return false;
            }
            self.stream.set_read_timeout(Some(left)).expect("a read timeout");
            match self.stream.read(&mut chunk) {
                Ok(0) => self.closed = true,
                Ok(length) => self.bytes.extend_from_slice(&chunk[..length]),
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(_) => self.closed = true,
            }
        }
    }

    /// Reads until the peer closes; says whether it did.
    pub(super) fn read_until_closed(&mut self, timeout: Duration) -> bool {
        self.read_until("", timeout);
        self.closed
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(super) fn status(&self) -> Option<u16> {
        self.text().split(' ').nth(1)?.parse().ok()
    }
}
