//! A person, as an issuer of tokens tells of them.
//!
//! INVARIANT: an issuer speaks for its own people only: its name is part of theirs.

use std::collections::{BTreeMap, BTreeSet};

/// A person and what their issuer says of them, as the bundle lets it be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct User {
    /// What the bundle calls the issuer. It has no slash.
    pub issuer: String,
    pub subject: String,
    pub groups: BTreeSet<String>,
    pub roles: BTreeSet<String>,
    pub attributes: BTreeMap<String, ClaimValue>,
}

/// A claim that policies may ask for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimValue {
    Text(String),
    Long(i64),
    Bool(bool),
    Texts(BTreeSet<String>),
}

impl User {
    /// The name that policies and the ledger have: `corp/alice`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.issuer, self.subject)
    }
}
