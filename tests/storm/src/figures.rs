//! What a run came to.
//!
//! INVARIANT: a request is good if its user had a good answer within the user's time, whatever the service thinks of it.

use palisade_core::contract::Priority;
use palisade_core::shed::Level;

/// One request of a user, with all that it set off.
#[derive(Debug, Clone, Copy)]
pub struct User {
    pub at_us: u64,
    /// Which of the scene's callers it is of.
    pub kind: usize,
    pub priority: Priority,
    pub is_good: bool,
    /// Tries of the user's own client.
    pub attempts: u32,
    /// Tries that reached what stands before the last service, whoever made them.
    pub reached: u32,
    /// How often the last service did the work.
    pub executions: u32,
    /// Tries that were refused, at any service.
    pub refused: u32,
}

impl User {
    pub fn new(at_us: u64, kind: usize, priority: Priority) -> User {
        let (attempts, reached, executions, refused) = (0, 0, 0, 0);
        User { at_us, kind, priority, is_good: false, attempts, reached, executions, refused }
    }

    pub(crate) fn tried(&mut self, service: usize, last: usize) {
        self.attempts += u32::from(service == 0);
        self.reached += u32::from(service == last);
    }
}

/// The last service at one moment.
#[derive(Debug, Clone)]
pub struct Look {
    pub at_us: u64,
    pub queued: usize,
    /// Of our shedders, by worker.
    pub levels: Vec<Level>,
}

/// A run that is over.
#[derive(Debug)]
pub struct Played {
    pub users: Vec<User>,
    pub looks: Vec<Look>,
    pub trigger_us: (u64, u64),
    pub end_us: u64,
}

/// The figures of one run.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Parts of requests that were good, by the phase in which they came.
    pub before: f64,
    pub during: f64,
    /// From two seconds after the trigger on.
    pub after: f64,
    /// From the end of the trigger to where five seconds are as good as before, nearly. `None`: not to the end.
    pub recovery_s: Option<f64>,
    /// Of the user's own client, a request, over the whole run.
    pub attempts: f64,
    /// During the trigger.
    pub reached: f64,
    pub executions: f64,
    /// Of the whole run: work that was done again, a request.
    pub duplicates: f64,
    /// Before the trigger: refused tries, of all.
    pub false_sheds: f64,
}

/// A new proxy finds its way in the first moments; health is measured from here.
const SETTLED_US: u64 = 2_000_000;
const RECOVERED_WINDOW_US: u64 = 5_000_000;
const RECOVERED_STEP_US: u64 = 250_000;
const RECOVERED: f64 = 0.95;

impl Played {
    pub fn figures(&self) -> Figures {
        let (on_us, off_us) = self.trigger_us;
        let all = |_: &User| true;
        // Who came last before the trigger still feels it.
        let health_us = (SETTLED_US, on_us.saturating_sub(SETTLED_US));
        let before = self.good(health_us.0, health_us.1, all);
        Figures {
            before,
            during: self.good(on_us, off_us, all),
            after: self.good(off_us + 2_000_000, self.end_us, all),
            recovery_s: self.recovery_s(before),
            attempts: self.mean(0, self.end_us, |user| f64::from(user.attempts)),
            reached: self.mean(on_us, off_us, |user| f64::from(user.reached)),
            executions: self.mean(on_us, off_us, |user| f64::from(user.executions)),
            duplicates: self.mean(0, self.end_us, |user| f64::from(user.executions.saturating_sub(1))),
            false_sheds: self.mean(health_us.0, health_us.1, |user| f64::from(user.refused))
                / self.mean(health_us.0, health_us.1, |user| f64::from(user.attempts)).max(1.0),
        }
    }

    /// The part of such requests that were good.
    pub fn good(&self, from_us: u64, to_us: u64, counts: impl Fn(&User) -> bool) -> f64 {
        let (mut all, mut good) = (0_u32, 0_u32);
        for user in self.between(from_us, to_us).iter().filter(|user| counts(user)) {
            all += 1;
            good += u32::from(user.is_good);
        }
        f64::from(good) / f64::from(all.max(1))
    }

    /// The part of such requests during the trigger that were good.
    pub fn good_during(&self, counts: impl Fn(&User) -> bool) -> f64 {
        self.good(self.trigger_us.0, self.trigger_us.1, counts)
    }

    fn mean(&self, from_us: u64, to_us: u64, of: impl Fn(&User) -> f64) -> f64 {
        let users = self.between(from_us, to_us);
        users.iter().map(of).sum::<f64>() / (users.len() as f64).max(1.0)
    }

    /// Users came in the order of time.
    fn between(&self, from_us: u64, to_us: u64) -> &[User] {
        let from = self.users.partition_point(|user| user.at_us < from_us);
        let to = self.users.partition_point(|user| user.at_us < to_us);
        &self.users[from..to]
    }

    fn recovery_s(&self, before: f64) -> Option<f64> {
        let mut at_us = self.trigger_us.1;
        while at_us + RECOVERED_WINDOW_US <= self.end_us {
            if self.good(at_us, at_us + RECOVERED_WINDOW_US, |_| true) >= RECOVERED * before {
                return Some((at_us - self.trigger_us.1) as f64 / 1e6);
            }
            at_us += RECOVERED_STEP_US;
        }
        None
    }
}
