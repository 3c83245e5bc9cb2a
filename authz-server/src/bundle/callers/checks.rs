//! What is wrong with what was written about callers.
//!
//! INVARIANT: a setting that would believe somebody by mistake is an error with a way out, never a warning.

use super::{Claims, Identity, Issuer, KeySource};
use crate::bundle::format::Mask;
use crate::bundle::problem::Problem;
use crate::bundle::record::{Named, Placed, Reader};
use crate::bundle::recording::ALWAYS_RECORDED;
use crate::bundle::yaml::Key;
use crate::identity::{Claim, Endpoint, LEEWAY_S_MAX, MAX_AGE_S_DEFAULT, REFRESH_S_DEFAULT, SpiffeId};
use std::collections::HashMap;

const REFRESH_S: std::ops::RangeInclusive<u64> = 10..=86_400;

/// A set of keys that nobody could renew for longer is not its issuer's word any more.
const MAX_AGE_S_MAX: u64 = 7 * 24 * 60 * 60;

/// A token that was revoked is accepted for so long at most.
const CACHE_S_MAX: u64 = 300;

/// Who vouches for persons; more is a mistake.
const ISSUERS_MAX: usize = 64;

/// Why a name is nobody's.
#[derive(Debug)]
pub(crate) struct NoUser<'n> {
    pub(crate) why: String,
    /// What stands in place of an issuer.
    pub(crate) found: &'n str,
    pub(crate) help: &'static str,
}

impl Identity {
    /// Why nobody could ever be this user, if so.
    pub(crate) fn no_user<'n>(&self, id: &'n str) -> Option<NoUser<'n>> {
        let help =
            "a user is `<issuer>/<subject>`, by the name of an issuer under `identity` in `palisade.yaml`";
        match id.split_once('/') {
            Some((issuer, subject)) if !subject.is_empty() => {
                let known = self.issuers().any(|known| known == issuer);
                let why = || format!("the bundle has no issuer `{issuer}`");
                (!known).then(|| NoUser { why: why(), found: issuer, help })
            }
            _ => Some(NoUser { why: "it names no issuer".to_owned(), found: id, help }),
        }
    }
}

pub(in crate::bundle) fn check(
    identity: &Identity,
    trust_domains: &[Placed<String>],
    reader: &mut Reader<'_>,
) {
    if let Some(keys) = &identity.api_keys {
        credential_header(&keys.header, "an API key", "x-api-key", reader);
    }
    if let Some(header) = &identity.token_header {
        credential_header(header, "a token", super::AUTHORIZATION, reader);
        if !identity.takes_tokens() {
            let help = "add an issuer under `jwt` or `introspection`, or remove `token_header`";
            reader.wrong(header.at, "`token_header` without an issuer of tokens", help);
        }
        if identity.api_keys.as_ref().is_some_and(|keys| keys.header.value == header.value) {
            let message = format!("`{}` carries API keys already", header.value);
            reader.wrong(header.at, message, "give tokens a header of their own, such as `authorization`");
        }
    }
    names(identity, reader);
    let mut known: HashMap<&str, &Key> = HashMap::new();
    for (name, issuer) in &identity.jwt.0 {
        self::issuer(issuer, reader);
        if let Some(other) = known.insert(&issuer.issuer.value, name) {
            let message = format!("issuer `{}` is that of `{}` already", issuer.issuer.value, other.text);
            reader.wrong(issuer.issuer.at, message, "whose keys a token must be signed by would be a guess");
        }
    }
    for (name, issuer) in &identity.introspection.0 {
        if let Some((first, _)) =
            identity.introspection.0.first().filter(|(first, _)| first.text != name.text)
        {
            let message = format!("`{}` is asked about opaque tokens already", first.text);
            let help = "an opaque token does not say whose it is, and would be shown to both";
            reader.wrong(name.at, message, help);
        }
        url(&issuer.url, reader);
        audiences(&issuer.audiences, reader);
        claims(&issuer.claims, reader);
        if let Some(cache) = issuer.cache_s.as_ref().filter(|cache| cache.value > CACHE_S_MAX) {
            let message = format!("`cache_s: {}` is longer than {CACHE_S_MAX} s", cache.value);
            reader.wrong(cache.at, message, "a token that was revoked would be accepted for so long");
        }
    }
    if let Some(forwarded) = &identity.forwarded_client_cert {
        if forwarded.from.value.is_empty() {
            let help = "name the proxies, or remove `forwarded_client_cert`";
            reader.wrong(forwarded.from.at, "`from` is empty: nobody is believed", help);
        }
        for proxy in &forwarded.from.value {
            if let Err(error) = SpiffeId::parse(&proxy.value, trust_domains) {
                let message = format!("proxy `{}`: {error}", proxy.value);
                reader.wrong(proxy.at, message, "its own certificate must be one that is believed");
            }
        }
    }
}

fn credential_header(header: &Placed<String>, what: &str, such_as: &str, reader: &mut Reader<'_>) {
    let name = &header.value;
    if !is_header_name(name) {
        let help = format!("expected a header name in lower case without underscore, such as `{such_as}`");
        reader.wrong(header.at, format!("`{name}` cannot carry {what}"), help);
    }
    if ALWAYS_RECORDED.contains(&name.as_str()) {
        let message = format!("`{name}` cannot carry {what}: every entry of the ledger holds it");
        reader.wrong(header.at, message, format!("choose a header of its own, such as `{such_as}`"));
    }
}

/// Each name once, and such that a user's name has one reading.
fn names(identity: &Identity, reader: &mut Reader<'_>) {
    let signed = identity.jwt.0.iter().map(|(name, _)| name);
    let mut known: Vec<&str> = Vec::new();
    for name in signed.chain(identity.introspection.0.iter().map(|(name, _)| name)) {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.text.is_empty() || name.text.len() > 63 || !name.text.bytes().all(allowed) {
            let message = format!("`{}` cannot be the name of an issuer", name.text);
            reader.wrong(name.at, message, "expected lower-case letters, digits and hyphens, such as `corp`");
        } else if known.contains(&name.text.as_str()) {
            let message = format!("issuer `{}` is named twice", name.text);
            reader.wrong(name.at, message, "its name is part of its users' names: choose another one");
        } else if known.len() == ISSUERS_MAX {
            reader.wrong(name.at, format!("more than {ISSUERS_MAX} issuers are named"), "name fewer");
        }
        known.push(&name.text);
    }
}

fn issuer(issuer: &Issuer, reader: &mut Reader<'_>) {
    if issuer.issuer.value.is_empty() {
        reader.wrong(issuer.issuer.at, "`issuer` is empty", "write what its tokens have as `iss`");
    }
    audiences(&issuer.audiences, reader);
    if issuer.algorithms.value.is_empty() {
        let help = "name those by which its keys sign, such as `[ES256]`";
        reader.wrong(issuer.algorithms.at, "`algorithms` is empty: no token could be verified", help);
    }
    if let Some(skew) = issuer.skew_s.as_ref().filter(|skew| skew.value > LEEWAY_S_MAX) {
        let message = format!("`skew_s: {}` is more than {LEEWAY_S_MAX}", skew.value);
        reader.wrong(skew.at, message, "a token would be accepted for so long after its end");
    }
    claims(&issuer.claims, reader);
    key_source(&issuer.keys, reader);
}

fn key_source(keys: &Placed<KeySource>, reader: &mut Reader<'_>) {
    let KeySource { file, url: from, refresh_s, max_age_s } = &keys.value;
    match (file, from) {
        (None, None) => {
            let help = "give `file: keys/<name>.json` in the bundle, or a `url`";
            reader.wrong(keys.at, "an issuer without keys: no token could be verified", help);
        }
        (Some(file), Some(_)) => {
            reader.wrong(
                file.at,
                "keys have both a `file` and a `url`",
                "which of them counts would be a guess",
            );
        }
        (Some(_), None) => {
            for setting in [refresh_s, max_age_s].into_iter().flatten() {
                reader.wrong(setting.at, "a file of the bundle is not fetched", "remove it");
            }
        }
        (None, Some(from)) => url(from, reader),
    }
    if let Some(refresh) = refresh_s.as_ref().filter(|refresh| !REFRESH_S.contains(&refresh.value)) {
        let message = format!(
            "`refresh_s: {}` is not from {} to {}",
            refresh.value,
            REFRESH_S.start(),
            REFRESH_S.end()
        );
        reader.wrong(refresh.at, message, "300 is a good value: an unknown key is asked for at once anyway");
    }
    let refresh = refresh_s.as_ref().map_or(REFRESH_S_DEFAULT, |refresh| refresh.value);
    if let (Some(written), None) = (refresh_s, max_age_s)
        && refresh > MAX_AGE_S_DEFAULT
    {
        let help =
            format!("write `max_age_s` beside it: without it, keys are used for {MAX_AGE_S_DEFAULT} s");
        reader.wrong(written.at, format!("`refresh_s: {refresh}` is longer than keys are used"), help);
    }
    if let Some(age) = max_age_s.as_ref() {
        if age.value > MAX_AGE_S_MAX {
            let message = format!("`max_age_s: {}` is longer than a week", age.value);
            reader.wrong(age.at, message, "a key that its issuer withdrew would be believed for so long");
        } else if refresh > age.value {
            let message = format!("`max_age_s: {}` is shorter than `refresh_s`", age.value);
            reader.wrong(age.at, message, "the keys would be gone before they are fetched again");
        }
    }
}

fn audiences(audiences: &Placed<Vec<Placed<String>>>, reader: &mut Reader<'_>) {
    if audiences.value.is_empty() {
        let help = "name at least one: a token that was issued to somebody else would be accepted here";
        reader.wrong(audiences.at, "`audiences` is empty", help);
    }
    for audience in audiences.value.iter().filter(|audience| audience.value.is_empty()) {
        reader.wrong(audience.at, "an audience is empty", "remove it");
    }
}

fn claims(claims: &Claims, reader: &mut Reader<'_>) {
    let Claims { user, groups, roles, scopes, attributes } = claims;
    let single = [user, groups, roles, scopes].into_iter().flatten();
    for claim in single.chain(attributes.0.iter().map(|(_, claim)| claim)) {
        if let Err(error) = Claim::parse(&claim.value) {
            let help =
                "expected its name, such as `groups`, or a JSON pointer, such as `/realm_access/roles`";
            reader.wrong(claim.at, format!("`{}` is no claim: {error}", claim.value), help);
        }
    }
}

/// By https, or on this machine: whoever stands between could send keys of their own.
fn url(url: &Placed<String>, reader: &mut Reader<'_>) {
    if let Err(error) = Endpoint::parse(&url.value) {
        let help = "whoever stands between could send keys of their own: expected a URL such as `https://login.example/keys`";
        reader.wrong(url.at, format!("`{}` cannot be asked: {error}", url.value), help);
    }
}

fn is_header_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 64 && text.bytes().all(allowed) && !text.starts_with("x-palisade-")
}

/// A mask of a claim that nobody tells would mask nothing.
pub(in crate::bundle) fn check_masks(identity: &Identity, masks: &Named<Mask>, reader: &mut Reader<'_>) {
    let attributes = identity.claimed_attributes().map(|name| name.text.as_str());
    let lists = [("groups", identity.claims_groups()), ("roles", identity.claims_roles())];
    let lists = lists.into_iter().filter(|(_, told)| *told).map(|(name, _)| name);
    let known: Vec<&str> = lists.chain(attributes).collect();
    for (key, _) in masks.0.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
        let message = format!("no issuer tells `{}` of persons", key.text);
        let problem = Problem::new(reader.place(key.at), message).suggest(&key.text, known.iter().copied());
        reader.push(
            problem.help(
                "a mask of something that is not there would mask nothing; remove it, or mend the name",
            ),
        );
    }
}
