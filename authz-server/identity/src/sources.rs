//! Everything by which callers are established, and the one way to do it.
//!
//! INVARIANT: a call has at most one credential beside its connection's certificate: two of them are nobody's.

use crate::{
    ApiKeyError, ApiKeys, CertificateError, Established, ForwardedError, Identity, Pending, Proof,
    SpiffeError, SpiffeId, TokenError, Tokens,
};
use crate::{certificate, forwarded};
use std::fmt;
use std::sync::Arc;

/// What a request brought to prove who it is from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The first URI SAN of the peer's certificate, as the proxy verified it. Empty without mTLS.
    pub peer: &'a str,
    /// The certificate itself, which the proxy must pass on.
    pub peer_certificate: &'a str,
    pub api_key: Option<&'a str>,
    /// The token, without the word before it.
    pub token: Option<&'a str>,
    /// `x-forwarded-client-cert`. Several lines of it are one, with commas between them and in their order.
    pub forwarded_certificate: Option<&'a str>,
}

/// By which ways a service lets its callers prove themselves. Whoever brings no credential is let through to policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub mtls: bool,
    pub api_keys: bool,
    pub tokens: AcceptedTokens,
}

/// Whose tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptedTokens {
    All,
    /// By the names that the bundle gives their issuers.
    Of(Vec<String>),
}

impl Accepted {
    /// Whatever the bundle has.
    pub const ALL: Accepted = Accepted { mtls: true, api_keys: true, tokens: AcceptedTokens::All };

    fn accepts(&self, caller: &Established) -> bool {
        match &caller.identity {
            Identity::Anonymous => true,
            Identity::Workload(_) => self.mtls,
            Identity::Client(_) => self.api_keys,
            Identity::User(user) => match &self.tokens {
                AcceptedTokens::All => true,
                AcceptedTokens::Of(issuers) => issuers.contains(&user.issuer),
            },
        }
    }
}

/// Where identities come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub trust_domains: Vec<String>,
    /// Whose `x-forwarded-client-cert` is believed. From anybody else it changes nothing.
    pub forwarders: Vec<SpiffeId>,
    pub api_keys: Option<Arc<ApiKeys>>,
    pub tokens: Option<Arc<Tokens>>,
}

/// A credential that does not hold. What exactly is wrong is for the ledger, not for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityError {
    Peer(SpiffeError),
    Certificate(CertificateError),
    /// What a forwarder says of the certificate that it has seen.
    Forwarded(ForwardedError),
    ApiKey(ApiKeyError),
    /// An API key was sent, but the bundle or the server knows none.
    ApiKeysNotConfigured,
    /// A token was sent, and the bundle has no issuer.
    TokensNotConfigured,
    Token(TokenError),
    /// An API key and a token in one call.
    TwoCredentials,
    /// Proven, but not by a way that the service accepts.
    NotAccepted(Proof),
}

impl IdentityError {
    /// What to ask for before the caller can be established.
    pub fn pending(&self) -> Option<&Pending> {
        match self {
            IdentityError::Token(TokenError::Pending(pending)) => Some(pending),
            _ => None,
        }
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::Peer(error) => write!(f, "the peer's name: {error}"),
            IdentityError::Certificate(error) => write!(f, "the peer's certificate: {error}"),
            IdentityError::Forwarded(error) => write!(f, "`x-forwarded-client-cert`: {error}"),
            IdentityError::ApiKey(error) => error.fmt(f),
            IdentityError::ApiKeysNotConfigured => {
                f.write_str("an API key was sent and the server has no keys: give it `--api-keys`")
            }
            IdentityError::TokensNotConfigured => {
                f.write_str("a token was sent and `palisade.yaml` names no issuer under `identity`")
            }
            IdentityError::Token(error) => write!(f, "the token: {error}"),
            IdentityError::TwoCredentials => {
                f.write_str("an API key and a token were sent: one of them is too many")
            }
            IdentityError::NotAccepted(proof) => {
                write!(f, "the service does not accept callers that are proven by {}", proof.as_str())
            }
        }
    }
}

impl Proof {
    /// Its name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Proof::Mtls => "mtls",
            Proof::ApiKey => "api_key",
            Proof::Jwt => "jwt",
            Proof::Introspection => "introspection",
            Proof::None => "none",
        }
    }
}

/// By whom a call was carried here.
#[derive(Default)]
struct Carried {
    workload: Option<SpiffeId>,
    /// Whose word that is, if it is not its own certificate that says so.
    forwarder: Option<SpiffeId>,
}

impl Sources {
    /// Establishes the caller. A key or a token names the caller even when a workload's certificate carries it.
    /// `through` is whoever carried the caller's call one step on: for a person or a client the workload, for a workload
    /// the forwarder before it.
    pub fn establish(
        &self,
        credentials: Credentials<'_>,
        accepted: &Accepted,
        now_ms: u64,
    ) -> Result<Established, IdentityError> {
        let Carried { workload, forwarder } = self.carried(credentials)?;
        let caller = match (credentials.api_key, credentials.token) {
            // A workload behind a forwarder was carried by that; one that is the peer itself by nobody.
            (None, None) => {
                Established { through: forwarder.clone(), ..Established::by_connection(workload) }
            }
            (Some(key), None) => Established { through: workload, ..self.holder_of_key(key, now_ms)? },
            (None, Some(token)) => Established { through: workload, ..self.holder_of_token(token, now_ms)? },
            (Some(_), Some(_)) => return Err(IdentityError::TwoCredentials),
        };
        let caller = Established { forwarder, ..caller };
        if accepted.accepts(&caller) { Ok(caller) } else { Err(IdentityError::NotAccepted(caller.proof)) }
    }

    /// The workload that the call comes from: the peer, or whose certificate the peer has seen if it may say so.
    fn carried(&self, credentials: Credentials<'_>) -> Result<Carried, IdentityError> {
        let Some(peer) = self.peer(credentials)? else { return Ok(Carried::default()) };
        match credentials.forwarded_certificate.filter(|_| self.forwarders.contains(&peer)) {
            None => Ok(Carried { workload: Some(peer), forwarder: None }),
            Some(text) => {
                let workload = forwarded::workload(text, &peer, &self.trust_domains);
                let workload = workload.map_err(IdentityError::Forwarded)?;
                Ok(Carried { workload: Some(workload), forwarder: Some(peer) })
            }
        }
    }

    fn peer(&self, credentials: Credentials<'_>) -> Result<Option<SpiffeId>, IdentityError> {
        match (credentials.peer, credentials.peer_certificate) {
            ("", "") => Ok(None),
            (peer, certificate) => {
                // Without the certificate nobody could say whether the name is the only one in it.
                certificate::names_only(certificate, peer).map_err(IdentityError::Certificate)?;
                SpiffeId::parse(peer, &self.trust_domains).map(Some).map_err(IdentityError::Peer)
            }
        }
    }

    fn holder_of_key(&self, key: &str, now_ms: u64) -> Result<Established, IdentityError> {
        let keys = self.api_keys.as_deref().ok_or(IdentityError::ApiKeysNotConfigured)?;
        let holder = keys.client_of(key, now_ms).map_err(IdentityError::ApiKey)?;
        Ok(Established {
            scopes: holder.scopes.cloned(),
            key_id: Some(holder.id.clone()),
            ..Established::client(holder.client)
        })
    }

    fn holder_of_token(&self, token: &str, now_ms: u64) -> Result<Established, IdentityError> {
        let tokens = self.tokens.as_deref().ok_or(IdentityError::TokensNotConfigured)?;
        let verified = tokens.verify(token, now_ms).map_err(IdentityError::Token)?;
        Ok(Established {
            scopes: verified.scopes.clone(),
            expires_at_s: Some(verified.expires_at_s),
            ..Established::of(Identity::User(verified.user.clone()), verified.proof)
        })
    }
}

#[cfg(test)]
mod tests;
