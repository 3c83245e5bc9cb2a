//! Who is calling: a verified identity, or the reason why there is none. A table of contents.
//!
//! INVARIANT: a credential that was sent and does not hold is a denial, never a fall back to a weaker identity.

mod api_keys;
mod certificate;
mod spiffe;

pub use api_keys::{ApiKeys, ApiKeysError};
pub use certificate::{CertificateError, the_uri};
pub use spiffe::{SpiffeError, SpiffeId, is_trust_domain};

/// A verified caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The certificate of the connection.
    Workload(SpiffeId),
    /// The holder of an API key, by the name that the key was issued to.
    Client(String),
    /// No credential was sent.
    Anonymous,
}

impl Identity {
    /// How it was proven, for the ledger.
    pub const fn proof(&self) -> &'static str {
        match self {
            Identity::Workload(_) => "mtls",
            Identity::Client(_) => "api_key",
            Identity::Anonymous => "none",
        }
    }
}

/// What a request brought to prove who it is from.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// The first URI SAN of the peer's certificate, as the proxy verified it. Empty without mTLS.
    pub peer: &'a str,
    /// The certificate itself, which the proxy must pass on.
    pub peer_certificate: &'a str,
    pub api_key: Option<&'a str>,
}

/// A credential that does not hold. What exactly is wrong is for the ledger, not for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityError {
    Peer(SpiffeError),
    Certificate(CertificateError),
    ApiKeyUnknown,
    /// An API key was sent, but the bundle or the server knows none.
    ApiKeysNotConfigured,
}

impl std::fmt::Display for IdentityError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            IdentityError::Peer(error) => write!(f, "the peer's name: {error}"),
            IdentityError::Certificate(error) => write!(f, "the peer's certificate: {error}"),
            IdentityError::ApiKeyUnknown => f.write_str("the API key is none of those issued"),
            IdentityError::ApiKeysNotConfigured => {
                f.write_str("an API key was sent and the server has no keys: give it `--api-keys`")
            }
        }
    }
}

/// A caller, and the workload that carried the call if that is somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    pub identity: Identity,
    pub through: Option<SpiffeId>,
}

/// Establishes the caller. An API key names the caller even when a workload's certificate carries it.
pub fn establish(
    credentials: Credentials<'_>,
    trust_domains: &[impl AsRef<str>],
    keys: Option<&ApiKeys>,
) -> Result<Established, IdentityError> {
    let peer = match (credentials.peer, credentials.peer_certificate) {
        ("", "") => None,
        (peer, certificate) => {
            // Without the certificate nobody could say whether the name is the only one in it.
            certificate::names_only(certificate, peer).map_err(IdentityError::Certificate)?;
            Some(SpiffeId::parse(peer, trust_domains).map_err(IdentityError::Peer)?)
        }
    };
    let Some(key) = credentials.api_key else {
        let identity = peer.map_or(Identity::Anonymous, Identity::Workload);
        return Ok(Established { identity, through: None });
    };
    let keys = keys.ok_or(IdentityError::ApiKeysNotConfigured)?;
    let client = keys.client_of(key).ok_or(IdentityError::ApiKeyUnknown)?;
    Ok(Established { identity: Identity::Client(client.to_owned()), through: peer })
}
