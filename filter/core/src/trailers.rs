//! Trailers of a request: whatever comes behind the body must not say what only a head may say.
//!
//! INVARIANT: services that merge trailers into their headers find nothing there that a rule was applied to before.

use crate::handoff;
use crate::head::{is_decisive, is_sound_name, is_sound_value};
use crate::headers::HeaderMap;
use crate::reason::Reason;

/// `pairs` is their map in the host's own layout.
pub(crate) fn check(pairs: &[u8], identity_headers: &[Box<str>]) -> Result<(), Reason> {
    for (name, value) in HeaderMap::parse(pairs)?.iter() {
        if !is_sound_name(name) {
            return Err(Reason::HeaderNameInvalid);
        }
        if !is_sound_value(value) {
            return Err(Reason::HeaderValueInvalid);
        }
        let is_identity = identity_headers.iter().any(|header| header.as_bytes() == name);
        if is_identity || is_decisive(name) || name.starts_with(handoff::HEADER_PREFIX.as_bytes()) {
            return Err(Reason::TrailerNotAllowed);
        }
    }
    Ok(())
}
