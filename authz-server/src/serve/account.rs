//! What a connection may make us read without asking for anything: frames cost, calls earn.
//!
//! Calls that are opened and reset, empty DATA, heads without end and pings are cheap to send and dear to read. Their
//! sender is a connection like any other until one looks at what comes of it, so each has an account: every byte is paid
//! for, every call that begins is paid for, and the bodies of calls earn twice what they cost.
//! INVARIANT: a connection that only asks earns more than it spends, whatever the size of its messages; one that only
//! keeps us busy is read at [`TRICKLE_PER_S`].

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// What a connection begins with, and the most that it can save. A thousand calls may have begun before the first of their
/// messages is read; and callers that hang up before we came to their messages leave a few kilobytes each.
const BALANCE_MAX: i64 = 4 * 1024 * 1024;

/// What everybody may send for nothing: pings, windows, resets of calls that were read. It is enough for 29,000 empty frames
/// or 250 calls that come to nothing.
const TRICKLE_PER_S: i64 = 256 * 1024;

/// What a call costs when it begins: about the work of taking it in, measured in bytes that could be read instead.
const CALL_COSTS: i64 = 1024;

/// What it earns when its message is whole: the same again, and a head as long as proxies make them.
const WHOLE_EARNS: i64 = 4 * CALL_COSTS;

/// How much a byte of a message earns: itself and the frame around it, in frames that are not made small on purpose.
const EARNED_PER_BYTE: i64 = 2;

/// What a connection costs that ended without a byte of a message: accepting it, its handshake, its end.
const CONNECTION_COSTS: i64 = 64 * 1024;

/// What all connections that have ended may have cost us in vain, at once and in a second: 256 of those that said nothing,
/// or four whole balances. Fewer would let proxies with a wrong certificate keep the others waiting.
const IN_VAIN_MAX: i64 = 16 * 1024 * 1024;
const IN_VAIN_PER_S: i64 = 16 * 1024 * 1024;

/// Bytes that may be spent, and come again with time.
#[derive(Debug)]
pub(super) struct Allowance {
    left: AtomicI64,
    max: i64,
    per_s: i64,
}

impl Allowance {
    const fn full(max: i64, per_s: i64) -> Allowance {
        Allowance { left: AtomicI64::new(max), max, per_s }
    }

    /// Of whoever accepts connections.
    pub(super) const fn of_acceptor() -> Allowance {
        Allowance::full(IN_VAIN_MAX, IN_VAIN_PER_S)
    }

    /// Never above what can be saved; whoever is far below nothing stays there, and does not wrap.
    pub(super) fn change(&self, by: i64) {
        let changed = |left: i64| Some(left.saturating_add(by).min(self.max));
        // Nothing else can be an error, and there is always a next value.
        let _before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }

    /// What has come again in this time.
    pub(super) fn refill(&self, time: Duration) {
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        self.change(micros.saturating_mul(self.per_s) / 1_000_000);
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) <= 0
    }

    fn spent(&self) -> i64 {
        self.max.saturating_sub(self.left.load(Ordering::Relaxed))
    }
}

/// One connection's account, known to its reader and to the calls on it.
#[derive(Debug)]
pub(super) struct Account {
    allowance: Allowance,
    has_asked: AtomicBool,
}

impl Default for Account {
    fn default() -> Account {
        Account { allowance: Allowance::full(BALANCE_MAX, TRICKLE_PER_S), has_asked: AtomicBool::new(false) }
    }
}

impl Account {
    /// So much came over the wire.
    pub(super) fn read(&self, bytes: usize) {
        self.allowance.change(-as_i64(bytes));
    }

    pub(super) fn call_began(&self) {
        self.allowance.change(-CALL_COSTS);
    }

    /// So much of a call's message was taken.
    pub(super) fn message_came(&self, bytes: usize) {
        self.has_asked.store(true, Ordering::Relaxed);
        self.allowance.change(EARNED_PER_BYTE.saturating_mul(as_i64(bytes)));
    }

    pub(super) fn message_is_whole(&self) {
        self.allowance.change(WHOLE_EARNS);
    }

    pub(super) fn refill(&self, time: Duration) {
        self.allowance.refill(time);
    }

    pub(super) fn is_overdrawn(&self) -> bool {
        self.allowance.is_spent()
    }

    /// What a connection cost in vain that ends now.
    pub(super) fn in_vain(&self) -> i64 {
        let connection = if self.has_asked.load(Ordering::Relaxed) { 0 } else { CONNECTION_COSTS };
        self.allowance.spent().saturating_add(connection)
    }
}

fn as_i64(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Account, Allowance, BALANCE_MAX, CONNECTION_COSTS, IN_VAIN_MAX, TRICKLE_PER_S};
    use std::time::Duration;

    /// A frame's own head.
    const FRAME: usize = 9;

    fn call(account: &Account, head: usize, message: usize, frames: usize) {
        account.read(head + message + frames * FRAME);
        account.call_began();
        account.message_came(message);
        account.message_is_whole();
    }

    #[test]
    fn who_asks_is_never_held_up_and_ends_in_nobodys_debt() {
        for (head, message, frames) in [(40, 5, 1), (150, 2_000, 1), (400, 1_500_000, 100), (2_500, 5, 1)] {
            let account = Account::default();
            for _ in 0..10_000 {
                call(&account, head, message, frames);
                assert!(!account.is_overdrawn(), "{head} {message} {frames}");
            }
            assert_eq!(account.in_vain(), 0, "{head} {message} {frames}");
        }
    }

    #[test]
    fn a_thousand_calls_may_begin_before_their_messages_come() {
        let account = Account::default();
        for _ in 0..1024 {
            account.read(3_000);
            account.call_began();
        }
        assert!(!account.is_overdrawn());
    }

    #[test]
    fn who_only_keeps_us_busy_is_held_up_soon_and_again() {
        for (bytes, calls) in [(FRAME, 0), (150, 1), (16 * 1024, 0)] {
            let account = Account::default();
            let send = |account: &Account| {
                account.read(bytes);
                (0..calls).for_each(|_| account.call_began());
            };
            let most = BALANCE_MAX / (bytes as i64 + calls * 1024) + 1;
            (0..most).for_each(|_| send(&account));
            assert!(account.is_overdrawn(), "{bytes} {calls}");
            account.refill(Duration::from_secs(1));
            assert!(!account.is_overdrawn());
            let again = TRICKLE_PER_S / (bytes as i64 + calls * 1024) + 1;
            (0..again).for_each(|_| send(&account));
            assert!(account.is_overdrawn(), "{bytes} {calls}");
            assert!(account.in_vain() >= BALANCE_MAX + CONNECTION_COSTS);
        }
    }

    #[test]
    fn a_message_of_tiny_frames_earns_less_than_it_costs() {
        let account = Account::default();
        let bytes = 1024 * 1024;
        for _ in 0..bytes {
            account.read(FRAME + 1);
            account.message_came(1);
        }
        assert!(account.is_overdrawn());
    }

    #[test]
    fn nothing_overflows_and_nothing_is_saved_beyond_the_most() {
        let account = Account::default();
        account.read(usize::MAX);
        account.read(usize::MAX);
        assert_eq!(account.in_vain(), i64::MAX);
        account.refill(Duration::MAX);
        assert!(account.is_overdrawn(), "nobody waits that long");
        let account = Account::default();
        account.message_came(usize::MAX);
        account.refill(Duration::MAX);
        account.read(usize::try_from(BALANCE_MAX).unwrap());
        assert!(account.is_overdrawn());
    }

    #[test]
    fn connections_in_vain_come_at_a_rate() {
        let acceptor = Allowance::of_acceptor();
        let in_vain = || {
            (0..).take_while(|_| {
                acceptor.change(-Account::default().in_vain());
                !acceptor.is_spent()
            })
        };
        assert_eq!(in_vain().count() as i64, IN_VAIN_MAX / CONNECTION_COSTS - 1);
        acceptor.refill(Duration::from_secs(1));
        assert_eq!(in_vain().count(), 255);
    }
}
