//! Tokens: what an issuer signed, or answers for when it is asked.

use crate::{Proof, User};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Issuers, their keys, and what was learnt of tokens.
#[derive(Debug, Default)]
pub struct Tokens {}

/// A token that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub user: Arc<User>,
    pub proof: Proof,
    pub scopes: Option<Arc<BTreeSet<String>>>,
    /// It is worth nothing from this second on.
    pub expires_at_s: u64,
}

/// What must be asked for before a token can be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {}

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenError {
    /// The network knows more.
    Pending(Pending),
    /// No issuer of the bundle could have made it.
    IssuerUnknown,
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
    /// What a token proves, as far as it is known here and now.
    pub fn verify(&self, _token: &str, _now_ms: u64) -> Result<Arc<Verified>, TokenError> {
        Err(TokenError::IssuerUnknown)
    }

    /// Asks for what is missing. Whatever comes of it, the next `verify` knows.
    pub async fn fetch(&self, _pending: Pending) {}
}
