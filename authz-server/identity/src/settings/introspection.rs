//! What a bundle tells of a server that is asked about opaque tokens, and how we prove ourselves to it.
//!
//! INVARIANT: the secret comes from a file of the server, never from a bundle, and is never shown.

use super::{ClaimRules, IssuerProblem, IssuerSettings, KeysFrom};
use crate::fetch::Endpoint;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const CACHE_S_DEFAULT: u64 = 30;

/// A token that its issuer withdraws is believed for at most so long.
pub const CACHE_S_MAX: u64 = 300;

pub const NEGATIVE_CACHE_S_DEFAULT: u64 = 5;

pub const NEGATIVE_CACHE_S_MAX: u64 = 60;

const CREDENTIAL_BYTES_MAX: usize = 1024;

/// Somebody who is asked about tokens that say nothing by themselves (RFC 7662).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntrospectionSettings {
    /// What the bundle calls it; the first half of its users' names.
    pub name: String,
    pub url: String,
    /// Who we are to it. Without it nothing is asked, and each of its tokens is refused as unavailable.
    pub client: Option<ClientCredentials>,
    /// One of these must be in `aud` of its answers.
    pub audiences: Vec<String>,
    pub claims: ClaimRules,
    /// For how long an answer counts, and never longer than the token lives.
    pub cache_s: u64,
    /// For how long a token is refused without asking again.
    pub negative_cache_s: u64,
    /// Who vouches for the server, in PEM; without it, whoever this machine trusts.
    pub ca: Option<PathBuf>,
}

/// The name and the secret that the server gave us.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    id: String,
    secret: Arc<str>,
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials").field("id", &self.id).finish_non_exhaustive()
    }
}

impl ClientCredentials {
    /// Two lines: the id, and the secret.
    pub fn read(path: &Path) -> Result<ClientCredentials, String> {
        let fail = |detail: String| {
            format!("the credentials for introspection in `{}` cannot be used: {detail}", path.display())
        };
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        ClientCredentials::parse(&text).map_err(|detail| fail(detail.to_owned()))
    }

    pub fn parse(text: &str) -> Result<ClientCredentials, &'static str> {
        let mut lines = text.lines();
        let (Some(id), Some(secret), None) = (lines.next(), lines.next(), lines.next()) else {
            return Err("expected two lines, the client id and the client secret");
        };
        let holds = |text: &str| {
            !text.is_empty() && text.len() <= CREDENTIAL_BYTES_MAX && !text.chars().any(char::is_control)
        };
        match holds(id) && holds(secret) {
            true => Ok(ClientCredentials { id: id.to_owned(), secret: secret.into() }),
            false => Err("expected lines of 1 to 1024 bytes without control characters"),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }
}

impl IntrospectionSettings {
    pub(super) fn problem(&self) -> Option<IssuerProblem> {
        // What issuers of either kind have in common is judged as one.
        let common = IssuerSettings {
            name: self.name.clone(),
            issuer: self.url.clone(),
            audiences: self.audiences.clone(),
            algorithms: vec![super::Algorithm::Rs256],
            keys: KeysFrom::Text("".into()),
            claims: self.claims.clone(),
            leeway_s: 0,
        };
        if let Some(problem) = common.problem() {
            return Some(problem);
        }
        if self.cache_s == 0 || self.cache_s > CACHE_S_MAX {
            return Some(IssuerProblem::Cache { seconds: self.cache_s, max: CACHE_S_MAX });
        }
        if self.negative_cache_s == 0 || self.negative_cache_s > NEGATIVE_CACHE_S_MAX {
            return Some(IssuerProblem::Cache { seconds: self.negative_cache_s, max: NEGATIVE_CACHE_S_MAX });
        }
        Endpoint::parse(&self.url).err().map(|error| IssuerProblem::Introspection(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::ClientCredentials;

    #[test]
    fn credentials_are_two_lines_and_never_shown() {
        let read = ClientCredentials::parse("palisade\nexample-secret\n").unwrap();
        assert_eq!((read.id(), read.secret()), ("palisade", "example-secret"));
        assert!(!format!("{read:?}").contains("example-secret"));
        assert_eq!(ClientCredentials::parse("palisade\r\nexample-secret\r\n"), Ok(read));
        for wrong in ["", "a", "a\n", "a\n\n", "\nb\n", "a\nb\nc\n", "a\nb\tc\n", "a\0\nb"] {
            assert!(ClientCredentials::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
