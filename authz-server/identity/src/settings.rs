//! What a bundle says of the issuers of tokens.
//!
//! INVARIANT: nothing about trust has a default: an issuer without audiences, algorithms or keys is not one.

mod introspection;

pub use introspection::{
    CACHE_S_DEFAULT, CACHE_S_MAX, ClientCredentials, IntrospectionSettings, NEGATIVE_CACHE_S_DEFAULT,
    NEGATIVE_CACHE_S_MAX,
};

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub const LEEWAY_S_DEFAULT: u64 = 30;

/// More would revive tokens that their issuer let die.
pub const LEEWAY_S_MAX: u64 = 60;

pub const REFRESH_S_DEFAULT: u64 = 300;

/// How long keys are trusted while nobody can say whether they still hold.
pub const MAX_AGE_S_DEFAULT: u64 = 3600;

const REFRESH_S_MIN: u64 = 10;

const MAX_AGE_S_MAX: u64 = 7 * 24 * 3600;

const NAME_BYTES_MAX: usize = 64;

const CLAIM_BYTES_MAX: usize = 256;

const ATTRIBUTES_MAX: usize = 32;

/// By which algorithms a token may be signed. Those with a shared secret are not among them: whoever can verify such a
/// token can make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Algorithm; 9] = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ];

    /// The name that RFC 7518 and RFC 8037 give it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    pub fn parse(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

/// Everything by which tokens are judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokensSettings {
    pub issuers: Vec<IssuerSettings>,
    /// Who is asked about tokens that say nothing. At most one: such a token does not say whose it is, and of two servers
    /// one would be shown what only the other may see.
    pub introspection: Vec<IntrospectionSettings>,
}

/// Somebody whose signed tokens are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// What the bundle calls it; the first half of its users' names.
    pub name: String,
    /// The claim `iss` of its tokens, word for word.
    pub issuer: String,
    /// One of these must be in `aud`.
    pub audiences: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    pub keys: KeysFrom,
    pub claims: ClaimRules,
    /// What clocks may differ by.
    pub leeway_s: u64,
}

/// Where an issuer's public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysFrom {
    /// The text of a JWK set.
    Text(Arc<str>),
    Url(KeysUrl),
}

/// A JWK set that is asked for again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysUrl {
    pub url: String,
    pub refresh_s: u64,
    /// How long the last good set is used when no newer one can be had.
    pub max_age_s: u64,
    /// Who vouches for the server, in PEM; without it, whoever this machine trusts.
    pub ca: Option<PathBuf>,
}

/// Which claims tell what of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRules {
    pub subject: Claim,
    /// An array of strings.
    pub groups: Option<Claim>,
    /// An array of strings.
    pub roles: Option<Claim>,
    /// An array of strings, or one string with spaces between the scopes.
    pub scopes: Option<Claim>,
    /// By the name that policies have for them.
    pub attributes: BTreeMap<String, AttributeRule>,
}

impl Default for ClaimRules {
    /// What the standards name.
    fn default() -> ClaimRules {
        ClaimRules {
            subject: Claim("sub".to_owned()),
            groups: None,
            roles: None,
            scopes: Some(Claim("scope".to_owned())),
            attributes: BTreeMap::new(),
        }
    }
}

/// A claim that policies may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeRule {
    pub claim: Claim,
    pub kind: ClaimKind,
    /// A token without it is refused.
    pub required: bool,
}

/// The type that a claim has. One of another type is a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimKind {
    Text,
    Long,
    Bool,
    /// An array of strings.
    Texts,
}

/// Where a claim stands: a name at the top, or a JSON pointer, which begins with a slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim(String);

impl Claim {
    pub fn parse(text: &str) -> Result<Claim, ClaimError> {
        if text.is_empty() || text.len() > CLAIM_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(ClaimError::Name);
        }
        if text.starts_with('/') && text.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
            return Err(ClaimError::Pointer);
        }
        Ok(Claim(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the claims have there.
    pub(crate) fn find<'v>(&self, claims: &'v serde_json::Value) -> Option<&'v serde_json::Value> {
        if self.0.starts_with('/') { claims.pointer(&self.0) } else { claims.get(&self.0) }
    }
}

/// Why a text names no claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimError {
    Name,
    Pointer,
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClaimError::Name => write!(f, "expected 1 to {CLAIM_BYTES_MAX} bytes without control characters"),
            ClaimError::Pointer => {
                f.write_str("in a JSON pointer, `~` is written `~0` and a slash in a name `~1`")
            }
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensError {
    /// What the bundle calls the issuer.
    pub issuer: String,
    pub problem: IssuerProblem,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerProblem {
    Name,
    /// Two issuers have this name.
    NameTwice,
    /// `iss` is empty or too long.
    Issuer,
    /// Two issuers have this `iss`.
    IssuerTwice(String),
    NoAudience,
    NoAlgorithm,
    Leeway(u64),
    Refresh(u64),
    MaxAge(u64),
    Attributes(usize),
    /// The keys of the bundle cannot be used.
    Keys(String),
    /// The keys cannot be asked for.
    Url(String),
    /// There is a server already that is asked about opaque tokens.
    IntrospectionTwice(String),
    /// The server cannot be asked about tokens.
    Introspection(String),
    /// Answers are kept too long, or not at all.
    Cache {
        seconds: u64,
        max: u64,
    },
}

impl fmt::Display for TokensError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the issuer `{}`: ", self.issuer)?;
        match &self.problem {
            IssuerProblem::Name => write!(
                f,
                "its name is part of its users' names: expected 1 to {NAME_BYTES_MAX} of letters, digits, `.`, `_`, `-`"
            ),
            IssuerProblem::NameTwice => f.write_str("two issuers have this name"),
            IssuerProblem::Issuer => {
                write!(f, "`issuer` is the claim `iss` of its tokens: expected 1 to {} bytes", ISS_BYTES_MAX)
            }
            IssuerProblem::IssuerTwice(other) => write!(f, "`{other}` has the same `issuer`"),
            IssuerProblem::NoAudience => {
                f.write_str("expected at least one audience, and none that is empty")
            }
            IssuerProblem::NoAlgorithm => f.write_str("expected at least one algorithm"),
            IssuerProblem::Leeway(leeway_s) => {
                write!(f, "a leeway of {leeway_s} s: expected at most {LEEWAY_S_MAX}")
            }
            IssuerProblem::Refresh(refresh_s) => {
                write!(f, "a refresh each {refresh_s} s: expected at least {REFRESH_S_MIN}")
            }
            IssuerProblem::MaxAge(max_age_s) => write!(
                f,
                "keys that are used for {max_age_s} s: expected at least the time between refreshes, and at most {MAX_AGE_S_MAX}"
            ),
            IssuerProblem::Attributes(count) => {
                write!(f, "{count} attributes: expected at most {ATTRIBUTES_MAX}")
            }
            IssuerProblem::Keys(detail) => write!(f, "its keys cannot be used: {detail}"),
            IssuerProblem::Url(detail) => write!(f, "its keys cannot be asked for: {detail}"),
            IssuerProblem::IntrospectionTwice(other) => write!(
                f,
                "opaque tokens are shown to `{other}` already: they do not say whose they are, so that only one server may be asked"
            ),
            IssuerProblem::Introspection(detail) => write!(f, "it cannot be asked about tokens: {detail}"),
            IssuerProblem::Cache { seconds, max } => {
                write!(f, "answers that are kept for {seconds} s: expected 1 to {max}")
            }
        }
    }
}

impl std::error::Error for TokensError {}

/// Longer than any URL that names an issuer.
pub(crate) const ISS_BYTES_MAX: usize = 512;

impl TokensSettings {
    /// All that can be said without looking at keys; the first problem of each issuer.
    pub fn problems(&self) -> Vec<TokensError> {
        let mut problems = Vec::new();
        for (place, settings) in self.issuers.iter().enumerate() {
            let earlier = || self.issuers.iter().take(place);
            let same_issuer = || earlier().find(|other| other.issuer == settings.issuer);
            let problem = if earlier().any(|other| other.name == settings.name) {
                Some(IssuerProblem::NameTwice)
            } else if let Some(other) = same_issuer() {
                Some(IssuerProblem::IssuerTwice(other.name.clone()))
            } else {
                settings.problem()
            };
            problems.extend(problem.map(|problem| TokensError { issuer: settings.name.clone(), problem }));
        }
        for (place, settings) in self.introspection.iter().enumerate() {
            let problem = match self.introspection.first() {
                Some(first) if place > 0 => Some(IssuerProblem::IntrospectionTwice(first.name.clone())),
                _ if self.issuers.iter().any(|other| other.name == settings.name) => {
                    Some(IssuerProblem::NameTwice)
                }
                _ => settings.problem(),
            };
            problems.extend(problem.map(|problem| TokensError { issuer: settings.name.clone(), problem }));
        }
        problems
    }
}

impl IssuerSettings {
    fn problem(&self) -> Option<IssuerProblem> {
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(in_name) {
            return Some(IssuerProblem::Name);
        }
        if self.issuer.is_empty() || self.issuer.len() > ISS_BYTES_MAX {
            return Some(IssuerProblem::Issuer);
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Some(IssuerProblem::NoAudience);
        }
        if self.algorithms.is_empty() {
            return Some(IssuerProblem::NoAlgorithm);
        }
        if self.leeway_s > LEEWAY_S_MAX {
            return Some(IssuerProblem::Leeway(self.leeway_s));
        }
        if self.claims.attributes.len() > ATTRIBUTES_MAX {
            return Some(IssuerProblem::Attributes(self.claims.attributes.len()));
        }
        match &self.keys {
            KeysFrom::Text(_) => None,
            KeysFrom::Url(from) if from.refresh_s < REFRESH_S_MIN => {
                Some(IssuerProblem::Refresh(from.refresh_s))
            }
            KeysFrom::Url(from) if from.max_age_s < from.refresh_s || from.max_age_s > MAX_AGE_S_MAX => {
                Some(IssuerProblem::MaxAge(from.max_age_s))
            }
            KeysFrom::Url(_) => None,
        }
    }
}
