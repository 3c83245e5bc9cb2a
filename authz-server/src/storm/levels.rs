//! How the shedders of all VMs stand, as they told it last.
//!
//! INVARIANT: bounded by VMs and services; a VM that fell silent is forgotten.

use std::collections::{BTreeMap, HashMap};

use crate::ledger::LoadLevel;

/// VMs tell at least once a minute while they serve; two that were lost are borne.
const FORGOTTEN_MS: u64 = 180_000;

/// A thousand proxies of four workers, with a service each.
const LEVELS_MAX: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Levels {
    /// By VM and service.
    levels: HashMap<(Box<str>, Box<str>), (LoadLevel, u64)>,
}

/// All VMs of a service together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) limit: u64,
    pub(super) load: u64,
    pub(super) retry_tokens: u64,
    pub(super) vms: u64,
}

impl Levels {
    /// Takes in what a VM told, which was so some time ago: it may have had to wait.
    pub(super) fn told(&mut self, vm: &str, level: &LoadLevel, now_ms: u64, age_ms: u64) {
        if age_ms >= FORGOTTEN_MS {
            return;
        }
        let told_ms = now_ms.saturating_sub(age_ms);
        let key = (vm.into(), level.service.as_str().into());
        let is_newer = match self.levels.get(&key) {
            Some((_, known_ms)) => *known_ms <= told_ms,
            None => self.levels.len() < LEVELS_MAX,
        };
        if is_newer {
            self.levels.insert(key, (level.clone(), told_ms));
        }
    }

    pub(super) fn forget(&mut self, now_ms: u64) {
        self.levels.retain(|_, (_, told_ms)| now_ms.saturating_sub(*told_ms) < FORGOTTEN_MS);
    }

    pub(super) fn by_service(&self) -> BTreeMap<&str, Level> {
        let mut services = BTreeMap::<&str, Level>::new();
        for ((_, service), (level, _)) in &self.levels {
            let sum = services.entry(service).or_default();
            sum.limit = sum.limit.saturating_add(level.limit.into());
            sum.load = sum.load.saturating_add(level.load.into());
            sum.retry_tokens = sum.retry_tokens.saturating_add(level.retry_tokens.into());
            sum.vms = sum.vms.saturating_add(1);
        }
        services
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_word_of_each_vm_counts_until_it_falls_silent() {
        let level =
            |service: &str, limit| LoadLevel { service: service.to_owned(), limit, load: 1, retry_tokens: 2 };
        let mut levels = Levels::default();
        for (vm, service, limit, at_ms) in [
            ("a", "orders", 9, 0),
            ("a", "orders", 5, 1_000),
            ("b", "orders", 7, 90_000),
            ("b", "stock", 1, 90_000),
        ] {
            levels.told(vm, &level(service, limit), at_ms, 0);
        }
        // What comes late is neither newer than what is known, nor the present.
        levels.told("a", &level("orders", 100), 90_000, 89_500);
        levels.told("late", &level("orders", 100), 90_000, FORGOTTEN_MS);
        let orders = Level { limit: 12, load: 2, retry_tokens: 4, vms: 2 };
        let stock = Level { limit: 1, load: 1, retry_tokens: 2, vms: 1 };
        assert_eq!(levels.by_service(), BTreeMap::from([("orders", orders), ("stock", stock)]));
        levels.forget(1_000 + FORGOTTEN_MS);
        assert_eq!(levels.by_service().get("orders").map(|level| (level.limit, level.vms)), Some((7, 1)));
        for vm in 0..LEVELS_MAX + 100 {
            levels.told(&vm.to_string(), &level("orders", 1), 200_000, 0);
        }
        assert_eq!(levels.levels.len(), LEVELS_MAX);
        levels.told("b", &level("orders", 3), 200_000, 0);
        assert_eq!(levels.levels.get(&("b".into(), "orders".into())).map(|(level, _)| level.limit), Some(3));
    }
}
