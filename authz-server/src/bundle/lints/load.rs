//! Lints of what is said of load: rules that refuse everything, that never refuse anything, or that callers can dodge.

use super::places::Places;
use super::{Found, Lint};
use crate::bundle::landscape::Landscape;
use crate::bundle::shedding::{GlobalLimit, LimitMode};
use palisade_core::canary;
use palisade_core::contract::{Priority, RateKey, Service, ShedMode};

/// What lints ask of a limit of either scope.
struct Limit<'b> {
    name: &'b str,
    global: bool,
    enforced: bool,
    requests: u64,
    per_s: u64,
    burst: u64,
    by: &'b [RateKey],
    operations: Vec<&'b str>,
}

pub(super) fn look(landscape: &Landscape<'_>, places: &Places<'_>, found: &mut Found) {
    let bundle = landscape.bundle;
    let services = bundle.contract.services().iter().filter(|service| *service.name != *canary::SERVICE);
    for service in services {
        let settings = bundle.settings(&service.name);
        let global = settings.map(|settings| settings.global_limits.as_slice()).unwrap_or_default();
        let limits = limits(service, global);
        nothing_passes(service, &limits, places, found);
        for limit in &limits {
            never_bites(service, limit, &limits, places, found);
            dodged(service, limit, &limits, places, found);
            gone_when_open(service, limit, places, found);
        }
        priorities(service, places, found);
    }
}

fn limits<'b>(service: &'b Service, global: &'b [GlobalLimit]) -> Vec<Limit<'b>> {
    let of_proxy = service.shedding.iter().flat_map(|shedding| &shedding.limits).map(|limit| Limit {
        name: &limit.name,
        global: false,
        enforced: limit.mode == ShedMode::Enforce,
        requests: u64::from(limit.requests),
        per_s: u64::from(limit.per_ms / 1000),
        burst: u64::from(limit.burst),
        by: &limit.by,
        operations: limit.operations.iter().map(AsRef::as_ref).collect(),
    });
    let global = global.iter().map(|limit| Limit {
        name: &limit.name,
        global: true,
        enforced: limit.mode == LimitMode::Enforce,
        requests: u64::from(limit.rate.requests),
        per_s: u64::from(limit.rate.per.seconds()),
        burst: u64::from(limit.rate.requests),
        by: &limit.by,
        operations: limit.operations.iter().map(String::as_str).collect(),
    });
    of_proxy.chain(global).collect()
}

fn nothing_passes(service: &Service, limits: &[Limit<'_>], places: &Places<'_>, found: &mut Found) {
    let name = &service.name;
    for limit in limits.iter().filter(|limit| limit.requests == 0 && limit.enforced) {
        let message = format!("limit `{}` of `{name}` lets nothing pass", limit.name);
        let help = "a rate of zero is a switch: take the limit away when it has served, or give it a rate";
        found.warn(
            Lint::NothingPasses,
            &subject(service, limit),
            places.limit(name, limit.name),
            message,
            help,
        );
    }
    let shedding = service.shedding.as_deref();
    if shedding
        .is_some_and(|shedding| shedding.mode == ShedMode::Enforce && shedding.concurrency_max == Some(0))
    {
        let message = format!("`concurrency_max: 0` lets nothing pass to `{name}`");
        let help =
            "leave it away for what the service's latency says, or write how many it can work on at once";
        found.warn(Lint::NothingPasses, name, places.load(name, "concurrency_max"), message, help);
    }
}

/// A limit whose every refusal another one would have made before.
fn never_bites(
    service: &Service,
    limit: &Limit<'_>,
    all: &[Limit<'_>],
    places: &Places<'_>,
    found: &mut Found,
) {
    let stricter = all.iter().enumerate().find(|(at, other)| {
        // Of two that are the same, the first one counts.
        let is_same = all.iter().position(|known| known.name == limit.name).is_some_and(|place| place < *at)
            && other.covers(limit)
            && limit.covers(other);
        other.name != limit.name && other.covers(limit) && !is_same
    });
    if let Some((_, stricter)) = stricter {
        let (name, limit_name) = (&service.name, limit.name);
        let message = format!(
            "limit `{limit_name}` of `{name}` never refuses anything: `{}` is stricter for all that it counts",
            stricter.name
        );
        let help = "take one of them away, or let this one count what the other does not tell apart";
        found.warn(
            Lint::LimitNeverBites,
            &subject(service, limit),
            places.limit(name, limit_name),
            message,
            help,
        );
    }
}

impl Limit<'_> {
    /// Whether each request that `other` counts is counted by this one, too.
    fn counts_all_of(&self, other: &Limit<'_>) -> bool {
        self.operations.is_empty()
            || (!other.operations.is_empty()
                && other.operations.iter().all(|name| self.operations.contains(name)))
    }

    /// Whether each request that `other` would refuse is refused by this one, too.
    fn covers(&self, other: &Limit<'_>) -> bool {
        self.enforced
            && self.global == other.global
            && self.counts_all_of(other)
            && self.by.iter().all(|key| other.by.contains(key))
            && self.burst <= other.burst
            // Windows of different lengths cannot be compared by their rates alone.
            && (!self.global || self.per_s == other.per_s)
            && self.requests.saturating_mul(other.per_s) <= other.requests.saturating_mul(self.per_s)
    }
}

/// Whoever writes the header chooses the allowance.
fn dodged(service: &Service, limit: &Limit<'_>, all: &[Limit<'_>], places: &Places<'_>, found: &mut Found) {
    let is_header = |key: &RateKey| matches!(key, RateKey::Header(_));
    let Some(RateKey::Header(header)) = limit.by.iter().find(|key| is_header(key)) else { return };
    let held_otherwise = all
        .iter()
        .any(|other| other.enforced && other.counts_all_of(limit) && !other.by.iter().any(is_header));
    if !held_otherwise {
        let (name, limit_name) = (&service.name, limit.name);
        let message =
            format!("callers choose their own allowance of limit `{limit_name}` of `{name}` by `{header}`");
        let help = "whoever sends another value each time is never refused: write a limit beside it that counts by `caller` and by no header";
        found.warn(
            Lint::LimitCanBeDodged,
            &subject(service, limit),
            places.limit(name, limit_name),
            message,
            help,
        );
    }
}

/// Only the server tells of which operation a call is, and it cannot of those that pass because it is away.
fn gone_when_open(service: &Service, limit: &Limit<'_>, places: &Places<'_>, found: &mut Found) {
    let counts = |name: &str| limit.operations.contains(&name);
    let mut open =
        service.operations.iter().filter(|operation| operation.fails_open && counts(&operation.name));
    let (true, true, Some(open)) = (limit.global, limit.enforced, open.next()) else { return };
    let (name, limit_name, operation) = (&service.name, limit.name, &open.name);
    let message = format!(
        "limit `{limit_name}` of `{name}` does not count `{operation}` while the server is away: its class `{}` is open",
        open.class.as_str()
    );
    let help = "let it count all operations by leaving `operations` away, write one of `scope: proxy` beside it, which holds whatever fails, or let the class be closed";
    let place = places.limit(name, limit_name);
    found.warn(Lint::LimitGoneWhenOpen, &subject(service, limit), place, message, help);
}

fn priorities(service: &Service, places: &Places<'_>, found: &mut Found) {
    let name = &service.name;
    let mut stated =
        service.operations.iter().filter(|operation| operation.priority != Priority::Default).peekable();
    let Some(first) = stated.peek() else { return };
    let place = || {
        let rule = places.rule(name, &first.name, "priority");
        rule.unwrap_or_else(|| places.service(name))
    };
    let sheds = service.shedding.as_ref().is_some_and(|shedding| shedding.mode != ShedMode::Off);
    if !sheds {
        let message = format!("priorities of `{name}` count for nothing: the service sheds no load");
        let help = "write `shedding: {mode: shadow}` to see what would be shed, or `enforce`";
        found.warn(Lint::PriorityForNothing, name, place(), message, help);
    } else if service.operations.iter().all(|operation| operation.priority == first.priority) {
        let message =
            format!("all operations of `{name}` are `{}`, so that none goes first", first.priority.as_str());
        let help = "priorities compare operations of one service: leave those away that can wait";
        found.warn(Lint::PriorityForNothing, name, place(), message, help);
    }
}

fn subject(service: &Service, limit: &Limit<'_>) -> String {
    format!("{}.{}", service.name, limit.name)
}
