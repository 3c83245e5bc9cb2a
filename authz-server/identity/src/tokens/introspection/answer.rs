//! What an answer of introspection says, read strictly.
//!
//! INVARIANT: an answer that could be read in two ways, or that leaves out what must be there, lets nobody in.

use crate::settings::{IntrospectionSettings, LEEWAY_S_DEFAULT};
use crate::tokens::claims;
use crate::tokens::error::{ClaimFault, NoAnswer, TokenError};
use crate::{Proof, Verified};
use palisade_core::json;
use serde_json::{Map, Value};
use std::sync::Arc;

pub(super) fn judge(
    body: &[u8],
    settings: &IntrospectionSettings,
    now_ms: u64,
) -> Result<Arc<Verified>, TokenError> {
    let members = read(body).map_err(|detail| TokenError::NoAnswer {
        issuer: settings.name.clone(),
        why: NoAnswer::Failed(format!("the answer is not understood: {detail}")),
    })?;
    let Some(members) = members else { return Err(TokenError::Inactive) };
    is_for_access(&members)?;
    let claims = Value::Object(members);
    for name in ["iss", "sub", "client_id", "username", "jti"] {
        if claims.get(name).is_some_and(|value| !value.is_string()) {
            return Err(TokenError::claim(name, ClaimFault::Type));
        }
    }
    claims::audience(&claims, &settings.audiences)?;
    times(&claims, now_ms)?;
    // The second in which the time that the bundle gives it ends, begun or not.
    let known_until_ms = now_ms.saturating_add(settings.cache_s.saturating_mul(1000));
    let known_until_s = known_until_ms.div_ceil(1000);
    let expires_at_s = claims::time(&claims, "exp")?.map_or(known_until_s, |exp_s| exp_s.min(known_until_s));
    let user = Arc::new(claims::user(&claims, &settings.name, &settings.claims)?);
    let scopes = claims::scopes(&claims, settings.claims.scopes.as_ref())?.map(Arc::new);
    Ok(Arc::new(Verified { user, proof: Proof::Introspection, scopes, expires_at_s }))
}

/// The members of an answer about a token that is active; nothing of one that is not.
fn read(body: &[u8]) -> Result<Option<Map<String, Value>>, &'static str> {
    json::check(body).map_err(|_| "expected one JSON object that everybody reads alike")?;
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return Err("expected one JSON object that everybody reads alike");
    };
    match members.get("active") {
        Some(Value::Bool(true)) => Ok(Some(members)),
        Some(Value::Bool(false)) => Ok(None),
        Some(_) | None => Err("expected `true` or `false` as `active`"),
    }
}

/// Servers answer for tokens of other kinds as well, and the hint in the question binds nobody: a refresh token would be
/// as good as one for access. And one that is bound to a key must come with a proof of that key, which nobody checks here.
fn is_for_access(members: &Map<String, Value>) -> Result<(), TokenError> {
    let allowed: [(&'static str, &[&str]); 3] = [
        ("token_type", &["bearer", "access_token"]),
        ("token_use", &["access_token", "access"]),
        ("typ", &["bearer", "jwt", "at+jwt"]),
    ];
    for (name, kinds) in allowed {
        match members.get(name) {
            None => {}
            Some(Value::String(kind)) if kinds.iter().any(|known| kind.eq_ignore_ascii_case(known)) => {}
            Some(Value::String(_)) => return Err(TokenError::OtherKind { claim: name }),
            Some(_) => return Err(TokenError::claim(name, ClaimFault::Type)),
        }
    }
    match members.get("cnf") {
        None => Ok(()),
        Some(_) => Err(TokenError::OtherKind { claim: "cnf" }),
    }
}

/// The server says what is active by its own clock, so that an end is an end; what begins may do so by a clock that is
/// before ours.
fn times(claims: &Value, now_ms: u64) -> Result<(), TokenError> {
    let ms = |time_s: u64| time_s.saturating_mul(1000);
    let from_ms = |time_s: u64| ms(time_s.saturating_sub(LEEWAY_S_DEFAULT));
    if claims::time(claims, "exp")?.is_some_and(|exp_s| now_ms >= ms(exp_s)) {
        return Err(TokenError::Expired);
    }
    if claims::time(claims, "nbf")?.is_some_and(|nbf_s| now_ms < from_ms(nbf_s)) {
        return Err(TokenError::NotYetValid);
    }
    if claims::time(claims, "iat")?.is_some_and(|iat_s| now_ms < from_ms(iat_s)) {
        return Err(TokenError::IssuedInFuture);
    }
    Ok(())
}
