//! The text of a token: three parts, a header and claims, each read in one way or not at all.
//!
//! INVARIANT: the header chooses nothing but a key among those that are known: no key, certificate or address in it is
//! ever looked at.

use super::error::{Malformed, TokenError};
use super::limits::{CLAIMS_BYTES_MAX, HEADER_BYTES_MAX, KID_BYTES_MAX, TOKEN_BYTES_MAX};
use crate::settings::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use palisade_core::json;
use serde_json::{Map, Value};

/// A token that could be read. Nothing of it is true yet.
#[derive(Debug)]
pub(super) struct Compact<'t> {
    /// What was signed: header and claims as they were sent.
    pub(super) message: &'t str,
    pub(super) signature: &'t str,
    pub(super) header: Header,
    pub(super) claims: Value,
}

#[derive(Debug)]
pub(super) struct Header {
    /// None of ours otherwise, `none` among them.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) kid: Option<String>,
}

impl<'t> Compact<'t> {
    pub(super) fn read(token: &'t str) -> Result<Compact<'t>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Limit { what: "it is", max: TOKEN_BYTES_MAX });
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed(Malformed::Parts))?;
        let (header, claims) = message.split_once('.').ok_or(TokenError::Malformed(Malformed::Parts))?;
        let in_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        // Five parts would be an encrypted token: the dots between them are no letters of a part.
        if [header, claims, signature].iter().any(|part| part.is_empty() || !part.bytes().all(in_part)) {
            return Err(TokenError::Malformed(Malformed::Parts));
        }
        let header = object(header, "its header is", HEADER_BYTES_MAX, Malformed::HeaderJson)?;
        let header = Header::read(&header)?;
        let claims = object(claims, "its claims are", CLAIMS_BYTES_MAX, Malformed::ClaimsJson)?;
        Ok(Compact { message, signature, header, claims: Value::Object(claims) })
    }
}

impl Header {
    fn read(members: &Map<String, Value>) -> Result<Header, TokenError> {
        // Whatever must be understood is not; the others belong to encryption, or let the payload be anything.
        if ["crit", "enc", "zip", "b64"].iter().any(|name| members.contains_key(*name)) {
            return Err(TokenError::Malformed(Malformed::Critical));
        }
        match members.get("typ") {
            None => {}
            Some(Value::String(typ)) if is_type_of_tokens(typ) => {}
            Some(_) => return Err(TokenError::Malformed(Malformed::Type)),
        }
        let Some(Value::String(algorithm)) = members.get("alg") else {
            return Err(TokenError::Malformed(Malformed::HeaderMember));
        };
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() > KID_BYTES_MAX => {
                return Err(TokenError::Limit { what: "its `kid` is", max: KID_BYTES_MAX });
            }
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(TokenError::Malformed(Malformed::HeaderMember)),
        };
        Ok(Header { algorithm: Algorithm::parse(algorithm), kid })
    }
}

/// Media types are the same in either case, and may leave out what stands before the slash.
fn is_type_of_tokens(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
}

fn object(
    part: &str,
    what: &'static str,
    bytes_max: usize,
    malformed: Malformed,
) -> Result<Map<String, Value>, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed(Malformed::Base64))?;
    if bytes.len() > bytes_max {
        return Err(TokenError::Limit { what, max: bytes_max });
    }
    // Of two equal keys a reader may take either; and no text is let in that readers disagree about.
    json::check(&bytes).map_err(|_| TokenError::Malformed(malformed))?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err(TokenError::Malformed(malformed)),
    }
}
