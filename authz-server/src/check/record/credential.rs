//! What a credential says of a caller, as it stands in an entry.
//!
//! INVARIANT: what the bundle masks is a keyed digest or nothing, and what is stored is bounded, whatever a token says.

use crate::bundle::Bundle;
use crate::bundle::format::Mask;
use crate::digests::Digests;
use crate::identity::{ClaimValue, Established, Identity};
use crate::ledger;
use serde_json::Value;

/// How much JSON groups, roles, scopes and all attributes may each become. Of what is beyond, the digest is stored.
const PART_BYTES_MAX: usize = 4 * 1024;

const GROUPS: &str = "groups";
const ROLES: &str = "roles";
const SCOPES: &str = "scopes";

/// What the credential says. `None`: a certificate, or nothing at all.
pub(super) fn record(caller: &Established, bundle: &Bundle, digests: &Digests) -> Option<ledger::Credential> {
    let mut credential = ledger::Credential {
        expires_at_s: caller.expires_at_s,
        key_id: caller.key_id.as_deref().map(ToOwned::to_owned),
        ..ledger::Credential::default()
    };
    let mut into = Masks { bundle, digests, credential: &mut credential };
    if let Some(scopes) = &caller.scopes {
        let written = into.list(SCOPES, scopes.iter());
        into.credential.scopes = written;
    }
    if let Identity::User(user) = &caller.identity {
        into.credential.groups = into.list(GROUPS, &user.groups).unwrap_or_default();
        into.credential.roles = into.list(ROLES, &user.roles).unwrap_or_default();
        let mut room = PART_BYTES_MAX;
        for (name, value) in &user.attributes {
            if let Some((value, bytes)) = into.value(name, json(value), room) {
                room = room.saturating_sub(bytes);
                into.credential.attributes.insert(name.clone(), value);
            }
        }
        credential.issuer = Some(user.issuer.clone());
    }
    (credential != ledger::Credential::default()).then_some(credential)
}

struct Masks<'a> {
    bundle: &'a Bundle,
    digests: &'a Digests,
    credential: &'a mut ledger::Credential,
}

impl Masks<'_> {
    fn list<'n>(&mut self, name: &str, items: impl IntoIterator<Item = &'n String>) -> Option<Vec<String>> {
        let items: Vec<String> = items.into_iter().cloned().collect();
        if items.is_empty() {
            return Some(items);
        }
        let written: Value = items.iter().map(String::as_str).collect();
        self.value(name, written, PART_BYTES_MAX).map(|_| items)
    }

    /// The value with the bytes of its JSON, or nothing where it must not or cannot stand in an entry.
    fn value(&mut self, name: &str, value: Value, room: usize) -> Option<(Value, usize)> {
        let masks = &self.bundle.palisade.ledger.mask.claims.0;
        let mask = masks.iter().find(|(key, _)| key.text == name).map(|(_, mask)| *mask);
        let bytes = value.to_string().len();
        let digest = match mask {
            None if bytes <= room => return Some((value, bytes)),
            Some(Mask::Drop) => None,
            Some(Mask::Digest) | None => Some(self.digests.value(&value)),
        };
        self.credential.masked.insert(name.to_owned(), digest);
        None
    }
}

pub(crate) fn json(value: &ClaimValue) -> Value {
    match value {
        ClaimValue::Text(text) => text.as_str().into(),
        ClaimValue::Long(number) => (*number).into(),
        ClaimValue::Bool(value) => (*value).into(),
        ClaimValue::Texts(items) => items.iter().map(String::as_str).collect(),
    }
}
