//! The names of operations, by the bundle that a filter works with, which may be one that was in force before.
//!
//! INVARIANT: an index is looked up in the bundle that it was made for, or not at all.

use crate::bundle::Bundle;
use crate::serve::service::Service;
use crate::state::Bundles;
use palisade_core::contract::{BundleDigest, Contract, Priority};
use palisade_core::routes::OperationIndex;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bundles whose names are at hand: the current one, and a few more during rollouts.
const BUNDLES_MAX: usize = 8;

/// Operations by index.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names(Vec<Named>);

#[derive(Debug, PartialEq, Eq)]
struct Named {
    service: String,
    operation: String,
    is_critical: bool,
}

impl Names {
    pub(super) fn of(contract: &Contract) -> Names {
        let operation = |index| contract.operation(OperationIndex(index));
        let named = (0..).map_while(operation);
        let named = named.map(|found| Named {
            service: found.service.name.to_string(),
            operation: found.operation.name.to_string(),
            is_critical: found.operation.priority == Priority::Critical,
        });
        Names(named.collect())
    }

    pub(super) fn operation(&self, index: OperationIndex) -> Option<(&str, &str)> {
        let named = self.0.get(usize::try_from(index.0).ok()?)?;
        Some((&named.service, &named.operation))
    }

    /// Whether it must not wait for others.
    pub(super) fn is_critical(&self, service: &str, operation: &str) -> bool {
        self.0
            .iter()
            .any(|named| named.is_critical && named.service == service && named.operation == operation)
    }
}

#[derive(Debug)]
pub(super) struct Operations {
    bundles: Bundles,
    /// `None`: the bundle is not kept here.
    found: Mutex<HashMap<BundleDigest, Option<Arc<Names>>>>,
}

impl Operations {
    pub(super) fn of(bundles: Bundles) -> Operations {
        Operations { bundles, found: Mutex::default() }
    }

    pub(super) async fn names(&self, service: &Service, digest: BundleDigest) -> Option<Arc<Names>> {
        if let Some(found) = self.found(digest) {
            return found;
        }
        let current = service.decider().bundle.clone();
        let names = if current.digest == digest {
            Some(Arc::new(Names::of(&current.contract)))
        } else {
            // It takes a moment, once for each bundle.
            let bundles = self.bundles.clone();
            let kept = tokio::task::spawn_blocking(move || {
                let bundle = Bundle::load(&bundles.find(digest).ok()?).ok()?;
                Some(Arc::new(Names::of(&bundle.contract)))
            });
            kept.await.ok().flatten()
        };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() >= BUNDLES_MAX {
            found.clear();
        }
        found.insert(digest, names.clone());
        names
    }

    fn found(&self, digest: BundleDigest) -> Option<Option<Arc<Names>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned()
    }
}
