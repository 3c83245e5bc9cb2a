//! What claims must say, and whom they make of it.
//!
//! INVARIANT: a claim that is there has exactly the type that it must have. Absent is absent; nothing is guessed from
//! something similar.

use super::error::{ClaimFault, TokenError};
use super::limits::{
    ATTRIBUTE_BYTES_MAX, AUDIENCES_MAX, MEMBER_BYTES_MAX, MEMBERS_MAX, SUBJECT_BYTES_MAX, TIME_S_MAX,
};
use crate::settings::{AttributeRule, Claim, ClaimKind, ClaimRules, ISS_BYTES_MAX, IssuerSettings};
use crate::{ClaimValue, Proof, User, Verified};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a token proves if its signature holds, and when.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) verified: Verified,
    /// It is worth nothing before.
    pub(super) valid_from_ms: u64,
}

/// Who says that they made it.
pub(super) fn issuer(claims: &Value) -> Result<&str, TokenError> {
    match claims.get("iss") {
        Some(Value::String(issuer)) if issuer.len() <= ISS_BYTES_MAX => Ok(issuer),
        Some(Value::String(_)) => Err(TokenError::claim("iss", ClaimFault::TooLong(ISS_BYTES_MAX))),
        Some(_) => Err(TokenError::claim("iss", ClaimFault::Type)),
        None => Err(TokenError::claim("iss", ClaimFault::Missing)),
    }
}

/// Everything that can be said of claims without a key.
pub(super) fn judge(claims: &Value, settings: &IssuerSettings, now_ms: u64) -> Result<Judged, TokenError> {
    audience(claims, &settings.audiences)?;
    let expires_at_s = time(claims, "exp")?
        .ok_or_else(|| TokenError::claim("exp", ClaimFault::Missing))?
        .saturating_add(settings.leeway_s);
    let from_ms = |time_s: u64| time_s.saturating_sub(settings.leeway_s).saturating_mul(1000);
    let not_before_ms = time(claims, "nbf")?.map_or(0, from_ms);
    let issued_ms = time(claims, "iat")?.map_or(0, from_ms);
    if now_ms >= expires_at_s.saturating_mul(1000) {
        return Err(TokenError::Expired);
    }
    if now_ms < not_before_ms {
        return Err(TokenError::NotYetValid);
    }
    if now_ms < issued_ms {
        return Err(TokenError::IssuedInFuture);
    }
    let user = Arc::new(user(claims, &settings.name, &settings.claims)?);
    let scopes = scopes(claims, settings.claims.scopes.as_ref())?.map(Arc::new);
    let verified = Verified { user, proof: Proof::Jwt, scopes, expires_at_s };
    Ok(Judged { verified, valid_from_ms: not_before_ms.max(issued_ms) })
}

pub(super) fn audience(claims: &Value, audiences: &[String]) -> Result<(), TokenError> {
    let fail = |fault| Err(TokenError::claim("aud", fault));
    let meant = |audience: &str| audiences.iter().any(|ours| ours == audience);
    let found = match claims.get("aud") {
        None => return fail(ClaimFault::Missing),
        Some(Value::String(audience)) => meant(audience),
        Some(Value::Array(items)) if items.len() > AUDIENCES_MAX => {
            return fail(ClaimFault::TooMany(AUDIENCES_MAX));
        }
        Some(Value::Array(items)) => {
            let mut found = false;
            for item in items {
                let Value::String(audience) = item else { return fail(ClaimFault::Type) };
                found |= meant(audience);
            }
            found
        }
        Some(_) => return fail(ClaimFault::Type),
    };
    if found { Ok(()) } else { Err(TokenError::Audience) }
}

/// A number of seconds, written without fraction and exponent.
pub(super) fn time(claims: &Value, name: &str) -> Result<Option<u64>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    match value.as_u64() {
        Some(time_s) if time_s <= TIME_S_MAX => Ok(Some(time_s)),
        Some(_) | None => Err(TokenError::claim(name, ClaimFault::Time)),
    }
}

pub(super) fn user(claims: &Value, issuer: &str, rules: &ClaimRules) -> Result<User, TokenError> {
    let subject = match rules.subject.find(claims) {
        None => return Err(TokenError::claim(rules.subject.as_str(), ClaimFault::Missing)),
        Some(subject) => text(rules.subject.as_str(), subject, SUBJECT_BYTES_MAX)?,
    };
    let members = |claim: &Option<Claim>| match claim {
        None => Ok(None),
        Some(claim) => claim.find(claims).map(|value| texts(claim.as_str(), value)).transpose(),
    };
    let mut user = User {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        groups: members(&rules.groups)?.unwrap_or_default(),
        roles: members(&rules.roles)?.unwrap_or_default(),
        attributes: std::collections::BTreeMap::new(),
    };
    for (name, rule) in &rules.attributes {
        if let Some(value) = attribute(claims, rule)? {
            user.attributes.insert(name.clone(), value);
        }
    }
    Ok(user)
}

fn attribute(claims: &Value, rule: &AttributeRule) -> Result<Option<ClaimValue>, TokenError> {
    let name = rule.claim.as_str();
    let Some(value) = rule.claim.find(claims) else {
        return if rule.required { Err(TokenError::claim(name, ClaimFault::Missing)) } else { Ok(None) };
    };
    let other_type = || TokenError::claim(name, ClaimFault::Type);
    Ok(Some(match rule.kind {
        // A text without letters is one, other than a name without letters.
        ClaimKind::Text if value == "" => ClaimValue::Text(String::new()),
        ClaimKind::Text => ClaimValue::Text(text(name, value, ATTRIBUTE_BYTES_MAX)?.to_owned()),
        ClaimKind::Long => ClaimValue::Long(value.as_i64().ok_or_else(other_type)?),
        ClaimKind::Bool => ClaimValue::Bool(value.as_bool().ok_or_else(other_type)?),
        ClaimKind::Texts => ClaimValue::Texts(texts(name, value)?),
    }))
}

/// An array of strings, or one string with spaces between the scopes, as RFC 8693 has it.
pub(super) fn scopes(claims: &Value, claim: Option<&Claim>) -> Result<Option<BTreeSet<String>>, TokenError> {
    let Some(claim) = claim else { return Ok(None) };
    match claim.find(claims) {
        None => Ok(None),
        Some(Value::String(line)) => {
            members(claim.as_str(), line.split(' ').filter(|scope| !scope.is_empty()).map(Ok)).map(Some)
        }
        Some(value) => texts(claim.as_str(), value).map(Some),
    }
}

fn texts(name: &str, value: &Value) -> Result<BTreeSet<String>, TokenError> {
    let Value::Array(items) = value else { return Err(TokenError::claim(name, ClaimFault::Type)) };
    members(name, items.iter().map(|item| item.as_str().ok_or(ClaimFault::Type)))
}

fn members<'v>(
    name: &str,
    items: impl Iterator<Item = Result<&'v str, ClaimFault>>,
) -> Result<BTreeSet<String>, TokenError> {
    let mut members = BTreeSet::new();
    for (place, item) in items.enumerate() {
        if place >= MEMBERS_MAX {
            return Err(TokenError::claim(name, ClaimFault::TooMany(MEMBERS_MAX)));
        }
        let item = item.and_then(|item| bounded(item, MEMBER_BYTES_MAX));
        members.insert(item.map_err(|fault| TokenError::claim(name, fault))?.to_owned());
    }
    Ok(members)
}

fn text<'v>(name: &str, value: &'v Value, bytes_max: usize) -> Result<&'v str, TokenError> {
    let text = value.as_str().ok_or(ClaimFault::Type).and_then(|text| bounded(text, bytes_max));
    text.map_err(|fault| TokenError::claim(name, fault))
}

/// Names end in policies, in the ledger and on terminals.
fn bounded(text: &str, bytes_max: usize) -> Result<&str, ClaimFault> {
    if text.is_empty() {
        Err(ClaimFault::Empty)
    } else if text.len() > bytes_max {
        Err(ClaimFault::TooLong(bytes_max))
    } else if text.chars().any(char::is_control) {
        Err(ClaimFault::Control)
    } else {
        Ok(text)
    }
}
