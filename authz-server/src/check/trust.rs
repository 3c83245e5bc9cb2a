//! What a handoff is worth: genuine, or refused with a reason that names what to mend.

use crate::secrets::HandoffSecrets;
use crate::state::PreviousBundle;
use palisade_core::call_id::CallId;
use palisade_core::contract::{BundleDigest, Matched};
use palisade_core::handoff::{Binding, Flags, Handoff, HandoffError, SecretSlot};
use palisade_core::reason::Reason;

/// The state of a handoff as ledger and metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HandoffState {
    Current,
    PreviousSecret,
    /// The filter still works with the bundle before: fine for a while, and counted as skew.
    PreviousBundle,
    /// None came, and the bundle lets calls come without.
    NotRequired,
    Missing,
    Forged,
    Stale,
    UnknownVersion,
    BundleUnknown,
    Mismatch,
}

impl HandoffState {
    pub const fn code(self) -> &'static str {
        match self {
            HandoffState::Current => "current",
            HandoffState::PreviousSecret => "previous_secret",
            HandoffState::PreviousBundle => "previous_bundle",
            HandoffState::NotRequired => "not_required",
            HandoffState::Missing => "missing",
            HandoffState::Forged => "forged",
            HandoffState::Stale => "stale",
            HandoffState::UnknownVersion => "unknown_version",
            HandoffState::BundleUnknown => "bundle_unknown",
            HandoffState::Mismatch => "mismatch",
        }
    }

    pub const fn is_genuine(self) -> bool {
        matches!(self, HandoffState::Current | HandoffState::PreviousSecret | HandoffState::PreviousBundle)
    }
}

/// Whether a call came through a filter that judged it by a bundle we know.
#[derive(Debug, Clone)]
pub enum Trust {
    Genuine {
        call_id: CallId,
        state: HandoffState,
        /// What the filter found out. A body that it did not judge is none, or streams.
        flags: Flags,
    },
    /// None came, and the bundle lets calls come without: the server judges alone.
    NotRequired,
    /// The call id is only there when the proof held.
    Refused { reason: Reason, state: HandoffState, detail: String, call_id: Option<CallId> },
}

impl Trust {
    pub(super) fn missing() -> Trust {
        Trust::Refused {
            reason: Reason::HandoffMissing,
            state: HandoffState::Missing,
            detail: "no handoff, or more than one: is the filter in this workload's chain, before ext_authz?"
                .to_owned(),
            call_id: None,
        }
    }

    pub(super) const fn state(&self) -> HandoffState {
        match self {
            Trust::Genuine { state, .. } | Trust::Refused { state, .. } => *state,
            Trust::NotRequired => HandoffState::NotRequired,
        }
    }
}

/// The bundles that a filter may work with.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownBundles<'a> {
    pub(super) current: BundleDigest,
    pub(super) previous: &'a [PreviousBundle],
    pub(super) accepted_ms: u64,
}

impl KnownBundles<'_> {
    fn is_previous(&self, digest: BundleDigest, now_ms: u64) -> bool {
        self.previous.iter().any(|previous| {
            previous.digest == digest && now_ms <= previous.replaced_at_ms.saturating_add(self.accepted_ms)
        })
    }
}

pub(super) fn verify(
    text: &str,
    secrets: &HandoffSecrets,
    binding: Binding<'_>,
    matched: Option<Matched<'_>>,
    known: KnownBundles<'_>,
    now_ms: u64,
) -> Trust {
    let (handoff, slot) = match Handoff::verify(text.as_bytes(), secrets.slots(), binding, now_ms) {
        Ok(verified) => verified,
        Err(error) => return refused(error),
    };
    let Handoff { bundle, operation, call_id, flags } = handoff;
    let proven =
        |reason, state, detail: String| Trust::Refused { reason, state, detail, call_id: Some(call_id) };
    if bundle == known.current {
        // Filter and server read the request with the same code by the same contract: a difference is a bug, and a no.
        if matched.map(|matched| matched.index) != Some(operation) {
            return proven(
                Reason::HandoffMismatch,
                HandoffState::Mismatch,
                format!("the filter found operation {}", operation.0),
            );
        }
        let state = match slot {
            SecretSlot::Current => HandoffState::Current,
            SecretSlot::Previous => HandoffState::PreviousSecret,
        };
        return Trust::Genuine { call_id, state, flags };
    }
    if known.is_previous(bundle, now_ms) {
        return Trust::Genuine { call_id, state: HandoffState::PreviousBundle, flags };
    }
    let detail =
        format!("the filter works with bundle `{bundle}`: roll out the same bundle to filter and server");
    proven(Reason::HandoffBundleUnknown, HandoffState::BundleUnknown, detail)
}

fn refused(error: HandoffError) -> Trust {
    let (reason, state) = match error {
        HandoffError::Malformed | HandoffError::Forged => (Reason::HandoffForged, HandoffState::Forged),
        HandoffError::UnknownVersion { .. } => (Reason::HandoffForged, HandoffState::UnknownVersion),
        HandoffError::Stale { .. } => (Reason::HandoffStale, HandoffState::Stale),
    };
    Trust::Refused { reason, state, detail: error.to_string(), call_id: None }
}
