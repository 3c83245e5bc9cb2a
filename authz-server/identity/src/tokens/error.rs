//! Why a token proves nothing.
//!
//! INVARIANT: no message repeats what a token says: it comes from whoever sent it, and the caller learns none of it anyway.

use super::Pending;
use std::fmt;

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenError {
    /// The network knows more.
    Pending(Pending),
    /// The issuer's keys cannot be had, or not now.
    Unavailable {
        issuer: String,
        why: Unavailable,
    },
    /// The server that could say what it is worth did not.
    NoAnswer {
        issuer: String,
        why: NoAnswer,
    },
    /// The server that made it says that it is worth nothing, or nothing any more.
    Inactive,
    /// A good token, but not one to show here: to get others with, to tell of a login, or bound to a key.
    OtherKind {
        claim: &'static str,
    },
    /// It is no compact JWS; says what it lacks.
    Malformed(Malformed),
    /// Larger than anything that is let in.
    Limit {
        what: &'static str,
        max: usize,
    },
    /// No issuer of the bundle could have made it.
    IssuerUnknown,
    /// Signed by an algorithm that the issuer, or the key, is not for.
    Algorithm,
    /// The issuer has no key of that name.
    KeyUnknown,
    /// It names no key, and not exactly one fits.
    KeyUnnamed,
    Signature,
    /// Made for somebody else.
    Audience,
    Expired,
    NotYetValid,
    /// Issued later than now.
    IssuedInFuture,
    /// A claim is not what the bundle says it is.
    Claim {
        claim: String,
        fault: ClaimFault,
    },
}

/// What a text lacks to be a compact JWS that everybody reads alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not three parts with dots between, of the letters of Base64 for URLs.
    Parts,
    Base64,
    /// The header is not one strict JSON object.
    HeaderJson,
    /// The claims are not one strict JSON object.
    ClaimsJson,
    /// `alg` or `kid` is of another type, or `alg` is absent.
    HeaderMember,
    /// `typ` is neither absent nor that of a token.
    Type,
    /// The header demands what is not understood here: `crit`, or one for encryption.
    Critical,
    /// No text that a bearer token can be.
    Opaque,
}

/// Why it is not known what a token is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// The server here was not told who it is to the one that could be asked.
    NoCredentials,
    /// Too many tokens are asked about right now.
    Busy,
    /// No answer came, or none that is understood.
    Failed(String),
}

/// Why keys cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// There are none yet.
    NoKeys,
    /// Those that there are could not be confirmed for too long.
    KeysTooOld,
    /// The issuer was asked a moment ago, before anybody knew of this key.
    AskedJustNow,
}

/// What is wrong with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimFault {
    Missing,
    /// Of another type than it must have.
    Type,
    /// Not a whole number of seconds of a year that anybody lives in.
    Time,
    Empty,
    /// It has control characters.
    Control,
    /// Longer than so many bytes, or more than so many items.
    TooLong(usize),
    TooMany(usize),
}

impl TokenError {
    /// Whether the fault is with the source that could prove it (503), not with the token (401).
    pub fn is_unavailable(&self) -> bool {
        matches!(self, TokenError::Pending(_) | TokenError::Unavailable { .. } | TokenError::NoAnswer { .. })
    }

    /// Whether a text that is refused so may still mean something to the server that made it. A token that says itself
    /// which issuer of the bundle made it is judged by that alone.
    pub(super) fn leaves_token_opaque(&self) -> bool {
        match self {
            TokenError::IssuerUnknown => true,
            TokenError::Malformed(malformed) => matches!(
                malformed,
                Malformed::Parts | Malformed::Base64 | Malformed::HeaderJson | Malformed::ClaimsJson
            ),
            TokenError::Claim { claim, fault: ClaimFault::Missing } => claim == "iss",
            _ => false,
        }
    }

    pub(super) fn claim(claim: &str, fault: ClaimFault) -> TokenError {
        TokenError::Claim { claim: claim.to_owned(), fault }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::Pending(_) => f.write_str("its issuer was not asked yet"),
            TokenError::Unavailable { issuer, why } => {
                write!(f, "the keys of the issuer `{issuer}` cannot be had: {why}")
            }
            TokenError::NoAnswer { issuer, why } => {
                write!(f, "`{issuer}` did not say what it is worth: {why}")
            }
            TokenError::Inactive => f.write_str("its server says that it is not active"),
            TokenError::OtherKind { claim } => {
                write!(f, "by `{claim}` in the answer of its server it is no bearer token for access")
            }
            TokenError::Malformed(malformed) => malformed.fmt(f),
            TokenError::Limit { what, max } => write!(f, "{what} over the limit of {max} bytes"),
            TokenError::IssuerUnknown => f.write_str("no issuer of the bundle could have made it"),
            TokenError::Algorithm => {
                f.write_str("it is signed by an algorithm that its issuer or its key is not for")
            }
            TokenError::KeyUnknown => f.write_str("its issuer has no key of the name in `kid`"),
            TokenError::KeyUnnamed => {
                f.write_str("it has no `kid`, and not exactly one key of its issuer fits")
            }
            TokenError::Signature => f.write_str("the signature does not hold"),
            TokenError::Audience => f.write_str("it is made for another audience"),
            TokenError::Expired => f.write_str("it has expired"),
            TokenError::NotYetValid => f.write_str("it is not valid yet"),
            TokenError::IssuedInFuture => f.write_str("it says that it was issued later than now"),
            TokenError::Claim { claim, fault } => write!(f, "the claim `{claim}` {fault}"),
        }
    }
}

impl std::error::Error for TokenError {}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Parts => "expected three parts of Base64 for URLs, with dots between them",
            Malformed::Base64 => "a part is not strict Base64 for URLs without padding",
            Malformed::HeaderJson => "its header is not one JSON object that everybody reads alike",
            Malformed::ClaimsJson => "its claims are not one JSON object that everybody reads alike",
            Malformed::HeaderMember => "expected text as `alg` in its header, and text or nothing as `kid`",
            Malformed::Type => "expected `JWT`, `at+jwt` or nothing as `typ` in its header",
            Malformed::Opaque => "expected letters, digits and `-._~+/`, and `=` at the end alone",
            Malformed::Critical => "its header demands an extension that is not understood here",
        })
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::NoCredentials => {
                f.write_str("this server has no credentials to ask it: give it `--introspection-secret`")
            }
            NoAnswer::Busy => f.write_str("too many tokens are asked about right now"),
            NoAnswer::Failed(detail) => f.write_str(detail),
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unavailable::NoKeys => "none came yet",
            Unavailable::KeysTooOld => "those that came last are too old to be used",
            Unavailable::AskedJustNow => "it was asked a moment ago, and its key may be newer",
        })
    }
}

impl fmt::Display for ClaimFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClaimFault::Missing => f.write_str("is missing"),
            ClaimFault::Type => f.write_str("is of another type than expected"),
            ClaimFault::Time => {
                f.write_str("is not a whole number of seconds since 1970, before the year 10000")
            }
            ClaimFault::Empty => f.write_str("is empty"),
            ClaimFault::Control => f.write_str("has control characters"),
            ClaimFault::TooLong(max) => write!(f, "is over the limit of {max} bytes"),
            ClaimFault::TooMany(max) => write!(f, "has more than {max} items"),
        }
    }
}
