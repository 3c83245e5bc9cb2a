//! The spy's second language: HTTP/2 in the clear, as gRPC services speak it behind a proxy.
//!
//! Invariant: bytes are recorded below the HTTP/2 layer, so that frames of a refused request would be seen too. Only
//! frames that carry a request are: settings, pings and windows come and go by themselves on a connection that is kept.

use std::net::TcpStream as StdTcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::http1::Header;
use crate::spy::{Protocol, SeenRequest, Shared, echo_body};

/// One gRPC message of length zero, uncompressed.
const EMPTY_GRPC_MESSAGE: &[u8] = &[0, 0, 0, 0, 0];

/// What an HTTP/2 connection begins with, before its first frame.
const PREFACE_BYTES: usize = 24;

const FRAME_HEAD_BYTES: usize = 9;

/// The frames that carry a request.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// Serves one connection until it ends.
pub(crate) fn serve(stream: StdTcpStream, connection: usize, shared: &Arc<Shared>) -> std::io::Result<()> {
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let frames = Frames { pending: Vec::new(), preface_bytes_left: PREFACE_BYTES };
        let stream = Recording {
            stream: TcpStream::from_std(stream)?,
            frames,
            connection,
            shared: Arc::clone(shared),
        };
        let mut server = h2::server::handshake(stream).await.map_err(std::io::Error::other)?;
        while let Some(request) = server.accept().await {
            let (request, respond) = request.map_err(std::io::Error::other)?;
            let shared = Arc::clone(shared);
            tokio::spawn(answer(request, respond, connection, shared));
        }
        Ok(())
    })
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: usize,
    shared: Arc<Shared>,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let is_grpc = head
        .headers
        .get("content-type")
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let content_type = if is_grpc { "application/grpc" } else { "application/json" };
    let mut answered = Response::new(());
    answered.headers_mut().insert("content-type", http::HeaderValue::from_static(content_type));
    let mut greeted = None;
    if is_grpc && shared.speaks_first() {
        let mut stream = respond.send_response(answered.clone(), false)?;
        stream.send_data(Bytes::from_static(EMPTY_GRPC_MESSAGE), false)?;
        greeted = Some(stream);
    }
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    let mut headers = pairs(&head.headers);
    if let Some(authority) = head.uri.authority() {
        headers.push((b"host".to_vec(), authority.as_str().as_bytes().to_vec()));
    }
    let method = head.method.as_str().as_bytes().to_vec();
    let target = head.uri.path_and_query().map(|path| path.as_str().as_bytes().to_vec()).unwrap_or_default();
    let reply = if is_grpc { EMPTY_GRPC_MESSAGE.to_vec() } else { echo_body(&method, &target) };
    shared.record_request(SeenRequest {
        connection,
        protocol: Protocol::Http2,
        method,
        target,
        headers,
        body: bytes,
        trailers: pairs(&trailers),
    });
    if shared.is_silent() {
        // The stream stays open: only the end of the connection frees it.
        std::future::pending::<()>().await;
    }
    let mut stream = match greeted {
        Some(stream) => stream,
        None => respond.send_response(answered, false)?,
    };
    stream.send_data(Bytes::from(reply), !is_grpc)?;
    if is_grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        stream.send_trailers(trailers)?;
    }
    Ok(())
}

fn pairs(headers: &HeaderMap) -> Vec<Header> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}

/// A stream that shows the spy what is read from it.
struct Recording {
    stream: TcpStream,
    frames: Frames,
    connection: usize,
    shared: Arc<Shared>,
}

/// What was read, cut into frames.
struct Frames {
    pending: Vec<u8>,
    preface_bytes_left: usize,
}

impl Frames {
    /// The frames that carry a request, of those that are complete by now.
    fn take(&mut self, read: &[u8]) -> Vec<u8> {
        let (preface, rest) = read.split_at(read.len().min(self.preface_bytes_left));
        self.preface_bytes_left -= preface.len();
        self.pending.extend_from_slice(rest);
        let mut carried = Vec::new();
        while let Some(head) = self.pending.get(..FRAME_HEAD_BYTES) {
            let length = FRAME_HEAD_BYTES + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let kind = head[3];
            if self.pending.len() < length {
                break;
            }
            let frame: Vec<u8> = self.pending.drain(..length).collect();
            if [DATA, HEADERS, CONTINUATION].contains(&kind) {
                carried.extend(frame);
            }
        }
        carried
    }
}

impl AsyncRead for Recording {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let carried = self.frames.take(&buf.filled()[before..]);
        if !carried.is_empty() {
            self.shared.record(self.connection, &carried);
        }
        polled
    }
}

impl AsyncWrite for Recording {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
