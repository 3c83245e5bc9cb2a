//! A connection to a proxy as its runtime holds it: counted while it is open, closed where it never says anything, and read
//! no further for a while where it says much and asks nothing.
//!
//! Read no further, not closed: calls of many callers share one connection of their proxy, and a sender that is not read
//! stops by itself. INVARIANT: whoever connects and does not begin to speak HTTP/2 or TLS holds a descriptor for
//! [`FIRST_BYTES_WITHIN`] at most; what comes later is bounded by its account and the protocol's own keepalive.

use super::account::Account;
use super::door::Door;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

/// How long a new connection may take to send its first bytes. A proxy sends its preface at once.
const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection is not read whose account is overdrawn. What its calls earn meanwhile is seen after it.
const HELD_UP: Duration = Duration::from_millis(20);

/// One more open connection, for as long as this lives. What it cost in vain is told at the door.
#[derive(Debug)]
pub(super) struct Counted {
    open: Arc<AtomicUsize>,
    door: Arc<Door>,
    account: Arc<Account>,
}

impl Counted {
    pub(super) fn new(open: &Arc<AtomicUsize>, door: &Arc<Door>) -> Counted {
        open.fetch_add(1, Ordering::Relaxed);
        Counted { open: Arc::clone(open), door: Arc::clone(door), account: Arc::default() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.door.ended(self.account.in_vain());
    }
}

/// What each call knows of the connection that it came over.
#[derive(Debug, Clone)]
pub(super) struct Came {
    pub(super) account: Arc<Account>,
}

/// A stream that is counted, must begin to speak, and pays for what it says.
#[derive(Debug)]
pub(super) struct Connection<S> {
    stream: S,
    /// Unknown over a Unix socket.
    from: Option<SocketAddr>,
    /// Until the first bytes came.
    silent: Option<Pin<Box<Sleep>>>,
    /// Since the account was overdrawn.
    held_up: Option<Pin<Box<Sleep>>>,
    refilled: Instant,
    was_told: bool,
    counted: Counted,
}

impl<S> Connection<S> {
    /// Made on the runtime that will serve it.
    pub(super) fn new(stream: S, from: Option<SocketAddr>, counted: Counted) -> Connection<S> {
        Connection::with_patience(stream, from, counted, FIRST_BYTES_WITHIN)
    }

    fn with_patience(
        stream: S,
        from: Option<SocketAddr>,
        counted: Counted,
        patience: Duration,
    ) -> Connection<S> {
        let silent = Some(Box::pin(sleep(patience)));
        let refilled = Instant::now();
        Connection { stream, from, silent, held_up: None, refilled, was_told: false, counted }
    }

    /// Ready when the connection may be read.
    fn poll_account(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.counted.account.is_overdrawn() {
            if let Some(held_up) = &mut self.held_up {
                ready!(held_up.as_mut().poll(context));
                self.held_up = None;
            }
            let now = Instant::now();
            self.counted.account.refill(now.saturating_duration_since(self.refilled));
            self.refilled = now;
            if self.counted.account.is_overdrawn() {
                if !std::mem::replace(&mut self.was_told, true) {
                    self.counted.door.held_up(self.from);
                }
                self.held_up = Some(Box::pin(sleep(HELD_UP)));
            }
        }
        Poll::Ready(())
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Came;

    fn connect_info(&self) -> Came {
        Came { account: Arc::clone(&self.counted.account) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_account(context));
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.counted.account.read(buffer.filled().len().saturating_sub(before));
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
    use super::{Connection, Counted, HELD_UP};
    use crate::serve::door::Door;
    use std::io::ErrorKind;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};
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
            let mut connection =
                Connection::with_patience(ours, None, Counted::new(&open, &Arc::default()), PATIENCE);
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
            let counted = Counted::new(&Arc::default(), &Arc::default());
            let mut connection = Connection::with_patience(ours, None, counted, PATIENCE);
            theirs.write_u8(1).await.unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), 1);
            timeout(3 * PATIENCE, connection.read_u8()).await.unwrap_err();
            theirs.write_u8(2).await.unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), 2);
        });
    }
    #[test]
    fn who_asks_nothing_is_read_slowly_and_told_of_once() {
        runtime().block_on(async {
            // What may be read for nothing in a time, and a read more.
            let for_nothing = |time: Duration| 256 * 1024 * time.as_millis() as usize / 1000 + 16 * 1024;
            let (door, begun) = (Arc::new(Door::default()), Instant::now());
            let (mut theirs, ours) = duplex(64 * 1024);
            let counted = Counted::new(&Arc::default(), &door);
            let account = Arc::clone(&counted.account);
            let mut connection = Connection::with_patience(ours, None, counted, PATIENCE);
            let writing = tokio::spawn(async move {
                let chunk = [0; 16 * 1024];
                while theirs.write_all(&chunk).await.is_ok() {}
            });
            let mut buffer = vec![0; 16 * 1024];
            while !account.is_overdrawn() {
                connection.read_exact(&mut buffer).await.unwrap();
            }
            let (held_up, mut read) = (Instant::now(), 0);
            while held_up.elapsed() < 10 * HELD_UP {
                read += connection.read(&mut buffer).await.unwrap();
            }
            let time = begun.elapsed();
            assert!(read <= for_nothing(time) + 64 * 1024, "{read} bytes in {time:?}");
            assert_eq!(door.count_held_up(), 1);
            // Whoever asks is read as it comes again.
            account.message_came(1024 * 1024);
            let (asked, mut message) = (Instant::now(), vec![0; 1024 * 1024]);
            connection.read_exact(&mut message).await.unwrap();
            let time = asked.elapsed();
            assert!(for_nothing(time) < message.len(), "as slowly as for nothing: {time:?}");
            drop(connection);
            writing.await.unwrap();
        });
    }
}
