//! Says once of each shadow policy that its day has come, from which it is asked no more.
//!
//! INVARIANT: evaluation does not depend on this: it looks at the day by itself, and here it is only told.

use crate::bundle::Bundle;
use crate::cedar::{Mode, PolicySummary};
use palisade_core::contract::BundleDigest;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(super) struct Expiries {
    of: Option<BundleDigest>,
    told: BTreeSet<String>,
}

impl Expiries {
    /// Says what has ended and was not said yet of this bundle.
    pub(super) fn tell(&mut self, bundle: &Bundle, now_ms: u64) {
        for policy in self.news(bundle, now_ms) {
            let until = policy.until.as_ref().map(|(day, _)| day.as_str()).unwrap_or_default();
            let (policy, place) = (policy.id.as_str(), &policy.place);
            tracing::warn!(policy, until, %place, "the shadow of a policy has ended: it is asked no more");
        }
    }

    fn news<'b>(&mut self, bundle: &'b Bundle, now_ms: u64) -> Vec<&'b PolicySummary> {
        if self.of != Some(bundle.digest) {
            *self = Expiries { of: Some(bundle.digest), told: BTreeSet::new() };
        }
        let ended = |policy: &&PolicySummary| policy.mode == Mode::Shadow && policy.ends_ms() <= now_ms;
        bundle.policies.all().filter(ended).filter(|policy| self.told.insert(policy.id.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn an_end_is_told_once_and_again_of_another_bundle() {
        let load =
            |path: &str| Bundle::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap();
        let (demo, second) = (load("policies"), load("tests/bundles/second"));
        let ends_ms = crate::audit::day_ms("2030-06-30").unwrap();
        let mut expiries = Expiries::default();
        let mut news = |bundle: &Bundle, now_ms: u64| -> Vec<String> {
            expiries.news(bundle, now_ms).iter().map(|policy| policy.id.clone()).collect()
        };
        assert_eq!(news(&demo, ends_ms - 1), [""; 0]);
        assert_eq!(news(&demo, ends_ms), ["pages-of-fifty"]);
        assert_eq!(news(&demo, ends_ms + 1), [""; 0]);
        assert_eq!(news(&second, ends_ms + 2), [""; 0]);
        assert_eq!(news(&demo, ends_ms + 3), ["pages-of-fifty"]);
    }
}
