//! What a request meets because of load: the rate limits of its contract, then the shedder of its service.
//!
//! One `Load` a VM, for all configurations that the VM has or will have: an update in the middle of a storm forgets nothing.
//! `repeats` knows a second coming of an idempotency key.
//! INVARIANT: a service whose contract says nothing of load costs nothing and is never shed from. What is shed is shed
//! before any byte of it goes on.

mod repeats;
#[cfg(test)]
mod tests;
mod watch;

use crate::attempt::Attempt;
use crate::contract::{Matched, RateKey, RateLimit, ShedMode, ShedScope, Shedding};
use crate::limits::{RATES_TOLD_PERIOD_US, SERVICES_MAX};
use crate::rates::{RateKeyHash, Rates, Told};
use crate::reason::Reason;
use crate::shed::{Answer, Ask, CallerKey, Cause, Level, OperationKey, Pushback, Shedder, Ticket};
use repeats::Repeats;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use watch::Watch;

/// The load of one VM.
#[derive(Debug)]
pub struct Load {
    /// Random, so that nobody can choose keys that collide.
    seed: [u8; 16],
    /// The same for the keys of rate limits, of which the workers of a proxy speak to each other.
    rates_seed: [u8; 16],
    told_at_us: Option<u64>,
    has_told: bool,
    /// For the spread of what callers are told.
    random: u64,
    /// By name, because an update may number services anew. The names are the contract's, and the standard library's own
    /// choice of a hasher draws randomness, which a host may refuse.
    seats: HashMap<Box<str>, SeatIndex, BuildHasherDefault<DefaultHasher>>,
    seats_taken: Vec<Seat>,
    rates: Rates,
    repeats: Repeats,
    /// The latest time that was told: good enough for the end of a stream whose response was seen.
    now_us: u64,
}

/// One service.
#[derive(Debug, Default)]
struct Seat {
    shedder: Shedder,
    watch: Watch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SeatIndex(usize);

/// A request that its service has in work, until it is given back to `Load::gone`.
#[derive(Debug)]
pub struct InWork {
    seat: SeatIndex,
    ticket: Ticket,
    /// Its service's load is not only watched.
    is_enforced: bool,
}

impl InWork {
    /// Whether what is answered is worth reading: where much comes, a part says enough.
    pub const fn is_watched(&self) -> bool {
        self.ticket.is_watched()
    }

    pub const fn is_retry(&self) -> bool {
        self.ticket.is_retry()
    }

    pub const fn is_unanswered(&self) -> bool {
        !self.ticket.is_answered()
    }
}

/// Why a request is too much, and what its caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overload {
    pub reason: Reason,
    pub pushback: Pushback,
    pub scope: ShedScope,
    /// The rate limit of the contract that it is over.
    pub limit: Option<Box<str>>,
    pub is_retry: bool,
    /// Callers that speak gRPC are told in its own words.
    pub is_grpc: bool,
}

/// What load says of one request.
#[derive(Debug, Default)]
pub struct Weighed {
    pub in_work: Option<InWork>,
    /// It goes no further.
    pub shed: Option<Box<Overload>>,
    /// It would go no further if these were enforced.
    pub would_shed: Vec<Overload>,
}

/// What of a request its weight depends on.
#[derive(Debug, Clone, Copy)]
pub struct Weight<'a> {
    pub attempt: Attempt<'a>,
    pub is_grpc: bool,
}

impl Load {
    /// `seed` is random.
    pub fn new(seed: [u8; 16]) -> Load {
        let (low, _) = seed.as_chunks::<8>();
        Load {
            seed,
            rates_seed: seed,
            told_at_us: None,
            has_told: false,
            random: low.iter().fold(1, |random, eight| random ^ u64::from_le_bytes(*eight)).max(1),
            seats: HashMap::default(),
            seats_taken: Vec::new(),
            rates: Rates::default(),
            repeats: Repeats::default(),
            now_us: 0,
        }
    }

    /// Weighs a request of this operation. `caller` names who calls, as the proxy verified it; it is only asked where it
    /// matters, because asking costs as much as all the rest. `header` gives the first value of a header.
    pub fn weigh<'h>(
        &mut self,
        now_us: u64,
        matched: Matched<'_>,
        weight: Weight<'_>,
        mut caller: impl FnMut() -> Vec<u8>,
        header: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Weighed {
        let Some(shedding) = matched.service.shedding.as_deref() else { return Weighed::default() };
        self.now_us = now_us;
        let mut weighed = Weighed::default();
        let mut known = None;
        let seed = self.rates_seed;
        let mut caller = || *known.get_or_insert_with(|| hash(seed, b"caller", caller()));
        let is_retry = self.is_retry(now_us, matched, weight.attempt, &mut caller);
        let mut taken = Vec::new();
        for limit in &shedding.limits {
            if !limit.operations.is_empty() && !limit.operations.contains(&matched.operation.name) {
                continue;
            }
            let key = rate_key(seed, limit, matched, &mut caller, &header);
            let of = || RateKeyHash(hash(seed, b"shared", (&matched.service.name, &limit.name)));
            let wait_us = match self.rates.take(limit, of, key, now_us) {
                Ok(key) => {
                    taken.push((limit, key));
                    continue;
                }
                Err(wait_us) => wait_us,
            };
            let overload = Overload {
                reason: Reason::RateLimited,
                pushback: pushback_after(wait_us, next_random(&mut self.random)),
                scope: ShedScope::Service,
                limit: Some(limit.name.clone()),
                is_retry,
                is_grpc: weight.is_grpc,
            };
            match limit.mode {
                ShedMode::Enforce => {
                    weighed.would_shed.clear();
                    weighed.shed = Some(Box::new(overload));
                    break;
                }
                ShedMode::Shadow => weighed.would_shed.push(overload),
                ShedMode::Off => {}
            }
        }
        if shedding.mode != ShedMode::Off && weighed.shed.is_none() {
            self.admit(now_us, matched, shedding, weight, is_retry, &mut caller, &mut weighed);
        }
        if weighed.shed.is_some() {
            // What goes no further takes nothing of anybody's allowance.
            taken.iter().for_each(|(limit, key)| self.rates.give_back(limit, *key));
        }
        weighed
    }

    #[expect(clippy::too_many_arguments, reason = "one call, from `weigh`, whose parts these are")]
    fn admit(
        &mut self,
        now_us: u64,
        matched: Matched<'_>,
        shedding: &Shedding,
        weight: Weight<'_>,
        is_retry: bool,
        caller: &mut impl FnMut() -> u64,
        weighed: &mut Weighed,
    ) {
        let seat = self.seat(&matched.service.name);
        let Some(Seat { shedder, watch }) = self.seats_taken.get_mut(seat.0) else { return };
        let is_enforced = shedding.mode == ShedMode::Enforce;
        let ask = Ask {
            priority: matched.operation.priority,
            retry: is_retry,
            operation: OperationKey::named(&matched.operation.name),
            timeout_us: weight.attempt.timeout_us,
            concurrency_max: shedding.concurrency_max,
        };
        let caller = || CallerKey(caller());
        let (ticket, cause) = if is_enforced {
            match shedder.admit(now_us, &ask, caller) {
                Ok(ticket) => (Some(ticket), None),
                Err(cause) => (None, Some(cause)),
            }
        } else {
            let (ticket, cause) = shedder.admit_anyway(now_us, &ask, caller);
            (Some(ticket), cause)
        };
        weighed.in_work = ticket.map(|mut ticket| {
            if !watch.takes(now_us) {
                ticket.unwatch();
            }
            InWork { seat, ticket, is_enforced }
        });
        let Some(cause) = cause else { return };
        let overload = Overload {
            reason: reason_of(cause),
            pushback: shedder.pushback(next_random(&mut self.random)),
            scope: shedding.scope,
            limit: None,
            is_retry,
            is_grpc: weight.is_grpc,
        };
        if is_enforced {
            weighed.would_shed.clear();
            weighed.shed = Some(Box::new(overload));
        } else {
            weighed.would_shed.push(overload);
        }
    }

    /// The seat of a service. In a VM that has had more services than any contract names, the latest share the last one.
    fn seat(&mut self, service: &str) -> SeatIndex {
        if let Some(seat) = self.seats.get(service) {
            return *seat;
        }
        let taken = self.seats_taken.len();
        if taken >= SERVICES_MAX {
            return SeatIndex(taken.saturating_sub(1));
        }
        self.seats_taken.push(Seat::default());
        self.seats.insert(service.into(), SeatIndex(taken));
        SeatIndex(taken)
    }

    fn is_retry(
        &mut self,
        now_us: u64,
        matched: Matched<'_>,
        attempt: Attempt<'_>,
        caller: &mut impl FnMut() -> u64,
    ) -> bool {
        let came_before = attempt.idempotency_key.is_some_and(|key| {
            // Two callers may well have chosen the same one.
            let place = (&matched.service.name, &matched.operation.name);
            let key = hash(self.seed, b"repeat", (place, caller(), key));
            self.repeats.came_before(key, now_us)
        });
        attempt.is_retry() || came_before
    }

    /// The whole request goes on towards its service.
    pub fn sent(&mut self, now_us: u64, in_work: &mut InWork) {
        self.now_us = now_us;
        if let Some(seat) = self.seats_taken.get_mut(in_work.seat.0) {
            seat.shedder.sent(now_us, &mut in_work.ticket);
        }
    }

    /// A response came.
    pub fn answered(&mut self, now_us: u64, in_work: &mut InWork, answer: Answer) {
        self.now_us = now_us;
        if let Some(seat) = self.seats_taken.get_mut(in_work.seat.0) {
            seat.shedder.answered(now_us, &mut in_work.ticket, answer);
            if answer == Answer::Failed {
                seat.watch.failed(now_us);
            }
        }
    }

    /// A response came that nobody reads.
    pub fn answered_unseen(&mut self, in_work: &mut InWork) {
        if let Some(seat) = self.seats_taken.get_mut(in_work.seat.0) {
            seat.shedder.answered_unseen(&mut in_work.ticket);
        }
    }

    /// It was refused before its service saw all of it.
    pub fn refused(&mut self, mut in_work: InWork) {
        let now_us = self.now_us;
        self.answered(now_us, &mut in_work, Answer::Refused);
        self.gone(Some(now_us), in_work);
    }

    /// The stream is gone. `now_us`: needed where nobody answered it.
    pub fn gone(&mut self, now_us: Option<u64>, in_work: InWork) {
        let now_us = now_us.unwrap_or(self.now_us);
        self.now_us = now_us;
        if let Some(seat) = self.seats_taken.get_mut(in_work.seat.0) {
            seat.shedder.gone(now_us, in_work.ticket);
        }
    }

    /// The seed by which the workers of this proxy name the keys of rate limits; what was counted by another is forgotten.
    pub fn agree(&mut self, rates_seed: [u8; 16]) {
        if self.rates_seed != rates_seed {
            self.rates_seed = rates_seed;
            self.rates = Rates::default();
        }
    }

    /// The seed that this VM would have.
    pub const fn seed(&self) -> [u8; 16] {
        self.seed
    }

    /// What this worker let pass since it was asked last, for the others. `None`: not long ago, or nothing.
    pub fn tell(&mut self, now_us: u64) -> Option<Told> {
        let since_us = *self.told_at_us.get_or_insert(now_us);
        let span_us = now_us.abs_diff(since_us);
        if span_us < RATES_TOLD_PERIOD_US {
            return None;
        }
        self.told_at_us = Some(now_us);
        let told = self.rates.tell(now_us, span_us);
        // That there is nothing any more has to be said once: the others go on believing what they heard.
        let had_told = core::mem::replace(&mut self.has_told, !told.taken.is_empty());
        (had_told || self.has_told).then_some(told)
    }

    /// What the others let pass.
    pub fn hear(&mut self, others: &[Told]) {
        self.rates.hear(others.iter());
    }

    /// Whether the failure that was just told should go out with the word that a retry is of no use.
    pub fn tells_no_retry(&self, in_work: &InWork) -> bool {
        let seat = self.seats_taken.get(in_work.seat.0);
        in_work.is_enforced && seat.is_some_and(|seat| seat.shedder.tells_no_retry())
    }

    /// How each service of this VM is doing, for whoever watches.
    pub fn levels(&self) -> impl Iterator<Item = (&str, Level)> {
        self.seats
            .iter()
            .filter_map(|(name, seat)| Some((&**name, self.seats_taken.get(seat.0)?.shedder.level())))
    }
}

/// A caller without a name, by the address that its connection comes from, as the proxy writes it. Each connection has a
/// port of its own, and of the newer addresses each caller has as many as it likes within its network.
pub fn caller_at(address: &[u8]) -> Vec<u8> {
    let parsed = core::str::from_utf8(address).ok().and_then(|text| text.parse::<SocketAddr>().ok());
    match parsed.map(|address| address.ip().to_canonical()) {
        Some(IpAddr::V4(ip)) => ip.octets().to_vec(),
        Some(IpAddr::V6(ip)) => ip.segments().iter().take(4).flat_map(|part| part.to_be_bytes()).collect(),
        // Not an address: a socket's path, or nothing.
        None => address.to_vec(),
    }
}

/// What a response says of the service. `details` is the proxy's word on who answered; each is `None` where there is none.
pub fn answer_of(details: Option<&[u8]>, status: Option<&[u8]>, grpc_status: Option<&[u8]>) -> Answer {
    /// Codes by which a gRPC service says that it could not, and not that it would not.
    const GRPC_FAILURES: [&[u8]; 7] = [b"2", b"4", b"8", b"10", b"13", b"14", b"15"];
    match details {
        None | Some(b"" | b"via_upstream") => {}
        // The proxy gave up on the service, or never reached it.
        Some(details) if details.starts_with(b"upstream") || details.starts_with(b"response_timeout") => {
            return Answer::Failed;
        }
        Some(_) => return Answer::Refused,
    }
    let failed = matches!(status, None | Some([b'5', ..] | b"429"))
        || grpc_status.is_some_and(|status| GRPC_FAILURES.contains(&status));
    if failed { Answer::Failed } else { Answer::Good }
}

const fn reason_of(cause: Cause) -> Reason {
    match cause {
        Cause::Load => Reason::ShedLoad,
        Cause::Retry => Reason::ShedRetry,
        Cause::Share => Reason::ShedShare,
        Cause::Deadline => Reason::ShedDeadline,
    }
}

/// The allowance has room again after `wait_us`. Up to twice that is told, so that not all come back at once.
fn pushback_after(wait_us: Option<u64>, random: u32) -> Pushback {
    let Some(wait_us) = wait_us else { return Pushback::Never };
    let wait_ms = wait_us.div_ceil(1000);
    let spread_ms = wait_ms.saturating_mul(u64::from(random)) >> 32;
    Pushback::Later(u32::try_from(wait_ms.saturating_add(spread_ms)).unwrap_or(u32::MAX))
}

/// What this request's allowance of a limit belongs to.
fn rate_key<'h>(
    seed: [u8; 16],
    limit: &RateLimit,
    matched: Matched<'_>,
    caller: &mut impl FnMut() -> u64,
    header: &impl Fn(&str) -> Option<&'h [u8]>,
) -> RateKeyHash {
    let mut hasher = DefaultHasher::new();
    (seed, b"rate", &matched.service.name, &limit.name).hash(&mut hasher);
    for part in &limit.by {
        match part {
            RateKey::Caller => caller().hash(&mut hasher),
            RateKey::Operation => matched.operation.name.hash(&mut hasher),
            RateKey::Header(name) => header(name).hash(&mut hasher),
        }
    }
    RateKeyHash(hasher.finish())
}

/// SipHash behind a random prefix: whoever does not know the seed cannot aim.
fn hash(seed: [u8; 16], kind: &[u8; 6], value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, kind, value).hash(&mut hasher);
    hasher.finish()
}

/// The next of a sequence that need only be spread.
fn next_random(state: &mut u64) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    u32::try_from(*state >> 32).unwrap_or(u32::MAX)
}
