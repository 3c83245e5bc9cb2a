//! From what a bundle says of issuers to what tokens are judged by.
//!
//! INVARIANT: an attribute that policies may ask for has the type that its schema fragment declares, or its token is
//! refused.

use super::{Algorithm, Claims, Identity, Issuer};
use crate::bundle::Bundle;
use crate::bundle::files::Role;
use crate::bundle::parsed::Parsed;
use crate::bundle::problem::{Place, Problem, Problems};
use crate::bundle::yaml::Span;
use crate::cedar::UserAttribute;
use crate::identity::{
    self, AttributeRule, CACHE_S_DEFAULT, Claim, ClaimRules, ClientCredentials, IntrospectionSettings,
    IssuerSettings, KeysFrom, KeysUrl, LEEWAY_S_DEFAULT, MAX_AGE_S_DEFAULT, NEGATIVE_CACHE_S_DEFAULT,
    REFRESH_S_DEFAULT, TokensSettings,
};
use std::collections::BTreeMap;

impl Bundle {
    /// What tokens are judged by, where these keys count instead of those that the bundle names.
    ///
    /// `credentials` is who the server is to those that are asked about opaque tokens.
    pub fn issuers(
        &self,
        instead: &BTreeMap<String, KeysFrom>,
        credentials: &BTreeMap<String, ClientCredentials>,
    ) -> TokensSettings {
        let issuers = self.palisade.identity.jwt.0.iter().map(|(name, issuer)| IssuerSettings {
            name: name.text.clone(),
            issuer: issuer.issuer.value.clone(),
            audiences: issuer.audiences.value.iter().map(|audience| audience.value.clone()).collect(),
            algorithms: issuer.algorithms.value.iter().map(|written| algorithm(written.value)).collect(),
            keys: match instead.get(&name.text) {
                Some(instead) => instead.clone(),
                None => self.keys_of(&name.text, issuer),
            },
            claims: rules(&issuer.claims, self.policies.user_attributes()),
            leeway_s: issuer.skew_s.as_ref().map_or(LEEWAY_S_DEFAULT, |skew| skew.value),
        });
        let asked = self.palisade.identity.introspection.0.iter();
        let introspection = asked.map(|(name, asked)| IntrospectionSettings {
            name: name.text.clone(),
            url: asked.url.value.clone(),
            client: credentials.get(&name.text).cloned(),
            audiences: asked.audiences.value.iter().map(|audience| audience.value.clone()).collect(),
            claims: rules(&asked.claims, self.policies.user_attributes()),
            cache_s: asked.cache_s.as_ref().map_or(CACHE_S_DEFAULT, |cache| cache.value),
            negative_cache_s: NEGATIVE_CACHE_S_DEFAULT,
            ca: None,
        });
        TokensSettings { issuers: issuers.collect(), introspection: introspection.collect() }
    }

    fn keys_of(&self, name: &str, issuer: &Issuer) -> KeysFrom {
        let keys = &issuer.keys.value;
        let seconds = |written: &Option<crate::bundle::Placed<u64>>, default| {
            written.as_ref().map_or(default, |written| written.value)
        };
        match &keys.url {
            Some(url) => KeysFrom::Url(KeysUrl {
                url: url.value.clone(),
                refresh_s: seconds(&keys.refresh_s, REFRESH_S_DEFAULT),
                max_age_s: seconds(&keys.max_age_s, MAX_AGE_S_DEFAULT),
                ca: None,
            }),
            None => KeysFrom::Text(self.issuer_keys.get(name).map(String::as_str).unwrap_or_default().into()),
        }
    }
}

fn algorithm(written: Algorithm) -> identity::Algorithm {
    match written {
        Algorithm::Rs256 => identity::Algorithm::Rs256,
        Algorithm::Rs384 => identity::Algorithm::Rs384,
        Algorithm::Rs512 => identity::Algorithm::Rs512,
        Algorithm::Ps256 => identity::Algorithm::Ps256,
        Algorithm::Ps384 => identity::Algorithm::Ps384,
        Algorithm::Ps512 => identity::Algorithm::Ps512,
        Algorithm::Es256 => identity::Algorithm::Es256,
        Algorithm::Es384 => identity::Algorithm::Es384,
        Algorithm::EdDsa => identity::Algorithm::EdDsa,
    }
}

/// All names were checked when the bundle was read.
fn rules(claims: &Claims, attributes: &BTreeMap<String, UserAttribute>) -> ClaimRules {
    let claim = |written: &Option<crate::bundle::Placed<String>>| {
        written.as_ref().and_then(|written| Claim::parse(&written.value).ok())
    };
    let standard = ClaimRules::default();
    let attribute = |(name, claim): &(crate::bundle::yaml::Key, crate::bundle::Placed<String>)| {
        let UserAttribute { kind, required } = attributes.get(&name.text)?;
        let rule =
            AttributeRule { claim: Claim::parse(&claim.value).ok()?, kind: (*kind)?, required: *required };
        Some((name.text.clone(), rule))
    };
    ClaimRules {
        subject: claim(&claims.user).unwrap_or(standard.subject),
        groups: claim(&claims.groups),
        roles: claim(&claims.roles),
        scopes: claim(&claims.scopes).or(standard.scopes),
        attributes: claims.attributes.0.iter().filter_map(attribute).collect(),
    }
}

/// What tokens tell must be what the schema has.
pub(in crate::bundle) fn check_attributes(
    identity: &Identity,
    attributes: &BTreeMap<String, UserAttribute>,
    documents: &Parsed<'_>,
    problems: &mut Problems,
) {
    let file = documents.with_role(Role::Palisade).next().map(|document| document.file);
    let place = |at: Span| match file {
        Some(file) => Place::of_range(&file.path, &file.text, at.range()),
        None => Place::file("palisade.yaml"),
    };
    let signed = identity.jwt.0.iter().map(|(name, issuer)| (name, &issuer.claims));
    let asked = identity.introspection.0.iter().map(|(name, issuer)| (name, &issuer.claims));
    for (issuer, claims) in signed.chain(asked) {
        for (name, _) in &claims.attributes.0 {
            match attributes.get(&name.text) {
                Some(UserAttribute { kind: Some(_), .. }) => {}
                Some(UserAttribute { kind: None, .. }) => {
                    let message = format!("no token can tell attribute `{}` of a user", name.text);
                    let help = "a claim is a `String`, a `Long`, a `Bool` or a `Set<String>`";
                    problems.push(Problem::new(place(name.at), message).help(help));
                }
                None => {
                    let problem =
                        Problem::new(place(name.at), format!("a user has no attribute `{}`", name.text));
                    let known = attributes.keys().map(String::as_str);
                    let help =
                        "declare it in a file `*.cedarschema`: `type UserAttributes = { name?: String };`";
                    problems.push(problem.suggest(&name.text, known).help(help));
                }
            }
        }
        let told = |name: &str| claims.attributes.0.iter().any(|(told, _)| told.text == name);
        for (name, _) in attributes.iter().filter(|(name, attribute)| attribute.required && !told(name)) {
            let message =
                format!("no token of `{}` tells attribute `{name}`, which every user has", issuer.text);
            let help = format!("name its claim under `claims.attributes`, or declare it as `{name}?`");
            problems.push(Problem::new(place(issuer.at), message).help(help));
        }
    }
}
