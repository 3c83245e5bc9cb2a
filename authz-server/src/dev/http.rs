//! One request, one reply, over HTTP/1.1 on loopback: for the canary, the tour and the server's readiness.
//!
//! It is this small because the bytes must go out exactly as they are written here: a client library would
//! refuse or mend the very requests that the proxy has to refuse. Replies are ours or Envoy's, over a connection
//! that is closed after one; a chunked body is not put together, because nothing here looks into one.
//!
//! INVARIANT: an exchange ends within its deadline and keeps at most `REPLY_BYTES_MAX`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::slice;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Our replies are a few hundred bytes and the demo services' lists a few ten thousand.
const REPLY_BYTES_MAX: u64 = 1 << 20;

/// A request, sent as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: &'static str,
    pub target: String,
    pub host: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Body>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    pub content_type: &'static str,
    pub text: String,
}

impl Request {
    pub fn get(host: &str, target: &str) -> Request {
        Request {
            method: "GET",
            target: target.to_owned(),
            host: host.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    pub fn post_json(host: &str, target: &str, text: &str) -> Request {
        let body = Body { content_type: "application/json", text: text.to_owned() };
        Request { method: "POST", body: Some(body), ..Request::get(host, target) }
    }

    fn encode(&self) -> Vec<u8> {
        let mut wire = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", self.method, self.target, self.host);
        for (name, value) in &self.headers {
            wire.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            wire.push_str(&format!(
                "content-type: {}\r\ncontent-length: {}\r\n",
                body.content_type,
                body.text.len()
            ));
        }
        wire.push_str("connection: close\r\n\r\n");
        if let Some(body) = &self.body {
            wire.push_str(&body.text);
        }
        wire.into_bytes()
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// The reason code, if the body is one of our refusals.
    pub reason: Option<String>,
    pub decision_id: Option<String>,
}

impl Reply {
    /// In a few characters: `403 policy_denied`, or `200`.
    pub fn summary(&self) -> String {
        match &self.reason {
            Some(reason) => format!("{} {reason}", self.status),
            None => self.status.to_string(),
        }
    }
}

/// Sends `request` to `address` and reads the reply, all of it `within` that time.
pub async fn exchange(address: SocketAddr, request: &Request, within: Duration) -> io::Result<Reply> {
    let exchange = async {
        let mut connection = Connection::open(address).await?;
        connection.send(&request.encode()).await;
        connection.reply().await
    };
    bounded(within, exchange).await
}

/// Asks for a JSON document and reads it, all of it `within` that time.
pub async fn exchange_json(address: SocketAddr, request: &Request, within: Duration) -> io::Result<Value> {
    let exchange = async {
        let mut connection = Connection::open(address).await?;
        connection.send(&request.encode()).await;
        connection.reply().await?;
        let body = connection.read.windows(4).position(|window| window == b"\r\n\r\n");
        let body = body.and_then(|end| connection.read.get(end + 4..)).unwrap_or_default();
        serde_json::from_slice(body).map_err(io::Error::from)
    };
    bounded(within, exchange).await
}

/// When a reply came to a request whose last byte was held back for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Before the request was complete.
    Early(Reply),
    /// Once the request was complete.
    InTime(Reply),
}

/// Like `exchange`, but sends the last byte only after `hold`, unless a reply comes earlier.
pub async fn exchange_held(
    address: SocketAddr,
    request: &Request,
    hold: Duration,
    within: Duration,
) -> io::Result<Held> {
    let exchange = async {
        let wire = request.encode();
        let (last, all_but_last) =
            wire.split_last().map_or((&[][..], &[][..]), |(last, rest)| (slice::from_ref(last), rest));
        let mut connection = Connection::open(address).await?;
        connection.send(all_but_last).await;
        if let Ok(early) = timeout(hold, connection.reply()).await {
            return early.map(Held::Early);
        }
        connection.send(last).await;
        connection.reply().await.map(Held::InTime)
    };
    bounded(within, exchange).await
}

async fn bounded<T>(within: Duration, exchange: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(within, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// An address to connect to: "all interfaces" is one to listen on only.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

/// A connection for one request, with what was read of the reply so far.
struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    unsent: Option<io::Error>,
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(reachable(address)).await?;
        Ok(Connection { stream, read: Vec::new(), unsent: None })
    }

    /// A peer may refuse before it has read everything; its reply is then still there, so a failure is kept for later.
    async fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes).await {
            self.unsent.get_or_insert(error);
        }
    }

    /// Can be given up and called again; nothing that was read is lost.
    async fn reply(&mut self) -> io::Result<Reply> {
        loop {
            if let Some(reply) = parse(&self.read, false)? {
                return Ok(reply);
            }
            let room = REPLY_BYTES_MAX.saturating_sub(self.read.len() as u64);
            if (&mut self.stream).take(room).read_buf(&mut self.read).await? == 0 {
                break;
            }
        }
        match parse(&self.read, true)? {
            Some(reply) => Ok(reply),
            None => Err(self.unsent.take().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// Reads a reply once it is whole; `ended` says that no more bytes will come.
fn parse(wire: &[u8], ended: bool) -> io::Result<Option<Reply>> {
    let Some(end) = wire.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let (head, body) = wire.split_at(end);
    let body = body.get(4..).unwrap_or_default();
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "the reply is not HTTP/1.1");

    let head = std::str::from_utf8(head).map_err(|_| strange())?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).ok_or_else(strange)?;
    let status: u16 = status_line.get(..3).and_then(|code| code.parse().ok()).ok_or_else(strange)?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    let whole = match length {
        Some(length) => body.len() >= length,
        None => status == 204,
    };
    if !whole && !ended {
        return Ok(None);
    }

    #[derive(Default, Deserialize)]
    struct Refusal {
        reason: Option<String>,
        decision_id: Option<String>,
    }
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    Ok(Some(Reply { status, reason: refusal.reason, decision_id: refusal.decision_id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_out_as_it_is_written() {
        let request = Request {
            headers: vec![("x-api-key".to_owned(), "k".to_owned())],
            ..Request::post_json("orders", "/a%2Fb", "{\"a\":")
        };
        assert_eq!(
            String::from_utf8(request.encode()).unwrap(),
            "POST /a%2Fb HTTP/1.1\r\nhost: orders\r\nx-api-key: k\r\ncontent-type: application/json\r\n\
             content-length: 5\r\nconnection: close\r\n\r\n{\"a\":"
        );
    }

    #[test]
    fn a_reply_is_read_when_it_is_whole_and_not_before() {
        let wire = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 26\r\n\r\n{\"reason\":\"policy_denied\"}";
        for end in 0..wire.len() {
            assert_eq!(parse(&wire[..end], false).unwrap(), None, "{end}");
        }
        let reply = parse(wire, false).unwrap().unwrap();
        assert_eq!(reply.summary(), "403 policy_denied");
    }

    #[test]
    fn a_reply_without_a_length_ends_with_the_connection() {
        let wire = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        assert_eq!(parse(wire, false).unwrap(), None);
        assert_eq!(parse(wire, true).unwrap().unwrap().summary(), "200");
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n", false).unwrap().unwrap().status, 204);
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        assert!(parse(b"SSH-2.0-x\r\n\r\n", true).is_err());
        assert!(parse(b"HTTP/1.1 2\r\n\r\n", true).is_err());
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n", true).unwrap(), None);
    }

    #[test]
    fn all_interfaces_are_reached_through_loopback() {
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()), "127.0.0.1:1".parse().unwrap());
        assert_eq!(reachable("[::]:1".parse().unwrap()), "[::1]:1".parse().unwrap());
    }
}
