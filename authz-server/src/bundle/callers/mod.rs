//! What people write about callers: `identity` in `palisade.yaml`, and by which ways a service lets them in.
//!
//! INVARIANT: nothing about whom to believe has a default: an issuer's name, its audiences, its algorithms and where its
//! keys are must be written. No secret stands here: keys of a file are public ones, and what introspection needs to prove
//! itself is given to the server.

mod checks;
mod keys;
mod settings;
mod ways;

pub(super) use checks::{check, check_masks};
pub(super) use keys::keys;
pub(super) use settings::check_attributes;
pub(super) use ways::accepted;

use super::record::{Named, Placed, choice, record};

record! {
    /// `identity`: the sources beside the workload's own certificate.
    #[derive(Default)]
    pub struct Identity {
        /// API keys. Absent: none are read.
        optional api_keys: Option<ApiKeys>,
        /// The header that carries tokens, in lower case. Absent: `authorization`, where a token stands behind `Bearer `.
        /// In another header it stands alone.
        optional token_header: Option<Placed<String>>,
        /// Issuers of signed tokens (JWT), by the name that they have here: a person is `User::"<name>/<subject>"`.
        optional jwt: Named<Issuer>,
        /// Issuers that are asked about opaque tokens (RFC 7662), by the name that they have here.
        optional introspection: Named<Introspection>,
        /// The word of other proxies about the certificate of their caller. Absent: nobody is believed.
        optional forwarded_client_cert: Option<ForwardedClientCert>,
    }
}

record! {
    /// `identity.api_keys`.
    pub struct ApiKeys {
        /// The header that carries the key, in lower case.
        required header: Placed<String>,
    }
}

record! {
    /// `identity.jwt.<name>`.
    pub struct Issuer {
        /// What its tokens have as `iss`, letter for letter.
        required issuer: Placed<String>,
        /// Which of its tokens are for us: one of these must be in `aud`.
        required audiences: Placed<Vec<Placed<String>>>,
        /// By which its keys may sign. A key signs by one of them only.
        required algorithms: Placed<Vec<Placed<Algorithm>>>,
        /// Where its keys are. Give `file` or `url`.
        required keys: Placed<KeySource>,
        /// What its tokens say of a person. Absent: only who they are.
        optional claims: Claims,
        /// By how many seconds its clock and ours may differ, at most 60. Absent: 30.
        optional skew_s: Option<Placed<u64>>,
    }
}

record! {
    /// `identity.jwt.<name>.keys`: a set of public keys (JWKS).
    pub struct KeySource {
        /// A file of the bundle, `keys/<name>.json`.
        optional file: Option<Placed<String>>,
        /// Where it is fetched from, by https; plain http on this machine alone.
        optional url: Option<Placed<String>>,
        /// With `url`: how often it is fetched, in seconds, from 10 to 86400. Absent: 300.
        optional refresh_s: Option<Placed<u64>>,
        /// With `url`: for how long the last good set counts while no newer one can be had, in seconds, at most a week.
        /// Absent: 3600.
        optional max_age_s: Option<Placed<u64>>,
    }
}

record! {
    /// `claims`: where a token says what, each the name of a claim, or a JSON pointer into one such as
    /// `/realm_access/roles`.
    #[derive(Default)]
    pub struct Claims {
        /// Who it is of. Absent: `sub`.
        optional user: Option<Placed<String>>,
        /// Groups that the person is in. Absent: none.
        optional groups: Option<Placed<String>>,
        /// Roles that the person has. Absent: none.
        optional roles: Option<Placed<String>>,
        /// What the token is good for: a list, or words with spaces between them. Absent: `scope`.
        optional scopes: Option<Placed<String>>,
        /// Attributes of `UserAttributes` in a schema fragment, by their names there.
        optional attributes: Named<Placed<String>>,
    }
}

record! {
    /// `identity.introspection.<name>`. The server proves itself with `--introspection-secret NAME=FILE`.
    pub struct Introspection {
        /// Where tokens are asked about, by https; plain http on this machine alone.
        required url: Placed<String>,
        /// Which of its tokens are for us: one of these must be in `aud` of its answer.
        required audiences: Placed<Vec<Placed<String>>>,
        /// What its answers say of a person. Absent: only who they are.
        optional claims: Claims,
        /// For how long an answer counts, in seconds, at most 300, and never longer than the token lives. Absent: 30.
        optional cache_s: Option<Placed<u64>>,
    }
}

record! {
    /// `identity.forwarded_client_cert`.
    pub struct ForwardedClientCert {
        /// The proxies, by SPIFFE id, whose last element of `x-forwarded-client-cert` names the caller.
        required from: Placed<Vec<Placed<String>>>,
    }
}

choice! {
    /// How a key signs.
    pub enum Algorithm: "`RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384` or `EdDSA`" {
        Rs256 = "RS256",
        Rs384 = "RS384",
        Rs512 = "RS512",
        Ps256 = "PS256",
        Ps384 = "PS384",
        Ps512 = "PS512",
        Es256 = "ES256",
        Es384 = "ES384",
        EdDsa = "EdDSA",
    }
}

/// The header that carries tokens where the bundle says nothing else.
pub const AUTHORIZATION: &str = "authorization";

/// What stands before a token in its header: a scheme in `authorization`, and nothing in a header of its own.
pub fn token_scheme(header: &str) -> &'static str {
    if header == AUTHORIZATION { "Bearer " } else { "" }
}

impl Identity {
    /// Whether anybody can prove who they are by a token.
    pub fn takes_tokens(&self) -> bool {
        !self.jwt.0.is_empty() || !self.introspection.0.is_empty()
    }

    /// Where tokens stand, if any are taken.
    pub fn token_header(&self) -> Option<&str> {
        let written = self.token_header.as_ref().map_or(AUTHORIZATION, |header| header.value.as_str());
        self.takes_tokens().then_some(written)
    }

    /// Headers with credentials: they come once, no policy reads them, and no entry holds them.
    pub fn credential_headers(&self) -> impl Iterator<Item = &str> {
        let keys = self.api_keys.iter().map(|keys| keys.header.value.as_str());
        keys.chain(self.token_header())
    }

    /// The names of all who vouch for persons.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        let signed = self.jwt.0.iter().map(|(name, _)| name.text.as_str());
        signed.chain(self.introspection.0.iter().map(|(name, _)| name.text.as_str()))
    }

    /// What is read of the signed tokens of an issuer.
    pub(crate) fn claims_of(&self, issuer: &str) -> Option<&Claims> {
        self.jwt.0.iter().find(|(name, _)| name.text == issuer).map(|(_, issuer)| &issuer.claims)
    }

    fn claims(&self) -> impl Iterator<Item = &Claims> {
        let signed = self.jwt.0.iter().map(|(_, issuer)| &issuer.claims);
        signed.chain(self.introspection.0.iter().map(|(_, issuer)| &issuer.claims))
    }

    /// Whether an issuer puts persons into groups.
    pub fn claims_groups(&self) -> bool {
        self.claims().any(|claims| claims.groups.is_some())
    }

    /// Whether an issuer gives persons roles.
    pub fn claims_roles(&self) -> bool {
        self.claims().any(|claims| claims.roles.is_some())
    }

    /// The attributes that issuers tell of persons, each with its place.
    pub(crate) fn claimed_attributes(&self) -> impl Iterator<Item = &super::yaml::Key> {
        self.claims().flat_map(|claims| claims.attributes.0.iter().map(|(name, _)| name))
    }
}
