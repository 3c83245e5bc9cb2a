//! The service behind the routes that lead to one: answers every read with the same document of about 1 kB.
//!
//! It runs in the bench itself, as the load does, so that its work is nobody's processor time. INVARIANT: loopback only.

use crate::document::batch_of;
use crate::failure::Failure;
use std::net::SocketAddr;
use std::sync::LazyLock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

static ANSWER: LazyLock<String> = LazyLock::new(|| batch_of(1024));

/// More than Envoy sends for one of the bench's reads.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The body of every answer.
pub(crate) fn answer() -> &'static str {
    &ANSWER
}

/// Serves until the runtime ends.
pub(crate) async fn start() -> Result<SocketAddr, Failure> {
    let cannot = || Failure::because("the service of the bench cannot listen");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(cannot())?;
    let address = listener.local_addr().map_err(cannot())?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(address)
}

/// A connection that breaks is a wrong reply where it is counted: at the load.
async fn serve(mut stream: TcpStream) {
    let _fast = stream.set_nodelay(true);
    let answer = answer();
    let reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
        answer.len()
    );
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        head.extend_from_slice(piece.get(..count).unwrap_or_default());
        // One request at a time, and reads have no body.
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
        if head.len() > HEAD_BYTES_MAX {
            return;
        }
    }
}
