//! A well-behaved HTTP/2 client whose streams a test drives step by step.
//!
//! INVARIANT: every wait is bounded; a stream that stays silent is an outcome like any other.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tests::deadline::eventually;
use tests::http1::Header;
use tests::raw_client::{Outcome, Reply};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::ask::Ask;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// One stream on a connection of its own.
pub(super) struct Stream {
    send: SendStream<Bytes>,
    reply: Option<ResponseFuture>,
    // The connection goes away with its last handle.
    _requests: SendRequest<Bytes>,
}

impl Stream {
    /// Sends the head; `ends` says that nothing follows.
    pub(super) fn open(addr: SocketAddr, ask: &Ask, ends: bool) -> Self {
        Self::open_with(addr, ask, ends, None)
    }

    /// An extended CONNECT, by which HTTP/2 spells an upgrade.
    pub(super) fn connect(addr: SocketAddr, ask: &Ask, protocol: &'static str) -> Self {
        Self::open_with(addr, ask, false, Some(Protocol::from_static(protocol)))
    }

    fn open_with(addr: SocketAddr, ask: &Ask, ends: bool, protocol: Option<Protocol>) -> Self {
        let mut request = Request::new(());
        *request.method_mut() = ask.method.parse().expect("a method");
        *request.uri_mut() = format!("http://{}{}", ask.host, ask.path).parse().expect("a target");
        *request.headers_mut() = map(&ask.headers);
        let extended = protocol.is_some();
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(protocol);
        }
        let connect = async {
            let stream = TcpStream::connect(addr).await.expect("connect to a listener");
            stream.set_nodelay(true).expect("no delay");
            let (requests, connection) =
                h2::client::Builder::new().handshake::<_, Bytes>(stream).await.expect("HTTP/2");
            tokio::spawn(connection);
            requests.ready().await.expect("HTTP/2")
        };
        let mut requests =
            RUNTIME.block_on(async { timeout(STEP_TIMEOUT, connect).await.expect("a connection in time") });
        if extended {
            // The peer's settings come in their own time.
            eventually("extended CONNECT is allowed", STEP_TIMEOUT, || {
                requests.is_extended_connect_protocol_enabled().then_some(())
            });
        }
        let (reply, send) = requests.send_request(request, ends).expect("send a head");
        Self { send, reply: Some(reply), _requests: requests }
    }

    /// Sends data as the windows allow; false when the peer has reset the stream or stopped reading for long.
    pub(super) fn data(&mut self, data: &[u8], ends: bool) -> bool {
        let send = async {
            let mut rest = Bytes::copy_from_slice(data);
            while !rest.is_empty() {
                self.send.reserve_capacity(rest.len());
                let capacity = std::future::poll_fn(|cx| self.send.poll_capacity(cx)).await;
                let Some(Ok(capacity)) = capacity else { return false };
                let now = rest.split_to(capacity.min(rest.len()));
                if !now.is_empty() && self.send.send_data(now, false).is_err() {
                    return false;
                }
            }
            !ends || self.send.send_data(Bytes::new(), true).is_ok()
        };
        RUNTIME.block_on(async { timeout(STEP_TIMEOUT, send).await.unwrap_or(false) })
    }

    /// An empty DATA frame.
    pub(super) fn empty_data(&mut self) {
        let _ = self.send.send_data(Bytes::new(), false);
    }

    pub(super) fn trailers(&mut self, trailers: &[(&str, &str)]) {
        let owned: Vec<_> =
            trailers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        // A peer that has refused already has reset the stream.
        let _ = self.send.send_trailers(map(&owned));
    }

    /// Resets the stream.
    pub(super) fn reset(&mut self) {
        self.send.send_reset(h2::Reason::CANCEL);
    }

    /// The whole reply.
    pub(super) fn reply_within(&mut self, limit: Duration) -> Outcome {
        let Some(reply) = self.reply.take() else { return Outcome::Closed };
        RUNTIME.block_on(async {
            match timeout(limit, whole(reply)).await {
                Ok(Ok(reply)) => Outcome::Reply(reply),
                Ok(Err(_)) => Outcome::Closed,
                Err(_) => Outcome::TimedOut,
            }
        })
    }

    #[track_caller]
    pub(super) fn reply(mut self) -> Reply {
        self.reply_within(STEP_TIMEOUT).expect_reply()
    }
}

async fn whole(reply: ResponseFuture) -> Result<Reply, h2::Error> {
    let (head, mut body) = reply.await?.into_parts();
    let bytes = read(&mut body).await?;
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok(Reply {
        status: head.status.as_u16(),
        headers: pairs(&head.headers),
        body: bytes,
        trailers: pairs(&trailers),
    })
}

async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn map(headers: &[(String, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(name.as_str()).expect("a header name");
        map.append(name, HeaderValue::try_from(value.as_str()).expect("a header value"));
    }
    map
}

fn pairs(headers: &HeaderMap) -> Vec<Header> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}
