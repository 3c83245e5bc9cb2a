//! Saturation: each connection sends its next request as soon as the last reply is there.

use super::reply::Buffer;
use super::{REPLY_TIMEOUT, Seen};
use crate::failure::Failure;
use crate::requests::Ask;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Kept-alive connections, all at rest between two loads.
#[derive(Debug)]
pub(crate) struct Connections {
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    buffer: Buffer,
    /// Which request is next. It goes on from load to load, and each connection begins elsewhere.
    next: usize,
}

/// How far apart connections begin among many requests: none gets as far in a round.
pub(crate) const STRIDE: usize = 4_096;

/// When a load ends.
#[derive(Debug, Clone, Copy)]
enum End {
    At(Instant),
    /// After that many requests on each connection.
    After(u64),
}

impl Connections {
    pub(crate) async fn open(to: SocketAddr, count: u16) -> Result<Connections, Failure> {
        let mut connections = Vec::with_capacity(count.into());
        for place in 0..usize::from(count) {
            connections.push(Connection::open(to, place).await?);
        }
        Ok(Connections { connections })
    }

    /// Sends these requests in turn until the time is over; all replies are in when it returns.
    pub(crate) async fn saturate(&mut self, asks: Arc<[Ask]>, lasting: Duration) -> Result<Seen, Failure> {
        self.run(asks, End::At(Instant::now() + lasting)).await
    }

    /// Sends about that many requests, at least one on each connection.
    pub(crate) async fn send(&mut self, asks: Arc<[Ask]>, count: u64) -> Result<Seen, Failure> {
        let each = count.div_ceil(self.connections.len().max(1) as u64);
        self.run(asks, End::After(each)).await
    }

    async fn run(&mut self, asks: Arc<[Ask]>, end: End) -> Result<Seen, Failure> {
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for mut connection in self.connections.drain(..) {
            let asks = asks.clone();
            tasks.spawn(async move {
                let seen = connection.repeat(&asks, end).await;
                seen.map(|seen| (connection, seen))
            });
        }
        let mut all = Seen::default();
        while let Some(ended) = tasks.join_next().await {
            let (connection, seen) = ended.map_err(Failure::because("a connection's task failed"))??;
            self.connections.push(connection);
            all.add(seen);
        }
        all.lasted = began.elapsed();
        Ok(all)
    }
}

impl Connection {
    async fn open(to: SocketAddr, place: usize) -> Result<Connection, Failure> {
        let stream =
            TcpStream::connect(to).await.map_err(Failure::because(format!("`{to}` cannot be reached")))?;
        stream.set_nodelay(true).map_err(Failure::because("a connection cannot be set up"))?;
        Ok(Connection { stream, buffer: Buffer::default(), next: place.wrapping_mul(STRIDE) })
    }

    async fn repeat(&mut self, asks: &[Ask], end: End) -> Result<Seen, Failure> {
        let mut seen = Seen::default();
        let mut sent = 0_u64;
        while let Some(ask) = asks.get(self.next.checked_rem(asks.len()).unwrap_or(0)) {
            self.next = self.next.wrapping_add(1);
            let began = Instant::now();
            let over = match end {
                End::At(at) => began >= at,
                End::After(count) => sent >= count,
            };
            if over {
                break;
            }
            let outcome = self.exchange(ask).await?;
            sent = sent.saturating_add(1);
            seen.reply(outcome, began.elapsed());
        }
        Ok(seen)
    }

    async fn exchange(&mut self, ask: &Ask) -> Result<Result<(), String>, Failure> {
        let lost = |error| Failure::new(format!("a connection broke: {error}"));
        self.stream.write_all(&ask.bytes).await.map_err(lost)?;
        let mut piece = [0; 4096];
        loop {
            let read = tokio::time::timeout(REPLY_TIMEOUT, self.stream.read(&mut piece)).await;
            let count = read.map_err(|_| Failure::new("a reply did not come within 5 s"))?.map_err(lost)?;
            if count == 0 {
                return Err(Failure::new("the proxy closed a connection that was to be kept alive"));
            }
            self.buffer.add(piece.get(..count).unwrap_or_default())?;
            if let Some(outcome) = self.buffer.take_reply(ask)? {
                return Ok(outcome);
            }
        }
    }
}
