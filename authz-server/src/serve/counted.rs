//! What a limiter is to count a call by: told to the proxy beside the decision, which makes descriptors of it.
//!
//! INVARIANT: only services with global limits have their calls told of, and of a caller nothing but who the decision is on.

use crate::bundle::Bundle;
use crate::ledger;

/// Under which each part stands in the metadata of a decision.
pub(crate) const OPERATION: &str = "operation";
pub(crate) const CALLER: &str = "caller";
pub(crate) const LIMITS: &str = "limits";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub operation: String,
    pub caller: String,
    /// The global limits that count this operation, as limiters know them.
    pub limits: Vec<String>,
}

impl Counted {
    pub(super) fn of(bundle: &Bundle, record: &ledger::Decision) -> Option<Box<Counted>> {
        let service = bundle.settings(&record.service)?;
        let counts = |operations: &[String]| operations.is_empty() || operations.contains(&record.operation);
        let limits: Vec<_> = service
            .global_limits
            .iter()
            .filter(|limit| counts(&limit.operations))
            .map(|limit| limit.full_name(&service.name))
            .collect();
        if limits.is_empty() {
            return None;
        }
        let (operation, caller) = (record.operation.clone(), record.principal.clone());
        Some(Box::new(Counted { operation, caller, limits }))
    }
}
