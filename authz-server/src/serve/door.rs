//! The door that connections come in by: how fast, and what is told of those that are turned away or held up.
//!
//! INVARIANT: connections that end without having asked for anything come in at a bounded rate, so that to connect anew buys
//! nobody what a connection's account denies. Whoever waits, waits in the kernel's queue, and is let in then.

use super::account::Allowance;
use super::seldom::Seldom;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the door stays shut at once.
const SHUT: Duration = Duration::from_millis(10);

/// What is counted of connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionMetrics {
    refused: Counter,
    failed: Counter,
    held_up: Counter,
    delayed: Counter,
}

impl ConnectionMetrics {
    pub(crate) fn register(registry: &mut Registry) -> ConnectionMetrics {
        let metrics = ConnectionMetrics::default();
        for (name, help, counter) in [
            (
                "connections_refused",
                "Connections of proxies refused because too many were open",
                &metrics.refused,
            ),
            ("accepts_failed", "Times that no connection could be accepted", &metrics.failed),
            (
                "connections_held_up",
                "Connections that were read slowly because they sent much and asked for nothing",
                &metrics.held_up,
            ),
            (
                "accepts_delayed",
                "Times that nobody was let in for a moment because too many connections ended without having asked for anything",
                &metrics.delayed,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        metrics
    }
}

#[derive(Debug)]
pub(super) struct Door {
    allowance: Allowance,
    refilled: Mutex<Instant>,
    seldom: Seldom,
    metrics: ConnectionMetrics,
}

impl Default for Door {
    fn default() -> Door {
        Door::new(ConnectionMetrics::default())
    }
}

impl Door {
    pub(super) fn new(metrics: ConnectionMetrics) -> Door {
        let (allowance, refilled) = (Allowance::of_acceptor(), Mutex::new(Instant::now()));
        Door { allowance, refilled, seldom: Seldom::default(), metrics }
    }

    /// Waits until the door is open, and then for whoever comes.
    pub(super) async fn open<T>(&self, comes: impl Future<Output = T>) -> T {
        let mut was_shut = false;
        while self.is_shut() {
            if !std::mem::replace(&mut was_shut, true) {
                self.metrics.delayed.inc();
                self.tell(
                    "connections are accepted slowly",
                    &"too many ended without having asked for anything",
                );
            }
            tokio::time::sleep(SHUT).await;
        }
        comes.await
    }

    fn is_shut(&self) -> bool {
        if !self.allowance.is_spent() {
            return false;
        }
        let now = Instant::now();
        // A moment is whole, whoever panicked beside it.
        let mut refilled = self.refilled.lock().unwrap_or_else(PoisonError::into_inner);
        self.allowance.refill(now.saturating_duration_since(*refilled));
        *refilled = now;
        self.allowance.is_spent()
    }

    /// A connection ended that cost us so much in vain.
    pub(super) fn ended(&self, in_vain: i64) {
        self.allowance.change(in_vain.saturating_neg());
    }

    /// A connection is not read for a while.
    pub(super) fn held_up(&self, from: Option<SocketAddr>) {
        self.metrics.held_up.inc();
        let from = from.map_or_else(|| "a Unix socket".to_owned(), |from| from.ip().to_string());
        self.tell("a connection is read slowly because it sends much and asks for nothing", &from);
    }

    pub(super) fn too_many(&self, open: usize) {
        self.metrics.refused.inc();
        self.tell("a connection was refused because too many are open", &format_args!("{open} are"));
    }

    pub(super) fn busy(&self, lane: usize) {
        self.metrics.refused.inc();
        let why = "a connection was refused because its thread is busy or gone";
        self.tell(why, &format_args!("lane {lane}"));
    }

    pub(super) fn failed(&self, error: &std::io::Error) {
        self.metrics.failed.inc();
        self.tell("connections cannot be accepted", error);
    }

    fn tell(&self, thing: &str, error: &dyn Display) {
        if let Some(untold) = self.seldom.tell(thing, Instant::now()) {
            tracing::warn!(%error, untold, "{thing}");
        }
    }

    #[cfg(test)]
    pub(super) fn count_held_up(&self) -> u64 {
        self.metrics.held_up.get()
    }
}

#[cfg(test)]
mod tests {
    use super::{Door, SHUT};
    use futures_util::FutureExt as _;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn the_door_is_open_until_too_much_was_in_vain_and_opens_again() {
        let door = Door::default();
        assert_eq!(door.open(async { 1 }).now_or_never(), Some(1));
        // A second and a half of what comes again.
        door.ended(40 * 1024 * 1024);
        assert_eq!(door.open(async { 2 }).now_or_never(), None);
        timeout(SHUT, door.open(async { 3 })).await.unwrap_err();
        assert_eq!(timeout(Duration::from_secs(10), door.open(async { 4 })).await, Ok(4));
        assert_eq!(door.metrics.delayed.get(), 3);
    }
}
