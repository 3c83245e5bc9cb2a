//! Who calls: the credentials of a call, and what they prove.
//!
//! INVARIANT: a credential that cannot be read is one that does not hold; nobody becomes anonymous by sending garbage.

use super::{Call, Decider};
use crate::bundle::Bundle;
use crate::bundle::callers::AUTHORIZATION;
use crate::identity::{
    Accepted, ApiKeys, ClientCredentials, Credentials, Established, IdentityError, KeysFrom, Pending,
    Sources, SpiffeId, Tokens,
};
use palisade_core::contract::Matched;
use palisade_core::reason::Reason;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// By which a proxy says whose certificate it has seen.
const FORWARDED: &str = "x-forwarded-client-cert";

/// What a server is given about callers beside its bundle.
#[derive(Debug, Clone, Default)]
pub struct Given {
    pub api_keys: Option<Arc<ApiKeys>>,
    /// Where the keys of issuers are, instead of where the bundle says, by the names of the issuers.
    pub issuer_keys: BTreeMap<String, KeysFrom>,
    /// Who the server is to those that are asked about opaque tokens, by their names.
    pub introspection: BTreeMap<String, ClientCredentials>,
}

/// Why nobody knows who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unproven {
    pub(super) reason: Reason,
    /// For the ledger only.
    pub(super) detail: String,
    /// What to ask for, before the call can be decided.
    pub(super) awaits: Option<Pending>,
}

impl Unproven {
    fn because(detail: impl Into<String>) -> Unproven {
        Unproven { reason: Reason::IdentityInvalid, detail: detail.into(), awaits: None }
    }
}

impl From<IdentityError> for Unproven {
    fn from(error: IdentityError) -> Unproven {
        let reason = match &error {
            IdentityError::NotAccepted(_) => Reason::IdentityNotAccepted,
            IdentityError::Token(token) if token.is_unavailable() => Reason::IdentityUnavailable,
            _ if error.pending().is_some() => Reason::IdentityUnavailable,
            _ => Reason::IdentityInvalid,
        };
        Unproven { reason, detail: error.to_string(), awaits: error.pending().cloned() }
    }
}

/// Everything by which callers of a bundle are established. What `previous` knows of issuers that did not change goes on.
pub fn sources(bundle: &Bundle, given: &Given, previous: Option<&Sources>) -> Result<Sources, String> {
    let identity = &bundle.palisade.identity;
    let trust_domains: Vec<String> =
        bundle.palisade.trust_domains.iter().map(|domain| domain.value.clone()).collect();
    let tokens = if identity.takes_tokens() {
        let previous = previous.and_then(|previous| previous.tokens.as_deref());
        let begun = Tokens::begin(&bundle.issuers(&given.issuer_keys, &given.introspection), previous);
        let begun =
            begun.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        Some(Arc::new(begun?))
    } else {
        None
    };
    let api_keys = given.api_keys.clone();
    let believed = identity.forwarded_client_cert.iter().flat_map(|forwarded| &forwarded.from.value);
    let believed = believed.map(|proxy| SpiffeId::parse(&proxy.value, &trust_domains));
    let forwarders = believed.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    Ok(Sources { trust_domains, forwarders, api_keys, tokens })
}

impl Decider {
    /// Says by whose keys tokens are verified: a server that was given none of an issuer may have been meant to be.
    pub(crate) fn tell_whom_it_believes(&self, now_ms: u64) {
        for state in self.identity.tokens.iter().flat_map(|tokens| tokens.states(now_ms)) {
            let given = self.given.issuer_keys.contains_key(&state.issuer);
            tracing::info!(
                issuer = state.issuer,
                keys = state.keys,
                from = if given {
                    "`--issuer-keys`"
                } else {
                    "the bundle; `--issuer-keys NAME=FILE_OR_URL` puts others in their place"
                },
                "keys by which tokens of an issuer are verified"
            );
        }
    }

    pub(super) fn identify(
        &self,
        call: Call<'_>,
        matched: Option<Matched<'_>>,
        now_ms: u64,
    ) -> Result<Established, Unproven> {
        identify(&self.bundle, &self.identity, call, matched, now_ms)
    }
}

/// Who calls, by what a bundle says of callers.
pub(super) fn identify(
    bundle: &Bundle,
    sources: &Sources,
    call: Call<'_>,
    matched: Option<Matched<'_>>,
    now_ms: u64,
) -> Result<Established, Unproven> {
    let identity = &bundle.palisade.identity;
    let accepted = matched.and_then(|matched| bundle.accepted(matched)).unwrap_or(&Accepted::ALL);
    let keys = identity.api_keys.as_ref().map(|keys| keys.header.value.as_str());
    let api_key = keys.map(|name| text(call, name)).transpose()?.flatten();
    let token = identity.token_header().map(|name| token(call, name)).transpose()?.flatten();
    let forwarded = identity.forwarded_client_cert.as_ref().map(|_| joined(call, FORWARDED)).transpose()?;
    let credentials = Credentials {
        peer: call.peer,
        peer_certificate: call.peer_certificate,
        api_key,
        token,
        forwarded_certificate: forwarded.as_ref().and_then(Option::as_deref),
    };
    sources.establish(credentials, accepted, now_ms).map_err(Unproven::from)
}

/// The value of a header, of which the head allows one.
fn text<'a>(call: Call<'a>, name: &str) -> Result<Option<&'a str>, Unproven> {
    let value = call.pairs.iter().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| *value);
    let text = value.map(std::str::from_utf8).transpose();
    text.map_err(|_| Unproven::because(format!("the credential in `{name}` is not UTF-8")))
}

/// All lines of a header as one.
fn joined<'a>(call: Call<'a>, name: &str) -> Result<Option<Cow<'a, str>>, Unproven> {
    let mut found: Option<Cow<'a, str>> = None;
    for (_, value) in call.pairs.iter().filter(|(known, _)| *known == name.as_bytes()) {
        let text = std::str::from_utf8(value);
        let text = text.map_err(|_| Unproven::because(format!("`{name}` is not UTF-8")))?;
        found = Some(match found {
            None => Cow::Borrowed(text),
            Some(before) => Cow::Owned(format!("{before},{text}")),
        });
    }
    Ok(found)
}

/// A token as RFC 6750 writes it: in `authorization` behind one word and one space, elsewhere alone.
fn token<'a>(call: Call<'a>, name: &str) -> Result<Option<&'a str>, Unproven> {
    let Some(value) = text(call, name)? else { return Ok(None) };
    let token = if name == AUTHORIZATION { behind_bearer(value) } else { Some(value) };
    match token.filter(|token| is_token(token)) {
        Some(token) => Ok(Some(token)),
        None if name == AUTHORIZATION => {
            Err(Unproven::because("`authorization` is not `Bearer`, one space, and a token"))
        }
        None => Err(Unproven::because(format!("`{name}` holds more or less than a token"))),
    }
}

fn behind_bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// The letters that a token may have, and padding at its end only.
fn is_token(text: &str) -> bool {
    let letters = text.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !letters.is_empty() && letters.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::{behind_bearer, is_token};

    #[test]
    fn a_token_is_behind_one_word_and_one_space() {
        let read = |value: &'static str| behind_bearer(value).filter(|token| is_token(token));
        for value in ["Bearer a.b-c_d~e+f/g", "bearer abc", "BEARER abc=="] {
            assert!(read(value).is_some(), "{value}");
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer  abc",
            "Bearer\tabc",
            "Bearer abc ",
            "Bearer a b",
            "Bearer a,b",
            "Bearer =",
            "Bearer a=b",
            "Basic abc",
            "abc",
            " Bearer abc",
            "Bearer a\u{e9}",
            "BearerX abc",
        ] {
            assert_eq!(read(value), None, "{value:?}");
        }
    }
}
