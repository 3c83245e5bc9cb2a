//! Who is calling: a verified identity, or the reason why there is none. A table of contents.
//!
//! INVARIANT: a credential that was sent and does not hold is a denial, never a fall back to a weaker identity.
//! INVARIANT: to establish a caller waits for nothing. What only the network knows is `Pending`, and is asked for apart.

pub mod api_keys;
mod certificate;
mod fetch;
mod forwarded;
mod settings;
mod sources;
mod spiffe;
mod tokens;
mod user;

pub use api_keys::{ApiKeyError, ApiKeys, ApiKeysError, KeyHolder};
pub use certificate::{CertificateError, the_uri};
pub use fetch::{Endpoint, EndpointError, FetchError, FetchLimits, Fetcher, FetcherError};
pub use forwarded::ForwardedError;
pub use settings::{
    Algorithm, AttributeRule, CACHE_S_DEFAULT, CACHE_S_MAX, Claim, ClaimError, ClaimKind, ClaimRules,
    ClientCredentials, IntrospectionSettings, IssuerProblem, IssuerSettings, KeysFrom, KeysUrl,
    LEEWAY_S_DEFAULT, LEEWAY_S_MAX, MAX_AGE_S_DEFAULT, NEGATIVE_CACHE_S_DEFAULT, NEGATIVE_CACHE_S_MAX,
    REFRESH_S_DEFAULT, TokensError, TokensSettings,
};
pub use sources::{Accepted, AcceptedTokens, Credentials, IdentityError, Sources};
pub use spiffe::{SpiffeError, SpiffeId, is_trust_domain};
pub use tokens::{
    ClaimFault, Malformed, NoAnswer, Pending, PendingKeys, PendingOpaque, SourceState, TokenError, Tokens,
    Unavailable, Verified,
};
pub use user::{ClaimValue, User};

use std::collections::BTreeSet;
use std::sync::Arc;

/// A verified caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The certificate of the connection.
    Workload(SpiffeId),
    /// The holder of an API key, by the name that the key was issued to.
    Client(String),
    /// A person, by the word of an issuer of tokens.
    User(Arc<User>),
    /// No credential was sent.
    Anonymous,
}

/// How an identity was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    Mtls,
    ApiKey,
    /// A signed token.
    Jwt,
    /// An opaque token, of which its issuer was asked.
    Introspection,
    None,
}

/// A caller, and the workload that carried the call if that is somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    pub identity: Identity,
    pub through: Option<SpiffeId>,
    pub proof: Proof,
    /// What the credential is good for, where it says so: the scopes of a key or a token.
    pub scopes: Option<Arc<BTreeSet<String>>>,
    /// The public id of the API key, for the ledger.
    pub key_id: Option<Arc<str>>,
    /// The second from which on the token is worth nothing, for the ledger.
    pub expires_at_s: Option<u64>,
    /// The peer that was believed when it said whose certificate it had seen, for the ledger.
    pub forwarder: Option<SpiffeId>,
}

impl Established {
    /// A caller that showed a certificate, or nothing.
    pub fn by_connection(peer: Option<SpiffeId>) -> Established {
        match peer {
            Some(peer) => Established::of(Identity::Workload(peer), Proof::Mtls),
            None => Established::of(Identity::Anonymous, Proof::None),
        }
    }

    /// The holder of an API key without scopes.
    pub fn client(name: impl Into<String>) -> Established {
        Established::of(Identity::Client(name.into()), Proof::ApiKey)
    }

    /// A person with a signed token.
    pub fn user(user: impl Into<Arc<User>>) -> Established {
        Established::of(Identity::User(user.into()), Proof::Jwt)
    }

    fn of(identity: Identity, proof: Proof) -> Established {
        Established {
            identity,
            through: None,
            proof,
            scopes: None,
            key_id: None,
            expires_at_s: None,
            forwarder: None,
        }
    }
}
