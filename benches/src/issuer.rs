//! An issuer of tokens with a key of its own, drawn for each run.

use crate::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// No run takes longer.
const LIFETIME_S: u64 = 4 * 60 * 60;

#[derive(Debug)]
pub(crate) struct Issuer {
    key: SigningKey,
}

impl Issuer {
    pub(crate) fn new() -> Result<Issuer, Failure> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| Failure::new(format!("no randomness: {error}")))?;
        Ok(Issuer { key: SigningKey::from_bytes(&seed) })
    }

    /// The public half, as a set of keys.
    pub(crate) fn keys(&self) -> String {
        let public = URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes());
        let key = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "bench", "x": public});
        json!({ "keys": [key] }).to_string()
    }

    /// A token of somebody in the group that the load's permit names, and in one more.
    pub(crate) fn token(&self, subject: &str) -> String {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let head = json!({"alg": "EdDSA", "typ": "JWT", "kid": "bench"});
        let claims = json!({
            "iss": "https://corp.example",
            "aud": "shop",
            "sub": subject,
            "iat": now_s,
            "exp": now_s.saturating_add(LIFETIME_S),
            "groups": ["group-0", "group-1"],
        });
        let part = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", part(&head), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()).to_bytes());
        format!("{signed}.{signature}")
    }
}
