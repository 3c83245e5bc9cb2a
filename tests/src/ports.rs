//! Ports for parts that must be told theirs before they start, and that keep it over a restart.
//!
//! Invariant: they come from below the range that the kernel gives to outgoing connections, so that a port which was
//! found free is not taken by a connection before its part has bound it; within a process none is given out twice.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A loopback address whose port nobody listens on.
pub fn free_addr() -> SocketAddr {
    // Test processes that run at the same time begin at different places.
    let offset = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (offset + step) % COUNT;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
    panic!("no free loopback port between {FIRST} and {}", FIRST + COUNT);
}
