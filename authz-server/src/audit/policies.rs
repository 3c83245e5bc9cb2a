//! The policies that determined a decision, with their text, from the bundle that it was made with.
//!
//! INVARIANT: the text of another bundle is never shown, however alike: the files are digested again, and without the
//! right digest there is no text.

use std::path::{Path, PathBuf};

use palisade_core::contract::BundleDigest;
use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::cedar::{Effect, Mode, PolicySummary};
use crate::ledger::Decision;
use crate::state::{BundleError, Bundles};

/// The bundle of a decision, as far as it is at hand.
#[derive(Debug)]
pub struct KeptBundle {
    pub path: PathBuf,
    policies: Vec<PolicySummary>,
}

impl KeptBundle {
    /// Finds the bundle of a decision, or says why it cannot be shown.
    pub fn of(state: &Path, decision: &Decision) -> Result<KeptBundle, String> {
        let written = &decision.bundle_digest;
        let digest =
            BundleDigest::parse(written).ok_or_else(|| format!("`{written}` is not a bundle digest"))?;
        let path = Bundles::of(state).find(digest).map_err(|error| match error {
            BundleError::NotKept { .. } => {
                "it is not kept here: another server had it, or it became too old".to_owned()
            }
            BundleError::Damaged { .. } | BundleError::Store { .. } => error.to_string(),
        })?;
        let bundle = Bundle::load(&path).map_err(|problems| {
            let first = problems.to_string().lines().next().unwrap_or_default().to_owned();
            format!("it cannot be read by this palisade: {first}")
        })?;
        if bundle.digest != digest {
            return Err(format!("what is kept as it has another digest, {}", bundle.digest));
        }
        Ok(KeptBundle { path, policies: bundle.policies.all().cloned().collect() })
    }

    /// The policy of this id.
    pub fn policy(&self, id: &str) -> Option<&PolicySummary> {
        self.policies.iter().find(|policy| policy.id == id)
    }
}

/// A policy as `why --json` gives it; without its bundle nothing but its id is known.
pub fn policy_object(id: &str, policy: Option<&PolicySummary>) -> Value {
    let Some(policy) = policy else { return json!({"id": id, "text": null}) };
    json!({
        "id": id,
        "text": policy.text,
        "file": policy.place.file,
        "line": policy.place.line,
        "effect": match policy.effect {
            Effect::Permit => "permit",
            Effect::Forbid => "forbid",
        },
        "mode": match policy.mode {
            Mode::Enforced => "enforced",
            Mode::Shadow => "shadow",
        },
        "until": policy.until.as_ref().map(|(day, _)| day),
        "reason": policy.reason,
        "owner": policy.owner,
        "runbook": policy.runbook,
    })
}
