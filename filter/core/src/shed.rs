//! Sheds what a service cannot serve, before it costs anything, and first what would be missed least.
//!
//! One `Shedder` stands before one service in one worker of the proxy. It counts what is in the service, learns how long
//! operations take, and cuts the limit on what may be in there when answers take much longer or callers give up
//! (`limit`, `probe`, `bases`, `window`). Below the limit retries yield first: they live on a `budget`. Then sheddable
//! operations yield, then default ones, critical ones last, and within each class callers above their share first
//! (`shares`). `tuning` holds the numbers; the simulator of storms holds them to their bounds.
//!
//! Tried there and left out, because it did not help: cutting as soon as latency rises, though the limit was not reached
//! (bunches of arrivals at small healthy services); telling a queue from a slower service by what a cut does to
//! throughput (some dozen answers are not enough, and the base of latency drifted away within seconds); shares across
//! classes (default operations yielded to sheddable ones of other callers); a budget for arriving retries alone (callers
//! that do not say which attempt they make took as many as they liked).
//! INVARIANT: time is passed in and may jump either way; each call costs O(1), and memory is bounded. Whoever sends no more
//! than the beginning of requests takes no more than a small part of the limit.

pub use ask::{Ask, CallerKey, Cause, Level, OperationKey, Pushback};

use crate::contract::Priority;
use bases::{Bases, Learning};
use budget::Budget;
use clock::{Clock, Moment};
use limit::Limit;
use shares::Shares;
use tuning::{
    ARRIVING_PART, DECAY_US, DEEP_SHED_MIN, GHOST_BASES, GIVEN_UP_BASES, GIVEN_UP_BASES_PRESSED,
    LATER_MS_MIN, LATER_MS_SPREAD, ROOM_CRITICAL, ROOM_DEFAULT, ROOM_RETRY, ROOM_SHEDDABLE, WINDOW_US,
};
use window::{Due, Window};

mod ask;
mod bases;
mod budget;
mod clock;
mod limit;
mod probe;
mod shares;
#[cfg(test)]
mod tests;
mod tuning;
mod window;

/// A request that was let in. The stream keeps it, and gives it back at its end.
#[derive(Debug)]
#[must_use = "a request that is let in counts until it is told to be gone"]
pub struct Ticket {
    operation: OperationKey,
    admitted: Moment,
    sent: Option<Moment>,
    retry: bool,
    /// Its answer will be looked at.
    watched: bool,
    answered: bool,
}

impl Ticket {
    /// Its answer will not be looked at: what comes of it is told by `answered_unseen`.
    pub const fn unwatch(&mut self) {
        self.watched = false;
    }

    pub const fn is_watched(&self) -> bool {
        self.watched
    }

    pub const fn is_retry(&self) -> bool {
        self.retry
    }

    pub const fn is_answered(&self) -> bool {
        self.answered
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Good,
    /// The service worked on it, and failed.
    Failed,
    /// Somebody before the service said no: nothing was worked on.
    Refused,
}

/// What a latency was measured of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sample {
    Good,
    Failed,
    /// It would have taken at least as long.
    GivenUp,
}

/// What keeps one service, in one worker of the proxy, from more than it can serve.
#[derive(Debug, Default)]
pub struct Shedder {
    clock: Clock,
    /// Their whole request went to the service, and no answer came yet.
    in_flight: u32,
    /// Let in, and still being sent: nobody works on them.
    arriving: u32,
    ghosts: f64,
    /// How long answers take now, over all operations: how long a ghost stays.
    latency_us: f64,
    bases: Bases,
    window: Window,
    limit: Limit,
    budget: Budget,
    shares: Shares,
    /// Of about the last second.
    served: f64,
    shed: f64,
    /// Of the response that was looked at last.
    failed_last: bool,
    turned: Moment,
    faded: Moment,
}

impl Shedder {
    /// Whether a request may go to the service now. `caller` is only asked where there is not enough for all, and shares
    /// count: to find it out may cost more than all the rest.
    pub fn admit(
        &mut self,
        now_us: u64,
        ask: &Ask,
        caller: impl FnOnce() -> CallerKey,
    ) -> Result<Ticket, Cause> {
        let now = self.turn(now_us);
        let caller = self.shares_count(now, ask).then(caller);
        match self.judge(now, ask, caller) {
            None => Ok(self.let_in(now, ask, caller)),
            Some(cause) => {
                self.shed += 1.0;
                Err(cause)
            }
        }
    }

    /// Lets a request in whatever is said against it, for a service whose load is only watched.
    pub fn admit_anyway(
        &mut self,
        now_us: u64,
        ask: &Ask,
        caller: impl FnOnce() -> CallerKey,
    ) -> (Ticket, Option<Cause>) {
        let now = self.turn(now_us);
        let caller = self.shares_count(now, ask).then(caller);
        let cause = self.judge(now, ask, caller);
        (self.let_in(now, ask, caller), cause)
    }

    /// The whole request went to the service: its latency counts from here. Without this call the service is taken not
    /// to have begun when the caller gives up.
    pub fn sent(&mut self, now_us: u64, ticket: &mut Ticket) {
        let now = self.turn(now_us);
        if ticket.sent.is_none() && !ticket.answered {
            self.leave(ticket);
            self.in_flight = self.in_flight.saturating_add(1);
        }
        ticket.sent.get_or_insert(now);
    }

    /// It is not counted any more where it was.
    fn leave(&mut self, ticket: &Ticket) {
        let count = if ticket.sent.is_some() { &mut self.in_flight } else { &mut self.arriving };
        *count = count.saturating_sub(1);
    }

    /// The head of its response came. From here on it is not counted: how long a body flows says nothing of load.
    pub fn answered(&mut self, now_us: u64, ticket: &mut Ticket, answer: Answer) {
        let now = self.turn(now_us);
        if ticket.answered {
            return;
        }
        ticket.answered = true;
        self.leave(ticket);
        self.served += 1.0;
        if answer == Answer::Refused && ticket.retry {
            self.budget.give_back();
        }
        if answer != Answer::Refused {
            self.failed_last = answer == Answer::Failed;
            self.window.finished();
            self.budget.answered(answer == Answer::Failed);
        }
        match answer {
            Answer::Good => {
                if !ticket.retry {
                    self.budget.deposit();
                }
                self.sample(now, ticket, Sample::Good);
            }
            // A service may fail quickly, so only failures that took long say anything of its queue.
            Answer::Failed => {
                self.budget.failed();
                if self.is_late(ticket, 1.0) {
                    self.sample(now, ticket, Sample::Failed);
                }
            }
            Answer::Refused => {}
        }
    }

    /// A response came that nobody looked at: it is taken for what the last one was that somebody did look at.
    pub fn answered_unseen(&mut self, ticket: &mut Ticket) {
        if ticket.answered {
            return;
        }
        ticket.answered = true;
        self.leave(ticket);
        self.served += 1.0;
        self.window.finished();
        if !ticket.retry && !self.failed_last {
            self.budget.deposit();
        }
    }

    /// The stream ended. One that was not answered was given up, and its work goes on in the service for a while.
    pub fn gone(&mut self, now_us: u64, ticket: Ticket) {
        let now = self.turn(now_us);
        if ticket.answered {
            return;
        }
        self.leave(&ticket);
        // Who leaves at once left before the server said yes, and the service saw nothing of it.
        if ticket.sent.is_none() || !self.is_late(&ticket, GHOST_BASES) {
            return;
        }
        self.ghosts += 1.0;
        let bases = if self.window.is_pressed() { GIVEN_UP_BASES_PRESSED } else { GIVEN_UP_BASES };
        // Where a part of the answers is looked at, only as large a part of those that gave up may be held against them.
        if ticket.watched && self.is_late(&ticket, bases * self.limit.slowness()) {
            self.sample(now, &ticket, Sample::GivenUp);
        }
    }

    /// Whether the failure that was told last should go out marked, so that callers do not try again: ask right after
    /// `answered`.
    pub fn tells_no_retry(&self) -> bool {
        self.budget.marks()
    }

    /// What to tell a caller that was shed. `random` spreads them.
    pub fn pushback(&self, random: u32) -> Pushback {
        if self.shed > self.served.max(DEEP_SHED_MIN) {
            return Pushback::Never;
        }
        let spread = u64::from(random).wrapping_mul(u64::from(LATER_MS_SPREAD)) >> 32;
        Pushback::Later(LATER_MS_MIN.saturating_add(spread as u32))
    }

    pub fn level(&self) -> Level {
        Level {
            limit: self.limit.value() as u32,
            in_flight: self.in_flight.saturating_add(self.arriving),
            ghosts: self.ghosts as u32,
            retry_tokens: self.budget.tokens(),
            stress: self.limit.stress(),
            slowness: self.limit.slowness(),
            share: self.shares.level(),
        }
    }

    /// What is in the service, beside what may be.
    fn load(&self, limit: f64) -> f64 {
        let arriving = f64::from(self.arriving).min(limit * ARRIVING_PART);
        f64::from(self.in_flight) + arriving + self.ghosts
    }

    /// Whether there is room for one more, up to this part of the limit.
    fn fits(&self, now: Moment, ask: &Ask, part: f64) -> bool {
        let limit = match ask.priority {
            Priority::Critical => self.limit.critical(now),
            Priority::Default | Priority::Sheddable => self.limit.value(),
        };
        let limit = limit * part;
        let max = ask.concurrency_max.map_or(f64::INFINITY, |max| f64::from(max) * part.min(1.0));
        let limit = limit.min(max).max(1.0);
        self.load(limit) < limit
    }

    fn shares_count(&self, now: Moment, ask: &Ask) -> bool {
        !self.fits(now, ask, ROOM_SHEDDABLE.0)
    }

    /// `caller`: `None` while shares do not count.
    fn judge(&mut self, now: Moment, ask: &Ask, caller: Option<CallerKey>) -> Option<Cause> {
        let load = self.load(self.limit.value());
        // Above the limit, what is in there came before the limit was cut, and says nothing of it.
        if load <= self.limit.value() * ROOM_CRITICAL.1 + 1.0 {
            self.window.asked(now, load);
        }
        if ask.concurrency_max == Some(0) {
            return Some(Cause::Load);
        }
        if ask.retry && !self.budget.allows() {
            return Some(Cause::Retry);
        }
        let above_share = caller.is_some_and(|caller| self.shares.asked(caller));
        let (room_above, room) = match ask.priority {
            Priority::Sheddable => ROOM_SHEDDABLE,
            Priority::Default => ROOM_DEFAULT,
            Priority::Critical => ROOM_CRITICAL,
        };
        if !self.fits(now, ask, room) {
            self.window.pressed();
            return Some(if ask.retry { Cause::Retry } else { Cause::Load });
        }
        if ask.retry && !self.fits(now, ask, ROOM_RETRY) {
            return Some(Cause::Retry);
        }
        if above_share && !self.fits(now, ask, room_above) {
            self.window.pressed();
            return Some(Cause::Share);
        }
        (self.is_hopeless(now, ask)).then_some(Cause::Deadline)
    }

    /// Even the quickest answer of the last second would be too late.
    fn is_hopeless(&self, now: Moment, ask: &Ask) -> bool {
        let known = || Some((ask.timeout_us?, self.bases.us(ask.operation)?, self.limit.quickest(now)?));
        known().is_some_and(|(timeout_us, base_us, quickest)| {
            let bases = Bases::longer_us(base_us, quickest);
            (timeout_us as f64) < bases
        })
    }

    fn let_in(&mut self, now: Moment, ask: &Ask, caller: Option<CallerKey>) -> Ticket {
        if let Some(caller) = caller {
            self.shares.admitted(caller);
        }
        self.arriving = self.arriving.saturating_add(1);
        if ask.retry {
            self.budget.withdraw();
        }
        Ticket {
            operation: ask.operation,
            admitted: now,
            sent: None,
            retry: ask.retry,
            watched: true,
            answered: false,
        }
    }

    /// Whether a request has taken more than so many bases of its operation until now.
    fn is_late(&self, ticket: &Ticket, bases: f64) -> bool {
        let took_us = self.clock.measured_us(ticket.sent.unwrap_or(ticket.admitted));
        let base_us = self.bases.us(ticket.operation);
        took_us
            .zip(base_us)
            .is_some_and(|(took_us, base_us)| took_us as f64 > Bases::longer_us(base_us, bases))
    }

    /// Regards how long a request took, or how long its caller waited in vain.
    fn sample(&mut self, now: Moment, ticket: &Ticket, sample: Sample) {
        let Some(took_us) = self.clock.measured_us(ticket.sent.unwrap_or(ticket.admitted)) else { return };
        let took_us = took_us as f64;
        self.latency_us += (took_us - self.latency_us) / 16.0;
        // Only of good answers it is known how long they take.
        let learning = if sample == Sample::Good { self.limit.learning() } else { Learning::Not };
        let ratio = self.bases.ratio(ticket.operation, took_us, self.limit.delay(), learning);
        if !self.limit.concerns(ticket.admitted) {
            return;
        }
        match sample {
            Sample::Good | Sample::Failed => self.window.answered(ratio),
            Sample::GivenUp => self.window.given_up(ratio),
        }
        self.close_window(now);
    }

    /// Brings everything that time changes to now.
    fn turn(&mut self, now_us: u64) -> Moment {
        let now = self.clock.at(now_us);
        let step_us = now.since_us(self.turned) as f64;
        self.turned = now;
        if self.ghosts > 0.0 {
            self.ghosts *= (1.0 - step_us / self.latency_us.max(1.0)).max(0.0);
        }
        let passed_us = now.since_us(self.faded);
        if passed_us >= WINDOW_US {
            let keep = DECAY_US / (DECAY_US + passed_us as f64);
            self.served *= keep;
            self.shed *= keep;
            self.shares.fade(keep);
            self.faded = now;
        }
        now
    }

    fn close_window(&mut self, now: Moment) {
        match self.window.due(now, self.latency_us as u64) {
            Due::NotYet => return,
            Due::Seen(seen) => {
                if let Some(by) = self.limit.close(now, &seen) {
                    self.bases.scale(by);
                }
            }
            Due::Stale => {}
        }
        self.window = Window::new(now, self.limit.was_cut(now));
    }
}
