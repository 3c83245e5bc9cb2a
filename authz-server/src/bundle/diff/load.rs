//! Changes of what is said of load: shedding, limits, priorities.
//!
//! INVARIANT: every part of a limit and of shedding is compared, so that none changes without a word.

use super::{Area, Direction, Found, Kind};
use crate::bundle::shedding::{GlobalLimit, LimitMode};
use crate::bundle::{Bundle, ServiceSettings};
use palisade_core::contract::{Operation, RateKey, RateLimit, Service, ShedMode, ShedScope, Shedding};
use std::collections::BTreeMap;

/// A limit of either scope.
#[derive(Debug, PartialEq, Eq)]
struct Limit {
    requests: u64,
    per_s: u64,
    burst: Option<u32>,
    by: String,
    operations: String,
    scope: &'static str,
    mode: &'static str,
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
        Some((service, bundle.services.iter().find(|settings| settings.name == name)?))
    };
    after.services.iter().filter_map(move |settings| {
        let name = settings.name.as_str();
        Some((name, of(before, name)?, of(after, name)?))
    })
}

fn compare_shedding(found: &mut Found, name: &str, old: &Shedding, new: &Shedding) {
    if let Some(said) = found.part(Area::Services, name, "shedding.mode", mode(old.mode), mode(new.mode)) {
        let loosened = (new.mode as u8) < old.mode as u8;
        let danger = loosened.then_some("more requests than the service can serve reach it from now on");
        said.direction(Some(direction(loosened))).danger(danger);
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
        said.direction(Some(direction(most(is) > most(was))));
    }
}

fn compare_limits(
    found: &mut Found,
    service: &str,
    old: &BTreeMap<String, Limit>,
    new: &BTreeMap<String, Limit>,
) {
    let subject = |name: &str| format!("{service}, limit {name}");
    let is_kept = |limit: &Limit| limit.mode == mode(ShedMode::Enforce);
    for (name, limit) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
        let danger = is_kept(limit).then_some("nobody counts these requests from now on");
        let said = found.change(Area::Services, Kind::Removed, subject(name)).before(limit.to_string());
        said.direction(is_kept(limit).then_some(Direction::Loosened)).danger(danger);
    }
    for (name, limit) in new {
        match old.get(name) {
            Some(known) => compare_limit(found, &subject(name), known, limit),
            None => {
                let said = found.change(Area::Services, Kind::Added, subject(name)).after(limit.to_string());
                said.direction(is_kept(limit).then_some(Direction::Tightened));
            }
        }
    }
}

fn compare_limit(found: &mut Found, name: &str, old: &Limit, new: &Limit) {
    let rate = |limit: &Limit| limit.rate();
    if let Some(said) = found.part(Area::Services, name, "rate", rate(old), rate(new)) {
        let loosened = new.requests.saturating_mul(old.per_s) > old.requests.saturating_mul(new.per_s);
        said.direction(Some(direction(loosened)));
    }
    let burst = |limit: &Limit| limit.burst.map_or_else(|| "none".to_owned(), |burst| burst.to_string());
    if let Some(said) = found.part(Area::Services, name, "burst", burst(old), burst(new))
        && let (Some(was), Some(is)) = (old.burst, new.burst)
    {
        said.direction(Some(direction(is > was)));
    }
    found.part(Area::Services, name, "by", &old.by, &new.by);
    found.part(Area::Services, name, "operations", &old.operations, &new.operations);
    found.part(Area::Services, name, "scope", old.scope, new.scope);
    if let Some(said) = found.part(Area::Services, name, "mode", old.mode, new.mode) {
        let loosened = new.mode == mode(ShedMode::Shadow);
        let danger = loosened.then_some("what is beyond the limit reaches the service");
        said.direction(Some(direction(loosened))).danger(danger);
    }
}

/// An operation's standing. It is neither stricter nor looser: what one gains, the others lose.
pub(super) fn priority(found: &mut Found, name: &str, old: &Operation, new: &Operation) {
    found.part(Area::Operations, name, "priority", old.priority.as_str(), new.priority.as_str());
}

fn limits((service, settings): (&Service, &ServiceSettings)) -> BTreeMap<String, Limit> {
    let of_proxy = service.shedding.iter().flat_map(|shedding| &shedding.limits);
    let of_proxy = of_proxy.map(|limit| (limit.name.to_string(), Limit::of_proxy(limit)));
    let global = settings.global_limits.iter().map(|limit| (limit.name.clone(), Limit::global(limit)));
    of_proxy.chain(global).collect()
}

impl Limit {
    fn of_proxy(limit: &RateLimit) -> Limit {
        Limit {
            requests: u64::from(limit.requests),
            per_s: u64::from(limit.per_ms / 1000),
            burst: Some(limit.burst),
            by: keys(&limit.by),
            operations: names(limit.operations.iter().map(AsRef::as_ref)),
            scope: "proxy",
            mode: mode(limit.mode),
        }
    }

    fn global(limit: &GlobalLimit) -> Limit {
        Limit {
            requests: u64::from(limit.rate.requests),
            per_s: u64::from(limit.rate.per.seconds()),
            burst: None,
            by: keys(&limit.by),
            operations: names(limit.operations.iter().map(String::as_str)),
            scope: "global",
            mode: match limit.mode {
                LimitMode::Enforce => mode(ShedMode::Enforce),
                LimitMode::Shadow => mode(ShedMode::Shadow),
            },
        }
    }

    fn rate(&self) -> String {
        match self.per_s {
            1 => format!("{}/s", self.requests),
            60 => format!("{}/m", self.requests),
            _ => format!("{}/h", self.requests),
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, by {}, of {}, {}, {}", self.rate(), self.by, self.operations, self.scope, self.mode)
    }
}

fn keys(by: &[RateKey]) -> String {
    let keys = by.iter().map(|key| match key {
        RateKey::Caller => "caller".to_owned(),
        RateKey::Operation => "operation".to_owned(),
        RateKey::Header(name) => format!("header:{name}"),
    });
    let keys: Vec<_> = keys.collect();
    if keys.is_empty() { "nothing".to_owned() } else { keys.join(" and ") }
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() { "all operations".to_owned() } else { names.join(" and ") }
}

const fn mode(mode: ShedMode) -> &'static str {
    match mode {
        ShedMode::Off => "off",
        ShedMode::Shadow => "shadow",
        ShedMode::Enforce => "enforce",
    }
}

const fn direction(loosened: bool) -> Direction {
    if loosened { Direction::Loosened } else { Direction::Tightened }
}
