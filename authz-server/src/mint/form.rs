//! What the tokens of an issuer look like, by what a bundle reads of them.
//!
//! INVARIANT: what is said of a person stands where the bundle looks for it. What a bundle does not read is not said, and
//! whoever asks for it is told.

use super::put;
use crate::bundle::Bundle;
use crate::bundle::callers::{Claims, Issuer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The form of an issuer's tokens: the names of claims, or JSON pointers to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenForm {
    /// `iss`.
    issuer: String,
    /// `aud`.
    audience: String,
    user: String,
    groups: Option<String>,
    roles: Option<String>,
    scopes: String,
    /// By the names that policies have for them.
    attributes: BTreeMap<String, String>,
}

/// What a token says of a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub subject: String,
    pub groups: Vec<String>,
    pub roles: Vec<String>,
    /// `None`: it does not say.
    pub scopes: Option<Vec<String>>,
    pub attributes: BTreeMap<String, Value>,
}

impl TokenForm {
    /// Those of all issuers of signed tokens, by what the bundle calls them.
    pub fn of(bundle: &Bundle) -> BTreeMap<String, TokenForm> {
        let issuers = bundle.palisade.identity.jwt.0.iter();
        issuers.map(|(name, issuer)| (name.text.clone(), TokenForm::of_issuer(issuer))).collect()
    }

    fn of_issuer(issuer: &Issuer) -> TokenForm {
        let Claims { user, groups, roles, scopes, attributes } = &issuer.claims;
        let written =
            |claim: &Option<crate::bundle::Placed<String>>| claim.as_ref().map(|claim| claim.value.clone());
        let audience = issuer.audiences.value.first().map(|audience| audience.value.clone());
        let attributes = attributes.0.iter().map(|(name, claim)| (name.text.clone(), claim.value.clone()));
        TokenForm {
            issuer: issuer.issuer.value.clone(),
            audience: audience.unwrap_or_default(),
            user: written(user).unwrap_or_else(|| "sub".to_owned()),
            groups: written(groups),
            roles: written(roles),
            scopes: written(scopes).unwrap_or_else(|| "scope".to_owned()),
            attributes: attributes.collect(),
        }
    }

    /// The claims of a token that was issued at `from_s` and holds for so long. What the bundle does not read is an error:
    /// its name, and where the bundle would say it.
    pub fn claims(&self, said: &Said, from_s: u64, lives_s: u64) -> Result<Value, NotRead> {
        let Said { subject, groups, roles, scopes, attributes } = said;
        let until_s = from_s.saturating_add(lives_s);
        let mut claims = json!({"iss": self.issuer, "aud": self.audience, "iat": from_s, "exp": until_s});
        put(&mut claims, &self.user, subject.as_str().into());
        for (what, names, claim) in [("groups", groups, &self.groups), ("roles", roles, &self.roles)] {
            match claim {
                Some(claim) => put(&mut claims, claim, names.iter().map(String::as_str).collect()),
                None if names.is_empty() => {}
                None => return Err(NotRead { what: format!("no {what}"), key: format!("claims.{what}") }),
            }
        }
        for (name, value) in attributes {
            let Some(claim) = self.attributes.get(name) else {
                let key = "claims.attributes".to_owned();
                return Err(NotRead { what: format!("no attribute `{name}`"), key });
            };
            put(&mut claims, claim, value.clone());
        }
        if let Some(scopes) = scopes {
            put(&mut claims, &self.scopes, scopes.iter().map(String::as_str).collect());
        }
        Ok(claims)
    }
}

/// What a token cannot say, because nobody would read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRead {
    /// `no groups`.
    pub what: String,
    /// Where a bundle says that it is read.
    pub key: String,
}

#[cfg(test)]
mod tests {
    use super::{Said, TokenForm};
    use serde_json::json;
    use std::collections::BTreeMap;

    fn form() -> TokenForm {
        TokenForm {
            issuer: "https://login.example".to_owned(),
            audience: "shop".to_owned(),
            user: "sub".to_owned(),
            groups: None,
            roles: Some("/realm_access/roles".to_owned()),
            scopes: "scope".to_owned(),
            attributes: BTreeMap::from([("department".to_owned(), "dep".to_owned())]),
        }
    }

    #[test]
    fn what_is_said_stands_where_it_is_read() {
        let said = Said {
            subject: "alice".to_owned(),
            roles: vec!["clerk".to_owned()],
            scopes: Some(vec!["audit".to_owned()]),
            attributes: BTreeMap::from([("department".to_owned(), json!("sales"))]),
            ..Said::default()
        };
        let expected = json!({
            "iss": "https://login.example", "aud": "shop", "iat": 100, "exp": 160, "sub": "alice",
            "realm_access": {"roles": ["clerk"]}, "dep": "sales", "scope": ["audit"],
        });
        assert_eq!(form().claims(&said, 100, 60).unwrap(), expected);
    }

    #[test]
    fn what_nobody_reads_is_not_said() {
        let groups = Said { groups: vec!["staff".to_owned()], ..Said::default() };
        let refused = form().claims(&groups, 0, 60).unwrap_err();
        assert_eq!((refused.what.as_str(), refused.key.as_str()), ("no groups", "claims.groups"));
        let attributes = BTreeMap::from([("city".to_owned(), json!("x"))]);
        let refused = form().claims(&Said { attributes, ..Said::default() }, 0, 60).unwrap_err();
        assert_eq!(refused.what, "no attribute `city`");
    }
}
