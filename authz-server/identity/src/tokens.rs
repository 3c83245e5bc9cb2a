//! Tokens: what an issuer signed, or answers for when it is asked.

use crate::settings::{TokensError, TokensSettings};
use crate::{Proof, User};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Issuers, their keys, and what was learnt of tokens.
#[derive(Debug, Default)]
pub struct Tokens {}

/// A token that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub user: Arc<User>,
    pub proof: Proof,
    pub scopes: Option<Arc<BTreeSet<String>>>,
    /// It is worth nothing from this second on; the leeway is part of it.
    pub expires_at_s: u64,
}

/// What must be asked for before a token can be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {}

/// How an issuer's keys stand, for metrics and readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    /// What the bundle calls the issuer.
    pub issuer: String,
    /// How many usable keys the current set has; none were had yet, or they are too old.
    pub keys: usize,
    /// Counts the sets that differed from the one before.
    pub generation: u64,
    /// When the current set was last known to be good; `None` before the first, and for keys of the bundle.
    pub fetched_at_ms: Option<u64>,
    pub fetches: u64,
    pub failures: u64,
    /// Why the last fetch failed, if it did.
    pub last_error: Option<String>,
    /// Keys of the set that are not used, each with the reason.
    pub left_out: Vec<String>,
    /// Whether tokens of this issuer can be judged.
    pub usable: bool,
}

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenError {
    /// The network knows more.
    Pending(Pending),
    /// No issuer of the bundle could have made it.
    IssuerUnknown,
}

impl TokenError {
    /// Whether the fault is with the source that could prove it (503), not with the token (401).
    pub fn is_unavailable(&self) -> bool {
        false
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::Pending(_) => f.write_str("its issuer was not asked yet"),
            TokenError::IssuerUnknown => f.write_str("no issuer of the bundle could have made it"),
        }
    }
}

impl Tokens {
    /// Reads the keys that are at hand and asks nobody. Issuers whose settings are those of `previous` go on with their
    /// keys and with what was verified.
    pub fn begin(settings: &TokensSettings, _previous: Option<&Tokens>) -> Result<Tokens, Vec<TokensError>> {
        let problems = settings.problems();
        if problems.is_empty() { Ok(Tokens {}) } else { Err(problems) }
    }

    /// What a token proves, as far as it is known here and now.
    pub fn verify(&self, _token: &str, _now_ms: u64) -> Result<Arc<Verified>, TokenError> {
        Err(TokenError::IssuerUnknown)
    }

    /// Asks for what is missing. Whatever comes of it, the next `verify` knows. May be dropped at any time: what was asked
    /// for goes on.
    pub async fn fetch(&self, _pending: Pending) {}

    /// Waits until each issuer has keys, asking for them, for at most so long. What is still missing is in `states`.
    pub async fn ready(&self, _time_max: Duration) -> bool {
        true
    }

    /// Whether each issuer has keys that may be used.
    pub fn loaded(&self, _now_ms: u64) -> bool {
        true
    }

    pub fn states(&self, _now_ms: u64) -> Vec<SourceState> {
        Vec::new()
    }

    /// Asks for new keys when it is time, until nobody holds the tokens any more. To be spawned once after `begin`.
    pub async fn keep_fresh(_tokens: Weak<Tokens>) {}
}
