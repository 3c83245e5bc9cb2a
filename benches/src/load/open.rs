//! A fixed rate: every request has its time, and its latency counts from then, whenever it could really be sent.
//!
//! Threads with blocking sockets, not tasks: the runtime's timer knows milliseconds, and these latencies are shorter.

use super::reply::Buffer;
use super::{REPLY_TIMEOUT, Seen};
use crate::failure::Failure;
use crate::requests::Ask;
use rustix::thread::{Timespec, nanosleep, set_current_timer_slack};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Requests that can be under way at once; beyond, they wait, and the wait counts.
const SENDERS: usize = 32;

/// Time for all threads to connect before the first request is due.
const LEAD: Duration = Duration::from_millis(50);

/// Sends `rate` requests a second for that long. Blocks the calling thread.
pub(crate) fn open_loop(to: SocketAddr, ask: &Ask, rate: u32, lasting: Duration) -> Result<Seen, Failure> {
    let plan = Plan {
        first: Instant::now() + LEAD,
        interval: Duration::from_secs(1) / rate.max(1),
        count: (f64::from(rate) * lasting.as_secs_f64()) as u64,
        next: AtomicU64::new(0),
    };
    let mut all = Seen::default();
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(|| plan.send(to, ask))).collect();
        for sender in senders {
            all.add(sender.join().map_err(|_| Failure::new("a sender failed"))??);
        }
        Ok::<(), Failure>(())
    })?;
    all.lasted = lasting;
    Ok(all)
}

struct Plan {
    first: Instant,
    interval: Duration,
    count: u64,
    next: AtomicU64,
}

impl Plan {
    fn send(&self, to: SocketAddr, ask: &Ask) -> Result<Seen, Failure> {
        // Without it a sleep may be 50 µs too long. Where it is refused, all arms pay the same.
        let _sharp = set_current_timer_slack(NonZeroU64::new(1));
        let broken =
            |error: std::io::Error| Failure::new(format!("a connection at a fixed rate broke: {error}"));
        let mut stream = TcpStream::connect(to).map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).map_err(broken)?;
        let mut buffer = Buffer::default();
        let mut seen = Seen::default();
        loop {
            let ticket = self.next.fetch_add(1, Ordering::Relaxed);
            if ticket >= self.count {
                return Ok(seen);
            }
            let due = self.first + self.interval.mul_f64(ticket as f64);
            wait_until(due);
            stream.write_all(&ask.bytes).map_err(broken)?;
            let outcome = read_reply(&mut stream, &mut buffer, ask)?;
            seen.reply(outcome, due.elapsed());
        }
    }
}

/// The time itself is what is waited for. A signal may end it early; the request then goes out early, and counts from
/// when it was due.
fn wait_until(due: Instant) {
    let rest = due.saturating_duration_since(Instant::now());
    let rest = Timespec { tv_sec: rest.as_secs().cast_signed(), tv_nsec: rest.subsec_nanos().into() };
    let _woken = nanosleep(&rest);
}

fn read_reply(stream: &mut TcpStream, buffer: &mut Buffer, ask: &Ask) -> Result<Result<(), String>, Failure> {
    let mut piece = [0; 4096];
    loop {
        let count =
            stream.read(&mut piece).map_err(Failure::because("a reply at a fixed rate did not come"))?;
        if count == 0 {
            return Err(Failure::new("the proxy closed a connection that was to be kept alive"));
        }
        buffer.add(piece.get(..count).unwrap_or_default())?;
        if let Some(outcome) = buffer.take_reply(ask)? {
            return Ok(outcome);
        }
    }
}
