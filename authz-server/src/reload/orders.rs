//! How the rest of the server asks for a reload, and hears of what came of it.
//!
//! INVARIANT: whoever asks hears of a look that began after the question; orders that wait are bounded.

use super::report::{Attempt, Trigger};
use super::watch::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::sync::{oneshot, watch};

/// Orders that may wait. One load answers all of them.
const WAITING_MAX: usize = 64;

/// Too many orders wait, or the server is about to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

#[derive(Debug)]
pub(super) struct Order {
    pub(super) trigger: Trigger,
    pub(super) answer: Option<oneshot::Sender<Arc<Attempt>>>,
}

/// Gives orders to the reloader. Clones give them to the same one.
#[derive(Debug, Clone)]
pub struct Orders {
    queue: SyncSender<Order>,
    shared: Arc<Shared>,
    looked: watch::Receiver<u64>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Shared {
    /// Looks that were asked for, counted.
    asked: AtomicU64,
    /// Orders that wait, which the queue itself does not tell.
    waiting: AtomicUsize,
    stopping: AtomicBool,
}

/// The reloader's end.
#[derive(Debug)]
pub(super) struct Inbox {
    queue: Receiver<Order>,
    shared: Arc<Shared>,
    looked: watch::Sender<u64>,
}

pub(super) fn channel(waker: Waker) -> (Orders, Inbox) {
    let (sender, queue) = sync_channel(WAITING_MAX);
    let (looked, seen) = watch::channel(0);
    let shared = Arc::new(Shared::default());
    let orders = Orders { queue: sender, shared: shared.clone(), looked: seen, waker };
    (orders, Inbox { queue, shared, looked })
}

impl Orders {
    /// Loads whatever is there now, and says what came of it.
    pub async fn reload(&self, trigger: Trigger) -> Result<Arc<Attempt>, Busy> {
        let (answer, answered) = oneshot::channel();
        self.give(Order { trigger, answer: Some(answer) })?;
        answered.await.map_err(|_| Busy)
    }

    /// Loads whatever is there now; nobody waits for it.
    pub fn reload_soon(&self, trigger: Trigger) -> Result<(), Busy> {
        self.give(Order { trigger, answer: None })
    }

    /// Asks whether anything has changed and waits until that is known and, if so, in force. Asking costs little, and
    /// very many may ask at once. Whoever is in a hurry drops this.
    pub async fn look(&self) {
        let mut looked = self.looked.clone();
        let mine = self.shared.asked.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        self.waker.wake();
        // An error says that nobody looks any more.
        let _known = looked.wait_for(|looked| *looked >= mine).await;
    }

    /// Asks the reloader to end.
    pub(super) fn stop(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    fn give(&self, order: Order) -> Result<(), Busy> {
        // Counted first, so that the count is never below what waits.
        self.shared.waiting.fetch_add(1, Ordering::SeqCst);
        if self.queue.try_send(order).is_err() {
            self.shared.waiting.fetch_sub(1, Ordering::SeqCst);
            return Err(Busy);
        }
        self.waker.wake();
        Ok(())
    }
}

impl Inbox {
    pub(super) fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::SeqCst)
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.shared.waiting.load(Ordering::SeqCst) > 0
    }

    /// All that wait.
    pub(super) fn take(&self) -> Vec<Order> {
        let orders: Vec<Order> = self.queue.try_iter().collect();
        self.shared.waiting.fetch_sub(orders.len(), Ordering::SeqCst);
        orders
    }

    /// How many looks were asked for so far. Taken before a look, given to [`Inbox::looked`] after it.
    pub(super) fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::SeqCst)
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked() > *self.looked.borrow()
    }

    pub(super) fn looked(&self, asked: u64) {
        self.looked.send_replace(asked);
    }
}
