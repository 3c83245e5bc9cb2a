//! What only an issuer knows of a caller is asked here, before the call is decided once more.
//!
//! INVARIANT: whatever comes of it, and however long it would take, the call is decided in time.

use super::DEADLINE_MS;
use crate::check::Decider;
use crate::identity::Pending;
use std::time::{Duration, Instant};

/// How long after its arrival a call may still wait for an issuer's answer about its caller.
const IDENTITY_AWAITED: Duration = Duration::from_millis(1_100);

const _: () =
    assert!(IDENTITY_AWAITED.as_millis() + 300 < DEADLINE_MS as u128, "deciding needs its time, too");

/// Asks what only an issuer knows. Whatever comes of it, deciding once more says so.
pub(super) async fn ask(decider: &Decider, awaits: Option<Pending>, arrived: Instant) {
    if let (Some(pending), Some(tokens)) = (awaits, &decider.identity.tokens) {
        let until = tokio::time::Instant::from_std(arrived + IDENTITY_AWAITED);
        let _in_time = tokio::time::timeout_at(until, tokens.fetch(pending)).await;
    }
}
