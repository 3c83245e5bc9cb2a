//! Changes of what is said of load: shedding, limits, priorities.
//!
//! INVARIANT: every part of a limit and of shedding is compared, so that none changes without a word.

use super::{Area, Direction, Found, Kind, Said};
use crate::bundle::shedding::{GlobalLimit, LimitMode};
use crate::bundle::{Bundle, ServiceSettings};
use palisade_core::contract::{Operation, RateKey, RateLimit, Service, ShedMode, ShedScope, Shedding};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Why a loosened part of what is enforced is worth a second look.
const MORE_PASS: &str = "more requests reach the service than before";

/// A limit of either scope.
#[derive(Debug)]
struct Limit<'b> {
    requests: u64,
    per_s: u64,
    burst: Option<u32>,
    by: &'b [RateKey],
    operations: Vec<&'b str>,
    is_global: bool,
    is_enforced: bool,
}

pub(super) fn compare(before: &Bundle, after: &Bundle, found: &mut Found) {
    for (name, old, new) in services_of_both(before, after) {
        let nothing = Shedding::default();
        let shedding = |service: &Service| service.shedding.as_deref().unwrap_or(&nothing).clone();
        compare_shedding(found, name, &shedding(old.0), &shedding(new.0));
        compare_limits(found, name, &limits(old), &limits(new));
    }
}

/// Services that are in both bundles, by name: their contracts and settings.
fn services_of_both<'b>(
    before: &'b Bundle,
    after: &'b Bundle,
) -> impl Iterator<Item = (&'b str, (&'b Service, &'b ServiceSettings), (&'b Service, &'b ServiceSettings))> {
    let of = |bundle: &'b Bundle, name: &str| {
        let service = bundle.contract.services().iter().find(|service| *service.name == *name)?;
        Some((service, bundle.settings(name)?))
    };
    after.services.iter().filter_map(move |settings| {
        let name = settings.name.as_str();
        Some((name, of(before, name)?, of(after, name)?))
    })
}

fn compare_shedding(found: &mut Found, name: &str, old: &Shedding, new: &Shedding) {
    let is_enforced = |shedding: &Shedding| shedding.mode == ShedMode::Enforce;
    if let Some(said) = found.part(Area::Services, name, "shedding.mode", mode(old.mode), mode(new.mode)) {
        let changed = is_enforced(new).cmp(&is_enforced(old));
        let danger = "more requests than the service can serve reach it from now on";
        said.direction(direction(changed.reverse())).danger((changed == Ordering::Less).then_some(danger));
    }
    let scope = |scope| match scope {
        ShedScope::Service => "service",
        ShedScope::Replica => "replica",
    };
    if let Some(said) = found.part(Area::Services, name, "shedding.scope", scope(old.scope), scope(new.scope))
    {
        let danger = (new.scope == ShedScope::Replica)
            .then_some("callers' proxies may try again what is refused, and so add to the load");
        said.danger(danger);
    }
    let shown =
        |maximum: Option<u32>| maximum.map_or_else(|| "none".to_owned(), |maximum| maximum.to_string());
    let (was, is) = (old.concurrency_max, new.concurrency_max);
    let said = found.part(Area::Services, name, "shedding.concurrency_max", shown(was), shown(is));
    if let Some(said) = said {
        let most = |maximum: Option<u32>| maximum.unwrap_or(u32::MAX);
        let both = is_enforced(old) && is_enforced(new);
        tell(said, both, most(is).cmp(&most(was)), MORE_PASS);
    }
}

/// Says which way a part of what is enforced on both sides went: `Greater` lets more pass. In shadow nothing is held back,
/// neither more nor less.
fn tell(said: Said<'_>, is_enforced: bool, changed: Ordering, why: &str) {
    if is_enforced {
        said.direction(direction(changed)).danger((changed == Ordering::Greater).then_some(why));
    }
}

fn compare_limits(
    found: &mut Found,
    service: &str,
    old: &BTreeMap<&str, Limit<'_>>,
    new: &BTreeMap<&str, Limit<'_>>,
) {
    let subject = |name: &str| format!("{service}, limit {name}");
    for (name, limit) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
        let danger = limit.is_enforced.then_some("nobody counts these requests from now on");
        let said = found.change(Area::Services, Kind::Removed, subject(name)).before(limit.to_string());
        said.direction(limit.is_enforced.then_some(Direction::Loosened)).danger(danger);
    }
    for (name, limit) in new {
        match old.get(name) {
            Some(known) => compare_limit(found, &subject(name), known, limit),
            None => {
                let said = found.change(Area::Services, Kind::Added, subject(name)).after(limit.to_string());
                said.direction(limit.is_enforced.then_some(Direction::Tightened));
            }
        }
    }
}

fn compare_limit(found: &mut Found, name: &str, old: &Limit<'_>, new: &Limit<'_>) {
    let part = |found: &mut Found, what: &str, text: fn(&Limit<'_>) -> String, way: (Ordering, &str)| {
        if let Some(said) = found.part(Area::Services, name, what, text(old), text(new)) {
            tell(said, old.is_enforced && new.is_enforced, way.0, way.1);
        }
    };
    rate(found, name, old, new);
    let burst = match (old.burst, new.burst) {
        (Some(was), Some(is)) => is.cmp(&was),
        _ => Ordering::Equal,
    };
    part(found, "burst", |limit| limit.burst(), (burst, MORE_PASS));
    let more_allowances = "callers that shared an allowance have one each from now on";
    part(found, "by", |limit| keys(limit.by), (part_of(&keys_of(old), &keys_of(new)), more_allowances));
    // A limit of fewer operations lets more pass.
    let counted = part_of(&operations_of(new), &operations_of(old));
    let counted = match (old.operations.is_empty(), new.operations.is_empty()) {
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ => counted,
    };
    let uncounted = "nobody counts some of these requests from now on";
    part(found, "operations", |limit| names(&limit.operations), (counted, uncounted));
    if let Some(said) = found.part(Area::Services, name, "scope", old.scope(), new.scope()) {
        // A limiter that failed closed is no longer asked either, so that neither is stricter for sure.
        let danger = "each proxy counts for itself from now on: several let several times as much pass";
        let is_marked = !new.is_global && old.is_enforced && new.is_enforced;
        said.danger(is_marked.then_some(danger));
    }
    if let Some(said) = found.part(Area::Services, name, "mode", old.mode(), new.mode()) {
        let danger = "what is beyond the limit reaches the service";
        let changed = old.is_enforced.cmp(&new.is_enforced);
        said.direction(direction(changed)).danger((changed == Ordering::Greater).then_some(danger));
    }
}

/// Limiters count in windows, so that of a global limit both say how much passes: the rate in the long run, and the
/// requests of one window at once.
fn rate(found: &mut Found, name: &str, old: &Limit<'_>, new: &Limit<'_>) {
    let Some(said) = found.part(Area::Services, name, "rate", old.rate(), new.rate()) else { return };
    if !(old.is_enforced && new.is_enforced) {
        return;
    }
    let in_the_long_run = new.requests.saturating_mul(old.per_s).cmp(&old.requests.saturating_mul(new.per_s));
    let at_once = match (old.is_global, new.is_global) {
        (true, true) => new.requests.cmp(&old.requests),
        (false, false) => Ordering::Equal,
        // A bucket and a window let pass what cannot be compared.
        (true, false) | (false, true) => return,
    };
    match (in_the_long_run, at_once) {
        (Ordering::Less, Ordering::Greater) => {
            said.danger(Some("more requests can come at once, though fewer in the long run"));
        }
        (Ordering::Greater, Ordering::Less) => {
            said.danger(Some("more requests pass in the long run, though fewer at once"));
        }
        (changed, Ordering::Equal) | (Ordering::Equal, changed) | (changed, _) => {
            tell(said, true, changed, MORE_PASS);
        }
    }
}

/// `Greater` where the second set has all of the first and more, `Less` the other way round, and `Equal` where neither
/// holds the other.
fn part_of<T: Ord>(old: &BTreeSet<T>, new: &BTreeSet<T>) -> Ordering {
    match (old.is_subset(new), new.is_subset(old)) {
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (true, true) | (false, false) => Ordering::Equal,
    }
}

fn keys_of(limit: &Limit<'_>) -> BTreeSet<String> {
    limit.by.iter().map(key).collect()
}

fn operations_of<'b>(limit: &Limit<'b>) -> BTreeSet<&'b str> {
    limit.operations.iter().copied().collect()
}

/// An operation's standing. It is neither stricter nor looser: what one gains, the others lose.
pub(super) fn priority(found: &mut Found, name: &str, old: &Operation, new: &Operation) {
    found.part(Area::Operations, name, "priority", old.priority.as_str(), new.priority.as_str());
}

fn limits<'b>((service, settings): (&'b Service, &'b ServiceSettings)) -> BTreeMap<&'b str, Limit<'b>> {
    let of_proxy = service.shedding.iter().flat_map(|shedding| &shedding.limits);
    let of_proxy = of_proxy.map(|limit| (&*limit.name, Limit::of_proxy(limit)));
    let global = settings.global_limits.iter().map(|limit| (limit.name.as_str(), Limit::global(limit)));
    of_proxy.chain(global).collect()
}

impl<'b> Limit<'b> {
    fn of_proxy(limit: &'b RateLimit) -> Limit<'b> {
        Limit {
            requests: u64::from(limit.requests),
            per_s: u64::from(limit.per_ms / 1000),
            burst: Some(limit.burst),
            by: &limit.by,
            operations: limit.operations.iter().map(AsRef::as_ref).collect(),
            is_global: false,
            is_enforced: limit.mode == ShedMode::Enforce,
        }
    }

    fn global(limit: &'b GlobalLimit) -> Limit<'b> {
        Limit {
            requests: u64::from(limit.rate.requests),
            per_s: u64::from(limit.rate.per.seconds()),
            burst: None,
            by: &limit.by,
            operations: limit.operations.iter().map(String::as_str).collect(),
            is_global: true,
            is_enforced: limit.mode == LimitMode::Enforce,
        }
    }

    fn rate(&self) -> String {
        match self.per_s {
            1 => format!("{}/s", self.requests),
            60 => format!("{}/m", self.requests),
            _ => format!("{}/h", self.requests),
        }
    }

    fn burst(&self) -> String {
        self.burst.map_or_else(|| "none".to_owned(), |burst| burst.to_string())
    }

    const fn scope(&self) -> &'static str {
        if self.is_global { "global" } else { "proxy" }
    }

    const fn mode(&self) -> &'static str {
        mode(if self.is_enforced { ShedMode::Enforce } else { ShedMode::Shadow })
    }
}

impl std::fmt::Display for Limit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (by, operations) = (keys(self.by), names(&self.operations));
        write!(f, "{}, by {by}, of {operations}, {}, {}", self.rate(), self.scope(), self.mode())
    }
}

fn key(key: &RateKey) -> String {
    match key {
        RateKey::Caller => "caller".to_owned(),
        RateKey::Operation => "operation".to_owned(),
        RateKey::Header(name) => format!("header:{name}"),
    }
}

fn keys(by: &[RateKey]) -> String {
    let keys: Vec<_> = by.iter().map(key).collect();
    if keys.is_empty() { "nothing".to_owned() } else { keys.join(" and ") }
}

fn names(names: &[&str]) -> String {
    if names.is_empty() { "all operations".to_owned() } else { names.join(" and ") }
}

const fn mode(mode: ShedMode) -> &'static str {
    match mode {
        ShedMode::Off => "off",
        ShedMode::Shadow => "shadow",
        ShedMode::Enforce => "enforce",
    }
}

/// `Greater` lets more pass.
const fn direction(changed: Ordering) -> Option<Direction> {
    match changed {
        Ordering::Greater => Some(Direction::Loosened),
        Ordering::Less => Some(Direction::Tightened),
        Ordering::Equal => None,
    }
}
