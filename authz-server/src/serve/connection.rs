//! A connection to a proxy as its runtime holds it: counted while it is open, and closed where it never says anything.
//!
//! INVARIANT: whoever connects and does not begin to speak HTTP/2 or TLS holds a descriptor for [`FIRST_BYTES_WITHIN`] at
//! most; what comes later is bounded by the protocol's own keepalive.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

/// How long a new connection may take to send its first bytes. A proxy sends its preface at once.
const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(10);

/// One more open connection, for as long as this lives.
#[derive(Debug)]
pub(super) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(super) fn new(open: &Arc<AtomicUsize>) -> Counted {
        open.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that is counted, and must begin to speak.
#[derive(Debug)]
pub(super) struct Connection<S> {
    stream: S,
    /// Until the first bytes came.
    silent: Option<Pin<Box<Sleep>>>,
    _counted: Counted,
}

impl<S> Connection<S> {
    /// Made on the runtime that will serve it.
    pub(super) fn new(stream: S, counted: Counted) -> Connection<S> {
        Connection::with_patience(stream, counted, FIRST_BYTES_WITHIN)
    }

    fn with_patience(stream: S, counted: Counted, patience: Duration) -> Connection<S> {
        Connection { stream, silent: Some(Box::pin(sleep(patience))), _counted: counted }
    }
}

impl<S: Connected> Connected for Connection<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(silent) = &mut self.silent {
            if read.is_ready() {
                self.silent = None;
            } else {
                ready!(silent.as_mut().poll(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::{Connection, Counted};
    use std::io::ErrorKind;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_millis(30);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn who_says_nothing_is_hung_up_on() {
        runtime().block_on(async {
            let open = Arc::new(AtomicUsize::new(0));
            let (_silent, ours) = duplex(64);
            let mut connection = Connection::with_patience(ours, Counted::new(&open), PATIENCE);
            assert_eq!(open.load(Ordering::Relaxed), 1);
            let error = connection.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            drop(connection);
            assert_eq!(open.load(Ordering::Relaxed), 0);
        });
    }

    #[test]
    fn who_began_to_speak_may_be_silent_for_long() {
        runtime().block_on(async {
            let (mut theirs, ours) = duplex(64);
            let mut connection = Connection::with_patience(ours, Counted::new(&Arc::default()), PATIENCE);
            theirs.write_u8(1).await.unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), 1);
            timeout(3 * PATIENCE, connection.read_u8()).await.unwrap_err();
            theirs.write_u8(2).await.unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), 2);
        });
    }
}
